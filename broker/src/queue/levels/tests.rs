//! Against a map by level and id.

use crate::growth::is_linear;
use crate::message::Message;
use crate::queue::entry::{Entry, NOWHERE};
use crate::queue::ready::Ready;
use crate::queue::run::Skipped;
use crate::queue::stamp;
use crate::queue::tail::Reader;
use leveret_store::fs::RealFs;
use leveret_store::{Backlog, Batch, Destination, Handle, Options, Page, Store, Urgency};
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;

/// Place in the order, then: durable, stamp, redelivered.
type Model = BTreeMap<(Reverse<u8>, u64), (bool, u64, bool)>;

#[derive(Clone, Debug)]
enum Step {
    /// Messages at these levels, durable ones or not, with this much time.
    Push(Vec<u8>, bool, Option<u64>),
    /// A message with an id below those of the last ones.
    Late(u8),
    Pop(usize),
    /// One of those that were taken.
    Requeue(usize),
    DropFirst(usize),
    /// The time of those whose time is so short is over.
    Expire(u64),
    /// Only what the log holds is left. True: as read from the log, without regard to levels.
    Restart(bool),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let level = || prop_oneof![Just(0u8), Just(3), Just(4), Just(255)];
    let time = proptest::option::weighted(0.3, 0..100u64);
    prop_oneof![
        6 => (proptest::collection::vec(level(), 1..20), any::<bool>(), time)
            .prop_map(|(levels, durable, time)| Step::Push(levels, durable, time)),
        1 => level().prop_map(Step::Late),
        4 => (1..15usize).prop_map(Step::Pop),
        3 => any::<usize>().prop_map(Step::Requeue),
        1 => (1..20usize).prop_map(Step::DropFirst),
        1 => (0..100u64).prop_map(Step::Expire),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => Just(Step::Clear),
    ]
}

const EPOCH: u64 = 1_795_000_000_000;
const BODY: usize = 100;

struct Bench {
    _folder: TempDir,
    _store: Store,
    log: Handle,
    ready: Ready,
    next: u64,
}

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let options = Options::new(folder.path());
        let (store, _) = Store::open(options, Arc::new(RealFs), Box::new(|_| {}), Box::new(|_| {})).expect("a log");
        Self {
            log: store.handle(),
            ready: Ready::by_level(),
            next: 100,
            _folder: folder,
            _store: store,
        }
    }

    fn entry(&self, id: u64, stamp: u64, durable: bool) -> Entry {
        let message = Message::new(b"", b"q", &[0, 0], &[7; BODY]);
        let location = if durable {
            let mut batch = Batch::default();
            let place = batch.publish(id, &[Destination { queue: 1, stamp }], &message.record(&mut [0; 4]));
            let appended = self.log.append(&mut batch, Urgency::Soon).expect("an open log");
            appended.location(place)
        } else {
            NOWHERE
        };
        let mut entry = Entry::new(id, location, message);
        entry.stamp = stamp;
        entry
    }

    fn backlog(&mut self) -> Backlog {
        let mut backlog = Backlog::default();
        self.ready.capture(&mut backlog);
        backlog.loose.sort_by_key(|message| message.id);
        backlog
    }
}

/// Room for a few messages.
const BUDGET: u64 = 2000;

fn reader(log: &Handle) -> Reader<'_> {
    Reader {
        log,
        queue: 1,
        budget: BUDGET,
    }
}

