//! A client beside an attack: it publishes persistent messages, waits for each confirm, and takes them back.
//!
//! In: a broker's address. Out: the times that its confirms took. Does not know about the attack.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::requests::*;
use harness::scripted_client::Frame;
use harness::{Client, call};
use leveret_amqp::Method;
use leveret_amqp::method::*;

/// Pause between two messages.
const PAUSE: Duration = Duration::from_millis(5);

/// A client with a normal load, until [`Bystander::end`].
pub(crate) struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

/// The times of a bystander's confirms.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Confirmed messages.
    pub(crate) confirmed: usize,
    /// The slowest but one in a hundred.
    pub(crate) p99: Duration,
    /// The slowest.
    pub(crate) slowest: Duration,
}

#[allow(dead_code, reason = "used by attacks on time")]
impl Bystander {
    /// Starts; the first message has been confirmed.
    pub(crate) fn start(address: SocketAddr) -> Bystander {
        let mut client = Client::with_channel(address);
        call!(client, 1, ConfirmSelect { no_wait: false } => ConfirmSelectOk);
        let queue = unique("bystander");
        call!(client, 1, durable(&queue) => QueueDeclareOk);
        round(&mut client, &queue);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut times = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                times.push(round(&mut client, &queue));
                thread::sleep(PAUSE);
            }
            times
        });
        Bystander { stop, thread }
    }

    /// Stops. All of its messages were confirmed and delivered, or this panics.
    pub(crate) fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut times = self.thread.join().expect("a bystander is served");
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
        Seen {
            confirmed: times.len(),
            p99: at(99),
            slowest: times.last().copied().unwrap_or_default(),
        }
    }
}

/// One message there and back; the time until its confirm.
fn round(client: &mut Client, queue: &str) -> Duration {
    let begin = Instant::now();
    client.publish_persistent(1, "", queue, b"bystander");
    confirmed(client);
    let took = begin.elapsed();
    let got = client.get(1, queue, true).expect("what was confirmed is there");
    assert_eq!(got.body.as_ref(), b"bystander");
    took
}

/// Waits for a confirm, and for the end of an alarm where one comes first: the time of both counts.
fn confirmed(client: &mut Client) {
    let (mut confirmed, mut blocked) = (false, false);
    while !confirmed || blocked {
        match client.frame() {
            Some(Frame::Method(1, Method::BasicAck(_))) => confirmed = true,
            Some(Frame::Method(0, Method::ConnectionBlocked(_))) => blocked = true,
            Some(Frame::Method(0, Method::ConnectionUnblocked(_))) => blocked = false,
            other => panic!("expected a confirm, got {other:?}"),
        }
    }
}
