//! Plain types for what stands on a broker: exchanges, queues and bindings by name, with their definitions.
//!
//! In: nothing. Out: the vocabulary that the sync steps and the broker edge share.
//! Does not know about resources, sources, or the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

/// The arguments of a declaration, in a canonical form: two tables that mean the same are equal.
///
/// AMQP has eight integer types and brokers do not tell them apart when they compare declarations, so an integer is an
/// integer here, and `1.0` is `1` (JSON has only one number type and some brokers list integers as floats).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, Value>", into = "BTreeMap<String, Value>")]
pub struct Arguments {
    /// Argument to its value as canonical JSON text.
    values: BTreeMap<String, String>,
}

impl Arguments {
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<Value> {
        self.values.get(name).map(|text| parse(text))
    }

    pub fn insert(&mut self, name: &str, value: &Value) {
        self.values.insert(name.to_owned(), canonical(value));
    }

    pub fn remove(&mut self, name: &str) {
        self.values.remove(name);
    }

    /// Arguments with their values, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value)> {
        self.values.iter().map(|(name, text)| (name.as_str(), parse(text)))
    }
}

impl From<BTreeMap<String, Value>> for Arguments {
    fn from(values: BTreeMap<String, Value>) -> Self {
        Self {
            values: values
                .into_iter()
                .map(|(name, value)| (name, canonical(&value)))
                .collect(),
        }
    }
}

impl From<Arguments> for BTreeMap<String, Value> {
    fn from(arguments: Arguments) -> Self {
        arguments
            .values
            .into_iter()
            .map(|(name, text)| (name, parse(&text)))
            .collect()
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

fn canonical(value: &Value) -> String {
    normal(value).to_string()
}

/// Integers written as floats become integers; the keys of tables are sorted.
fn normal(value: &Value) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53: exact")]
            Some(float) if float.fract() == 0.0 && float.abs() < EXACT => Value::Number(Number::from(float as i64)),
            _ => value.clone(),
        },
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            Value::Object(
                sorted
                    .into_iter()
                    .map(|(key, value)| (key.clone(), normal(value)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

/// A queue or an exchange by its name on the broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub vhost: String,
    pub name: String,
}

impl Name {
    pub fn new(vhost: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            vhost: vhost.into(),
            name: name.into(),
        }
    }

    /// The broker's own: the default exchange and everything called `amq.*` (AMQP 0-9-1, 3.1.3.1).
    pub fn is_reserved(&self) -> bool {
        self.name.is_empty() || self.name.starts_with("amq.")
    }
}

/// What a queue is declared with. Two definitions are equal when a broker takes them for the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueDefinition {
    pub durable: bool,
    pub auto_delete: bool,
    /// Belongs to one connection; resources never ask for it.
    pub exclusive: bool,
    arguments: Arguments,
}

impl QueueDefinition {
    /// The type `classic` is left out of the arguments: it is what a queue without `x-queue-type` is, and an
    /// application that declares the queue without arguments must find it equal (RabbitMQ before 4.0 does not).
    pub fn new(durable: bool, auto_delete: bool, exclusive: bool, mut arguments: Arguments) -> Self {
        if arguments.get("x-queue-type").is_some_and(|value| value == "classic") {
            arguments.remove("x-queue-type");
        }
        Self {
            durable,
            auto_delete,
            exclusive,
            arguments,
        }
    }

    pub fn arguments(&self) -> &Arguments {
        &self.arguments
    }
}

/// What an exchange is declared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExchangeDefinition {
    pub kind: String,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: Arguments,
}

/// What a binding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    Exchange,
    Queue,
}

impl End {
    pub fn as_str(self) -> &'static str {
        match self {
            End::Exchange => "exchange",
            End::Queue => "queue",
        }
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
        Ok(())
    }
}

/// What one resource owns on the broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    Exchange(Name),
    Queue(Name),
    Binding(BindingDefinition),
}

/// One thing to do on a broker. Each is idempotent, so that it may be repeated when its answer got lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    DeclareExchange(Name, ExchangeDefinition),
    DeclareQueue(Name, QueueDefinition),
    Bind(BindingDefinition),
    Unbind(BindingDefinition),
    /// `if_empty` is checked by the broker together with the deletion, so no message can slip in between.
    DeleteQueue {
        name: Name,
        if_empty: bool,
    },
    DeleteExchange {
        name: Name,
        if_unused: bool,
    },
}

impl Operation {
    pub fn vhost(&self) -> &str {
        match self {
            Operation::DeclareExchange(name, _)
            | Operation::DeclareQueue(name, _)
            | Operation::DeleteQueue { name, .. }
            | Operation::DeleteExchange { name, .. } => &name.vhost,
            Operation::Bind(binding) | Operation::Unbind(binding) => &binding.vhost,
        }
    }

