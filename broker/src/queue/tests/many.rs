//! As many consumers as clients may make: the work for one doesn't grow with the others.

use super::{Bench, Client, ROOM};
use crate::growth::is_linear;
use crate::queue::Outcome;
use crate::queue::consumers::Terms;
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
        assert_eq!(client.in_line.lock().len(), 1, "each is in line once");
        client.offers(1, &mut bench.work);
    }
    (0..20).for_each(|_| _ = bench.publish(b"z", false));
    assert!(limited.iter().all(|client| client.reads().len() == 1));
}

/// So many consumers of one channel, which has a limit of one message for all, reached by the first of them.
fn under_one_limit(n: usize, one_queue: bool) -> (Vec<Bench>, Vec<Arc<Client>>) {
    let mut benches = vec![Bench::of(false)];
    benches.extend((0..if one_queue { 0 } else { 9 }).map(|_| Bench::of(false)));
    let mut clients: Vec<Arc<Client>> = Vec::new();
    let first = Client::new(0);
    *first.shared_credit.lock() = Some(1);
    for id in 1..=n as u64 {
        let mut client = Client::new(id);
        client.shared_credit = first.shared_credit.clone();
        client.in_line = first.in_line.clone();
        let client = Arc::new(client);
        let number = id as usize % benches.len();
        let bench = &mut benches[number];
        bench.add(id, Terms::default(), &client);
        bench.publish(b"x", false);
        clients.push(client);
    }
    (benches, clients)
}

#[test]
fn an_acknowledgement_under_a_shared_limit_asks_as_many_consumers_as_it_makes_room_for() {
    for one_queue in [true, false] {
        let (mut benches, clients) = under_one_limit(500, one_queue);
        let asked = || -> usize {
            let asked = clients.iter().map(|client| client.asked.load(Ordering::Relaxed));
            asked.sum()
        };
        let mut got = 0;
        for _ in 0..500 {
            let (client, (id, ..)) = clients
                .iter()
                .find_map(|client| Some((client, client.reads().pop()?)))
                .expect("there is room for one");
            got += 1;
            let before = asked();
            let number = client.id as usize % benches.len();
            let bench = &mut benches[number];
            client.offers(1, &mut bench.work);
            bench.settle(client, &[id], Outcome::Acked);
            assert!(asked() - before <= 3, "{}", asked() - before);
        }
        assert_eq!(got, 500, "and nobody is forgotten");
        assert!(benches.iter().all(|bench| bench.queue.counts().0 == 0));
    }
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
    use crate::queue::consumers::{ChannelId, Consumer, Consumers, Standing};
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

/// So many consumers, each of which has a message for a second, from a different time on.
fn timed(n: usize) -> (Bench, Vec<Arc<Client>>) {
    let mut bench = Bench::of(false);
    let clients = (0..n as u64).map(|id| {
        let terms = Terms {
            prefetch: 1,
            timeout: Some(1000),
            ..Terms::default()
        };
        let client = Arc::new(Client::new(id));
        bench.add(id, terms, &client);
        bench.work.set_time = Some(10_000 + id);
        bench.publish(b"x", false);
        client
    });
    let clients = clients.collect();
    (bench, clients)
}

#[test]
fn only_consumers_that_are_due_are_looked_at_when_time_is_over() {
    for leave_first in [false, true] {
        let (mut bench, clients) = timed(300);
        if leave_first {
            clients.iter().for_each(|client| _ = bench.queue.cancel(client.id));
        }
        let asked = || -> usize {
            let asked = clients.iter().map(|client| client.asked.load(Ordering::Relaxed));
            asked.sum()
        };
        for (at, client) in (11_000..).zip(&clients) {
            assert!(!client.cancelled.load(Ordering::Relaxed));
            let before = asked();
            bench.queue.end_overdue(at, &mut bench.work);
            assert!(
                asked() - before <= 2,
                "this one, and the one that would get the message"
            );
            assert_eq!(client.cancelled.load(Ordering::Relaxed), !leave_first);
        }
        assert_eq!(bench.queue.counts().0, 300);
    }
    let end = |(bench, clients): &mut (Bench, Vec<Arc<Client>>), n: usize| {
        for (at, client) in (11_000..).zip(clients.iter()) {
            if client.id % 2 == 0 {
                bench.queue.cancel(client.id);
            }
            bench.queue.end_overdue(at, &mut bench.work);
        }
        assert_eq!(bench.queue.counts().0 as usize, n);
    };
    is_linear("time limits", 1_500, timed, end);
}
