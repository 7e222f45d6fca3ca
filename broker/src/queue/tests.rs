//! A queue with a real log in a folder of its own, and clients that keep what they are given.

use super::arguments::Arguments;
use super::consumers::{ChannelId, Consumer, Terms, cancelled};
use super::entry::{Entry, NOWHERE};
use super::subscriber::{Again, Allowance, Overdue, Subscriber};
use super::upkeep::Upkeep;
use super::{Definition, Outcome, Queue, Refused};
use crate::clock::{self, Clock};
use crate::limits::Memory;
use crate::message::Message;
use crate::outbox::{Stalled, Wakes, Work};
use leveret_amqp::ShortString;
use leveret_store::fs::RealFs;
use leveret_store::{Batch, Destination, Options, Store, Urgency};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tempfile::TempDir;

/// Many consumers.
mod many;

/// Where there are very many, they take what is allocated for one: the next larger size that there is. The counts of
/// its references are in it.
#[test]
fn an_idle_queue_is_small() {
    assert!(
        16 + size_of::<Queue>() <= 640,
        "{} bytes and two counts",
        size_of::<Queue>()
    );
}

struct Bench {
    queue: Arc<Queue>,
    memory: Arc<Memory>,
    work: Work,
    store: Store,
    next: u64,
    _folder: TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.work.finish(&self.store.handle());
    }
}

impl Bench {
    fn new() -> Self {
        Self::of(true)
    }

    fn of(durable: bool) -> Self {
        let folder = TempDir::new().expect("a folder");
        let options = Options {
            segment_bytes: 1 << 20,
            ..Options::new(folder.path())
        };
        let (store, _) = Store::open(options, Arc::new(RealFs), Box::new(|_| {}), Box::new(|_| {})).expect("a log");
        let memory = Arc::new(Memory::new(u64::MAX));
        let definition = Definition {
            name: ShortString::from_static("q"),
            durable,
            auto_delete: false,
            owner: None,
            arguments: Arguments::default(),
        };
        let queue = Arc::new(Queue::new(
            definition,
            7,
            store.handle(),
            memory.clone(),
            Upkeep::default(),
        ));
        Self {
            queue,
            memory,
            work: Work::default(),
            store,
            next: 1,
            _folder: folder,
        }
    }

    /// Publishes one message with this body; a logged one goes to the log first.
    fn publish(&mut self, body: &[u8], logged: bool) -> u64 {
        let id = self.next;
        self.next += 1;
        self.publish_as(id, body, logged);
        id
    }

    fn publish_as(&mut self, id: u64, body: &[u8], logged: bool) {
        let message = Message::new(b"", b"q", &[0, 0], body);
        let location = if logged {
            let mut batch = Batch::default();
            let mut length = [0; 4];
            let place = batch.publish(id, &[Destination::unstamped(7)], &message.record(&mut length));
            self.store
                .handle()
                .append(&mut batch, Urgency::Soon)
                .expect("an open log")
                .location(place)
        } else {
            NOWHERE
        };
        self.queue
            .enqueue(&mut vec![Entry::new(id, location, message)], &mut self.work);
    }

    fn consumer(&mut self, id: u64, prefetch: u32, priority: i32) -> Arc<Client> {
        let no_ack = prefetch == u32::MAX;
        let terms = Terms {
            no_ack,
            prefetch: if no_ack { 0 } else { prefetch },
            priority,
            ..Terms::default()
        };
        let client = Arc::new(Client::new(id));
        self.add(id, terms, &client);
        client
    }

    fn add(&mut self, id: u64, terms: Terms, client: &Arc<Client>) {
        let channel = ChannelId {
            connection: 1,
            number: 1,
        };
        let tag = ShortString::truncated(&format!("c{id}"));
        let consumer = Consumer::new(id, tag, channel, terms, client.clone());
        assert!(self.queue.consume(consumer, &mut self.work).is_ok());
    }

    fn settle(&mut self, client: &Client, ids: &[u64], outcome: Outcome) {
        self.queue.settle(client.id, ids, outcome, &mut self.work);
    }

    fn get(&mut self) -> Option<(u64, bool, Vec<u8>)> {
        let mut found = None;
        self.queue.get(true, &mut self.work, |entry, _| {
            let body = entry.message.as_ref().expect("in memory").body().to_vec();
            found = Some((entry.id, entry.redelivered, body));
        });
        found
    }
}

