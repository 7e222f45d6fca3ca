//! The arguments of a queue, in one table: their names, the values they may have, the queue types that take them, and
//! their keys in a policy.
//!
//! Comes in: `x-arguments` of a declaration or of a record in the log, or the definition of a policy. Goes out: typed
//! values, or what is wrong with one, in RabbitMQ's words. Pure.
//! Does not know about queues: what obeys a value reads it from `Values`.
//!
//! A new argument is a field of `Values` and a row of `TABLE`, and then the code that obeys it.

use crate::erlang;
use leveret_amqp::{FieldTable, FieldValue, ShortString};
use tracing::warn;

/// The arguments of one queue.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// The table as declared: what the API shows, the log keeps, and another declaration is compared with.
    pub declared: FieldTable,
    /// The meaning of it.
    pub values: Values,
}

/// The values of those arguments that this broker obeys; `None` where one is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// `x-queue-type`
    pub queue_type: Option<QueueType>,
    /// `x-expires`: milliseconds that the queue may be unused.
    pub expires: Option<u64>,
    /// `x-message-ttl`: milliseconds that a message may wait.
    pub message_ttl: Option<u64>,
    /// `x-dead-letter-exchange`: where messages go that leave without acknowledgement.
    pub dead_letter_exchange: Option<ShortString>,
    /// `x-dead-letter-routing-key`: the key that they go by, in place of their own.
    pub dead_letter_routing_key: Option<ShortString>,
    /// `x-max-length`: waiting messages, at most.
    pub max_length: Option<u64>,
    /// `x-max-length-bytes`: bytes of the bodies of waiting messages, at most.
    pub max_length_bytes: Option<u64>,
    /// `x-single-active-consumer`: one consumer at a time gets messages.
    pub single_active_consumer: Option<bool>,
    /// `x-overflow`: the conduct of a full queue.
    pub overflow: Option<Overflow>,
}

/// Conduct of a queue at its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It drops the oldest messages.
    #[default]
    DropHead,
    /// It refuses new ones.
    Reject,
    /// As [`Overflow::Reject`], and they become dead letters.
    RejectToDeadLetters,
}

/// RabbitMQ's queue types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueType {
    /// The only one that can be declared here.
    #[default]
    Classic,
    /// Known for the arguments that only it takes.
    Quorum,
    /// As quorum.
    Stream,
}

/// An argument that a queue can't have.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Its name, or its key in a policy.
    pub argument: &'static str,
    /// The reason.
    pub reason: Reason,
}

/// The reason why a queue can't have an argument.
#[derive(Debug, PartialEq, Eq)]
pub enum Reason {
    /// A value that isn't allowed, or an argument that isn't supported: a text for the client.
    Value(String),
    /// A value of this type, where a name is wanted.
    Type(&'static str),
    /// An argument of other queue types than this one.
    QueueType(QueueType),
}

/// An argument that says something else in a declaration than in the queue that exists.
#[derive(Debug, PartialEq)]
pub struct Difference<'a> {
    /// Its name.
    pub argument: &'static str,
    /// The value in the declaration.
    pub received: Option<&'a FieldValue>,
    /// The value in the queue.
    pub current: Option<&'a FieldValue>,
}

/// A row of the table.
struct Argument {
    name: &'static str,
    /// Its key in a policy, if policies have it.
    policy: Option<&'static str>,
    /// The queue types that take it: other types refuse it, these compare it when a queue is declared again.
    types: &'static [QueueType],
    meaning: Meaning,
}

enum Meaning {
    /// A typed value.
    Kept(&'static dyn Place),
    /// Checked and then of no account: it asks for what is so anyway, or for something that one broker alone doesn't
    /// have.
    Checked(fn(&FieldValue) -> Result<(), Reason>),
    /// Something that this version doesn't do: refused rather than ignored.
    NotSupported,
}

/// A typed value: where it is kept, how it is read, and which counts when a policy has it too.
struct Typed<T> {
    at: fn(&mut Values) -> &mut Option<T>,
    read: fn(&FieldValue) -> Result<T, Reason>,
    /// From the argument and the policy.
    merge: fn(T, T) -> T,
}

trait Place: Sync {
    fn read(&self, value: &FieldValue, into: &mut Values) -> Result<(), Reason>;
    fn merge(&self, policy: Values, into: &mut Values);
}

impl<T> Place for Typed<T> {
    fn read(&self, value: &FieldValue, into: &mut Values) -> Result<(), Reason> {
        *(self.at)(into) = Some((self.read)(value)?);
        Ok(())
    }

