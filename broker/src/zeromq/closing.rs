//! The end of a connection that somebody has asked for.
//!
//! Comes in: the time, and that the peer has sent something. Goes out: whether it has sent everything, and whether it
//! has had all the time that there is. Does not know what it sent.

use std::time::Duration;
use tokio::time::Instant;

/// Time in which a connection that closes takes what its peer has sent, and sends what it has for it.
const LAST: Duration = Duration::from_secs(1);
/// Silence after which the peer is taken to have sent everything: octets that have come are not known to the runtime at
/// once.
pub const SILENCE: Duration = Duration::from_millis(20);

/// A connection that closes.
#[derive(Clone, Copy, Debug)]
pub struct Closing {
    /// It closes at this time, whatever there is.
    end: Instant,
    /// The begin of the silence.
    since: Instant,
}

impl Closing {
    /// From now on.
    pub fn begin(now: Instant) -> Self {
        Self {
            end: now + LAST,
            since: now,
        }
    }

    /// The peer has sent something.
    pub fn has_read(&mut self, now: Instant) {
        self.since = now;
    }

    /// True if the peer has sent nothing for a while.
    pub fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= SILENCE
    }

    /// True if there is no more time.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_goes_on_sending_is_cut_off_in_the_end() {
        let begin = Instant::now();
        let mut closing = Closing::begin(begin);
        assert!(!closing.is_silent(begin) && !closing.is_over(begin));
        assert!(closing.is_silent(begin + SILENCE));
        closing.has_read(begin + SILENCE);
        assert!(!closing.is_silent(begin + SILENCE) && closing.is_silent(begin + 2 * SILENCE));
        closing.has_read(begin + LAST);
        assert!(!closing.is_silent(begin + LAST) && closing.is_over(begin + LAST));
    }
}
