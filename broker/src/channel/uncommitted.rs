//! Contents of a transaction until it is committed or rolled back: published messages with their routes, and
//! settlements.
//!
//! Comes in: routed messages; delivery tags that were put aside. Goes out: both, in their order, once. What the
//! messages take counts as that of queued ones does.
//! Does not know about channels, deliveries or the log.

use crate::error::{Error, Result};
use crate::limits::Memory;
use crate::message::Message;
use crate::queue::Outcome;
use crate::vhost::route::Route;
use std::sync::Arc;

/// Most messages of one transaction: RabbitMQ's default (`channel_tx_message_max`).
const MOST_MESSAGES: usize = 10_000;
/// Most bytes of one transaction, so that all of its messages fit into one append to the log: that holds 2 GiB.
const MOST_BYTES: u64 = 1 << 30;
/// Bytes that a queue's number takes in the record of a message, at most, and its pointer in the route.
const PER_QUEUE: u64 = 18;

/// An open transaction.
pub struct Uncommitted {
    publishes: Vec<Routed>,
    settlements: Vec<Settlement>,
    /// Deliveries that are acknowledged. Rejections don't count (RabbitMQ's `acks_uncommitted`).
    acks: u64,
    /// Memory of the messages, bytes.
    bytes: u64,
    memory: Arc<Memory>,
}

/// A message that has been routed.
pub struct Routed {
    /// Its route; queues may have been deleted by the time of the commit.
    pub route: Route,
    /// The message.
    pub message: Message,
    /// True if it is given back if it leads nowhere.
    pub mandatory: bool,
}

/// Deliveries that end in the same way.
pub struct Settlement {
    /// The way in which they end.
    pub outcome: Outcome,
    /// Their tags.
    pub tags: Vec<u64>,
}

impl Uncommitted {
    /// An empty transaction.
    pub fn new(memory: Arc<Memory>) -> Self {
        Self {
            publishes: Vec::new(),
            settlements: Vec::new(),
            acks: 0,
            bytes: 0,
            memory,
        }
    }

    /// Adds a message.
    ///
    /// # Errors
    /// 406 if that is too much for one transaction, or for all that are open.
    pub fn publish(&mut self, publish: Routed) -> Result<()> {
        if self.publishes.len() >= MOST_MESSAGES {
            let text = format!("transaction has reached the maximum of {MOST_MESSAGES} uncommitted publishes");
            return Err(Error::Precondition(text.into()));
        }
        let bytes = publish.bytes();
        if self.bytes + bytes > MOST_BYTES {
            let text = format!("transaction has reached the maximum of {MOST_BYTES} bytes of uncommitted publishes");
            return Err(Error::Precondition(text.into()));
        }
        if !self.memory.reserve(bytes) {
            let text = "uncommitted publishes of all transactions have reached half of the memory watermark";
            return Err(Error::Precondition(text.into()));
        }
        self.bytes += bytes;
        self.publishes.push(publish);
        Ok(())
    }

