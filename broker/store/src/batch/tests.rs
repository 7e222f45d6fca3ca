use super::*;
use crate::record::{Head, Record, decode};
use proptest::prelude::*;

fn place(segment: u32, len: u32) -> Location {
    Location {
        segment,
        offset: 64,
        len,
    }
}

/// The records of a batch as the log would show them, with their flags.
fn records(batch: &mut Batch) -> Vec<(Head, Vec<u8>)> {
    batch.seal();
    let mut found = Vec::new();
    let mut at = 0;
    while at < batch.bytes.len() {
        let head = Head::parse(&batch.bytes[at..], 0).expect("a head");
        let body = batch.bytes[at + HEAD..][..head.body as usize].to_vec();
        assert!(head.matches(&body));
        assert_eq!(batch.starts[found.len()] as usize, at);
        found.push((head, body));
        at += record::aligned(head.record_len()) as usize;
    }
    assert_eq!(at, batch.bytes.len());
    found
}

fn messages() -> impl Strategy<Value = Vec<(MessageId, Location)>> {
    let gap = prop_oneof![4 => Just(1u64), 1 => 0..1000u64, 1 => any::<u64>()];
    proptest::collection::vec((gap, 1..4u32), 1..50).prop_map(|steps| {
        let mut id = 0u64;
        let step = |(gap, segment): (u64, u32)| {
            id = id.wrapping_add(gap);
            (id, place(segment, 100))
        };
        steps.into_iter().map(step).collect()
    })
}

/// Mostly none, so that records without any come too.
fn stamps() -> impl Strategy<Value = u64> {
    prop_oneof![5 => Just(0u64), 1 => any::<u64>()]
}

fn lives() -> impl Strategy<Value = Live> {
    (any::<u32>(), stamps()).prop_map(|(delivery_count, stamp)| Live { delivery_count, stamp })
}

proptest! {
    #[test]
    fn a_message_survives(
        id: u64,
        queues in proptest::collection::vec((any::<u64>(), stamps()), 0..20),
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..4),
    ) {
        let mut batch = Batch::new();
        let queues: Vec<_> = queues.into_iter().map(|(queue, stamp)| Destination { queue, stamp }).collect();
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let relative = batch.publish(id, &queues, &slices);
        let found = records(&mut batch);
        prop_assert_eq!(found.len(), 1);
        prop_assert!(found[0].0.first && found[0].0.last);
        prop_assert_eq!(u64::from(relative.len), found[0].0.record_len());
        let Some(Record::Publish { id: read, queues: read_queues, payload }) = decode(&found[0].1) else {
            return Err(TestCaseError::fail("not a message"));
        };
        prop_assert_eq!(read, id);
        prop_assert_eq!(read_queues.collect::<Vec<_>>(), queues);
        prop_assert_eq!(payload, parts.concat());
    }

    #[test]
    fn a_copy_survives(
        from: u32,
        id: u64,
        queues in proptest::collection::vec((any::<u64>(), lives()), 1..20),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut batch = Batch::new();
        let queues: Vec<_> = queues.into_iter().map(|(queue, live)| Holder { queue, live }).collect();
        batch.copy(from, id, &queues, &payload);
        let found = records(&mut batch);
        let Some(Record::Copy { from: f, id: i, queues: q, payload: p }) = decode(&found[0].1) else {
            return Err(TestCaseError::fail("not a copy"));
        };
        prop_assert_eq!((f, i, q.collect::<Vec<_>>(), p.to_vec()), (from, id, queues, payload));
    }

    #[test]
    fn settlements_survive(queue: u64, messages in messages()) {
        let mut batch = Batch::new();
        batch.settle(queue, &messages);
        let found = records(&mut batch);
        let (q, runs) = match decode(&found[0].1) {
            Some(Record::Settle { queue, runs }) => (queue, runs),
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert_eq!(q, queue);
        let read: Vec<_> = runs.flat_map(|run| (0..run.count).map(move |n| (run.segment, run.first + n))).collect();
        let expected: Vec<_> = messages.iter().map(|(id, location)| (location.segment, *id)).collect();
        prop_assert_eq!(read, expected);
        let refs: u64 = batch.tally.settled.iter().map(|settled| settled.refs).sum();
        prop_assert_eq!(refs, messages.len() as u64);
    }

    #[test]
    fn the_small_records_survive(
        queue: u64,
        up_to: u64,
        key in proptest::collection::vec(any::<u8>(), 0..50),
        value in proptest::collection::vec(any::<u8>(), 0..50),
        counts in proptest::collection::vec((any::<u32>(), any::<u64>(), lives()), 1..9),
    ) {
        let counts: Vec<_> = counts.into_iter().map(|(segment, id, live)| Count { segment, id, live }).collect();
        let mut batch = Batch::new();
        batch.delivered(queue, up_to);
        batch.queue_deleted(queue);
        batch.put(&key, &value);
        batch.delete(&key);
        batch.counted(queue, &counts);
        batch.note();
        let found = records(&mut batch);
        let flags: Vec<_> = found.iter().map(|(head, _)| (head.first, head.last)).collect();
        let middle = (false, false);
        prop_assert_eq!(flags, vec![(true, false), middle, middle, middle, middle, (false, true)]);
        let read: Vec<_> = found.iter().map(|(_, body)| decode(body).unwrap()).collect();
        prop_assert_eq!(&read[0], &Record::Delivered { queue, up_to });
        prop_assert_eq!(&read[1], &Record::QueueDeleted { queue });
        prop_assert_eq!(&read[2], &Record::Put { key: &key, value: &value });
        prop_assert_eq!(&read[3], &Record::Delete { key: &key });
        let Record::Counted { queue: q, counts: c } = read[4].clone() else {
            return Err(TestCaseError::fail("no counts"));
        };
        prop_assert_eq!((q, c.collect::<Vec<_>>()), (queue, counts));
        prop_assert_eq!(&read[5], &Record::Mark { synced: 0 });
    }

    #[test]
    fn any_bytes_decode_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        match decode(&bytes) {
            Some(Record::Settle { runs, .. } | Record::Returned { runs, .. }) => { runs.for_each(|run| { run.last(); }); }
            Some(Record::Publish { queues, .. }) => { queues.for_each(drop); }
            Some(Record::Copy { queues, .. }) => { queues.for_each(drop); }
            Some(Record::Counted { counts, .. }) => { counts.for_each(drop); }
            _ => {}
        }
        Head::parse(&bytes, 7);
    }
}

