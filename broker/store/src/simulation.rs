//! Random work, random crashes: what comes back must be exactly what some number of first batches made, and no durable
//! one may miss.
//!
//! In: a seed. Out: a panic that names it. Does not know how the store works inside.

use crate::fs::Fs;
use crate::fs::faulty::{FaultyFs, Random, Survival};
use crate::owner::Owner;
use crate::*;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// One logical change.
#[derive(Debug, Clone)]
enum Change {
    Publish(MessageId, Vec<Destination>, Vec<u8>),
    Settle(QueueId, Vec<MessageId>),
    /// With the stamps from then on.
    Return(QueueId, Vec<(MessageId, Live)>),
    Delivered(QueueId, MessageId),
    DeleteQueue(QueueId),
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    payload: Vec<u8>,
    live: Live,
    redelivered: bool,
}

/// The state after some batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    queues: BTreeMap<QueueId, BTreeMap<MessageId, Expected>>,
    table: BTreeMap<Vec<u8>, Vec<u8>>,
}

fn replay(batches: &[(Lsn, Vec<Change>)]) -> State {
    let mut state = State::default();
    let mut marks: HashMap<QueueId, MessageId> = HashMap::new();
    for change in batches.iter().flat_map(|(_, changes)| changes) {
        match change.clone() {
            Change::Publish(id, queues, payload) => {
                for Destination { queue, stamp } in queues {
                    let message = Expected {
                        payload: payload.clone(),
                        live: Live {
                            delivery_count: 0,
                            stamp,
                        },
                        redelivered: false,
                    };
                    state.queues.entry(queue).or_default().insert(id, message);
                }
            }
            Change::Settle(queue, ids) => {
                for id in ids {
                    state.queues.get_mut(&queue).unwrap().remove(&id);
                }
            }
            Change::Return(queue, ids) => {
                for (id, live) in ids {
                    state.queues.get_mut(&queue).unwrap().get_mut(&id).unwrap().live = live;
                }
            }
            Change::Delivered(queue, up_to) => {
                let mark = marks.entry(queue).or_default();
                *mark = up_to.max(*mark);
            }
            Change::DeleteQueue(queue) => {
                state.queues.remove(&queue);
            }
            Change::Put(key, value) => {
                state.table.insert(key, value);
            }
            Change::Delete(key) => {
                state.table.remove(&key);
            }
        }
    }
    for (queue, messages) in &mut state.queues {
        let mark = marks.get(queue).copied().unwrap_or(0);
        for (id, message) in messages {
            message.redelivered = message.live.delivery_count > 0 || *id <= mark;
        }
    }
    state.queues.retain(|_, messages| !messages.is_empty());
    state
}

#[derive(Debug, Clone, Copy)]
struct Held {
    location: Location,
    live: Live,
    payload_len: u32,
}

impl Held {
    fn stored(&self, id: MessageId) -> StoredMessage {
        StoredMessage {
            id,
            location: self.location,
            payload_len: self.payload_len,
            delivery_count: self.live.delivery_count,
            redelivered: self.live.delivery_count > 0,
            stamp: self.live.stamp,
        }
    }
}

/// The messages as their owner knows them.
#[derive(Default)]
struct Messages {
    queues: Mutex<BTreeMap<QueueId, BTreeMap<MessageId, Held>>>,
}

impl Owner for Messages {
    fn live(&self, queue: QueueId, id: MessageId, _: Option<u64>) -> Option<Live> {
        self.queues.lock().get(&queue)?.get(&id).map(|held| held.live)
    }

    fn relocate(&self, queue: QueueId, id: MessageId, _: Option<u64>, to: Location) -> bool {
        match self
            .queues
            .lock()
            .get_mut(&queue)
            .and_then(|messages| messages.get_mut(&id))
        {
            Some(held) => {
                held.location = to;
                true
            }
            None => false,
        }
    }

