//! Exchanges: declared, compared, deleted; which names are the broker's own.

use std::time::Duration;

use harness::requests::*;
use harness::scripted_client::{short, table};
use harness::{call, expect};
use leveret_amqp::RawTable;
use leveret_amqp::method::*;

use crate::client;

fn missing(name: &str) -> String {
    format!("NOT_FOUND - no exchange '{name}' in vhost '/'")
}

#[test]
fn the_predeclared_ones_are_there() {
    let mut client = client();
    for name in ["", "amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match"] {
        if !name.is_empty() {
            call!(client, 1, passive_exchange(name) => ExchangeDeclareOk);
        }
    }
    call!(client, 1, ExchangeDeclare { durable: true, ..exchange("amq.direct", "direct") } => ExchangeDeclareOk);
}

#[test]
fn every_type_routes_as_its_kind() {
    let mut client = client();
    for (kind, key, reaches) in [
        ("direct", "a", true),
        ("direct", "b", false),
        ("fanout", "b", true),
        ("topic", "a", true),
    ] {
        let (name, queue) = (unique(kind), unique("to"));
        call!(client, 1, exchange(&name, kind) => ExchangeDeclareOk);
        call!(client, 1, exclusive(&queue) => QueueDeclareOk);
        call!(client, 1, bind(&queue, &name, "a") => QueueBindOk);
        client.publish(1, &name, key, b"x");
        assert_eq!(client.get(1, &queue, true).is_some(), reaches, "{kind} {key}");
        call!(client, 1, delete_exchange(&name) => ExchangeDeleteOk);
    }
}

#[test]
fn a_direct_exchange_sends_to_all_queues_with_the_key() {
    let mut client = client();
    let name = unique("direct");
    call!(client, 1, ExchangeDeclare { auto_delete: true, ..exchange(&name, "direct") } => ExchangeDeclareOk);
    let queues = [unique("one"), unique("two")];
    for queue in &queues {
        call!(client, 1, exclusive(queue) => QueueDeclareOk);
        call!(client, 1, bind(queue, &name, "k") => QueueBindOk);
        call!(client, 1, bind(queue, &name, "other") => QueueBindOk);
    }
    client.publish(1, &name, "k", b"x");
    for queue in &queues {
        assert!(client.get(1, queue, true).is_some());
        assert!(
            client.get(1, queue, true).is_none(),
            "one copy, whatever the number of bindings"
        );
    }
}

#[test]
fn an_unknown_type_is_refused() {
    let mut client = client();
    client.send(1, exchange(&unique("x"), "bogus"));
    client.channel_error(1, 406, "PRECONDITION_FAILED - unknown exchange type 'bogus'");
}

#[test]
fn declaring_again_must_be_the_same() {
    let mut client = client();
    let name = unique("same");
    let declared = ExchangeDeclare {
        arguments: table([("alternate-exchange", "amq.fanout".into())]),
        ..exchange(&name, "direct")
    };
    call!(client, 1, declared.clone() => ExchangeDeclareOk);
    call!(client, 1, declared.clone() => ExchangeDeclareOk);
    let cases = [
        (
            ExchangeDeclare {
                kind: short("fanout"),
                ..declared.clone()
            },
            "type",
            "received 'fanout' but current is 'direct'",
        ),
        (
            ExchangeDeclare {
                durable: true,
                ..declared.clone()
            },
            "durable",
            "received 'true' but current is 'false'",
        ),
        (
            ExchangeDeclare {
                auto_delete: true,
                ..declared.clone()
            },
            "auto_delete",
            "received 'true' but current is 'false'",
        ),
        (
            ExchangeDeclare {
                internal: true,
                ..declared.clone()
            },
            "internal",
            "received 'true' but current is 'false'",
        ),
        (
            ExchangeDeclare {
                arguments: table([("alternate-exchange", "other".into())]),
                ..declared.clone()
            },
            "alternate-exchange",
            "received 'other' but current is 'amq.fanout'",
        ),
        (
            ExchangeDeclare {
                arguments: RawTable::new(),
                ..declared.clone()
            },
            "alternate-exchange",
            "received none but current is the value 'amq.fanout' of type 'longstr'",
        ),
    ];
    for (other, argument, words) in cases {
        client.send(1, other);
        let text =
            format!("PRECONDITION_FAILED - inequivalent arg '{argument}' for exchange '{name}' in vhost '/': {words}");
        let close = client.channel_error(1, 406, &text);
        assert_eq!((close.class_id, close.method_id), ExchangeDeclare::ID);
        client.open_channel(1);
    }
    call!(client, 1, delete_exchange(&name) => ExchangeDeleteOk);
}

