use super::*;
use proptest::prelude::*;

fn message(id: MessageId, segment: u32, offset: u32, len: u32, payload_len: u32, flags: u32) -> StoredMessage {
    StoredMessage {
        id,
        location: Location { segment, offset, len },
        payload_len,
        delivery_count: flags >> 1,
        redelivered: flags & 1 != 0,
    }
}

#[test]
fn one_publishers_messages_of_one_size_take_a_few_bytes() {
    let messages: Vec<_> = (0..4096)
        .map(|at| message(1000 + u64::from(at), 7, 64 + at * 128, 126, 104, 0))
        .collect();
    let page = Page::pack(&messages).expect("a page");
    assert!(page.in_memory().expect("in memory").len() < 24);
    assert_eq!(page.unpack().expect("a page"), messages);
    assert_eq!(page.payload_bytes(), 4096 * 104);
    let share = Share {
        segment: 7,
        count: 4096,
        bytes: 4096 * 126,
    };
    assert_eq!(page.summary().shares, [share]);
}

#[test]
fn nothing_and_too_much_are_no_pages() {
    assert!(Page::pack(&[]).is_none());
    let messages: Vec<_> = (0..=u64::from(MOST)).map(|id| message(id, 1, 64, 20, 8, 0)).collect();
    assert!(Page::pack(&messages).is_none());
}

proptest! {
    #[test]
    fn pages_read_back(
        steps in proptest::collection::vec(
            (1..1000u64, any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), prop_oneof![Just(0u32), any::<u32>()], any::<bool>()),
            1..300,
        ),
    ) {
        let mut messages: Vec<StoredMessage> = Vec::new();
        let mut id = 0;
        for (gap, segment, offset, len, payload, flags, plain) in steps {
            id += gap;
            let next = match messages.last() {
                Some(before) if plain => {
                    let row = Row::of(before).next();
                    id = row.id;
                    row.message().expect("a message")
                }
                _ => message(id, segment, offset, len, payload, flags),
            };
            messages.push(next);
        }
        let page = Page::pack(&messages).expect("a page");
        prop_assert_eq!(page.unpack().expect("a page"), messages);
    }

    #[test]
    fn any_bytes_are_a_page_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0..2000u32) {
        if let Some(messages) = decode(&bytes, count) {
            prop_assert_eq!(messages.len(), count as usize);
        }
    }
}