/// A client that keeps what it is given, and reads only when it is told to.
struct Client {
    id: u64,
    unread: Mutex<Vec<Delivery>>,
    stalled: Mutex<Vec<Arc<dyn Stalled>>>,
    /// A limit that it may share with others, and those that wait for it.
    shared_credit: Arc<Mutex<Option<u32>>>,
    in_line: Arc<Mutex<Line>>,
    cancelled: AtomicBool,
    /// Questions what it takes.
    asked: AtomicUsize,
}

/// Queues with a consumer of each.
type Line = VecDeque<(Arc<dyn Stalled>, u64)>;

/// Id, redelivered and body.
type Delivery = (u64, bool, Vec<u8>);

/// Bytes that a client takes without reading.
const ROOM: usize = 512 * 1024;

impl Client {
    fn new(id: u64) -> Self {
        Self {
            id,
            unread: Mutex::default(),
            stalled: Mutex::default(),
            shared_credit: Arc::default(),
            in_line: Arc::default(),
            cancelled: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        }
    }

    fn unread_bytes(&self) -> usize {
        self.unread.lock().iter().map(|(_, _, body)| body.len()).sum()
    }

    /// Messages that came since the last call.
    fn reads(&self) -> Vec<Delivery> {
        std::mem::take(&mut *self.unread.lock())
    }

    /// Its shared limit leaves so much room.
    fn offers(&self, credit: u32, work: &mut Work) {
        *self.shared_credit.lock() = Some(credit);
        while *self.shared_credit.lock() != Some(0) {
            let Some((queue, id)) = self.in_line.lock().pop_front() else {
                return;
            };
            queue.resume_consumer(id, work);
        }
    }

    fn bodies(&self) -> Vec<Vec<u8>> {
        self.reads().into_iter().map(|(_, _, body)| body).collect()
    }
}

impl Subscriber for Client {
    fn take_back(&self, overdue: Vec<Overdue>) -> Vec<u64> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        overdue.into_iter().map(|overdue| overdue.id).collect()
    }

    fn allowance(&self) -> Allowance {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Allowance {
            room: ROOM.saturating_sub(self.unread_bytes()),
            shared_credit: *self.shared_credit.lock(),
        }
    }

    fn deliver(&self, run: &[Entry], _: Again, _: &mut Work) -> u64 {
        if let Some(credit) = &mut *self.shared_credit.lock() {
            *credit -= run.len() as u32;
        }
        let deliveries = run.iter().map(|entry| {
            let body = entry.message.as_ref().expect("in memory").body().to_vec();
            (entry.id, entry.redelivered, body)
        });
        self.unread.lock().extend(deliveries);
        0
    }

    fn stall(&self, queue: &Arc<dyn Stalled>) -> bool {
        self.stalled.lock().push(queue.clone());
        true
    }

    fn line_up(&self, queue: &Arc<dyn Stalled>, consumer: u64) -> bool {
        let waits = *self.shared_credit.lock() == Some(0);
        if waits {
            self.in_line.lock().push_back((queue.clone(), consumer));
        }
        waits
    }

    fn cancelled(&self, _: &mut Wakes) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// Messages of this size from `first` on, for several queues at once.
fn run_of(first: u64, count: u64, size: usize) -> Vec<Entry> {
    let entry = |id| Entry::new(id, NOWHERE, Message::new(b"", b"q", &[0, 0], &vec![id as u8; size]));
    (first..first + count).map(entry).collect()
}

