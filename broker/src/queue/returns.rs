//! The two counts of a message that comes back to its queue, in one number that the log keeps, and the headers that
//! tell consumers of them.
//!
//! Pure. Persisted: bits 0 to 17 count all returns, bits 18 to 29 those of them that were failures. Both end at their
//! highest value. Earlier versions counted returns alone, all in one.
//! Does not know why a message came back.

use crate::message::Message;
use leveret_amqp::{BasicProperties, FieldValue, ShortString};

/// The first bit of the failures.
const FAILURES: u32 = 18;
const MOST_RETURNS: u32 = (1 << FAILURES) - 1;
const MOST_FAILURES: u32 = (1 << 12) - 1;

const RETURNS_HEADER: &str = "x-acquired-count";
const FAILURES_HEADER: &str = "x-delivery-count";

/// The number after one more return. `failed`: a consumer could not deal with the message.
pub fn after(count: u32, failed: bool) -> u32 {
    let returned = (returns(count) + 1).min(MOST_RETURNS);
    let failures = (failures(count) + u32::from(failed)).min(MOST_FAILURES);
    failures << FAILURES | returned
}

/// All returns.
pub fn returns(count: u32) -> u32 {
    count & MOST_RETURNS
}

/// The returns that were failures.
pub fn failures(count: u32) -> u32 {
    (count >> FAILURES) & MOST_FAILURES
}

/// The message's properties with RabbitMQ's headers about its returns. Its publisher's of these names are replaced.
pub fn told(message: &Message, count: u32) -> Vec<u8> {
    let mut properties = BasicProperties::parse(message.properties()).unwrap_or_default();
    let mut headers = properties.headers.take().unwrap_or_default();
    for (name, count) in [(RETURNS_HEADER, returns(count)), (FAILURES_HEADER, failures(count))] {
        if count > 0 {
            headers.remove(name);
            headers.push(ShortString::from_static(name), FieldValue::Long(count.into()));
        }
    }
    properties.headers = Some(headers);
    properties.to_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_return_counts_and_failures_apart() {
        let mut count = 0;
        for (failed, expected) in [(false, (1, 0)), (true, (2, 1)), (true, (3, 2)), (false, (4, 2))] {
            let before = count;
            count = after(count, failed);
            assert_eq!((returns(count), failures(count)), expected);
            assert!(count > before, "of two records the one with the higher count holds");
        }
    }

    #[test]
    fn counts_end_at_their_highest_value() {
        let most = MOST_FAILURES << FAILURES | MOST_RETURNS;
        assert_eq!(after(most, true), most);
        assert_eq!(returns(after(MOST_RETURNS, false)), MOST_RETURNS);
        assert_eq!(failures(after(MOST_RETURNS, false)), 0);
        assert_eq!(most >> 30, 0, "entries on disk have 30 bits for it");
    }

    #[test]
    fn headers_say_it() {
        let properties = BasicProperties {
            headers: Some(
                [(ShortString::from_static(FAILURES_HEADER), FieldValue::Int(7))]
                    .into_iter()
                    .collect(),
            ),
            ..BasicProperties::default()
        };
        let message = Message::new(b"", b"queue", &properties.to_bytes(), b"body");
        let headers = |count| {
            let headers = BasicProperties::parse(&told(&message, count))
                .expect("properties")
                .headers
                .expect("headers");
            [RETURNS_HEADER, FAILURES_HEADER].map(|name| headers.get(name).and_then(FieldValue::as_i64))
        };
        assert_eq!(headers(after(0, false)), [Some(1), Some(7)]);
        assert_eq!(headers(after(1, true)), [Some(2), Some(1)]);
    }
}
