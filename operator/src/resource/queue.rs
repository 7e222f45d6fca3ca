//! `Queue`: a queue on a broker.
//!
//! In: the manifest. Out: `QueueSpec`. Does not know about what the broker makes of it.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::common::{AdoptionPolicy, BrokerRef, Rule, Specifies, UpdatePolicy, default_true, default_vhost};
use super::condition::ObjectStatus;
use super::schema::{self, rules};

/// A queue on a broker.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "leveret.dev",
    version = "v1alpha1",
    kind = "Queue",
    plural = "queues",
    shortname = "lvq",
    category = "leveret",
    namespaced,
    status = "QueueStatus",
    derive = "PartialEq",
    selectable = ".spec.brokerRef.name",
    selectable = ".spec.vhost",
    doc = "A queue on a broker",
    printcolumn = r#"{"name":"BROKER","type":"string","jsonPath":".spec.brokerRef.name"}"#,
    printcolumn = r#"{"name":"VHOST","type":"string","jsonPath":".spec.vhost"}"#,
    printcolumn = r#"{"name":"TYPE","type":"string","jsonPath":".spec.type"}"#,
    printcolumn = r#"{"name":"READY","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"REASON","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"MESSAGES","type":"integer","priority":1,"jsonPath":".status.messages"}"#,
    printcolumn = r#"{"name":"WAITING","type":"integer","priority":1,"jsonPath":".status.ready"}"#,
    printcolumn = r#"{"name":"CONSUMERS","type":"integer","priority":1,"jsonPath":".status.consumers"}"#,
    printcolumn = r#"{"name":"DRAIN","type":"string","priority":1,"jsonPath":".status.drain"}"#,
    printcolumn = r#"{"name":"QUEUE","type":"string","priority":1,"jsonPath":".status.name"}"#,
    printcolumn = r#"{"name":"MESSAGE","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = shorthand_rules()))]
pub struct QueueSpec {
    /// The Broker that has this queue. Cannot be changed.
    #[schemars(extend("x-kubernetes-validations" = rules(&[schema::FIXED_BROKER])))]
    pub broker_ref: BrokerRef,
    /// Name on the broker; default: metadata.name. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = schema::own_name_rules()))]
    pub name: Option<String>,
    /// Virtual host. Cannot be changed.
    #[serde(default = "default_vhost")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = schema::vhost_rules()))]
    pub vhost: String,
    /// classic, quorum or stream, where the broker has it.
    #[serde(default, rename = "type")]
    pub queue_type: QueueType,
    /// Survives a restart of the broker.
    #[serde(default = "default_true")]
    pub durable: bool,
    /// The broker deletes the queue when its last consumer goes.
    #[serde(default)]
    pub auto_delete: bool,
    /// Most messages the queue holds (x-max-length).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_length: Option<i64>,
    /// Most bytes of message bodies the queue holds (x-max-length-bytes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_length_bytes: Option<i64>,
    /// Answer to a message for a full queue (x-overflow).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overflow: Option<Overflow>,
    /// Time that a message lives in the queue, for example 30s or 24h (x-message-ttl).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_ttl: Option<Period>,
    /// Time that the queue lives unused, for example 7d (x-expires).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Period>,
    /// Number of priorities (x-max-priority).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub max_priority: Option<i64>,
    /// Where expired, rejected and overflowing messages go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// Times that a message is delivered again before it is dropped or dead-lettered; -1 is without limit
    /// (x-delivery-limit).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub delivery_limit: Option<i64>,
    /// Pause before a message that has come back is delivered again, where the broker has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delayed_retry: Option<DelayedRetry>,
    /// One consumer at a time gets messages (x-single-active-consumer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_active_consumer: Option<bool>,
    /// Time that a consumer may hold a message without acknowledging it (x-consumer-timeout).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_timeout: Option<Period>,
    /// Drop messages that were seen before, where the broker can (x-message-deduplication).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<Deduplication>,
    /// Any other queue arguments, passed on verbatim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "argument_schema")]
    pub arguments: BTreeMap<String, Value>,
    /// Effect of deleting this object on the broker: DeleteIfEmpty (refused while there are messages), Delete (with all
    /// messages), Retain (the queue stays).
    #[serde(default)]
    pub deletion_policy: QueueDeletionPolicy,
    /// Takes over a queue that was there before: IfEqual, Always (whatever its properties), Never.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// Answer to a change of type, durable, autoDelete or arguments: Refuse (the only one in this version).
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = rules(&[schema::ONLY_REFUSE])))]
    pub update_policy: UpdatePolicy,
}

