//! A watch that fails: how long until the next attempt, and what is said of it.
//!
//! In: errors of a watch. Out: pauses, words. Does not know about what is watched.

use std::time::Duration;

use kube::runtime::utils::Backoff;
use kube::runtime::watcher;
use tokio::time::Instant;

/// The error in few words, with what a user can do about it.
pub fn said(error: &watcher::Error) -> String {
    match refusal(error) {
        Some(status) if status.code == 404 => {
            "not found: are the CRDs installed? (leveret-operator crd | kubectl apply -f -)".to_owned()
        }
        Some(status) => format!("{} {}", status.code, status.message),
        None => error.to_string(),
    }
}

/// The API server's answer, when it was one.
pub(super) fn refusal(error: &watcher::Error) -> Option<&kube::core::Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}

/// Pauses between attempts to watch: they double from half a second to ten, a little unevenly so that the watches of
/// several operators do not all come back at once, and start from the beginning when all went well for a while.
pub(super) struct Pauses {
    next: Duration,
    last: Option<Instant>,
}

impl Pauses {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(10);
    const FORGET: Duration = Duration::from_secs(30);
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            next: Self::FIRST,
            last: None,
        }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.last.is_some_and(|last| last.elapsed() > Self::FORGET) {
            self.next = Self::FIRST;
        }
        let pause = self.next.mul_f64(rand::random_range(0.8..1.2));
        self.next = (self.next * 2).min(Self::LONGEST);
        self.last = Some(Instant::now());
        Some(pause)
    }
}

impl Backoff for Pauses {
    /// Called at every event, also at the one that only says that a list is about to be asked for.
    fn reset(&mut self) {}
}
