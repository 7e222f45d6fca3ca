//! Fixed work whose instructions are counted by callgrind: the guard against a hot path that has become longer.
//!
//! In: the name of a piece of work. Out: the work done, once, with the same input every time and on this thread alone.
//! Started by `tests/load/guard.py`, which counts and compares.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use leveret_amqp::method::BasicPublish;
use leveret_amqp::{
    FieldValue, FrameKind, ShortString, next_frame, parse_header, parse_publish, put_content, put_deliver,
    put_method_frame,
};
use leveret_broker::channel::deliver::Deliveries;
use leveret_broker::channel::subscription::{Subscription, ToClient};
use leveret_broker::clock::Clock;
use leveret_broker::limits::{Holding, Memory};
use leveret_broker::message::Message;
use leveret_broker::outbox::frames::Frames;
use leveret_broker::outbox::{Outbox, Work};
use leveret_broker::queue::arguments::Arguments;
use leveret_broker::queue::arrival;
use leveret_broker::queue::consumers::{ChannelId, Consumer, Terms};
use leveret_broker::queue::entry::{Entry, NOWHERE};
use leveret_broker::queue::upkeep::Upkeep;
use leveret_broker::queue::{Definition, Outcome, Queue};
use leveret_store::fs::RealFs;
use leveret_store::{Batch, Destination, Options, Store, Urgency};
use tempfile::TempDir;

#[path = "topics/mod.rs"]
/// Bindings and keys of topic exchanges.
mod topics;

#[path = "zmtp/mod.rs"]
/// Messages of ZeroMQ read and written, plain and in boxes.
mod zmtp;

const FRAME_MAX: u32 = 131_072;
const BODY: [u8; 100] = [b'x'; 100];
const PROPERTIES: [u8; 3] = [0x10, 0, 2];

fn main() -> ExitCode {
    let works: [(&str, fn()); 12] = [
        ("decode", decode),
        ("encode", encode),
        ("topic", topic),
        ("record", record),
        ("append", append),
        ("deliver", deliver),
        ("limited", limited),
        ("alone", alone),
        ("zmtp-read", zmtp::read),
        ("zmtp-write", zmtp::write),
        ("zmtp-boxes", zmtp::boxes),
        ("nothing", || ()),
    ];
    // `cargo bench` adds a flag of its own.
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    match works.iter().find(|(name, _)| Some(*name) == wanted.as_deref()) {
        Some((_, work)) => {
            work();
            ExitCode::SUCCESS
        }
        None => {
            println!("{}", works.map(|(name, _)| name).join(" "));
            ExitCode::SUCCESS
        }
    }
}

/// 100,000 publishes read, 64 a buffer.
fn decode() {
    let mut octets = Vec::new();
    for _ in 0..64 {
        let publish = BasicPublish {
            exchange: ShortString::from_static("orders"),
            routing_key: ShortString::from_static("orders.placed.eu"),
            ..BasicPublish::default()
        };
        put_method_frame(&mut octets, 1, &publish.into());
        put_content(&mut octets, 1, FRAME_MAX, 60, &PROPERTIES, &BODY);
    }
    for _ in 0..100_000 / 64 {
        let mut rest = octets.as_slice();
        while let Ok(Some(frame)) = next_frame(black_box(rest), FRAME_MAX) {
            match frame.kind {
                FrameKind::Method => _ = black_box(parse_publish(frame.payload)).is_some(),
                FrameKind::Header => _ = black_box(parse_header(frame.payload)).is_ok(),
                _ => _ = black_box(frame.payload),
            }
            rest = rest.get(frame.wire_len()..).unwrap_or_default();
        }
    }
}

/// 100,000 deliveries written.
fn encode() {
    let mut out = Vec::with_capacity(64 << 10);
    for tag in 0..100_000 {
        if tag % 64 == 0 {
            out.clear();
        }
        put_deliver(&mut out, 1, b"consumer", tag, false, b"orders", b"orders.placed.eu");
        put_content(&mut out, 1, FRAME_MAX, 60, &PROPERTIES, black_box(&BODY));
    }
    black_box(out);
}

/// 50,000 keys through 2,000 patterns.
fn topic() {
    let (exchange, keys) = (topics::exchange(2_000), topics::keys(2_000));
    let found: usize = keys
        .iter()
        .cycle()
        .take(50_000)
        .map(|key| topics::matches(&exchange, key))
        .sum();
    assert!(found >= 50_000, "each key has at least its own pattern");
}

/// 100,000 records encoded with their checksums, and settled.
fn record() {
    let mut batch = Batch::new();
    for round in 0..100_000 / 64 {
        batch.clear();
        for id in 0..64 {
            black_box(batch.publish(round * 64 + id, &[Destination::unstamped(1)], &[black_box(&BODY)]));
        }
    }
    black_box(batch);
}