#[test]
fn messages_that_need_not_wait_reach_a_consumer_straight_and_in_order() {
    let mut benches = [false, true, false, true].map(Bench::of);
    let prefetch = [u32::MAX, u32::MAX, 0, 9];
    let mut bench = benches.iter_mut().zip(prefetch);
    let clients: [_; 4] = std::array::from_fn(|_| bench.next().map(|(bench, most)| bench.consumer(1, most, 0)));
    let clients: Vec<_> = clients.into_iter().flatten().collect();
    let queues: Vec<_> = benches.iter().map(|bench| bench.queue.clone()).collect();
    let work = &mut benches[0].work;
    let mut publish = |first, count, size| {
        let mut entries = run_of(first, count, size);
        assert!(super::arrival::enqueue(&queues, &mut entries, None, work).is_empty());
        assert!(entries.is_empty());
    };
    publish(1, 3, 10);
    // The fourth of these finds no room, and waits; what comes then waits behind it.
    publish(4, 5, ROOM / 3);
    publish(9, 1, 10);
    for (client, queue) in clients.iter().zip(&queues) {
        let ids = || client.reads().into_iter().map(|(id, ..)| id).collect::<Vec<_>>();
        assert_eq!(queue.snapshot().ready, 3, "of {:?}", queue.definition);
        assert_eq!(ids(), [1, 2, 3, 4, 5, 6]);
        let mut work = Work::default();
        queue.dispatch(&mut work);
        work.finish(&queue.log).expect("an open log");
        assert_eq!(ids(), [7, 8, 9]);
        let (totals, unacked) = (queue.snapshot().totals, queue.snapshot().unacked);
        assert_eq!((totals.published, totals.delivered_no_ack + totals.delivered), (9, 9));
        assert_eq!(unacked as u64, totals.delivered);
    }
    // The last one's limit is reached.
    let mut entries = run_of(10, 2, 10);
    assert!(super::arrival::enqueue(&queues, &mut entries, None, &mut benches[0].work).is_empty());
    let got: Vec<_> = clients.iter().map(|client| client.reads().len()).collect();
    assert_eq!(got, [2, 2, 2, 0]);
    for (bench, client) in benches.iter_mut().zip(&clients).skip(2) {
        let ids: Vec<u64> = (1..=9).collect();
        bench.settle(client, &ids, Outcome::Acked);
    }
    assert_eq!(clients[3].reads().len(), 2);
    let left: Vec<_> = queues.iter().map(|queue| queue.snapshot().unacked).collect();
    assert_eq!(left, [0, 0, 2, 2]);
}

#[test]
fn consumers_of_equal_priority_get_messages_in_turn() {
    let mut bench = Bench::new();
    let (a, b) = (bench.consumer(1, 0, 0), bench.consumer(2, 0, 0));
    for body in [b"1", b"2", b"3", b"4"] {
        bench.publish(body, false);
    }
    assert_eq!(a.bodies(), [b"1", b"3"]);
    assert_eq!(b.bodies(), [b"2", b"4"]);
}

#[test]
fn a_turn_stays_whose_it_is_when_others_come_and_go() {
    let mut bench = Bench::new();
    let mut passing = bench.consumer(1, 0, 0);
    let steady = [2, 3, 4].map(|id| bench.consumer(id, 0, 0));
    for id in 5..305 {
        // One of a higher priority comes, takes a message and goes; the oldest of the others goes, and one comes.
        bench.consumer(1_000 + id, 1, 1);
        bench.publish(b"first", false);
        bench.publish(b"x", false);
        bench.queue.cancel(1_000 + id);
        bench.queue.cancel(passing.id);
        passing = bench.consumer(id, 0, 0);
    }
    let shares = steady.map(|client| client.bodies().len());
    assert!(shares.iter().all(|share| (74..=100).contains(share)), "{shares:?}");
    assert!(
        shares.iter().max() <= shares.iter().min().map(|least| least + 1).as_ref(),
        "{shares:?}"
    );
}

#[test]
fn the_next_in_turn_is_not_passed_over_when_the_last_one_goes() {
    let mut bench = Bench::new();
    let clients = [1, 2, 3].map(|id| bench.consumer(id, 0, 0));
    bench.publish(b"1", false);
    bench.publish(b"2", false);
    bench.queue.cancel(1);
    bench.publish(b"3", false);
    bench.publish(b"4", false);
    let got = clients.map(|client| client.bodies());
    assert_eq!(
        got,
        [
            vec![b"1".to_vec()],
            vec![b"2".to_vec(), b"4".to_vec()],
            vec![b"3".to_vec()]
        ]
    );
}

/// A time to live of 0 ends in the millisecond in which the message comes.
#[test]
fn the_last_millisecond_of_a_message_is_for_a_consumer_that_is_there() {
    let mut bench = Bench::new();
    let client = bench.consumer(1, 1, 0);
    bench.work.set_time = Some(1_000);
    for id in [1, 2] {
        let message = Message::new(b"", b"q", &[0, 0], &[b'0' + id]);
        let mut entry = Entry::new(id.into(), NOWHERE, message);
        entry.stamp = 1_000;
        bench.queue.enqueue(&mut vec![entry], &mut bench.work);
    }
    assert_eq!(client.bodies(), [b"1"]);
    assert_eq!(
        bench.queue.counts().0,
        0,
        "there was no credit for the other, so it has expired"
    );
    bench.settle(&client, &[1], Outcome::Acked);
    assert!(client.bodies().is_empty());
}