#[test]
fn passive_only_asks() {
    let mut client = client();
    let name = unique("ask");
    client.send(1, passive_exchange(&name));
    client.channel_error(1, 404, &missing(&name));
    client.open_channel(1);
    call!(client, 1, exchange(&name, "fanout") => ExchangeDeclareOk);
    call!(client, 1, passive_exchange(&name) => ExchangeDeclareOk);
    call!(client, 1, delete_exchange(&name) => ExchangeDeleteOk);
}

#[test]
fn reserved_names_are_refused() {
    let mut client = client();
    client.send(1, exchange("amq.mine", "direct"));
    client.channel_error(
        1,
        403,
        "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'",
    );
    client.open_channel(1);
    client.send(1, delete_exchange("amq.direct"));
    client.channel_error(
        1,
        403,
        "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed",
    );
}

#[test]
fn the_default_exchange_is_not_to_be_touched() {
    const REFUSED: &str = "ACCESS_REFUSED - operation not permitted on the default exchange";
    let mut client = client();
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    for declare in [exchange("", "direct"), passive_exchange("")] {
        client.send(1, declare);
        client.channel_error(1, 403, REFUSED);
        client.open_channel(1);
    }
    client.send(1, delete_exchange(""));
    client.channel_error(1, 403, REFUSED);
    client.open_channel(1);
    client.send(1, bind(&queue, "", "key"));
    client.channel_error(1, 403, REFUSED);
    client.open_channel(1);
    client.send(1, unbind(&queue, "", &queue));
    client.channel_error(1, 403, REFUSED);
    client.open_channel(1);
    client.send(1, bind_exchange("amq.fanout", "", "key"));
    client.channel_error(1, 403, REFUSED);
}

#[test]
fn an_internal_exchange_takes_no_publish() {
    let mut client = client();
    let (inner, outer, queue) = (unique("inner"), unique("outer"), unique("q"));
    call!(client, 1, ExchangeDeclare { internal: true, ..exchange(&inner, "fanout") } => ExchangeDeclareOk);
    call!(client, 1, exchange(&outer, "fanout") => ExchangeDeclareOk);
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, bind(&queue, &inner, "") => QueueBindOk);
    call!(client, 1, bind_exchange(&inner, &outer, "") => ExchangeBindOk);
    client.publish(1, &outer, "", b"through");
    assert_eq!(
        &client.get(1, &queue, true).expect("it came through").body[..],
        b"through"
    );
    client.publish(1, &inner, "", b"direct");
    client.channel_error(
        1,
        403,
        &format!("ACCESS_REFUSED - cannot publish to internal exchange '{inner}' in vhost '/'"),
    );
    client.open_channel(1);
    call!(client, 1, delete_exchange(&inner) => ExchangeDeleteOk);
    call!(client, 1, delete_exchange(&outer) => ExchangeDeleteOk);
}

#[test]
fn deleting_twice_is_no_error() {
    let mut client = client();
    let name = unique("gone");
    call!(client, 1, exchange(&name, "direct") => ExchangeDeclareOk);
    call!(client, 1, delete_exchange(&name) => ExchangeDeleteOk);
    call!(client, 1, delete_exchange(&name) => ExchangeDeleteOk);
    client.send(1, passive_exchange(&name));
    client.channel_error(1, 404, &missing(&name));
}

