use super::*;
use proptest::prelude::*;

fn message(id: MessageId, segment: u32) -> StoredMessage {
    let location = Location {
        segment,
        offset: 64,
        len: 100,
    };
    StoredMessage {
        id,
        location,
        payload_len: 10,
        delivery_count: 0,
        redelivered: false,
        stamp: 0,
    }
}

#[test]
fn of_two_records_with_one_id_the_later_wins() {
    let mut index = Index::default();
    assert_eq!(index.insert(1, message(5, 1)), None);
    assert_eq!(index.insert(1, message(5, 7)).unwrap().segment, 1);
    let queues = index.finish(|_| 0, |_| true);
    assert_eq!(queues[&1].count(), 1);
    assert_eq!(queues[&1].loose[0].location.segment, 7);
}

#[test]
fn marks_and_counts_make_messages_redelivered() {
    let mut index = Index::default();
    for id in 1..=3 {
        index.insert(1, message(id, 1));
    }
    index.returned(1, 3, 3);
    index.counted(1, 3, live(1, 0));
    let queues = index.finish(|_| 1, |_| true);
    let seen: Vec<_> = queues[&1]
        .loose
        .iter()
        .map(|m| (m.id, m.delivery_count, m.redelivered))
        .collect();
    assert_eq!(seen, [(1, 0, true), (2, 0, false), (3, 1, true)]);
}

fn live(delivery_count: u32, stamp: u64) -> Live {
    Live { delivery_count, stamp }
}

#[test]
fn of_two_reports_the_one_with_the_higher_count_holds() {
    let mut index = Index::default();
    let first = StoredMessage {
        stamp: 500,
        ..message(1, 1)
    };
    index.insert(1, first);
    index.counted(1, 1, live(2, 900));
    index.counted(1, 1, live(1, 700));
    let copy = StoredMessage {
        location: message(1, 7).location,
        ..first
    };
    index.insert(1, copy);
    let found = index.finish(|_| 0, |_| true)[&1].loose[0];
    assert_eq!((found.live(), found.location.segment), (live(2, 900), 7));
    let mut index = Index::default();
    index.insert(1, first);
    index.counted(1, 1, live(1, 0));
    assert_eq!(
        index.finish(|_| 0, |_| true)[&1].loose[0].live(),
        live(1, 0),
        "a stamp may go"
    );
}

/// The segment of a message, so that some have gone and some have not.
fn place(id: MessageId) -> u32 {
    1 + (id % 5 == 3) as u32
}

proptest! {
    /// Against a plain map, with ids in and out of order.
    #[test]
    fn it_is_a_map(operations in proptest::collection::vec((0..4u8, 0..300u64, 0..40u64), 0..400), many: bool, known: bool, gone: bool) {
        let mut index = Index::default();
        let mut model: BTreeMap<MessageId, u32> = BTreeMap::new();
        let mut top = 1000;
        if known {
            // What a checkpoint knew: stretches, and single messages before, between and behind them.
            let stretch = |ids: std::ops::Range<u64>| -> Vec<StoredMessage> { ids.step_by(2).map(|id| message(id, place(id))).collect() };
            // As a queue with priorities has them: between each other.
            let level = |ids: std::ops::Range<u64>| -> Vec<StoredMessage> { ids.step_by(4).map(|id| message(id, place(id))).collect() };
            let pages = [stretch(20..60), level(60..140), stretch(200..260), level(62..110), level(114..140)];
            let pages = pages.map(|messages| Page::pack(&messages).expect("a page")).to_vec();
            let loose = [stretch(0..20), stretch(150..180), stretch(280..300)].concat();
            let backlog = Backlog { pages, loose, delivered: 0 };
            model.extend(backlog.unpack().expect("pages").iter().map(|message| (message.id, 0)));
            index.preload(1, backlog);
        }
        if many {
            for id in 1000..5000 {
                index.insert(1, message(id, place(id)));
                model.insert(id, 0);
            }
            index.settle(1, 1000, 4000, |_, _| {});
            model.retain(|&id, _| !(1000..=4000).contains(&id));
            top = 5000;
        }
        for (kind, id, len) in operations {
            match kind {
                0 => {
                    top += 1 + id % 3;
                    index.insert(1, message(top, place(top)));
                    model.insert(top, 0);
                }
                1 => {
                    prop_assert_eq!(index.insert(1, message(id, place(id))).is_some(), model.contains_key(&id));
                    model.entry(id).or_insert(0);
                }
                2 => {
                    let first = if id % 2 == 0 { id } else { 1000 + id };
                    let mut gone = 0;
                    index.settle(1, first, first + len, |_, _| gone += 1);
                    let before = model.len();
                    model.retain(|&id, _| id < first || id > first + len);
                    prop_assert_eq!(gone, before - model.len());
                }
                _ => {
                    let first = if id % 2 == 0 { id } else { 1000 + id };
                    index.returned(1, first, first + len);
                    model.range_mut(first..=first + len).for_each(|(_, count)| *count += 1);
                }
            }
            prop_assert_eq!(index.contains(1, id), model.contains_key(&id));
        }
        // What lies in a segment that has gone since is not there any more, and the rest is in order all the same.
        let exists = |segment: u32| !gone || segment != 1;
        let found = index.finish(|_| 0, exists).remove(&1).unwrap_or_default();
        prop_assert!(found.loose.is_sorted_by_key(|message| message.id));
        let model: Vec<(MessageId, u32)> = model.into_iter().filter(|(id, _)| exists(place(*id))).collect();
        prop_assert!(!index.broken);
        let found: Vec<_> = found.unpack().expect("whole pages").into_iter().map(|m| (m.id, m.delivery_count)).collect();
        prop_assert_eq!(found, model);
    }
}
