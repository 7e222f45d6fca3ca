//! The lease of a queue (`x-expires`): when a queue goes by itself, and what keeps it.

use std::time::{Duration, Instant};

use harness::requests::*;
use harness::scripted_client::table;
use harness::wait::until;
use harness::{Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{FieldTable, Method};

use crate::client;

const PATIENCE: Duration = Duration::from_secs(20);

fn lease(millis: i32) -> FieldTable {
    table([("x-expires", millis.into())])
}

fn declare(client: &mut Client, queue: &str, arguments: FieldTable) {
    call!(client, 1, QueueDeclare { arguments: arguments.into(), ..exclusive(queue) } => QueueDeclareOk);
}

/// Publishes to the queue, which is no use of it. False if that leads nowhere.
fn exists(client: &mut Client, queue: &str) -> bool {
    client.publish_with(1, mandatory("", queue), &no_properties(), b"");
    client.send(1, passive_exchange("amq.direct"));
    let returned = matches!(client.method(1), Method::BasicReturn(_));
    if returned {
        client.frame().expect("the message's header");
        expect!(client, 1, ExchangeDeclareOk);
    }
    !returned
}

fn gone(client: &mut Client, queue: &str) {
    until("the queue is gone", PATIENCE, || !exists(client, queue));
}

#[test]
fn an_unused_queue_goes_with_its_messages() {
    let mut client = client();
    let (queue, dead) = (unique("leased"), unique("dead"));
    declare(&mut client, &dead, FieldTable::new());
    let mut arguments = lease(300);
    let letters = [
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ];
    arguments.0.extend(table::<_, FieldTable>(letters).0);
    let start = Instant::now();
    declare(&mut client, &queue, arguments);
    assert!(exists(&mut client, &queue));
    gone(&mut client, &queue);
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(client.get(1, &dead, true).is_none(), "its messages are no dead letters");
    client.send(1, passive(&queue));
    let text = format!("NOT_FOUND - no queue '{queue}' in vhost '/'");
    client.channel_error(1, 404, &text);
}

#[test]
fn a_used_queue_stays() {
    let mut client = client();
    let uses: [fn(&mut Client, &str); 3] = [
        |client, queue| declare(client, queue, lease(1500)),
        |client, queue| _ = call!(client, 1, passive(queue) => QueueDeclareOk),
        |client, queue| _ = client.get(1, queue, true),
    ];
    let queues: Vec<String> = uses.iter().map(|_| unique("used")).collect();
    queues.iter().for_each(|queue| declare(&mut client, queue, lease(1500)));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(200));
        for (queue, use_it) in queues.iter().zip(uses) {
            use_it(&mut client, queue);
        }
    }
    queues.iter().for_each(|queue| gone(&mut client, queue));
}

#[test]
fn a_lease_begins_when_the_last_consumer_goes() {
    let mut client = client();
    let queue = unique("consumed");
    declare(&mut client, &queue, lease(1000));
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    std::thread::sleep(Duration::from_millis(1500));
    let start = Instant::now();
    call!(client, 1, cancel("c") => BasicCancelOk);
    assert!(exists(&mut client, &queue));
    gone(&mut client, &queue);
    assert!(start.elapsed() >= Duration::from_millis(1000));
}
