//! The number that a queue has the log keep beside each message: when its time is over, and its priority.
//!
//! Pure. The log does not look into it; it knows the lowest and the highest number of a page. Persisted:
//!
//! | bits | |
//! |---|---|
//! | 0 to 47 | the end of the message's time, milliseconds since 1970; 0 or all ones if it has none |
//! | 48 to 55 | its level in a queue with priorities |
//! | 56 to 61 | 0 |
//! | 62 | the message has come back and waits, and will have a time again when it is ready |
//! | 63 | the message has come back and waits: bits 0 to 47 are the time when it is ready again |
//!
//! In a queue without priorities, a message that does not expire has the number 0, which takes no space. In one with
//! priorities no number is 0, so that the lowest and the highest one of a page tell whether all of its messages are of
//! one level, and of such a page the lowest one tells the earliest deadline.

pub use crate::clock::Millis;

/// The number of a message that does not expire, in a queue without priorities.
pub const NONE: u64 = 0;

/// The time of a message that does not expire, in a queue with priorities: later than any other.
const NEVER: u64 = (1 << LEVEL) - 1;
/// The first bit of the level.
const LEVEL: u32 = 48;
/// The bit of a message that waits for another attempt, and the one that says that it has a time beside that.
const RETRY: u64 = 1 << 63;
const EXPIRES: u64 = 1 << 62;

/// The number of a message whose time is over then. 1970 itself counts as a moment later.
pub fn of(deadline: Option<Millis>) -> u64 {
    deadline.map_or(NONE, |deadline| deadline.clamp(1, NEVER - 1))
}

/// The number of a message in a queue with priorities.
pub fn with_level(level: u8, deadline: Option<Millis>) -> u64 {
    let time = deadline.map_or(NEVER, |deadline| of(Some(deadline)));
    u64::from(level) << LEVEL | time
}

/// The number of a message in either kind of queue.
pub fn new(level: Option<u8>, deadline: Option<Millis>) -> u64 {
    match level {
        Some(level) => with_level(level, deadline),
        None => of(deadline),
    }
}

/// The number of the same message when it has come back and is to wait until then. The end of its time is not in it.
pub fn waiting(stamp: u64, until: Millis) -> u64 {
    let expires = if deadline(stamp).is_some() { EXPIRES } else { 0 };
    RETRY | expires | stamp & !NEVER | of(Some(until))
}

/// True for a message that waits for another attempt, and whose time will be limited again.
pub fn expires_later(stamp: u64) -> bool {
    stamp & (RETRY | EXPIRES) == RETRY | EXPIRES
}

/// The time when a message that waits for another attempt is ready again.
pub fn ready_at(stamp: u64) -> Option<Millis> {
    (stamp & RETRY != 0).then_some(stamp & NEVER)
}

/// The level of a message: 0 if it has none.
pub fn level(stamp: u64) -> u8 {
    (stamp >> LEVEL) as u8
}

/// The end of a time of `left` milliseconds that begins now. The clock shows whole ones, of which the first has begun:
/// none is cut short. No time at all ends at once.
pub fn end(now: Millis, left: Millis) -> Millis {
    now.saturating_add(left).saturating_add(Millis::from(left > 0))
}

/// The end of a message's time.
pub fn deadline(stamp: u64) -> Option<Millis> {
    let time = stamp & NEVER;
    (time != 0 && time != NEVER && stamp & RETRY == 0).then_some(time)
}

/// True if the message's time is over by `now`.
pub fn is_over(stamp: u64, now: Option<Millis>) -> bool {
    deadline(stamp).is_some_and(|deadline| now.is_some_and(|now| deadline <= now))
}

/// The earlier one of two deadlines, where there may be none.
pub fn earlier(one: Option<Millis>, other: Option<Millis>) -> Option<Millis> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_not_cut_short_by_the_millisecond_that_has_begun() {
        assert_eq!(
            (end(1000, 150), end(1000, 0), end(1000, u64::MAX)),
            (1151, 1000, u64::MAX)
        );
    }

    #[test]
    fn what_is_put_in_comes_out() {
        for (deadline_in, out) in [
            (None, None),
            (Some(0), Some(1)),
            (Some(1_764_000_000_000), Some(1_764_000_000_000)),
            (Some(u64::MAX), Some(NEVER - 1)),
        ] {
            assert_eq!(deadline(of(deadline_in)), out);
            assert_eq!(level(of(deadline_in)), 0);
            for priority in [0, 1, 31, 255] {
                let stamp = with_level(priority, deadline_in);
                assert_eq!((level(stamp), deadline(stamp), ready_at(stamp)), (priority, out, None));
                assert_ne!(stamp, NONE);
                let waiting = waiting(stamp, 5);
                assert_eq!(expires_later(waiting), out.is_some());
                assert_eq!(
                    (level(waiting), deadline(waiting), ready_at(waiting)),
                    (priority, None, Some(5))
                );
            }
        }
        assert_eq!(of(None), NONE);
    }

    #[test]
    fn the_lowest_number_of_a_level_has_its_earliest_deadline() {
        let level = [None, Some(9), Some(7)].map(|deadline| with_level(3, deadline));
        let lowest = level.into_iter().min();
        assert_eq!(lowest.and_then(deadline), Some(7));
        assert_eq!(deadline(with_level(3, None)), None);
    }
}
