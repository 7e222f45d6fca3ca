//! Bindings: from an exchange to a queue or to another exchange.
//!
//! In: the spec of a Binding, rows of `GET /api/bindings`. Out: `BindingDefinition`.
//! Does not know about what exchanges and queues are declared with, or the wire.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::arguments::{Arguments, Table};
use super::declaration::{Declare, Deletion, Labels, Need, Policies, Reference, rest};
use super::name::{InVhost, Name, Target};
use super::touch::Touch;
use crate::object::{LastStatus, Reason};
use crate::resource::{AdoptionPolicy, BindingDeletionPolicy, BindingSpec, Kind};

/// A binding is what it is declared with.
pub type Declaration = BindingDefinition;

/// The kind of object that a binding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    Exchange,
    Queue,
}

impl End {
    pub fn kind(self) -> Kind {
        match self {
            End::Exchange => Kind::Exchange,
            End::Queue => Kind::Queue,
        }
    }

    pub fn as_str(self) -> &'static str {
        self.kind().word()
    }
}

/// A binding: its definition is its identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BindingDefinition {
    pub vhost: String,
    pub source: String,
    pub end: End,
    pub destination: String,
    pub routing_key: String,
    #[serde(default)]
    pub arguments: Arguments,
}

impl BindingDefinition {
    pub fn source_name(&self) -> Name {
        Name::new(&self.vhost, &self.source)
    }

    pub fn destination_name(&self) -> Name {
        Name::new(&self.vhost, &self.destination)
    }

    /// The exchange that messages come from.
    pub fn from(&self) -> Target {
        Target::new(Kind::Exchange, self.source_name())
    }

    /// The queue or exchange that messages go to.
    pub fn to(&self) -> Target {
        Target::new(self.end.kind(), self.destination_name())
    }
}

impl fmt::Display for BindingDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exchange '{}' to {} '{}'",
            self.source,
            self.end.as_str(),
            self.destination
        )?;
        if !self.routing_key.is_empty() {
            write!(f, " by '{}'", self.routing_key)?;
        }
        if !self.arguments.is_empty() {
            write!(f, " with {}", self.arguments)?;
        }
        Ok(())
    }
}

/// A binding as the management API lists it.
#[derive(Deserialize)]
pub struct Row {
    vhost: String,
    #[serde(default)]
    source: String,
    destination: String,
    destination_type: String,
    #[serde(default)]
    routing_key: String,
    #[serde(default)]
    arguments: Table,
}

impl Declare for BindingDefinition {
    const KIND: Kind = Kind::Binding;
    const LABELS: Labels = Labels {
        declare: "bind",
        remove: "unbind",
    };
    const MOVES: bool = true;

    type Spec = BindingSpec;
    type Row = Row;
    type Identity = Self;
    type All = BTreeSet<Self>;

    fn wanted(spec: &BindingSpec, _metadata_name: &str) -> Result<Self, String> {
        // Without `..`: no field may be forgotten.
        let BindingSpec {
            broker_ref: _,
            vhost,
            source,
            destination,
            routing_key,
            arguments,
            deletion_policy: _,
        } = spec;
        let (end, destination) = match (&destination.queue, &destination.exchange) {
            (Some(queue), None) => (End::Queue, queue),
            (None, Some(exchange)) => (End::Exchange, exchange),
            _ => return Err("destination must have exactly one of queue and exchange".to_owned()),
        };
        if source.is_empty() {
            return Err("source must name an exchange".to_owned());
        }
        Ok(Self {
            vhost: vhost.clone(),
            source: source.clone(),
            end,
            destination: destination.clone(),
            routing_key: routing_key.clone(),
            arguments: Arguments::from(arguments.clone()),
        })
    }

    fn policies(spec: &BindingSpec) -> Policies {
        Policies {
            deletion: match spec.deletion_policy {
                BindingDeletionPolicy::Delete => Deletion::Delete,
                BindingDeletionPolicy::Retain => Deletion::Retain,
            },
            adoption: AdoptionPolicy::Always,
        }
    }

    fn lists() -> Vec<String> {
        vec!["/api/bindings?columns=vhost,source,destination,destination_type,routing_key,arguments".to_owned()]
    }

    /// `None` for the bindings of the default exchange, which come and go with their queues.
    fn listed(row: Row) -> Option<Self> {
        let end = match row.destination_type.as_str() {
            "queue" => End::Queue,
            "exchange" => End::Exchange,
            _ => return None,
        };
        (!row.source.is_empty()).then(|| Self {
            vhost: row.vhost,
            source: row.source,
            end,
            destination: row.destination,
            routing_key: row.routing_key,
            arguments: row.arguments.into(),
        })
    }

