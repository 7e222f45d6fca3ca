//! The history of a message that died in a queue: `x-death` and the headers that go with it.
//!
//! Comes in: a message and how it died. Goes out: the message as it goes to the dead-letter exchange, with the death at
//! the front of its history; and if a queue is in that history. Pure. Does not know about queues, routes or the log.
//!
//! The rules are RabbitMQ 4.3's: one entry per queue and reason, the latest death first; an entry keeps the time,
//! exchange and routing keys of its first death; the expiration is taken away, so that the message does not expire in
//! the next queue. A history that a publisher has made up does not count and is replaced.

use crate::message::Message;
use leveret_amqp::{BasicProperties, FieldTable, FieldValue, ShortString};

/// The reason why a message left its queue without being acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A consumer rejected it.
    Rejected,
    /// Its time ran out.
    Expired,
    /// The queue was full.
    MaxLen,
    /// It failed too often.
    DeliveryLimit,
}

impl Reason {
    /// RabbitMQ's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLen => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

/// A death, and where the message goes then.
#[derive(Clone, Copy, Debug)]
pub struct Death<'a> {
    /// Why it died.
    pub reason: Reason,
    /// The queue it died in.
    pub queue: &'a ShortString,
    /// When, seconds since 1970.
    pub time: u64,
    /// The dead-letter exchange.
    pub exchange: &'a ShortString,
    /// The dead-letter routing key, in place of the keys it was published with.
    pub routing_key: Option<&'a ShortString>,
}

const HISTORY: &str = "x-death";
const FIRST: [&str; 3] = ["x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"];
const LAST: [&str; 3] = ["x-last-death-exchange", "x-last-death-queue", "x-last-death-reason"];

/// Entries of a history beyond which a message goes nowhere: it has come through that many queues, and nobody has taken
/// it. Each carries the history of those before, so that a longer chain costs more than any message is worth.
pub const MOST_DEATHS: usize = 128;

impl Message {
    /// The message as it goes to the dead-letter exchange, and the number of entries in its history.
    pub fn dead(&self, death: &Death<'_>) -> (Self, usize) {
        // What cannot be read has no properties to keep: the publisher's were checked when it came.
        let mut properties = BasicProperties::parse(self.properties()).unwrap_or_default();
        let mut headers = properties.headers.take().unwrap_or_default();
        let expiration = properties.expiration.take();
        let (entries, first) = self.history_of(&mut headers);
        let keys = self.keys(&headers);
        let entries = with_death(entries, death, self.exchange(), keys, expiration);
        let deaths = entries.len();
        headers.push(name(HISTORY), FieldValue::Array(entries));
        let now = [
            text(self.exchange()),
            death.queue.into(),
            FieldValue::from(death.reason.name()),
        ];
        for (header, value) in FIRST.into_iter().zip(first.unwrap_or_else(|| now.clone())) {
            headers.push(name(header), value);
        }
        for (header, value) in LAST.into_iter().zip(now) {
            headers.push(name(header), value);
        }
        properties.headers = Some(headers);
        let key = death.routing_key.map_or(self.routing_key(), ShortString::as_bytes);
        let one_key = self.goes_by_key_alone() || death.routing_key.is_some();
        let dead = Self::new(death.exchange.as_bytes(), key, &properties.to_bytes(), self.body());
        (dead.with_history(one_key), deaths)
    }

    /// True if the message would go round in a circle by way of this queue: it died there before, and no consumer has
    /// rejected it since. RabbitMQ drops it then.
    pub fn returns_to(&self, queue: &[u8]) -> bool {
        if !self.has_history() {
            return false;
        }
        let Ok(BasicProperties {
            headers: Some(headers), ..
        }) = BasicProperties::parse(self.properties())
        else {
            return false;
        };
        for entry in entries(headers.get(HISTORY)) {
            let field = |name| entry.get(name).and_then(FieldValue::as_bytes);
            if field("reason").is_some_and(|reason| reason.as_ref() == Reason::Rejected.name().as_bytes()) {
                return false;
            }
            if field("queue").is_some_and(|died| died.as_ref() == queue) {
                return true;
            }
        }
        false
    }

    /// Takes the history out of the headers: its entries and the values of the `x-first-death-…` headers, if the broker
    /// wrote them.
    fn history_of(&self, headers: &mut FieldTable) -> (Vec<FieldValue>, Option<[FieldValue; 3]>) {
        let history = headers.remove(HISTORY);
        let first = FIRST.map(|header| headers.remove(header));
        for header in LAST {
            headers.remove(header);
        }
        if !self.has_history() {
            return (Vec::new(), None);
        }
        let entries = match history {
            Some(FieldValue::Array(entries)) => entries,
            _ => Vec::new(),
        };
        let first = match first {
            [Some(exchange), Some(queue), Some(reason)] => Some([exchange, queue, reason]),
            _ => None,
        };
        (entries, first)
    }

