//! Chains and nests as long and deep as users make them: nothing calls itself for each link.
//!
//! In: a broker whose workers have the usual stacks. Out: it answers, and a bystander is served.

use crate::bystander::Bystander;
use crate::many::all;
use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::{short, table};
use harness::{Broker, Client, call};
use leveret_amqp::FieldValue;
use leveret_amqp::method::*;
use std::time::Duration;

/// Links of a chain: twice what ended a broker that called itself for each.
const LONG: usize = 10_000;
/// The longest that a bystander's confirm may take beside an attack, in a build for tests on a busy machine.
const SERVED: Duration = Duration::from_secs(3);

fn name(number: usize) -> String {
    format!("link-{number}")
}

#[test]
fn exchanges_in_a_chain_are_passed_and_end() {
    let broker = Broker::start();
    let bystander = Bystander::start(broker.amqp());
    let mut client = Client::with_channel(broker.amqp());
    let declare_link = |number: usize| ExchangeDeclare {
        auto_delete: true,
        arguments: table([("alternate-exchange", FieldValue::from(name(number + 1).as_str()))]),
        ..exchange(&name(number), "direct")
    };
    all(&mut client, (0..LONG).map(declare_link));
    all(
        &mut client,
        (1..LONG).map(|number| bind_exchange(&name(number), &name(number - 1), "next")),
    );
    call!(client, 1, declare("end") => QueueDeclareOk);
    call!(client, 1, bind("end", &name(LONG - 1), "next") => QueueBindOk);
    call!(client, 1, bind("end", &name(LONG - 1), "other") => QueueBindOk);
    for key in ["next", "other"] {
        client.publish(1, &name(0), key, key.as_bytes());
        let got = client.get(1, "end", true).expect("it came to the end of the chain");
        assert_eq!(got.body.as_ref(), key.as_bytes());
    }
    call!(client, 1, delete("end") => QueueDeleteOk);
    client.send(1, passive_exchange(&name(0)));
    client.channel_error(1, 404, "NOT_FOUND - no exchange 'link-0' in vhost '/'");
    let seen = bystander.end();
    assert!(seen.slowest < SERVED, "{seen:?}");
}

#[test]
fn a_durable_chain_does_not_end_the_broker_at_its_start() {
    let mut broker = Broker::start();
    let mut client = Client::with_channel(broker.amqp());
    let durable_exchange = |number| ExchangeDeclare {
        durable: true,
        ..exchange(&name(number), "fanout")
    };
    all(&mut client, (0..LONG).map(durable_exchange));
    all(
        &mut client,
        (1..LONG).map(|number| bind_exchange(&name(number), &name(number - 1), "")),
    );
    // Round and round.
    all(&mut client, [bind_exchange(&name(0), &name(LONG - 1), "")]);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, exclusive("end") => QueueDeclareOk);
    call!(client, 1, bind("end", &name(LONG / 2), "") => QueueBindOk);
    client.publish(1, &name(LONG / 2 + 1), "", b"all the way round");
    assert!(client.get(1, "end", true).is_some());
}

#[test]
fn columns_nested_too_deep_are_refused() {
    let broker = Broker::start();
    let http = Http::new(broker.http());
    let deep = vec!["a"; 20_000].join(".");
    for path in [
        format!("/api/queues?columns={deep}"),
        format!("/api/nodes?sort={deep}"),
        format!("/api/queues?sort={}", ["a"; 9].join(",")),
    ] {
        let answer = http.request("GET", &path, None);
        assert!(
            [400, 414, 431].contains(&answer.status),
            "{}: {}",
            &path[..40],
            answer.status
        );
    }
    let nine = http.request("GET", "/api/queues?columns=a.b.c.d.e.f.g.h.i", None);
    assert_eq!(nine.status, 400);
    let reason = nine.json()["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("more than 8 levels deep"), "{reason}");
    assert_eq!(
        http.request("GET", "/api/queues?columns=a.b.c.d.e.f.g.h", None).status,
        200
    );
}

#[test]
fn a_table_as_deep_as_may_be_is_an_argument_like_others() {
    let mut client = Client::with_channel(Broker::shared().amqp());
    let mut nested = table([]);
    for _ in 0..30 {
        nested = table([("a", FieldValue::Array(vec![FieldValue::Table(nested)]))]);
    }
    let queue = unique("deep");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    let deep = QueueBind {
        arguments: nested.clone().into(),
        ..bind(&queue, "amq.headers", "")
    };
    call!(client, 1, deep => QueueBindOk);
    client.publish_with(1, publish("amq.headers", ""), &headers(nested.clone()), b"x");
    assert!(client.get(1, &queue, true).is_some());
    let gone = QueueUnbind {
        queue: short(&queue),
        exchange: short("amq.headers"),
        arguments: nested.into(),
        ..QueueUnbind::default()
    };
    call!(client, 1, gone => QueueUnbindOk);
}
