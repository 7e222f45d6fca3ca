use super::Parts;
use crate::checkpointer::Checkpoints;
use crate::fs::Fs;
use crate::fs::faulty::{FaultyFs, Random, Survival};
use crate::ledger::{Account, DeliveredMark, Entry, Table, Uncovered};
use crate::owner::Owner;
use crate::*;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Queue 1 as its owner knows it: long stretches packed.
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
        let whole = all.len() / 100 * 100;
        let (packed, loose) = all.split_at(whole);
        let kinds = |chunk: &[StoredMessage]| {
            let of = |kind| chunk.iter().filter(|m| m.stamp >> 48 == kind).copied().collect();
            [0, 1, 2]
                .map(of)
                .into_iter()
                .filter_map(|of: Vec<_>| Page::pack(&of))
                .collect::<Vec<_>>()
        };
        let backlog = Backlog {
            pages: packed.chunks(100).flat_map(kinds).collect(),
            loose: loose.to_vec(),
            delivered: 0,
        };
        visit(1, backlog);
    }
}

fn open(fs: &FaultyFs) -> (Store, Recovered) {
    let options = Options {
        segment_bytes: 64 << 10,
        flush_interval: Duration::from_millis(1),
        checkpoint_bytes: 8 << 10,
        idle: Duration::from_millis(20),
        ..Options::new("/data")
    };
    Store::open(options, Arc::new(fs.clone()), Box::new(|_| {}), Box::new(|_| {})).expect("a store")
}

/// Some have none. From 501 on there are two kinds, which their owner packs separately.
fn stamp(id: MessageId) -> u64 {
    if id > 500 {
        (1 + id % 2) << 48 | (id * 7)
    } else if id.is_multiple_of(3) {
        0
    } else {
        1_795_000_000_000 + id * 7
    }
}