#[test]
fn a_single_flipped_bit_never_passes_for_a_head() {
    let mut batch = Batch::new();
    batch.put(b"key", b"value");
    batch.seal();
    record::apply_mask(&mut batch.bytes, 99);
    assert!(Head::parse(&batch.bytes, 99).is_some());
    assert!(Head::parse(&batch.bytes, 98).is_none(), "a head of another segment");
    for bit in 0..HEAD * 8 {
        batch.bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Head::parse(&batch.bytes, 99).is_none(), "bit {bit}");
        batch.bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_window_of_acknowledgements_takes_few_bytes() {
    let mut batch = Batch::new();
    let window: Vec<_> = (1000..1100).map(|id| (id, place(3, 1100))).collect();
    batch.settle(1, &window);
    assert!(batch.len_bytes() <= 24, "{}", batch.len_bytes());
    let every_other: Vec<_> = window.iter().copied().step_by(2).collect();
    batch.clear();
    batch.settle(1, &every_other);
    assert!(batch.len_bytes() <= 24 + 2 * every_other.len(), "{}", batch.len_bytes());
}

#[test]
fn a_message_of_100_bytes_takes_at_most_28_more() {
    let mut batch = Batch::new();
    batch.publish(5_000_000, &[Destination::unstamped(200)], &[&[7; 100]]);
    assert!(batch.len_bytes() <= 128, "{}", batch.len_bytes());
    let stamped = Destination {
        queue: 200,
        stamp: 1_795_000_000_000,
    };
    batch.clear();
    batch.publish(5_000_000, &[stamped], &[&[7; 100]]);
    assert!(batch.len_bytes() <= 132, "with a deadline: {}", batch.len_bytes());
}

#[test]
fn a_batch_that_is_used_again_keeps_its_memory() {
    let mut batch = Batch::new();
    batch.publish(1, &[Destination::unstamped(1)], &[&[7; 5000]]);
    let capacity = batch.bytes.capacity();
    batch.clear();
    assert!(batch.is_empty() && batch.len_bytes() == 0);
    assert_eq!(batch.bytes.capacity(), capacity);
}

#[test]
fn nothing_to_settle_is_no_record() {
    let mut batch = Batch::new();
    batch.settle(1, &[]);
    batch.returned(1, &[]);
    batch.counted(1, &[]);
    assert!(batch.is_empty());
}

/// As they lie in the files of format 3.
#[test]
fn stamped_records_have_these_bytes() {
    let mut batch = Batch::new();
    let to = [(7, 300), (8, 0)].map(|(queue, stamp)| Destination { queue, stamp });
    batch.publish(5, &to, &[b"x"]);
    let holder = Holder {
        queue: 7,
        live: Live {
            delivery_count: 2,
            stamp: 300,
        },
    };
    batch.copy(4, 5, &[holder], b"x");
    let returned = Returned {
        id: 5,
        location: place(4, 20),
        delivery_count: 2,
        stamp: 300,
    };
    batch.returned(7, &[returned]);
    let bodies: Vec<Vec<u8>> = records(&mut batch).into_iter().map(|(_, body)| body).collect();
    let expected: [&[u8]; 3] = [
        &[11, 5, 2, 7, 0xac, 2, 8, 0, b'x'],
        &[12, 4, 5, 1, 7, 2, 0xac, 2, b'x'],
        &[13, 7, 4, 5, 2, 0xac, 2],
    ];
    assert_eq!(bodies, expected);
}
