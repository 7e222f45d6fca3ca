//! A record of publishes, compared with what was found afterwards.
//!
//! In: publishes and confirms as they happen; the messages found in the queues after the crash. Out: every promise that
//! was broken, in words.
//! Does not know about how messages were sent or fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// One publisher's messages to one queue are numbered from 0; this names one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    pub publisher: u32,
    pub number: u64,
}

impl Entry {
    /// The message body: the entry in words, filled up to `size` octets with octets that follow from it, so that a body
    /// that is not what was sent is noticed.
    pub fn body(self, size: usize) -> Vec<u8> {
        let mut body = format!("{} {} ", self.publisher, self.number).into_bytes();
        let fill = (self.publisher as u64).wrapping_mul(31).wrapping_add(self.number) as u8;
        if body.len() < size {
            body.resize(size, fill);
        }
        body
    }

    /// Reads a body back; `None` when it is not one that [`Entry::body`] makes.
    pub fn parse(body: &[u8]) -> Option<Entry> {
        let mut words = body.splitn(3, |octet| *octet == b' ');
        let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
        let (publisher, number) = (u32::try_from(number()?).ok()?, number()?);
        let entry = Entry { publisher, number };
        (entry.body(body.len()) == body).then_some(entry)
    }
}

/// A message that was in a queue afterwards.
#[derive(Debug, Clone)]
pub struct Found {
    pub queue: String,
    pub body: Vec<u8>,
    pub redelivered: bool,
}

/// The publishes of one publisher to one queue.
#[derive(Debug, Clone, Default)]
pub struct Publishes {
    /// Numbers below this one were sent.
    pub sent: u64,
    /// Numbers that were confirmed.
    pub confirmed: BTreeSet<u64>,
    /// Numbers a consumer has acknowledged: these may be gone.
    pub consumed: BTreeSet<u64>,
    /// Of those, the ones whose acknowledgement was known to be on disk: these must not come back.
    pub settled: BTreeSet<u64>,
    /// Numbers a consumer had got when that was known to be on disk: if they come back, it is as redelivered.
    pub delivered: BTreeSet<u64>,
}

/// The publishes of all publishers.
#[derive(Debug, Default)]
pub struct History {
    /// By publisher and queue.
    pub publishes: BTreeMap<(u32, String), Publishes>,
    /// Queues that have delivered nothing: nothing in them is redelivered.
    pub untouched: BTreeSet<String>,
}

/// Counts over a history that kept all its promises.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub confirmed: usize,
    pub found: usize,
    /// Found although never confirmed: allowed.
    pub unconfirmed: usize,
    /// Acknowledged for good, and gone.
    pub settled: usize,
}

impl History {
    /// Compares with what was found, in the order in which each queue gave it.
    ///
    /// # Errors
    /// One line for each promise broken: a confirmed message that is gone, one that was never sent, one twice, two in
    /// the wrong order, one that was settled for good, a wrong redelivered flag.
    pub fn check(&self, found: &[Found]) -> Result<Summary, String> {
        let mut broken = String::new();
        let mut seen: BTreeMap<(u32, &str), BTreeSet<u64>> = BTreeMap::new();
        let mut summary = Summary::default();
        for message in found {
            let queue = message.queue.as_str();
            let Some(entry) = Entry::parse(&message.body) else {
                let _ = writeln!(
                    broken,
                    "{queue}: a body that was never sent: {:?}",
                    String::from_utf8_lossy(&message.body)
                );
                continue;
            };
            let Some(publishes) = self.publishes.get(&(entry.publisher, queue.to_string())) else {
                let _ = writeln!(broken, "{queue}: {entry:?} was never sent there");
                continue;
            };
            if entry.number >= publishes.sent {
                let _ = writeln!(broken, "{queue}: {entry:?} was never sent");
            }
            let before = seen.entry((entry.publisher, queue)).or_default();
            if before.last().is_some_and(|last| *last > entry.number) {
                let _ = writeln!(broken, "{queue}: {entry:?} comes after {:?}", before.last());
            }
            if !before.insert(entry.number) {
                let _ = writeln!(broken, "{queue}: {entry:?} twice");
            }
            if let Some(wrong) = self.wrong_state(message, entry.number, publishes) {
                let _ = writeln!(broken, "{queue}: {entry:?} {wrong}");
            }
            summary.found += 1;
            summary.unconfirmed += usize::from(!publishes.confirmed.contains(&entry.number));
        }
        for ((publisher, queue), publishes) in &self.publishes {
            let nothing = BTreeSet::new();
            let here = seen.get(&(*publisher, queue.as_str())).unwrap_or(&nothing);
            summary.confirmed += publishes.confirmed.len();
            summary.settled += publishes.settled.len();
            for lost in publishes
                .confirmed
                .iter()
                .filter(|n| !here.contains(n) && !publishes.consumed.contains(n))
            {
                let _ = writeln!(
                    broken,
                    "{queue}: message {lost} of publisher {publisher} was confirmed and is lost"
                );
            }
        }
        if broken.is_empty() { Ok(summary) } else { Err(broken) }
    }