/// As the store packs them when it has read the log.
fn repacked(backlog: &Backlog) -> Backlog {
    let all = backlog.unpack().expect("pages in memory");
    let (packed, loose) = all.split_at(all.len() / 8 * 8);
    Backlog {
        pages: packed.chunks(8).filter_map(Page::pack).collect(),
        loose: loose.to_vec(),
        delivered: backlog.delivered,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn it_is_a_map_by_level(steps in proptest::collection::vec(step(), 1..60)) {
        let mut bench = Bench::new();
        let log = bench.log.clone();
        let reader = reader(&log);
        let (mut model, mut out) = (Model::new(), Vec::new());
        for step in steps {
            match step {
                Step::Push(levels, durable, time) => {
                    let mut entries = Vec::new();
                    for level in levels {
                        bench.next += 4;
                        let stamp = stamp::with_level(level, time.map(|time| EPOCH + time));
                        model.insert((Reverse(level), bench.next), (durable, stamp, false));
                        entries.push(bench.entry(bench.next, stamp, durable));
                    }
                    bench.ready.extend(entries.into_iter(), reader);
                }
                Step::Late(level) => {
                    let id = bench.next - 1;
                    if model.keys().all(|key| key.1 != id) && out.iter().all(|entry: &Entry| entry.id != id) {
                        let stamp = stamp::with_level(level, None);
                        model.insert((Reverse(level), id), (true, stamp, false));
                        bench.ready.extend(std::iter::once(bench.entry(id, stamp, true)), reader);
                    }
                }
                Step::Pop(count) => for _ in 0..count {
                    let mut skipped = Skipped::default();
                    let entry = bench.ready.pop(None, reader, &mut skipped);
                    prop_assert!(skipped.lost.is_empty() && skipped.expired.is_empty());
                    let expected = model.pop_first();
                    let found = entry.as_ref().map(|entry| {
                        ((Reverse(stamp::level(entry.stamp)), entry.id), (entry.durable, entry.stamp, entry.redelivered))
                    });
                    prop_assert_eq!(found, expected);
                    prop_assert!(entry.as_ref().is_none_or(|entry| entry.message.is_some()));
                    out.extend(entry);
                },
                Step::Requeue(which) if !out.is_empty() => {
                    let mut entry: Entry = out.remove(which % out.len());
                    entry.redelivered = true;
                    model.insert((Reverse(stamp::level(entry.stamp)), entry.id), (entry.durable, entry.stamp, true));
                    bench.ready.insert(entry, reader);
                }
                Step::Requeue(_) => {}
                Step::DropFirst(count) => {
                    let dropped = bench.ready.take_first(count.min(model.len()), reader);
                    for entry in &dropped {
                        let expected = model.pop_first().map(|(key, _)| key.1);
                        prop_assert_eq!(Some(entry.id), expected);
                    }
                }
                Step::Expire(time) => {
                    let mut expired = Vec::new();
                    loop {
                        let some = bench.ready.expire(EPOCH + time, 3, reader);
                        if some.is_empty() {
                            break;
                        }
                        expired.extend(some.iter().map(|entry| entry.id));
                    }
                    expired.sort_unstable();
                    let over = |stamp| stamp::is_over(stamp, Some(EPOCH + time));
                    let mut expected: Vec<u64> = model.extract_if(.., |_, known| over(known.1)).map(|(key, _)| key.1).collect();
                    expected.sort_unstable();
                    prop_assert_eq!(expired, expected);
                    prop_assert!(bench.ready.earliest().is_none_or(|earliest| earliest > EPOCH + time));
                }
                Step::Restart(as_read) => {
                    let captured = bench.backlog();
                    let backlog = if as_read { repacked(&captured) } else { captured };
                    bench.ready = Ready::by_level();
                    bench.ready.restore(backlog, reader);
                    model.retain(|_, known| known.0);
                    prop_assert_eq!(bench.ready.resident().bytes, 0);
                }
                Step::Clear => {
                    let cleared = bench.ready.clear();
                    prop_assert_eq!(cleared.messages, model.len());
                    let packed: usize = cleared.pages.iter().map(|page| page.count() as usize).sum();
                    prop_assert_eq!(packed + cleared.loose.len(), model.values().filter(|known| known.0).count());
                    model.clear();
                }
            }
            let durable = model.values().filter(|known| known.0).count();
            prop_assert_eq!((bench.ready.len(), bench.ready.durable().0), (model.len(), durable));
            prop_assert_eq!(bench.ready.is_empty(), model.is_empty());
            prop_assert!(!model.is_empty() || bench.ready.resident().bytes == 0);
            let earliest = model.values().filter_map(|known| stamp::deadline(known.1)).min();
            prop_assert!(bench.ready.earliest().unwrap_or(u64::MAX) <= earliest.unwrap_or(u64::MAX));
            let ids = model.iter().filter(|(_, known)| known.0).map(|(key, known)| (key.1, known.1));
            for (id, stamp) in ids.step_by(7) {
                prop_assert_eq!(bench.ready.live(id, Some(stamp), reader).map(|live| live.stamp), Some(stamp));
                prop_assert!(bench.ready.live(id, None, reader).is_some());
            }
            prop_assert!(bench.ready.live(1, None, reader).is_none());
        }
    }
}

#[test]
fn memory_is_for_the_highest_levels() {
    let mut bench = Bench::new();
    let log = bench.log.clone();
    let reader = reader(&log);
    let mut push = |level: u8, count: u64| {
        for _ in 0..count {
            bench.next += 1;
            let entry = bench.entry(bench.next, stamp::with_level(level, None), true);
            bench.ready.extend(std::iter::once(entry), reader);
        }
        bench.ready.resident().bytes
    };
    let full = push(1, 100);
    assert!((BUDGET..BUDGET + 500).contains(&full), "{full}");
    assert!(push(0, 100) == full, "what waits below takes none of it");
    let few = push(9, 3);
    assert!(
        (1..BUDGET).contains(&few),
        "the lower level has left it to the log: {few}"
    );
    assert!(push(9, 100) < BUDGET + 500);
    let mut order = Vec::new();
    while let Some(entry) = bench.ready.pop(None, reader, &mut Skipped::default()) {
        order.push((Reverse(stamp::level(entry.stamp)), entry.id));
    }
    assert!(order.len() == 303 && order.is_sorted());
}

#[test]
fn a_long_queue_is_packed_level_by_level_and_stays_so() {
    let mut bench = Bench::new();
    let log = bench.log.clone();
    let reader = reader(&log);
    for id in 1..=600 {
        let entry = bench.entry(id, stamp::with_level((id % 10) as u8, None), true);
        bench.ready.extend(std::iter::once(entry), reader);
    }
    let backlog = bench.backlog();
    let packed: usize = backlog.pages.iter().map(|page| page.count() as usize).sum();
    assert!(packed > 350, "{packed} of 600 are in pages");
    for backlog in [backlog.clone(), repacked(&backlog)] {
        let mut restored = Ready::by_level();
        restored.restore(backlog, reader);
        let mut again = Backlog::default();
        restored.capture(&mut again);
        let packed: usize = again.pages.iter().map(|page| page.count() as usize).sum();
        assert!(packed > 350, "{packed} of 600 are in pages after a start");
        assert_eq!(again.count(), 600);
    }
}

/// A few pages are unpacked under one lock of the queue, not a few for each level.
#[test]
fn a_turn_is_shared_by_all_levels() {
    const LEVELS: u8 = 32;
    const STRETCHES: u64 = 8;
    let mut bench = Bench::new();
    let log = bench.log.clone();
    let mut id = 0;
    for _ in 0..STRETCHES {
        for level in 0..LEVELS {
            // One message in each page is over, the others are not.
            for at in 0..8 {
                id += 1;
                let deadline = if at == 3 { EPOCH + 1 } else { EPOCH + 1_000_000 };
                let entry = bench.entry(id, stamp::new(Some(level), Some(deadline)), true);
                bench.ready.extend(std::iter::once(entry), reader(&log));
            }
        }
    }
    let over = STRETCHES as usize * usize::from(LEVELS);
    let (mut expired, mut most, mut turns) = (0, 0, 0);
    loop {
        let some = bench.ready.expire(EPOCH + 1, usize::MAX, reader(&log)).len();
        if some == 0 {
            break;
        }
        (expired, most, turns) = (expired + some, most.max(some), turns + 1);
    }
    assert_eq!(expired, over);
    // What was never packed is gone through at once.
    let loose = 3 * usize::from(LEVELS);
    assert!(
        most <= loose + 8 && turns >= (over - loose) / 4 / 2,
        "{most} at most in {turns} turns"
    );
}

#[test]
fn messages_of_many_priorities_come_and_go_in_the_same_time_each() {
    let come_and_go = |bench: &mut Bench, n: usize| {
        let reader = Reader {
            log: &bench.log,
            queue: 7,
            budget: u64::MAX,
        };
        let entry = |id: u64| Entry {
            stamp: stamp::new(Some((id * 31 % 256) as u8), None),
            ..Entry::new(id, NOWHERE, Message::new(b"", b"q", b"\0\0", b"x"))
        };
        bench.ready.extend((1..=n as u64).map(entry), reader);
        let mut skipped = Skipped::default();
        let taken = (0..n)
            .filter_map(|_| bench.ready.pop(None, reader, &mut skipped))
            .count();
        assert!(taken == n && bench.ready.is_empty());
    };
    is_linear("priorities", 8_000, |_| Bench::new(), come_and_go);
}
