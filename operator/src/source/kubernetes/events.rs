//! Kubernetes events: one for each transition a user may want to know of, in the background and at a bounded rate.
//! What is said again is counted up; another text is another event.
//!
//! In: what to tell about which object. Out: events of `events.k8s.io/v1`. Does not know about statuses.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use super::api::{MANAGER, version};
use crate::metrics::{ApiWrite, Metrics};
use crate::object::ObjectKey;

/// Events that wait; further ones are dropped: the conditions say the same.
const WAITING: usize = 1024;
/// Tokens of the bucket that limits the rate: this many at once, and one more every [`REFILL`]. Ten thousand objects
/// that become Ready at once must not cost the API server ten thousand more writes.
const BURST: u32 = 100;
const REFILL: Duration = Duration::from_millis(100);
/// Longest note the API accepts, in bytes.
const NOTE_MAX: usize = 1024;
const REQUEST: Duration = Duration::from_secs(10);
/// Between two looks at whether everything has been published.
const FLUSH: Duration = Duration::from_millis(20);
/// Longest names the API accepts: of the reporting instance, and of an object before what makes an event's name unique.
const INSTANCE_MAX: usize = 128;
const NAME_MAX: usize = 220;
/// Time after which the same is another event again, as for others' events.
const SERIES: Duration = Duration::from_secs(6 * 60);

/// Something to tell, and about which object.
pub(super) struct Told {
    pub(super) about: ObjectReference,
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) when: When,
    /// All objects of a broker may say it at once: left out when there is too much to tell.
    pub(super) by_the_dozen: bool,
}

impl Told {
    /// Kind, namespace, name and uid of the object.
    fn place(&self) -> String {
        let about = &self.about;
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let parts = [&about.kind, &about.namespace, &about.name, &about.uid];
        parts.map(part).join("/")
    }
}

/// The time at which an event is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// It is about a condition: told when it has stood for so long and nothing else about it came meanwhile.
    IfItLasts(Duration),
    /// It has nothing to do with conditions: at once.
    Aside,
}

/// The resource as events name it.
pub(super) fn resource(key: &ObjectKey, uid: String) -> ObjectReference {
    ObjectReference {
        api_version: Some(version(key.group)),
        kind: Some(key.kind.as_str().to_owned()),
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        uid: Some(uid),
        ..ObjectReference::default()
    }
}

#[derive(Clone)]
pub(super) struct Events {
    sender: mpsc::Sender<Told>,
    /// Events that no condition tells and that have not been published yet.
    aside: Arc<AtomicUsize>,
}

impl Events {
    /// Publishes in a task of its own, until the last clone is dropped.
    pub(super) fn start(client: Client, instance: String, metrics: Metrics) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING);
        let aside = Arc::new(AtomicUsize::new(0));
        let publisher = Publisher::new(client, instance, metrics);
        tokio::spawn(publish(publisher, waiting, Arc::clone(&aside)));
        Self { sender, aside }
    }

    /// Waits until everything is published that no condition tells; what it is about may be gone tomorrow.
    pub(super) async fn flush(&self) {
        while self.aside.load(Ordering::Relaxed) > 0 {
            sleep(FLUSH).await;
        }
    }

    pub(super) fn tell(&self, told: Told) {
        // Half of the room is kept for what is not said by the dozen.
        if told.by_the_dozen && self.sender.capacity() < WAITING / 2 {
            return;
        }
        let counts = usize::from(told.when == When::Aside);
        self.aside.fetch_add(counts, Ordering::Relaxed);
        if let Err(error) = self.sender.try_send(told) {
            self.aside.fetch_sub(counts, Ordering::Relaxed);
            debug!(%error, "event dropped");
        }
    }
}

