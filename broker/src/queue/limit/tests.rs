//! A queue with a limit and a real log: what stays, and what the log still has of the rest.

use super::super::arguments::Arguments;
use super::super::entry::{Entry, NOWHERE};
use super::super::upkeep::Upkeep;
use super::super::{Definition, Outcome, Queue};
use crate::clock::Clock;
use crate::growth::is_linear;
use crate::limits::Memory;
use crate::message::Message;
use crate::outbox::Work;
use crate::policy::{Applied, Class, Policy};
use leveret_amqp::{FieldValue, ShortString};
use leveret_store::fs::RealFs;
use leveret_store::{Batch, Destination, Options, Store, Urgency};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Bench {
    queue: Arc<Queue>,
    work: Work,
    store: Store,
    next: u64,
    _folder: TempDir,
}

fn bench(limit: i32) -> Bench {
    let folder = TempDir::new().expect("a folder");
    let (store, _) = Store::open(
        Options::new(folder.path()),
        Arc::new(RealFs),
        Box::new(|_| {}),
        Box::new(|_| {}),
    )
    .expect("a log");
    let limit = (ShortString::from_static("x-max-length"), limit.into());
    let definition = Definition {
        name: ShortString::from_static("q"),
        durable: true,
        auto_delete: false,
        owner: None,
        arguments: Arguments::parse([limit].into_iter().collect()).expect("a right limit"),
    };
    Bench {
        queue: Arc::new(Queue::new(
            definition,
            7,
            store.handle(),
            Arc::new(Memory::new(u64::MAX)),
            Upkeep::default(),
        )),
        work: Work::default(),
        store,
        next: 1,
        _folder: folder,
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let finished = self.work.finish(&self.store.handle());
        assert!(finished.is_ok() || std::thread::panicking());
    }
}

impl Bench {
    /// Publishes a run of messages with bodies of this size.
    fn publish(&mut self, count: u64, logged: bool, size: usize) {
        let mut entries = Vec::new();
        for id in self.next..self.next + count {
            let message = Message::new(b"", b"q", &[0, 0], &vec![b'x'; size]);
            let location = if logged {
                let (mut batch, mut length) = (Batch::default(), [0; 4]);
                let place = batch.publish(id, &[Destination::unstamped(7)], &message.record(&mut length));
                let appended = self.store.handle().append(&mut batch, Urgency::Soon);
                appended.expect("an open log").location(place)
            } else {
                NOWHERE
            };
            entries.push(Entry::new(id, location, message));
        }
        self.next += count;
        self.queue.enqueue(&mut entries, &mut self.work);
    }

    /// The first waiting message, left unacknowledged.
    fn get(&mut self) -> Option<u64> {
        let mut id = None;
        self.queue.get(false, &mut self.work, |entry, _| id = Some(entry.id));
        id
    }

    /// Messages that the log would bring back.
    fn logged(&self) -> Vec<u64> {
        let backlog = self.queue.capture().unwrap_or_default();
        let all = backlog.unpack().expect("pages in memory");
        all.iter().map(|message| message.id).collect()
    }
}

#[test]
fn the_oldest_are_dropped_in_memory_and_in_the_log() {
    let mut bench = bench(3);
    bench.publish(5, true, 0);
    assert_eq!(bench.queue.counts().0, 3);
    assert_eq!(bench.logged(), [3, 4, 5]);
    assert!(bench.work.records_len() > 0, "the log hears of what was dropped");
    bench.publish(1, false, 0);
    assert_eq!(bench.logged(), [4, 5]);
    assert_eq!(bench.get(), Some(4));
    assert_eq!(bench.queue.snapshot().totals.dropped, 3);
}

#[test]
fn delivered_messages_do_not_count_until_they_return() {
    let mut bench = bench(2);
    bench.publish(2, true, 0);
    assert_eq!((bench.get(), bench.get()), (Some(1), Some(2)));
    bench.publish(2, true, 0);
    assert_eq!(bench.logged(), [1, 2, 3, 4]);
    bench.queue.settle(0, &[1, 2], Outcome::Requeued, &mut bench.work);
    assert_eq!(bench.logged(), [3, 4], "what returns is the oldest");
}

#[test]
fn a_limit_of_nothing_keeps_nothing() {
    let mut bench = bench(0);
    bench.publish(4, true, 0);
    assert_eq!((bench.queue.counts().0, bench.get()), (0, None));
    assert_eq!(bench.queue.snapshot().ready_bytes, 0);
}

#[test]
fn messages_that_only_the_log_has_are_dropped_unread() {
    let mut bench = bench(40);
    // More than a queue keeps in memory, so that most are pages.
    bench.publish(40, true, 1 << 20);
    bench.publish(30, true, 0);
    assert_eq!(bench.logged(), (31..=70).collect::<Vec<_>>());
    let snapshot = bench.queue.snapshot();
    assert_eq!((snapshot.ready, snapshot.persistent), (40, 40));
    assert_eq!((bench.get(), bench.get()), (Some(31), Some(32)));
}

