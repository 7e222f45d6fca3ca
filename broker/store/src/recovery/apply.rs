//! The effect of each record on table, messages and ledger. A batch takes effect when its last record has been seen.
//!
//! In: records in log order. Out: the state at the end of the log. Does not know about files.

use crate::ids::{MessageId, QueueId};
use crate::index::Index;
use crate::ledger::Ledger;
use crate::location::Location;
use crate::record::{self, Holder, Record};
use crate::stored::{Destination, Live, StoredMessage};
use std::collections::BTreeSet;

/// A record kept until its batch is complete: the body's bytes but for the payload, in a buffer that all share.
#[derive(Debug)]
struct Held {
    location: Location,
    from: usize,
    to: usize,
    /// Length of the payload.
    payload: u32,
}

/// A copy of a message that is settled, whose settlement names the segment of the original: it needs one more, so that
/// it stays dead when the original goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StaleCopy {
    pub(crate) queue: QueueId,
    pub(crate) id: MessageId,
    /// Where the copy lies.
    pub(crate) segment: u32,
}

/// The state so far.
#[derive(Debug, Default)]
pub(super) struct Applier {
    held: Vec<Held>,
    bodies: Vec<u8>,
    pub(super) index: Index,
    pub(super) ledger: Ledger,
    pub(super) next_id: MessageId,
    pub(super) records: u64,
    pub(super) stale_copies: Vec<StaleCopy>,
    /// Segments in which records were lost.
    pub(super) damaged: BTreeSet<u32>,
}

impl Applier {
    /// Takes the next record of the log.
    pub(super) fn take(
        &mut self,
        location: Location,
        first: bool,
        last: bool,
        body: &[u8],
        record: &Record<'_>,
        existing: &BTreeSet<u32>,
    ) {
        if first {
            // The batch before lost its end to damage: what is left of it was promised all the same.
            self.keep_unfinished(existing);
        }
        let payload = match record {
            Record::Publish { payload, .. } | Record::Copy { payload, .. } => payload.len(),
            _ => 0,
        };
        let from = self.bodies.len();
        self.bodies
            .extend_from_slice(body.get(..body.len() - payload).unwrap_or_default());
        self.held.push(Held {
            location,
            from,
            to: self.bodies.len(),
            payload: payload as u32,
        });
        if last {
            self.keep_unfinished(existing);
        }
    }

    /// Forgets a batch whose end is missing; returns where it began.
    pub(super) fn drop_unfinished(&mut self) -> Option<u64> {
        let begin = self.held.first().map(|held| u64::from(held.location.offset));
        self.held.clear();
        self.bodies.clear();
        begin
    }

    /// Applies what is held.
    pub(super) fn keep_unfinished(&mut self, existing: &BTreeSet<u32>) {
        let (mut held, mut bodies) = (std::mem::take(&mut self.held), std::mem::take(&mut self.bodies));
        for held in held.drain(..) {
            self.records += 1;
            if let Some(record) = bodies.get(held.from..held.to).and_then(record::decode) {
                self.apply(held.location, record, held.payload, existing);
            }
        }
        bodies.clear();
        (self.held, self.bodies) = (held, bodies);
    }

    fn apply(&mut self, location: Location, record: Record<'_>, payload: u32, existing: &BTreeSet<u32>) {
        let segment = location.segment;
        let len = u64::from(location.len);
        match record {
            Record::Publish { id, queues, .. } => {
                let count = queues.clone().count();
                let fresh = queues.map(|Destination { queue, stamp }| Holder {
                    queue,
                    live: Live {
                        delivery_count: 0,
                        stamp,
                    },
                });
                self.messages(location, id, payload, None, count, fresh);
            }
            Record::Copy { from, id, queues, .. } => {
                let from = Some(from).filter(|from| existing.contains(from));
                let count = queues.clone().count();
                self.messages(location, id, payload, from, count, queues);
            }
            Record::Settle { queue, runs } => {
                for run in runs {
                    self.settle(segment, queue, run);
                }
            }
            Record::Returned { queue, runs } => {
                for run in runs {
                    self.saw(run.last());
                    self.ledger.speaks_of(segment, run.segment, record::HEAD as u64 / 2);
                    self.index.returned(queue, run.first, run.last());
                }
            }
            Record::Counted { queue, counts } => {
                for record::Count {
                    segment: target,
                    id,
                    live,
                } in counts
                {
                    self.saw(id);
                    self.ledger.speaks_of(segment, target, record::HEAD as u64);
                    self.index.counted(queue, id, live);
                }
            }
            Record::Delivered { queue, up_to } => {
                self.saw(up_to);
                self.ledger.delivered(queue, up_to, segment);
            }
            Record::QueueDeleted { queue } => {
                let ledger = &mut self.ledger;
                self.index.delete(queue, |location| ledger.released(location));
                self.ledger.queue_deleted(queue, segment, len);
            }
            Record::Put { key, value } => {
                self.ledger
                    .table_changed(key, segment, location.offset, len, Some(value));
            }
            Record::Delete { key } => {
                self.ledger.table_changed(key, segment, location.offset, len, None);
            }
            Record::Mark { .. } => {}
        }
    }

    /// A message for `count` queues, copied out of the segment `from` if that still exists.
    fn messages(
        &mut self,
        location: Location,
        id: MessageId,
        payload_len: u32,
        from: Option<u32>,
        count: usize,
        queues: impl Iterator<Item = Holder>,
    ) {
        self.saw(id);
        self.ledger
            .published(location.segment, u64::from(location.len), count as u64);
        if let Some(from) = from {
            self.ledger.account(location.segment).after.insert(from);
        }
        for Holder { queue, live } in queues {
            let message = StoredMessage {
                id,
                location,
                payload_len,
                delivery_count: live.delivery_count,
                redelivered: false,
                stamp: live.stamp,
            };
            self.message(queue, message, from);
        }
    }

    /// A run of settlements. One that names another segment than the message's is about a message that was being
    /// copied: it would go with the segment that it names, and leave the copy to come back.
    fn settle(&mut self, segment: u32, queue: QueueId, run: record::Run) {
        self.saw(run.last());
        self.ledger.speaks_of(segment, run.segment, record::HEAD as u64 / 2);
        let (ledger, stale) = (&mut self.ledger, &mut self.stale_copies);
        self.index.settle(queue, run.first, run.last(), |id, location| {
            ledger.released(location);
            if location.segment != run.segment {
                stale.push(StaleCopy {
                    queue,
                    id,
                    segment: location.segment,
                });
            }
        });
    }

    /// A message of one queue. A copy whose source still exists adds nothing that the source did not bring: when the
    /// message is not there any more it was settled before it was copied, unless its first record is among the damaged
    /// ones.
    fn message(&mut self, queue: QueueId, message: StoredMessage, from: Option<u32>) {
        let settled = from.is_some_and(|from| !self.damaged.contains(&from)) && !self.index.contains(queue, message.id);
        if settled {
            self.ledger.released(message.location);
            self.stale_copies.push(StaleCopy {
                queue,
                id: message.id,
                segment: message.location.segment,
            });
        } else if let Some(before) = self.index.insert(queue, message) {
            self.ledger.released(before);
        }
    }

    /// Ids go on above the highest seen.
    fn saw(&mut self, id: MessageId) {
        self.next_id = self.next_id.max(id.saturating_add(1));
    }
}
