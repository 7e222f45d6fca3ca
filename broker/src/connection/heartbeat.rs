//! Heartbeats of a connection, both ways (AMQP 0-9-1, 4.2.7).
//!
//! Comes in: ticks, two in each interval, and word of what was read and written in between. Goes out: whether a
//! heartbeat is due, or the client has missed too many.
//! Does not know about sockets or clocks.

use std::time::Duration;

/// Ticks without a byte after which a client is gone: two intervals.
const MOST_SILENT: u32 = 4;
/// Time between the ticks of a connection without heartbeats: it still looks after itself.
const HOUSEKEEPING: Duration = Duration::from_secs(15);

/// Heartbeats of one connection.
#[derive(Debug)]
pub struct Heartbeat {
    /// The interval agreed; zero is none.
    interval: Duration,
    heard: bool,
    silent_ticks: u32,
    sent: bool,
    /// A heartbeat of the broker's waits to be written.
    beats: bool,
}

/// The outcome of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing to do.
    Rest,
    /// Nothing was written since the last tick: a heartbeat is to be sent.
    Due,
    /// The client was silent for too long.
    Missed,
}

impl Heartbeat {
    /// Heartbeats every so often as agreed at connection.tune; zero seconds are none.
    pub fn new(seconds: u16) -> Self {
        Self {
            interval: Duration::from_secs(seconds.into()),
            heard: true,
            silent_ticks: 0,
            sent: false,
            beats: false,
        }
    }

    /// Time from tick to tick.
    pub fn period(&self) -> Duration {
        if self.interval.is_zero() {
            HOUSEKEEPING
        } else {
            self.interval / 2
        }
    }

    /// The client has sent bytes.
    pub fn has_read(&mut self) {
        self.heard = true;
    }

    /// The client was sent bytes. A heartbeat of the broker's does not count: the next is due after half an interval
    /// all the same, so that a client that waits for no more than an interval always hears of the broker.
    pub fn has_written(&mut self) {
        if !std::mem::take(&mut self.beats) {
            self.sent = true;
        }
    }

    /// A heartbeat is put into the write buffer, which was empty.
    pub fn beats(&mut self) {
        self.beats = true;
    }

    /// A tick. `reads`: the connection reads at the moment; the silence of a client that isn't read is not its own.
    pub fn tick(&mut self, reads: bool) -> Beat {
        if self.interval.is_zero() {
            return Beat::Rest;
        }
        let heard = std::mem::take(&mut self.heard) || !reads;
        self.silent_ticks = if heard { 0 } else { self.silent_ticks + 1 };
        let sent = std::mem::take(&mut self.sent);
        if self.silent_ticks >= MOST_SILENT {
            Beat::Missed
        } else if sent {
            Beat::Rest
        } else {
            Beat::Due
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_due_where_nothing_was_written() {
        let mut heartbeat = Heartbeat::new(10);
        assert_eq!(heartbeat.period(), Duration::from_secs(5));
        assert_eq!(heartbeat.tick(true), Beat::Due);
        heartbeat.has_read();
        heartbeat.has_written();
        assert_eq!(heartbeat.tick(true), Beat::Rest);
        assert_eq!(heartbeat.tick(true), Beat::Due);
        heartbeat.beats();
        heartbeat.has_written();
        assert_eq!(
            heartbeat.tick(true),
            Beat::Due,
            "its own heartbeat is no word to the client"
        );
        heartbeat.has_read();
    }

    #[test]
    fn a_client_is_gone_after_two_silent_intervals_in_which_it_was_read() {
        let mut heartbeat = Heartbeat::new(10);
        let beats = |heartbeat: &mut Heartbeat, reads, ticks: u32| {
            let missed = |_: &u32| heartbeat.tick(reads) == Beat::Missed;
            (1..=ticks).find(missed)
        };
        assert_eq!(
            beats(&mut heartbeat, true, 9),
            Some(5),
            "the first tick had heard of it"
        );
        heartbeat.has_read();
        assert_eq!(beats(&mut heartbeat, true, 4), None);
        assert_eq!(beats(&mut heartbeat, false, 20), None);
        assert_eq!(beats(&mut heartbeat, true, 9), Some(4));
    }

    #[test]
    fn without_heartbeats_nothing_is_sent_or_missed() {
        let mut heartbeat = Heartbeat::new(0);
        assert_eq!(heartbeat.period(), HOUSEKEEPING);
        assert!((0..100).all(|_| heartbeat.tick(true) == Beat::Rest));
    }
}
