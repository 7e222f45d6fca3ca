//! A folder of manifests as the source of resources, and a place in memory for their status.
//!
//! In: YAML files, read again when they change. Out: the same `Snapshot` that a cluster would give.
//! Does not know about brokers beyond the one address that all resources lead to, nor how statuses are shown.

/// The manifests of a folder.
pub mod read;

/// Passwords of Users, and keys of sockets, in a folder.
mod passwords;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::seam::{Source, SourceError};
use crate::object::{AnyObject, Connection, ConnectionError, Kind, Meta, Object, ObjectKey, Snapshot, StatusReport};
use crate::resource::{AllowedNamespaces, BrokerRef, BrokerSpec, Spec};
use read::{Fingerprint, Manifest, Manifests, Problem, files, read};

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_millis(300);
/// The broker's name when no resource names one.
const DEFAULT_BROKER: &str = "main";
/// The address of sockets that say none.
const LOOPBACK: &str = "127.0.0.1";

/// A folder of manifests, all of which lead to one broker.
pub struct Folder {
    path: PathBuf,
    connection: Connection,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    told: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    fingerprint: Fingerprint,
    snapshot: Arc<Snapshot>,
    next_uid: u64,
    statuses: BTreeMap<ObjectKey, StatusReport>,
    problems: Vec<Problem>,
    skipped: Vec<String>,
    warnings: Vec<String>,
}

/// The state to show.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    pub snapshot: Arc<Snapshot>,
    pub statuses: BTreeMap<ObjectKey, StatusReport>,
    /// Reasons why the files as they stand now are not what is reconciled.
    pub problems: Vec<Problem>,
    pub skipped: Vec<String>,
    /// Things that were said once, oldest first.
    pub warnings: Vec<String>,
}

impl Folder {
    /// Reads the manifests at `path` for the first time. All resources, whatever broker they name, lead to
    /// `connection`.
    ///
    /// # Errors
    /// Everything that is wrong with them; one line each.
    pub fn open(path: &Path, connection: Connection) -> Result<Self, Vec<Problem>> {
        let fingerprint = files(path).map_err(|problem| vec![problem])?;
        let manifests = read(path, &fingerprint)?;
        let mut state = State {
            fingerprint,
            ..State::default()
        };
        state.take(manifests);
        Ok(Self {
            path: path.to_owned(),
            connection,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            told: watch::Sender::new(0),
        })
    }

    /// Follows edits until `shutdown`. Files that do not read well change nothing: they are shown as problems, and the
    /// last good state stays.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let mut ticks = interval(LOOK);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            let folder = Arc::clone(&self);
            // Files are read on a thread of their own: a slow disk holds nothing up.
            if let Err(error) = tokio::task::spawn_blocking(move || folder.look()).await {
                tracing::error!("cannot look at the files: {error}");
            }
        }
    }

    fn look(&self) {
        let found = files(&self.path);
        let same = {
            let state = self.state.lock();
            match &found {
                Ok(fingerprint) => *fingerprint == state.fingerprint,
                Err(problem) => state.problems.first() == Some(problem),
            }
        };
        if same {
            return;
        }
        let outcome = match found {
            Ok(fingerprint) => {
                let manifests = read(&self.path, &fingerprint);
                self.state.lock().fingerprint = fingerprint;
                manifests
            }
            Err(problem) => {
                self.state.lock().fingerprint = Fingerprint::new();
                Err(vec![problem])
            }
        };
        let mut state = self.state.lock();
        match outcome {
            Ok(manifests) => {
                state.problems.clear();
                state.take(manifests);
            }
            Err(problems) => state.problems = problems,
        }
        drop(state);
        bump(&self.changed);
        bump(&self.told);
    }

    /// The state to show now.
    pub fn shown(&self) -> Shown {
        let state = self.state.lock();
        Shown {
            snapshot: Arc::clone(&state.snapshot),
            statuses: state.statuses.clone(),
            problems: state.problems.clone(),
            skipped: state.skipped.clone(),
            warnings: state.warnings.clone(),
        }
    }

    /// Grows whenever [`Folder::shown`] has changed.
    pub fn told(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }
}

fn bump(counter: &watch::Sender<u64>) {
    counter.send_modify(|number| *number = number.wrapping_add(1));
}

