//! A pipeline at work between resources in memory and brokers in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::fake::Fake;
use crate::metrics::Metrics;
use crate::object::{AMQP_URI, Connection, ConnectionError, Object, ObjectKey, Reason, Snapshot, StatusReport, Via};
use crate::resource::BrokerSpec;
use crate::source::{Source, SourceError};
use crate::sync::{Settings, run};

/// The user as whom the operator is logged in.
pub(super) const OWN: &str = "operator";

/// Resources in memory.
pub(super) struct Shelf {
    pub(super) snapshot: Mutex<Snapshot>,
    pub(super) changed: watch::Sender<u64>,
    pub(super) statuses: Mutex<BTreeMap<ObjectKey, StatusReport>>,
    pub(super) warnings: Mutex<Vec<String>>,
    pub(super) announced: Mutex<Vec<String>>,
    pub(super) writes: AtomicUsize,
    pub(super) finalizers: AtomicUsize,
    pub(super) password: Mutex<String>,
    /// Time that a finalizer takes.
    pub(super) finalizing: Duration,
    /// The Secret is missing, and it takes a while to find that out.
    pub(super) absent: AtomicBool,
    /// Times it was found missing.
    pub(super) missed: AtomicUsize,
}

impl Source for Shelf {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(self.snapshot.lock().clone())
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn connection(&self, broker: &Object<BrokerSpec>) -> Result<Connection, ConnectionError> {
        if let Some(uri) = broker.meta.annotations.get(AMQP_URI) {
            return Ok(Connection {
                amqp_uri: uri.clone(),
                management_uri: uri.clone(),
                user: OWN.to_owned(),
                password: String::new(),
                ca: None,
                identity: None,
                via: Via::Address,
            });
        }
        let Some(external) = &broker.spec.external else {
            return Err(ConnectionError::Missing("Secret shop/admin does not exist".to_owned()));
        };
        if self.absent.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.missed.fetch_add(1, Ordering::SeqCst);
            return Err(ConnectionError::Missing("Secret shop/late does not exist".to_owned()));
        }
        Ok(Connection {
            amqp_uri: external.uri.clone(),
            management_uri: external.management_uri.clone(),
            user: OWN.to_owned(),
            password: self.password.lock().clone(),
            ca: None,
            identity: None,
            via: Via::Address,
        })
    }

    async fn write_status(&self, reports: Vec<StatusReport>) {
        self.writes.fetch_add(reports.len(), Ordering::SeqCst);
        let mut statuses = self.statuses.lock();
        for report in reports {
            statuses.insert(report.key.clone(), report);
        }
    }

    async fn ensure_finalizer(&self, key: &ObjectKey) -> Result<(), SourceError> {
        tokio::time::sleep(self.finalizing).await;
        self.finalizers.fetch_add(1, Ordering::SeqCst);
        if let Some(object) = self.snapshot.lock().any_mut(key) {
            object.meta_mut().finalized = true;
        }
        Ok(())
    }

    async fn remove_finalizer(&self, key: &ObjectKey) -> Result<(), SourceError> {
        self.snapshot.lock().remove(key);
        self.statuses.lock().remove(key);
        self.changed.send_modify(|number| *number += 1);
        Ok(())
    }

    async fn warn(&self, key: &ObjectKey, _: &'static str, message: String) {
        self.warnings.lock().push(format!("{key}: {message}"));
    }

    async fn announce(&self, _: &'static str, message: String) {
        self.announced.lock().push(message);
    }
}

/// A pipeline at work.
pub(super) struct Stage {
    pub(super) shelf: Arc<Shelf>,
    pub(super) fake: Fake,
    stop: CancellationToken,
    _running: JoinHandle<()>,
}

impl Stage {
    pub(super) fn start(snapshot: Snapshot) -> Self {
        Self::start_with(snapshot, Fake::default(), Settings::default())
    }

    pub(super) fn start_with(snapshot: Snapshot, fake: Fake, settings: Settings) -> Self {
        Self::start_slow(snapshot, fake, settings, Duration::ZERO)
    }

    /// With an API server that takes its time over a finalizer.
    pub(super) fn start_slow(snapshot: Snapshot, fake: Fake, settings: Settings, finalizing: Duration) -> Self {
        let shelf = Arc::new(Shelf {
            snapshot: Mutex::new(snapshot),
            changed: watch::Sender::new(0),
            statuses: Mutex::default(),
            warnings: Mutex::default(),
            announced: Mutex::default(),
            writes: AtomicUsize::new(0),
            finalizers: AtomicUsize::new(0),
            password: Mutex::default(),
            finalizing,
            absent: AtomicBool::new(false),
            missed: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        let running = run(Arc::clone(&shelf), fake.clone(), settings, Metrics::new(), stop.clone());
        Self {
            shelf,
            fake,
            stop,
            _running: tokio::spawn(running),
        }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.shelf.snapshot.lock());
        self.shelf.changed.send_modify(|number| *number += 1);
    }

    pub(super) fn delete(&self, key: &ObjectKey, since: i64, annotation: Option<&str>) {
        self.change(|snapshot| {
            let Some(object) = snapshot.any_mut(key) else { return };
            let meta = object.meta_mut();
            meta.deleting = Some(since);
            if let Some(name) = annotation {
                meta.annotations.insert(name.to_owned(), "true".to_owned());
            }
        });
    }

    pub(super) fn reason(&self, key: &ObjectKey) -> Option<Reason> {
        self.shelf.statuses.lock().get(key).map(|status| status.reason)
    }

    pub(super) fn message(&self, key: &ObjectKey) -> String {
        self.shelf
            .statuses
            .lock()
            .get(key)
            .map(|status| status.message.clone())
            .unwrap_or_default()
    }

    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            let statuses = self.shelf.statuses.lock().clone();
            assert!(started.elapsed() < Duration::from_secs(8), "{what}: {statuses:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) async fn until_synced(&self, keys: &[ObjectKey]) {
        self.until("all Synced", |stage| {
            keys.iter().all(|key| stage.reason(key) == Some(Reason::Synced))
        })
        .await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
