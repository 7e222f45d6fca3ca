//! The time that messages of a queue may wait, for publishers: they write the end of a message's time to the log before
//! they come to the queue, and take no lock for it.
//!
//! Comes in: a queue's values. Goes out: milliseconds. Does not know about messages.

use super::arguments::Values;
use crate::clock::Millis;
use std::sync::atomic::{AtomicU64, Ordering};

/// No limit.
const NONE: u64 = u64::MAX;

/// Milliseconds that a message may wait.
#[derive(Debug)]
pub struct TimeToLive(AtomicU64);

impl TimeToLive {
    /// That of a queue with these values.
    pub fn of(values: &Values) -> Self {
        Self(AtomicU64::new(values.message_ttl.unwrap_or(NONE)))
    }

    /// The time, if it is limited.
    pub fn get(&self) -> Option<Millis> {
        Some(self.0.load(Ordering::Relaxed)).filter(|millis| *millis != NONE)
    }

    /// That of other values, for messages that come from now on.
    pub fn set(&self, values: &Values) {
        self.0.store(values.message_ttl.unwrap_or(NONE), Ordering::Relaxed);
    }
}
