//! Queues: declared, compared, purged, deleted; whose they are.

use std::time::Duration;

use harness::requests::*;
use harness::wait::until;
use harness::{Client, call, expect};
use leveret_amqp::method::*;

use crate::{broker, client};

fn missing(queue: &str) -> String {
    format!("NOT_FOUND - no queue '{queue}' in vhost '/'")
}

#[test]
fn a_declare_answers_with_name_and_counts() {
    let mut client = client();
    let queue = unique("counts");
    let ok = call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    assert_eq!(
        (ok.queue.as_bytes(), ok.message_count, ok.consumer_count),
        (queue.as_bytes(), 0, 0)
    );
    for _ in 0..3 {
        client.publish(1, "", &queue, b"x");
    }
    let all = || call!(client, 1, passive(&queue) => QueueDeclareOk).message_count == 3;
    until("all three are ready", Duration::from_secs(2), all);
    client.get(1, &queue, false);
    call!(client, 1, BasicConsume { no_ack: false, ..consume(&queue, "c") } => BasicConsumeOk);
    client.delivery(1);
    client.delivery(1);
    let ok = call!(client, 1, passive(&queue) => QueueDeclareOk);
    assert_eq!(
        (ok.message_count, ok.consumer_count),
        (0, 1),
        "only what is ready counts"
    );
}

#[test]
fn the_server_names_a_queue_without_a_name() {
    let mut client = client();
    let one = call!(client, 1, exclusive("") => QueueDeclareOk).queue;
    let two = call!(client, 1, exclusive("") => QueueDeclareOk).queue;
    assert!(one.as_bytes().starts_with(b"amq.gen-") && one != two, "{one:?} {two:?}");
    let name = two.to_str_lossy().into_owned();
    client.publish(1, "", &name, b"x");
    assert!(
        client.get(1, "", true).is_some(),
        "an empty name is the last one declared on the channel"
    );
}

#[test]
fn line_ends_are_taken_out_of_names() {
    let mut client = client();
    let name = unique("line");
    let ok = call!(client, 1, exclusive(&format!("\r\n{name}\n")) => QueueDeclareOk);
    assert_eq!(ok.queue.as_bytes(), name.as_bytes());
}

#[test]
fn without_a_declare_there_is_no_last_queue() {
    let mut client = client();
    client.send(1, get(""));
    client.channel_error(1, 404, "NOT_FOUND - no previously declared queue");
}

#[test]
fn reserved_names_are_refused() {
    let mut client = client();
    client.send(1, declare("amq.mine"));
    client.channel_error(
        1,
        403,
        "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'",
    );
}

#[test]
fn declaring_again_must_be_the_same() {
    let mut client = client();
    let queue = unique("same");
    let declared = QueueDeclare {
        durable: true,
        ..declare(&queue)
    };
    call!(client, 1, declared.clone() => QueueDeclareOk);
    call!(client, 1, declared.clone() => QueueDeclareOk);
    for (other, argument, words) in [
        (
            QueueDeclare {
                durable: false,
                ..declared.clone()
            },
            "durable",
            "received 'false' but current is 'true'",
        ),
        (
            QueueDeclare {
                auto_delete: true,
                ..declared.clone()
            },
            "auto_delete",
            "received 'true' but current is 'false'",
        ),
    ] {
        client.send(1, other);
        let text =
            format!("PRECONDITION_FAILED - inequivalent arg '{argument}' for queue '{queue}' in vhost '/': {words}");
        let close = client.channel_error(1, 406, &text);
        assert_eq!((close.class_id, close.method_id), QueueDeclare::ID);
        client.open_channel(1);
    }
    client.send(
        1,
        QueueDeclare {
            exclusive: true,
            ..declared
        },
    );
    let text = format!(
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'. \
         It could be originally declared on another connection or the exclusive property value does not match that of \
         the original declaration."
    );
    client.channel_error(1, 405, &text);
    client.open_channel(1);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn passive_only_asks() {
    let mut client = client();
    let queue = unique("ask");
    client.send(1, passive(&queue));
    client.channel_error(1, 404, &missing(&queue));
    client.open_channel(1);
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, passive(&queue) => QueueDeclareOk);
    // No name is not the last one declared here.
    client.send(1, passive(""));
    client.channel_error(1, 404, &missing(""));
}