#[test]
fn a_start_keeps_to_the_limit_too() {
    let mut before = bench(2);
    before.publish(2, true, 0);
    assert_eq!((before.get(), before.get()), (Some(1), Some(2)));
    before.publish(2, true, 0);
    let backlog = before.queue.capture().expect("messages in the log");
    let queue = &before.queue;
    let after = Arc::new(Queue::new(
        queue.definition.clone(),
        7,
        before.store.handle(),
        Arc::new(Memory::new(u64::MAX)),
        Upkeep::default(),
    ));
    after.restore(backlog);
    after.begin(&mut before.work);
    assert_eq!(after.counts().0, 2);
}

#[test]
fn a_subscriber_misses_what_comes_while_it_has_enough_and_no_publisher_hears_of_it() {
    let mut bench = bench(0);
    let definition = Definition {
        arguments: Arguments::of_subscriber(2),
        durable: false,
        ..bench.queue.definition.clone()
    };
    let memory = Arc::new(Memory::new(u64::MAX));
    bench.queue = Arc::new(Queue::new(
        definition,
        7,
        bench.store.handle(),
        memory,
        Upkeep::default(),
    ));
    let mut entries: Vec<Entry> = (1..=4)
        .map(|id| Entry::new(id, NOWHERE, Message::new(b"", b"q", &[0, 0], b"")))
        .collect();
    assert!(bench.queue.enqueue(&mut entries, &mut bench.work).is_empty());
    assert_eq!((bench.get(), bench.get(), bench.get()), (Some(1), Some(2), None));
    assert_eq!(bench.queue.snapshot().totals.dropped, 2);
}

/// A policy with a limit.
fn policy(most: i32, overflow: &str) -> Option<Arc<Applied>> {
    let pair = |(name, value)| (ShortString::from_static(name), value);
    let definition = [("max-length", most.into()), ("overflow", overflow.into())];
    let definition = FieldValue::Table(definition.into_iter().map(pair).collect());
    let fields = [("pattern", "".into()), ("definition", definition)];
    let policy = Policy::parse(Class::User, "p", &fields.into_iter().map(pair).collect());
    Applied::new(policy.ok().map(Arc::new), None).map(Arc::new)
}

#[test]
fn another_limit_counts_at_once_and_until_it_is_taken_back() {
    let mut bench = bench(4);
    bench.publish(4, true, 0);
    bench.queue.apply(policy(2, "drop-head"), &mut bench.work);
    assert_eq!(bench.logged(), [3, 4]);
    bench.queue.apply(policy(1, "reject-publish"), &mut bench.work);
    bench.publish(1, true, 0);
    assert_eq!(bench.logged(), [3, 4], "one that refuses drops nothing");
    bench.queue.apply(None, &mut bench.work);
    bench.publish(3, true, 0);
    assert_eq!(bench.logged(), [4, 6, 7, 8], "the limit of the argument");
}

#[test]
fn a_limit_far_below_the_length_lets_clients_in_between() {
    let mut bench = bench(1000);
    bench.publish(600, true, 0);
    assert!(bench.queue.apply(policy(20, "drop-head"), &mut bench.work));
    let waiting = bench.queue.counts().0;
    assert!(waiting > 400, "some of them were dropped, {waiting} are left");
    bench.publish(1, true, 0);
    assert!(bench.queue.counts().0 > 20, "nor does a new message wait for all of it");
    while bench.queue.trim(&mut bench.work) {}
    assert_eq!(bench.logged(), (582..=601).collect::<Vec<_>>());
    bench.publish(50, true, 0);
    assert_eq!(bench.logged(), (632..=651).collect::<Vec<_>>());
}

#[test]
fn a_large_message_takes_the_place_of_very_many_small_ones_portion_by_portion() {
    let mut bench = bench(1_000_000);
    let upkeep = Upkeep {
        clock: Some(Arc::new(Clock::start().expect("a thread"))),
        ..Upkeep::default()
    };
    let limit = (ShortString::from_static("x-max-length-bytes"), 10_000.into());
    let definition = Definition {
        arguments: Arguments::parse([limit].into_iter().collect()).expect("a right limit"),
        durable: false,
        ..bench.queue.definition.clone()
    };
    let memory = Arc::new(Memory::new(u64::MAX));
    bench.queue = Arc::new(Queue::new(definition, 7, bench.store.handle(), memory, upkeep));
    bench.publish(10_000, false, 1);
    assert_eq!(bench.queue.counts().0, 10_000);
    bench.publish(1, false, 9_000);
    let end = Instant::now() + Duration::from_secs(20);
    while bench.queue.counts().0 > 1_001 {
        assert!(Instant::now() < end, "the clock goes on with it");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(bench.queue.snapshot().ready_bytes, 10_000);
    assert_eq!(bench.get(), Some(9_001));
    bench.publish(500, false, 1);
    assert_eq!(bench.queue.counts().0, 1_001, "as many go as come");
}

#[test]
fn messages_take_the_places_of_others_in_the_same_time_each() {
    let make = |n: usize| {
        let mut bench = bench(n as i32);
        bench.publish(n as u64, false, 1);
        bench
    };
    let replace = |bench: &mut Bench, n: usize| {
        (0..n).for_each(|_| bench.publish(1, false, 1));
        assert_eq!(bench.queue.counts().0 as usize, n);
    };
    is_linear("replaced messages", 4_000, make, replace);
}
