//! Room for bodies of requests: so many bytes of all together.
//!
//! Comes in: bytes that a body is about to take. Goes out: a permit for as long as it does; 503 if there is no room in
//! time.

use super::body::definitions;
use super::error::{Failure, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Memory for bodies under way and what they are parsed to, bytes, at least.
const ROOM: usize = 64 << 20;
/// Copies of a body that there may be at a time: as it came, parsed, and as a message.
pub const COPIES: usize = 3;
/// The longest time that a body waits for room.
const PATIENCE: Duration = Duration::from_secs(10);

/// Room for bodies.
pub struct Room {
    /// Largest body of a request, bytes.
    pub largest: usize,
    /// KiB.
    free: Arc<Semaphore>,
}

impl Room {
    /// Room for a few bodies of so many bytes each, at most.
    pub fn new(largest: u64) -> Self {
        let largest = usize::try_from(largest).unwrap_or(usize::MAX);
        let room = COPIES.saturating_mul(largest).max(ROOM);
        let kilobytes = (room / 1024 + 1).min(Semaphore::MAX_PERMITS);
        Self {
            largest,
            free: Arc::new(Semaphore::new(kilobytes)),
        }
    }

    /// Values of a document of definitions, at most.
    pub fn values(&self) -> usize {
        definitions(self.largest as u64)
    }

    /// Room for so many bytes more.
    ///
    /// # Errors
    /// 503 if others don't leave in time.
    pub async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let wanted = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        let room = timeout(PATIENCE, self.free.clone().acquire_many_owned(wanted)).await;
        room.ok().and_then(std::result::Result::ok).ok_or(Failure::Busy)
    }
}
