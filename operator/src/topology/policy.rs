//! Policies: what they are declared with, and what there is to say of them.
//!
//! In: the spec of a Policy or OperatorPolicy, rows of `GET /api/policies`. Out: `PolicyDefinition`, and requests to
//! the management API: AMQP has no method for it. Does not know about what a policy does to a queue.

use std::marker::PhantomData;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::arguments::{Arguments, Table};
use super::declaration::{
    Deletion, Labels, Policies, Reference, Request, Verb, compare, compare_arguments, dead_letters, escaped,
    exchange_named,
};
use super::name::Name;
use super::named::{Definition, Named, Removal};
use super::touch::Touch;
use crate::resource::{Kind, PolicyDeletionPolicy, PolicyRule, PolicySpec};

/// A policy by its name.
pub type Declaration = Named<PolicyDefinition<User>>;

/// A class of policies, which have their own names and lists.
pub trait Class: Clone + std::fmt::Debug + PartialEq + Eq + Send {
    const KIND: Kind;
    const LABELS: Labels;
    /// Path in the management API.
    const PATH: &'static str;

    type Spec;

    /// All of a spec but its Broker.
    fn rule(spec: &Self::Spec) -> &PolicyRule;
}

/// Policies of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User;

impl Class for User {
    const KIND: Kind = Kind::Policy;
    const LABELS: Labels = Labels {
        declare: "put_policy",
        remove: "delete_policy",
    };
    const PATH: &'static str = "/api/policies";

    type Spec = PolicySpec;

    fn rule(spec: &PolicySpec) -> &PolicyRule {
        let PolicySpec { broker_ref: _, rule } = spec;
        rule
    }
}

/// The properties of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDefinition<C> {
    pattern: String,
    apply_to: String,
    priority: i64,
    definition: Arguments,
    class: PhantomData<C>,
}

/// A policy as the management API lists it.
#[derive(Deserialize)]
pub struct Row {
    vhost: String,
    name: String,
    #[serde(default)]
    pattern: String,
    #[serde(default, rename = "apply-to")]
    apply_to: String,
    #[serde(default)]
    priority: i64,
    #[serde(default)]
    definition: Table,
}

impl<C: Class> Definition for PolicyDefinition<C> {
    const KIND: Kind = C::KIND;
    const LABELS: Labels = C::LABELS;
    const MUTABLE: bool = true;
    const GUARDED: bool = true;
    const REMOVAL: Removal = Removal {
        if_free: "",
        always: "",
    };

    type Spec = C::Spec;
    type Row = Row;

    fn name(spec: &C::Spec, metadata_name: &str) -> Name {
        let rule = C::rule(spec);
        Name::new(&rule.vhost, rule.name.as_deref().unwrap_or(metadata_name))
    }

    fn wanted(spec: &C::Spec) -> Result<Self, String> {
        // Without `..`: no field may be forgotten.
        let PolicyRule {
            name: _,
            vhost: _,
            pattern,
            apply_to,
            priority,
            definition,
            deletion_policy: _,
            adoption_policy: _,
        } = C::rule(spec);
        Ok(Self {
            pattern: pattern.clone(),
            apply_to: apply_to.clone(),
            priority: i64::from(*priority),
            definition: Arguments::from(definition.clone()),
            class: PhantomData,
        })
    }

    fn policies(spec: &C::Spec) -> Policies {
        let rule = C::rule(spec);
        Policies {
            deletion: match rule.deletion_policy {
                PolicyDeletionPolicy::Delete => Deletion::Delete,
                PolicyDeletionPolicy::Retain => Deletion::Retain,
            },
            adoption: rule.adoption_policy,
        }
    }

    fn lists() -> Vec<String> {
        vec![C::PATH.to_owned()]
    }

    fn listed(row: Row) -> Named<Self> {
        let definition = Self {
            pattern: row.pattern,
            apply_to: row.apply_to,
            priority: row.priority,
            definition: row.definition.into(),
            class: PhantomData,
        };
        Named::new(Name::new(row.vhost, row.name), definition)
    }

    fn spec(&self) -> Map<String, Value> {
        let mut spec = Map::new();
        spec.insert("pattern".to_owned(), json!(self.pattern));
        spec.insert("applyTo".to_owned(), json!(self.apply_to));
        if self.priority != 0 {
            spec.insert("priority".to_owned(), json!(self.priority));
        }
        spec.insert("definition".to_owned(), self.table());
        spec
    }

