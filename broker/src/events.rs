//! What happened to the topology, told on the topic exchange `amq.rabbitmq.event` in the shape of RabbitMQ's event
//! exchange.
//!
//! Comes in: creations and deletions, after their locks are released. Goes out: messages without body whose headers say
//! what it was and whose routing key says what happened (`queue.deleted`). Nothing is encoded while no queue is bound
//! there. Does not know who listens.

use crate::access::INTERNAL_USER;
use crate::erlang::field;
use crate::exchange::binding::Binding;
use crate::message::Message;
use crate::policy::{Class, Policy};
use crate::queue::arguments::QueueType;
use crate::{exchange, queue};
use leveret_amqp::{BasicProperties, FieldTable, FieldValue, RawTable, ShortString};
use std::time::{SystemTime, UNIX_EPOCH};

/// The exchange that events are published to.
pub const EXCHANGE: &str = "amq.rabbitmq.event";

/// One event.
#[derive(Debug)]
pub struct Event {
    what: What,
    /// True if it followed from something else, and no user asked for it.
    by_broker: bool,
}

#[derive(Debug)]
enum What {
    QueueCreated(queue::Definition),
    QueueDeleted(ShortString, QueueType),
    ExchangeCreated(exchange::Definition),
    ExchangeDeleted(ShortString),
    BindingCreated(Binding),
    BindingDeleted(Binding),
    PolicySet(Policy),
    PolicyCleared(Class, String),
    Other(&'static str, Vec<(&'static str, FieldValue)>),
}

impl Event {
    fn new(what: What) -> Self {
        let by_broker = false;
        Self { what, by_broker }
    }

    /// `queue.created`
    pub fn queue_created(queue: &queue::Definition) -> Self {
        Self::new(What::QueueCreated(queue.clone()))
    }

    /// `queue.deleted`
    pub fn queue_deleted(queue: &queue::Definition) -> Self {
        Self::new(What::QueueDeleted(
            queue.name.clone(),
            queue.arguments.values.queue_type(),
        ))
    }

    /// `exchange.created`
    pub fn exchange_created(exchange: &exchange::Definition) -> Self {
        Self::new(What::ExchangeCreated(exchange.clone()))
    }

    /// `exchange.deleted`
    pub fn exchange_deleted(exchange: &exchange::Definition) -> Self {
        Self::new(What::ExchangeDeleted(exchange.name.clone()))
    }

    /// `binding.created`
    pub fn binding_created(binding: &Binding) -> Self {
        Self::new(What::BindingCreated(binding.clone()))
    }

    /// `binding.deleted`
    pub fn binding_deleted(binding: &Binding) -> Self {
        Self::new(What::BindingDeleted(binding.clone()))
    }

    /// `policy.set`, of either class.
    pub fn policy_set(policy: &Policy) -> Self {
        Self::new(What::PolicySet(policy.clone()))
    }

    /// `policy.cleared`, `operator.policy.cleared`
    pub fn policy_cleared(class: Class, name: &str) -> Self {
        Self::new(What::PolicyCleared(class, name.to_owned()))
    }

    /// An event with this routing key and these headers, beside those that all have.
    pub fn other(key: &'static str, headers: Vec<(&'static str, FieldValue)>) -> Self {
        Self::new(What::Other(key, headers))
    }

    /// The same event, as something that followed from something else and that no user asked for.
    pub fn by_broker(self) -> Self {
        let by_broker = true;
        Self { by_broker, ..self }
    }

    /// The routing key.
    fn key(&self) -> &'static str {
        match self.what {
            What::QueueCreated(_) => "queue.created",
            What::QueueDeleted(..) => "queue.deleted",
            What::ExchangeCreated(_) => "exchange.created",
            What::ExchangeDeleted(_) => "exchange.deleted",
            What::BindingCreated(_) => "binding.created",
            What::BindingDeleted(_) => "binding.deleted",
            What::PolicySet(_) => "policy.set",
            What::PolicyCleared(Class::User, _) => "policy.cleared",
            What::PolicyCleared(Class::Operator, _) => "operator.policy.cleared",
            What::Other(key, _) => key,
        }
    }

    /// RabbitMQ's description of it, in the order of the names.
    fn headers(&self, vhost: Option<&str>, user: &str, millis: i64) -> FieldTable {
        let user = if self.by_broker { INTERNAL_USER } else { user };
        let mut headers = vec![
            ("timestamp_in_ms", FieldValue::Long(millis)),
            ("user_who_performed_action", user.into()),
        ];
        headers.extend(vhost.map(|vhost| ("vhost", vhost.into())));
        match &self.what {
            What::QueueCreated(queue) => headers.extend([
                ("arguments", arguments(&queue.arguments.declared)),
                ("auto_delete", queue.auto_delete.into()),
                ("durable", queue.durable.into()),
                ("exclusive", queue.owner.is_some().into()),
                ("name", (&queue.name).into()),
                // RabbitMQ: a process identifier, empty if there is none. Here the connection's number.
                (
                    "owner_pid",
                    queue.owner.map(|id| id.to_string()).unwrap_or_default().into(),
                ),
                ("type", queue.arguments.values.queue_type().module().into()),
            ]),
            What::QueueDeleted(name, queue_type) => {
                headers.extend([("name", name.into()), ("type", queue_type.module().into())])
            }
            What::ExchangeCreated(exchange) => headers.extend([
                ("arguments", arguments(&exchange.arguments)),
                ("auto_delete", exchange.auto_delete.into()),
                ("durable", exchange.durable.into()),
                ("internal", exchange.internal.into()),
                ("name", (&exchange.name).into()),
                ("policy", "".into()),
                ("type", exchange.kind.name.into()),
            ]),
            What::ExchangeDeleted(name) => headers.push(("name", name.into())),
            What::BindingCreated(binding) | What::BindingDeleted(binding) => headers.extend([
                ("arguments", arguments(&binding.arguments)),
                ("destination_kind", binding.destination_kind.name().into()),
                ("destination_name", (&binding.destination).into()),
                ("routing_key", (&binding.routing_key).into()),
                ("source_kind", "exchange".into()),
                ("source_name", (&binding.source).into()),
            ]),
            What::PolicySet(policy) => headers.extend([
                ("apply-to", policy.apply_to.name().into()),
                ("definition", FieldValue::Table(policy.definition.clone())),
                ("name", policy.name.as_str().into()),
                ("pattern", policy.pattern.text().into()),
                ("priority", policy.priority.into()),
            ]),
            What::PolicyCleared(_, name) => headers.push(("name", name.as_str().into())),
            What::Other(_, more) => headers.extend(more.iter().cloned()),
        }
        headers.sort_by_key(|(name, _)| *name);
        let pair = |(name, value)| (ShortString::from_static(name), value);
        headers.into_iter().map(pair).collect()
    }

    /// The event as it is published to [`EXCHANGE`], after something that `user` did: in a vhost, unless it is the
    /// broker's.
    pub fn message(&self, vhost: Option<&str>, user: &str) -> Message {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let properties = BasicProperties {
            headers: Some(self.headers(vhost, user, now.as_millis() as i64)),
            delivery_mode: Some(2),
            timestamp: Some(now.as_secs()),
            ..BasicProperties::default()
        };
        Message::new(EXCHANGE.as_bytes(), self.key().as_bytes(), &properties.to_bytes(), b"")
    }
}

