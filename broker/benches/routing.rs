//! Within the broker, per message: the way through a topic exchange, and from a queue to its consumer.

use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Waker};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use leveret_amqp::ShortString;
use leveret_broker::channel::deliver::Deliveries;
use leveret_broker::channel::subscription::{Subscription, ToClient};
use leveret_broker::limits::{Holding, Memory};
use leveret_broker::message::Message;
use leveret_broker::outbox::frames::Frames;
use leveret_broker::outbox::{Outbox, Work};
use leveret_broker::queue::arguments::Arguments;
use leveret_broker::queue::consumers::{ChannelId, Consumer, Terms};
use leveret_broker::queue::entry::{Entry, NOWHERE};
use leveret_broker::queue::upkeep::Upkeep;
use leveret_broker::queue::{Definition, Queue};
use leveret_store::fs::RealFs;
use leveret_store::{Options, Store};

#[path = "topics/mod.rs"]
/// Bindings and keys of topic exchanges.
mod topics;

fn topic(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("topic match");
    for patterns in [100, 10_000] {
        let (exchange, keys) = (topics::exchange(patterns), topics::keys(patterns));
        let mut turn = keys.iter().cycle();
        group.bench_function(format!("{patterns} patterns"), |bencher| {
            bencher.iter(|| topics::matches(&exchange, turn.next().map_or("", |key| key)));
        });
    }
    group.finish();
}

/// Messages of one batch.
const MESSAGES: u64 = 64;

fn dispatch(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let opened = Store::open(
        Options::new(folder.path()),
        Arc::new(RealFs),
        Box::new(|_| {}),
        Box::new(|_| {}),
    );
    let (store, _) = opened.expect("a log");
    let definition = Definition {
        name: ShortString::from_static("orders"),
        durable: false,
        auto_delete: false,
        owner: None,
        arguments: Arguments::default(),
    };
    let memory = Arc::new(Memory::new(u64::MAX));
    let outbox = Arc::new(Outbox::new(memory.clone()));
    let queue = Arc::new(Queue::new(
        definition,
        7,
        store.handle(),
        memory.clone(),
        Upkeep::default(),
    ));
    let deliveries = Arc::new(Deliveries::new(outbox.clone(), 1, 131_072));
    let source = deliveries.add_source(false);
    let (tag, channel) = (
        ShortString::from_static("consumer"),
        ChannelId {
            connection: 1,
            number: 1,
        },
    );
    let terms = Terms {
        no_ack: true,
        ..Terms::default()
    };
    let held = memory.hold(Holding::Tables, 0);
    let to_client = ToClient {
        tag: tag.clone(),
        no_ack: true,
        cancel_notify: true,
    };
    let subscription = Subscription::new(deliveries, source, to_client, None, held);
    let consumer = Consumer::new(1, tag, channel, terms, Arc::new(subscription));
    let mut work = Work::default();
    assert!(queue.consume(consumer, &mut work).is_ok());
    let message = Message::new(b"", b"orders", &[0, 0], &[b'x'; 100]);
    let mut next = 0;
    let mut group = criterion.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(MESSAGES));
    group.bench_function("enqueue and deliver, auto-ack, 100 B", |bencher| {
        bencher.iter_batched(
            || {
                // What a connection would have written meanwhile.
                let _taken = outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut Frames::default());
                next += MESSAGES;
                (next..next + MESSAGES)
                    .map(|id| Entry::new(id, NOWHERE, message.clone()))
                    .collect::<Vec<_>>()
            },
            |mut entries| queue.enqueue(black_box(&mut entries), &mut work),
            BatchSize::PerIteration,
        );
    });
    group.finish();
    assert_eq!(queue.counts().0, 0, "all of them were delivered");
}

criterion_group!(benches, topic, dispatch);
criterion_main!(benches);
