use crate::fs::Fs;
use crate::fs::faulty::{FaultyFs, Survival};
use crate::*;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The owner's answer about each message.
const LIVE: Live = Live {
    delivery_count: 3,
    stamp: 1_795_000_000_000,
};

/// The owner of one queue's messages.
#[derive(Default)]
struct Queue {
    messages: Mutex<BTreeMap<MessageId, Location>>,
    /// Held while reclaim must not get on.
    gate: Mutex<()>,
}

impl Owner for Queue {
    fn live(&self, queue: QueueId, id: MessageId, _: Option<u64>) -> Option<Live> {
        drop(self.gate.lock());
        (queue == 1 && self.messages.lock().contains_key(&id)).then_some(LIVE)
    }

    fn relocate(&self, _: QueueId, id: MessageId, _: Option<u64>, to: Location) -> bool {
        self.messages.lock().get_mut(&id).map(|place| *place = to).is_some()
    }

    fn capture(&self, visit: &mut dyn FnMut(QueueId, Backlog)) {
        let messages = self.messages.lock();
        let loose = messages.iter().map(|(&id, &location)| StoredMessage {
            id,
            location,
            payload_len: 1000,
            delivery_count: LIVE.delivery_count,
            redelivered: true,
            stamp: LIVE.stamp,
        });
        let loose = loose.collect();
        visit(
            1,
            Backlog {
                loose,
                ..Backlog::default()
            },
        );
    }
}

struct Fixture {
    fs: FaultyFs,
    store: Store,
    queue: Arc<Queue>,
}

impl Fixture {
    fn new() -> Fixture {
        let fs = FaultyFs::new();
        let (store, _) = open(&fs);
        let queue = Arc::new(Queue::default());
        store.start_reclaim(Arc::clone(&queue) as Arc<dyn Owner>);
        Fixture { fs, store, queue }
    }

    fn publish(&self, count: u64) {
        let mut batch = Batch::new();
        let first = self.store.handle().next_ids(count);
        for id in first..first + count {
            let relative = batch.publish(id, &[Destination::unstamped(1)], &[&[id as u8; 1000]]);
            let mut messages = self.queue.messages.lock();
            let place = self
                .store
                .handle()
                .append(&mut batch, Urgency::Soon)
                .unwrap()
                .location(relative);
            messages.insert(id, place);
        }
    }

    fn settle(&self, settled: impl Fn(MessageId) -> bool) {
        let mut messages = self.queue.messages.lock();
        let gone: Vec<_> = messages
            .iter()
            .filter(|(id, _)| settled(**id))
            .map(|(id, place)| (*id, *place))
            .collect();
        messages.retain(|id, _| !settled(*id));
        let mut batch = Batch::new();
        batch.settle(1, &gone);
        self.store.handle().append(&mut batch, Urgency::Soon).unwrap();
    }

    /// Messages above `last` come and go, until the segments that they, and settlements of others, have filled are
    /// gone.
    fn pass_by(&self, last: MessageId) {
        for _ in 0..20 {
            self.publish(20);
            self.settle(|id| id > last);
        }
        self.until("later segments gone", |stats| stats.reclaimed_segments >= 15);
    }

