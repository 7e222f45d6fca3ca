//! Queues of type quorum: how they are declared and compared, and what they refuse.

use std::time::Duration;

use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::table;
use harness::wait::until;
use harness::{Broker, Client, call, expect};
use leveret_amqp::FieldValue;
use leveret_amqp::method::*;
use serde_json::json;

use crate::{client, is_rabbitmq};

/// queue.declare of a quorum queue with one more argument.
pub(crate) fn quorum_with(queue: &str, argument: &str, value: impl Into<FieldValue>) -> QueueDeclare {
    QueueDeclare {
        arguments: table([("x-queue-type", "quorum".into()), (argument, value.into())]),
        ..durable(queue)
    }
}

/// queue.declare of a quorum queue.
pub(crate) fn quorum(queue: &str) -> QueueDeclare {
    QueueDeclare {
        arguments: table([("x-queue-type", "quorum".into())]),
        ..durable(queue)
    }
}

/// The text by which a declaration is refused with 406, without the name of the code.
fn refused(client: &mut Client, declare: QueueDeclare) -> String {
    client.send(1, declare);
    let close = expect!(client, 1, ChannelClose);
    client.send(1, ChannelCloseOk::default());
    client.open_channel(1);
    assert_eq!((close.reply_code, close.class_id), (406, QueueDeclare::ID.0));
    let text = close.reply_text.to_str_lossy().into_owned();
    text.replacen("PRECONDITION_FAILED - ", "", 1)
}

#[test]
fn it_outlives_all_clients_and_restarts() {
    let mut client = client();
    let name = unique("quorum");
    let declare = quorum(&name);
    for (property, wrong) in [
        (
            "non-durable",
            QueueDeclare {
                durable: false,
                ..declare.clone()
            },
        ),
        (
            "exclusive-owner",
            QueueDeclare {
                exclusive: true,
                durable: false,
                ..declare.clone()
            },
        ),
        (
            "auto-delete",
            QueueDeclare {
                auto_delete: true,
                exclusive: true,
                ..declare.clone()
            },
        ),
    ] {
        let text = format!("invalid property '{property}' for queue '{name}' in vhost '/'");
        assert_eq!(refused(&mut client, wrong), text);
    }
    let text = "Cannot declare a server-named queue for type rabbit_quorum_queue";
    assert_eq!(refused(&mut client, quorum("")), text);
}

#[test]
fn arguments_of_other_types_are_refused() {
    let mut client = client();
    for (argument, value) in [
        ("x-max-priority", FieldValue::Int(5)),
        ("x-queue-mode", "lazy".into()),
        ("x-queue-version", FieldValue::Int(2)),
        ("x-queue-master-locator", "min-masters".into()),
        ("x-max-age", "1h".into()),
        ("x-initial-cluster-size", FieldValue::Int(1)),
    ] {
        let name = unique("other");
        let text =
            format!("invalid arg '{argument}' for queue '{name}' in vhost '/' of queue type rabbit_quorum_queue");
        assert_eq!(refused(&mut client, quorum_with(&name, argument, value)), text);
    }
}

#[test]
fn a_wrong_value_is_refused() {
    let mut client = client();
    let no_integer = "\"expected integer, got longstr\"";
    for (argument, value, reason) in [
        ("x-quorum-initial-group-size", FieldValue::Int(0), "{value_zero,0}"),
        (
            "x-quorum-initial-group-size",
            FieldValue::Int(-1),
            "{value_negative,-1}",
        ),
        ("x-quorum-initial-group-size", "a".into(), no_integer),
        ("x-max-in-memory-length", FieldValue::Int(-1), "{value_negative,-1}"),
        (
            "x-consumer-disconnected-timeout",
            FieldValue::Int(-1),
            "{value_negative,-1}",
        ),
        ("x-dead-letter-strategy", "odd".into(), "invalid_dlx_strategy"),
        (
            "x-dead-letter-strategy",
            FieldValue::Int(1),
            "{unacceptable_type,signedint}",
        ),
        ("x-queue-leader-locator", "odd".into(), "invalid_queue_locator_arg"),
    ] {
        let name = unique("wrong");
        let text = format!("invalid arg '{argument}' for queue '{name}' in vhost '/': {reason}");
        assert_eq!(refused(&mut client, quorum_with(&name, argument, value)), text);
    }
}

#[test]
fn arguments_that_mean_nothing_on_one_node_are_taken() {
    let mut client = client();
    for (argument, value) in [
        ("x-quorum-initial-group-size", FieldValue::Int(3)),
        ("x-max-in-memory-length", FieldValue::Int(1)),
        ("x-max-in-memory-bytes", FieldValue::Int(1)),
        ("x-consumer-disconnected-timeout", FieldValue::Int(5)),
        ("x-dead-letter-strategy", "at-least-once".into()),
        ("x-dead-letter-strategy", "at-most-once".into()),
        ("x-queue-leader-locator", "balanced".into()),
        ("x-member-placement-tag", "here".into()),
        ("x-mine", FieldValue::Void),
    ] {
        let name = unique("inert");
        call!(client, 1, quorum_with(&name, argument, value) => QueueDeclareOk);
        call!(client, 1, delete(&name) => QueueDeleteOk);
    }
}

