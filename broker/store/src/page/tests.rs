use super::*;
use proptest::prelude::*;

fn message(id: MessageId, place: (u32, u32, u32), payload_len: u32, flags: u32, stamp: u64) -> StoredMessage {
    let (segment, offset, len) = place;
    StoredMessage {
        id,
        location: Location { segment, offset, len },
        payload_len,
        delivery_count: flags >> 1,
        redelivered: flags & 1 != 0,
        stamp,
    }
}

#[test]
fn one_publishers_messages_of_one_size_take_a_few_bytes() {
    let messages: Vec<_> = (0..4096)
        .map(|at| message(1000 + u64::from(at), (7, 64 + at * 128, 126), 104, 0, 0))
        .collect();
    let page = Page::pack(&messages).expect("a page");
    assert!(page.in_memory().expect("in memory").len() < 24);
    assert_eq!(page.stamps(), None);
    assert_eq!(page.unpack().expect("a page"), messages);
    assert_eq!(page.payload_bytes(), 4096 * 104);
    let share = Share {
        segment: 7,
        count: 4096,
        bytes: 4096 * 126,
    };
    assert_eq!(page.summary().shares, [share]);
}

/// Deadlines ascend by a millisecond now and then; priorities are few.
#[test]
fn stamps_take_little_and_their_range_is_known() {
    let stamped = |stamp: &dyn Fn(u32) -> u64| {
        let messages = (0..4096).map(|at| message(1000 + u64::from(at), (7, 64 + at * 128, 126), 104, 0, stamp(at)));
        let messages: Vec<_> = messages.collect();
        let page = Page::pack(&messages).expect("a page");
        assert_eq!(page.unpack().expect("a page"), messages);
        (page.in_memory().expect("in memory").len(), page.stamps())
    };
    let (len, stamps) = stamped(&|_| 9);
    assert!(len < 32 && stamps == Some(9..=9), "{len}");
    let from = 1_795_000_000_000;
    let (len, stamps) = stamped(&|at| from + u64::from(at / 8));
    assert!(len < 4096 && stamps == Some(from..=from + 511), "{len}");
    let (_, stamps) = stamped(&|at| u64::from(at % 3) * 100);
    assert_eq!(stamps, Some(100..=200), "none is not the lowest");
}

#[test]
fn nothing_and_too_much_are_no_pages() {
    assert!(Page::pack(&[]).is_none());
    let messages: Vec<_> = (0..=u64::from(MOST))
        .map(|id| message(id, (1, 64, 20), 8, 0, 0))
        .collect();
    assert!(Page::pack(&messages).is_none());
}

proptest! {
    #[test]
    fn pages_read_back(
        steps in proptest::collection::vec(
            (
                1..1000u64,
                any::<(u32, u32, u32)>(),
                any::<u32>(),
                prop_oneof![Just(0u32), any::<u32>()],
                prop_oneof![Just(0u64), any::<u64>()],
                any::<bool>(),
            ),
            1..300,
        ),
    ) {
        let mut messages: Vec<StoredMessage> = Vec::new();
        let mut id = 0;
        for (gap, place, payload, flags, stamp, plain) in steps {
            id += gap;
            let next = match messages.last() {
                Some(before) if plain => {
                    let row = Row::of(before).next();
                    id = row.id;
                    row.message().expect("a message")
                }
                _ => message(id, place, payload, flags, stamp),
            };
            messages.push(next);
        }
        let page = Page::pack(&messages).expect("a page");
        let stamps = messages.iter().map(|message| message.stamp).filter(|&stamp| stamp != 0);
        prop_assert_eq!(page.stamps(), stamps.clone().min().map(|lowest| lowest..=stamps.max().unwrap_or(0)));
        prop_assert_eq!(page.unpack().expect("a page"), messages);
    }

    #[test]
    fn any_bytes_are_a_page_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0..2000u32) {
        if let Some(messages) = decode(&bytes, count) {
            prop_assert_eq!(messages.len(), count as usize);
        }
    }
}