#[test]
fn names_are_stripped_wherever_they_declare_bind_or_delete() {
    let mut client = client();
    let (queue, key) = (unique("line"), unique("key"));
    let broken = queue.replacen('-', "\r\n-", 1);
    call!(client, 1, exclusive(&broken) => QueueDeclareOk);
    call!(client, 1, passive(&broken) => QueueDeclareOk);
    call!(client, 1, bind(&broken, "amq.\ndirect", &key) => QueueBindOk);
    client.publish(1, "amq.direct", &key, b"x");
    assert!(client.get(1, &queue, true).is_some());
    call!(client, 1, unbind(&broken, "amq.\ndirect", &key) => QueueUnbindOk);
    client.publish(1, "amq.direct", &key, b"x");
    assert!(client.get(1, &queue, true).is_none());
    call!(client, 1, delete(&broken) => QueueDeleteOk);
    client.send(1, passive(&queue));
    client.channel_error(1, 404, &missing(&queue));
    client.open_channel(1);
    let name = unique("line");
    let broken = name.replacen('-', "\n-", 1);
    call!(client, 1, exchange(&broken, "direct") => ExchangeDeclareOk);
    call!(client, 1, bind_exchange(&broken, "amq.direct", &key) => ExchangeBindOk);
    call!(client, 1, delete_exchange(&broken) => ExchangeDeleteOk);
    client.send(1, passive_exchange(&name));
    client.channel_error(1, 404, &format!("NOT_FOUND - no exchange '{name}' in vhost '/'"));
    client.open_channel(1);
    // As from RabbitMQ, not where a queue is only used.
    client.send(1, purge("line\n"));
    client.channel_error(1, 404, &missing("line\n"));
}

#[test]
fn an_exclusive_queue_is_not_durable() {
    let mut client = client();
    let queue = unique("mine");
    call!(client, 1, QueueDeclare { durable: true, ..exclusive(&queue) } => QueueDeclareOk);
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
}

#[test]
fn an_exclusive_queue_is_its_connections_alone() {
    let mut owner = client();
    let mut other = client();
    let queue = unique("mine");
    call!(owner, 1, exclusive(&queue) => QueueDeclareOk);
    let locked = format!(
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'. \
         It could be originally declared on another connection or the exclusive property value does not match that of \
         the original declaration."
    );
    let attempts: [(&str, leveret_amqp::Method); 7] = [
        ("declare", exclusive(&queue).into()),
        ("passive", passive(&queue).into()),
        ("consume", consume(&queue, "c").into()),
        ("get", get(&queue).into()),
        ("purge", purge(&queue).into()),
        ("delete", delete(&queue).into()),
        ("bind", bind(&queue, "amq.direct", "k").into()),
    ];
    for (what, method) in attempts {
        other.send(1, method);
        let close = expect!(other, 1, ChannelClose);
        assert_eq!(
            (close.reply_code, close.reply_text.to_str_lossy().as_ref()),
            (405, locked.as_str()),
            "{what}"
        );
        other.send(1, ChannelCloseOk::default());
        other.open_channel(1);
    }
    other.publish(1, "", &queue, b"publishing is open to all");
    let arrived = || call!(owner, 1, passive(&queue) => QueueDeclareOk).message_count == 1;
    until("the message is there", Duration::from_secs(5), arrived);
}

#[test]
fn an_exclusive_queue_is_gone_before_the_close_is_answered() {
    let queue = unique("mine");
    for _ in 0..20 {
        let mut owner = client();
        call!(owner, 1, exclusive(&queue) => QueueDeclareOk);
        owner.close();
    }
}

#[test]
fn an_exclusive_queue_goes_when_the_socket_breaks() {
    let queue = unique("mine");
    let mut owner = client();
    call!(owner, 1, exclusive(&queue) => QueueDeclareOk);
    drop(owner);
    let mut other = client();
    until("the queue is gone", Duration::from_secs(5), || {
        other.send(1, passive(&queue));
        let close = expect!(other, 1, ChannelClose);
        other.send(1, ChannelCloseOk::default());
        other.open_channel(1);
        close.reply_code == 404
    });
}

#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer() {
    let mut client = client();
    let queue = unique("auto");
    call!(client, 1, QueueDeclare { auto_delete: true, ..declare(&queue) } => QueueDeclareOk);
    client.open_channel(2);
    call!(client, 1, consume(&queue, "one") => BasicConsumeOk);
    call!(client, 2, consume(&queue, "two") => BasicConsumeOk);
    call!(client, 1, cancel("one") => BasicCancelOk);
    call!(client, 1, passive(&queue) => QueueDeclareOk);
    call!(client, 2, ChannelClose { reply_code: 200, ..ChannelClose::default() } => ChannelCloseOk);
    client.send(1, passive(&queue));
    client.channel_error(1, 404, &missing(&queue));
}

