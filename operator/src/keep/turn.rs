//! The wait between two passes over what is kept.
//!
//! In: changes of the source and of what was made, the time when something is due, the end. Out: the moment for a pass.
//! Does not know about what a pass does.

use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::runtime::until;

/// Waits until something has changed or is due, and a moment more for what comes with it. False at the end.
pub(super) async fn turn(
    stop: &CancellationToken,
    changed: &mut Receiver<u64>,
    moved: &mut Receiver<u64>,
    due: Option<Instant>,
    moment: Duration,
) -> bool {
    tokio::select! {
        () = stop.cancelled() => return false,
        result = changed.changed() => if result.is_err() { return false },
        result = moved.changed() => if result.is_err() { return false },
        () = until(due) => {}
    }
    sleep(moment).await;
    true
}
