//! Limits of numbers and sizes, under RabbitMQ's names and with its answers.
//!
//! In: a broker with small limits. Out: one more is refused, and when one goes there is room again.

use harness::control_group::ControlGroup;
use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::{Frame, table};
use harness::wait::until;
use harness::{Broker, Client, call, expect};
use leveret_amqp::FieldValue;
use leveret_amqp::method::*;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_connection_too_many_is_refused() {
    let broker = Broker::start_with(&["--connection-max", "2"]);
    let (first, _second) = (Client::connect(broker.amqp()), Client::connect(broker.amqp()));
    let refused = || {
        let mut client = Client::raw(broker.amqp());
        let tune = client.log_in();
        client.send(
            0,
            ConnectionTuneOk {
                channel_max: tune.channel_max,
                frame_max: tune.frame_max,
                heartbeat: 0,
            },
        );
        client.send(0, open("/"));
        client
    };
    refused().connection_error(
        530,
        "NOT_ALLOWED - connection refused: node connection limit (2) is reached",
    );
    first.close();
    until("there is room again", SOON, || {
        matches!(
            refused().frame(),
            Some(Frame::Method(0, leveret_amqp::Method::ConnectionOpenOk(_)))
        )
    });
}

#[test]
fn a_channel_too_many_of_all_connections_is_refused() {
    let broker = Broker::start_with(&["--channel-max-per-node", "2"]);
    let (mut first, mut second) = (Client::with_channel(broker.amqp()), Client::with_channel(broker.amqp()));
    second.send(2, ChannelOpen::default());
    let text = "NOT_ALLOWED - number of channels opened on node 'leveret@localhost' has reached the maximum allowed limit of 2";
    let close = second.connection_error(530, text);
    assert_eq!((close.class_id, close.method_id), (0, 0), "as RabbitMQ tells it");
    first.open_channel(2);
    call!(first, 1, ChannelClose::default() => ChannelCloseOk);
    first.open_channel(3);
}

#[test]
fn a_consumer_too_many_of_a_channel_is_refused() {
    let broker = Broker::start_with(&["--consumer-max-per-channel", "2"]);
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, exclusive("stays") => QueueDeclareOk);
    call!(client, 1, declare("goes") => QueueDeclareOk);
    call!(client, 1, consume("stays", "a") => BasicConsumeOk);
    call!(client, 1, consume("goes", "b") => BasicConsumeOk);
    client.open_channel(2);
    call!(client, 2, consume("stays", "a") => BasicConsumeOk);
    // A consumer whose queue has gone counts no more.
    let mut other = Client::with_channel(broker.amqp());
    call!(other, 1, delete("goes") => QueueDeleteOk);
    expect!(client, 1, BasicCancel);
    call!(client, 1, consume("stays", "c") => BasicConsumeOk);
    client.send(1, consume("stays", "d"));
    client.connection_error(530, "NOT_ALLOWED - reached maximum (2) of consumers per channel");
}

#[test]
fn a_header_too_large_is_refused() {
    let broker = Broker::start_with(&["--max-header-size", "4KiB"]);
    let mut client = Client::with_channel(broker.amqp());
    let with = |octets: usize| headers(table([("h", FieldValue::from("x".repeat(octets)))]));
    let envelope = with(0).len();
    call!(client, 1, exclusive("q") => QueueDeclareOk);
    client.publish_with(1, publish("", "q"), &with(4096 - envelope), b"");
    assert!(client.get(1, "q", true).is_some());
    client.publish_with(1, publish("", "q"), &with(4097 - envelope), b"");
    let text = "PRECONDITION_FAILED - message header size 4097 is larger than configured max size 4096";
    client.channel_error(1, 406, text);
}