    fn merge(&self, mut policy: Values, into: &mut Values) {
        let (argument, policy) = ((self.at)(into), (self.at)(&mut policy).take());
        *argument = match (argument.take(), policy) {
            (Some(argument), Some(policy)) => Some((self.merge)(argument, policy)),
            (argument, policy) => argument.or(policy),
        };
    }
}

static QUEUE_TYPE: Typed<QueueType> = Typed {
    at: |values| &mut values.queue_type,
    read: queue_type,
    merge: argument,
};

static MAX_LENGTH: Typed<u64> = Typed {
    at: |values| &mut values.max_length,
    read: count,
    merge: Ord::min,
};

static MAX_LENGTH_BYTES: Typed<u64> = Typed {
    at: |values| &mut values.max_length_bytes,
    read: count,
    merge: Ord::min,
};

static OVERFLOW: Typed<Overflow> = Typed {
    at: |values| &mut values.overflow,
    read: overflow,
    merge: argument,
};

static SINGLE_ACTIVE_CONSUMER: Typed<bool> = Typed {
    at: |values| &mut values.single_active_consumer,
    read: flag,
    merge: argument,
};

static EXPIRES: Typed<u64> = Typed {
    at: |values| &mut values.expires,
    read: lease,
    merge: Ord::min,
};

static MESSAGE_TTL: Typed<u64> = Typed {
    at: |values| &mut values.message_ttl,
    read: time_to_live,
    merge: Ord::min,
};

static DEAD_LETTER_EXCHANGE: Typed<ShortString> = Typed {
    at: |values| &mut values.dead_letter_exchange,
    read: exchange,
    merge: argument,
};

static DEAD_LETTER_ROUTING_KEY: Typed<ShortString> = Typed {
    at: |values| &mut values.dead_letter_routing_key,
    read: routing_key,
    merge: argument,
};

/// Ten years in milliseconds, the longest time that RabbitMQ takes.
pub const LONGEST: u64 = 315_360_000_000;

const CLASSIC: &[QueueType] = &[QueueType::Classic];
const QUORUM: &[QueueType] = &[QueueType::Quorum];
const STREAM: &[QueueType] = &[QueueType::Stream];
const QUEUES: &[QueueType] = &[QueueType::Classic, QueueType::Quorum];
const ALL: &[QueueType] = &[QueueType::Classic, QueueType::Quorum, QueueType::Stream];

/// All arguments, in the order in which RabbitMQ checks them: the queue type first, since the others depend on it.
#[rustfmt::skip]
static TABLE: &[Argument] = {
    use Meaning::{Checked, Kept, NotSupported};
    &[
        row("x-queue-type", None, ALL, Kept(&QUEUE_TYPE)),
        row("x-expires", Some("expires"), QUEUES, Kept(&EXPIRES)),
        row("x-message-ttl", Some("message-ttl"), QUEUES, Kept(&MESSAGE_TTL)),
        row("x-dead-letter-exchange", Some("dead-letter-exchange"), QUEUES, Kept(&DEAD_LETTER_EXCHANGE)),
        row("x-dead-letter-routing-key", Some("dead-letter-routing-key"), QUEUES, Kept(&DEAD_LETTER_ROUTING_KEY)),
        row("x-dead-letter-strategy", Some("dead-letter-strategy"), QUORUM, NotSupported),
        row("x-max-length", Some("max-length"), QUEUES, Kept(&MAX_LENGTH)),
        row("x-max-length-bytes", Some("max-length-bytes"), ALL, Kept(&MAX_LENGTH_BYTES)),
        row("x-max-in-memory-length", Some("max-in-memory-length"), QUORUM, NotSupported),
        row("x-max-in-memory-bytes", Some("max-in-memory-bytes"), QUORUM, NotSupported),
        row("x-max-priority", None, CLASSIC, NotSupported),
        row("x-overflow", Some("overflow"), QUEUES, Kept(&OVERFLOW)),
        row("x-queue-mode", Some("queue-mode"), CLASSIC, Checked(anything)),
        row("x-queue-version", Some("queue-version"), CLASSIC, Checked(version)),
        row("x-single-active-consumer", None, QUEUES, Kept(&SINGLE_ACTIVE_CONSUMER)),
        row("x-consumer-timeout", Some("consumer-timeout"), QUORUM, NotSupported),
        row("x-consumer-disconnected-timeout", Some("consumer-disconnected-timeout"), QUORUM, NotSupported),
        row("x-delivery-limit", Some("delivery-limit"), QUORUM, NotSupported),
        row("x-delayed-retry-type", Some("delayed-retry-type"), QUORUM, NotSupported),
        row("x-delayed-retry-min", Some("delayed-retry-min"), QUORUM, NotSupported),
        row("x-delayed-retry-max", Some("delayed-retry-max"), QUORUM, NotSupported),
        row("x-quorum-initial-group-size", None, QUORUM, NotSupported),
        row("x-member-placement-tag", None, QUORUM, NotSupported),
        row("x-max-age", Some("max-age"), STREAM, NotSupported),
        row("x-stream-max-segment-size-bytes", Some("stream-max-segment-size-bytes"), STREAM, NotSupported),
        row("x-stream-filter-size-bytes", Some("stream-filter-size-bytes"), STREAM, NotSupported),
        row("x-initial-cluster-size", Some("initial-cluster-size"), STREAM, NotSupported),
        row("x-queue-leader-locator", Some("queue-leader-locator"), ALL, Checked(leader_locator)),
        row("x-queue-master-locator", None, CLASSIC, Checked(anything)),
        // Plugins' and other brokers'.
        row("x-message-deduplication", None, CLASSIC, NotSupported),
        row("x-cache-size", None, CLASSIC, NotSupported),
        row("x-cache-ttl", None, CLASSIC, NotSupported),
        row("x-deduplication-header", None, CLASSIC, NotSupported),
    ]
};

const fn row(
    name: &'static str,
    policy: Option<&'static str>,
    types: &'static [QueueType],
    meaning: Meaning,
) -> Argument {
    Argument {
        name,
        policy,
        types,
        meaning,
    }
}

impl Arguments {
    /// Reads the arguments of a new queue. Names that RabbitMQ doesn't know either mean nothing and are kept.
    ///
    /// # Errors
    /// [`Invalid`], for the first one in the order of the table.
    pub fn parse(declared: FieldTable) -> Result<Self, Invalid> {
        let mut values = Values::default();
        for row in TABLE {
            if let Some(value) = declared.get(row.name) {
                row.read(row.name, value, &mut values)?;
            }
        }
        if values.dead_letter_routing_key.is_some() && values.dead_letter_exchange.is_none() {
            return Err(Invalid {
                argument: "x-dead-letter-routing-key",
                reason: Reason::Value("routing_key_but_no_dlx_defined".into()),
            });
        }
        Ok(Self { declared, values })
    }

