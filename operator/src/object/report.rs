//! The whole status of one resource, on its way back to the source.
//!
//! In: what came of a resource. Out: `StatusReport`. Does not know about how a status is written.

use serde_json::Value;

use super::key::ObjectKey;
use super::reason::{ConditionStatus, Reason};

/// The fields that only a `Broker`'s status has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerFacts {
    /// Product and version as the broker says, for example `RabbitMQ 4.3.6`.
    pub version: Option<String>,
    /// The AMQP URI and the address of the management API that are used, without credentials.
    pub endpoint: Option<String>,
    pub management: Option<String>,
    /// The state of the connection; `None`: nothing is said about it.
    pub reachable: Option<ConditionStatus>,
    /// Only of a broker that the operator runs: whether messages outlive the pod, and the Secret for clients.
    pub persistent: Option<bool>,
    pub credentials: Option<String>,
    /// Another operator that would keep it too.
    pub contender: Option<String>,
    pub usage: Usage,
    /// Resources that refer to this broker, and how many of them are not Ready.
    pub objects: u32,
    pub not_ready: u32,
}

/// The load of a broker, as it last said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages in all queues.
    pub messages: Option<u64>,
    /// Free bytes on its disk.
    pub disk_free: Option<u64>,
}

impl Usage {
    /// This, after `before`: free space that has changed by less than an eighth counts as the same, so that a status is
    /// not written all the time.
    pub fn after(mut self, before: &Usage) -> Usage {
        if let (Some(new), Some(old)) = (self.disk_free, before.disk_free)
            && new.abs_diff(old) <= old / 8
        {
            self.disk_free = before.disk_free;
        }
        self
    }
}

/// The backlog of a queue, as the broker last said; for people, who look at it in `kubectl get -o wide`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueNumbers {
    /// Ready, and with consumers.
    pub messages: u64,
    pub ready: u64,
    pub consumers: u64,
    /// Time until it is empty at the rates of now: `4s`, `grows`, or `-` for neither.
    pub drain: String,
}

impl QueueNumbers {
    /// Below this, every change counts.
    const FEW: u64 = 100;

    /// Numbers that say something; the default ones take away what was said before.
    pub fn is_told(&self) -> bool {
        !self.drain.is_empty()
    }

    /// True when they are worth a write after `told`: many messages that have become somewhat more or fewer are not.
    pub fn is_news_after(&self, told: &Self) -> bool {
        let differs = |new: u64, old: u64| {
            let slack = if old < Self::FEW || new == 0 { 0 } else { old / 8 };
            new.abs_diff(old) > slack
        };
        let is_time = |drain: &str| drain.starts_with(|c: char| c.is_ascii_digit());
        let drains = self.drain != told.drain && !(is_time(&self.drain) && is_time(&told.drain));
        differs(self.messages, told.messages)
            || differs(self.ready, told.ready)
            || self.consumers != told.consumers
            || drains
    }
}

/// The fields that only a `ZeroMqSocket`'s status has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketFacts {
    /// The address at which the broker listens.
    pub address: Option<String>,
    /// The broker's key for clients with CURVE.
    pub public_key: Option<String>,
}

/// The whole status of one resource; it replaces what was written before.
///
/// A report arrives only when it differs from the one before, but a source must still compare it with what stands in
/// the resource (after a restart everything is reported once) and write only a change.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusReport {
    pub key: ObjectKey,
    pub uid: String,
    /// The generation that was looked at: `observedGeneration` of the status and of every condition.
    pub generation: i64,
    pub ready: ConditionStatus,
    pub reconciling: ConditionStatus,
    pub stalled: ConditionStatus,
    pub reason: Reason,
    pub message: String,
    /// Unix seconds at which a step that was refused is tried again; `None`: nothing was refused, or it is soon.
    pub next_try: Option<i64>,
    /// The object that the resource owns on the broker; see `LastStatus`. `None` while it owns nothing.
    pub name: Option<String>,
    pub vhost: Option<String>,
    pub applied: Option<Value>,
    /// Something was done on the broker for this resource: `lastSyncTime` moves.
    pub did_something: bool,
    /// Only for a `User`: the Secret that the operator has made for it.
    pub secret: Option<String>,
    /// Only for a `Broker`.
    pub broker: Option<BrokerFacts>,
    /// Only for a `Queue`; `None`: nothing new, what was written stands.
    pub queue: Option<QueueNumbers>,
    /// Only for a `ZeroMqSocket`.
    pub socket: Option<SocketFacts>,
}

impl StatusReport {
    /// Takes the place of an older report, which may never have been written: what only that one said is not lost.
    pub fn supersede(&mut self, old: StatusReport) {
        if old.uid == self.uid {
            self.did_something |= old.did_something;
            self.queue = self.queue.take().or(old.queue);
        }
    }
}

#[cfg(test)]
impl StatusReport {
    /// A report with nothing in it but this, which tests complete.
    pub fn sample(key: ObjectKey, ready: ConditionStatus, reason: Reason) -> Self {
        Self {
            key,
            uid: "u".to_owned(),
            generation: 1,
            ready,
            reconciling: ConditionStatus::False,
            stalled: ConditionStatus::False,
            reason,
            message: String::new(),
            next_try: None,
            name: None,
            vhost: None,
            applied: None,
            did_something: false,
            secret: None,
            broker: None,
            queue: None,
            socket: None,
        }
    }
}
