//! Takes statuses to the source without holding up the loop; of several for one resource only the last counts.
//!
//! In: `StatusReport`s. Out: calls of `Source::write_status`, one at a time. Does not know about what they say.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::object::{ObjectKey, StatusReport};
use crate::source::Source;

/// Hands reports over to a task of its own.
pub(super) struct Writer {
    waiting: Arc<Waiting>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Waiting {
    reports: Mutex<BTreeMap<ObjectKey, StatusReport>>,
    some: Notify,
}

impl Writer {
    pub(super) fn new<S: Source>(source: Arc<S>) -> Self {
        let waiting = Arc::new(Waiting::default());
        let task = tokio::spawn(write_all(source, Arc::clone(&waiting)));
        Self { waiting, task }
    }

    /// Puts reports in the queue, in the place of older ones for the same resources.
    pub(super) fn write(&self, reports: Vec<StatusReport>) {
        if reports.is_empty() {
            return;
        }
        let mut queued = self.waiting.reports.lock();
        for mut report in reports {
            if let Some(old) = queued.remove(&report.key) {
                report.supersede(old);
            }
            queued.insert(report.key.clone(), report);
        }
        drop(queued);
        self.waiting.some.notify_one();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn write_all<S: Source>(source: Arc<S>, waiting: Arc<Waiting>) {
    loop {
        let reports: Vec<StatusReport> = std::mem::take(&mut *waiting.reports.lock()).into_values().collect();
        if reports.is_empty() {
            waiting.some.notified().await;
        } else {
            source.write_status(reports).await;
        }
    }
}
