//! The arguments of a queue, in one table: their names, the values they may have, the queue types that take them, and
//! their keys in a policy.
//!
//! Comes in: `x-arguments` of a declaration or of a record in the log, or the definition of a policy. Goes out: typed
//! values, or what is wrong with one, in RabbitMQ's words. Pure.
//! Does not know about queues: what obeys a value reads it from `Values`.
//!
//! A new argument is a field of `Values` and a row of `TABLE`, and then the code that obeys it.

/// Arguments of consumers.
pub mod consumer;

/// The table.
mod table;

/// Checks of values.
mod read;

/// Typed values.
mod values;

/// Pauses before another attempt.
mod retry;

use crate::erlang;
use leveret_amqp::{FieldTable, FieldValue, RawTable};
use std::ops::Deref;
use std::sync::{Arc, LazyLock};
use table::TABLE;
use tracing::warn;

pub use read::{LONGEST, Reason};
pub use retry::{Retry, RetryType};
pub use table::Invalid;
pub use values::{Overflow, QueueType, Values};

/// The arguments of one queue.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// The table as declared: what the API shows, the log keeps, and another declaration is compared with.
    pub declared: RawTable,
    /// The meaning of it.
    pub values: Shared,
}

/// Values in common with other queues: most have no arguments at all.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Values>);

/// Those of a queue without arguments.
static NONE: LazyLock<Arc<Values>> = LazyLock::new(Arc::default);

impl Default for Shared {
    fn default() -> Self {
        Self(NONE.clone())
    }
}

impl From<Values> for Shared {
    fn from(values: Values) -> Self {
        match values == **NONE {
            true => Self::default(),
            false => Self(Arc::new(values)),
        }
    }
}

impl Deref for Shared {
    type Target = Values;

    #[inline]
    fn deref(&self) -> &Values {
        &self.0
    }
}

/// An argument that says something else in a declaration than in the queue that exists.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// Its name.
    pub argument: &'static str,
    /// The value in the declaration.
    pub received: Option<FieldValue>,
    /// The value in the queue.
    pub current: Option<FieldValue>,
}

impl Arguments {
    /// Reads the arguments of a new queue. Names that RabbitMQ doesn't know either mean nothing and are kept.
    ///
    /// # Errors
    /// [`Invalid`], for the first one in the order of the table.
    pub fn parse(declared: RawTable) -> Result<Self, Invalid> {
        let mut values = Values::default();
        for row in TABLE {
            if let Some(value) = declared.get(row.name) {
                row.read(&value, &mut values)?;
            }
        }
        if values.dead_letter_routing_key.is_some() && values.dead_letter_exchange.is_none() {
            return Err(Invalid {
                argument: "x-dead-letter-routing-key",
                reason: Reason::Value("routing_key_but_no_dlx_defined".into()),
            });
        }
        let values = values.into();
        Ok(Self { declared, values })
    }

    /// The arguments of a queue for one subscriber that misses what comes while `most` messages wait.
    pub fn of_subscriber(most: u32) -> Self {
        Self {
            declared: table::of_subscriber(most),
            values: Values::of_subscriber(most).into(),
        }
    }

    /// Reads the arguments of a queue that the log has: one that another version has taken and this one can't read is
    /// left out.
    pub fn restored(declared: RawTable) -> Self {
        let mut values = Values::default();
        for row in TABLE {
            let read = declared.get(row.name).map(|value| row.read(&value, &mut values));
            if let Some(Err(invalid)) = read {
                warn!(
                    ?invalid,
                    "a queue in the log has an argument that this version doesn't obey"
                );
            }
        }
        let values = values.into();
        Self { declared, values }
    }

    /// The first argument by which a declaration differs. RabbitMQ compares those that the queue's type takes, and no
    /// others.
    pub fn difference(&self, received: &RawTable) -> Option<Difference> {
        let queue_type = self.values.queue_type();
        TABLE
            .iter()
            .filter(|row| row.types.contains(&queue_type))
            .map(|row| Difference {
                argument: row.name,
                received: received.get(row.name).or_else(|| row.usual()),
                current: self.declared.get(row.name).or_else(|| row.usual()),
            })
            .find(Difference::differs)
    }
}

