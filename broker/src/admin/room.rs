//! Room for bodies of requests: so many bytes of all together.
//!
//! Comes in: bytes that a body is about to take. Goes out: a permit for as long as it does; 503 if there is no room in
//! time.

use super::error::{Failure, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Largest body of a request, bytes (RabbitMQ's `management.http.max_body_size`).
pub const LARGEST: usize = 20_000_000;
/// Memory for bodies under way and what they are parsed to, KiB: a few of the largest.
const ROOM: usize = 64 << 10;
/// The longest time that a body waits for room.
const PATIENCE: Duration = Duration::from_secs(10);

/// Room for bodies.
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM)))
    }
}

impl Room {
    /// Room for so many bytes more.
    ///
    /// # Errors
    /// 503 if others don't leave in time.
    pub async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let wanted = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        let room = timeout(PATIENCE, self.0.clone().acquire_many_owned(wanted)).await;
        room.ok().and_then(std::result::Result::ok).ok_or(Failure::Busy)
    }
}
