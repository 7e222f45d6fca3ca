//! Exchanges, queues and bindings after `kill -9` at the moment the last declaration was answered.

use harness::Client;
use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::{short, table};
use harness::{call, expect};
use leveret_amqp::method::*;
use serde_json::json;

use crate::small;

fn durable_exchange(name: &str, kind: &str) -> ExchangeDeclare {
    ExchangeDeclare {
        durable: true,
        ..exchange(name, kind)
    }
}

#[test]
fn what_is_durable_comes_back_and_routes_as_before() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    for kind in ["direct", "fanout", "topic", "headers"] {
        call!(client, 1, durable_exchange(kind, kind) => ExchangeDeclareOk);
    }
    call!(client, 1, ExchangeDeclare { internal: true, ..durable_exchange("inner", "fanout") } => ExchangeDeclareOk);
    for queue in ["one", "two"] {
        call!(client, 1, durable(queue) => QueueDeclareOk);
    }
    call!(client, 1, QueueDeclare { auto_delete: true, ..durable("auto") } => QueueDeclareOk);
    call!(client, 1, bind("one", "direct", "k") => QueueBindOk);
    call!(client, 1, bind("one", "topic", "a.*.#") => QueueBindOk);
    let arguments = table([("x-match", "any".into()), ("colour", "red".into())]);
    call!(client, 1, QueueBind { arguments, ..bind("one", "headers", "") } => QueueBindOk);
    call!(client, 1, bind("two", "inner", "") => QueueBindOk);
    call!(client, 1, bind_exchange("inner", "fanout", "") => ExchangeBindOk);
    call!(client, 1, bind("two", "amq.direct", "predeclared") => QueueBindOk);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    for kind in ["direct", "fanout", "topic", "headers"] {
        call!(client, 1, durable_exchange(kind, kind) => ExchangeDeclareOk);
    }
    call!(client, 1, durable("one") => QueueDeclareOk);
    call!(client, 1, QueueDeclare { auto_delete: true, ..durable("auto") } => QueueDeclareOk);
    client.publish(1, "direct", "k", b"direct");
    client.publish(1, "topic", "a.b.c", b"topic");
    client.publish_with(
        1,
        publish("headers", ""),
        &headers(table([("colour", "red".into())])),
        b"headers",
    );
    client.publish_with(
        1,
        publish("headers", ""),
        &headers(table([("colour", "blue".into())])),
        b"no",
    );
    for expected in ["direct", "topic", "headers"] {
        assert_eq!(client.get(1, "one", true).expect("routed").body, expected);
    }
    assert!(client.get(1, "one", true).is_none());
    client.publish(1, "fanout", "", b"through");
    client.publish(1, "amq.direct", "predeclared", b"predeclared");
    for expected in ["through", "predeclared"] {
        assert_eq!(client.get(1, "two", true).expect("routed").body, expected);
    }
    client.publish(1, "inner", "", b"refused");
    assert_eq!(expect!(client, 1, ChannelClose).reply_code, 403, "it is still internal");
}

#[test]
fn what_is_not_durable_is_gone() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, declare("transient") => QueueDeclareOk);
    call!(client, 1, QueueDeclare { durable: true, ..exclusive("exclusive") } => QueueDeclareOk);
    call!(client, 1, exchange("transient", "fanout") => ExchangeDeclareOk);
    call!(client, 1, durable("kept") => QueueDeclareOk);
    call!(client, 1, bind("kept", "transient", "") => QueueBindOk);
    call!(client, 1, bind("transient", "amq.fanout", "") => QueueBindOk);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    let missing: [leveret_amqp::Method; 3] = [
        passive("transient").into(),
        passive("exclusive").into(),
        passive_exchange("transient").into(),
    ];
    for method in missing {
        client.send(1, method.clone());
        assert_eq!(expect!(client, 1, ChannelClose).reply_code, 404, "{method:?}");
        client.send(1, ChannelCloseOk::default());
        client.open_channel(1);
    }
    call!(client, 1, exchange("transient", "fanout") => ExchangeDeclareOk);
    client.publish(1, "transient", "", b"x");
    assert!(
        client.get(1, "kept", true).is_none(),
        "the binding went with its exchange"
    );
}

#[test]
fn what_was_deleted_stays_deleted() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable_exchange("x", "direct") => ExchangeDeclareOk);
    for queue in ["gone", "kept"] {
        call!(client, 1, durable(queue) => QueueDeclareOk);
        call!(client, 1, bind(queue, "x", queue) => QueueBindOk);
    }
    call!(client, 1, unbind("kept", "x", "kept") => QueueUnbindOk);
    call!(client, 1, delete("gone") => QueueDeleteOk);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, ExchangeDelete { if_unused: true, ..delete_exchange("x") } => ExchangeDeleteOk);
    client.send(1, passive("gone"));
    assert_eq!(expect!(client, 1, ChannelClose).reply_code, 404);
}

#[test]
fn ten_thousand_queues_come_back() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    for number in 0..10_000 {
        client.send(
            1,
            QueueDeclare {
                no_wait: true,
                ..durable(&format!("many-{number}"))
            },
        );
    }
    call!(client, 1, passive("many-9999") => QueueDeclareOk);
    call!(client, 1, durable("last") => QueueDeclareOk); // durable once answered, and everything before it
    let start = std::time::Instant::now();
    let policy = json!({"pattern": "^many-", "definition": {"max-length": 5, "message-ttl": 1000}});
    let answer = Http::new(broker.http()).request("PUT", "/api/policies/%2F/many", Some(&policy));
    assert_eq!(answer.status, 201, "{}", answer.body);
    println!("a policy applied to 10,000 queues after {:?}", start.elapsed());
    broker.kill();
    let start = std::time::Instant::now();
    let broker = broker.restart();
    println!("10,000 queues were back after {:?}", start.elapsed());
    let mut client = Client::with_channel(broker.amqp());
    for number in [0, 5000, 9999] {
        let queue = QueueDeclare {
            queue: short(&format!("many-{number}")),
            passive: true,
            ..QueueDeclare::default()
        };
        call!(client, 1, queue => QueueDeclareOk);
        let path = format!("/api/queues/%2F/many-{number}");
        assert_eq!(Http::new(broker.http()).get(&path)["policy"], "many");
    }
}

#[test]
fn one_consumer_is_active_after_a_restart_too() {
    let mut broker = small();
    let single = QueueDeclare {
        arguments: table([("x-single-active-consumer", true.into())]),
        ..durable("single")
    };
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, single.clone() => QueueDeclareOk);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, single => QueueDeclareOk);
    for tag in ["first", "second"] {
        call!(client, 1, consume_no_ack("single", tag) => BasicConsumeOk);
    }
    for _ in 0..4 {
        client.publish(1, "", "single", b"x");
        assert_eq!(client.delivery(1).method.consumer_tag.as_bytes(), b"first");
    }
}
