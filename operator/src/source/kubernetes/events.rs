//! Kubernetes events: one for each transition a user may want to know of, in the background and at a bounded rate.
//!
//! In: what to tell about which object. Out: events of `events.k8s.io/v1`. Does not know about statuses.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::api::MANAGER;
use crate::metrics::{ApiWrite, Metrics};
use crate::object::ObjectKey;
use crate::resource::{GROUP, VERSION};

/// Events that wait; further ones are dropped: the conditions say the same.
const WAITING: usize = 1024;
/// Tokens of the bucket that limits the rate: this many at once, and one more every [`REFILL`]. Ten thousand objects
/// that become Ready at once must not cost the API server ten thousand more writes.
const BURST: u32 = 100;
const REFILL: Duration = Duration::from_millis(100);
/// Longest note the API accepts, in bytes.
const NOTE_MAX: usize = 1024;
const REQUEST: Duration = Duration::from_secs(10);

/// Something to tell, and about which object.
pub(super) struct Told {
    pub(super) about: ObjectReference,
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The resource as events name it.
pub(super) fn resource(key: &ObjectKey, uid: String) -> ObjectReference {
    ObjectReference {
        api_version: Some(format!("{GROUP}/{VERSION}")),
        kind: Some(key.kind.as_str().to_owned()),
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        uid: Some(uid),
        ..ObjectReference::default()
    }
}

#[derive(Clone)]
pub(super) struct Events(mpsc::Sender<Told>);

impl Events {
    /// Publishes in a task of its own, until the last clone is dropped.
    pub(super) fn start(client: Client, instance: String, metrics: Metrics) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING);
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(instance),
        };
        tokio::spawn(publish(Recorder::new(client, reporter), waiting, metrics));
        Self(sender)
    }

    pub(super) fn tell(&self, told: Told) {
        // Half of the room is kept for warnings.
        if !told.warning && self.0.capacity() < WAITING / 2 {
            return;
        }
        if let Err(error) = self.0.try_send(told) {
            debug!(%error, "event dropped");
        }
    }
}

async fn publish(recorder: Recorder, mut waiting: mpsc::Receiver<Told>, metrics: Metrics) {
    let mut bucket = Bucket::new(Instant::now());
    while let Some(told) = waiting.recv().await {
        // Warnings wait for their turn; good news that comes in masses is left out.
        if !bucket.take(Instant::now()) {
            if !told.warning {
                continue;
            }
            tokio::time::sleep(REFILL).await;
            bucket.take(Instant::now());
        }
        let event = Event {
            type_: if told.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: told.reason.to_owned(),
            note: Some(cut(&told.message)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let answer = timeout(REQUEST, recorder.publish(&event, &told.about)).await;
        metrics.api_write(ApiWrite::Event, matches!(answer, Ok(Ok(()))));
        match answer {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(object = told.about.name, %error, "event not published"),
            Err(_) => debug!(object = told.about.name, "event not published in time"),
        }
    }
}

fn cut(message: &str) -> String {
    let mut end = message.len().min(NOTE_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.get(..end).unwrap_or_default().to_owned()
}

struct Bucket {
    tokens: u32,
    filled: Instant,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self {
            tokens: BURST,
            filled: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let new = now.duration_since(self.filled).as_millis() / REFILL.as_millis();
        if let Ok(new @ 1..) = u32::try_from(new) {
            self.tokens = self.tokens.saturating_add(new).min(BURST);
            self.filled = now;
        }
        let has = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        assert_eq!((0..BURST * 2).filter(|_| bucket.take(start)).count(), 100);
        assert!(!bucket.take(start + REFILL / 2));
        assert!(bucket.take(start + REFILL));
        assert!(!bucket.take(start + REFILL));
        assert_eq!(
            (0..BURST * 2)
                .filter(|_| bucket.take(start + Duration::from_secs(3600)))
                .count(),
            100
        );
    }

    #[test]
    fn notes_are_cut_at_a_character() {
        assert_eq!(cut("short"), "short");
        assert!(cut(&"é".repeat(1000)).len() <= NOTE_MAX);
    }
}
