//! A client beside the cluster: it sends without end and remembers what was confirmed.
//!
//! In: an address and a queue. Out: the numbers of confirmed messages, and the longest time without a confirm.
//! Does not know about what takes the broker away.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lapin::options::BasicGetOptions;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::sending::{channel, send_on};

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
                let confirmed = |number| {
                    let mut seen = lock(&seen);
                    seen.confirmed.insert(number);
                    let pause = seen.last.elapsed();
                    seen.longest = seen.longest.max(pause);
                    seen.last = Instant::now();
                    stop.load(Ordering::Relaxed)
                };
                send_on(|| uri.clone(), queue, confirmed).await;
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
        let mut seen = lock(&self.seen);
        (seen.longest, seen.last) = (Duration::ZERO, Instant::now());
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
