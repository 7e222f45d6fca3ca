//! `x-random`, `x-local-random` and `x-modulus-hash`: each message to one of the destinations, whatever their keys. For
//! the first a RabbitMQ needs its plugin `rabbitmq_random_exchange`.

use std::time::Duration;

use harness::requests::*;
use harness::wait::until;
use harness::{Client, call};
use leveret_amqp::method::*;

use crate::client;

fn count(client: &mut Client, queue: &str) -> u32 {
    call!(client, 1, passive(queue) => QueueDeclareOk).message_count
}

#[test]
fn each_message_goes_to_one_destination_by_chance() {
    let mut client = client();
    let (name, one, two) = (unique("random"), unique("one"), unique("two"));
    call!(client, 1, ExchangeDeclare { auto_delete: true, ..exchange(&name, "x-random") } => ExchangeDeclareOk);
    client.publish(1, &name, "key", b"to nobody");
    for queue in [&one, &two] {
        call!(client, 1, exclusive(queue) => QueueDeclareOk);
        call!(client, 1, bind(queue, &name, "a key that counts for nothing") => QueueBindOk);
    }
    // One and the same key, so that a route kept by its key would show.
    for _ in 0..100 {
        client.publish(1, &name, "key", b"x");
    }
    let mut counts = (0, 0);
    until("all are in one of the queues", Duration::from_secs(5), || {
        counts = (count(&mut client, &one), count(&mut client, &two));
        counts.0 + counts.1 == 100
    });
    assert!(counts.0 > 0 && counts.1 > 0, "{counts:?}");
}

#[test]
fn what_is_unbound_gets_nothing_more() {
    let mut client = client();
    let (name, one, two) = (unique("random"), unique("one"), unique("two"));
    call!(client, 1, ExchangeDeclare { auto_delete: true, ..exchange(&name, "x-random") } => ExchangeDeclareOk);
    for queue in [&one, &two] {
        call!(client, 1, exclusive(queue) => QueueDeclareOk);
        call!(client, 1, bind(queue, &name, "") => QueueBindOk);
    }
    call!(client, 1, unbind(&one, &name, "") => QueueUnbindOk);
    for _ in 0..20 {
        client.publish(1, &name, "", b"x");
    }
    until("all are in the other one", Duration::from_secs(5), || {
        count(&mut client, &two) == 20
    });
    assert_eq!(count(&mut client, &one), 0);
}

#[test]
fn a_local_one_takes_queues_without_a_key() {
    let mut client = client();
    let (name, queue) = (unique("local"), unique("one"));
    call!(client, 1, ExchangeDeclare { auto_delete: true, ..exchange(&name, "x-local-random") } => ExchangeDeclareOk);
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    client.send(1, bind(&queue, &name, "key"));
    client.channel_error(
        1,
        406,
        "PRECONDITION_FAILED - Non empty binding 'key' key not permitted",
    );
    client.open_channel(1);
    client.send(1, bind_exchange("amq.fanout", &name, ""));
    client.channel_error(1, 406, "PRECONDITION_FAILED - Destination not found");
    client.open_channel(1);
    call!(client, 1, bind(&queue, &name, "") => QueueBindOk);
    for _ in 0..3 {
        client.publish(1, &name, "any", b"x");
    }
    until("all are in the queue", Duration::from_secs(5), || {
        count(&mut client, &queue) == 3
    });
}

#[test]
fn by_a_hash_the_same_key_goes_the_same_way() {
    let mut client = client();
    let name = unique("hash");
    call!(client, 1, ExchangeDeclare { auto_delete: true, ..exchange(&name, "x-modulus-hash") } => ExchangeDeclareOk);
    let queues = ["one", "two", "three"].map(unique);
    for queue in &queues {
        call!(client, 1, exclusive(queue) => QueueDeclareOk);
        call!(client, 1, bind(queue, &name, "a key that counts for nothing") => QueueBindOk);
    }
    for key in 0..60 {
        for _ in 0..2 {
            client.publish(1, &name, &format!("key {key}"), b"x");
        }
    }
    let mut counts = [0; 3];
    until("all are in one of the queues", Duration::from_secs(5), || {
        counts = [0, 1, 2].map(|at| count(&mut client, &queues[at]));
        counts.iter().sum::<u32>() == 120
    });
    let even = counts.iter().all(|count| count % 2 == 0 && *count > 0);
    assert!(even, "each key has one queue, and each queue has keys: {counts:?}");
}
