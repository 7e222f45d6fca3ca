//! Sends numbered messages without end, and tells which were confirmed, whatever happens to the broker.
//!
//! In: an address, which is asked for at each attempt, and a queue. Out: a call for each confirmed number. Does not
//! know who counts them.

use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tokio::time::{sleep, timeout};

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(100);
/// The time to wait for an answer before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) async fn channel(uri: &str) -> lapin::Result<(Connection, Channel)> {
    let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok((connection, channel))
}

/// Sends one message after the other until `confirmed` says that it is enough.
pub(crate) async fn send_on(uri: impl Fn() -> String, queue: &str, mut confirmed: impl FnMut(u64) -> bool) {
    let (mut next, mut told) = (0, String::new());
    loop {
        match send(&uri(), queue, &mut next, &mut confirmed).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) if error.to_string() == told => {}
            Err(error) => {
                told = error.to_string();
                eprintln!("sender: {told}");
            }
        }
        sleep(PAUSE).await;
    }
}

/// Until something fails, or it is enough.
async fn send(uri: &str, queue: &str, next: &mut u64, confirmed: &mut impl FnMut(u64) -> bool) -> lapin::Result<bool> {
    // An address whose pod has just gone may not even refuse.
    let Ok(opened) = timeout(PATIENCE, channel(uri)).await else {
        return Ok(false);
    };
    let (_connection, channel) = opened?;
    loop {
        let number = *next;
        *next += 1;
        let properties = BasicProperties::default().with_delivery_mode(2);
        let (options, body) = (BasicPublishOptions::default(), number.to_be_bytes());
        let publish = channel.basic_publish("".into(), queue.into(), options, &body, properties);
        let Ok(confirmation) = timeout(PATIENCE, async { publish.await?.await }).await else {
            return Ok(false);
        };
        if matches!(confirmation?, Confirmation::Ack(None)) && confirmed(number) {
            return Ok(true);
        }
        sleep(Duration::from_millis(1)).await;
    }
}