/// Messages of many sizes, so that their pages are too large to be kept in the checkpoint itself.
fn publish(store: &Store, queue: &Queue, count: u64) {
    let handle = store.handle();
    for id in handle.next_ids(count)..handle.next_ids(0) {
        let payload = vec![id as u8; (id * 7919 % 300) as usize];
        let mut batch = Batch::new();
        let stamp = stamp(id);
        let relative = batch.publish(id, &[Destination { queue: 1, stamp }], &[&payload]);
        let appended = handle.append(&mut batch, Urgency::Soon).expect("appended");
        let message = StoredMessage {
            id,
            location: appended.location(relative),
            payload_len: payload.len() as u32,
            delivery_count: 0,
            redelivered: false,
            stamp,
        };
        queue.0.lock().insert(id, message);
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A log with a table and 1,000 messages, of which the first 150 are settled; with a checkpoint, and a little behind
/// it.
fn logged() -> (FaultyFs, Vec<MessageId>) {
    let fs = FaultyFs::new();
    let (store, _) = open(&fs);
    let queue = Arc::new(Queue::default());
    let mut batch = Batch::new();
    batch.put(b"queue/1", b"orders");
    store.handle().append(&mut batch, Urgency::Soon).expect("appended");
    publish(&store, &queue, 990);
    store.start_reclaim(queue.clone());
    until("a checkpoint", || store.handle().stats().checkpoints > 0);
    publish(&store, &queue, 10);
    let settled: Vec<_> = {
        let mut messages = queue.0.lock();
        let settled = messages.values().take(150).map(|m| (m.id, m.location)).collect();
        messages.retain(|id, _| *id > 150);
        settled
    };
    batch.settle(1, &settled);
    batch.put(b"queue/2", b"bills");
    let end = store.handle().append(&mut batch, Urgency::Now).expect("appended").lsn;
    until("durable", || store.handle().durable() >= end);
    let fs = fs.crash(Survival::Synced);
    (fs, (151..=1000).collect())
}

fn check(recovered: &Recovered, expected: &[MessageId]) {
    let found = recovered.queues[&1].unpack().expect("pages");
    assert_eq!(found.iter().map(|message| message.id).collect::<Vec<_>>(), expected);
    assert!(found.iter().all(|message| message.stamp == stamp(message.id)));
    for page in &recovered.queues[&1].pages {
        let kind = stamp(page.first()) >> 48;
        let stamps = (page.first()..=page.last())
            .map(stamp)
            .filter(|&stamp| stamp != 0 && stamp >> 48 == kind);
        assert_eq!(
            page.stamps(),
            stamps.clone().min().zip(stamps.max()).map(|(low, high)| low..=high)
        );
    }
    assert_eq!(recovered.table.len(), 2);
    assert_eq!(&recovered.table[&b"queue/2"[..]][..], b"bills");
}

#[test]
fn a_start_reads_what_came_after_the_checkpoint_and_finds_the_same() {
    let (fs, expected) = logged();
    let (_store, recovered) = open(&fs.crash(Survival::Everything));
    check(&recovered, &expected);
    assert!(recovered.report.from_checkpoint);
    assert!(recovered.report.records < 300, "{:?}", recovered.report);
    assert!(recovered.queues[&1].pages.len() > 5, "pages stay packed");
    fs.remove(Path::new("/data/checkpoint")).expect("removed");
    let (_store, recovered) = open(&fs.crash(Survival::Everything));
    check(&recovered, &expected);
    assert!(!recovered.report.from_checkpoint && recovered.report.records > 1000);
}

#[test]
fn a_damaged_checkpoint_or_page_costs_time_and_nothing_else() {
    let (fs, expected) = logged();
    for name in ["/data/checkpoint", "/data/pages"] {
        let file = fs.open(Path::new(name)).expect("the file");
        let size = file.size().expect("its size");
        for at in (0..size).step_by((size as usize / 60).max(1)) {
            let fs = fs.crash(Survival::Everything);
            let file = fs.open(Path::new(name)).expect("the file");
            let mut byte = [0];
            file.read_at(&mut byte, at).expect("read");
            file.write_at(&[byte[0] ^ 0x10], at).expect("written");
            let (store, recovered) = open(&fs);
            let mut found = recovered.queues[&1].loose.clone();
            for page in &recovered.queues[&1].pages {
                found.extend(store.handle().unpack(1, page));
            }
            found.sort_by_key(|message| message.id);
            let ids: Vec<_> = found.iter().map(|message| message.id).collect();
            assert_eq!(ids, expected, "{name}, byte {at}");
            assert!(
                found.iter().all(|message| message.stamp == stamp(message.id)),
                "{name}, byte {at}"
            );
            for message in found.iter().step_by(50) {
                assert_eq!(
                    store.handle().read(message.location).expect("read").len() as u32,
                    message.payload_len
                );
            }
        }
    }
}

/// Random stretches of the log are written over, before and behind the checkpoint's position: each message is there, or
/// lies under one of them.
#[test]
fn damage_anywhere_in_the_log_costs_only_what_it_hits() {
    let (fs, expected) = logged();
    let names = fs.list(Path::new("/data")).expect("a list");
    let mut segments: Vec<String> = names.into_iter().filter(|name| name.starts_with("segment-")).collect();
    segments.sort();
    let whole = open(&fs.crash(Survival::Everything))
        .1
        .queues
        .remove(&1)
        .expect("messages");
    let places: BTreeMap<MessageId, Location> = whole
        .unpack()
        .expect("pages")
        .iter()
        .map(|m| (m.id, m.location))
        .collect();
    let (mut random, mut costs) = (Random(7), 0);
    for round in 0..60 {
        let fs = fs.crash(Survival::Everything);
        if round % 2 == 0 {
            fs.remove(Path::new("/data/checkpoint")).expect("removed");
        }
        let mut hit: Vec<(u32, u64, u64)> = Vec::new();
        for _ in 0..=random.below(5) {
            // Not in the newest, whose end may be taken for a torn one.
            let name = &segments[random.below(segments.len() as u64 - 1) as usize];
            let file = fs.open(&Path::new("/data").join(name)).expect("a segment");
            let len = 1 + random.below(700);
            let at = random.below(file.size().expect("its size") - len);
            let garbage: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
            crate::fs::write_all_at(&*file, &garbage, at).expect("written");
            hit.push((crate::segment::parse_file_name(name).expect("a number"), at, at + len));
        }
        let (store, recovered) = open(&fs);
        let found = recovered.queues[&1].unpack().expect("pages");
        assert!(found.is_sorted_by(|a, b| a.id < b.id));
        let readable = |id: &MessageId| {
            let message = found.iter().find(|message| message.id == *id);
            message.is_some_and(|message| store.handle().read(message.location).is_ok())
        };
        for id in &expected {
            let Location { segment, offset, len } = places[id];
            let (from, to) = (u64::from(offset), u64::from(offset) + u64::from(len));
            let under = hit
                .iter()
                .any(|&(number, start, end)| number == segment && start < to && from < end);
            // Written over with what was there before, by chance, it can still be read.
            assert!(
                readable(id) || under,
                "round {round}: message {id} was not hit: {hit:?}"
            );
            costs += u32::from(under);
        }
        assert!(
            found
                .iter()
                .all(|message| places.contains_key(&message.id) || message.id <= 150),
            "invented"
        );
    }
    assert!(costs > 50, "the damage hit something");
}

#[test]
fn a_checkpoint_of_another_directory_is_not_taken() {
    let (fs, _) = logged();
    let (other, expected) = logged();
    let bytes = |fs: &FaultyFs| {
        let file = fs.open(Path::new("/data/checkpoint")).expect("the file");
        let mut bytes = vec![0; file.size().expect("its size") as usize];
        crate::fs::read_full_at(&*file, &mut bytes, 0).expect("read");
        bytes
    };
    let file = other.open(Path::new("/data/checkpoint")).expect("the file");
    file.set_len(0).expect("cut");
    crate::fs::write_all_at(&*file, &bytes(&fs), 0).expect("written");
    let (_store, recovered) = open(&other);
    assert!(!recovered.report.from_checkpoint);
    check(&recovered, &expected);
}

#[test]
fn purged_pages_are_settled_in_the_background() {
    let (fs, _) = logged();
    let (store, recovered) = open(&fs);
    let backlog = recovered.queues[&1].clone();
    store.start_reclaim(Arc::new(Queue::default()));
    store.handle().discard(1, backlog.pages);
    let mut batch = Batch::new();
    let loose: Vec<_> = backlog.loose.iter().map(|m| (m.id, m.location)).collect();
    batch.settle(1, &loose);
    store.handle().append(&mut batch, Urgency::Soon).expect("appended");
    store.close().expect("closed");
    fs.remove(Path::new("/data/checkpoint")).ok();
    let (_store, recovered) = open(&fs);
    assert!(recovered.queues.is_empty(), "{:?}", recovered.queues);
}

#[test]
fn checkpoints_are_spaced_by_their_size() {
    let (fs, _) = logged();
    let (store, _) = open(&fs);
    let checkpoints = Checkpoints::default();
    let shared = store.shared();
    assert!(!checkpoints.due(shared, 8191, false));
    assert!(checkpoints.due(shared, 8192, false));
    assert!(checkpoints.due(shared, 8192, true) && !checkpoints.due(shared, 100, true));
}

#[test]
fn a_checkpoint_of_any_size_is_written_in_pieces() {
    const VALUE: usize = 1000;
    let (fs, _) = logged();
    let table: Table = (0..5000_u32)
        .map(|number| {
            let entry = Entry {
                segment: number,
                offset: 7,
                len: 9,
                value: (number % 10 > 0).then(|| vec![number as u8; VALUE].into()),
            };
            (Arc::from(&number.to_le_bytes()[..]), entry)
        })
        .collect();
    let marks = (0..50_000).map(|queue| {
        let mark = DeliveredMark {
            up_to: queue * 3,
            segment: 5,
        };
        (queue, mark)
    });
    let uncovered = (0..30_000).map(|id| Uncovered {
        queue: 1,
        id,
        location: Location {
            segment: 3,
            offset: 100,
            len: 50,
        },
    });
    let account = Account {
        uncovered: uncovered.collect(),
        ..Account::default()
    };
    let parts = Parts {
        directory_id: 77,
        position: Lsn(5),
        synced: Lsn(6),
        next_id: 8,
        accounts: &[(3, account)].into_iter().collect(),
        marks: &marks.collect(),
        table: &table,
        queues: &[],
        written: &HashMap::new(),
    };
    let (mut longest, mut written) = (0, 0);
    let size = super::codec::encode(&parts, &mut |bytes, _| {
        longest = longest.max(bytes.len());
        written += bytes.len() as u64;
        Ok(())
    });
    let size = size.expect("nothing fails");
    assert!(size > 4 << 20 && written == size, "{size}, {written}");
    assert!(longest < super::stream::PIECE + 2 * VALUE, "{longest} bytes at a time");
    let directory = Path::new("/data");
    assert_eq!(super::replace(&fs, directory, &parts).ok(), Some(size));
    let loaded = super::load(&fs, directory, 77)
        .expect("no error")
        .expect("a checkpoint");
    assert_eq!((loaded.position, loaded.synced, loaded.next_id), (Lsn(5), Lsn(6), 8));
    assert_eq!((loaded.ledger.marks.len(), loaded.ledger.table.len()), (50_000, 5000));
    for (key, entry) in &table {
        assert_eq!(loaded.ledger.table[key].value, entry.value);
    }
    assert_eq!(loaded.ledger.accounts[&3].uncovered.len(), 30_000);
}
