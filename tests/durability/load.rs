//! Publishers that wait for confirms and a consumer that acknowledges, until something happens to the broker; and the
//! look at what is there afterwards.
//!
//! In: an address, and what is to happen. Out: the history of the load, and the verdict over it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use harness::history::{Entry, Found, History, Publishes, Summary};
use harness::requests::*;
use harness::scripted_client::Frame;
use harness::{Client, call};
use leveret_amqp::Method;
use leveret_amqp::method::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::drain;

/// Publishers at a time, and queues that they publish to.
const PUBLISHERS: u32 = 8;
const QUEUES: u32 = 4;

/// Messages that a publisher has under way.
const WINDOW: u64 = 50;

/// After so many acknowledgements the consumer makes sure that they are on disk.
const SETTLED_EVERY: u64 = 40;

/// The time for which nothing may come while something is awaited: longer than a start, or any stop of a test's making.
const SILENCE: Duration = Duration::from_secs(30);

/// Where the consumer publishes what tells it that its acknowledgements are on disk.
const MARKERS: &str = "crash-markers";

fn name(queue: u32) -> String {
    format!("crash-{queue}")
}

fn queues() -> Vec<String> {
    (0..QUEUES).map(name).chain([MARKERS.to_owned()]).collect()
}

/// Declares what the load needs.
pub(crate) fn declare(address: SocketAddr) {
    let mut client = Client::with_channel(address);
    for queue in queues() {
        call!(client, 1, durable(&queue) => QueueDeclareOk);
    }
    client.close();
}

/// The progress of the load.
#[derive(Default)]
struct State {
    /// Nothing more is to be sent.
    ended: AtomicBool,
    /// From now on the broker's answers don't count.
    deaf: AtomicBool,
}

/// Publishes and consumes until `happens` returns. If the broker is still there, everything sent is confirmed then.
/// Each round of a broker needs another number.
pub(crate) fn run(address: SocketAddr, round: u32, happens: impl FnOnce()) -> History {
    run_deaf_at_last(address, round, |_| happens())
}

/// [`run`], where `happens` can make all clients deaf: what the broker says after that is no promise.
pub(crate) fn run_deaf_at_last(address: SocketAddr, round: u32, happens: impl FnOnce(&dyn Fn())) -> History {
    let state = State::default();
    let first = round * (PUBLISHERS + 1);
    let mut history = History::default();
    thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|number| {
                let (publisher, queue) = (first + number, name(number % QUEUES));
                let mut client = Client::with_channel(address);
                call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
                let state = &state;
                scope.spawn(move || {
                    let publishes = publish(client, publisher, &queue, state);
                    (publisher, queue, publishes)
                })
            })
            .collect();
        let consumer = Consumer::new(address, first + PUBLISHERS);
        let consumer = scope.spawn(|| consumer.run(&state));
        happens(&|| state.deaf.store(true, Ordering::SeqCst));
        state.ended.store(true, Ordering::Relaxed);
        for publisher in publishers {
            let (publisher, queue, publishes) = publisher.join().expect("a publisher ends");
            history.publishes.insert((publisher, queue), publishes);
        }
        consumer.join().expect("the consumer ends").add_to(&mut history);
    });
    let touched = |queue: &String| *queue == name(0);
    history.untouched = queues().into_iter().filter(|queue| !touched(queue)).collect();
    history
}

/// Takes everything out of the queues and compares it with the history; panics with every promise that was broken.
pub(crate) fn check(address: SocketAddr, history: &History, what: &str) -> Summary {
    let mut client = Client::with_channel(address);
    let mut found = Vec::new();
    for queue in queues() {
        let messages = drain(&mut client, &queue).into_iter();
        found.extend(messages.map(|(body, redelivered)| Found {
            queue: queue.clone(),
            body,
            redelivered,
        }));
    }
    let broken = match history.check(&found) {
        Ok(summary) => return summary,
        Err(broken) => broken,
    };
    panic!("{what}:\n{}", broken.lines().take(30).collect::<Vec<_>>().join("\n"));
}

/// Publishes until the broker is gone, or the end has come and everything is confirmed.
fn publish(mut client: Client, publisher: u32, queue: &str, state: &State) -> Publishes {
    let mut publishes = Publishes::default();
    let mut random = StdRng::seed_from_u64(publisher.into());
    loop {
        let over = state.ended.load(Ordering::Relaxed);
        while !over && publishes.sent < publishes.confirmed.len() as u64 + WINDOW {
            let size = random.random_range(20..3000);
            if !send(&mut client, &mut publishes, publisher, queue, size) {
                return publishes;
            }
        }
        if publishes.confirmed.len() as u64 == publishes.sent {
            return publishes;
        }
        if !confirm(&mut client, &mut publishes, state) {
            return publishes;
        }
    }
}

/// Sends the next message; false when the broker is gone.
fn send(client: &mut Client, publishes: &mut Publishes, publisher: u32, queue: &str, size: usize) -> bool {
    let number = publishes.sent;
    publishes.sent += 1; // even a failed send may have left the machine
    let body = Entry { publisher, number }.body(size);
    client.try_publish_persistent(1, "", queue, &body).is_ok()
}