#[test]
fn an_auto_delete_queue_that_nobody_consumed_stays() {
    let queue = unique("auto");
    let mut first = client();
    call!(first, 1, QueueDeclare { auto_delete: true, ..declare(&queue) } => QueueDeclareOk);
    first.close();
    let mut second = client();
    call!(second, 1, passive(&queue) => QueueDeclareOk);
    call!(second, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn a_transient_queue_outlives_its_connection() {
    let queue = unique("transient");
    let mut first = client();
    call!(first, 1, declare(&queue) => QueueDeclareOk);
    first.close();
    let mut second = client();
    call!(second, 1, declare(&queue) => QueueDeclareOk);
    call!(second, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn purge_takes_what_is_ready_and_counts_it() {
    let mut client = client();
    let queue = unique("purged");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    for _ in 0..5 {
        client.publish(1, "", &queue, b"x");
    }
    let held = client.get(1, &queue, false).expect("a message").method.delivery_tag;
    assert_eq!(call!(client, 1, purge(&queue) => QueuePurgeOk).message_count, 4);
    client.send(1, requeue(held));
    assert_eq!(
        call!(client, 1, purge(&queue) => QueuePurgeOk).message_count,
        1,
        "what was not acknowledged was kept"
    );
    client.send(1, purge(&unique("missing")));
    assert_eq!(expect!(client, 1, ChannelClose).reply_code, 404);
}

#[test]
fn delete_counts_the_messages_and_is_repeatable() {
    let mut client = client();
    let queue = unique("deleted");
    call!(client, 1, declare(&queue) => QueueDeclareOk);
    client.publish(1, "", &queue, b"x");
    assert_eq!(call!(client, 1, delete(&queue) => QueueDeleteOk).message_count, 1);
    assert_eq!(call!(client, 1, delete(&queue) => QueueDeleteOk).message_count, 0);
}

#[test]
fn delete_if_empty_looks_at_the_messages() {
    let mut client = client();
    let queue = unique("full");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    client.publish(1, "", &queue, b"x");
    let if_empty = QueueDelete {
        if_empty: true,
        ..delete(&queue)
    };
    client.send(1, if_empty.clone());
    let close = client.channel_error(
        1,
        406,
        &format!("PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty"),
    );
    assert_eq!((close.class_id, close.method_id), QueueDelete::ID);
    client.open_channel(1);
    client.get(1, &queue, true);
    call!(client, 1, if_empty => QueueDeleteOk);
}

#[test]
fn delete_if_unused_looks_at_the_consumers() {
    let mut client = client();
    let queue = unique("used");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    client.open_channel(2);
    call!(client, 2, consume(&queue, "c") => BasicConsumeOk);
    let if_unused = QueueDelete {
        if_unused: true,
        ..delete(&queue)
    };
    client.send(1, if_unused.clone());
    client.channel_error(
        1,
        406,
        &format!("PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use"),
    );
    client.open_channel(1);
    call!(client, 2, cancel("c") => BasicCancelOk);
    call!(client, 1, if_unused => QueueDeleteOk);
}

#[test]
fn no_wait_brings_no_answer() {
    let mut client = client();
    let queue = unique("nowait");
    client.send(
        1,
        QueueDeclare {
            no_wait: true,
            ..exclusive(&queue)
        },
    );
    client.send(
        1,
        QueueBind {
            no_wait: true,
            ..bind(&queue, "amq.direct", &queue)
        },
    );
    client.publish(1, "amq.direct", &queue, b"x");
    client.send(
        1,
        QueuePurge {
            no_wait: true,
            ..purge(&queue)
        },
    );
    client.send(
        1,
        QueueDelete {
            no_wait: true,
            ..delete(&queue)
        },
    );
    client.quiet(Duration::from_millis(100));
    client.send(1, passive(&queue));
    client.channel_error(1, 404, &missing(&queue));
}

#[test]
fn a_queue_of_the_longest_name_works() {
    let mut client = Client::with_channel(broker());
    let queue = format!("{:-<255}", unique("long"));
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    client.publish(1, "", &queue, b"x");
    assert!(client.get(1, &queue, true).is_some());
}