impl Values {
    /// The values that count under policies with this definition. Keys that such a queue doesn't take are left alone,
    /// and so are values that mean nothing here: a policy is for many queues.
    pub fn under(&self, policies: &FieldTable) -> Self {
        let mut merged = self.clone();
        for row in TABLE {
            if let Some(value) = row.policy.and_then(|key| policies.get(key)) {
                row.merge(value, &mut merged);
            }
        }
        merged
    }
}

impl Difference {
    fn differs(&self) -> bool {
        match (&self.received, &self.current) {
            (Some(received), Some(current)) => !erlang::equal(received, current),
            (Some(_), None) | (None, Some(_)) => true,
            (None, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::ShortString;

    fn table<const N: usize, T: FromIterator<(ShortString, FieldValue)>>(fields: [(&'static str, FieldValue); N]) -> T {
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
            refused("x-queue-type", "stream"),
            "queue type 'stream' is not supported; use 'classic' or 'quorum'"
        );
        assert_eq!(refused("x-queue-version", 1), "\"unsupported queue version '1'\"");
        assert_eq!(refused("x-queue-version", -1), "{value_negative,-1}");
        assert_eq!(refused("x-queue-version", "2"), "\"expected integer, got longstr\"");
        assert_eq!(refused("x-queue-leader-locator", "near"), "invalid_queue_locator_arg");
        assert_eq!(refused("x-max-length", -1), "{value_negative,-1}");
        assert_eq!(refused("x-max-length", "5"), "\"expected integer, got longstr\"");
        assert_eq!(refused("x-overflow", "drop"), "invalid_overflow");
        assert_eq!(refused("x-max-age", "1h"), "of queue type rabbit_classic_queue");
        assert_eq!(refused("x-max-priority", 256), "{max_value_exceeded,256}");
        assert_eq!(refused("x-max-priority", -1), "{value_negative,-1}");
        assert_eq!(refused("x-max-priority", "5"), "\"expected integer, got longstr\"");
        assert!(refused("x-cache-size", 5).starts_with("not supported by this version"));
    }

    #[test]
    fn of_an_argument_and_a_policy_the_smaller_limit_counts() {
        let under = |arguments: &[i32], policy: &[i32]| {
            let one = |name, values: &[i32]| -> FieldTable {
                values
                    .iter()
                    .map(|n| (ShortString::from_static(name), (*n).into()))
                    .collect()
            };
            let arguments = Arguments::parse(one("x-max-length", arguments).into()).expect("right arguments");
            arguments.values.under(&one("max-length", policy)).max_length
        };
        assert_eq!(under(&[5], &[7]), Some(5));
        assert_eq!(under(&[7], &[5]), Some(5));
        assert_eq!(under(&[], &[5]), Some(5));
        assert_eq!(under(&[5], &[]), Some(5));
        assert_eq!(under(&[5], &[-1]), Some(5));
    }

    #[test]
    fn of_overflow_the_argument_counts_and_in_quorum_queues_the_policy() {
        let policy = table([("overflow", "reject-publish".into())]);
        for (queue_type, expected) in [("classic", Overflow::DropHead), ("quorum", Overflow::Reject)] {
            let declared = table([("x-queue-type", queue_type.into()), ("x-overflow", "drop-head".into())]);
            let arguments = Arguments::parse(declared).expect("right arguments");
            assert_eq!(arguments.values.under(&policy).overflow, Some(expected));
            assert_eq!(
                arguments.values.under(&FieldTable::new()).overflow,
                Some(Overflow::DropHead)
            );
        }
    }

    #[test]
    fn names_that_rabbitmq_does_not_know_are_kept() {
        let declared: RawTable = table([("x-mine", 5.into()), ("x-queue-type", "classic".into())]);
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
            (None, Some(FieldValue::Int(2)))
        );
    }

    #[test]
    fn an_argument_of_another_version_is_left_out() {
        let declared: RawTable = table([("x-queue-type", "stream".into()), ("x-queue-version", 1.into())]);
        let arguments = Arguments::restored(declared.clone());
        assert_eq!((arguments.declared, &*arguments.values), (declared, &Values::default()));
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