    /// Reads the arguments of a queue that the log has: one that another version has taken and this one can't read is
    /// left out.
    pub fn restored(declared: FieldTable) -> Self {
        let mut values = Values::default();
        for row in TABLE {
            let read = declared
                .get(row.name)
                .map(|value| row.read(row.name, value, &mut values));
            if let Some(Err(invalid)) = read {
                warn!(
                    ?invalid,
                    "a queue in the log has an argument that this version doesn't obey"
                );
            }
        }
        Self { declared, values }
    }

    /// The first argument by which a declaration differs. RabbitMQ compares those that the queue's type takes, and no
    /// others.
    pub fn difference<'a>(&'a self, received: &'a FieldTable) -> Option<Difference<'a>> {
        let queue_type = self.values.queue_type();
        TABLE
            .iter()
            .filter(|row| row.types.contains(&queue_type))
            .map(|row| Difference {
                argument: row.name,
                received: received.get(row.name),
                current: self.declared.get(row.name),
            })
            .find(Difference::differs)
    }
}

impl Values {
    /// The queue's type; classic if none was asked for.
    pub fn queue_type(&self) -> QueueType {
        self.queue_type.unwrap_or_default()
    }

    /// The values that count under a policy with this definition. Keys that queues don't have are left alone.
    ///
    /// # Errors
    /// [`Invalid`], for the first key in the order of the table.
    pub fn under(&self, policy: &FieldTable) -> Result<Self, Invalid> {
        let mut merged = self.clone();
        for row in TABLE {
            let Some((key, value)) = row.policy.and_then(|key| Some((key, policy.get(key)?))) else {
                continue;
            };
            let mut values = Self::default();
            row.read(key, value, &mut values)?;
            if let Meaning::Kept(place) = row.meaning {
                place.merge(values, &mut merged);
            }
        }
        Ok(merged)
    }
}

impl QueueType {
    /// The name of RabbitMQ's module, which its texts and events say.
    pub fn module(self) -> &'static str {
        match self {
            Self::Classic => "rabbit_classic_queue",
            Self::Quorum => "rabbit_quorum_queue",
            Self::Stream => "rabbit_stream_queue",
        }
    }
}

