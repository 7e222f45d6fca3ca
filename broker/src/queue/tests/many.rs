//! As many consumers as clients may make: the work for one doesn't grow with the others.

use super::{Bench, Client, ROOM};
use crate::growth::is_linear;
use crate::queue::Outcome;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn many(bench: &mut Bench, n: usize, prefetch: u32) -> Vec<Arc<Client>> {
    let id = |number| number as u64 + 1;
    (0..n).map(|number| bench.consumer(id(number), prefetch, 0)).collect()
}

#[test]
fn consumers_come_get_settle_and_go_in_the_same_time_each() {
    let come_and_go = |bench: &mut Bench, n| {
        let clients = many(bench, n, 1);
        for _ in 0..n {
            bench.publish(b"x", false);
        }
        for client in &clients {
            let ids: Vec<u64> = client.reads().into_iter().map(|(id, ..)| id).collect();
            assert_eq!(ids.len(), 1);
            bench.settle(client, &ids, Outcome::Acked);
        }
        for client in &clients {
            bench.queue.cancel(client.id);
        }
        assert_eq!(bench.queue.counts(), (0, 0));
    };
    is_linear("consumers", 3_000, |_| Bench::of(false), come_and_go);
}

#[test]
fn those_that_can_take_nothing_are_not_asked_for_each_message() {
    let mut bench = Bench::of(false);
    let busy = many(&mut bench, 20, 1);
    let full: Vec<_> = (100..120).map(|id| bench.consumer(id, 0, 1)).collect();
    let limited: Vec<_> = (200..220).map(|id| bench.consumer(id, 0, 2)).collect();
    for client in &limited {
        *client.shared_credit.lock() = Some(0);
    }
    full.iter().for_each(|_| _ = bench.publish(&vec![0; ROOM], false));
    busy.iter().for_each(|_| _ = bench.publish(b"x", false));
    let free = bench.consumer(1_000, 0, -1);
    bench.publish(b"x", false);
    let asked = |clients: &[Arc<Client>]| -> usize {
        let asked = clients.iter().map(|client| client.asked.load(Ordering::Relaxed));
        asked.sum()
    };
    let before = [&busy, &full, &limited].map(|clients| asked(clients));
    for _ in 0..1_000 {
        bench.publish(b"y", false);
    }
    assert_eq!(free.reads().len(), 1_001);
    assert_eq!([&busy, &full, &limited].map(|clients| asked(clients)), before);
    assert!(
        full.iter().all(|client| client.stalled.lock().len() == 1),
        "each is to say when it has room"
    );
    for client in &limited {
        *client.shared_credit.lock() = Some(1);
    }
    bench.queue.dispatch(&mut bench.work);
    (0..20).for_each(|_| _ = bench.publish(b"z", false));
    assert!(limited.iter().all(|client| client.reads().len() == 1));
}

#[test]
fn a_client_that_has_room_again_gets_its_share() {
    let mut bench = Bench::of(false);
    let clients = many(&mut bench, 20, 0);
    for _ in 0..20 {
        bench.publish(&vec![0; ROOM], false);
    }
    for _ in 0..40 {
        bench.publish(b"x", false);
    }
    assert_eq!(bench.queue.counts().0, 40);
    for client in clients.iter().take(2) {
        client.reads();
    }
    bench.queue.dispatch(&mut bench.work);
    let shares: Vec<usize> = clients.iter().map(|client| client.reads().len()).collect();
    assert_eq!((shares[0], shares[1], shares[2]), (20, 20, 1));
}

#[test]
fn the_one_active_consumer_among_many_is_the_oldest_of_the_highest_priority() {
    use crate::queue::consumers::{ChannelId, Consumer, Consumers, Standing, Terms};
    use leveret_amqp::ShortString;
    let mut consumers = Consumers::new(true);
    for id in 1..=100 {
        let terms = Terms {
            priority: (id % 10) as i32,
            ..Terms::default()
        };
        let channel = ChannelId {
            connection: 1,
            number: 1,
        };
        consumers.add(Consumer::new(
            id,
            ShortString::new(),
            channel,
            terms,
            Arc::new(Client::new(id)),
        ));
    }
    let active = |consumers: &Consumers| {
        let active: Vec<u64> = consumers
            .iter()
            .filter(|consumer| consumer.standing() == Standing::SingleActive)
            .map(|consumer| consumer.id)
            .collect();
        assert_eq!(active.len(), 1);
        active[0]
    };
    assert_eq!(active(&consumers), 1, "the first stays it, whatever comes");
    for expected in [9, 19, 29] {
        let gone = active(&consumers);
        assert!(consumers.remove(gone).is_some());
        assert_eq!(active(&consumers), expected);
    }
    assert_eq!(
        (consumers.len(), consumers.drain().first().map(|first| first.id)),
        (97, Some(29))
    );
}