#[test]
fn credit_limits_and_comes_back() {
    let mut bench = Bench::new();
    let client = bench.consumer(1, 2, 0);
    for body in [b"1", b"2", b"3", b"4"] {
        bench.publish(body, true);
    }
    assert_eq!(client.bodies(), [b"1", b"2"]);
    bench.settle(&client, &[1, 2], Outcome::Acked);
    assert_eq!(client.bodies(), [b"3", b"4"]);
    assert_eq!(bench.queue.snapshot().unacked, 2);
}

#[test]
fn a_limit_that_consumers_share_is_counted_message_by_message() {
    let mut bench = Bench::new();
    let client = bench.consumer(1, 0, 0);
    *client.shared_credit.lock() = Some(2);
    let other = bench.consumer(2, 1, -1);
    for body in [b"1", b"2", b"3", b"4"] {
        bench.publish(body, false);
    }
    assert_eq!(client.bodies(), [b"1", b"2"]);
    assert_eq!(other.bodies(), [b"3"]);
    client.offers(7, &mut bench.work);
    assert_eq!(client.bodies(), [b"4"]);
}

#[test]
fn a_higher_priority_is_served_first() {
    let mut bench = Bench::new();
    let (low, high) = (bench.consumer(1, 0, 0), bench.consumer(2, 1, 5));
    for body in [b"1", b"2", b"3"] {
        bench.publish(body, false);
    }
    assert_eq!(high.bodies(), [b"1"]);
    assert_eq!(low.bodies(), [b"2", b"3"]);
}

#[test]
fn requeued_messages_go_back_to_their_places_and_say_so() {
    let mut bench = Bench::new();
    let client = bench.consumer(1, 3, 0);
    for body in [b"1", b"2", b"3", b"4"] {
        bench.publish(body, true);
    }
    assert_eq!(client.reads().len(), 3);
    assert!(!bench.queue.cancel(1));
    bench.settle(&client, &[2], Outcome::Acked);
    bench.settle(&client, &[1, 3], Outcome::Requeued);
    let order: Vec<_> = std::iter::from_fn(|| bench.get())
        .map(|(_, again, body)| (again, body))
        .collect();
    assert_eq!(
        order,
        [(true, b"1".to_vec()), (true, b"3".to_vec()), (false, b"4".to_vec())]
    );
}

#[test]
fn a_client_that_does_not_read_gets_what_it_has_room_for() {
    let mut bench = Bench::new();
    let client = bench.consumer(1, u32::MAX, 0);
    let body = vec![7; 10_000];
    for _ in 0..200 {
        bench.publish(&body, false);
    }
    assert!(client.unread_bytes() <= ROOM + 11_000, "{}", client.unread_bytes());
    let waiting = bench.queue.snapshot().ready;
    assert!(waiting > 100, "{waiting}");
    client.reads();
    let stalled = std::mem::take(&mut *client.stalled.lock());
    assert!(!stalled.is_empty(), "the queue is asked again when there is room");
    stalled[0].clone().resume(&mut bench.work);
    assert!(bench.queue.snapshot().ready < waiting);
}

#[test]
fn a_long_backlog_stays_in_the_log_and_comes_back_in_order() {
    let mut bench = Bench::new();
    let body = vec![9; 64 * 1024];
    for n in 0..600u32 {
        bench.publish(&[&n.to_be_bytes()[..], &body].concat(), true);
    }
    let held = bench.memory.resident();
    assert!(held < 20 << 20, "{held} bytes of 40 MB are in memory");
    for n in 0..600u32 {
        let (_, _, body) = bench.get().expect("a message");
        assert_eq!(body[..4], n.to_be_bytes());
    }
    assert_eq!(bench.memory.resident(), 0);
    assert_eq!(bench.get(), None);
}

