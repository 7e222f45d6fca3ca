//! (client) The keys of ZeroMQ sockets with CURVE: looked up in the Secrets that they bring, and made, with a Secret,
//! where they bring none.
//!
//! In: the source's `ZeroMqSocket`s, their Secrets. Out: Secrets applied, and for each socket its key, or why there is
//! none. Nothing is watched before there is a socket that needs it. Does not know about brokers on the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use kube::Client;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::made::{Made, Order, Taken};
use super::ours::{May, is_ours};
use super::retries::Retries;
use super::turn::turn;
use crate::engine::curve_secret;
use crate::metrics::Metrics;
use crate::object::{ConnectionError, CurveKey, Object, ObjectKey, Reason, ServerKey, Snapshot};
use crate::resource::{BrokerSpec, KeyPair, ZeroMqSocketSpec};
use crate::source::dereference::Secrets;
use crate::source::kubernetes::Kubernetes;
use crate::source::{Source, brought};

/// Longest wait for the first answer of the API server.
const FIRST_READ: Duration = Duration::from_secs(10);
/// Sockets that are worked on at the same time.
const AT_ONCE: usize = 32;
/// Pause after a change, in which others come.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// Runs until `stop`; leaves everything as it is.
pub async fn run(
    client: Client,
    source: Arc<Kubernetes>,
    namespaces: Vec<String>,
    may: May,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut changed = source.changed();
    while !source
        .snapshot()
        .iter::<ZeroMqSocketSpec>()
        .any(|socket| socket.spec.key_pair().is_some())
    {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changed.changed() => if changed.is_err() { return },
        }
    }
    let made = Made::start(client, &namespaces, curve_secret::COMPONENT, metrics);
    tokio::select! {
        () = stop.cancelled() => return,
        () = made.read() => {}
        () = sleep(FIRST_READ) => warn!("the Secrets of ZeroMQ sockets cannot be read yet"),
    }
    let mut moved = made.changed();
    let mut keys = Keys {
        source,
        made,
        may,
        known: BTreeMap::new(),
        retries: Retries::default(),
    };
    loop {
        changed.mark_unchanged();
        moved.mark_unchanged();
        let due = keys.pass().await;
        if !turn(&stop, &mut changed, &mut moved, due, DEBOUNCE).await {
            break;
        }
    }
}

/// All sockets whose keys are to be found.
struct Keys {
    source: Arc<Kubernetes>,
    made: Made,
    may: May,
    known: BTreeMap<ObjectKey, ServerKey>,
    retries: Retries,
}

/// The outcome for one socket.
enum Found {
    Key(ServerKey),
    /// It cannot be said now; what was known stays.
    Later(ServerKey),
}

impl Keys {
    /// Looks at all sockets. The answer is when to do so again.
    async fn pass(&mut self) -> Option<Instant> {
        let snapshot = self.source.snapshot();
        let sockets = snapshot.iter::<ZeroMqSocketSpec>();
        let sockets = sockets.filter_map(|socket| Some((socket, socket.spec.key_pair()?)));
        let sockets: Vec<(&Arc<Object<ZeroMqSocketSpec>>, KeyPair<'_>)> = sockets
            .filter(|(socket, _)| is_ours(&socket.meta, &socket.spec.broker_ref, &snapshot))
            .collect();
        let (this, shot) = (&*self, &*snapshot);
        let waits = |socket: &Object<ZeroMqSocketSpec>, pair: &KeyPair<'_>| {
            matches!(pair, KeyPair::Generated(_)) && this.retries.waits(&socket.meta)
        };
        let looked = sockets.iter().filter(|(socket, pair)| !waits(socket, pair));
        let looked = looked.map(|(socket, pair)| async move { (*socket, this.look(socket, *pair, shot).await) });
        let found: Vec<_> = stream::iter(looked).buffer_unordered(AT_ONCE).collect().await;
        let here: BTreeSet<&ObjectKey> = sockets.iter().map(|(socket, _)| &socket.meta.key).collect();
        self.known.retain(|key, _| here.contains(key));
        self.retries.keep_only(&here);
        for (socket, found) in found {
            self.take(socket, found);
        }
        self.source.set_keys(&self.known);
        self.retries.due()
    }

    fn take(&mut self, socket: &Object<ZeroMqSocketSpec>, found: Found) {
        let key = &socket.meta.key;
        match found {
            Found::Key(found) => {
                self.retries.over(key);
                self.known.insert(key.clone(), found);
            }
            Found::Later(problem) => {
                self.retries.failed(&socket.meta);
                if !matches!(self.known.get(key), Some(ServerKey::Known(_))) {
                    self.known.insert(key.clone(), problem);
                }
            }
        }
    }

    async fn look(&self, socket: &Object<ZeroMqSocketSpec>, pair: KeyPair<'_>, snapshot: &Snapshot) -> Found {
        let namespace = &socket.meta.key.namespace;
        let secret = match pair {
            KeyPair::Generated(_) => return self.generated(socket, snapshot).await,
            KeyPair::Secret(secret) => secret,
        };
        match self.source.secret(namespace, &secret.name).await {
            Ok(data) => Found::Key(brought::server_key(socket, secret, &data)),
            Err(ConnectionError::Missing(text)) => Found::Key(ServerKey::Missing(Reason::WaitingForSecret, text)),
            Err(error) => Found::Later(ServerKey::Missing(Reason::WaitingForSecret, error.to_string())),
        }
    }

    async fn generated(&self, socket: &Object<ZeroMqSocketSpec>, snapshot: &Snapshot) -> Found {
        let broker = ObjectKey::broker(&socket.spec.broker_ref, &socket.meta.key.namespace);
        if snapshot.get::<BrokerSpec>(&broker).is_none() || !(self.may)(snapshot, &socket.meta.key) {
            // That is said of the socket for other reasons.
            let text = format!("no Secret is made before {broker} can be used");
            return Found::Key(ServerKey::Missing(Reason::WaitingForBroker, text));
        }
        let order = Order {
            owner: &socket.meta,
            name: curve_secret::name(socket),
            component: curve_secret::COMPONENT,
            label: None,
            type_: curve_secret::TYPE,
            passing: &[],
            taken: Taken::Rename("curve.generatedSecret"),
        };
        let data = |existing: Option<&_>| {
            let key = existing.and_then(curve_secret::key);
            curve_secret::data(&key.unwrap_or_else(CurveKey::fresh))
        };
        let kept = self.made.keep(&order, data).await;
        let key = kept.map(|data| data.get(curve_secret::SECRET_KEY).and_then(|text| CurveKey::read(text)));
        match key {
            Ok(Some(key)) => Found::Key(ServerKey::Known(key)),
            Ok(None) => Found::Later(ServerKey::Missing(
                Reason::WaitingForSecret,
                "no key could be made".to_owned(),
            )),
            Err((reason, text)) => Found::Later(ServerKey::Missing(reason, text)),
        }
    }
}
