//! Each call of the file system fails once, with an input/output error and with a full disk: what was promised is there
//! afterwards, and nothing panics.
//!
//! In: a fixed piece of work that comes by everything (segments that roll and go, checkpoints, pages). Out: a panic
//! that names the call. Does not know which call does what.

use crate::fs::faulty::{FaultyFs, Survival};
use crate::owner::Owner;
use crate::*;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Queue 1.
#[derive(Default)]
struct Queue(Mutex<BTreeMap<MessageId, StoredMessage>>);

impl Owner for Queue {
    fn live(&self, _: QueueId, id: MessageId, _: Option<u64>) -> Option<Live> {
        self.0.lock().get(&id).map(StoredMessage::live)
    }

    fn relocate(&self, _: QueueId, id: MessageId, _: Option<u64>, to: Location) -> bool {
        self.0
            .lock()
            .get_mut(&id)
            .map(|message| message.location = to)
            .is_some()
    }

    fn capture(&self, visit: &mut dyn FnMut(QueueId, Backlog)) {
        let all: Vec<StoredMessage> = self.0.lock().values().copied().collect();
        let (packed, loose) = all.split_at(all.len() / 2);
        let backlog = Backlog {
            pages: packed.chunks(40).filter_map(Page::pack).collect(),
            loose: loose.to_vec(),
            delivered: 0,
        };
        visit(1, backlog);
    }
}

/// Promises made, and what else may be there.
#[derive(Default)]
struct Promised {
    published: BTreeSet<MessageId>,
    durable: BTreeSet<MessageId>,
    /// Settlements that were appended.
    settled: BTreeSet<MessageId>,
    /// Those of them that were durable.
    gone: BTreeSet<MessageId>,
}

fn open(fs: &FaultyFs) -> Result<(Store, Recovered), Error> {
    let options = Options {
        segment_bytes: 8 << 10,
        flush_interval: Duration::from_millis(1),
        checkpoint_bytes: 2 << 10,
        idle: Duration::from_millis(2),
        ..Options::new("/data")
    };
    Store::open(options, Arc::new(fs.clone()), Box::new(|_| {}), Box::new(|_| {}))
}

fn durable(handle: &Handle, lsn: Lsn) -> bool {
    for _ in 0..2000 {
        if handle.durable() >= lsn {
            return true;
        }
        if handle.append(&mut Batch::new(), Urgency::Now).is_err() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    false
}

/// 200 messages in batches of ten, of which all but every seventh are settled soon after.
fn work(fs: &FaultyFs, promised: &mut Promised) -> Result<(), Error> {
    let (store, recovered) = open(fs)?;
    let queue = Arc::new(Queue::default());
    for backlog in recovered.queues.values() {
        queue
            .0
            .lock()
            .extend(backlog.unpack()?.into_iter().map(|message| (message.id, message)));
    }
    store.start_reclaim(queue.clone());
    let handle = store.handle();
    let mut batch = Batch::new();
    for _ in 0..20 {
        let first = handle.next_ids(10);
        let places: Vec<_> = (first..first + 10)
            .map(|id| (id, batch.publish(id, &[Destination::unstamped(1)], &[&[id as u8; 150]])))
            .collect();
        batch.put(b"key", &first.to_le_bytes());
        promised.published.extend(first..first + 10);
        let _under_way = handle.under_way();
        let appended = handle.append(&mut batch, Urgency::Now)?;
        for &(id, relative) in &places {
            let message = StoredMessage {
                id,
                location: appended.location(relative),
                payload_len: 150,
                delivery_count: 0,
                redelivered: false,
                stamp: 0,
            };
            queue.0.lock().insert(id, message);
        }
        if durable(&handle, appended.lsn) {
            promised.durable.extend(first..first + 10);
        }
        drop(appended);
        let settled: Vec<(MessageId, Location)> = {
            let mut messages = queue.0.lock();
            let settled = messages.values().filter(|m| m.id % 7 != 0 && m.id + 15 < first);
            let settled: Vec<_> = settled.map(|m| (m.id, m.location)).collect();
            messages.retain(|id, _| id % 7 == 0 || id + 15 >= first);
            settled
        };
        promised.settled.extend(settled.iter().map(|(id, _)| *id));
        batch.settle(1, &settled);
        let appended = handle.append(&mut batch, Urgency::Now)?;
        if durable(&handle, appended.lsn) {
            promised.gone.extend(settled.iter().map(|(id, _)| *id));
        }
    }
    // Time for reclaim and a checkpoint.
    std::thread::sleep(Duration::from_millis(5));
    store.close()
}

fn check(fs: &FaultyFs, promised: &Promised, what: &str) {
    let (store, recovered) = open(fs).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut found = BTreeSet::new();
    for backlog in recovered.queues.values() {
        for message in backlog.unpack().unwrap_or_else(|error| panic!("{what}: {error}")) {
            let payload = store
                .handle()
                .read(message.location)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(payload, vec![message.id as u8; 150], "{what}");
            assert!(found.insert(message.id), "{what}: {} is there twice", message.id);
        }
    }
    let lost: Vec<_> = promised
        .durable
        .difference(&promised.settled)
        .filter(|id| !found.contains(id))
        .collect();
    assert!(lost.is_empty(), "{what}: {lost:?} were durable and are not there");
    let invented: Vec<_> = found.difference(&promised.published).collect();
    assert!(invented.is_empty(), "{what}: {invented:?} were never published");
    let back: Vec<_> = found.intersection(&promised.gone).collect();
    assert!(back.is_empty(), "{what}: {back:?} were settled for good and are back");
}

/// Sockets and other processes take the descriptors and leave them again: each call waits for its own.
#[test]
fn each_call_waits_while_there_are_no_descriptors_and_the_store_lives() {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    for errno in [EMFILE, ENFILE] {
        for nth in 0.. {
            let what = format!("no descriptor for call {nth}, error {errno}");
            let fs = FaultyFs::new();
            let mut promised = Promised::default();
            if nth % 2 == 1 {
                work(&fs, &mut promised).unwrap_or_else(|error| panic!("{what}: without a failure: {error}"));
            }
            fs.run_out_of_descriptors(nth, 3, errno);
            work(&fs, &mut promised).unwrap_or_else(|error| panic!("{what}: {error}"));
            check(&fs.crash(Survival::Everything), &promised, &what);
            if !fs.has_run_out() {
                break;
            }
        }
    }
}

#[test]
fn each_call_fails_once_and_nothing_promised_is_lost() {
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    for errno in [EIO, ENOSPC] {
        for nth in 0.. {
            let what = format!("call {nth} with error {errno}");
            let fs = FaultyFs::new();
            let mut promised = Promised::default();
            if nth % 2 == 1 {
                // Half of the time there is something to recover already.
                work(&fs, &mut promised).unwrap_or_else(|error| panic!("{what}: without a failure: {error}"));
            }
            fs.fail_call(nth, errno);
            let worked = work(&fs, &mut promised).is_ok();
            let failed = fs.has_failed();
            let survival = [Survival::Synced, Survival::Everything, Survival::Some(nth)][(nth % 3) as usize];
            check(&fs.crash(survival), &promised, &what);
            if worked && !failed {
                break;
            }
        }
    }
}
