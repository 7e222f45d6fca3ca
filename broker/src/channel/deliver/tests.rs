use super::*;
use crate::growth::is_linear;
use crate::limits::Memory;
use crate::message::Message;
use crate::outbox::Work;
use crate::queue::entry::NOWHERE;

fn deliveries() -> Deliveries {
    let memory = Arc::new(Memory::new(u64::MAX));
    Deliveries::new(Arc::new(Outbox::new(memory)), 1, 4096)
}

fn overdue(number: u64, id: MessageId) -> Overdue {
    Overdue { number, id }
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
    assert_eq!(deliveries.take_back(c, &[overdue(2, 2)]), [2]);
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
    let had = [overdue(1, 1), overdue(2, 2), overdue(3, 3), overdue(9, 9)];
    assert_eq!(deliveries.take_back(source, &had), [3]);
    assert!(
        deliveries.take_back(source, &[overdue(4, 3)]).is_empty(),
        "another one's"
    );
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
    deliveries.release(&held);
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

/// A queue that counts how often which consumer went on.
#[derive(Default)]
struct Resumed(Mutex<Vec<u64>>);

impl Stalled for Resumed {
    fn resume(self: Arc<Self>, _: &mut Work) {}

    fn resume_consumer(self: Arc<Self>, consumer: u64, _: &mut Work) {
        self.0.lock().push(consumer);
    }
}

#[test]
fn consumers_wait_for_the_channels_limit_in_a_line_that_does_not_keep_those_that_have_gone() {
    let deliveries = deliveries();
    let source = deliveries.add_source(false);
    let resumed = Arc::new(Resumed::default());
    let queue: Arc<dyn Stalled> = resumed.clone();
    assert!(!deliveries.line_up(&queue, 1), "there is no limit");
    deliveries.set_channel_prefetch(1);
    assert!(!deliveries.line_up(&queue, 1), "there is room");
    let entry = Entry::new(7, NOWHERE, Message::new(b"", b"q", b"\0\0", b"body"));
    let to = Destination {
        source,
        tag: b"c",
        no_ack: false,
    };
    deliveries.deliver(&mut Wakes::default(), to, &[entry], Again::default());
    let others: Vec<Arc<dyn Stalled>> = (0..3).map(|_| Arc::new(Resumed::default()) as _).collect();
    for id in 1..=3 {
        assert!(deliveries.line_up(&queue, id) && deliveries.next_in_line().is_none());
        assert!(deliveries.line_up(&others[id as usize - 1], 100 + id));
    }
    drop(others);
    for id in 200..1000 {
        assert!(deliveries.line_up(&queue, id));
        // Each new consumer goes at once: of the channel's there are four.
        deliveries.tidy_line([1, 2, 3, id].into_iter());
    }
    deliveries.tidy_line([1, 2, 3].into_iter());
    assert_eq!(deliveries.settle(1, false, &mut Vec::new()), Ok(false));
    let mut line = Vec::new();
    while let Some((queue, id)) = deliveries.next_in_line() {
        queue.resume_consumer(id, &mut Work::default());
        line.push(id);
    }
    assert_eq!(line[..3], [1, 2, 3]);
    assert!(line.len() <= 3 + 2 * 4 + 16 + 1, "{line:?}");
    assert_eq!(*resumed.0.lock(), line);
}

#[test]
fn late_deliveries_are_taken_back_in_the_same_time_each() {
    let make = |n| {
        let deliveries = deliveries();
        let source = deliveries.add_source(false);
        (0..n as u64).for_each(|id| _ = deliveries.note_get(source, false, id));
        (deliveries, source)
    };
    let take_back = |(deliveries, source): &mut (Deliveries, u32), n| {
        for id in (0..n as u64).rev() {
            assert_eq!(deliveries.take_back(*source, &[overdue(id + 1, id)]), [id]);
        }
    };
    is_linear("late deliveries", 4_000, make, take_back);
}

#[test]
fn what_means_all_is_not_looked_for_among_what_a_transaction_holds() {
    let hold = |deliveries: &mut Deliveries, n| {
        let source = deliveries.add_source(false);
        let mut held = Vec::new();
        for id in 0..n as u64 {
            let tag = deliveries.note_get(source, false, id);
            assert_eq!(deliveries.hold(tag, true, &mut held), Ok(()));
            assert_eq!(deliveries.hold(0, true, &mut held), Ok(()));
            assert!(deliveries.all().is_empty());
        }
        assert_eq!(held.len(), n);
        // Of all that are outstanding again, one at a time is held and released.
        deliveries.release(&held);
        assert_eq!(deliveries.all(), 0..n);
        for tag in 1..=n as u64 {
            assert_eq!(deliveries.hold(tag, false, &mut Vec::new()), Ok(()));
            deliveries.release(&[tag]);
        }
        let mut settled = Vec::new();
        while deliveries.settle(0, true, &mut settled) != Ok(false) {}
        assert_eq!(settled.iter().map(|run| run.ids.len()).sum::<usize>(), n);
        assert_eq!(deliveries.figures().unacked(), 0);
    };
    is_linear("held deliveries", 4_000, |_| deliveries(), hold);
}

#[test]
fn what_comes_after_held_deliveries_is_meant_by_all() {
    let deliveries = deliveries();
    let source = deliveries.add_source(false);
    (1..=6).for_each(|id| assert_eq!(deliveries.note_get(source, false, id), id));
    let (mut held, mut settled) = (Vec::new(), Vec::new());
    assert_eq!(deliveries.hold(2, true, &mut held), Ok(()));
    assert_eq!(deliveries.hold(4, false, &mut held), Ok(()));
    assert_eq!((deliveries.all(), &held[..]), (2..6, &[1, 2, 4][..]));
    assert_eq!(deliveries.take_last(deliveries.all(), &mut settled), 2..2);
    let ids: Vec<u64> = settled.drain(..).flat_map(|run| run.ids).collect();
    assert_eq!(ids, [3, 5, 6]);
    assert!(deliveries.all().is_empty());
    let tag = deliveries.note_get(source, false, 7);
    assert_eq!(deliveries.settle(0, true, &mut settled), Ok(false));
    assert_eq!((tag, settled.pop().map(|run| run.ids)), (7, Some(vec![7])));
    deliveries.release(&held);
    assert_eq!(deliveries.figures().unacked(), 3);
    assert_eq!(deliveries.settle(0, true, &mut settled), Ok(false));
    assert_eq!(settled.pop().map(|run| run.ids), Some(vec![1, 2, 4]));
}

#[test]
fn each_delivery_is_settled_in_the_same_time_in_any_order() {
    let settle = |deliveries: &mut Deliveries, n: usize| {
        let sources: Vec<u32> = (0..n).map(|_| deliveries.add_source(false)).collect();
        let mut settled = Vec::new();
        for (id, source) in (1..).zip(&sources) {
            assert_eq!(deliveries.note_get(*source, false, id), id);
        }
        // Every other one from the end, then the others.
        for tag in (1..=n as u64).rev().filter(|tag| tag % 2 == 0) {
            assert_eq!(deliveries.settle(tag, false, &mut settled), Ok(false));
        }
        for tag in (1..=n as u64).filter(|tag| tag % 2 == 1) {
            assert_eq!(deliveries.settle(tag, true, &mut settled), Ok(false));
        }
        assert!(sources.iter().all(|source| deliveries.retire_source(*source)));
        assert_eq!((settled.len(), deliveries.figures().unacked()), (n, 0));
    };
    is_linear("settled deliveries", 4_000, |_| deliveries(), settle);
}
