//! The table of arguments: their names, the queue types that take them, their keys in a policy, and what becomes of
//! their values.
//!
//! Comes in: one argument, or one key of a policy, with its value. Goes out: a field of `Values`. Pure.
//! Does not know about tables of clients.

use super::read::{self, Reason};
use super::retry::RetryType;
use super::values::{Overflow, QueueType, Values};
use leveret_amqp::{FieldValue, RawTable, ShortString};

/// The arguments of a queue for one subscriber, as they are shown: nobody declares one by them.
pub(super) fn of_subscriber(most: u32) -> RawTable {
    let arguments = [
        ("x-max-length", FieldValue::Long(most.into())),
        ("x-overflow", FieldValue::from("drop-new")),
    ];
    let named = |(name, value)| (ShortString::from_static(name), value);
    arguments.into_iter().map(named).collect()
}

/// An argument that a queue can't have.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Its name.
    pub argument: &'static str,
    /// The reason.
    pub reason: Reason,
}

/// A row of the table.
pub(super) struct Argument {
    /// Its name.
    pub name: &'static str,
    /// Its key in a policy, if policies have it.
    pub policy: Option<&'static str>,
    /// The queue types that take it: other types refuse it, these compare it when a queue is declared again.
    pub types: &'static [QueueType],
    meaning: Meaning,
}