    fn spec(&self) -> Map<String, Value> {
        let mut spec = Map::new();
        spec.insert("source".to_owned(), json!(self.source));
        spec.insert("destination".to_owned(), json!({ self.end.as_str(): self.destination }));
        if !self.routing_key.is_empty() {
            spec.insert("routingKey".to_owned(), json!(self.routing_key));
        }
        rest(&mut spec, &self.arguments);
        spec
    }

    fn identity(&self) -> &Self {
        self
    }

    fn target(_identity: &Self) -> Option<Target> {
        None
    }

    fn vhost(identity: &Self) -> &str {
        &identity.vhost
    }

    fn is_reserved(_identity: &Self) -> bool {
        false
    }

    fn describe(identity: &Self) -> String {
        format!("the binding of {identity}{}", InVhost(&identity.vhost))
    }

    /// More than one while a new one replaces an old one.
    fn remember(identity: &Self, last: &mut LastStatus) {
        last.vhost = Some(identity.vhost.clone());
        let applied = last.applied.get_or_insert_with(|| Value::Array(Vec::new()));
        if let (Value::Array(applied), Ok(binding)) = (applied, serde_json::to_value(identity)) {
            applied.push(binding);
        }
    }

    fn recall(last: &LastStatus) -> Vec<Self> {
        let applied = last.applied.clone().map(serde_json::from_value);
        applied.and_then(Result::ok).unwrap_or_default()
    }

    fn needs(identity: &Self) -> Vec<Need> {
        vec![
            Need {
                target: identity.from(),
                reason: Reason::WaitingForSource,
            },
            Need {
                target: identity.to(),
                reason: Reason::WaitingForDestination,
            },
        ]
    }

    fn touches(identity: &Self) -> Vec<Touch> {
        let (from, to) = (Touch::Source(identity.from()), Touch::Name(identity.to()));
        vec![Touch::Vhost(identity.vhost.clone()), from, to]
    }

    fn references(&self) -> Vec<Reference> {
        vec![
            Reference {
                field: "source",
                target: self.from(),
            },
            Reference {
                field: "destination",
                target: self.to(),
            },
        ]
    }

    fn contains(all: &BTreeSet<Self>, identity: &Self) -> bool {
        all.contains(identity)
    }

    fn has(_all: &BTreeSet<Self>, _name: &Name) -> bool {
        false
    }

    /// A binding has no properties beside its identity.
    fn differences(&self, all: &BTreeSet<Self>) -> Option<Vec<String>> {
        all.contains(self).then(Vec::new)
    }

    fn insert(self, all: &mut BTreeSet<Self>) {
        all.insert(self);
    }

    fn remove(all: &mut BTreeSet<Self>, identity: &Self) -> bool {
        all.remove(identity)
    }

    fn forsake(all: &mut BTreeSet<Self>, gone: &Target) {
        let inside = |binding: &Self| gone.kind == Kind::Vhost && binding.vhost == gone.name.name;
        all.retain(|binding| !inside(binding) && binding.from() != *gone && binding.to() != *gone);
    }

    fn each(all: &BTreeSet<Self>) -> impl Iterator<Item = Self> {
        all.iter().cloned()
    }

    fn declaring(&self) -> String {
        format!("add {}", Self::describe(self))
    }

    fn removing(identity: &Self, _if_free: bool) -> String {
        format!("remove {}", Self::describe(identity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_as_rabbitmq_writes_them() {
        let rows: Vec<Row> = serde_json::from_value(json!([
            {"source": "", "vhost": "/", "destination": "q", "destination_type": "queue", "routing_key": "q",
             "arguments": {}, "properties_key": "q"},
            {"source": "x", "vhost": "/", "destination": "q", "destination_type": "queue", "routing_key": "a.b",
             "arguments": [], "properties_key": "a.b"}
        ]))
        .unwrap();
        let bindings: Vec<_> = rows.into_iter().filter_map(BindingDefinition::listed).collect();
        assert_eq!(bindings.len(), 1);
        assert_eq!(bindings[0].to_string(), "exchange 'x' to queue 'q' by 'a.b'");
        assert!(bindings[0].arguments.is_empty());
        let arguments = serde_json::from_value(json!({"x-match": "all", "n": 5})).unwrap();
        let headers = BindingDefinition {
            routing_key: String::new(),
            arguments,
            ..bindings[0].clone()
        };
        assert_eq!(
            headers.to_string(),
            r#"exchange 'x' to queue 'q' with n=5, x-match="all""#
        );
    }
}