impl Argument {
    fn read(&self, name: &'static str, value: &FieldValue, values: &mut Values) -> Result<(), Invalid> {
        let queue_type = values.queue_type();
        let read = match self.meaning {
            _ if !self.types.contains(&queue_type) => Err(Reason::QueueType(queue_type)),
            Meaning::Kept(place) => place.read(value, values),
            Meaning::Checked(check) => check(value),
            Meaning::NotSupported => Err(not_supported()),
        };
        read.map_err(|reason| Invalid { argument: name, reason })
    }
}

impl Difference<'_> {
    fn differs(&self) -> bool {
        match (self.received, self.current) {
            (Some(received), Some(current)) => !erlang::equal(received, current),
            // A queue of no type is a classic one.
            (Some(one), None) | (None, Some(one)) => self.argument != "x-queue-type" || one.as_str() != Some("classic"),
            (None, None) => false,
        }
    }
}

/// The argument counts, whatever the policy says.
fn argument<T>(argument: T, _policy: T) -> T {
    argument
}

fn queue_type(value: &FieldValue) -> Result<QueueType, Reason> {
    match text(value)? {
        "classic" => Ok(QueueType::Classic),
        known @ ("quorum" | "stream") => Err(Reason::Value(format!(
            "queue type '{known}' is not supported; use 'classic'"
        ))),
        other => Err(Reason::Value(format!("\"unsupported queue type '{other}'\""))),
    }
}

fn overflow(value: &FieldValue) -> Result<Overflow, Reason> {
    match text(value)? {
        "drop-head" => Ok(Overflow::DropHead),
        "reject-publish" => Ok(Overflow::Reject),
        "reject-publish-dlx" => Ok(Overflow::RejectToDeadLetters),
        _ => Err(Reason::Value("invalid_overflow".into())),
    }
}

fn version(value: &FieldValue) -> Result<(), Reason> {
    match count(value)? {
        2 => Ok(()),
        other => Err(Reason::Value(format!("\"unsupported queue version '{other}'\""))),
    }
}