impl QueueSpec {
    /// The name on the broker of the resource called `metadata_name`.
    pub fn broker_name<'a>(&'a self, metadata_name: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(metadata_name)
    }
}

impl Specifies for QueueSpec {
    const RULES: &'static [Rule] = &schema::NAMED;
}

/// Effect on the broker of deleting the Queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum QueueDeletionPolicy {
    #[default]
    DeleteIfEmpty,
    Delete,
    Retain,
}

/// State of a Queue, and the messages in it. The numbers are some seconds old, and for people: metrics
/// come from the broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    #[serde(flatten)]
    pub object: ObjectStatus,
    /// Messages in the queue, those that consumers hold included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<i64>,
    /// Messages that are ready for delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<i64>,
    /// Consumers of the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumers: Option<i64>,
    /// When the queue will be empty if the rates stay as they are: a time such as 4s, `grows`, or `-` for neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
}

/// Type of a queue: its way to store messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueueType {
    #[default]
    Classic,
    Quorum,
    Stream,
}

impl QueueType {
    /// The value of `x-queue-type`.
    pub fn as_str(self) -> &'static str {
        match self {
            QueueType::Classic => "classic",
            QueueType::Quorum => "quorum",
            QueueType::Stream => "stream",
        }
    }
}

/// Answer of a full queue to the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    DropHead,
    RejectPublish,
    RejectPublishDlx,
}

impl Overflow {
    /// The value of `x-overflow`.
    pub fn as_str(self) -> &'static str {
        match self {
            Overflow::DropHead => "drop-head",
            Overflow::RejectPublish => "reject-publish",
            Overflow::RejectPublishDlx => "reject-publish-dlx",
        }
    }
}

/// Where messages go that leave the queue without being acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Exchange by its name on the broker; the empty name is the default exchange (x-dead-letter-exchange).
    #[schemars(length(max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub exchange: String,
    /// Routing key; default: the message's own (x-dead-letter-routing-key).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub routing_key: Option<String>,
    /// Effect of a crash on a message on its way there, on brokers that leave the choice (x-dead-letter-strategy).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<DeadLetterStrategy>,
}

/// Effect of a crash on a dead letter on its way: it may be lost, or come twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeadLetterStrategy {
    AtMostOnce,
    AtLeastOnce,
}

impl DeadLetterStrategy {
    /// The value of `x-dead-letter-strategy`.
    pub fn as_str(self) -> &'static str {
        match self {
            DeadLetterStrategy::AtMostOnce => "at-most-once",
            DeadLetterStrategy::AtLeastOnce => "at-least-once",
        }
    }
}

/// Pause before a message that has come back is delivered again; it grows with each failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DelayedRetry {
    /// Messages that wait: all that come back, those that failed, those that were merely returned
    /// (x-delayed-retry-type).
    #[serde(rename = "type")]
    pub after: RetryType,
    /// First pause, and what each failure adds to it, for example 10s (x-delayed-retry-min).
    pub min: Period,
    /// Longest pause; default: the first one (x-delayed-retry-max).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Period>,
}

/// Messages that wait before they are delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RetryType {
    All,
    Failed,
    Returned,
}

impl RetryType {
    /// The value of `x-delayed-retry-type`.
    pub fn as_str(self) -> &'static str {
        match self {
            RetryType::All => "all",
            RetryType::Failed => "failed",
            RetryType::Returned => "returned",
        }
    }
}

/// Which messages count as seen before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deduplication {
    /// Number of message ids that are remembered (x-cache-size).
    #[schemars(range(min = 1))]
    pub cache_size: i64,
    /// Time that an id is remembered; default: until it is pushed out (x-cache-ttl).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_ttl: Option<Period>,
    /// Header that holds the id; default: x-deduplication-header (argument x-deduplication-header).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub header: Option<String>,
}

