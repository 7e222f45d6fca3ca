use super::*;
use crate::stored::Destination;

fn log() -> Log {
    Log::new(42, 64 << 10, 0, Ledger::default())
}

fn batch(size: usize) -> Batch {
    let mut batch = Batch::new();
    batch.publish(1, &[Destination::unstamped(1)], &[&vec![7; size]]);
    batch
}

#[test]
fn positions_grow_over_segments() {
    let mut log = log();
    let mut last = Lsn::default();
    for size in [10, 5000, 60_000, 10, 200_000, 10, 30_000, 30_000, 30_000] {
        let appended = log.append(batch(size).seal(), 2);
        assert!(appended.lsn > last, "{size}");
        last = appended.lsn;
    }
    assert!(log.segment() >= 4);
}

#[test]
fn numbers_beside_the_log_ascend_below_the_segment_being_filled() {
    let mut log = log();
    let mut last = 0;
    for round in 0..50 {
        if round % 20 == 7 {
            log.append(batch(60_000).seal(), 2);
        }
        let beside = log.number_beside();
        assert!(
            last < beside && beside < log.segment(),
            "{last} {beside} {}",
            log.segment()
        );
        assert!(log.ledger.accounts.range(beside..log.segment()).next().is_none());
        last = beside;
    }
}

#[test]
fn small_batches_share_a_buffer_and_large_ones_keep_theirs() {
    let mut log = log();
    for _ in 0..10 {
        log.append(batch(100).seal(), 2);
    }
    log.append(batch(20_000).seal(), 2);
    log.append(batch(100).seal(), 2);
    let group = log.take(Lsn::default(), 2, true);
    assert_eq!(group.chunks.len(), 3);
    let mut end = HEADER;
    for chunk in group.chunks.iter() {
        assert_eq!(chunk.offset, end);
        end = chunk.end();
    }
    let tail = group.chunks.last().unwrap();
    assert_eq!((tail.offset + tail.bytes.len() as u64) % PAGE, 0, "padded to a page");
    assert!(tail.bytes[tail.len..].iter().all(|&byte| byte == 0));
    assert_eq!(group.end, log.end());
}

#[test]
fn bytes_are_found_until_they_are_written() {
    let mut log = log();
    let mut first = batch(100);
    let len = first.len_bytes() as u32;
    let place = Location {
        len,
        ..log.append(first.seal(), 2).base
    };
    assert_eq!(log.find(place).unwrap().len(), len as usize);
    let group = log.take(Lsn::default(), 2, true);
    let second = log.append(batch(100).seal(), 2).base;
    assert!(log.find(place).is_some() && log.find(Location { len, ..second }).is_some());
    log.written(group);
    assert!(log.find(place).is_none() && log.find(Location { len, ..second }).is_some());
    assert!(
        log.find(Location {
            segment: 9,
            offset: 0,
            len: 5
        })
        .is_none()
    );
    assert!(
        log.find(Location {
            len: u32::MAX,
            ..second
        })
        .is_none()
    );
}

#[test]
fn written_buffers_are_used_again() {
    let mut log = log();
    let mut large = batch(20_000);
    log.append(large.seal(), 2);
    assert_eq!(large.bytes.capacity(), 0);
    let group = log.take(Lsn::default(), 2, true);
    log.written(group);
    large.publish(2, &[Destination::unstamped(1)], &[&[7; 20_000]]);
    log.append(large.seal(), 3);
    assert!(large.bytes.capacity() >= 20_000, "got the buffer of the first batch");
}
