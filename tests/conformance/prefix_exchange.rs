//! `x-prefix`: a binding key is the beginning of a message's key. RabbitMQ has no such type: these tests are for
//! Leveret alone.

use std::time::Duration;

use harness::requests::*;
use harness::wait::until;
use harness::{Client, call};
use leveret_amqp::method::*;

use crate::{client, is_rabbitmq};

fn count(client: &mut Client, queue: &str) -> u32 {
    call!(client, 1, passive(queue) => QueueDeclareOk).message_count
}

#[test]
fn a_binding_key_is_the_beginning_of_a_key() {
    if is_rabbitmq() {
        return;
    }
    let mut client = client();
    let name = unique("prefix");
    call!(client, 1, ExchangeDeclare { auto_delete: true, ..exchange(&name, "x-prefix") } => ExchangeDeclareOk);
    // Octets, not words: what is a wildcard elsewhere stands for itself.
    let keys = ["", "stock", "stock.a", "stock.*", "#", "stock.abc"];
    let queues = keys.map(|key| {
        let queue = unique("bound");
        call!(client, 1, exclusive(&queue) => QueueDeclareOk);
        call!(client, 1, bind(&queue, &name, key) => QueueBindOk);
        queue
    });
    // Twice along two bindings is once.
    call!(client, 1, bind(&queues[2], &name, "stock") => QueueBindOk);
    call!(client, 1, bind(&queues[2], &name, "sto") => QueueBindOk);
    for key in ["stock.abc", "stock", "stock.ab", "stock.*.c", "stoc", "#"] {
        client.publish(1, &name, key, b"x");
    }
    until("all have come", Duration::from_secs(5), || {
        count(&mut client, &queues[0]) == 6
    });
    let counts = [0, 1, 2, 3, 4, 5].map(|at| count(&mut client, &queues[at]));
    assert_eq!(counts, [6, 4, 5, 1, 1, 1]);
    for key in ["stock", "sto"] {
        call!(client, 1, unbind(&queues[2], &name, key) => QueueUnbindOk);
    }
    for key in ["stock.abc", "stock", "x"] {
        client.publish(1, &name, key, b"x");
    }
    until("all have come", Duration::from_secs(5), || {
        count(&mut client, &queues[0]) == 9
    });
    assert_eq!(count(&mut client, &queues[2]), 6);
}