    /// The routing keys that the history tells: the message's own and those of CC.
    fn keys(&self, headers: &FieldTable) -> Vec<FieldValue> {
        let mut keys = vec![text(self.routing_key())];
        if !self.goes_by_key_alone() {
            let cc = headers.get("CC").and_then(FieldValue::as_array).unwrap_or_default();
            keys.extend(cc.iter().cloned());
        }
        keys
    }
}

/// The history with one more death, in front.
fn with_death(
    mut history: Vec<FieldValue>,
    death: &Death<'_>,
    exchange: &[u8],
    keys: Vec<FieldValue>,
    expiration: Option<ShortString>,
) -> Vec<FieldValue> {
    let same = |entry: &FieldValue| {
        let field = |name| entry.as_table().and_then(|entry| entry.get(name)?.as_bytes());
        field("queue").is_some_and(|queue| queue.as_ref() == death.queue.as_bytes())
            && field("reason").is_some_and(|reason| reason.as_ref() == death.reason.name().as_bytes())
    };
    let known = history.iter().position(same).map(|at| history.remove(at));
    let entry = match known {
        Some(FieldValue::Table(mut entry)) => {
            let count = entry.get("count").and_then(FieldValue::as_i64).unwrap_or(0);
            entry.set(name("count"), FieldValue::Long(count.saturating_add(1)));
            entry
        }
        _ => {
            let mut entry = FieldTable::new();
            if let Some(expiration) = &expiration {
                entry.push(name("original-expiration"), expiration.into());
            }
            entry.push(name("count"), FieldValue::Long(1));
            entry.push(name("reason"), FieldValue::from(death.reason.name()));
            entry.push(name("queue"), death.queue.into());
            entry.push(name("time"), FieldValue::Timestamp(death.time));
            entry.push(name("exchange"), text(exchange));
            entry.push(name("routing-keys"), FieldValue::Array(keys));
            entry
        }
    };
    history.insert(0, FieldValue::Table(entry));
    history
}

fn entries(history: Option<&FieldValue>) -> impl Iterator<Item = &FieldTable> {
    let entries = history.and_then(FieldValue::as_array).unwrap_or_default();
    entries.iter().filter_map(FieldValue::as_table)
}

fn name(name: &'static str) -> ShortString {
    ShortString::truncated(name)
}