enum Meaning {
    /// A typed value.
    Kept(&'static dyn Place),
    /// As `Kept`; but a value that can't be read is of no account (RabbitMQ).
    Hoped(&'static dyn Place),
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

/// A value that is the argument's or the policy's, as that of a [`Typed`] is, but the policy's in quorum queues.
struct PolicyInQuorum<T>(Typed<T>);

impl<T> Place for PolicyInQuorum<T> {
    fn read(&self, value: &FieldValue, into: &mut Values) -> Result<(), Reason> {
        self.0.read(value, into)
    }

    fn merge(&self, policy: Values, into: &mut Values) {
        if into.queue_type() == QueueType::Quorum {
            (self.0.at)(into).take();
        }
        self.0.merge(policy, into);
    }
}

static QUEUE_TYPE: Typed<QueueType> = Typed {
    at: |values| &mut values.queue_type,
    read: read::queue_type,
    merge: argument,
};

static MAX_LENGTH: Typed<u64> = Typed {
    at: |values| &mut values.max_length,
    read: read::count,
    merge: Ord::min,
};

static MAX_LENGTH_BYTES: Typed<u64> = Typed {
    at: |values| &mut values.max_length_bytes,
    read: read::count,
    merge: Ord::min,
};

static MAX_PRIORITY: Typed<u8> = Typed {
    at: |values| &mut values.max_priority,
    read: read::highest_priority,
    merge: argument,
};

static OVERFLOW: PolicyInQuorum<Overflow> = PolicyInQuorum(Typed {
    at: |values| &mut values.overflow,
    read: read::overflow,
    merge: argument,
});

static SINGLE_ACTIVE_CONSUMER: Typed<bool> = Typed {
    at: |values| &mut values.single_active_consumer,
    read: read::flag,
    merge: argument,
};

static EXPIRES: Typed<u64> = Typed {
    at: |values| &mut values.expires,
    read: read::lease,
    merge: Ord::min,
};

static MESSAGE_TTL: Typed<u64> = Typed {
    at: |values| &mut values.message_ttl,
    read: read::time_to_live,
    merge: Ord::min,
};

static CONSUMER_TIMEOUT: Typed<u64> = Typed {
    at: |values| &mut values.delivered.get_or_insert_default().consumer_timeout,
    read: read::count,
    merge: Ord::min,
};

static DELIVERY_LIMIT: Typed<i64> = Typed {
    at: |values| &mut values.delivered.get_or_insert_default().delivery_limit,
    read: read::integer,
    // No limit, if one of them says so.
    merge: |argument, policy| match argument < 0 || policy < 0 {
        true => argument.max(policy),
        false => argument.min(policy),
    },
};

static DELAYED_RETRY_TYPE: Typed<RetryType> = Typed {
    at: |values| &mut values.delivered.get_or_insert_default().delayed_retry_type,
    read: read::retry_type,
    merge: |_argument, policy| policy,
};

static DELAYED_RETRY_MIN: Typed<u64> = Typed {
    at: |values| &mut values.delivered.get_or_insert_default().delayed_retry_min,
    read: read::pause,
    merge: Ord::min,
};

static DELAYED_RETRY_MAX: Typed<u64> = Typed {
    at: |values| &mut values.delivered.get_or_insert_default().delayed_retry_max,
    read: read::pause,
    merge: Ord::min,
};

static DEAD_LETTER_EXCHANGE: Typed<ShortString> = Typed {
    at: |values| &mut values.dead_letter_exchange,
    read: read::exchange,
    merge: argument,
};

static DEAD_LETTER_ROUTING_KEY: Typed<ShortString> = Typed {
    at: |values| &mut values.dead_letter_routing_key,
    read: read::routing_key,
    merge: argument,
};

const CLASSIC: &[QueueType] = &[QueueType::Classic];
const QUORUM: &[QueueType] = &[QueueType::Quorum];
const STREAM: &[QueueType] = &[QueueType::Stream];
const QUEUES: &[QueueType] = &[QueueType::Classic, QueueType::Quorum];
const ALL: &[QueueType] = &[QueueType::Classic, QueueType::Quorum, QueueType::Stream];

/// All arguments, in the order in which RabbitMQ checks them: the queue type first, since the others depend on it.
#[rustfmt::skip]
pub(super) static TABLE: &[Argument] = {
    use Meaning::{Checked, Hoped, Kept, NotSupported};
    &[
        row("x-queue-type", None, ALL, Kept(&QUEUE_TYPE)),
        row("x-expires", Some("expires"), QUEUES, Kept(&EXPIRES)),
        row("x-message-ttl", Some("message-ttl"), QUEUES, Kept(&MESSAGE_TTL)),
        row("x-dead-letter-exchange", Some("dead-letter-exchange"), QUEUES, Kept(&DEAD_LETTER_EXCHANGE)),
        row("x-dead-letter-routing-key", Some("dead-letter-routing-key"), QUEUES, Kept(&DEAD_LETTER_ROUTING_KEY)),
        row("x-dead-letter-strategy", Some("dead-letter-strategy"), QUORUM, Checked(read::dead_letter_strategy)),
        row("x-max-length", Some("max-length"), QUEUES, Kept(&MAX_LENGTH)),
        row("x-max-length-bytes", Some("max-length-bytes"), ALL, Kept(&MAX_LENGTH_BYTES)),
        row("x-max-in-memory-length", Some("max-in-memory-length"), QUORUM, Checked(read::any_count)),
        row("x-max-in-memory-bytes", Some("max-in-memory-bytes"), QUORUM, Checked(read::any_count)),
        row("x-max-priority", None, CLASSIC, Kept(&MAX_PRIORITY)),
        row("x-overflow", Some("overflow"), QUEUES, Kept(&OVERFLOW)),
        row("x-queue-mode", Some("queue-mode"), CLASSIC, Checked(read::anything)),
        row("x-queue-version", Some("queue-version"), CLASSIC, Checked(read::version)),
        row("x-single-active-consumer", None, QUEUES, Kept(&SINGLE_ACTIVE_CONSUMER)),
        row("x-consumer-timeout", Some("consumer-timeout"), QUEUES, Kept(&CONSUMER_TIMEOUT)),
        row("x-consumer-disconnected-timeout", Some("consumer-disconnected-timeout"), QUORUM, Checked(read::any_count)),
        row("x-delivery-limit", Some("delivery-limit"), QUEUES, Hoped(&DELIVERY_LIMIT)),
        row("x-delayed-retry-type", Some("delayed-retry-type"), QUEUES, Hoped(&DELAYED_RETRY_TYPE)),
        row("x-delayed-retry-min", Some("delayed-retry-min"), QUEUES, Hoped(&DELAYED_RETRY_MIN)),
        row("x-delayed-retry-max", Some("delayed-retry-max"), QUEUES, Hoped(&DELAYED_RETRY_MAX)),
        row("x-quorum-initial-group-size", None, QUORUM, Checked(read::group_size)),
        row("x-max-age", Some("max-age"), STREAM, NotSupported),
        row("x-stream-max-segment-size-bytes", Some("stream-max-segment-size-bytes"), STREAM, NotSupported),
        row("x-stream-filter-size-bytes", Some("stream-filter-size-bytes"), STREAM, NotSupported),
        row("x-initial-cluster-size", Some("initial-cluster-size"), STREAM, NotSupported),
        row("x-queue-leader-locator", Some("queue-leader-locator"), ALL, Checked(read::leader_locator)),
        row("x-queue-master-locator", None, CLASSIC, Checked(read::anything)),
        // Plugins' and other brokers'.
        row("x-message-deduplication", None, QUEUES, NotSupported),
        row("x-cache-size", None, QUEUES, NotSupported),
        row("x-cache-ttl", None, QUEUES, NotSupported),
        row("x-deduplication-header", None, QUEUES, NotSupported),
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

impl Argument {
    /// The value of a queue that doesn't have it, if that is the same as having none: one without a type is classic.
    pub(super) fn usual(&self) -> Option<FieldValue> {
        (self.name == "x-queue-type").then(|| QueueType::Classic.name().into())
    }

    /// Reads a value, for a queue of the type that `values` say.
    pub(super) fn read(&self, value: &FieldValue, values: &mut Values) -> Result<(), Invalid> {
        let queue_type = values.queue_type();
        let read = match self.meaning {
            _ if !self.types.contains(&queue_type) => Err(Reason::QueueType(queue_type)),
            Meaning::Kept(place) => place.read(value, values),
            Meaning::Hoped(place) => place.read(value, values).or(Ok(())),
            Meaning::Checked(check) => check(value),
            Meaning::NotSupported => Err(read::not_supported()),
        };
        read.map_err(|reason| Invalid {
            argument: self.name,
            reason,
        })
    }

    /// Has the value of a policy count beside those of the arguments, if such a queue takes it.
    pub(super) fn merge(&self, value: &FieldValue, into: &mut Values) {
        let mut values = Values {
            queue_type: into.queue_type,
            ..Values::default()
        };
        let (Meaning::Kept(place) | Meaning::Hoped(place)) = self.meaning else {
            return;
        };
        if self.read(value, &mut values).is_ok() {
            place.merge(values, into);
        }
    }
}

/// The argument counts, whatever the policy says.
fn argument<T>(argument: T, _policy: T) -> T {
    argument
}
