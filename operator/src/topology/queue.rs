//! Queues: what they are declared with, and what there is to say of them.
//!
//! In: the spec of a Queue, rows of `GET /api/queues`. Out: `QueueDefinition`, and the backlog in a row.
//! Does not know about exchanges, bindings, or the wire.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::arguments::{Arguments, Table};
use super::backlog::{Backlog, COLUMNS, Counters};
use super::declaration::{Deletion, Labels, Policies, Reference, compare, compare_arguments, rest};
use super::name::{Name, Target};
use super::named::{Definition, Named, Removal};
use crate::resource::{DeadLetter, DelayedRetry, Kind, Period, PeriodError, QueueDeletionPolicy, QueueSpec, QueueType};

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

impl Row {
    /// The backlog of the queue; `None` when the broker says nothing of it.
    pub fn backlog(&self) -> Option<(Name, Backlog)> {
        let backlog = self.counters.backlog()?;
        Some((Name::new(&self.vhost, &self.name), backlog))
    }
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
        let arguments = arguments(spec).map_err(|error| error.to_string())?;
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

    fn list() -> String {
        format!("/api/queues?columns=vhost,name,durable,auto_delete,exclusive,arguments,{COLUMNS}")
    }

    fn listed(row: Row) -> Named<Self> {
        let definition = Self::new(row.durable, row.auto_delete, row.exclusive, row.arguments.into());
        Named::new(Name::new(row.vhost, row.name), definition)
    }

    fn spec(&self) -> Map<String, Value> {
        let mut spec = Map::new();
        let mut arguments = self.arguments.clone();
        if !self.durable {
            spec.insert("durable".to_owned(), json!(false));
        }
        if self.auto_delete {
            spec.insert("autoDelete".to_owned(), json!(true));
        }
        if let Some(Value::String(kind)) = arguments.get("x-queue-type") {
            arguments.remove("x-queue-type");
            spec.insert("type".to_owned(), json!(kind));
        }
        for (argument, field) in PLAIN {
            if let Some(value) = arguments.get(argument).filter(|value| !value.is_null()) {
                arguments.remove(argument);
                spec.insert(field.to_owned(), value);
            }
        }
        for (argument, field) in PERIODS {
            if let Some(millis) = arguments.get(argument).and_then(|value| value.as_u64()) {
                arguments.remove(argument);
                spec.insert(field.to_owned(), json!(period(millis)));
            }
        }
        if let Some(Value::String(exchange)) = arguments.get("x-dead-letter-exchange") {
            let mut dead = json!({ "exchange": exchange });
            arguments.remove("x-dead-letter-exchange");
            if let (Some(Value::String(key)), Some(dead)) =
                (arguments.get("x-dead-letter-routing-key"), dead.as_object_mut())
            {
                arguments.remove("x-dead-letter-routing-key");
                dead.insert("routingKey".to_owned(), json!(key));
            }
            if let (Some(Value::String(strategy)), Some(dead)) =
                (arguments.get("x-dead-letter-strategy"), dead.as_object_mut())
            {
                arguments.remove("x-dead-letter-strategy");
                dead.insert("strategy".to_owned(), json!(strategy));
            }
            spec.insert("deadLetter".to_owned(), dead);
        }
        if let Some(retry) = delayed_retry(&mut arguments) {
            spec.insert("delayedRetry".to_owned(), retry);
        }
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
        let Some(Value::String(exchange)) = self.arguments.get("x-dead-letter-exchange") else {
            return Vec::new();
        };
        vec![Reference {
            field: "deadLetter",
            target: Target::new(Kind::Exchange, Name::new(vhost, exchange)),
        }]
    }
}