/// A log in a folder of its own.
fn log() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let opened = Store::open(
        Options::new(folder.path()),
        Arc::new(RealFs),
        Box::new(|_| {}),
        Box::new(|error| panic!("{error}")),
    );
    let (store, _) = opened.expect("a log");
    (folder, store)
}

/// 50,000 messages appended, 10 a batch. The writer's thread is not counted.
fn append() {
    let (_folder, store) = log();
    let handle = store.handle();
    let mut batch = Batch::new();
    for _ in 0..5_000 {
        let first = handle.next_ids(10);
        let places: Vec<_> = (first..first + 10)
            .map(|id| (id, batch.publish(id, &[Destination::unstamped(1)], &[&BODY])))
            .collect();
        let appended = handle.append(&mut batch, Urgency::Soon).expect("an open log");
        let settled: Vec<_> = places
            .into_iter()
            .map(|(id, place)| (id, appended.location(place)))
            .collect();
        batch.settle(1, &settled);
    }
    handle.append(&mut batch, Urgency::Soon).expect("an open log");
}

/// 100,000 messages through a queue, 64 a batch, to two consumers that acknowledge and one that doesn't.
fn deliver() {
    through_a_queue(Arguments::default(), &[false, false, true]);
}

/// The same to one consumer that acknowledges: nothing ever waits.
fn alone() {
    through_a_queue(Arguments::default(), &[false]);
}

/// The same through a queue with a time to live, limits of length and of deliveries and a dead-letter exchange. None of
/// them acts.
fn limited() {
    let text = |text: &str| FieldValue::LongString(Bytes::copy_from_slice(text.as_bytes()));
    let arguments = [
        ("x-message-ttl", FieldValue::Int(3_600_000)),
        ("x-max-length", FieldValue::Int(1_000_000)),
        ("x-max-length-bytes", FieldValue::Long(1 << 30)),
        ("x-dead-letter-exchange", text("dead")),
        ("x-delivery-limit", FieldValue::Int(20)),
    ];
    let table = arguments
        .into_iter()
        .map(|(name, value)| (ShortString::from_static(name), value));
    let arguments = Arguments::parse(table.collect()).expect("arguments");
    through_a_queue(arguments, &[false, false, true]);
}

/// `consumers`: true for each that acknowledges nothing.
fn through_a_queue(arguments: Arguments, consumers: &[bool]) {
    let (_folder, store) = log();
    let definition = Definition {
        name: ShortString::from_static("orders"),
        durable: false,
        auto_delete: false,
        owner: None,
        arguments,
    };
    let memory = Arc::new(Memory::new(u64::MAX));
    let upkeep = Upkeep {
        clock: Some(Arc::new(Clock::start().expect("a thread"))),
        ..Upkeep::default()
    };
    let outbox = Arc::new(Outbox::new(memory.clone()));
    let queues = [Arc::new(Queue::new(
        definition,
        7,
        store.handle(),
        memory.clone(),
        upkeep,
    ))];
    let [queue] = &queues;
    let mut work = Work::default();
    let mut channels = Vec::new();
    for (number, no_ack) in (1..).zip(consumers.iter().copied()) {
        let deliveries = Arc::new(Deliveries::new(outbox.clone(), number, FRAME_MAX));
        let source = deliveries.add_source(false);
        let terms = Terms {
            no_ack,
            prefetch: 100,
            ..Terms::default()
        };
        let (tag, channel) = (
            ShortString::from_static("consumer"),
            ChannelId { connection: 1, number },
        );
        let held = memory.hold(Holding::Tables, 0);
        let to_client = ToClient {
            tag: tag.clone(),
            no_ack,
            cancel_notify: true,
        };
        let subscription = Subscription::new(deliveries.clone(), source, to_client, None, held);
        let consumer = Consumer::new(number.into(), tag, channel, terms, Arc::new(subscription));
        assert!(queue.consume(consumer, &mut work).is_ok());
        channels.push(deliveries);
    }
    let message = Message::new(b"", b"orders", &PROPERTIES, &BODY);
    let mut entries = Vec::new();
    for round in 0..100_000 / 64 {
        entries.extend((1..=64).map(|at| Entry::new(round * 64 + at, NOWHERE, message.clone())));
        let now = queue.stamps().then(|| work.millis());
        arrival::enqueue(&queues, &mut entries, now, &mut work);
        let mut frames = Frames::default();
        let taken = outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut frames);
        assert!(taken.is_ready() && !black_box(frames).is_empty());
        for (consumer, deliveries) in (1..).zip(&channels) {
            let mut settled = Vec::new();
            assert_eq!(deliveries.settle(0, true, &mut settled), Ok(false));
            for run in settled {
                queue.settle(consumer, &run.ids, Outcome::Acked, &mut work);
            }
        }
    }
    assert_eq!(queue.counts().0, 0, "all of them were delivered");
}