    /// Every third stretch of a queue as a page, the rest one by one; of the odd queues, two stretches with ids between
    /// each other, as pages of different priorities have.
    fn capture(&self, visit: &mut dyn FnMut(QueueId, Backlog)) {
        for (&queue, messages) in &*self.queues.lock() {
            let stored: Vec<StoredMessage> = messages.iter().map(|(&id, held)| held.stored(id)).collect();
            let mut backlog = Backlog::default();
            for (at, stretch) in stored.chunks(5).enumerate() {
                let (even, odd): (Vec<_>, Vec<_>) = stretch
                    .iter()
                    .partition(|message| message.id % 2 == 0 || queue % 2 == 0);
                match at % 3 {
                    1 => backlog
                        .pages
                        .extend([even, odd].iter().filter_map(|part| Page::pack(part))),
                    _ => backlog.loose.extend(stretch),
                }
            }
            backlog.pages.sort_by_key(Page::first);
            visit(queue, backlog);
        }
    }
}

struct Run {
    random: Random,
    fs: FaultyFs,
    batches: Vec<(Lsn, Vec<Change>)>,
    messages: Arc<Messages>,
    next_queue: QueueId,
    used_ids: BTreeSet<MessageId>,
    late_ids: Vec<MessageId>,
    segment_bytes: u64,
    checkpoint_bytes: u64,
}

const SEQUENCE: &[u8] = b"sequence";

impl Run {
    fn new(seed: u64) -> Run {
        let mut random = Random(seed);
        let segment_bytes = [4 << 10, 8 << 10, 32 << 10][random.below(3) as usize];
        let checkpoint_bytes = [0, 1 << 10, 3 << 10, 20 << 10][random.below(4) as usize];
        Run {
            random,
            fs: FaultyFs::new(),
            batches: Vec::new(),
            messages: Arc::default(),
            next_queue: 1,
            used_ids: BTreeSet::new(),
            late_ids: Vec::new(),
            segment_bytes,
            checkpoint_bytes,
        }
    }

    fn round(&mut self) {
        let options = Options {
            segment_bytes: self.segment_bytes,
            checkpoint_bytes: self.checkpoint_bytes,
            flush_interval: Duration::from_millis(1),
            idle: Duration::from_millis(3),
            ..Options::new("/data")
        };
        if self.random.below(4) == 0 {
            // The whole log must give the same.
            let _ = self.fs.remove(Path::new("/data/checkpoint"));
        }
        let (store, recovered) =
            Store::open(options, Arc::new(self.fs.clone()), Box::new(|_| {}), Box::new(|_| {})).unwrap();
        self.check(&store, recovered);
        if self.random.below(8) > 0 {
            store.start_reclaim(Arc::clone(&self.messages) as Arc<dyn Owner>);
        }
        if self.random.below(4) == 0 {
            let nth = self.random.below(200);
            if self.random.below(2) == 0 {
                self.fs.fail_sync(nth, 5)
            } else {
                self.fs.fail_write(nth, 28)
            }
        }
        if self.random.below(3) == 0 {
            let (nth, times) = (self.random.below(40), 1 + self.random.below(4));
            self.fs
                .run_out_of_descriptors(nth, times, if times == 1 { 23 } else { 24 });
        }
        self.fs.short_writes(self.random.below(4) == 0);
        for _ in 0..self.random.below(150) {
            if !self.step(&store.handle()) {
                break;
            }
        }
        if self.random.below(3) == 0 {
            std::thread::sleep(Duration::from_millis(self.random.below(30)));
        }
        let survival = match self.random.below(5) {
            0 => Survival::Synced,
            1 => Survival::Everything,
            _ => Survival::Some(self.random.below(u64::MAX)),
        };
        if self.random.below(6) == 0 {
            let all = store.close().is_ok();
            let fs = self.fs.crash(survival);
            self.fs = fs;
            self.batches
                .iter_mut()
                .filter(|_| all)
                .for_each(|batch| batch.0 = Lsn(0));
        } else {
            let durable = store.handle().durable();
            self.fs = self.fs.crash(survival);
            self.batches
                .iter_mut()
                .filter(|batch| batch.0 <= durable)
                .for_each(|batch| batch.0 = Lsn(0));
        }
    }

