//! The runtime that everything asynchronous of both programs runs on.
//!
//! In: nothing. Out: a runtime whose threads give memory back before they wait: what reading ten thousand resources
//! took would stay theirs; waits. Does not know what runs on it.

use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep_until};

/// A runtime with a thread for each core.
///
/// # Errors
/// The system starts no threads.
pub fn start() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(leveret_alloc::give_back)
        .build()
}

/// Waits until a time, forever for none.
pub async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
