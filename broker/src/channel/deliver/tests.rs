use super::*;
use crate::limits::Memory;
use crate::message::Message;
use crate::queue::entry::NOWHERE;

fn deliveries() -> Deliveries {
    let memory = Arc::new(Memory::new(u64::MAX));
    Deliveries::new(Arc::new(Outbox::new(memory)), 1, 4096)
}

#[test]
fn an_unknown_tag_is_refused_and_a_known_one_only_once() {
    let deliveries = deliveries();
    let mut settled = Vec::new();
    assert_eq!(deliveries.settle(1, false, &mut settled), Err(UnknownDeliveryTag(1)));
    assert_eq!(deliveries.note_get(0, false, 7), 1);
    assert_eq!(deliveries.note_get(0, true, 8), 2);
    assert_eq!(deliveries.note_get(0, false, 9), 3);
    assert_eq!(deliveries.settle(2, false, &mut settled), Err(UnknownDeliveryTag(2)));
    assert_eq!(deliveries.settle(1, false, &mut settled), Ok(false));
    assert_eq!(deliveries.settle(1, false, &mut settled), Err(UnknownDeliveryTag(1)));
    assert_eq!(deliveries.figures().unacked(), 1);
    assert_eq!(deliveries.settle(0, true, &mut settled), Ok(false));
    assert_eq!(deliveries.figures().unacked(), 0);
    assert_eq!(deliveries.settle(3, true, &mut settled), Err(UnknownDeliveryTag(3)));
}

#[test]
fn a_source_is_given_out_again_when_it_has_ended_and_all_of_it_is_settled() {
    let deliveries = deliveries();
    let [a, b, c] = [(); 3].map(|()| deliveries.add_source(false));
    let first = deliveries.note_get(b, false, 1);
    deliveries.note_get(c, false, 2);
    for source in [b, a, a, c] {
        deliveries.retire_source(source);
    }
    assert_eq!((deliveries.add_source(false), deliveries.add_source(false)), (a, 3));
    assert_eq!(deliveries.settle(first, false, &mut Vec::new()), Ok(false));
    assert_eq!(deliveries.add_source(false), b);
    assert_eq!(deliveries.take_back(c, &[2]), [2]);
    assert_eq!(deliveries.add_source(false), c);
}

#[test]
fn what_was_taken_back_can_be_settled_once_and_means_nothing() {
    let deliveries = deliveries();
    let (source, other) = (deliveries.add_source(false), deliveries.add_source(false));
    for (source, id) in [(source, 1), (other, 2), (source, 3), (source, 4)] {
        deliveries.note_get(source, false, id);
    }
    let mut settled = Vec::new();
    assert_eq!(deliveries.settle(1, false, &mut settled), Ok(false));
    assert_eq!(deliveries.take_back(source, &[1, 2, 3]), [3]);
    settled.clear();
    assert_eq!(deliveries.settle(3, false, &mut settled), Ok(false));
    assert_eq!(deliveries.settle(3, false, &mut settled), Err(UnknownDeliveryTag(3)));
    assert!(
        settled.iter().all(|settled| settled.source > other),
        "a source of nothing"
    );
    settled.clear();
    assert_eq!(deliveries.settle(0, true, &mut settled), Ok(false));
    let rest: Vec<u64> = settled.iter().flat_map(|settled| settled.ids.clone()).collect();
    assert_eq!((rest, deliveries.figures().unacked()), (vec![2, 4], 0));
}

#[test]
fn very_many_are_settled_in_portions_from_either_end() {
    let deliveries = deliveries();
    let source = deliveries.add_source(true);
    let count = 2 * PORTION as u64 + 10;
    (1..=count).for_each(|id| assert_eq!(deliveries.note_get(source, false, id), id));
    let mut settled = Vec::new();
    let ids = |settled: &mut Vec<Settled>| -> Vec<u64> { settled.drain(..).flat_map(|settled| settled.ids).collect() };
    assert_eq!(deliveries.settle(count - 10, true, &mut settled), Ok(true));
    assert!(ids(&mut settled).into_iter().eq(1..=PORTION as u64));
    let rest = deliveries.take_last(deliveries.all(), &mut settled);
    let last = ids(&mut settled);
    assert_eq!((last.len(), last.last()), (PORTION, Some(&count)));
    assert_eq!(deliveries.firsts(), HashMap::from([(source, PORTION as u64 + 1)]));
    assert!(deliveries.take_last(rest, &mut settled).is_empty());
    assert!(
        ids(&mut settled)
            .into_iter()
            .eq(PORTION as u64 + 1..=PORTION as u64 + 10)
    );
    assert_eq!((deliveries.figures().unacked(), deliveries.all()), (0, 0..0));
    assert!(deliveries.retire_source(source));
    assert_eq!(deliveries.add_source(false), source, "numbers are given again");
}

#[test]
fn what_is_held_is_settled_or_released_as_one() {
    let deliveries = deliveries();
    let source = deliveries.add_source(false);
    let entry = |id| Entry::new(id, NOWHERE, Message::new(b"", b"q", b"\0\0", b""));
    let to = Destination {
        source,
        tag: b"c",
        no_ack: false,
    };
    let mut wakes = Wakes::default();
    deliveries.deliver(&mut wakes, to, &[1, 2, 3, 4, 5].map(entry), Again::default());
    let (mut held, mut settled) = (Vec::new(), Vec::new());
    assert_eq!(deliveries.hold(2, false, &mut held), Ok(()));
    assert_eq!(deliveries.hold(2, false, &mut held), Err(UnknownDeliveryTag(2)));
    assert_eq!(deliveries.hold(2, true, &mut held), Err(UnknownDeliveryTag(2)));
    assert_eq!(deliveries.hold(3, true, &mut held), Ok(()));
    assert_eq!((&held[..], deliveries.figures().unacked()), (&[2, 1, 3][..], 2));
    deliveries.release();
    assert_eq!(deliveries.figures().unacked(), 5);
    held.clear();
    assert_eq!(deliveries.hold(2, true, &mut held), Ok(()));
    deliveries.set_channel_prefetch(5);
    assert_eq!(
        deliveries.channel_credit(),
        Some(0),
        "held messages count until the commit"
    );
    assert_eq!(deliveries.settle(0, true, &mut settled), Ok(false));
    assert_eq!(settled.pop().map(|settled| settled.ids), Some(vec![3, 4, 5]));
    deliveries.settle_held(&held, &mut settled);
    assert_eq!(settled.pop().map(|settled| settled.ids), Some(vec![1, 2]));
    assert_eq!(deliveries.channel_credit(), Some(5));
    deliveries.note_get(deliveries.add_source(true), false, 6);
    assert_eq!(
        deliveries.channel_credit(),
        Some(5),
        "what is fetched one by one is not limited"
    );
    assert_eq!(deliveries.settle(6, false, &mut settled), Ok(false));
    assert_eq!(deliveries.channel_credit(), Some(5));
    assert_eq!(deliveries.hold(1, false, &mut held), Err(UnknownDeliveryTag(1)));
}
