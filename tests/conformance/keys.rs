//! Messages with several routing keys (CC, BCC), and those that no key leads anywhere (alternate exchanges).

use harness::requests::*;
use harness::scripted_client::table;
use harness::{Client, call};
use leveret_amqp::FieldValue;
use leveret_amqp::method::*;

use crate::client;

/// Publishes with further keys.
fn publish_to(client: &mut Client, exchange: &str, key: &str, (cc, bcc): (&[&str], &[&str])) {
    let list = |keys: &[&str]| FieldValue::Array(keys.iter().map(|key| FieldValue::from(*key)).collect());
    let sent = headers(table([("CC", list(cc)), ("BCC", list(bcc))]));
    client.publish_with(1, publish(exchange, key), &sent, b"x");
}

#[test]
fn all_keys_of_a_message_go_on_together() {
    let mut client = client();
    let (first, second, queue) = (unique("first"), unique("second"), unique("q"));
    for name in [&first, &second] {
        call!(client, 1, ExchangeDeclare { auto_delete: true, ..exchange(name, "direct") } => ExchangeDeclareOk);
    }
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, bind(&queue, &second, "k2") => QueueBindOk);
    call!(client, 1, bind_exchange(&second, &first, "k1") => ExchangeBindOk);
    publish_to(&mut client, &first, "k", (&["k1"], &["k2"]));
    assert!(
        client.get(1, &queue, true).is_some(),
        "by k1 to the second, by k2 to the queue"
    );
    assert!(client.get(1, &queue, true).is_none());
}

#[test]
fn an_alternate_gets_a_message_only_if_no_key_matches() {
    let mut client = client();
    let (name, queue, rest) = (unique("x"), unique("q"), unique("rest"));
    let alternate = unique("alternate");
    call!(client, 1, ExchangeDeclare { auto_delete: true, ..exchange(&alternate, "fanout") } => ExchangeDeclareOk);
    let arguments = table([("alternate-exchange", alternate.as_str().into())]);
    let declare = ExchangeDeclare {
        auto_delete: true,
        arguments,
        ..exchange(&name, "direct")
    };
    call!(client, 1, declare => ExchangeDeclareOk);
    for queue in [&queue, &rest] {
        call!(client, 1, exclusive(queue) => QueueDeclareOk);
    }
    call!(client, 1, bind(&queue, &name, "k") => QueueBindOk);
    call!(client, 1, bind(&rest, &alternate, "") => QueueBindOk);
    for (key, cc, to_queue) in [
        ("k", "other", true),
        ("other", "k", true),
        ("k", "k", true),
        ("other", "another", false),
    ] {
        publish_to(&mut client, &name, key, (&[cc], &[]));
        assert_eq!(client.get(1, &queue, true).is_some(), to_queue, "{key} and {cc}");
        assert_eq!(client.get(1, &rest, true).is_some(), !to_queue, "{key} and {cc}");
    }
    assert!(client.get(1, &queue, true).is_none() && client.get(1, &rest, true).is_none());
}