    /// Compares, and takes the recovered state over.
    fn check(&mut self, store: &Store, recovered: Recovered) {
        let durable = self
            .batches
            .iter()
            .rposition(|(lsn, _)| *lsn == Lsn(0))
            .map_or(0, |last| last + 1);
        let sequence = recovered.table.get(SEQUENCE).map_or(0, |value| {
            usize::try_from(u64::from_le_bytes(value[..].try_into().unwrap())).unwrap()
        });
        assert!(
            sequence >= durable,
            "only {sequence} of {durable} durable batches are there: {:?}",
            recovered.report
        );
        assert!(
            sequence <= self.batches.len(),
            "{sequence} batches of {}",
            self.batches.len()
        );
        assert!(recovered.report.corrupt.is_empty(), "{:?}", recovered.report);
        self.batches.truncate(sequence);
        self.batches.iter_mut().for_each(|batch| batch.0 = Lsn(0));
        let handle = store.handle();
        let mut found = State::default();
        let mut held = BTreeMap::new();
        for (queue, backlog) in &recovered.queues {
            let messages = backlog.unpack().unwrap();
            assert!(messages.is_sorted_by(|a, b| a.id < b.id));
            assert_eq!(messages.len(), backlog.count());
            for message in &messages {
                let payload = handle.read(message.location).unwrap().to_vec();
                assert_eq!(payload.len(), message.payload_len as usize);
                let expected = Expected {
                    payload,
                    live: message.live(),
                    redelivered: message.redelivered,
                };
                found.queues.entry(*queue).or_default().insert(message.id, expected);
                let known = Held {
                    location: message.location,
                    live: message.live(),
                    payload_len: message.payload_len,
                };
                held.entry(*queue)
                    .or_insert_with(BTreeMap::new)
                    .insert(message.id, known);
            }
        }
        found.table = recovered
            .table
            .into_iter()
            .map(|(key, value)| (key.to_vec(), value.to_vec()))
            .collect();
        let expected = replay(&self.batches);
        assert_eq!(found.table, expected.table);
        for queue in found.queues.keys().chain(expected.queues.keys()) {
            let (found, expected) = (found.queues.get(queue), expected.queues.get(queue));
            let short = |messages: Option<&BTreeMap<MessageId, Expected>>| -> Vec<(MessageId, Live, bool, usize)> {
                let each = messages.into_iter().flatten();
                each.map(|(id, m)| (*id, m.live, m.redelivered, m.payload.len()))
                    .collect()
            };
            assert_eq!(short(found), short(expected), "queue {queue} after batch {sequence}");
            assert_eq!(found, expected, "queue {queue} after batch {sequence}");
        }
        self.used_ids = self
            .batches
            .iter()
            .flat_map(|batch| &batch.1)
            .filter_map(published)
            .collect();
        self.late_ids.clear();
        self.messages = Arc::new(Messages {
            queues: Mutex::new(held),
        });
    }

