//! The arguments of a consumer.
//!
//! Comes in: the arguments of basic.consume. Goes out: their values, or what is wrong with one, in RabbitMQ's words.
//! Pure.
//! Does not know about consumers.

use super::read::{self, Reason};
use super::table::Invalid;
use super::values::QueueType;
use leveret_amqp::RawTable;

/// Arguments of the consumers of streams.
const STREAM: [&str; 3] = ["x-stream-offset", "x-stream-filter", "x-stream-match-unfiltered"];

/// Values of the arguments of one consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfConsumer {
    /// `x-priority`; 0 if there is none.
    pub priority: i32,
    /// `x-consumer-timeout`: milliseconds that it may have a message.
    pub timeout: Option<u64>,
}

impl OfConsumer {
    /// Reads them for a queue of a type.
    ///
    /// # Errors
    /// [`Invalid`]
    pub fn parse(arguments: &RawTable, queue_type: QueueType) -> Result<Self, Invalid> {
        if queue_type != QueueType::Stream
            && let Some(argument) = STREAM.into_iter().find(|name| arguments.contains(name))
        {
            let reason = Reason::QueueType(queue_type);
            return Err(Invalid { argument, reason });
        }
        let of = |argument| move |reason| Invalid { argument, reason };
        let priority = arguments.get("x-priority").as_ref().map(read::integer).transpose();
        let priority = priority.map_err(of("x-priority"))?.unwrap_or_default();
        let timeout = arguments
            .get("x-consumer-timeout")
            .as_ref()
            .map(read::count)
            .transpose();
        Ok(Self {
            priority: i32::try_from(priority).unwrap_or(if priority < 0 { i32::MIN } else { i32::MAX }),
            timeout: timeout.map_err(of("x-consumer-timeout"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::{FieldValue, ShortString};

    #[test]
    fn values_are_read_and_wrong_ones_refused() {
        let parse = |name: &'static str, value: FieldValue| {
            let arguments = [(ShortString::from_static(name), value)].into_iter().collect();
            OfConsumer::parse(&arguments, QueueType::Quorum)
        };
        let priority = |value| parse("x-priority", value).map(|values| values.priority);
        assert_eq!(priority(FieldValue::Int(-5)), Ok(-5));
        assert_eq!(priority(FieldValue::Long(i64::MAX)), Ok(i32::MAX));
        let wrong = priority("5".into()).expect_err("no number");
        assert_eq!(wrong.reason, Reason::Value("\"expected integer, got longstr\"".into()));
        let wrong = parse("x-stream-offset", "first".into()).expect_err("an argument of streams");
        assert_eq!(wrong.reason, Reason::QueueType(QueueType::Quorum));
        let timeout = |value| parse("x-consumer-timeout", value).map(|values| values.timeout);
        assert_eq!(timeout(FieldValue::Int(0)), Ok(Some(0)));
        let wrong = timeout(FieldValue::Int(-1)).expect_err("a negative time");
        assert_eq!(wrong.reason, Reason::Value("{value_negative,-1}".into()));
    }
}