/// Waits for a confirm, or for word that the connection is blocked or goes on; false when the broker is gone, or the
/// publisher deaf.
fn confirm(client: &mut Client, publishes: &mut Publishes, state: &State) -> bool {
    let frame = client.any_frame(SILENCE);
    if state.deaf.load(Ordering::SeqCst) {
        return false;
    }
    match frame.expect("confirms go on as long as the broker lives") {
        Some(Frame::Method(1, Method::BasicAck(ack))) => {
            let last = ack.delivery_tag - 1; // tags count from 1, messages from 0
            let first = if ack.multiple {
                publishes.confirmed.last().map_or(0, |last| last + 1)
            } else {
                last
            };
            publishes.confirmed.extend(first.min(last)..=last);
            true
        }
        Some(Frame::Method(0, Method::ConnectionBlocked(_) | Method::ConnectionUnblocked(_))) => true,
        Some(other) => panic!("expected a confirm, got {other:?}"),
        None => false,
    }
}

/// Messages by publisher.
type Numbers = BTreeMap<u32, BTreeSet<u64>>;

/// Takes messages and acknowledges most of them. Now and then it makes sure that this is on disk: its connection has
/// answered something later, and then another client's message was confirmed.
struct Consumer {
    client: Client,
    marker: Client,
    publisher: u32,
    took: Took,
    /// Acknowledged and received when the answer under way was asked for.
    asked: Option<(Numbers, Numbers)>,
}

/// The consumer's record.
#[derive(Default)]
struct Took {
    acked: Numbers,
    got: Numbers,
    settled: Numbers,
    delivered: Numbers,
    markers: (u32, Publishes),
}

impl Consumer {
    fn new(address: SocketAddr, publisher: u32) -> Consumer {
        let mut client = Client::with_channel(address);
        let mut marker = Client::with_channel(address);
        call!(marker, 1, ConfirmSelect::default() => ConfirmSelectOk);
        client.open_channel(2);
        call!(client, 1, prefetch(20) => BasicQosOk);
        call!(client, 1, consume(&name(0), "some") => BasicConsumeOk);
        Consumer {
            client,
            marker,
            publisher,
            took: Took::default(),
            asked: None,
        }
    }

    /// Until the end, or until the broker is gone.
    fn run(mut self, state: &State) -> Took {
        let (mut tag, mut body, mut size) = (0, Vec::new(), 0);
        while !state.ended.load(Ordering::Relaxed) {
            match self.client.any_frame(Duration::from_millis(100)) {
                Ok(Some(Frame::Method(1, Method::BasicDeliver(deliver)))) => tag = deliver.delivery_tag,
                Ok(Some(Frame::Method(2, Method::QueueDeclareOk(_)))) => {
                    if !self.make_sure(state) {
                        break;
                    }
                }
                Ok(Some(Frame::Header { size: whole, .. })) => (size, body) = (whole, Vec::new()),
                Ok(Some(Frame::Body(1, part))) => body.extend_from_slice(&part),
                Ok(Some(other)) => panic!("expected a delivery, got {other:?}"),
                Ok(None) => break,
                Err(_) => continue,
            }
            if tag == 0 || body.len() as u64 != size || body.is_empty() {
                continue;
            }
            let entry = Entry::parse(&body).expect("a body as it was sent");
            body.clear();
            if !self.take(entry, tag) {
                break;
            }
        }
        self.took.markers.0 = self.publisher;
        self.took
    }

    /// Acknowledges a message, or leaves it; false when the broker is gone.
    fn take(&mut self, entry: Entry, tag: u64) -> bool {
        let add = |numbers: &mut Numbers| numbers.entry(entry.publisher).or_default().insert(entry.number);
        add(&mut self.took.got);
        let mut out = Vec::new();
        // Some are never settled: fewer than the prefetch count, so that there is always credit for more.
        if !tag.is_multiple_of(17) || tag > 200 {
            add(&mut self.took.acked);
            leveret_amqp::put_ack(&mut out, 1, tag, false);
        }
        if tag.is_multiple_of(SETTLED_EVERY) && self.asked.is_none() {
            self.asked = Some((self.took.acked.clone(), self.took.got.clone()));
            leveret_amqp::put_method_frame(&mut out, 2, &passive(MARKERS).into());
        }
        self.client.try_send_bytes(&out).is_ok()
    }

    /// The connection has worked through what was asked before: once a later message is confirmed it is on disk, too.
    fn make_sure(&mut self, state: &State) -> bool {
        let markers = &mut self.took.markers.1;
        let mut there = send(&mut self.marker, markers, self.publisher, MARKERS, 50);
        // Something else may be said first: that the connection is blocked, for one.
        while there && (markers.confirmed.len() as u64) < markers.sent {
            there = confirm(&mut self.marker, markers, state);
        }
        if there && let Some((acked, got)) = self.asked.take() {
            self.took.settled = acked;
            self.took.delivered = got;
        }
        there
    }
}

impl Took {
    fn add_to(self, history: &mut History) {
        let (publisher, publishes) = self.markers;
        history.publishes.insert((publisher, MARKERS.to_owned()), publishes);
        for (numbers, of) in [
            (
                self.acked,
                (|p| &mut p.consumed) as fn(&mut Publishes) -> &mut BTreeSet<u64>,
            ),
            (self.settled, |p| &mut p.settled),
            (self.delivered, |p| &mut p.delivered),
        ] {
            for (publisher, numbers) in numbers {
                let publishes = history.publishes.get_mut(&(publisher, name(0)));
                of(publishes.expect("it was published in this round")).extend(numbers);
            }
        }
    }
}
