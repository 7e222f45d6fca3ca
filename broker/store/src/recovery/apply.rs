//! What each record does to table, messages and ledger. A batch takes effect when its last record has been seen.
//!
//! In: records in log order. Out: the state at the end of the log. Does not know about files.

use super::*;

/// A record kept until its batch is complete.
#[derive(Debug)]
struct Held {
    location: Location,
    body: Effect,
}

/// A record without its payload.
#[derive(Debug)]
enum Effect {
    Message {
        from: Option<u32>,
        id: MessageId,
        queues: Vec<(QueueId, u32)>,
        payload: u32,
    },
    Settle {
        queue: QueueId,
        runs: Vec<record::Run>,
    },
    Returned {
        queue: QueueId,
        runs: Vec<record::Run>,
    },
    Counted {
        queue: QueueId,
        counts: Vec<(u32, MessageId, u32)>,
    },
    Delivered {
        queue: QueueId,
        up_to: MessageId,
    },
    QueueDeleted {
        queue: QueueId,
    },
    Put {
        key: Vec<u8>,
        value: Bytes,
    },
    Delete {
        key: Vec<u8>,
    },
    Nothing,
}

impl Effect {
    fn of(record: &Record<'_>) -> Effect {
        match record.clone() {
            Record::Publish { id, queues, payload } => Effect::Message {
                from: None,
                id,
                queues: queues.map(|queue| (queue, 0)).collect(),
                payload: payload.len() as u32,
            },
            Record::Copy {
                from,
                id,
                queues,
                payload,
            } => Effect::Message {
                from: Some(from),
                id,
                queues: queues.collect(),
                payload: payload.len() as u32,
            },
            Record::Settle { queue, runs } => Effect::Settle {
                queue,
                runs: runs.collect(),
            },
            Record::Returned { queue, runs } => Effect::Returned {
                queue,
                runs: runs.collect(),
            },
            Record::Counted { queue, counts } => Effect::Counted {
                queue,
                counts: counts.collect(),
            },
            Record::Delivered { queue, up_to } => Effect::Delivered { queue, up_to },
            Record::QueueDeleted { queue } => Effect::QueueDeleted { queue },
            Record::Put { key, value } => Effect::Put {
                key: key.to_vec(),
                value: Bytes::copy_from_slice(value),
            },
            Record::Delete { key } => Effect::Delete { key: key.to_vec() },
            Record::Mark { .. } => Effect::Nothing,
        }
    }
}

/// The state so far.
#[derive(Debug, Default)]
pub(super) struct Applier {
    held: Vec<Held>,
    pub(super) index: Index,
    pub(super) ledger: Ledger,
    pub(super) next_id: MessageId,
    pub(super) records: u64,
    pub(super) stale_copies: Vec<(QueueId, MessageId, u32)>,
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
        record: &Record<'_>,
        existing: &BTreeSet<u32>,
    ) {
        if first {
            // The batch before lost its end to damage: what is left of it was promised all the same.
            self.keep_unfinished(existing);
        }
        self.held.push(Held {
            location,
            body: Effect::of(record),
        });
        if last {
            self.keep_unfinished(existing);
        }
    }

    /// Forgets a batch whose end is missing; returns where it began.
    pub(super) fn drop_unfinished(&mut self) -> Option<u64> {
        let begin = self.held.first().map(|held| u64::from(held.location.offset));
        self.held.clear();
        begin
    }

    /// Applies what is held.
    pub(super) fn keep_unfinished(&mut self, existing: &BTreeSet<u32>) {
        let mut held = std::mem::take(&mut self.held);
        for held in held.drain(..) {
            self.records += 1;
            self.apply(held.location, held.body, existing);
        }
        self.held = held;
    }

    fn apply(&mut self, location: Location, effect: Effect, existing: &BTreeSet<u32>) {
        let segment = location.segment;
        let len = u64::from(location.len);
        match effect {
            Effect::Message {
                from,
                id,
                queues,
                payload,
            } => {
                self.saw(id);
                self.ledger.published(segment, len, queues.len() as u64);
                let from = from.filter(|from| existing.contains(from));
                if let Some(from) = from {
                    self.ledger.account(segment).after.insert(from);
                }
                for (queue, delivery_count) in queues {
                    let message = StoredMessage {
                        id,
                        location,
                        payload_len: payload,
                        delivery_count,
                        redelivered: false,
                    };
                    self.message(queue, message, from);
                }
            }
            Effect::Settle { queue, runs } => {
                for run in runs {
                    self.settle(segment, queue, run);
                }
            }
            Effect::Returned { queue, runs } => {
                for run in runs {
                    self.saw(run.last());
                    self.ledger.speaks_of(segment, run.segment, record::HEAD as u64 / 2);
                    self.index.returned(queue, run.first, run.last());
                }
            }
            Effect::Counted { queue, counts } => {
                for (target, id, count) in counts {
                    self.saw(id);
                    self.ledger.speaks_of(segment, target, record::HEAD as u64);
                    self.index.counted(queue, id, count);
                }
            }
            Effect::Delivered { queue, up_to } => {
                self.saw(up_to);
                self.ledger.delivered(queue, up_to, segment);
            }
            Effect::QueueDeleted { queue } => {
                let ledger = &mut self.ledger;
                self.index.delete(queue, |location| ledger.released(location));
                self.ledger.queue_deleted(queue, segment, len);
            }
            Effect::Put { key, value } => {
                self.ledger
                    .table_changed(&key, segment, location.offset, len, Some(&value));
            }
            Effect::Delete { key } => {
                self.ledger.table_changed(&key, segment, location.offset, len, None);
            }
            Effect::Nothing => {}
        }
    }

    /// A run of settlements. One that names another segment than the message's is about a message that was being copied: it
    /// would go with the segment that it names, and leave the copy to come back.
    fn settle(&mut self, segment: u32, queue: QueueId, run: record::Run) {
        self.saw(run.last());
        self.ledger.speaks_of(segment, run.segment, record::HEAD as u64 / 2);
        let (ledger, stale) = (&mut self.ledger, &mut self.stale_copies);
        self.index.settle(queue, run.first, run.last(), |id, location| {
            ledger.released(location);
            if location.segment != run.segment {
                stale.push((queue, id, location.segment));
            }
        });
    }

    /// A message of one queue. A copy whose source still exists adds nothing that the source did not bring: when the message
    /// is not there any more it was settled before it was copied, unless its first record is among the damaged ones.
    fn message(&mut self, queue: QueueId, message: StoredMessage, from: Option<u32>) {
        let settled = from.is_some_and(|from| !self.damaged.contains(&from)) && !self.index.contains(queue, message.id);
        if settled {
            self.ledger.released(message.location);
            self.stale_copies.push((queue, message.id, message.location.segment));
        } else if let Some(before) = self.index.insert(queue, message) {
            self.ledger.released(before);
        }
    }

    /// Ids go on above the highest seen.
    fn saw(&mut self, id: MessageId) {
        self.next_id = self.next_id.max(id.saturating_add(1));
    }
}