fn now() -> i64 {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

impl State {
    /// Moves from the snapshot as it was to what the files say now. What is no longer in them is deleted, that is,
    /// marked so until the pipeline lets it go; what comes back before that stays.
    fn take(&mut self, manifests: Manifests) {
        let old = Arc::clone(&self.snapshot);
        let mut snapshot = Snapshot::default();
        let broker = broker_key(&manifests);
        let reference = reference(&broker);
        let companion = companion(manifests.objects.get(&broker));
        for (key, Manifest { annotations, spec }) in manifests.objects {
            if key.kind == Kind::Broker {
                continue;
            }
            let mut object = AnyObject::new(self.meta(&old, &key, annotations), spec);
            object.lead(&reference);
            stay_on_this_machine(&mut object);
            if old.any(&key).is_some_and(|before| !before.has_spec_of(&object)) {
                object.meta_mut().generation += 1;
            }
            snapshot.insert(object);
        }
        let leaving = now();
        for object in old.objects() {
            let key = &object.meta().key;
            if key.kind != Kind::Broker && !snapshot.contains(key) {
                let mut object = object.clone();
                object.meta_mut().deleting.get_or_insert(leaving);
                object.lead(&reference);
                snapshot.insert(object);
            }
        }
        let meta = self.meta(&old, &broker, BTreeMap::new());
        snapshot.put(meta, companion);
        snapshot.passwords = Some(Arc::new(passwords::of(&snapshot, &manifests.secrets)));
        snapshot.keys = Some(Arc::new(passwords::keys(&snapshot, &manifests.secrets)));
        self.statuses.retain(|key, _| snapshot.meta(key).is_some());
        self.snapshot = Arc::new(snapshot);
        self.skipped = manifests.skipped;
    }

    fn meta(&mut self, old: &Snapshot, key: &ObjectKey, annotations: BTreeMap<String, String>) -> Meta {
        let before = old.meta(key);
        let uid = before.map(|before| before.uid.clone()).unwrap_or_else(|| {
            self.next_uid += 1;
            self.next_uid.to_string()
        });
        Meta {
            uid,
            generation: before.map_or(1, |before| before.generation),
            created: before.map_or_else(now, |before| before.created),
            annotations,
            finalized: true,
            ..Meta::fresh(key.clone())
        }
    }
}

/// The broker by the name that the resources use: that of the first Broker, or of the first reference.
fn broker_key(manifests: &Manifests) -> ObjectKey {
    let named = manifests.objects.keys().find(|key| key.kind == Kind::Broker).cloned();
    let referred = || {
        manifests.objects.iter().find_map(|(key, manifest)| {
            let reference = manifest.spec.broker_ref()?;
            let namespace = reference.namespace.as_ref().unwrap_or(&key.namespace);
            Some(ObjectKey::new(Kind::Broker, namespace, &reference.name))
        })
    };
    named
        .or_else(referred)
        .unwrap_or_else(|| ObjectKey::new(Kind::Broker, "default", DEFAULT_BROKER))
}

fn reference(broker: &ObjectKey) -> BrokerRef {
    BrokerRef {
        name: broker.name.clone(),
        namespace: Some(broker.namespace.clone()),
    }
}

/// Lets a socket that says no address listen where others on this machine reach it, as the companion broker does.
fn stay_on_this_machine(object: &mut AnyObject) {
    if let AnyObject::ZeroMqSocket(socket) = object {
        let address = &mut Arc::make_mut(socket).spec.address;
        address.get_or_insert_with(|| LOOPBACK.to_owned());
    }
}

/// The companion broker in place of one of the folder, whose rules hold.
fn companion(manifest: Option<&Manifest>) -> BrokerSpec {
    let allowed = match manifest.map(|manifest| &manifest.spec) {
        Some(Spec::Broker(broker)) => broker.allowed_namespaces.opened(),
        _ => AllowedNamespaces::default().opened(),
    };
    BrokerSpec {
        allowed_namespaces: allowed,
        ..BrokerSpec::default()
    }
}

impl Source for Folder {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.state.lock().snapshot)
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn connection(&self, _: &Object<BrokerSpec>) -> Result<Connection, ConnectionError> {
        Ok(self.connection.clone())
    }

    async fn write_status(&self, reports: Vec<StatusReport>) {
        let mut state = self.state.lock();
        for mut report in reports {
            // The live view asks for these itself, every second.
            report.queue = None;
            if state
                .snapshot
                .meta(&report.key)
                .is_some_and(|meta| meta.uid == report.uid)
            {
                state.statuses.insert(report.key.clone(), report);
            }
        }
        drop(state);
        bump(&self.told);
    }

    /// Files carry no finalizers: what was in them stays in the snapshot until it is let go.
    async fn ensure_finalizer(&self, _: &ObjectKey) -> Result<(), SourceError> {
        Ok(())
    }

    async fn remove_finalizer(&self, key: &ObjectKey) -> Result<(), SourceError> {
        let mut state = self.state.lock();
        // It may have come back meanwhile.
        if state.snapshot.meta(key).is_some_and(|meta| meta.deleting.is_some()) {
            let mut snapshot = Snapshot::clone(&state.snapshot);
            snapshot.remove(key);
            state.snapshot = Arc::new(snapshot);
            state.statuses.remove(key);
        }
        drop(state);
        bump(&self.changed);
        bump(&self.told);
        Ok(())
    }

    async fn warn(&self, key: &ObjectKey, _: &'static str, message: String) {
        self.state.lock().warnings.push(format!("{key}: {message}"));
        bump(&self.told);
    }
}

#[cfg(test)]
mod tests;