    /// One batch; false when the store has failed.
    fn step(&mut self, handle: &Handle) -> bool {
        let mut batch = Batch::new();
        let mut changes = Vec::new();
        let mut published = Vec::new();
        let mut released = Vec::new();
        let messages = Arc::clone(&self.messages);
        let _under_way = handle.under_way();
        let mut queues = messages.queues.lock();
        let before = queues.clone();
        for _ in 0..=self.random.below(3) {
            match self.random.below(12) {
                0..=4 => {
                    for _ in 0..=self.random.below(4) {
                        self.publish(handle, &mut batch, &mut changes, &mut published);
                    }
                }
                5..=8 => self.settle(&mut queues, &mut batch, &mut changes),
                9 => self.give_back(&mut queues, &mut batch, &mut changes),
                10 => self.delete_queue(&mut queues, &mut batch, &mut changes, &mut released, &published),
                _ => self.table(&mut batch, &mut changes),
            }
        }
        let sequence = self.batches.len() as u64 + 1;
        batch.put(SEQUENCE, &sequence.to_le_bytes());
        changes.push(Change::Put(SEQUENCE.to_vec(), sequence.to_le_bytes().to_vec()));
        // Reclaim may ask between the change of the state and its append, but not so for returns: the count could be
        // one too high.
        let returns = changes.iter().any(|change| matches!(change, Change::Return(..)));
        let late = published.is_empty() && released.is_empty() && !returns && self.random.below(2) == 0;
        let guard = if late {
            drop(queues);
            std::thread::sleep(Duration::from_micros(self.random.below(300)));
            None
        } else {
            Some(queues)
        };
        let urgency = if self.random.below(3) == 0 {
            Urgency::Now
        } else {
            Urgency::Soon
        };
        let Ok(appended) = handle.append(&mut batch, urgency) else {
            *guard.unwrap_or_else(|| messages.queues.lock()) = before;
            return false;
        };
        self.batches.push((appended.lsn, changes));
        let mut queues = guard.unwrap_or_else(|| messages.queues.lock());
        for (id, to, relative, payload_len) in published {
            for Destination { queue, stamp } in to {
                let held = Held {
                    location: appended.location(relative),
                    live: Live {
                        delivery_count: 0,
                        stamp,
                    },
                    payload_len,
                };
                queues.entry(queue).or_default().insert(id, held);
            }
        }
        handle.release(&released);
        let sample = queues.values().flat_map(BTreeMap::values).next_back().copied();
        drop(queues);
        if self.random.below(10) == 0 {
            std::thread::sleep(Duration::from_micros(self.random.below(3000)));
        }
        if let Some(held) = sample {
            match handle.read(held.location) {
                Ok(_) | Err(Error::Gone { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        true
    }

    fn publish(
        &mut self,
        handle: &Handle,
        batch: &mut Batch,
        changes: &mut Vec<Change>,
        published: &mut Vec<(MessageId, Vec<Destination>, Relative, u32)>,
    ) {
        let id = match self.late_ids.pop().filter(|_| self.random.below(3) == 0) {
            // Another publisher took it before, and comes to append only now.
            Some(id) => id,
            None => {
                let first = handle.next_ids(2);
                assert!(self.used_ids.last().is_none_or(|last| *last < first), "ids go back");
                self.late_ids.push(first);
                first + 1
            }
        };
        assert!(self.used_ids.insert(id), "id {id} came twice");
        let size = if self.random.below(20) == 0 {
            20_000
        } else {
            self.random.below(600)
        };
        let payload: Vec<u8> = (0..size).map(|at| (id + at) as u8).collect();
        let mut to: Vec<QueueId> = (0..=self.random.below(3))
            .map(|_| self.next_queue + self.random.below(5))
            .collect();
        to.sort_unstable();
        to.dedup();
        let to = to.into_iter().map(|queue| Destination {
            queue,
            stamp: self.stamp(),
        });
        let to: Vec<Destination> = to.collect();
        let (head, tail) = payload.split_at(payload.len() / 3);
        published.push((id, to.clone(), batch.publish(id, &to, &[head, tail]), size as u32));
        changes.push(Change::Publish(id, to, payload));
    }

    fn pick(&mut self, queues: &BTreeMap<QueueId, BTreeMap<MessageId, Held>>) -> Option<(QueueId, Vec<MessageId>)> {
        let queue = *queues.keys().nth(self.random.below(queues.len() as u64) as usize)?;
        let all: Vec<MessageId> = queues.get(&queue)?.keys().copied().collect();
        let from = self.random.below(all.len() as u64 / 2 + 1) as usize;
        let count = 1 + self.random.below(12) as usize;
        let ids: Vec<MessageId> = all.into_iter().skip(from).take(count).collect();
        (!ids.is_empty()).then_some((queue, ids))
    }

    fn settle(
        &mut self,
        queues: &mut BTreeMap<QueueId, BTreeMap<MessageId, Held>>,
        batch: &mut Batch,
        changes: &mut Vec<Change>,
    ) {
        let Some((queue, ids)) = self.pick(queues) else { return };
        let messages = queues.get_mut(&queue).unwrap();
        let settled: Vec<_> = ids
            .iter()
            .map(|id| (*id, messages.remove(id).unwrap().location))
            .collect();
        batch.settle(queue, &settled);
        changes.push(Change::Settle(queue, ids));
    }

    fn give_back(
        &mut self,
        queues: &mut BTreeMap<QueueId, BTreeMap<MessageId, Held>>,
        batch: &mut Batch,
        changes: &mut Vec<Change>,
    ) {
        let Some((queue, ids)) = self.pick(queues) else { return };
        if self.random.below(2) == 0 {
            batch.delivered(queue, ids[0]);
            changes.push(Change::Delivered(queue, ids[0]));
            return;
        }
        let messages = queues.get_mut(&queue).unwrap();
        let keep = self.random.below(2) == 0;
        let (mut returned, mut lives) = (Vec::new(), Vec::new());
        for id in ids {
            let held = messages.get_mut(&id).unwrap();
            // Another stamp under the same count, as when a pause is over.
            let same = held.live.delivery_count > 0 && self.random.below(3) == 0;
            // Owners may keep several counts in the number: it grows by any step.
            held.live.delivery_count += match self.random.below(4) {
                _ if same => 0,
                0 => (1 << 18) + 1,
                _ => 1,
            };
            if !keep {
                held.live.stamp = self.stamp();
            }
            let Live { delivery_count, stamp } = held.live;
            lives.push((id, held.live));
            returned.push(Returned {
                id,
                location: held.location,
                delivery_count,
                stamp,
            });
        }
        batch.returned(queue, &returned);
        changes.push(Change::Return(queue, lives));
    }

    /// None for most messages; small numbers, deadlines, and anything.
    fn stamp(&mut self) -> u64 {
        match self.random.below(6) {
            0 => self.random.below(10),
            1 => 1_795_000_000_000 + self.random.below(100_000),
            2 => self.random.below(u64::MAX),
            _ => 0,
        }
    }

    fn delete_queue(
        &mut self,
        queues: &mut BTreeMap<QueueId, BTreeMap<MessageId, Held>>,
        batch: &mut Batch,
        changes: &mut Vec<Change>,
        released: &mut Vec<Location>,
        published: &[(MessageId, Vec<Destination>, Relative, u32)],
    ) {
        if self.random.below(3) > 0 || !published.is_empty() {
            return;
        }
        // Ids of queues are not used again: the window of live ones moves on.
        let queue = self.next_queue;
        self.next_queue += 1;
        let gone = queues.remove(&queue).unwrap_or_default();
        released.extend(gone.values().map(|held| held.location));
        batch.queue_deleted(queue);
        changes.push(Change::DeleteQueue(queue));
    }

    fn table(&mut self, batch: &mut Batch, changes: &mut Vec<Change>) {
        let key = format!("key {}", self.random.below(20)).into_bytes();
        if self.random.below(3) == 0 {
            batch.delete(&key);
            changes.push(Change::Delete(key));
        } else {
            let value = vec![7; self.random.below(200) as usize];
            batch.put(&key, &value);
            changes.push(Change::Put(key, value));
        }
    }
}

fn published(change: &Change) -> Option<MessageId> {
    match change {
        Change::Publish(id, ..) => Some(*id),
        _ => None,
    }
}

#[test]
fn crashes_lose_nothing_that_was_durable_and_invent_nothing() {
    let seeds = match std::env::var("LEVERET_STORE_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..std::env::var("LEVERET_STORE_SEEDS").map_or(25, |count| count.parse().unwrap()),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed);
            for _ in 0..8 {
                run.round();
            }
        });
        assert!(outcome.is_ok(), "seed {seed}: run again with LEVERET_STORE_SEED={seed}");
    }
}