    /// Adds deliveries that end with `outcome`: those whose tags `put` adds to the list that it is given.
    ///
    /// # Errors
    /// That of `put`.
    pub fn settle<E>(
        &mut self,
        outcome: Outcome,
        put: impl FnOnce(&mut Vec<u64>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let count = match self.settlements.last_mut().filter(|last| last.outcome == outcome) {
            Some(Settlement { tags, .. }) => {
                let before = tags.len();
                put(tags)?;
                tags.len() - before
            }
            None => {
                let mut tags = Vec::new();
                put(&mut tags)?;
                let count = tags.len();
                if count > 0 {
                    self.settlements.push(Settlement { outcome, tags });
                }
                count
            }
        };
        if outcome == Outcome::Acked {
            self.acks += count as u64;
        }
        Ok(())
    }

    /// Messages and acknowledgements that it holds.
    pub fn counts(&self) -> (u64, u64) {
        (self.publishes.len() as u64, self.acks)
    }

    /// Takes everything out; the next transaction begins.
    pub fn take(&mut self) -> (Vec<Routed>, Vec<Settlement>) {
        self.memory.release(std::mem::take(&mut self.bytes));
        self.acks = 0;
        (
            std::mem::take(&mut self.publishes),
            std::mem::take(&mut self.settlements),
        )
    }
}

impl Drop for Uncommitted {
    fn drop(&mut self) {
        self.memory.release(self.bytes);
    }
}

impl Routed {
    /// Bytes that it takes in memory, and at most in the log.
    fn bytes(&self) -> u64 {
        let name = self.message.exchange().len() + self.message.routing_key().len();
        self.message.footprint().bytes + name as u64 + PER_QUEUE * self.route.queues.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::is_linear;
    use crate::vhost::route::Logged;

    fn publish(body: usize) -> Routed {
        Routed {
            route: Route {
                queues: Vec::new().into(),
                by_key: true,
                logged: Logged::None,
                stamped: false,
            },
            message: Message::new(b"", b"q", b"\0\0", &vec![0; body]),
            mandatory: false,
        }
    }

    fn settled(transaction: &mut Uncommitted, outcome: Outcome, tag: u64) {
        let put = |tags: &mut Vec<u64>| -> std::result::Result<(), ()> {
            tags.push(tag);
            Ok(())
        };
        assert_eq!(transaction.settle(outcome, put), Ok(()));
    }

    #[test]
    fn its_memory_counts_until_it_ends() {
        let memory = Arc::new(Memory::new(10_000));
        let mut transaction = Uncommitted::new(memory.clone());
        assert!(transaction.publish(publish(3000)).is_ok());
        let held = memory.resident();
        assert!(held > 3000);
        let mut other = Uncommitted::new(memory.clone());
        assert!(other.publish(publish(3000)).is_err(), "more than half of the watermark");
        assert_eq!(memory.resident(), held);
        assert_eq!(transaction.take().0.len(), 1);
        assert_eq!(memory.resident(), 0);
        assert!(other.publish(publish(3000)).is_ok());
        drop(other);
        assert_eq!(memory.resident(), 0);
    }

    #[test]
    fn so_many_messages_and_no_more() {
        let mut transaction = Uncommitted::new(Arc::new(Memory::new(u64::MAX)));
        for _ in 0..MOST_MESSAGES {
            assert!(transaction.publish(publish(0)).is_ok());
        }
        assert!(transaction.publish(publish(0)).is_err());
        assert_eq!(transaction.counts(), (10_000, 0));
    }

    #[test]
    fn each_is_held_and_leaves_in_the_same_time() {
        let hold = |transaction: &mut Uncommitted, n: usize| {
            for tag in 0..n as u64 {
                assert!(transaction.publish(publish(10)).is_ok());
                let outcome = if tag % 2 == 0 {
                    Outcome::Acked
                } else {
                    Outcome::Requeued
                };
                settled(transaction, outcome, tag);
            }
            let (publishes, settlements) = transaction.take();
            assert_eq!((publishes.len(), settlements.len()), (n, n));
        };
        let make = |_| Uncommitted::new(Arc::new(Memory::new(u64::MAX)));
        is_linear("uncommitted", 4_000, make, hold);
    }

    #[test]
    fn settlements_keep_their_order() {
        let mut transaction = Uncommitted::new(Arc::new(Memory::new(0)));
        for (outcome, tag) in [
            (Outcome::Acked, 1),
            (Outcome::Acked, 5),
            (Outcome::Requeued, 2),
            (Outcome::Acked, 3),
        ] {
            settled(&mut transaction, outcome, tag);
        }
        assert_eq!(
            transaction.settle(Outcome::Rejected, |_| Ok::<_, ()>(())),
            Ok(()),
            "nothing was outstanding"
        );
        assert_eq!(transaction.counts(), (0, 3));
        let settlements = transaction.take().1;
        let tags: Vec<_> = settlements.into_iter().map(|settlement| settlement.tags).collect();
        assert_eq!(tags, [vec![1, 5], vec![2], vec![3]]);
    }
}
