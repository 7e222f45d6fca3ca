//! A client that sends without end and remembers what was confirmed, whatever happens to the broker.
//!
//! In: an address and a queue. Out: the numbers of confirmed messages, and the longest time without a confirm.
//! Does not know about what takes the broker away.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(100);
/// How long an answer is waited for before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(3);

struct Seen {
    confirmed: BTreeSet<u64>,
    last: Instant,
    longest: Duration,
}

/// Sends in a task of its own.
pub(crate) struct Sender {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn channel(uri: &str) -> lapin::Result<(Connection, Channel)> {
    let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok((connection, channel))
}

/// Sends one message after the other until something fails.
async fn send(uri: &str, queue: &str, next: &mut u64, seen: &Mutex<Seen>, stop: &AtomicBool) -> lapin::Result<()> {
    // An address whose pod has just gone may not even refuse.
    let Ok(opened) = timeout(PATIENCE, channel(uri)).await else {
        return Ok(());
    };
    let (_connection, channel) = opened?;
    while !stop.load(Ordering::Relaxed) {
        let number = *next;
        *next += 1;
        let properties = BasicProperties::default().with_delivery_mode(2);
        let (options, body) = (BasicPublishOptions::default(), number.to_be_bytes());
        let publish = channel.basic_publish("".into(), queue.into(), options, &body, properties);
        let Ok(confirmation) = timeout(PATIENCE, async { publish.await?.await }).await else {
            return Ok(());
        };
        if matches!(confirmation?, Confirmation::Ack(None)) {
            let mut seen = lock(seen);
            seen.confirmed.insert(number);
            let pause = seen.last.elapsed();
            seen.longest = seen.longest.max(pause);
            seen.last = Instant::now();
        }
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

impl Sender {
    pub(crate) fn start(uri: String, queue: &'static str) -> Sender {
        let seen = Arc::new(Mutex::new(Seen {
            confirmed: BTreeSet::new(),
            last: Instant::now(),
            longest: Duration::ZERO,
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let task = {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut next, mut told) = (0, String::new());
                while !stop.load(Ordering::Relaxed) {
                    let sending = send(&uri, queue, &mut next, &seen, &stop);
                    if let Err(error) = sending.await
                        && error.to_string() != told
                    {
                        told = error.to_string();
                        eprintln!("sender: {told}");
                    }
                    sleep(PAUSE).await;
                }
            })
        };
        Sender { seen, stop, task }
    }

    /// Waits until messages are confirmed that were not before.
    pub(crate) async fn confirms_more(&self, within: Duration) {
        let before = lock(&self.seen).confirmed.len();
        let start = Instant::now();
        while lock(&self.seen).confirmed.len() < before + 20 {
            assert!(start.elapsed() < within, "no confirm within {within:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn forget_pause(&self) {
        lock(&self.seen).longest = Duration::ZERO;
    }

    pub(crate) fn longest_pause(&self) -> Duration {
        lock(&self.seen).longest
    }

    /// Ends it; what was confirmed.
    pub(crate) async fn stop(self) -> BTreeSet<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the sender does not panic");
        lock(&self.seen).confirmed.clone()
    }
}

/// Everything in the queue.
pub(crate) async fn drain(uri: &str, queue: &str) -> BTreeSet<u64> {
    let (_connection, channel) = channel(uri).await.expect("a channel");
    let mut found = BTreeSet::new();
    let options = BasicGetOptions { no_ack: true };
    while let Some(message) = channel.basic_get(queue.into(), options).await.expect("an answer") {
        let body = message.data.as_slice().try_into().expect("eight bytes");
        found.insert(u64::from_be_bytes(body));
    }
    found
}
