//! Against a plain map.

use super::*;
use leveret_store::fs::RealFs;
use leveret_store::{Options, Store};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tempfile::TempDir;

/// A message in the map: durable, delivery count and stamp, segment.
type Known = (bool, Live, u32);

#[derive(Clone, Debug)]
enum Step {
    /// A number of messages at the end, durable ones or not.
    Push(u64, bool),
    /// One where its id belongs, if nothing is there.
    Insert(u64),
    /// From the front.
    Take(usize),
    /// The time of those up to here is over.
    Expire(u64),
    /// A record is moved.
    Relocate(u64, u32),
    /// As a checkpoint does.
    Capture,
    /// Only what the log holds is left.
    Restart,
    /// As many from the front are put back there.
    PutBefore(usize),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..20u64, any::<bool>()).prop_map(|(count, durable)| Step::Push(count, durable)),
        2 => (1..40u64, Just(true)).prop_map(|(count, durable)| Step::Push(count, durable)),
        2 => (0..400u64).prop_map(Step::Insert),
        2 => (1..25usize).prop_map(Step::Take),
        1 => (0..400u64, 2..9u32).prop_map(|(id, segment)| Step::Relocate(id, segment)),
        2 => (0..400u64).prop_map(Step::Expire),
        1 => Just(Step::Capture),
        1 => Just(Step::Restart),
        1 => (1..25usize).prop_map(Step::PutBefore),
        1 => Just(Step::Clear),
    ]
}

/// The deadline of a message is its id after this time.
const EPOCH: u64 = 1_795_000_000_000;

fn cold(id: u64, durable: bool) -> Cold {
    let message = Message::new(b"", b"q", &[0, 0], &[7; 10]);
    let location = Location {
        segment: 1,
        offset: id as u32 * 64,
        len: 60,
    };
    let mut entry = Entry::new(id, if durable { location } else { NOWHERE }, message);
    entry.delivery_count = (id % 3) as u32;
    entry.stamp = if id.is_multiple_of(4) { 0 } else { EPOCH + id };
    Cold::from(entry)
}

fn known(cold: &Cold) -> (u64, Known) {
    (cold.id, (cold.durable(), cold.live(), cold.location.segment))
}

/// All that a checkpoint would find, unpacked.
fn captured(tail: &mut Tail) -> BTreeMap<u64, Known> {
    let mut backlog = Backlog::default();
    tail.capture(&mut backlog);
    assert!(backlog.loose.is_sorted_by_key(|message| message.id));
    let all = backlog.unpack().expect("pages in memory");
    all.iter()
        .map(|m| (m.id, (true, m.live(), m.location.segment)))
        .collect()
}

#[test]
fn pages_take_turns_when_their_messages_expire() {
    let folder = TempDir::new().expect("a folder");
    let (store, _) = Store::open(
        Options::new(folder.path()),
        std::sync::Arc::new(RealFs),
        Box::new(|_| {}),
        Box::new(|_| {}),
    )
    .expect("a log");
    let log = store.handle();
    let reader = Reader {
        log: &log,
        queue: 1,
        budget: 0,
    };
    let mut tail = Tail::default();
    let pages = 10 * PAGES_AT_ONCE;
    for id in 0..((pages + OPEN) * PAGE) as u64 {
        let mut cold = cold(id, true);
        cold.stamp = EPOCH + id % PAGE as u64;
        tail.push(cold);
    }
    // One message of each page is due in each turn; a turn doesn't begin with the first pages again.
    let mut seen = Vec::new();
    for turn in 0..10 {
        let due = tail.expire(EPOCH + turn / 5, &mut Turn::of(usize::MAX), reader);
        assert_eq!(due.len() % PAGES_AT_ONCE, 0, "in turn {turn}");
        seen.extend(due.iter().map(|cold| cold.id / PAGE as u64));
    }
    seen.dedup();
    assert!(seen.iter().copied().eq(0..pages as u64), "{seen:?}");
}