    /// What stands after it (`true`) or is gone (`false`).
    pub fn effect(&self) -> (Identity, bool) {
        match self {
            Operation::DeclareExchange(name, _) => (Identity::Exchange(name.clone()), true),
            Operation::DeclareQueue(name, _) => (Identity::Queue(name.clone()), true),
            Operation::Bind(binding) => (Identity::Binding(binding.clone()), true),
            Operation::Unbind(binding) => (Identity::Binding(binding.clone()), false),
            Operation::DeleteQueue { name, .. } => (Identity::Queue(name.clone()), false),
            Operation::DeleteExchange { name, .. } => (Identity::Exchange(name.clone()), false),
        }
    }

    /// For metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Operation::DeclareExchange(..) => "declare_exchange",
            Operation::DeclareQueue(..) => "declare_queue",
            Operation::Bind(_) => "bind",
            Operation::Unbind(_) => "unbind",
            Operation::DeleteQueue { .. } => "delete_queue",
            Operation::DeleteExchange { .. } => "delete_exchange",
        }
    }
}

/// Everything that is known to stand on a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    pub exchanges: BTreeMap<Name, ExchangeDefinition>,
    pub queues: BTreeMap<Name, QueueDefinition>,
    /// Without those of the default exchange, which come and go with their queues.
    pub bindings: BTreeSet<BindingDefinition>,
}

impl Topology {
    /// Takes a queue away, and what goes with it.
    pub fn remove_queue(&mut self, name: &Name) -> bool {
        let known = self.queues.remove(name).is_some();
        self.bindings
            .retain(|binding| binding.end != End::Queue || &binding.destination_name() != name);
        known
    }

    /// Takes an exchange away, and what goes with it.
    pub fn remove_exchange(&mut self, name: &Name) -> bool {
        let known = self.exchanges.remove(name).is_some();
        self.bindings.retain(|binding| {
            &binding.source_name() != name && (binding.end != End::Exchange || &binding.destination_name() != name)
        });
        known
    }

    /// Whether a binding can be made: the names of its ends stand.
    pub fn has_end(&self, end: End, name: &Name) -> bool {
        match end {
            End::Exchange => self.exchanges.contains_key(name),
            End::Queue => self.queues.contains_key(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments(value: Value) -> Arguments {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn arguments_compare_by_meaning() {
        assert_eq!(arguments(json!({"a": 1, "b": 2.0})), arguments(json!({"b": 2, "a": 1})));
        assert_eq!(
            arguments(json!({"t": {"x": 1, "y": [1.0]}})),
            arguments(json!({"t": {"y": [1], "x": 1}}))
        );
        assert_ne!(arguments(json!({"a": 1})), arguments(json!({"a": "1"})));
        assert_ne!(arguments(json!({"a": 1.5})), arguments(json!({"a": 1})));
        assert_ne!(arguments(json!({"a": null})), arguments(json!({})));
    }

    #[test]
    fn arguments_keep_their_values() {
        let value = json!({"i": 9_007_199_254_740_993_i64, "u": u64::MAX, "f": 1.5, "s": "x", "b": true, "n": null});
        assert_eq!(serde_json::to_value(arguments(value.clone())).unwrap(), value);
    }

    #[test]
    fn classic_is_the_type_of_a_queue_without_type() {
        let queue = |value| QueueDefinition::new(true, false, false, arguments(value));
        assert_eq!(queue(json!({"x-queue-type": "classic"})), queue(json!({})));
        assert_ne!(queue(json!({"x-queue-type": "quorum"})), queue(json!({})));
    }

    #[test]
    fn removing_an_end_takes_its_bindings_along() {
        let binding = |source: &str, end, destination: &str| BindingDefinition {
            vhost: "/".to_owned(),
            source: source.to_owned(),
            end,
            destination: destination.to_owned(),
            routing_key: String::new(),
            arguments: Arguments::default(),
        };
        let mut topology = Topology::default();
        for name in ["x", "y"] {
            topology
                .exchanges
                .insert(Name::new("/", name), ExchangeDefinition::default());
        }
        topology.queues.insert(Name::new("/", "x"), QueueDefinition::default());
        topology.bindings.insert(binding("y", End::Queue, "x"));
        topology.bindings.insert(binding("y", End::Exchange, "x"));
        assert!(topology.remove_queue(&Name::new("/", "x")));
        assert_eq!(topology.bindings, BTreeSet::from([binding("y", End::Exchange, "x")]));
        assert!(!topology.remove_exchange(&Name::new("other", "x")));
        assert!(topology.remove_exchange(&Name::new("/", "x")));
        assert!(topology.bindings.is_empty());
    }
}