fn leader_locator(value: &FieldValue) -> Result<(), Reason> {
    match text(value)? {
        "client-local" | "balanced" | "random" | "least-leaders" => Ok(()),
        _ => Err(Reason::Value("invalid_queue_locator_arg".into())),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a row's check")]
fn anything(_: &FieldValue) -> Result<(), Reason> {
    Ok(())
}

/// An integer of any width that isn't negative.
fn count(value: &FieldValue) -> Result<u64, Reason> {
    let Some(number) = value.as_i64() else {
        let found = value.type_name();
        return Err(Reason::Value(format!("\"expected integer, got {found}\"")));
    };
    u64::try_from(number).map_err(|_| Reason::Value(format!("{{value_negative,{number}}}")))
}

/// Milliseconds: ten years at most, as in RabbitMQ.
fn time_to_live(value: &FieldValue) -> Result<u64, Reason> {
    match count(value)? {
        large if large > LONGEST => Err(Reason::Value(format!("{{value_too_large,{large}}}"))),
        millis => Ok(millis),
    }
}

/// Milliseconds, at least one.
fn lease(value: &FieldValue) -> Result<u64, Reason> {
    match time_to_live(value)? {
        0 => Err(Reason::Value("{value_zero,0}".into())),
        millis => Ok(millis),
    }
}

/// The name of an exchange. RabbitMQ takes one that is too long for an exchange to have; then there is none.
fn exchange(value: &FieldValue) -> Result<ShortString, Reason> {
    match value {
        FieldValue::LongString(bytes) => Ok(ShortString::try_from(bytes.clone()).unwrap_or_default()),
        other => Err(Reason::Type(other.type_name())),
    }
}

fn routing_key(value: &FieldValue) -> Result<ShortString, Reason> {
    match value {
        FieldValue::LongString(bytes) => {
            ShortString::try_from(bytes.clone()).map_err(|_| Reason::Value("\"longer than 255 octets\"".into()))
        }
        other => Err(Reason::Value(format!("{{unacceptable_type,{}}}", other.type_name()))),
    }
}

fn flag(value: &FieldValue) -> Result<bool, Reason> {
    match value {
        FieldValue::Bool(flag) => Ok(*flag),
        other => Err(Reason::Value(format!("{{unacceptable_type,{}}}", other.type_name()))),
    }
}

/// A long string. One that isn't UTF-8 is none that an argument knows.
fn text(value: &FieldValue) -> Result<&str, Reason> {
    match value {
        FieldValue::LongString(bytes) => Ok(std::str::from_utf8(bytes).unwrap_or_default()),
        other => Err(Reason::Value(format!("{{unacceptable_type,{}}}", other.type_name()))),
    }
}

fn not_supported() -> Reason {
    Reason::Value("not supported by this version of the broker; declare the queue without it".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::ShortString;

    fn table<const N: usize>(fields: [(&'static str, FieldValue); N]) -> FieldTable {
        let pairs = fields
            .into_iter()
            .map(|(name, value)| (ShortString::from_static(name), value));
        pairs.collect()
    }

    fn refused(name: &'static str, value: impl Into<FieldValue>) -> String {
        let invalid = Arguments::parse(table([(name, value.into())])).expect_err("a wrong argument");
        assert_eq!(invalid.argument, name);
        match invalid.reason {
            Reason::Value(text) => text,
            Reason::Type(found) => format!("invalid type '{found}'"),
            Reason::QueueType(queue_type) => format!("of queue type {}", queue_type.module()),
        }
    }

    #[test]
    fn a_wrong_value_is_refused_in_rabbitmqs_words() {
        assert_eq!(refused("x-queue-type", 1), "{unacceptable_type,signedint}");
        assert_eq!(refused("x-queue-type", "odd"), "\"unsupported queue type 'odd'\"");
        assert_eq!(
            refused("x-queue-type", "quorum"),
            "queue type 'quorum' is not supported; use 'classic'"
        );
        assert_eq!(refused("x-queue-version", 1), "\"unsupported queue version '1'\"");
        assert_eq!(refused("x-queue-version", -1), "{value_negative,-1}");
        assert_eq!(refused("x-queue-version", "2"), "\"expected integer, got longstr\"");
        assert_eq!(refused("x-queue-leader-locator", "near"), "invalid_queue_locator_arg");
        assert_eq!(refused("x-max-length", -1), "{value_negative,-1}");
        assert_eq!(refused("x-max-length", "5"), "\"expected integer, got longstr\"");
        assert_eq!(refused("x-overflow", "drop"), "invalid_overflow");
        assert_eq!(refused("x-max-age", "1h"), "of queue type rabbit_classic_queue");
        assert!(refused("x-max-priority", 5).starts_with("not supported by this version"));
    }

    #[test]
    fn of_an_argument_and_a_policy_the_smaller_limit_counts() {
        let under = |arguments: &[i32], policy: &[i32]| {
            let one = |name, values: &[i32]| {
                values
                    .iter()
                    .map(|n| (ShortString::from_static(name), (*n).into()))
                    .collect()
            };
            let arguments = Arguments::parse(one("x-max-length", arguments)).expect("right arguments");
            let values = arguments
                .values
                .under(&one("max-length", policy))
                .expect("a right policy");
            values.max_length
        };
        assert_eq!(under(&[5], &[7]), Some(5));
        assert_eq!(under(&[7], &[5]), Some(5));
        assert_eq!(under(&[], &[5]), Some(5));
        assert_eq!(under(&[5], &[]), Some(5));
        let wrong = Values::default().under(&table([("max-length", (-1).into())]));
        assert_eq!(wrong.expect_err("a wrong policy").argument, "max-length");
    }

    #[test]
    fn names_that_rabbitmq_does_not_know_are_kept() {
        let declared = table([("x-mine", 5.into()), ("x-queue-type", "classic".into())]);
        let arguments = Arguments::parse(declared.clone()).expect("right arguments");
        assert_eq!(
            (arguments.declared, arguments.values.queue_type()),
            (declared, QueueType::Classic)
        );
    }

    #[test]
    fn a_difference_is_one_of_value_among_the_arguments_of_the_type() {
        let declared = table([("x-queue-version", 2.into()), ("x-mine", 5.into())]);
        let arguments = Arguments::parse(declared).expect("right arguments");
        let same = [
            ("x-queue-version", FieldValue::Long(2)),
            ("x-queue-type", "classic".into()),
        ];
        assert_eq!(arguments.difference(&table(same)), None);
        let received = table([]);
        let difference = arguments.difference(&received).expect("a difference");
        assert_eq!(difference.argument, "x-queue-version");
        assert_eq!(
            (difference.received, difference.current),
            (None, Some(&FieldValue::Int(2)))
        );
    }

    #[test]
    fn an_argument_of_another_version_is_left_out() {
        let declared = table([("x-queue-type", "quorum".into()), ("x-queue-version", 2.into())]);
        let arguments = Arguments::restored(declared.clone());
        assert_eq!((arguments.declared, arguments.values), (declared, Values::default()));
    }

    #[test]
    fn no_name_is_in_the_table_twice() {
        let mut names: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
        names.extend(TABLE.iter().filter_map(|row| row.policy));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
