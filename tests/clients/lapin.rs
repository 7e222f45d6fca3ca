//! Rust's lapin, in this process.

use futures::StreamExt;
use harness::Broker;
use harness::requests::unique;
use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ErrorKind};

async fn connect(password: &str) -> lapin::Result<Connection> {
    let uri = format!("amqp://guest:{password}@{}/%2f", Broker::shared().amqp());
    Connection::connect(&uri, ConnectionProperties::default()).await
}

async fn channel() -> Channel {
    let connection = connect("guest").await.expect("a connection");
    connection.create_channel().await.expect("a channel")
}

async fn declare(channel: &Channel, queue: &str, options: QueueDeclareOptions) -> lapin::Result<()> {
    channel
        .queue_declare(queue.into(), options, FieldTable::default())
        .await
        .map(drop)
}

#[tokio::test]
async fn it_sends_and_receives() {
    let channel = channel().await;
    let queue = unique("lapin");
    declare(
        &channel,
        &queue,
        QueueDeclareOptions {
            exclusive: true,
            ..Default::default()
        },
    )
    .await
    .expect("a queue");
    channel
        .basic_qos(10, BasicQosOptions::default())
        .await
        .expect("a prefetch");
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = channel
        .basic_consume(queue.as_str().into(), "".into(), options, none)
        .await
        .expect("a consumer");
    for number in 0..100u32 {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let body = number.to_be_bytes();
        channel
            .basic_publish("".into(), queue.as_str().into(), options, &body, properties)
            .await
            .expect("a publish");
    }
    for number in 0..100u32 {
        let delivery = consumer.next().await.expect("a delivery").expect("no error");
        assert_eq!(delivery.data[..], number.to_be_bytes());
        delivery.ack(BasicAckOptions::default()).await.expect("an ack");
    }
}

#[tokio::test]
async fn it_gets_confirms_and_returns() {
    let channel = channel().await;
    let queue = unique("lapin");
    declare(
        &channel,
        &queue,
        QueueDeclareOptions {
            durable: true,
            ..Default::default()
        },
    )
    .await
    .expect("a queue");
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .expect("confirms");
    let mandatory = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let publish = async |key: &str| {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let confirm = channel
            .basic_publish("".into(), key.into(), mandatory, b"x", properties)
            .await
            .expect("a publish");
        confirm.await.expect("a confirm")
    };
    for _ in 0..20 {
        assert!(matches!(publish(&queue).await, Confirmation::Ack(None)));
    }
    match publish("nowhere-at-all").await {
        Confirmation::Ack(Some(returned)) => assert_eq!(returned.reply_code, 312),
        other => panic!("{other:?}"),
    }
    let deleted = channel
        .queue_delete(queue.as_str().into(), QueueDeleteOptions::default())
        .await
        .expect("a deletion");
    assert_eq!(deleted, 20);
}

#[tokio::test]
async fn it_is_refused_a_login() {
    let error = connect("wrong").await.expect_err("a wrong password");
    match error.kind() {
        ErrorKind::ProtocolError(refused) => assert_eq!(refused.get_id(), 403),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_is_refused_a_queue() {
    let channel = channel().await;
    let queue = unique("lapin");
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..Default::default()
    };
    declare(&channel, &queue, exclusive).await.expect("a queue");
    let other = QueueDeclareOptions {
        auto_delete: true,
        ..exclusive
    };
    let error = declare(&channel, &queue, other)
        .await
        .expect_err("an inequivalent queue");
    match error.kind() {
        ErrorKind::ProtocolError(refused) => {
            assert_eq!(refused.get_id(), 406);
            assert!(
                refused
                    .get_message()
                    .as_str()
                    .contains("inequivalent arg 'auto_delete'"),
                "{refused:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}