#[test]
fn delete_if_unused_looks_at_the_bindings() {
    let mut client = client();
    let (name, queue) = (unique("used"), unique("q"));
    call!(client, 1, exchange(&name, "direct") => ExchangeDeclareOk);
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, bind(&queue, &name, "k") => QueueBindOk);
    let if_unused = ExchangeDelete {
        if_unused: true,
        ..delete_exchange(&name)
    };
    client.send(1, if_unused.clone());
    client.channel_error(
        1,
        406,
        &format!("PRECONDITION_FAILED - exchange '{name}' in vhost '/' in use"),
    );
    client.open_channel(1);
    call!(client, 1, unbind(&queue, &name, "k") => QueueUnbindOk);
    call!(client, 1, if_unused => ExchangeDeleteOk);
}

#[test]
fn an_auto_delete_exchange_goes_with_its_last_binding() {
    let mut client = client();
    let (name, queue) = (unique("auto"), unique("q"));
    call!(client, 1, ExchangeDeclare { auto_delete: true, ..exchange(&name, "direct") } => ExchangeDeclareOk);
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    for key in ["a", "b"] {
        call!(client, 1, bind(&queue, &name, key) => QueueBindOk);
    }
    call!(client, 1, unbind(&queue, &name, "a") => QueueUnbindOk);
    call!(client, 1, passive_exchange(&name) => ExchangeDeclareOk);
    call!(client, 1, unbind(&queue, &name, "b") => QueueUnbindOk);
    client.send(1, passive_exchange(&name));
    client.channel_error(1, 404, &missing(&name));
}

#[test]
fn an_auto_delete_exchange_goes_with_its_last_queue() {
    let mut client = client();
    let (name, queue) = (unique("auto"), unique("q"));
    call!(client, 1, ExchangeDeclare { auto_delete: true, ..exchange(&name, "fanout") } => ExchangeDeclareOk);
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, bind(&queue, &name, "") => QueueBindOk);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
    client.send(1, passive_exchange(&name));
    client.channel_error(1, 404, &missing(&name));
}

#[test]
fn no_wait_brings_no_answer() {
    let mut client = client();
    let name = unique("nowait");
    client.send(
        1,
        ExchangeDeclare {
            no_wait: true,
            ..exchange(&name, "direct")
        },
    );
    call!(client, 1, passive_exchange(&name) => ExchangeDeclareOk);
    client.send(
        1,
        ExchangeDelete {
            no_wait: true,
            ..delete_exchange(&name)
        },
    );
    client.quiet(Duration::from_millis(50));
    client.send(1, passive_exchange(&name));
    expect!(client, 1, ChannelClose);
}

#[test]
fn a_type_or_an_alternate_that_none_can_be_is_refused() {
    let mut client = client();
    let name = unique("x");
    client.send(1, exchange(&name, ""));
    client.channel_error(1, 406, "PRECONDITION_FAILED - invalid exchange type ''");
    client.open_channel(1);
    client.send(
        1,
        ExchangeDeclare {
            arguments: table([("alternate-exchange", 1.into())]),
            ..exchange(&name, "direct")
        },
    );
    let text = "invalid type 'signedint' for arg 'alternate-exchange'";
    client.channel_error(
        1,
        406,
        &format!("PRECONDITION_FAILED - {text} in exchange '{name}' in vhost '/'"),
    );
}

#[test]
fn nothing_is_done_to_the_default_exchange() {
    let mut client = client();
    let methods: [leveret_amqp::Method; 7] = [
        passive_exchange("").into(),
        exchange("", "direct").into(),
        delete_exchange("").into(),
        bind_exchange("", "amq.direct", "k").into(),
        bind_exchange("amq.direct", "", "k").into(),
        unbind_exchange("", "amq.direct", "k").into(),
        unbind("any", "", "k").into(),
    ];
    for method in methods {
        client.send(1, method);
        client.channel_error(
            1,
            403,
            "ACCESS_REFUSED - operation not permitted on the default exchange",
        );
        client.open_channel(1);
    }
}