#[test]
fn declarations_too_many_are_refused_and_those_that_exist_are_not() {
    let limits = [
        "--cluster-queue-limit",
        "2",
        "--cluster-exchange-limit",
        "10",
        "--cluster-binding-limit",
        "2",
    ];
    let broker = Broker::start_with(&limits);
    let mut client = Client::with_channel(broker.amqp());
    for name in ["one", "two"] {
        call!(client, 1, durable(name) => QueueDeclareOk);
        // Eight are predeclared, as in RabbitMQ.
        call!(client, 1, exchange(name, "direct") => ExchangeDeclareOk);
        call!(client, 1, bind(name, "amq.direct", "k") => QueueBindOk);
    }
    let refusals: [(leveret_amqp::Method, &str); 3] = [
        (
            durable("three").into(),
            "cannot declare queue 'three': queue limit in cluster (2) is reached",
        ),
        (
            exchange("three", "direct").into(),
            "cannot declare exchange 'three' in vhost '/': exchange limit of 10 is reached",
        ),
        (
            bind_exchange("amq.topic", "one", "k").into(),
            "cannot bind to exchange 'one' in vhost '/': binding limit of 2 is reached",
        ),
    ];
    for (method, text) in refusals {
        client.send(1, method);
        client.channel_error(1, 406, &format!("PRECONDITION_FAILED - {text}"));
        client.open_channel(1);
    }
    let http = Http::new(broker.http());
    let answer = http.request("PUT", "/api/queues/%2F/three", Some(&serde_json::json!({})));
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(
        answer.body.contains("queue limit in cluster (2) is reached"),
        "{}",
        answer.body
    );
    // What exists is no new one, and what goes leaves room.
    call!(client, 1, durable("one") => QueueDeclareOk);
    call!(client, 1, exchange("one", "direct") => ExchangeDeclareOk);
    call!(client, 1, bind("one", "amq.direct", "k") => QueueBindOk);
    call!(client, 1, delete("one") => QueueDeleteOk);
    call!(client, 1, delete_exchange("one") => ExchangeDeleteOk);
    call!(client, 1, durable("three") => QueueDeclareOk);
    call!(client, 1, exchange("three", "direct") => ExchangeDeclareOk);
    call!(client, 1, bind("three", "amq.direct", "k") => QueueBindOk);

    let limits = &http.get("/api/nodes")[0]["limits"];
    let shown = |name: &str| (limits[name]["used"].clone(), limits[name]["limit"].clone());
    assert_eq!(shown("cluster_queue_limit"), (2.into(), 2.into()));
    assert_eq!(shown("cluster_exchange_limit"), (10.into(), 10.into()));
    assert_eq!(shown("cluster_binding_limit"), (2.into(), 2.into()));
    assert_eq!(shown("connection_max"), (1.into(), "infinity".into()));
    assert_eq!(
        shown("consumer_max_per_channel"),
        (serde_json::Value::Null, "infinity".into())
    );
    assert_eq!(limits["max_header_size"]["limit"], 131_072);
    let metrics = http.request("GET", "/metrics", None).body;
    for line in [
        "leveret_limit_used{limit=\"cluster_queue_limit\"} 2\n",
        "leveret_limit{limit=\"cluster_queue_limit\"} 2\n",
        "leveret_limit{limit=\"connection_max\"} +Inf\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[test]
fn numbers_are_right_after_a_start_and_after_everything_has_gone() {
    let mut broker = Broker::start();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable("q") => QueueDeclareOk);
    call!(client, 1, ExchangeDeclare { durable: true, ..exchange("x", "direct") } => ExchangeDeclareOk);
    call!(client, 1, bind("q", "x", "k") => QueueBindOk);
    call!(client, 1, bind_exchange("x", "x", "itself") => ExchangeBindOk);
    call!(client, 1, bind_exchange("x", "amq.topic", "k") => ExchangeBindOk);
    broker.terminate(SOON);
    let broker = broker.restart();
    let http = Http::new(broker.http());
    let used = || {
        let limits = &http.get("/api/nodes")[0]["limits"];
        ["cluster_queue_limit", "cluster_exchange_limit", "cluster_binding_limit"]
            .map(|name| limits[name]["used"].clone())
    };
    assert_eq!(used(), [1, 9, 3]);
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, delete_exchange("x") => ExchangeDeleteOk);
    assert_eq!(used(), [1, 8, 0]);
    call!(client, 1, delete("q") => QueueDeleteOk);
    assert_eq!(used(), [0, 8, 0]);
}

#[test]
fn while_memory_is_full_nothing_is_made_and_what_frees_it_works() {
    const BODY: usize = 1 << 20;
    let Some(group) = ControlGroup::with_memory(128) else {
        return;
    };
    let wrapper = group.wrapper();
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let broker = Broker::start_through(&wrapper, |_| {}, &["--memory-watermark", "90%"]);
    let http = Http::new(broker.http());
    let alarm = || http.get("/api/nodes")[0]["mem_alarm"] == true;
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, declare("full") => QueueDeclareOk);
    call!(client, 1, declare("needless") => QueueDeclareOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    let mut published = 0;
    while !alarm() {
        assert!(published < 120, "no alarm");
        client.publish(1, "", "full", &vec![7; BODY]);
        published += 1;
        match client.frame() {
            Some(Frame::Method(1, leveret_amqp::Method::BasicAck(_))) => {}
            Some(Frame::Method(0, leveret_amqp::Method::ConnectionBlocked(_))) => break,
            other => panic!("expected a confirm or a stop, got {other:?}"),
        }
    }
    let mut other = Client::with_channel(broker.amqp());
    other.send(1, declare("more"));
    let refused = expect!(other, 1, ChannelClose);
    assert_eq!(refused.reply_code, 406);
    let text = refused.reply_text.to_str_lossy();
    assert!(
        text.contains("bytes of memory are in use, above the mark of 100663296 bytes"),
        "{text}"
    );
    other.send(1, ChannelCloseOk::default());
    other.open_channel(1);
    call!(other, 1, delete("needless") => QueueDeleteOk);
    let mut third = Client::with_channel(broker.amqp());
    third.send(2, ChannelOpen::default());
    third.connection_close(506);
    // The first consumer of a channel is what frees it.
    call!(other, 1, consume_no_ack("full", "frees") => BasicConsumeOk);
    for _ in 0..published {
        assert_eq!(other.delivery(1).body.len(), BODY);
    }
    until("there is room again", SOON, || !alarm());
    call!(other, 1, declare("more") => QueueDeclareOk);
    other.open_channel(2);
    assert_eq!(group.killed(), 0);
}