proptest! {
    #[test]
    fn it_is_a_map(steps in proptest::collection::vec(step(), 1..60)) {
        let folder = TempDir::new().expect("a folder");
        let (store, _) = Store::open(Options::new(folder.path()), std::sync::Arc::new(RealFs), Box::new(|_| {}), Box::new(|_| {}))
            .expect("a log");
        let log = store.handle();
        let reader = Reader { log: &log, queue: 1, budget: 0 };
        let mut tail = Tail::default();
        let mut model: BTreeMap<u64, Known> = BTreeMap::new();
        let mut next = 100;
        let durable = |model: &BTreeMap<u64, Known>| -> BTreeMap<u64, Known> {
            model.iter().filter(|(_, known)| known.0).map(|(id, known)| (*id, *known)).collect()
        };
        for step in steps {
            match step {
                Step::Push(count, durable) => for _ in 0..count {
                    next += 1 + next % 2;
                    let cold = cold(next, durable);
                    model.extend([known(&cold)]);
                    tail.push(cold);
                },
                Step::Insert(id) => if !model.contains_key(&id) {
                    let cold = cold(id, true);
                    model.extend([known(&cold)]);
                    tail.insert(cold, reader);
                    next = next.max(id);
                },
                Step::Take(most) => {
                    let run = tail.take(most, 10 * most as u64, reader);
                    let expected: Vec<_> = model.iter().take(most).map(|(id, known)| (*id, *known)).collect();
                    prop_assert_eq!(run.iter().map(known).collect::<Vec<_>>(), expected);
                    model.retain(|id, _| run.iter().all(|cold| cold.id != *id));
                }
                Step::Expire(last) => {
                    let over = |known: &Known| known.1.stamp != 0 && known.1.stamp <= EPOCH + last;
                    let mut expired = BTreeMap::new();
                    loop {
                        let some = tail.expire(EPOCH + last, &mut Turn::of(3), reader);
                        if some.is_empty() {
                            break;
                        }
                        expired.extend(some.iter().map(known));
                    }
                    let expected: BTreeMap<_, _> = model.extract_if(.., |_, known| over(known)).collect();
                    prop_assert_eq!(expired, expected);
                    prop_assert!(tail.earliest().is_none_or(|earliest| earliest > EPOCH + last));
                }
                Step::Relocate(id, segment) => {
                    let found = tail.find(id, reader);
                    prop_assert_eq!(found.is_some(), model.contains_key(&id));
                    if let Some(cold) = found.filter(|cold| cold.durable()) {
                        cold.location.segment = segment;
                        model.entry(id).and_modify(|known| known.2 = segment);
                    }
                }
                Step::Capture => prop_assert_eq!(captured(&mut tail), durable(&model)),
                Step::Restart => {
                    let mut backlog = Backlog::default();
                    tail.capture(&mut backlog);
                    tail = Tail::default();
                    model = durable(&model);
                    let (count, bytes) = tail.restore(backlog, reader);
                    prop_assert_eq!((count, bytes), (model.len(), 10 * model.len() as u64));
                }
                Step::PutBefore(most) => {
                    let run = tail.take(most, u64::MAX, reader);
                    tail.put_before(run.into_iter().rev());
                }
                Step::Clear => {
                    let (pages, loose) = tail.clear();
                    let packed: usize = pages.iter().map(|page| page.count() as usize).sum();
                    prop_assert_eq!(packed + loose.len(), durable(&model).len());
                    model.clear();
                }
            }
            prop_assert_eq!(tail.is_empty(), model.is_empty());
            let earliest = model.values().map(|known| known.1.stamp).filter(|stamp| *stamp != 0).min();
            prop_assert!(tail.earliest().unwrap_or(u64::MAX) <= earliest.unwrap_or(u64::MAX));
            prop_assert_eq!(tail.first(), model.keys().next().copied());
            prop_assert_eq!(tail.last(), model.keys().next_back().copied());
        }
    }
}

#[test]
fn what_was_delivered_before_a_start_is_redelivered() {
    let folder = TempDir::new().expect("a folder");
    let options = Options::new(folder.path());
    let (store, _) =
        Store::open(options, std::sync::Arc::new(RealFs), Box::new(|_| {}), Box::new(|_| {})).expect("a log");
    let log = store.handle();
    let reader = Reader {
        log: &log,
        queue: 1,
        budget: 0,
    };
    let mut tail = Tail::default();
    (1..=40).for_each(|id| tail.push(cold(id, true)));
    let mut backlog = Backlog {
        delivered: 20,
        ..Backlog::default()
    };
    tail.capture(&mut backlog);
    assert!(!backlog.pages.is_empty());
    let mut tail = Tail::default();
    tail.restore(backlog, reader);
    let flags: Vec<bool> = tail
        .take(40, u64::MAX, reader)
        .into_iter()
        .map(|cold| Entry::from(cold).redelivered)
        .collect();
    assert_eq!(flags, (1..=40).map(|id| id <= 20).collect::<Vec<_>>());
}
