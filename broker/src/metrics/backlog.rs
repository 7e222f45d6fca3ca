//! The trend of a queue's backlog.
//!
//! Comes in: its length, its consumers and its rates. Goes out: the time until it is empty, the consumers that would
//! hold it steady. Pure.

use super::rates::QueueRates;

/// The trend of a backlog by its rates: Q(t) = Q(0) + integral of (P - C), P what is published, C what leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backlog {
    /// P, messages per second.
    pub publish_rate: f64,
    /// C, messages per second.
    pub ack_rate: f64,
    /// Seconds until it is empty, Q / (C - P); `None` if it doesn't shrink.
    pub drain_seconds: Option<f64>,
    /// Consumers that would hold it steady, P / rate of one; `None` as long as none works.
    pub consumers_for_steady: Option<u64>,
}

impl Backlog {
    /// For a queue of `messages` messages with `consumers` consumers.
    pub fn new(messages: usize, consumers: usize, rates: &QueueRates) -> Self {
        let (publish, leave) = (rates.publish, rates.leave());
        let drain_seconds = match messages {
            0 => Some(0.0),
            _ if leave > publish => Some(messages as f64 / (leave - publish)),
            _ => None,
        };
        let consumers_for_steady = if publish == 0.0 {
            Some(0)
        } else if consumers > 0 && leave > 0.0 {
            Some((publish * consumers as f64 / leave).ceil() as u64)
        } else {
            None
        };
        Self {
            publish_rate: publish,
            ack_rate: leave,
            drain_seconds,
            consumers_for_steady,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_drains_as_fast_as_more_leaves_than_comes() {
        let rates = QueueRates {
            publish: 100.0,
            ack: 150.0,
            ..QueueRates::default()
        };
        let backlog = Backlog::new(1000, 3, &rates);
        assert_eq!(backlog.drain_seconds, Some(20.0));
        assert_eq!(backlog.consumers_for_steady, Some(2));
        let growing = Backlog::new(1000, 2, &QueueRates { ack: 50.0, ..rates });
        assert_eq!((growing.drain_seconds, growing.consumers_for_steady), (None, Some(4)));
        let unused = Backlog::new(
            1000,
            0,
            &QueueRates {
                publish: 1.0,
                ..QueueRates::default()
            },
        );
        assert_eq!((unused.drain_seconds, unused.consumers_for_steady), (None, None));
        let idle = Backlog::new(0, 0, &QueueRates::default());
        assert_eq!((idle.drain_seconds, idle.consumers_for_steady), (Some(0.0), Some(0)));
    }
}