/// A length of time as a user writes it: `500ms`, `10s`, `90m`, `24h`, `7d`, or several in a row (`1h30m`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Period(
    #[schemars(length(min = 2, max = 32), extend("x-kubernetes-validations" = rules(&[schema::PERIOD])))] pub String,
);

/// A text is not a [`Period`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a duration like 500ms, 10s, 90m, 24h or 7d")]
pub struct PeriodError(String);

impl Period {
    /// The length in milliseconds, the unit of all AMQP arguments.
    ///
    /// # Errors
    /// The text is no duration, or longer than 2^63 ms.
    pub fn millis(&self) -> Result<i64, PeriodError> {
        parse_millis(&self.0).ok_or_else(|| PeriodError(self.0.clone()))
    }
}

fn parse_millis(text: &str) -> Option<i64> {
    let mut total: i64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(letters)?;
        let factor: i64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = number.parse::<i64>().ok()?.checked_mul(factor)?.checked_add(total)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// Each shorthand with the argument it stands for: path in `spec`, argument.
const SHORTHANDS: [(&str, &str); 19] = [
    ("maxLength", "x-max-length"),
    ("maxLengthBytes", "x-max-length-bytes"),
    ("overflow", "x-overflow"),
    ("messageTtl", "x-message-ttl"),
    ("expires", "x-expires"),
    ("maxPriority", "x-max-priority"),
    ("deadLetter", "x-dead-letter-exchange"),
    ("deadLetter", "x-dead-letter-routing-key"),
    ("deadLetter", "x-dead-letter-strategy"),
    ("deliveryLimit", "x-delivery-limit"),
    ("delayedRetry", "x-delayed-retry-type"),
    ("delayedRetry", "x-delayed-retry-min"),
    ("delayedRetry", "x-delayed-retry-max"),
    ("singleActiveConsumer", "x-single-active-consumer"),
    ("consumerTimeout", "x-consumer-timeout"),
    ("deduplication", "x-message-deduplication"),
    ("deduplication", "x-cache-size"),
    ("deduplication", "x-cache-ttl"),
    ("deduplication", "x-deduplication-header"),
];

fn shorthand_rules() -> Value {
    let mut all = schema::shorthand_rules(&SHORTHANDS);
    all.push(schema::rule(
        &format!(
            "!has(self.arguments) || !has(self.arguments.{})",
            schema::cel_name("x-queue-type")
        ),
        "the queue type is given by type, not by arguments.x-queue-type",
    ));
    Value::Array(all)
}

/// The well-known arguments get their type, so that a wrong one is refused early; all others pass as they are.
fn argument_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schema::argument_schema(&[
        ("x-max-length", "integer"),
        ("x-max-length-bytes", "integer"),
        ("x-overflow", "string"),
        ("x-message-ttl", "integer"),
        ("x-expires", "integer"),
        ("x-max-priority", "integer"),
        ("x-dead-letter-exchange", "string"),
        ("x-dead-letter-routing-key", "string"),
        ("x-dead-letter-strategy", "string"),
        ("x-delivery-limit", "integer"),
        ("x-delayed-retry-type", "string"),
        ("x-delayed-retry-min", "integer"),
        ("x-delayed-retry-max", "integer"),
        ("x-single-active-consumer", "boolean"),
        ("x-consumer-timeout", "integer"),
        ("x-message-deduplication", "boolean"),
        ("x-cache-size", "integer"),
        ("x-cache-ttl", "integer"),
        ("x-deduplication-header", "string"),
        ("x-queue-type", "string"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods() {
        for (text, millis) in [
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            ("1h30m", Some(5_400_000)),
            ("7d", Some(604_800_000)),
            ("", None),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1.5h", None),
            ("10 s", None),
            ("10S", None),
            ("é", None),
            ("9223372036854775807s", None),
        ] {
            assert_eq!(Period(text.to_owned()).millis().ok(), millis, "{text}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_schema() {
        let spec: QueueSpec = serde_json::from_value(serde_json::json!({"brokerRef": {"name": "main"}})).expect("spec");
        assert!(spec.durable && !spec.auto_delete);
        assert_eq!(spec.vhost, "/");
        assert_eq!(spec.queue_type, QueueType::Classic);
        assert_eq!(spec.deletion_policy, QueueDeletionPolicy::DeleteIfEmpty);
        assert_eq!(spec.broker_name("invoices"), "invoices");
    }
}