fn text(bytes: &[u8]) -> FieldValue {
    FieldValue::LongString(bytes::Bytes::copy_from_slice(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> ShortString {
        ShortString::truncated(text)
    }

    fn message(properties: &BasicProperties) -> Message {
        Message::new(b"x", b"k.1", &properties.to_bytes(), b"body")
    }

    fn die(message: &Message, reason: Reason, queue: &str, key: Option<&str>) -> Message {
        let (queue, exchange, key) = (short(queue), short("dlx"), key.map(short));
        message
            .dead(&Death {
                reason,
                queue: &queue,
                time: 1_700_000_000,
                exchange: &exchange,
                routing_key: key.as_ref(),
            })
            .0
    }

    fn headers(message: &Message) -> FieldTable {
        BasicProperties::parse(message.properties())
            .expect("properties")
            .headers
            .expect("headers")
    }

    /// (queue, reason, count) of each entry.
    fn history(message: &Message) -> Vec<(String, String, i64)> {
        let headers = headers(message);
        let text = |entry: &FieldTable, name| {
            entry
                .get(name)
                .and_then(FieldValue::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        entries(headers.get(HISTORY))
            .map(|entry| {
                let count = entry.get("count").and_then(FieldValue::as_i64).unwrap_or_default();
                (text(entry, "queue"), text(entry, "reason"), count)
            })
            .collect()
    }

    fn entry(queue: &str, reason: &str, count: i64) -> (String, String, i64) {
        (queue.to_owned(), reason.to_owned(), count)
    }

    #[test]
    fn a_death_is_told_as_rabbitmq_tells_it() {
        let mut table = FieldTable::new();
        table.push(short("h"), FieldValue::Int(1));
        table.push(short("CC"), FieldValue::Array(vec!["k.2".into()]));
        let dead = die(
            &message(&BasicProperties {
                headers: Some(table),
                expiration: Some(short("100")),
                delivery_mode: Some(2),
                priority: Some(3),
                ..BasicProperties::default()
            }),
            Reason::Expired,
            "a",
            Some("dl"),
        );
        assert_eq!(
            (dead.exchange(), dead.routing_key(), dead.body()),
            (&b"dlx"[..], &b"dl"[..], &b"body"[..])
        );
        assert!(dead.persistent());
        let properties = BasicProperties::parse(dead.properties()).expect("properties");
        assert_eq!((properties.expiration, properties.priority), (None, Some(3)));
        let headers = headers(&dead);
        let names: Vec<_> = headers
            .iter()
            .map(|(name, _)| name.to_str_lossy().into_owned())
            .collect();
        let expected = [&["h", "CC", HISTORY], &FIRST[..], &LAST[..]].concat();
        assert_eq!(names, expected);
        let entry: FieldTable = [
            (short("original-expiration"), FieldValue::from("100")),
            (short("count"), FieldValue::Long(1)),
            (short("reason"), "expired".into()),
            (short("queue"), "a".into()),
            (short("time"), FieldValue::Timestamp(1_700_000_000)),
            (short("exchange"), "x".into()),
            (
                short("routing-keys"),
                FieldValue::Array(vec!["k.1".into(), "k.2".into()]),
            ),
        ]
        .into_iter()
        .collect();
        assert_eq!(headers.get(HISTORY), Some(&FieldValue::Array(vec![entry.into()])));
        assert_eq!(headers.get("x-first-death-queue"), Some(&FieldValue::from("a")));
        assert_eq!(headers.get("x-last-death-exchange"), Some(&FieldValue::from("x")));
    }

    #[test]
    fn the_latest_death_comes_first_and_counts_on() {
        let first = die(&message(&BasicProperties::default()), Reason::Rejected, "e", None);
        let second = die(&first, Reason::Expired, "d", None);
        let third = die(&second, Reason::Rejected, "e", None);
        assert_eq!(history(&second), [entry("d", "expired", 1), entry("e", "rejected", 1)]);
        assert_eq!(history(&third), [entry("e", "rejected", 2), entry("d", "expired", 1)]);
        let headers = headers(&third);
        assert_eq!(headers.get("x-first-death-queue"), Some(&FieldValue::from("e")));
        assert_eq!(headers.get("x-first-death-exchange"), Some(&FieldValue::from("x")));
        assert_eq!(headers.get("x-last-death-exchange"), Some(&FieldValue::from("dlx")));
        assert_eq!(headers.len(), 7);
    }

    #[test]
    fn keys_of_cc_are_not_told_once_a_dead_letter_key_has_replaced_them() {
        let mut table = FieldTable::new();
        table.push(short("CC"), FieldValue::Array(vec!["cc".into()]));
        let sent = message(&BasicProperties {
            headers: Some(table),
            ..BasicProperties::default()
        });
        let second = die(
            &die(&sent, Reason::Rejected, "u", Some("s")),
            Reason::Rejected,
            "s",
            None,
        );
        let headers = headers(&second);
        let keys: Vec<_> = entries(headers.get(HISTORY))
            .map(|entry| entry.get("routing-keys").cloned())
            .collect();
        let array = |keys: &[&str]| Some(FieldValue::Array(keys.iter().map(|key| (*key).into()).collect()));
        assert_eq!(keys, [array(&["s"]), array(&["k.1", "cc"])]);
    }

    #[test]
    fn a_publishers_history_does_not_count() {
        let mut table = FieldTable::new();
        table.push(short(HISTORY), "nonsense".into());
        table.push(short("x-first-death-queue"), "zz".into());
        let sent = message(&BasicProperties {
            headers: Some(table),
            ..BasicProperties::default()
        });
        assert!(!sent.returns_to(b"zz"));
        let dead = die(&sent, Reason::Rejected, "a", None);
        assert_eq!(history(&dead), [entry("a", "rejected", 1)]);
        assert_eq!(headers(&dead).get("x-first-death-queue"), Some(&FieldValue::from("a")));
    }

    #[test]
    fn a_circle_is_one_that_no_consumer_has_broken() {
        let sent = message(&BasicProperties::default());
        assert!(!sent.returns_to(b"a"));
        let expired = die(&sent, Reason::Expired, "a", None);
        assert!(expired.returns_to(b"a") && !expired.returns_to(b"b"));
        let twice = die(&expired, Reason::MaxLen, "b", None);
        assert!(twice.returns_to(b"a"));
        let rejected = die(&expired, Reason::Rejected, "b", None);
        assert!(!rejected.returns_to(b"a"));
        let on = die(&rejected, Reason::Expired, "c", None);
        assert!(on.returns_to(b"c") && !on.returns_to(b"a"));
    }

    #[test]
    fn the_log_keeps_the_marks() {
        let dead = die(&message(&BasicProperties::default()), Reason::Expired, "a", Some("k"));
        let mut length = [0; 4];
        let record = dead.record(&mut length).concat();
        let back = Message::decode(record.into()).expect("a message");
        assert_eq!(back.properties(), dead.properties());
        assert!(back.returns_to(b"a") && back.goes_by_key_alone());
    }
}