#[test]
fn deleting_is_refused_atomically_and_then_final() {
    let mut bench = Bench::new();
    bench.publish(b"1", true);
    assert_eq!(bench.queue.delete(false, true).err(), Some(Refused::NotEmpty(1)));
    let client = bench.consumer(1, 1, 0);
    assert_eq!(bench.queue.delete(true, false).err(), Some(Refused::InUse));
    let deleted = bench.queue.delete(false, false).expect("no condition");
    assert_eq!((deleted.messages, deleted.consumers.len()), (0, 1));
    cancelled(&deleted.consumers, &mut bench.work.wakes);
    assert!(client.cancelled.load(Ordering::Relaxed));
    bench.publish(b"2", true);
    assert_eq!(bench.queue.counts(), (0, 0));
    assert_eq!(bench.queue.delete(false, false).err(), Some(Refused::Gone));
    assert_eq!(bench.memory.resident(), 0);
}

#[test]
fn a_clock_that_was_set_back_calls_again() {
    let mut bench = Bench::new();
    let clock = Arc::new(Clock::start().expect("a thread"));
    let upkeep = Upkeep {
        clock: Some(clock.clone()),
        ..Upkeep::default()
    };
    let (definition, log) = (bench.queue.definition.clone(), bench.store.handle());
    let queue = Arc::new(Queue::new(definition, 8, log, bench.memory.clone(), upkeep));
    let deadline = clock::now() + 3_600_000;
    let mut entry = Entry::new(1, NOWHERE, Message::new(b"", b"q", &[0, 0], b"x"));
    entry.stamp = deadline;
    let _ = queue.enqueue(&mut vec![entry], &mut bench.work);
    assert_eq!(clock.ahead(), 1);
    // The call has come, and the time is before it again.
    assert!(!queue.time_over(deadline, &mut bench.work));
    assert_eq!((clock.ahead(), queue.counts().0), (2, 1));
}

#[derive(Clone, Debug)]
enum Step {
    Publish(bool),
    /// An id that is older than the last one by this number, as when two publishers took their ids at once.
    Late(u64),
    Get,
    Ack(usize),
    Requeue(usize),
    Purge,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<bool>().prop_map(Step::Publish),
        1 => (1..4u64).prop_map(Step::Late),
        4 => Just(Step::Get),
        2 => any::<usize>().prop_map(Step::Ack),
        2 => any::<usize>().prop_map(Step::Requeue),
        1 => Just(Step::Purge),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, the queue hands out the smallest id that waits, and counts right.
    #[test]
    fn the_queue_behaves_as_a_sorted_set(steps in steps()) {
        let mut bench = Bench::new();
        let (mut waiting, mut out) = (std::collections::BTreeMap::new(), Vec::new());
        bench.next = 10;
        for step in steps {
            match step {
                Step::Publish(logged) => {
                    let id = bench.publish(b"x", logged);
                    bench.next += 4;
                    waiting.insert(id, false);
                }
                Step::Late(by) => {
                    let id = bench.next - 1 - by.min(3);
                    if !waiting.contains_key(&id) && !out.contains(&id) {
                        bench.publish_as(id, b"x", false);
                        waiting.insert(id, false);
                    }
                }
                Step::Get => {
                    let mut got = None;
                    bench.queue.get(false, &mut bench.work, |entry, _| {
                        got = Some((entry.id, entry.redelivered));
                    });
                    prop_assert_eq!(got, waiting.pop_first());
                    out.extend(got.map(|(id, _)| id));
                }
                Step::Ack(which) | Step::Requeue(which) if !out.is_empty() => {
                    let id = out.remove(which % out.len());
                    let requeued = matches!(step, Step::Requeue(_));
                    let outcome = if requeued { Outcome::Requeued } else { Outcome::Acked };
                    bench.queue.settle(0, &[id], outcome, &mut bench.work);
                    if requeued {
                        waiting.insert(id, true);
                    }
                }
                Step::Ack(_) | Step::Requeue(_) => {}
                Step::Purge => {
                    prop_assert_eq!(bench.queue.purge(&mut bench.work), waiting.len());
                    waiting.clear();
                }
            }
            let snapshot = bench.queue.snapshot();
            prop_assert_eq!((snapshot.ready, snapshot.unacked), (waiting.len(), out.len()));
            prop_assert_eq!(snapshot.ready_bytes, waiting.len() as u64);
        }
    }
}