/// Octets of arguments that an event tells of: with the rest of its headers it fits into any client's frames.
const MOST_TOLD: usize = 64 << 10;

/// Arguments as RabbitMQ's event exchange has them: a list of texts, one for each, in Erlang's notation:
/// `{<<"x-foo">>,signedint,1}`. The notation takes more than the arguments: what would be too much is left out, and a
/// last text, `...`, says so.
fn arguments(table: &RawTable) -> FieldValue {
    let mut left = MOST_TOLD;
    let mut texts = Vec::new();
    for (name, value) in table {
        let text = field(name, &value.parse());
        let Some(rest) = left.checked_sub(text.len()) else {
            texts.push("...".into());
            break;
        };
        left = rest;
        texts.push(text.into());
    }
    FieldValue::Array(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::binding::DestinationKind;

    fn names(table: &FieldTable) -> Vec<String> {
        table.iter().map(|(name, _)| name.to_str_lossy().into_owned()).collect()
    }

    #[test]
    fn policies_are_told_with_what_they_say() {
        let definition = FieldTable(vec![(ShortString::from_static("max-length"), FieldValue::Long(5))]);
        let fields = FieldTable(vec![
            (ShortString::from_static("pattern"), "^q".into()),
            (
                ShortString::from_static("definition"),
                FieldValue::Table(definition.clone()),
            ),
        ]);
        let policy = Policy::parse(Class::Operator, "p", &fields).expect("a policy");
        let event = Event::policy_set(&policy);
        let headers = event.headers(Some("/"), "guest", 5);
        let expected = "apply-to definition name pattern priority timestamp_in_ms user_who_performed_action vhost";
        assert_eq!(
            (event.key(), names(&headers).join(" ").as_str()),
            ("policy.set", expected)
        );
        assert_eq!(headers.get("definition"), Some(&FieldValue::Table(definition)));
        let cleared = Class::ALL.map(|class| Event::policy_cleared(class, "p").key());
        assert_eq!(cleared, ["policy.cleared", "operator.policy.cleared"]);
    }

    #[test]
    fn an_event_has_the_headers_of_rabbitmq() {
        let binding = Binding {
            source: ShortString::from_static("x"),
            destination_kind: DestinationKind::Queue,
            destination: ShortString::from_static("q"),
            routing_key: ShortString::from_static("a.b"),
            arguments: [
                (ShortString::from_static("n"), FieldValue::Int(1)),
                (ShortString::from_static("s"), FieldValue::from("t")),
            ]
            .into_iter()
            .collect(),
        };
        let asked_for = Event::binding_deleted(&binding).headers(Some("/"), "guest", 5);
        assert_eq!(asked_for.get("user_who_performed_action"), Some(&"guest".into()));
        let event = Event::binding_deleted(&binding).by_broker();
        let headers = event.headers(Some("/"), "guest", 5);
        let expected = [
            "arguments",
            "destination_kind",
            "destination_name",
            "routing_key",
            "source_kind",
            "source_name",
            "timestamp_in_ms",
            "user_who_performed_action",
            "vhost",
        ];
        assert_eq!(names(&headers), expected);
        assert_eq!(headers.get("user_who_performed_action"), Some(&"rmq-internal".into()));
        let texts = ["{<<\"n\">>,signedint,1}", "{<<\"s\">>,longstr,<<\"t\">>}"];
        let texts = texts.into_iter().map(FieldValue::from).collect();
        assert_eq!(headers.get("arguments"), Some(&FieldValue::Array(texts)));
        let message = event.message(Some("/"), "guest");
        assert_eq!(
            (message.routing_key(), message.body()),
            (&b"binding.deleted"[..], &b""[..])
        );
        assert!(message.persistent());
    }
}
