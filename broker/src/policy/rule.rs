//! One policy: its name, the objects that it is for, and what it says about them.
//!
//! Comes in: the fields that a client sends, or that the log has. Goes out: the policy, or all that is wrong with it,
//! in RabbitMQ's words. Pure. Does not know about other policies.

use super::keys;
use super::kind::{ApplyTo, Kind};
use crate::erlang::plain;
use crate::pattern::Pattern;
use leveret_amqp::{FieldTable, FieldValue};

/// The two classes of policies: an object has at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Anyone's who may set policies.
    User,
    /// Operators': they limit what the others may say.
    Operator,
}

impl Class {
    /// Both.
    pub const ALL: [Self; 2] = [Self::User, Self::Operator];

    /// RabbitMQ's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "policy",
            Self::Operator => "operator_policy",
        }
    }
}

/// A policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// The objects that it is for, by their names.
    pub pattern: Pattern,
    /// The same, by their kinds.
    pub apply_to: ApplyTo,
    /// The highest of those that match counts.
    pub priority: i64,
    /// Values by key, in the order of the keys.
    pub definition: FieldTable,
}

impl Policy {
    /// A policy as a client wants it: `pattern`, `definition`, `priority` and `apply-to`.
    ///
    /// # Errors
    /// All that is wrong with it: a text of several lines.
    pub fn parse(class: Class, name: &str, fields: &FieldTable) -> Result<Self, String> {
        let definition = definition(class, fields.get("definition"));
        let apply_to = fields.get("apply-to").map_or(Ok(ApplyTo::default()), apply_to);
        let pattern = pattern(fields.get("pattern"));
        let priority = fields.get("priority").map_or(Ok(0), priority);
        match (definition, apply_to, pattern, priority) {
            (Ok(definition), Ok(apply_to), Ok(pattern), Ok(priority)) => Ok(Self {
                name: name.to_owned(),
                pattern,
                apply_to,
                priority,
                definition,
            }),
            (definition, apply_to, pattern, priority) => {
                let faults = [definition.err(), apply_to.err(), pattern.err(), priority.err()];
                let lines: Vec<String> = faults.into_iter().flatten().map(|fault| fault + "\n").collect();
                Err(format!("Validation failed\n\n{}", lines.concat()))
            }
        }
    }

    /// True if it is for an object of this kind and name.
    pub fn matches(&self, kind: Kind, name: &[u8]) -> bool {
        self.apply_to.includes(kind)
            && keys::is_for(&self.definition, kind, self.apply_to == ApplyTo::Classic)
            && self.pattern.matches(name)
    }
}

fn definition(class: Class, value: Option<&FieldValue>) -> Result<FieldTable, String> {
    let mut definition = match value {
        None | Some(FieldValue::Void) => FieldTable::new(),
        Some(FieldValue::Table(definition)) => definition.clone(),
        Some(other) => return Err(format!("definition must be a dictionary: {}", plain(other))),
    };
    definition.0.sort_by(|a, b| a.0.cmp(&b.0));
    keys::check(&definition, class == Class::Operator)?;
    Ok(definition)
}

fn pattern(value: Option<&FieldValue>) -> Result<Pattern, String> {
    match value.unwrap_or(&FieldValue::Void) {
        FieldValue::LongString(bytes) => Pattern::parse(&String::from_utf8_lossy(bytes)),
        other => Err(format!("pattern should be a binary but was {}", plain(other))),
    }
}

fn priority(value: &FieldValue) -> Result<i64, String> {
    let wrong = || format!("priority should be a number, actually was {}", plain(value));
    value.as_i64().ok_or_else(wrong)
}

fn apply_to(value: &FieldValue) -> Result<ApplyTo, String> {
    value.as_str().and_then(ApplyTo::parse).ok_or_else(|| {
        let found = value.as_str().map_or_else(|| plain(value), str::to_owned);
        format!(
            "apply-to '{found}' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', \
             'streams', 'exchanges', or 'all'"
        )
    })
}

#[cfg(test)]
mod tests;
