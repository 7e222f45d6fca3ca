//! basic.get.

use harness::call;
use harness::requests::*;
use leveret_amqp::method::*;

use crate::client;

#[test]
fn it_takes_one_and_tells_how_many_remain() {
    let mut client = client();
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    assert!(client.get(1, &queue, false).is_none());
    for number in 0..3u8 {
        client.publish(1, "", &queue, &[number]);
    }
    for number in 0..3u8 {
        let message = client.get(1, &queue, false).expect("a message");
        assert_eq!(message.body[..], [number]);
        let method = message.method;
        assert_eq!(
            (method.delivery_tag, method.redelivered, method.message_count),
            (number as u64 + 1, false, 2 - number as u32)
        );
        assert_eq!(
            (method.exchange.as_bytes(), method.routing_key.as_bytes()),
            (&b""[..], queue.as_bytes())
        );
    }
    assert!(client.get(1, &queue, false).is_none());
}

#[test]
fn without_acknowledgement_it_is_settled_at_once() {
    let mut client = client();
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    client.open_channel(2);
    client.publish(1, "", &queue, b"x");
    let message = client.get(2, &queue, true).expect("a message");
    call!(client, 2, ChannelClose { reply_code: 200, ..ChannelClose::default() } => ChannelCloseOk);
    assert!(client.get(1, &queue, true).is_none());
    client.send(1, ack(message.method.delivery_tag));
    client.channel_error(1, 406, "PRECONDITION_FAILED - unknown delivery tag 1");
}

#[test]
fn a_missing_queue_is_not_found() {
    let mut client = client();
    let missing = unique("missing");
    client.send(1, get(&missing));
    let close = client.channel_error(1, 404, &format!("NOT_FOUND - no queue '{missing}' in vhost '/'"));
    assert_eq!((close.class_id, close.method_id), BasicGet::ID);
}
