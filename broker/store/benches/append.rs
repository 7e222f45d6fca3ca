//! The cost of a message on its way into the log, on the thread that brings it: encoding with checksum, and the append.

use std::hint::black_box;
use std::sync::Arc;
use std::thread::yield_now;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use leveret_store::fs::RealFs;
use leveret_store::{Batch, Destination, Options, Store, Urgency};

/// Messages of one batch, as one read of a busy connection brings them.
const MESSAGES: u64 = 64;

/// Octets that may wait to be written before the bench lets the writer catch up, which is not measured.
const PENDING: u64 = 32 << 20;

fn append(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (store, _) = Store::open(
        Options::new(folder.path()),
        Arc::new(RealFs),
        Box::new(|_| {}),
        Box::new(|error| panic!("{error}")),
    )
    .expect("a log");
    let handle = store.handle();
    for size in [16, 1024] {
        let mut group = criterion.benchmark_group(format!("log, {size} B"));
        group.throughput(Throughput::Elements(MESSAGES));
        let (body, mut batch) = (vec![7; size], Batch::new());
        group.bench_function("encode", |bencher| {
            bencher.iter(|| {
                batch.clear();
                (0..MESSAGES).for_each(|id| {
                    black_box(batch.publish(id, &[Destination::unstamped(1)], &[black_box(&body)]));
                });
                batch.len_bytes()
            });
        });
        group.bench_function("encode, append, settle", |bencher| {
            bencher.iter_batched(
                || {
                    while handle.pending_bytes() > PENDING {
                        yield_now();
                    }
                },
                |()| {
                    let first = handle.next_ids(MESSAGES);
                    let mut batch = Batch::new();
                    let places: Vec<_> = (first..first + MESSAGES)
                        .map(|id| (id, batch.publish(id, &[Destination::unstamped(1)], &[&body])))
                        .collect();
                    let appended = handle.append(&mut batch, Urgency::Now).expect("an open log");
                    let settled: Vec<_> = places
                        .into_iter()
                        .map(|(id, place)| (id, appended.location(place)))
                        .collect();
                    batch.settle(1, &settled);
                    handle.append(&mut batch, Urgency::Soon).expect("an open log").lsn
                },
                criterion::BatchSize::NumIterations(100),
            );
        });
        group.finish();
    }
    store.close().expect("it closes");
}

criterion_group!(benches, append);
criterion_main!(benches);
