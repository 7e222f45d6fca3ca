//! Bindings from exchange to exchange.

use harness::call;
use harness::requests::*;
use leveret_amqp::method::*;

use crate::client;

#[test]
fn a_message_goes_on_through_a_chain() {
    let mut client = client();
    let (first, second, queue) = (unique("first"), unique("second"), unique("q"));
    call!(client, 1, exchange(&first, "topic") => ExchangeDeclareOk);
    call!(client, 1, exchange(&second, "direct") => ExchangeDeclareOk);
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, bind_exchange(&second, &first, "order.*") => ExchangeBindOk);
    call!(client, 1, bind(&queue, &second, "order.new") => QueueBindOk);
    client.publish(1, &first, "order.new", b"new");
    client.publish(1, &first, "order.old", b"old");
    let message = client.get(1, &queue, true).expect("routed twice");
    assert_eq!(
        message.method.exchange.as_bytes(),
        first.as_bytes(),
        "it keeps the exchange it was published to"
    );
    assert!(client.get(1, &queue, true).is_none());
    call!(client, 1, unbind_exchange(&second, &first, "order.*") => ExchangeUnbindOk);
    client.publish(1, &first, "order.new", b"new");
    assert!(client.get(1, &queue, true).is_none(), "unbound");
    call!(client, 1, delete_exchange(&first) => ExchangeDeleteOk);
    call!(client, 1, delete_exchange(&second) => ExchangeDeleteOk);
}

#[test]
fn a_loop_ends_and_each_queue_gets_one_copy() {
    let mut client = client();
    let (one, two, queue) = (unique("one"), unique("two"), unique("q"));
    for name in [&one, &two] {
        call!(client, 1, exchange(name, "fanout") => ExchangeDeclareOk);
    }
    call!(client, 1, bind_exchange(&one, &two, "") => ExchangeBindOk);
    call!(client, 1, bind_exchange(&two, &one, "") => ExchangeBindOk);
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    for name in [&one, &two] {
        call!(client, 1, bind(&queue, name, "") => QueueBindOk);
    }
    client.publish(1, &one, "", b"x");
    assert!(client.get(1, &queue, true).is_some());
    assert!(client.get(1, &queue, true).is_none());
    for name in [&one, &two] {
        call!(client, 1, delete_exchange(name) => ExchangeDeleteOk);
    }
}

#[test]
fn both_ends_must_exist() {
    let mut client = client();
    let nowhere = unique("nowhere");
    for (destination, source) in [("amq.fanout", nowhere.as_str()), (nowhere.as_str(), "amq.fanout")] {
        client.send(1, bind_exchange(destination, source, ""));
        let close = client.channel_error(1, 404, &format!("NOT_FOUND - no exchange '{nowhere}' in vhost '/'"));
        assert_eq!((close.class_id, close.method_id), ExchangeBind::ID);
        client.open_channel(1);
    }
}

#[test]
fn a_deleted_exchange_takes_its_bindings_along() {
    let mut client = client();
    let (from, to, queue) = (unique("from"), unique("to"), unique("q"));
    call!(client, 1, exchange(&from, "fanout") => ExchangeDeclareOk);
    call!(client, 1, exchange(&to, "fanout") => ExchangeDeclareOk);
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, bind(&queue, &to, "") => QueueBindOk);
    call!(client, 1, bind_exchange(&to, &from, "") => ExchangeBindOk);
    call!(client, 1, delete_exchange(&to) => ExchangeDeleteOk);
    call!(client, 1, exchange(&to, "fanout") => ExchangeDeclareOk);
    client.publish(1, &from, "", b"x");
    assert!(
        client.get(1, &queue, true).is_none(),
        "neither binding came back with the name"
    );
    let if_unused = ExchangeDelete {
        if_unused: true,
        ..delete_exchange(&from)
    };
    call!(client, 1, if_unused => ExchangeDeleteOk);
    call!(client, 1, delete_exchange(&to) => ExchangeDeleteOk);
}

#[test]
fn an_auto_delete_source_goes_with_its_last_destination() {
    let mut client = client();
    let (from, to) = (unique("from"), unique("to"));
    call!(client, 1, ExchangeDeclare { auto_delete: true, ..exchange(&from, "fanout") } => ExchangeDeclareOk);
    call!(client, 1, exchange(&to, "fanout") => ExchangeDeclareOk);
    call!(client, 1, bind_exchange(&to, &from, "") => ExchangeBindOk);
    call!(client, 1, delete_exchange(&to) => ExchangeDeleteOk);
    client.send(1, passive_exchange(&from));
    client.channel_error(1, 404, &format!("NOT_FOUND - no exchange '{from}' in vhost '/'"));
}

#[test]
fn unbinding_what_is_not_bound_is_no_error() {
    let mut client = client();
    call!(client, 1, unbind_exchange("amq.fanout", "amq.direct", &unique("k")) => ExchangeUnbindOk);
}
