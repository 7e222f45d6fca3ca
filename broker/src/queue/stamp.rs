//! The number that a queue has the log keep beside each message: when its time is over.
//!
//! Pure. The log does not look into it; it knows the lowest and the highest number of a page.

pub use crate::clock::Millis;

/// The number of a message that does not expire.
pub const NONE: u64 = 0;

/// The number of a message whose time is over then. 1970 itself counts as a moment later.
pub fn of(deadline: Option<Millis>) -> u64 {
    deadline.map_or(NONE, |deadline| deadline.max(1))
}

/// The end of a message's time.
pub fn deadline(stamp: u64) -> Option<Millis> {
    (stamp != NONE).then_some(stamp)
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
