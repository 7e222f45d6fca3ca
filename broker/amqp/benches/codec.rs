//! The codec's hot path, per message: a publish read, a delivery and a confirm written.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use leveret_amqp::method::BasicPublish;
use leveret_amqp::{
    FrameKind, ShortString, next_frame, parse_header, parse_publish, put_ack, put_content, put_deliver,
    put_method_frame,
};

/// Messages of one buffer.
const MESSAGES: u64 = 64;

/// Publishes as a client sends them.
fn publishes(size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..MESSAGES {
        let publish = BasicPublish {
            exchange: ShortString::from_static("orders"),
            routing_key: ShortString::from_static("orders.placed.eu"),
            ..BasicPublish::default()
        };
        put_method_frame(&mut out, 1, &publish.into());
        put_content(&mut out, 1, 131_072, 60, &[0x10, 0, 2], &vec![b'x'; size]);
    }
    out
}

/// Reads all frames; returns the octets of bodies.
fn decode(mut octets: &[u8]) -> usize {
    let mut bodies = 0;
    while let Ok(Some(frame)) = next_frame(octets, 131_072) {
        match frame.kind {
            FrameKind::Method => {
                black_box(parse_publish(frame.payload).map(|view| view.is_ok()));
            }
            FrameKind::Header => {
                black_box(parse_header(frame.payload).is_ok());
            }
            _ => bodies += frame.payload.len(),
        }
        octets = octets.get(frame.wire_len()..).unwrap_or_default();
    }
    bodies
}

fn codec(criterion: &mut Criterion) {
    for size in [16, 1024] {
        let mut group = criterion.benchmark_group(format!("codec, {size} B"));
        group.throughput(Throughput::Elements(MESSAGES));
        let octets = publishes(size);
        group.bench_function("read publishes", |bencher| bencher.iter(|| decode(black_box(&octets))));
        let (body, mut out) = (vec![b'x'; size], Vec::new());
        group.bench_function("write deliveries", |bencher| {
            bencher.iter(|| {
                out.clear();
                for tag in 0..MESSAGES {
                    put_deliver(&mut out, 1, b"consumer", tag, false, b"orders", b"orders.placed.eu");
                    put_content(&mut out, 1, 131_072, 60, &[0x10, 0, 2], black_box(&body));
                }
                out.len()
            });
        });
        group.bench_function("write confirms", |bencher| {
            bencher.iter(|| {
                out.clear();
                (0..MESSAGES).for_each(|tag| put_ack(&mut out, 1, tag, true));
                out.len()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