    fn differences(&self, found: &Self) -> Vec<String> {
        let mut list = Vec::new();
        let quoted = |text: &str| format!("\"{text}\"");
        compare(&mut list, "pattern", &quoted(&self.pattern), &quoted(&found.pattern));
        compare(&mut list, "applyTo", &self.apply_to, &found.apply_to);
        compare(&mut list, "priority", &self.priority, &found.priority);
        compare_arguments(&mut list, &self.definition, &found.definition);
        list
    }

    fn references(&self, vhost: &str) -> Vec<Reference> {
        let mut references = exchange_named(
            &self.definition,
            "dead-letter-exchange",
            "definition.dead-letter-exchange",
            vhost,
        );
        references.extend(exchange_named(
            &self.definition,
            "alternate-exchange",
            "definition.alternate-exchange",
            vhost,
        ));
        references
    }

    fn reaches(&self, vhost: &str) -> Vec<Touch> {
        let kinds: &[Kind] = match self.apply_to.as_str() {
            "all" => &[Kind::Exchange, Kind::Queue],
            "exchanges" => &[Kind::Exchange],
            _ => &[Kind::Queue],
        };
        let matching = Touch::Matching {
            regex: self.pattern.clone(),
            kinds,
        };
        let (exchange, key) = ("dead-letter-exchange", "dead-letter-routing-key");
        let alternate = exchange_named(&self.definition, "alternate-exchange", "", vhost);
        std::iter::once(matching)
            .chain(dead_letters(&self.definition, exchange, key, vhost))
            .chain(alternate.into_iter().map(|reference| Touch::Name(reference.target)))
            .collect()
    }

    /// All names are users'.
    fn is_reserved(_: &Name) -> bool {
        false
    }

    fn remark(&self) -> Option<String> {
        Some(self.pattern.clone())
    }

    fn put(&self, name: &Name) -> Option<Request> {
        let body = json!({
            "pattern": self.pattern,
            "apply-to": self.apply_to,
            "priority": self.priority,
            "definition": self.table(),
        });
        Some(Request {
            verb: Verb::Put,
            path: path::<C>(name),
            body: Some(body),
        })
    }

    fn delete(name: &Name) -> Option<Request> {
        Some(Request {
            verb: Verb::Delete,
            path: path::<C>(name),
            body: None,
        })
    }
}

impl<C> PolicyDefinition<C> {
    fn table(&self) -> Value {
        let table = self.definition.iter().map(|(key, value)| (key.to_owned(), value));
        Value::Object(table.collect())
    }
}

fn path<C: Class>(name: &Name) -> String {
    format!("{}/{}/{}", C::PATH, escaped(&name.vhost), escaped(&name.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(definition: Value) -> PolicyDefinition<User> {
        let spec = serde_json::from_value(json!({
            "brokerRef": {"name": "main"}, "pattern": "^a", "applyTo": "queues", "priority": 2, "definition": definition
        }));
        PolicyDefinition::wanted(&spec.unwrap()).unwrap()
    }

    #[test]
    fn requests_as_rabbitmq_reads_them() {
        let put = wanted(json!({"max-length": 5})).put(&Name::new("/", "a b")).unwrap();
        assert_eq!(put.path, "/api/policies/%2F/a%20b");
        assert_eq!(
            put.body,
            Some(json!({"pattern": "^a", "apply-to": "queues", "priority": 2, "definition": {"max-length": 5}}))
        );
    }

    #[test]
    fn a_row_as_rabbitmq_writes_it() {
        let row = serde_json::from_value(json!({
            "vhost": "/", "name": "p", "pattern": "^b", "apply-to": "queues", "priority": 2,
            "definition": {"max-length": 6, "message-ttl": 1}
        }));
        let Named { name, definition } = PolicyDefinition::<User>::listed(row.unwrap());
        assert_eq!(name, Name::new("/", "p"));
        assert_eq!(
            wanted(json!({"max-length": 5})).differences(&definition),
            [
                "pattern is \"^b\" on the broker, wanted \"^a\"",
                "max-length is 6 on the broker, wanted 5",
                "message-ttl is 1 on the broker, wanted not set"
            ]
        );
        assert_eq!(definition.differences(&definition), [""; 0]);
    }

    #[test]
    fn exchanges_are_named_in_the_definition() {
        let references = wanted(json!({"dead-letter-exchange": "dlx"})).references("shop");
        let named: Vec<_> = references.into_iter().map(|reference| reference.target.name).collect();
        assert_eq!(named, [Name::new("shop", "dlx")]);
    }
}