    fn until(&self, what: &str, condition: impl Fn(Stats) -> bool) {
        let limit = Instant::now() + Duration::from_secs(20);
        while !condition(self.store.handle().stats()) {
            assert!(Instant::now() < limit, "{what}: {:?}", self.store.handle().stats());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn check(&self) {
        for (id, place) in self.queue.messages.lock().iter() {
            assert_eq!(
                self.store.handle().read(*place).unwrap(),
                vec![*id as u8; 1000],
                "message {id}"
            );
        }
    }
}

fn open(fs: &FaultyFs) -> (Store, Recovered) {
    let options = Options {
        segment_bytes: 16 << 10,
        flush_interval: Duration::from_millis(1),
        idle: Duration::from_millis(20),
        ..Options::new("/data")
    };
    Store::open(options, Arc::new(fs.clone()), Box::new(|_| {}), Box::new(|_| {})).unwrap()
}

fn recovered_ids(fs: &FaultyFs) -> Vec<MessageId> {
    let (_store, recovered) = open(fs);
    recovered
        .queues
        .get(&1)
        .into_iter()
        .flat_map(|backlog| backlog.unpack().unwrap())
        .map(|message| message.id)
        .collect()
}

#[test]
fn dead_segments_go_and_their_files_are_used_again() {
    let fixture = Fixture::new();
    fixture.publish(200);
    fixture.settle(|_| true);
    fixture.until("all but the newest segments gone", |stats| {
        stats.reclaimed_segments >= 10 && stats.segments <= 2 && stats.disk_bytes <= 64 << 10
    });
    assert!(recovered_ids(&fixture.fs.crash(Survival::Everything)).is_empty());
}

#[test]
fn a_passing_queue_writes_zeros_only_at_first() {
    let fixture = Fixture::new();
    while fixture.store.handle().stats().reclaimed_segments < 60 {
        fixture.publish(4);
        fixture.settle(|_| true);
        // A segment at a time, as a disk takes them.
        fixture.until("it is written", |_| fixture.store.handle().pending_bytes() == 0);
        fixture.until("what is dead goes", |stats| stats.segments <= 1);
    }
    let stats = fixture.store.handle().stats();
    assert!(stats.prepared_bytes <= 8 * (16 << 10), "{stats:?}");
}

#[test]
fn the_few_live_messages_are_moved_together() {
    let fixture = Fixture::new();
    fixture.publish(400);
    fixture.settle(|id| id % 40 != 0);
    fixture.until("disk use follows", |stats| {
        stats.reclaimed_segments >= 20 && stats.disk_bytes <= 64 << 10
    });
    fixture.check();
    let after = fixture.fs.crash(Survival::Synced);
    assert_eq!(
        recovered_ids(&after),
        (1..=400).filter(|id| id % 40 == 0).collect::<Vec<_>>()
    );
    let (_store, recovered) = open(&after);
    let counted = recovered.queues[&1]
        .loose
        .iter()
        .filter(|message| message.live() == LIVE && message.redelivered);
    assert!(counted.count() >= 8, "the copies carry the owner's counts and stamps");
}

/// A file has a header and an end: with one small message in it, it is as full as it can be.
#[test]
fn a_small_message_is_moved_once() {
    let fixture = Fixture::new();
    let handle = fixture.store.handle();
    let mut batch = Batch::new();
    let id = handle.next_ids(1);
    let small = batch.publish(id, &[Destination::unstamped(1)], &[b"small"]);
    let place = handle.append(&mut batch, Urgency::Soon).unwrap().location(small);
    fixture.publish(40);
    fixture.queue.messages.lock().insert(id, place);
    fixture.settle(|other| other != id);
    fixture.until("it is moved", |_| fixture.queue.messages.lock()[&id] != place);
    fixture.until("the others are gone", |stats| stats.segments <= 2);
    let before = (handle.stats(), fixture.queue.messages.lock()[&id]);
    std::thread::sleep(Duration::from_millis(300));
    let after = (handle.stats(), fixture.queue.messages.lock()[&id]);
    assert_eq!(before.1, after.1, "{before:?} {after:?}");
    assert_eq!(before.0.copied_bytes, after.0.copied_bytes);
}

#[test]
fn table_marks_and_deleted_queues_outlive_their_segments() {
    let fixture = Fixture::new();
    let handle = fixture.store.handle();
    let mut batch = Batch::new();
    batch.put(b"queue", b"orders");
    batch.put(b"other", b"x");
    batch.delivered(1, 5_000);
    handle.append(&mut batch, Urgency::Soon).unwrap();
    fixture.publish(100);
    batch.delete(b"other");
    batch.publish(100_000, &[Destination::unstamped(2)], &[b"in a queue that goes"]);
    let lost = handle.append(&mut batch, Urgency::Soon).unwrap();
    batch.queue_deleted(2);
    handle.append(&mut batch, Urgency::Soon).unwrap();
    handle.release(&[Location { len: 32, ..lost.base }]);
    fixture.publish(100);
    fixture.settle(|id| id != 200);
    fixture.until("old segments gone", |stats| {
        stats.reclaimed_segments >= 10 && stats.disk_bytes <= 80 << 10
    });
    fixture.check();
    let (_store, recovered) = open(&fixture.fs.crash(Survival::Everything));
    assert_eq!(recovered.table.len(), 1);
    assert_eq!(&recovered.table[&b"queue"[..]][..], b"orders");
    assert_eq!(recovered.queues.keys().copied().collect::<Vec<_>>(), [1]);
    assert!(recovered.queues[&1].loose[0].redelivered);
}

#[test]
fn settlements_outlive_their_segment_while_the_message_is_on_disk() {
    let fixture = Fixture::new();
    fixture.publish(14);
    // Of the first segment half stays; the segments with the settlements of the other half die.
    fixture.settle(|id| id <= 7);
    fixture.pass_by(14);
    fixture.check();
    assert_eq!(
        recovered_ids(&fixture.fs.crash(Survival::Synced)),
        (8..=14).collect::<Vec<_>>()
    );
}

#[test]
fn ids_and_positions_never_start_over() {
    let fs = FaultyFs::new();
    let mut last = (0, Lsn::default());
    for _ in 0..5 {
        let (store, recovered) = open(&fs);
        assert!(recovered.queues.is_empty());
        let queue = Arc::new(Queue::default());
        store.start_reclaim(queue);
        let handle = store.handle();
        let id = handle.next_ids(1);
        let mut batch = Batch::new();
        let relative = batch.publish(id, &[Destination::unstamped(1)], &[&[1; 3000]]);
        let appended = handle.append(&mut batch, Urgency::Now).unwrap();
        assert!(
            id > last.0 && appended.lsn > last.1,
            "{id} {:?} after {last:?}",
            appended.lsn
        );
        last = (id, appended.lsn);
        batch.settle(1, &[(id, appended.location(relative))]);
        handle.append(&mut batch, Urgency::Now).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        store.close().unwrap();
    }
    let segments = fs.list(Path::new("/data")).unwrap();
    assert!(
        segments.iter().filter(|name| name.starts_with("segment-")).count() <= 2,
        "{segments:?}"
    );
}

/// Its messages would come back: the settlements lie in segments that go.
#[test]
fn a_segment_that_cannot_be_removed_keeps_its_settlements() {
    let fixture = Fixture::new();
    fixture.fs.keep_name(Path::new("/data/segment-0000000001.log"));
    fixture.publish(40);
    fixture.settle(|id| id <= 20);
    fixture.pass_by(40);
    fixture.check();
    let after = fixture.fs.crash(Survival::Everything);
    let names = after.list(Path::new("/data")).unwrap();
    assert!(names.contains(&"segment-0000000001.log".to_owned()), "{names:?}");
    assert_eq!(recovered_ids(&after), (21..=40).collect::<Vec<_>>());
}

#[test]
fn what_grows_faster_than_it_is_cleaned_up_is_crowded_until_it_has_been() {
    let fixture = Fixture::new();
    let handle = fixture.store.handle();
    let gate = fixture.queue.gate.lock();
    let mut published = 0;
    while !handle.is_crowded() {
        assert!(published < 1000, "{:?}", handle.stats());
        fixture.publish(40);
        published += 40;
        // One in ten stays.
        fixture.settle(|id| id % 10 != 0);
    }
    let stats = handle.stats();
    assert!(stats.appended_bytes > 2 * stats.live_bytes + (6 << 14), "{stats:?}");
    assert_eq!(stats.crowded, 1);
    drop(gate);
    fixture.until("there is room", |_| !handle.is_crowded());
    fixture.check();
}

/// A log that cannot be cleaned up is no reason to wait.
#[test]
fn a_log_that_cannot_be_cleaned_up_is_not_crowded_for_long() {
    let fixture = Fixture::new();
    let handle = fixture.store.handle();
    for number in (1..2).chain((16..10_000).step_by(16)) {
        fixture
            .fs
            .keep_name(Path::new(&format!("/data/segment-{number:010}.log")));
    }
    for _ in 0..40 {
        fixture.publish(40);
        fixture.settle(|id| id % 10 != 0);
        fixture.until("it goes on", |_| !handle.is_crowded());
    }
    let stats = handle.stats();
    assert!(stats.disk_bytes > 2 * stats.live_bytes + (12 << 14), "{stats:?}");
}

fn gone(fs: &FaultyFs) -> Vec<String> {
    let mut names = fs.list(Path::new("/data")).unwrap();
    names.retain(|name| name.starts_with("gone-"));
    names
}

#[test]
fn the_space_of_a_dead_segment_goes_step_by_step_and_completely() {
    let fixture = Fixture::new();
    fixture.publish(200);
    fixture.settle(|_| true);
    let limit = Instant::now() + Duration::from_secs(20);
    let mut seen = std::collections::BTreeSet::new();
    while fixture.store.handle().stats().reclaimed_segments < 10 || !gone(&fixture.fs).is_empty() {
        assert!(Instant::now() < limit, "{:?}", gone(&fixture.fs));
        for name in gone(&fixture.fs) {
            seen.extend(
                fixture
                    .fs
                    .open(&Path::new("/data").join(name))
                    .and_then(|file| file.size()),
            );
        }
    }
    assert!(seen.iter().any(|size| (1..16 << 10).contains(size)), "{seen:?}");
}

#[test]
fn what_a_crash_has_left_of_dead_segments_goes_at_the_next_start() {
    let fs = FaultyFs::new();
    drop(open(&fs));
    let file = fs.create(Path::new("/data/gone-0000000001.log")).unwrap();
    file.write_at(&[1; 5000], 0).unwrap();
    fs.sync_dir(Path::new("/data")).unwrap();
    assert_eq!(gone(&fs).len(), 1);
    drop(open(&fs));
    assert_eq!(gone(&fs), [""; 0]);
}

#[test]
fn closing_waits_for_no_pauses_and_leaves_nothing() {
    let fixture = Fixture::new();
    fixture.publish(2000);
    fixture.settle(|_| true);
    fixture.until("segments gone", |stats| stats.reclaimed_segments >= 20);
    fixture.store.close().unwrap();
    assert_eq!(gone(&fixture.fs), [""; 0]);
}