    /// The contradiction between a message that was found and its history, if there is one.
    fn wrong_state(&self, message: &Found, number: u64, publishes: &Publishes) -> Option<&'static str> {
        if publishes.settled.contains(&number) {
            return Some("was acknowledged for good and is back");
        }
        if publishes.delivered.contains(&number) && !message.redelivered {
            return Some("was delivered before and doesn't say so");
        }
        let untouched = message.redelivered && self.untouched.contains(&message.queue);
        untouched.then_some("was never delivered and says it was")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(sent: u64, confirmed: &[u64]) -> History {
        let publishes = Publishes {
            sent,
            confirmed: confirmed.iter().copied().collect(),
            ..Publishes::default()
        };
        History {
            publishes: [((7, "q".to_string()), publishes)].into(),
            ..History::default()
        }
    }

    fn found(numbers: &[u64]) -> Vec<Found> {
        let body = |number| Entry { publisher: 7, number }.body(100);
        numbers
            .iter()
            .map(|n| Found {
                queue: "q".into(),
                body: body(*n),
                redelivered: false,
            })
            .collect()
    }

    #[test]
    fn unconfirmed_messages_may_be_there_or_not() {
        let summary = history(4, &[0, 1]).check(&found(&[0, 1, 3]));
        assert_eq!(
            summary,
            Ok(Summary {
                confirmed: 2,
                found: 3,
                unconfirmed: 1,
                settled: 0
            })
        );
    }

    #[test]
    fn every_broken_promise_is_named() {
        let check = |numbers: &[u64]| history(4, &[0, 1]).check(&found(numbers)).unwrap_err();
        assert!(check(&[0]).contains("message 1 of publisher 7 was confirmed and is lost"));
        assert!(check(&[1, 0]).contains("comes after"));
        assert!(check(&[0, 1, 1]).contains("twice"));
        assert!(check(&[0, 1, 4]).contains("never sent"));
    }

    #[test]
    fn what_a_message_says_of_its_past_is_checked() {
        let mut history = history(4, &[0, 1]);
        let publishes = history.publishes.values_mut().next().expect("one");
        publishes.settled = [2].into();
        publishes.delivered = [1].into();
        let check = |history: &History, found: &[Found]| history.check(found).unwrap_err();
        assert!(check(&history, &found(&[0, 1, 2])).contains("was acknowledged for good and is back"));
        let mut twice = found(&[0, 1]);
        assert!(check(&history, &twice).contains("was delivered before and doesn't say so"));
        twice[1].redelivered = true;
        assert!(history.check(&twice).is_ok());
        history.untouched.insert("q".into());
        assert!(check(&history, &twice).contains("was never delivered and says it was"));
    }

    #[test]
    fn a_changed_body_is_not_taken_for_the_one_sent() {
        let mut body = Entry {
            publisher: 1,
            number: 2,
        }
        .body(64);
        body[40] ^= 1;
        assert_eq!(Entry::parse(&body), None);
    }
}