#[test]
fn declaring_again_compares_the_type_and_its_arguments() {
    let mut client = client();
    let (name, plain, classic) = (unique("again"), unique("plain"), unique("classic"));
    call!(client, 1, quorum_with(&name, "x-max-length", 5) => QueueDeclareOk);
    call!(client, 1, quorum(&plain) => QueueDeclareOk);
    call!(client, 1, durable(&classic) => QueueDeclareOk);
    // Not an argument of quorum queues, so it is not compared.
    let mut same = quorum_with(&name, "x-max-length", 5);
    let mut arguments = same.arguments.to_table();
    arguments.push("x-max-priority".try_into().expect("a name"), FieldValue::Int(5));
    same.arguments = arguments.into();
    call!(client, 1, same => QueueDeclareOk);
    for (declare, argument, words) in [
        (
            durable(&plain),
            "x-queue-type",
            "received 'classic' but current is 'quorum'",
        ),
        (
            quorum(&classic),
            "x-queue-type",
            "received 'quorum' but current is 'classic'",
        ),
        (
            quorum(&name),
            "x-max-length",
            "received none but current is the value '5' of type 'signedint'",
        ),
        (
            quorum_with(&name, "x-max-length", 6),
            "x-max-length",
            "received '6' but current is '5'",
        ),
    ] {
        let queue = declare.queue.to_str_lossy().into_owned();
        let text = format!("inequivalent arg '{argument}' for queue '{queue}' in vhost '/': {words}");
        assert_eq!(refused(&mut client, declare), text);
    }
    for queue in [name, plain, classic] {
        call!(client, 1, delete(&queue) => QueueDeleteOk);
    }
}

#[test]
fn messages_of_a_single_active_consumer_are_for_it_alone() {
    let mut client = client();
    let name = unique("single");
    call!(client, 1, quorum_with(&name, "x-single-active-consumer", true) => QueueDeclareOk);
    client.send(1, get(&name));
    let text = format!(
        "RESOURCE_LOCKED - cannot obtain access to locked queue '{name}' in vhost '/'. basic.get operations are not \
         supported by <<\"quorum\">> queues with single active consumer"
    );
    client.channel_error(1, 405, &text);
    client.open_channel(1);
    call!(client, 1, delete(&name) => QueueDeleteOk);
}

/// RabbitMQ does not delete quorum queues under conditions: 540.
#[test]
fn conditions_of_a_deletion_hold() {
    if is_rabbitmq() {
        return;
    }
    let mut client = client();
    let name = unique("conditions");
    call!(client, 1, quorum(&name) => QueueDeclareOk);
    client.publish(1, "", &name, b"a");
    let if_empty = QueueDelete {
        if_empty: true,
        ..delete(&name)
    };
    client.send(1, if_empty.clone());
    let text = format!("PRECONDITION_FAILED - queue '{name}' in vhost '/' not empty");
    client.channel_error(1, 406, &text);
    client.open_channel(1);
    call!(client, 1, purge(&name) => QueuePurgeOk);
    call!(client, 1, if_empty => QueueDeleteOk);
}

#[test]
fn a_limit_of_the_channel_is_taken() {
    let mut client = client();
    let name = unique("qos");
    call!(client, 1, quorum(&name) => QueueDeclareOk);
    let qos = BasicQos {
        global: true,
        ..prefetch(1)
    };
    call!(client, 1, qos => BasicQosOk);
    call!(client, 1, consume(&name, "c") => BasicConsumeOk);
    client.publish(1, "", &name, b"a");
    let first = client.delivery(1);
    client.publish(1, "", &name, b"b");
    client.quiet(Duration::from_millis(100));
    client.send(1, ack(first.method.delivery_tag));
    assert_eq!(client.delivery(1).body, "b");
    call!(client, 1, cancel("c") => BasicCancelOk);
    call!(client, 1, delete(&name) => QueueDeleteOk);
}

#[test]
fn the_api_tells_the_type() {
    let mut client = client();
    let name = unique("typed");
    call!(client, 1, quorum(&name) => QueueDeclareOk);
    let http = Http::new(Broker::shared().http());
    let path = format!("/api/queues/%2F/{name}");
    until("the type is there", Duration::from_secs(10), || {
        http.get(&path)["type"] == "quorum"
    });
    let object = http.get(&path);
    assert_eq!(object["arguments"]["x-queue-type"], "quorum");
    assert_eq!(object["leader"], object["node"]);
    for replicas in ["members", "online"] {
        assert_eq!(object[replicas], json!([object["node"]]), "{replicas}");
    }
    call!(client, 1, delete(&name) => QueueDeleteOk);
}
