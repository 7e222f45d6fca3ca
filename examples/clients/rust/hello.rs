//! Publish a message and wait for its confirm; consume and acknowledge it.
//!
//! `cargo add lapin futures`, `cargo add tokio --features macros,rt-multi-thread`, this file as `src/main.rs`, `cargo run`.

use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("AMQP_URL").unwrap_or_else(|_| "amqp://guest:guest@localhost:5672/%2f".to_owned());
    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare("hello-rust".into(), durable, FieldTable::default())
        .await?;

    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    let confirm = channel
        .basic_publish("".into(), "hello-rust".into(), options, b"hello", persistent)
        .await?;
    assert!(confirm.await?.is_ack()); // the message is on disk
    println!("confirmed");

    let options = BasicConsumeOptions::default();
    let mut consumer = channel
        .basic_consume("hello-rust".into(), "".into(), options, FieldTable::default())
        .await?;
    let delivery = consumer.next().await.ok_or("the consumer was cancelled")??;
    println!("received {}", String::from_utf8_lossy(&delivery.data));
    delivery.ack(BasicAckOptions::default()).await?;
    connection.close(200, "done".into()).await?;
    Ok(())
}
