//! The values that a queue's arguments may have, typed.
//!
//! Pure. Does not know about tables of arguments, or how a value is read.

use super::retry::{Retry, RetryType};
use crate::queue::priority::Priorities;
use leveret_amqp::ShortString;

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
    /// `x-max-priority`: the highest priority that is told from others.
    pub max_priority: Option<u8>,
    /// `x-single-active-consumer`: one consumer at a time gets messages.
    pub single_active_consumer: Option<bool>,
    /// `x-overflow`: the conduct of a full queue.
    pub overflow: Option<Overflow>,
    /// Rules for what has been delivered, if there are some.
    pub delivered: Option<Box<Delivered>>,
}

/// Rules of a queue for messages that have been delivered: few queues have one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// `x-delivery-limit`: failures that a message may have; a negative number is no limit.
    pub delivery_limit: Option<i64>,
    /// `x-delayed-retry-type`: the returns after which a message waits.
    pub delayed_retry_type: Option<RetryType>,
    /// `x-delayed-retry-min`: the first pause, milliseconds.
    pub delayed_retry_min: Option<u64>,
    /// `x-delayed-retry-max`: the longest one.
    pub delayed_retry_max: Option<u64>,
    /// `x-consumer-timeout`: milliseconds that a consumer may have a message.
    pub consumer_timeout: Option<u64>,
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
    /// It drops new ones, and no publisher hears of it. Only the broker declares such queues.
    DropNew,
}

/// RabbitMQ's queue types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueType {
    /// The usual one.
    #[default]
    Classic,
    /// One of the same durable log, with the semantics of RabbitMQ's replicated queues.
    Quorum,
    /// Known for the arguments that only it takes.
    Stream,
}

impl Values {
    /// Those of a queue for one subscriber that misses what comes while `most` messages wait.
    pub fn of_subscriber(most: u32) -> Self {
        Self {
            max_length: Some(most.into()),
            overflow: Some(Overflow::DropNew),
            ..Self::default()
        }
    }

    /// The queue's type; classic if none was asked for.
    pub fn queue_type(&self) -> QueueType {
        self.queue_type.unwrap_or_default()
    }

    /// The levels of a queue that delivers by priority.
    pub fn priorities(&self) -> Option<Priorities> {
        match self.queue_type() {
            QueueType::Classic => self.max_priority.map(Priorities::up_to),
            QueueType::Quorum => Some(Priorities::QUORUM),
            QueueType::Stream => None,
        }
    }

    /// Failures that a message may have; `None` is no limit.
    pub fn delivery_limit(&self) -> Option<u32> {
        /// The limit of quorum queues, as RabbitMQ has it.
        const USUAL: i64 = 20;
        let usual = (self.queue_type() == QueueType::Quorum).then_some(USUAL);
        let limit = self
            .delivered
            .as_ref()
            .and_then(|rules| rules.delivery_limit)
            .or(usual)
            .filter(|limit| *limit >= 0)?;
        Some(u32::try_from(limit).unwrap_or(u32::MAX))
    }

    /// The pauses before a message that has come back is delivered again.
    pub fn retry(&self) -> Option<Retry> {
        let rules = self.delivered.as_ref()?;
        let after = rules.delayed_retry_type.filter(|after| *after != RetryType::Disabled)?;
        let min = rules.delayed_retry_min?;
        let max = rules.delayed_retry_max.unwrap_or(min);
        Some(Retry { after, min, max })
    }

    /// Milliseconds that a consumer may have a message.
    pub fn consumer_timeout(&self) -> Option<u64> {
        self.delivered.as_ref()?.consumer_timeout
    }

    /// True if consumers are told how often a message has come back.
    pub fn tell_returns(&self) -> bool {
        let rules = self.delivered.as_ref();
        let about_returns = |rules: &Delivered| rules.delivery_limit.is_some() || rules.delayed_retry_type.is_some();
        self.queue_type() == QueueType::Quorum || rules.is_some_and(|rules| about_returns(rules))
    }
}

impl QueueType {
    /// The type of this name, or of RabbitMQ's module for it.
    pub fn of_name(name: &str) -> Option<Self> {
        let all = [Self::Classic, Self::Quorum, Self::Stream];
        all.into_iter().find(|of| name == of.name() || name == of.module())
    }

    /// The name by which it is declared.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
            Self::Stream => "stream",
        }
    }

    /// The name of RabbitMQ's module, which its texts and events say.
    pub fn module(self) -> &'static str {
        match self {
            Self::Classic => "rabbit_classic_queue",
            Self::Quorum => "rabbit_quorum_queue",
            Self::Stream => "rabbit_stream_queue",
        }
    }
}
