//! Heartbeats of a peer (ZMTP 3.1, PING and PONG).
//!
//! Comes in: word of what was read, PINGs of the peer with the time that it gives itself, ticks. Goes out: whether a
//! PING is due, or the peer has been silent for too long. Does not know about sockets or clocks.

use std::time::{Duration, Instant};

/// Time between the ticks of a connection without heartbeats: it still looks after itself.
const HOUSEKEEPING: Duration = Duration::from_secs(15);
/// The same of one whose peer wants to hear from the broker even while it isn't read.
const OFTEN: Duration = Duration::from_secs(1);
/// The shortest time between ticks.
const SHORTEST: Duration = Duration::from_millis(50);
/// Intervals without a byte after which a peer is gone.
const MOST_SILENT: u32 = 2;

/// Heartbeats of one connection.
#[derive(Debug)]
pub struct Heartbeat {
    /// Time between PINGs to a silent peer; `None` is none.
    interval: Option<Duration>,
    /// Time after which the peer says that it is gone if nothing comes.
    ttl: Option<Duration>,
    /// The peer pings.
    is_pinged: bool,
    heard: Instant,
}

/// The outcome of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing to do.
    Rest,
    /// A PING is to be sent.
    Due,
    /// The peer was silent for too long.
    Missed,
}

impl Heartbeat {
    /// Heartbeats every so often.
    pub fn new(interval: Option<Duration>, now: Instant) -> Self {
        Self {
            interval,
            ttl: None,
            is_pinged: false,
            heard: now,
        }
    }

    /// Time from tick to tick.
    pub fn period(&self) -> Duration {
        let often = self.is_pinged.then_some(OFTEN);
        let halves = [self.interval, self.ttl].map(|time| time.map(|time| time / 2));
        let shortest = halves.into_iter().chain([often]).flatten().min();
        shortest.unwrap_or(HOUSEKEEPING).clamp(SHORTEST, HOUSEKEEPING)
    }

    /// The peer has sent bytes.
    pub fn has_read(&mut self, now: Instant) {
        self.heard = now;
    }

    /// The peer has sent a PING: if nothing comes for so many tenths of a second (0: for ever), it is gone. True if
    /// ticks should come at another pace from now on.
    pub fn has_pinged(&mut self, tenths: u16) -> bool {
        let before = self.period();
        self.is_pinged = true;
        self.ttl = Some(tenths)
            .filter(|tenths| *tenths > 0)
            .map(|tenths| Duration::from_millis(u64::from(tenths) * 100));
        self.period() != before
    }

    /// A tick. `reads`: the peer is read at the moment; the silence of one that isn't is not its own. It hears of the
    /// broker all the same, if it pings.
    pub fn tick(&mut self, reads: bool, now: Instant) -> Beat {
        if !reads {
            self.heard = now;
            return if self.is_pinged { Beat::Due } else { Beat::Rest };
        }
        let silent = now.saturating_duration_since(self.heard);
        let limits = [self.interval.map(|interval| interval * MOST_SILENT), self.ttl];
        if limits.into_iter().flatten().any(|most| silent >= most) {
            return Beat::Missed;
        }
        match self.interval {
            Some(interval) if silent >= interval / 2 => Beat::Due,
            _ => Beat::Rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_silent_peer_is_pinged_and_then_gone() {
        let begun = Instant::now();
        let mut heartbeat = Heartbeat::new(Some(4 * SECOND), begun);
        assert_eq!(heartbeat.period(), 2 * SECOND);
        let beats: Vec<Beat> = [1, 2, 7, 8]
            .map(|seconds| heartbeat.tick(true, begun + seconds * SECOND))
            .to_vec();
        assert_eq!(beats, [Beat::Rest, Beat::Due, Beat::Due, Beat::Missed]);
        heartbeat.has_read(begun + 8 * SECOND);
        assert_eq!(heartbeat.tick(true, begun + 9 * SECOND), Beat::Rest);
        assert_eq!(heartbeat.tick(false, begun + 99 * SECOND), Beat::Rest, "it isn't read");
        assert_eq!(heartbeat.tick(true, begun + 100 * SECOND), Beat::Rest);
    }

    #[test]
    fn the_time_that_a_peer_gives_itself_counts() {
        let begun = Instant::now();
        let mut heartbeat = Heartbeat::new(None, begun);
        assert_eq!(
            (heartbeat.period(), heartbeat.tick(true, begun + 99 * SECOND)),
            (HOUSEKEEPING, Beat::Rest)
        );
        heartbeat.has_read(begun);
        assert!(heartbeat.has_pinged(10) && !heartbeat.has_pinged(10));
        assert_eq!(heartbeat.period(), SECOND / 2);
        assert_eq!(heartbeat.tick(true, begun + SECOND / 2), Beat::Rest);
        assert_eq!(heartbeat.tick(true, begun + SECOND), Beat::Missed);
        assert_eq!(
            heartbeat.tick(false, begun + SECOND),
            Beat::Due,
            "it waits for word of the broker"
        );
        assert!(heartbeat.has_pinged(0));
        assert_eq!(
            (heartbeat.period(), heartbeat.tick(true, begun + 99 * SECOND)),
            (OFTEN, Beat::Rest)
        );
    }
}
