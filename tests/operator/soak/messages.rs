//! Messages in the queues that are kept, confirmed all along: each is there at the end. Others now and then get one.
//!
//! In: brokers that come and go. Out: the history of what was sent, and the verdict over what is found.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use harness::history::{Entry, Found, History, Summary};
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{sleep, timeout};

use super::Soak;

/// The time that an answer may take before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two messages, and between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);
/// One message in so many goes to a queue that isn't kept.
const ELSEWHERE: u32 = 30;

async fn open(uri: &str) -> lapin::Result<(Connection, Channel)> {
    let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok((connection, channel))
}

/// One persistent message, confirmed; one that no queue takes comes back.
async fn publish(channel: &Channel, queue: &str, body: &[u8], mandatory: bool) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions {
        mandatory,
        ..BasicPublishOptions::default()
    };
    let properties = BasicProperties::default().with_delivery_mode(2);
    let sent = channel.basic_publish("".into(), queue.into(), options, body, properties);
    sent.await?.await
}

/// The message with which a queue begins: from now on it is never empty.
pub(super) async fn first(soak: &Soak, number: usize) {
    let (_connection, channel) = open(&soak.hosts[number].uri()).await.expect("the broker is there");
    for queue in soak.plan.kept(number) {
        let confirmed = publish(
            &channel,
            &queue,
            &Entry {
                publisher: 0,
                number: 0,
            }
            .body(100),
            true,
        )
        .await;
        assert!(
            matches!(confirmed, Ok(Confirmation::Ack(None))),
            "{queue}: {confirmed:?}"
        );
    }
}

/// Sends until the end, on one connection after the other. Each is a publisher of its own.
pub(super) async fn send(soak: Arc<Soak>, number: usize) -> History {
    let mut random = soak.chance(300 + number as u64);
    let mut history = History::default();
    let queues = soak.plan.kept(number);
    for queue in &queues {
        let begun = history.publishes.entry((0, queue.clone())).or_default();
        begun.sent = 1;
        begun.confirmed.insert(0);
    }
    history.untouched.extend(queues.iter().cloned());
    let mut publisher = 0;
    while soak.goes_on() {
        publisher += 1;
        let session = session(&soak, number, publisher, &mut history, &mut random);
        let _ = session.await; // it ends when the broker goes: that is what this is about
        sleep(PAUSE).await;
    }
    history
}

/// Sends until the end, or until the broker is gone.
async fn session(
    soak: &Soak,
    on: usize,
    publisher: u32,
    history: &mut History,
    random: &mut StdRng,
) -> Result<(), String> {
    let text = |error: lapin::Error| error.to_string();
    let late = |_| "nothing came".to_owned();
    let opened = timeout(PATIENCE, open(&soak.hosts[on].uri())).await;
    let (_connection, channel) = opened.map_err(late)?.map_err(text)?;
    let queues = soak.plan.kept(on);
    for queue in queues.iter().cycle() {
        if !soak.goes_on() {
            break;
        }
        if random.random_range(0..ELSEWHERE) == 0 {
            let other = soak.plan.some("Queue", on, random);
            let sent = timeout(PATIENCE, publish(&channel, &other, b"passing", false));
            sent.await.map_err(late)?.map_err(text)?;
        }
        let publishes = history.publishes.entry((publisher, queue.clone())).or_default();
        let number = publishes.sent;
        publishes.sent += 1; // even a failed send may have left the machine
        let body = Entry { publisher, number }.body(random.random_range(20..2000));
        let sent = timeout(PATIENCE, publish(&channel, queue, &body, true));
        match sent.await.map_err(late)?.map_err(text)? {
            Confirmation::Ack(None) => _ = publishes.confirmed.insert(number),
            Confirmation::Ack(Some(_)) => panic!("{queue} is gone: a message of it came back"),
            other => return Err(format!("{other:?}")),
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Takes everything out of the queues that are kept and compares it with the history.
pub(super) async fn check(soak: &Soak, number: usize, history: &History) -> Summary {
    let (_connection, channel) = open(&soak.hosts[number].uri()).await.expect("the broker is there");
    let mut found = Vec::new();
    for queue in soak.plan.kept(number) {
        found.extend(drain(&channel, &queue).await);
    }
    history
        .check(&found)
        .unwrap_or_else(|broken| panic!("{}", broken.lines().take(30).collect::<Vec<_>>().join("\n")))
}

async fn drain(channel: &Channel, queue: &str) -> Vec<Found> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(queue.into(), passive, FieldTable::default());
    let count = declared.await.expect("it is there").message_count();
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
    let mut consumer = consumer.await.expect("a consumer");
    let mut found = Vec::new();
    for _ in 0..count {
        let delivery = timeout(PATIENCE, consumer.next()).await.expect("there are more");
        let delivery = delivery.expect("a delivery").expect("no error");
        found.push(Found {
            queue: queue.to_owned(),
            body: delivery.data,
            redelivered: delivery.redelivered,
        });
    }
    found
}
