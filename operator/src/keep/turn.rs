//! The wait between two passes over what is kept, and the bell that ends it.
//!
//! In: changes of the source and of what was made, the time when something is due, the end. Out: the moment for a pass.
//! Does not know about what a pass does.

use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::runtime::until;

/// Rung by those who know of something first.
pub(super) struct Bell {
    changed: Sender<u64>,
    broken_off: Sender<u64>,
}

impl Bell {
    pub(super) fn new() -> Self {
        Self {
            changed: Sender::new(0),
            broken_off: Sender::new(0),
        }
    }

    /// Something has changed.
    pub(super) fn ring(&self) {
        self.changed.send_modify(|number| *number += 1);
    }

    /// A watch broke off, or could not be begun.
    pub(super) fn ring_broken_off(&self) {
        self.broken_off.send_modify(|number| *number += 1);
    }

    /// A number that grows whenever something has changed.
    pub(super) fn changed(&self) -> Receiver<u64> {
        self.changed.subscribe()
    }

    /// A number that grows whenever a watch breaks off.
    pub(super) fn broken_off(&self) -> Receiver<u64> {
        self.broken_off.subscribe()
    }
}

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
