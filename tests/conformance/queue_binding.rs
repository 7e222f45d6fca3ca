//! Bindings from exchange to queue.

use harness::call;
use harness::requests::*;
use harness::scripted_client::table;
use leveret_amqp::RawTable;
use leveret_amqp::method::*;

use crate::client;

#[test]
fn binding_twice_is_one_binding() {
    let mut client = client();
    let (queue, key) = (unique("q"), unique("key"));
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, bind(&queue, "amq.direct", &key) => QueueBindOk);
    call!(client, 1, bind(&queue, "amq.direct", &key) => QueueBindOk);
    client.publish(1, "amq.direct", &key, b"x");
    assert!(client.get(1, &queue, true).is_some());
    assert!(client.get(1, &queue, true).is_none());
    call!(client, 1, unbind(&queue, "amq.direct", &key) => QueueUnbindOk);
    client.publish(1, "amq.direct", &key, b"x");
    assert!(client.get(1, &queue, true).is_none(), "one unbind is enough");
}

#[test]
fn unbinding_what_is_not_bound_is_no_error() {
    let mut client = client();
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, unbind(&queue, "amq.direct", "never") => QueueUnbindOk);
}

#[test]
fn both_ends_must_exist() {
    let mut client = client();
    let (queue, nowhere) = (unique("q"), unique("nowhere"));
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    client.send(1, bind(&queue, &nowhere, "k"));
    let close = client.channel_error(1, 404, &format!("NOT_FOUND - no exchange '{nowhere}' in vhost '/'"));
    assert_eq!((close.class_id, close.method_id), QueueBind::ID);
    client.open_channel(1);
    client.send(1, bind(&nowhere, "amq.direct", "k"));
    client.channel_error(1, 404, &format!("NOT_FOUND - no queue '{nowhere}' in vhost '/'"));
}

#[test]
fn an_empty_queue_name_is_the_last_declared() {
    let mut client = client();
    let queue = unique("last");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, bind("", "amq.direct", &queue) => QueueBindOk);
    client.publish(1, "amq.direct", &queue, b"x");
    assert!(client.get(1, &queue, true).is_some());
    client.open_channel(2);
    client.send(2, bind("", "amq.direct", "k"));
    client.channel_error(2, 404, "NOT_FOUND - no previously declared queue");
}

#[test]
fn an_empty_queue_name_and_key_bind_by_the_queues_name() {
    let mut client = client();
    let queue = unique("last");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, bind("", "amq.direct", "") => QueueBindOk);
    client.publish(1, "amq.direct", &queue, b"x");
    assert!(client.get(1, &queue, true).is_some());
}

#[test]
fn a_queue_takes_its_bindings_along() {
    let mut client = client();
    let (queue, key) = (unique("q"), unique("key"));
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, bind(&queue, "amq.direct", &key) => QueueBindOk);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    client.publish(1, "amq.direct", &key, b"x");
    assert!(client.get(1, &queue, true).is_none());
}

#[test]
fn arguments_are_part_of_a_bindings_identity() {
    let mut client = client();
    let (queue, key) = (unique("q"), unique("key"));
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, bind(&queue, "amq.direct", &key) => QueueBindOk);
    let arguments: RawTable = table([("note", "second".into())]);
    call!(client, 1, QueueBind { arguments: arguments.clone(), ..bind(&queue, "amq.direct", &key) } => QueueBindOk);
    call!(client, 1, unbind(&queue, "amq.direct", &key) => QueueUnbindOk);
    client.publish(1, "amq.direct", &key, b"x");
    assert!(
        client.get(1, &queue, true).is_some(),
        "the one with arguments is still there"
    );
    call!(client, 1, QueueUnbind { arguments, ..unbind(&queue, "amq.direct", &key) } => QueueUnbindOk);
    client.publish(1, "amq.direct", &key, b"x");
    assert!(client.get(1, &queue, true).is_none());
}

#[test]
fn the_order_of_arguments_makes_no_other_binding() {
    let mut client = client();
    let (queue, key) = (unique("q"), unique("key"));
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    let one = || table([("a", 1.into()), ("b", 2.into())]);
    let other = || table([("b", 2.into()), ("a", 1.into())]);
    for arguments in [one(), other()] {
        call!(client, 1, QueueBind { arguments, ..bind(&queue, "amq.direct", &key) } => QueueBindOk);
    }
    call!(client, 1, QueueUnbind { arguments: other(), ..unbind(&queue, "amq.direct", &key) } => QueueUnbindOk);
    client.publish(1, "amq.direct", &key, b"x");
    assert!(
        client.get(1, &queue, true).is_none(),
        "it was one binding, and it is gone"
    );
}

#[test]
fn of_two_missing_ends_the_exchange_is_named() {
    let mut client = client();
    let nowhere = unique("nowhere");
    client.send(1, bind(&nowhere, &nowhere, "k"));
    client.channel_error(1, 404, &format!("NOT_FOUND - no exchange '{nowhere}' in vhost '/'"));
}

#[test]
fn unbinding_anothers_queue_is_refused_only_if_it_is_bound() {
    let (mut owner, mut other) = (client(), client());
    let (queue, key) = (unique("mine"), unique("key"));
    call!(owner, 1, exclusive(&queue) => QueueDeclareOk);
    call!(other, 1, unbind(&queue, "amq.direct", &key) => QueueUnbindOk);
    call!(owner, 1, bind(&queue, "amq.direct", &key) => QueueBindOk);
    other.send(1, unbind(&queue, "amq.direct", &key));
    assert_eq!(harness::expect!(other, 1, ChannelClose).reply_code, 405);
}

#[test]
fn a_queue_for_direct_replies_is_not_bound() {
    let mut client = client();
    let queue = "amq.rabbitmq.reply-to.nobodys";
    let methods: [leveret_amqp::Method; 2] = [
        bind(queue, "amq.direct", "k").into(),
        unbind(queue, "amq.direct", "k").into(),
    ];
    for method in methods {
        client.send(1, method);
        let text = "ACCESS_REFUSED - cannot bind or unbind to a volatile (direct reply-to) queue";
        client.channel_error(1, 403, text);
        client.open_channel(1);
    }
}
