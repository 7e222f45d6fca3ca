//! Wake-ups of a connection that streams small messages, coalesced.
//!
//! A client that writes one small message after the other, waiting for no answer, wakes the broker for every few of
//! them, and the wake-up costs both sides more than the message does. As network cards moderate their interrupts: while
//! a connection streams like that, the thread that serves it naps before it waits for events, and then finds a batch.
//! No client waits longer than the nap for anything, and only on a thread that had nothing else to do.
//!
//! Comes in: the messages that each read brought. Goes out: whether the thread may nap.
//! Does not know about sockets or queues.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The length of a nap; the system adds 50 µs to most sleeps.
const NAP: Duration = Duration::from_micros(150);
/// The time that is looked at together: long enough for a client that the system makes wait for some milliseconds.
const WINDOW: Duration = Duration::from_millis(50);
/// Messages a second from which a connection streams.
const STREAM: f64 = 20_000.0;
/// Messages per read: with fewer the client may be waiting for an answer to each, with more there is nothing to be
/// gained.
const FEW: f64 = 1.5;
const MANY: f64 = 100.0;
/// A client that becomes slower than this part of its rate by the naps waits for something after all.
const SLOWER: f64 = 0.75;
/// Time without another trial then: twice as long after each failure, up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(32));

thread_local! {
    static MAY_NAP: Cell<bool> = const { Cell::new(false) };
}

/// Naps if a connection that this thread has served since the last call streams. To be called when the thread is about
/// to wait.
pub fn nap() {
    if MAY_NAP.take() {
        std::thread::sleep(NAP);
    }
}

/// Reads of one connection, and the mode that follows from them.
#[derive(Debug)]
pub struct Coalescing {
    since: Instant,
    reads: u32,
    /// Messages received when the window began.
    streamed: u64,
    mode: Mode,
    not_before: Instant,
    backoff: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// Looks for more at once.
    Eager,
    /// Naps for a window. With the messages per second before.
    Trial(f64),
    /// Naps.
    Moderate,
}

impl Coalescing {
    /// A connection that begins.
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            reads: 0,
            streamed: 0,
            mode: Mode::Eager,
            not_before: now,
            backoff: BACKOFF.0,
        }
    }

    /// After a read. `streamed`: messages received so far for which the client awaits no answer.
    pub fn has_read(&mut self, now: Instant, streamed: u64) {
        self.reads += 1;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            self.look_back(now, elapsed, streamed);
        }
        if self.mode != Mode::Eager {
            MAY_NAP.set(true);
        }
    }

    fn look_back(&mut self, now: Instant, elapsed: Duration, streamed: u64) {
        let messages = (streamed - self.streamed) as f64;
        let rate = messages / elapsed.as_secs_f64();
        let per_read = messages / f64::from(self.reads);
        let streams = rate >= STREAM && (FEW..MANY).contains(&per_read);
        self.mode = match self.mode {
            Mode::Eager if streams && now >= self.not_before => Mode::Trial(rate),
            Mode::Trial(before) if rate < before * SLOWER => {
                self.not_before = now + self.backoff;
                self.backoff = (self.backoff * 2).min(BACKOFF.1);
                Mode::Eager
            }
            Mode::Trial(_) if streams => {
                self.backoff = BACKOFF.0;
                Mode::Moderate
            }
            Mode::Moderate if streams => Mode::Moderate,
            _ => Mode::Eager,
        };
        (self.since, self.reads, self.streamed) = (now, 0, streamed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client, and the time as it goes by.
    struct Client {
        coalescing: Coalescing,
        now: Instant,
        streamed: u64,
    }

    impl Client {
        fn new() -> Self {
            let now = Instant::now();
            let coalescing = Coalescing::new(now);
            Self {
                coalescing,
                now,
                streamed: 0,
            }
        }

        /// Reads of `messages` each for `millis`, one every `micros`; whether the thread may nap afterwards.
        fn sends(&mut self, millis: u64, micros: u64, messages: u64) -> bool {
            for _ in 0..millis * 1000 / micros {
                self.now += Duration::from_micros(micros);
                self.streamed += messages;
                self.coalescing.has_read(self.now, self.streamed);
            }
            MAY_NAP.take();
            self.coalescing.has_read(self.now, self.streamed);
            MAY_NAP.take()
        }

        /// 80,000 messages a second, four per read, for `most` milliseconds at most.
        fn streams_until_it_naps(&mut self, most: u64) {
            assert!((0..most).any(|_| self.sends(1, 50, 4)), "no nap in {most} ms");
        }
    }

    #[test]
    fn a_stream_of_small_reads_is_moderated_and_one_that_ends_is_not() {
        let mut client = Client::new();
        assert!(!client.sends(45, 50, 8), "before a window is over");
        assert!(client.sends(15, 50, 8), "160,000 messages a second, eight per read");
        assert!(client.sends(200, 100, 20), "faster with naps");
        assert!(!client.sends(200, 1000, 15), "15,000 a second");
        assert!(
            !client.sends(200, 1000, 2000),
            "reads so large that naps would change nothing"
        );
    }

    #[test]
    fn a_client_that_waits_for_each_answer_is_not_kept_waiting() {
        let mut client = Client::new();
        assert!(!client.sends(500, 15, 1));
    }

    #[test]
    fn a_client_that_becomes_slower_is_left_alone_for_a_while_and_then_for_longer() {
        let mut client = Client::new();
        client.streams_until_it_naps(60);
        assert!(
            !client.sends(60, 100, 4),
            "a window of four messages: half as fast with naps"
        );
        assert!(!client.sends(900, 50, 4), "not tried again");
        client.streams_until_it_naps(150);
        assert!(!client.sends(60, 100, 4));
        assert!(!client.sends(1900, 50, 4), "not within two seconds");
        client.streams_until_it_naps(150);
    }
}
