//! The levels of a queue with priorities.
//!
//! Pure: messages come in, and go out with the level at which they wait. Does not know about queues, or in which order
//! levels are served.

use crate::message::Message;

/// The levels of one queue: from 0 to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priorities {
    /// The highest level. Messages of a higher priority wait there, too.
    pub highest: u8,
    /// The level of messages without a priority.
    pub usual: u8,
}

impl Priorities {
    /// Those of a queue with `x-max-priority`. As in RabbitMQ, 0 stands for 1.
    pub fn up_to(most: u8) -> Self {
        Self {
            highest: most.max(1),
            usual: 0,
        }
    }

    /// Those that each quorum queue has in RabbitMQ, undeclared.
    pub const QUORUM: Self = Self { highest: 31, usual: 4 };

    /// The level at which a message waits.
    pub fn level(self, message: &Message) -> u8 {
        message
            .priority()
            .map_or(self.usual, |priority| priority.min(self.highest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::BasicProperties;

    fn level(priorities: Priorities, priority: Option<u8>) -> u8 {
        let properties = BasicProperties {
            priority,
            ..BasicProperties::default()
        };
        priorities.level(&Message::new(b"", b"q", &properties.to_bytes(), b""))
    }

    /// As a RabbitMQ 4.3.6 does.
    #[test]
    fn a_priority_beyond_the_highest_level_counts_as_that() {
        let five = Priorities::up_to(5);
        assert_eq!(
            [None, Some(0), Some(5), Some(6), Some(255)].map(|it| level(five, it)),
            [0, 0, 5, 5, 5]
        );
        assert_eq!(level(Priorities::up_to(0), Some(9)), 1);
        assert_eq!(level(Priorities::up_to(255), Some(255)), 255);
        let quorum = Priorities::QUORUM;
        assert_eq!(
            [None, Some(0), Some(31), Some(32)].map(|it| level(quorum, it)),
            [4, 0, 31, 31]
        );
    }
}