/// The shorthands as RabbitMQ's arguments; times are integers in milliseconds.
fn arguments(spec: &QueueSpec) -> Result<Arguments, PeriodError> {
    // Without `..`: no field may be forgotten.
    let QueueSpec {
        broker_ref: _,
        name: _,
        vhost: _,
        queue_type,
        durable: _,
        auto_delete: _,
        max_length,
        max_length_bytes,
        overflow,
        message_ttl,
        expires,
        max_priority,
        dead_letter,
        delivery_limit,
        delayed_retry,
        single_active_consumer,
        consumer_timeout,
        deduplication,
        arguments,
        deletion_policy: _,
        adoption_policy: _,
        update_policy: _,
    } = spec;
    let mut arguments = Arguments::from(arguments.clone());
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            arguments.insert(name, &value);
        }
    };
    let millis = |period: &Option<Period>| match period {
        None => Ok(None),
        Some(period) => period.millis().map(|millis| Some(json!(millis))),
    };
    if *queue_type != QueueType::Classic {
        put("x-queue-type", Some(json!(queue_type.as_str())));
    }
    put("x-max-length", max_length.map(Value::from));
    put("x-max-length-bytes", max_length_bytes.map(Value::from));
    put("x-overflow", overflow.map(|overflow| json!(overflow.as_str())));
    put("x-message-ttl", millis(message_ttl)?);
    put("x-expires", millis(expires)?);
    put("x-max-priority", max_priority.map(Value::from));
    if let Some(DeadLetter {
        exchange,
        routing_key,
        strategy,
    }) = dead_letter
    {
        put("x-dead-letter-exchange", Some(json!(exchange)));
        put(
            "x-dead-letter-strategy",
            strategy.map(|strategy| json!(strategy.as_str())),
        );
        put("x-dead-letter-routing-key", routing_key.as_ref().map(|key| json!(key)));
    }
    put("x-delivery-limit", delivery_limit.map(Value::from));
    if let Some(DelayedRetry { after, min, max }) = delayed_retry {
        put("x-delayed-retry-type", Some(json!(after.as_str())));
        put("x-delayed-retry-min", min.millis().map(|millis| Some(json!(millis)))?);
        put("x-delayed-retry-max", millis(max)?);
    }
    put("x-single-active-consumer", single_active_consumer.map(Value::from));
    put("x-consumer-timeout", millis(consumer_timeout)?);
    if let Some(deduplication) = deduplication {
        put("x-message-deduplication", Some(json!(true)));
        put("x-cache-size", Some(json!(deduplication.cache_size)));
        put("x-cache-ttl", millis(&deduplication.cache_ttl)?);
        put(
            "x-deduplication-header",
            deduplication.header.as_ref().map(|header| json!(header)),
        );
    }
    Ok(arguments)
}

/// Arguments with the field of a spec that has the same value.
const PLAIN: [(&str, &str); 6] = [
    ("x-max-length", "maxLength"),
    ("x-max-length-bytes", "maxLengthBytes"),
    ("x-overflow", "overflow"),
    ("x-max-priority", "maxPriority"),
    ("x-delivery-limit", "deliveryLimit"),
    ("x-single-active-consumer", "singleActiveConsumer"),
];
/// Arguments in milliseconds with the field of a spec that has a unit.
const PERIODS: [(&str, &str); 3] = [
    ("x-message-ttl", "messageTtl"),
    ("x-expires", "expires"),
    ("x-consumer-timeout", "consumerTimeout"),
];

/// Takes the pauses out of the arguments, if the shorthand can say what these say.
fn delayed_retry(arguments: &mut Arguments) -> Option<Value> {
    const NAMES: [&str; 3] = ["x-delayed-retry-type", "x-delayed-retry-min", "x-delayed-retry-max"];
    let [after, min, max] = NAMES.map(|name| arguments.get(name));
    let after = after.filter(|after| ["all", "failed", "returned"].iter().any(|known| after == known))?;
    let mut retry = json!({ "type": after, "min": period(min?.as_u64()?) });
    if let Some(max) = max {
        retry
            .as_object_mut()?
            .insert("max".to_owned(), json!(period(max.as_u64()?)));
    }
    for name in NAMES {
        arguments.remove(name);
    }
    Some(retry)
}

/// The largest unit that holds it exactly.
fn period(millis: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let fitting = units
        .into_iter()
        .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    fitting.map_or_else(
        || format!("{millis}ms"),
        |(unit, name)| format!("{}{name}", millis / unit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_exported_where_the_shorthand_can_say_them() {
        let spec = |arguments: Value| {
            let arguments = serde_json::from_value(arguments).unwrap();
            Value::Object(QueueDefinition::new(true, false, false, arguments).spec())
        };
        assert_eq!(
            spec(json!({"x-delayed-retry-type": "all", "x-delayed-retry-min": 1500, "x-delayed-retry-max": 60_000})),
            json!({"delayedRetry": {"type": "all", "min": "1500ms", "max": "1m"}})
        );
        for said in [
            json!({"x-delayed-retry-type": "disabled", "x-delayed-retry-min": 5}),
            json!({"x-delayed-retry-type": "all"}),
            json!({"x-delayed-retry-type": "all", "x-delayed-retry-min": 5, "x-delayed-retry-max": -1}),
        ] {
            assert_eq!(spec(said.clone()), json!({ "arguments": said }));
        }
    }

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

    #[test]
    fn periods_are_exact() {
        for (millis, text) in [
            (0, "0ms"),
            (1, "1ms"),
            (1_000, "1s"),
            (90_000, "90s"),
            (7_200_000, "2h"),
            (86_400_000, "1d"),
        ] {
            assert_eq!(period(millis), text);
        }
    }
}
