//! Queues: what they are declared with, and what there is to say of them.
//!
//! In: the spec of a Queue, rows of `GET /api/queues`. Out: `QueueDefinition`, and the backlog in a row.
//! Does not know about exchanges, bindings, or the wire.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::arguments::{Arguments, Table};
use super::backlog::{Backlog, COLUMNS, Counters};
use super::declaration::{
    Deletion, Labels, Policies, Reference, compare, compare_arguments, dead_letters, exchange_named, rest,
};
use super::name::Name;
use super::named::{Definition, Named, Removal};
use super::shorthand;
use super::touch::Touch;
use crate::resource::{Kind, QueueDeletionPolicy, QueueSpec};

/// A queue by its name.
pub type Declaration = Named<QueueDefinition>;

/// The properties that a queue is declared with.
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

    /// The same queue with its type among the arguments, for virtual hosts where a queue without is no classic one.
    pub fn with_type(mut self) -> Self {
        if self.arguments.get("x-queue-type").is_none() {
            self.arguments.insert("x-queue-type", &json!("classic"));
        }
        self
    }

    pub fn arguments(&self) -> &Arguments {
        &self.arguments
    }
}

/// A queue as the management API lists it.
#[derive(Deserialize)]
pub struct Row {
    vhost: String,
    name: String,
    #[serde(default)]
    durable: bool,
    #[serde(default)]
    auto_delete: bool,
    #[serde(default)]
    exclusive: bool,
    #[serde(default)]
    arguments: Table,
    #[serde(flatten)]
    counters: Counters,
}

impl Definition for QueueDefinition {
    const KIND: Kind = Kind::Queue;
    const LABELS: Labels = Labels {
        declare: "declare_queue",
        remove: "delete_queue",
    };
    const REMOVAL: Removal = Removal {
        if_free: " if it is empty",
        always: " with all its messages",
    };

    type Spec = QueueSpec;
    type Row = Row;

    fn name(spec: &QueueSpec, metadata_name: &str) -> Name {
        Name::new(&spec.vhost, spec.broker_name(metadata_name))
    }

    fn wanted(spec: &QueueSpec) -> Result<Self, String> {
        let arguments = shorthand::arguments(spec).map_err(|error| error.to_string())?;
        Ok(Self::new(spec.durable, spec.auto_delete, false, arguments))
    }

    fn policies(spec: &QueueSpec) -> Policies {
        Policies {
            deletion: match spec.deletion_policy {
                QueueDeletionPolicy::DeleteIfEmpty => Deletion::DeleteIfFree,
                QueueDeletionPolicy::Delete => Deletion::Delete,
                QueueDeletionPolicy::Retain => Deletion::Retain,
            },
            adoption: spec.adoption_policy,
        }
    }

    fn lists() -> Vec<String> {
        vec![format!(
            "/api/queues?columns=vhost,name,durable,auto_delete,exclusive,arguments,{COLUMNS}"
        )]
    }

    fn listed(row: Row) -> Named<Self> {
        let definition = Self::new(row.durable, row.auto_delete, row.exclusive, row.arguments.into());
        Named::new(Name::new(row.vhost, row.name), definition)
    }

    /// `None` when the broker says nothing of it.
    fn backlog(row: &Row) -> Option<(Name, Backlog)> {
        let backlog = row.counters.backlog()?;
        Some((Name::new(&row.vhost, &row.name), backlog))
    }

    fn spec(&self) -> Map<String, Value> {
        let mut spec = Map::new();
        if !self.durable {
            spec.insert("durable".to_owned(), json!(false));
        }
        if self.auto_delete {
            spec.insert("autoDelete".to_owned(), json!(true));
        }
        let mut arguments = self.arguments.clone();
        spec.extend(shorthand::take(&mut arguments));
        rest(&mut spec, &arguments);
        spec
    }

    fn differences(&self, found: &Self) -> Vec<String> {
        let mut list = Vec::new();
        compare(&mut list, "durable", &self.durable, &found.durable);
        compare(&mut list, "autoDelete", &self.auto_delete, &found.auto_delete);
        compare(&mut list, "exclusive", &self.exclusive, &found.exclusive);
        compare_arguments(&mut list, &self.arguments, &found.arguments);
        list
    }

    fn references(&self, vhost: &str) -> Vec<Reference> {
        exchange_named(&self.arguments, "x-dead-letter-exchange", "deadLetter", vhost)
    }

    fn reaches(&self, vhost: &str) -> Vec<Touch> {
        let (exchange, key) = ("x-dead-letter-exchange", "x-dead-letter-routing-key");
        dead_letters(&self.arguments, exchange, key, vhost)
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classic_is_the_type_of_a_queue_without_type() {
        let queue = |value| QueueDefinition::new(true, false, false, serde_json::from_value(value).unwrap());
        assert_eq!(queue(json!({"x-queue-type": "classic"})), queue(json!({})));
        assert_ne!(queue(json!({"x-queue-type": "quorum"})), queue(json!({})));
    }

    #[test]
    fn a_row_as_rabbitmq_writes_it() {
        let row: Row = serde_json::from_value(json!({
            "arguments": {"x-max-length": 5, "x-queue-type": "classic"}, "auto_delete": false, "durable": true,
            "exclusive": false, "name": "invoices", "type": "classic", "vhost": "/"
        }))
        .unwrap();
        let Named { name, definition } = QueueDefinition::listed(row);
        assert_eq!(name, Name::new("/", "invoices"));
        assert_eq!(
            definition,
            QueueDefinition::new(
                true,
                false,
                false,
                serde_json::from_value(json!({"x-max-length": 5})).unwrap()
            )
        );
    }
}