async fn publish(mut publisher: Publisher, mut waiting: mpsc::Receiver<Told>, aside: Arc<AtomicUsize>) {
    let mut bucket = Bucket::new(Instant::now());
    let mut held = Held::default();
    loop {
        let told = tokio::select! {
            told = waiting.recv() => match told {
                Some(told) => held.take(told, Instant::now()),
                None => return,
            },
            () = until(held.next()) => held.ripe(Instant::now()),
        };
        let Some(told) = told else { continue };
        // Warnings wait for their turn; what comes in masses is left out.
        let mut has_turn = bucket.take(Instant::now());
        if !has_turn && !told.by_the_dozen {
            sleep(REFILL).await;
            bucket.take(Instant::now());
            has_turn = true;
        }
        if has_turn {
            publisher.publish(&told).await;
        }
        aside.fetch_sub(usize::from(told.when == When::Aside), Ordering::Relaxed);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Events that are told only if what they say lasts.
#[derive(Default)]
struct Held(BTreeMap<String, (Instant, Told)>);

impl Held {
    /// Takes in an event; gives it back when it is to be told now. Another one about the same condition takes the place
    /// of the one that waits, and doesn't wait longer.
    fn take(&mut self, told: Told, now: Instant) -> Option<Told> {
        let When::IfItLasts(patience) = told.when else {
            return Some(told);
        };
        let place = told.place();
        let before = self.0.remove(&place);
        if patience.is_zero() {
            return Some(told);
        }
        let due = before.map_or(now + patience, |(due, _)| due);
        if self.0.len() < WAITING {
            self.0.insert(place, (due, told));
        }
        None
    }

    fn next(&self) -> Option<Instant> {
        self.0.values().map(|(due, _)| *due).min()
    }

    /// One that has waited long enough.
    fn ripe(&mut self, now: Instant) -> Option<Told> {
        let (place, _) = self.0.iter().find(|(_, (due, _))| *due <= now)?;
        let place = place.clone();
        self.0.remove(&place).map(|(_, told)| told)
    }
}

/// An event that stands in the cluster, to be counted up when the same is so again.
#[derive(Clone, Debug, PartialEq)]
struct Standing {
    name: String,
    count: i32,
    last: Instant,
}

/// Events by object, reason and text: another text is another event.
type Known = HashMap<(String, &'static str, String), Standing>;

/// Writes events.
struct Publisher {
    client: Client,
    instance: String,
    metrics: Metrics,
    known: Known,
}

impl Publisher {
    fn new(client: Client, instance: String, metrics: Metrics) -> Self {
        Self {
            client,
            instance: instance.chars().take(INSTANCE_MAX).collect(),
            metrics,
            known: Known::new(),
        }
    }

    async fn publish(&mut self, told: &Told) {
        let answer = timeout(REQUEST, self.write(told)).await;
        self.metrics.api_write(ApiWrite::Event, matches!(answer, Ok(Ok(()))));
        match answer {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(object = told.about.name, %error, "event not published"),
            Err(_) => debug!(object = told.about.name, "event not published in time"),
        }
    }

    /// Counts up the event that says the same, or makes one.
    async fn write(&mut self, told: &Told) -> kube::Result<()> {
        let namespace = told.about.namespace.as_deref().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let now = Timestamp::now();
        self.known.retain(|_, standing| standing.last.elapsed() < SERIES);
        let place = (told.place(), told.reason, told.message.clone());
        if let Some(standing) = self.known.get_mut(&place) {
            standing.count = standing.count.saturating_add(1);
            standing.last = Instant::now();
            let series = EventSeries {
                count: standing.count,
                last_observed_time: MicroTime(now),
            };
            let patch = Patch::Merge(json!({ "series": series }));
            match api.patch(&standing.name, &PatchParams::default(), &patch).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                answer => return answer.map(drop),
            }
        }
        let event = self.event(told, now);
        let standing = Standing {
            name: event.metadata.name.clone().unwrap_or_default(),
            count: 1,
            last: Instant::now(),
        };
        api.create(&PostParams::default(), &event).await?;
        if self.known.len() < WAITING {
            self.known.insert(place, standing);
        }
        Ok(())
    }

    fn event(&self, told: &Told, now: Timestamp) -> Event {
        let about = &told.about;
        let name: String = about.name.iter().flat_map(|name| name.chars()).take(NAME_MAX).collect();
        Event {
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(now)),
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", now.as_nanosecond())),
                namespace: about.namespace.clone(),
                ..ObjectMeta::default()
            },
            note: Some(cut(&told.message)),
            reason: Some(told.reason.to_owned()),
            regarding: Some(about.clone()),
            reporting_controller: Some(MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if told.warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
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

    fn told(name: &str, reason: &'static str, when: When) -> Told {
        Told {
            about: resource(&ObjectKey::new(crate::object::Kind::Queue, "shop", name), String::new()),
            warning: true,
            reason,
            message: String::new(),
            when,
            by_the_dozen: false,
        }
    }

    #[test]
    fn what_does_not_last_is_not_told() {
        let patience = Duration::from_secs(10);
        let start = Instant::now();
        let mut held = Held::default();
        let mut take = |name, reason, when, after| {
            held.take(told(name, reason, when), start + Duration::from_secs(after))
                .map(|told| told.reason)
        };
        let lasts = When::IfItLasts(patience);
        let now = When::IfItLasts(Duration::ZERO);
        assert_eq!(take("a", "Waits", lasts, 0), None);
        assert_eq!(take("a", "WaitsForMore", lasts, 8), None);
        assert_eq!(take("b", "Waits", lasts, 0), None);
        assert_eq!(take("b", "Aside", When::Aside, 1), Some("Aside"));
        assert_eq!(take("c", "Waits", lasts, 0), None);
        assert_eq!(take("c", "Synced", now, 2), Some("Synced"));
        assert!(held.ripe(start + Duration::from_secs(9)).is_none());
        let due = start + patience;
        let mut ripe: Vec<_> = std::iter::from_fn(|| held.ripe(due)).map(|told| told.reason).collect();
        ripe.sort_unstable();
        assert_eq!(
            ripe,
            ["Waits", "WaitsForMore"],
            "each as it was last told, once its time is over"
        );
        assert_eq!(held.next(), None);
    }

    #[test]
    fn notes_are_cut_at_a_character() {
        assert_eq!(cut("short"), "short");
        assert!(cut(&"é".repeat(1000)).len() <= NOTE_MAX);
    }
}
