//! All sockets: bound as they are declared, again where that failed, and closed with their declarations or vhosts.
//!
//! Comes in: parameters of the kind `zeromq-socket` and vhosts as they come and go; sockets of the settings. Goes out:
//! listening sockets, each with a task that accepts its peers; for the HTTP API, what became of each. Does not know
//! what peers say.

use super::connection::Peers;
use super::keys::Keys;
use super::settings::Fixed;
use super::socket::{Name, Origin, Socket, Standing};
use super::spec::{COMPONENT, Mechanism, Spec};
use crate::config::Offer;
use crate::limits::descriptors::Seat;
use crate::listener;
use crate::node::Node;
use crate::protocol::{Listener, ZMTP};
use bytes::Bytes;
use leveret_zmtp::curve::KeyPair;
use leveret_zmtp::{Limits, ServerSecurity, ServerSettings};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Time until what failed is tried again, and until it is noticed that a vhost has gone.
const AGAIN: Duration = Duration::from_secs(1);

/// All sockets.
pub struct Sockets {
    node: Arc<Node>,
    offer: Arc<RwLock<Offer>>,
    /// Key pairs of those with CURVE.
    pub keys: Keys,
    /// Those of the settings.
    fixed: Vec<Fixed>,
    open: RwLock<BTreeMap<Name, Arc<Socket>>>,
    /// One look after the other.
    state: tokio::sync::Mutex<State>,
    /// Set when the broker drains: nothing is bound any more.
    stopped: AtomicBool,
}

#[derive(Default)]
struct State {
    accepting: HashMap<Name, Vec<JoinHandle<()>>>,
    /// Ports that were chosen where any would do: a socket keeps its own while it is declared.
    ports: HashMap<Name, u16>,
}

/// A socket that should be there.
type Declared = BTreeMap<Name, (Spec, Origin)>;

impl Sockets {
    /// None yet. `offer` has the terms for peers that log in; `fixed` are those of the settings.
    pub fn new(node: Arc<Node>, offer: Arc<RwLock<Offer>>, keys: Keys, fixed: Vec<Fixed>) -> Self {
        Self {
            node,
            offer,
            keys,
            fixed,
            open: RwLock::default(),
            state: tokio::sync::Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Follows the declarations until the task is dropped.
    pub async fn follow(&self) {
        let mut changes = self.node.parameters.changes();
        loop {
            changes.mark_unchanged();
            self.look().await;
            let now = Instant::now();
            self.list().iter().for_each(|socket| socket.figures.sample(now));
            // An error would say that there is nobody left to change parameters.
            let _ = tokio::time::timeout(AGAIN, changes.changed()).await;
        }
    }

    /// All of them, by vhost and name.
    pub fn list(&self) -> Vec<Arc<Socket>> {
        self.open.read().values().cloned().collect()
    }

    /// One by its names.
    pub fn get(&self, vhost: &str, name: &str) -> Option<Arc<Socket>> {
        let (vhost, name) = (vhost.to_owned(), name.to_owned());
        self.open.read().get(&Name { vhost, name }).cloned()
    }

    /// The addresses that they are bound to.
    pub fn listeners(&self) -> Vec<Listener> {
        let addresses = |socket: &Arc<Socket>| socket.addresses();
        let addresses = self.open.read().values().flat_map(addresses).collect::<Vec<_>>();
        let listener = |address| Listener {
            service: &ZMTP,
            address,
        };
        addresses.into_iter().map(listener).collect()
    }

    /// Accepts nobody any more: the broker stops.
    pub async fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        let mut state = self.state.lock().await;
        for (_, tasks) in state.accepting.drain() {
            stop(tasks).await;
        }
    }

    /// Compares what there is with what is declared, and sees to the difference.
    pub async fn look(&self) {
        let state = &mut *self.state.lock().await;
        if self.stopped.load(Ordering::Relaxed) {
            return;
        }
        let mut declared = self.declared();
        for socket in self.list() {
            let name = &socket.name;
            let wanted = declared.get(name);
            if wanted.is_some_and(|(spec, origin)| *origin == socket.origin && self.is_as(&socket, spec)) {
                declared.remove(name);
                if matches!(socket.standing(), Standing::Failed(_)) {
                    self.open(&socket, state);
                }
                continue;
            }
            let is_gone = wanted.is_none();
            if let Some(tasks) = state.accepting.remove(name) {
                stop(tasks).await;
            }
            socket.close();
            if is_gone {
                tracing::info!(vhost = name.vhost, socket = name.name, "a ZeroMQ socket is gone");
                state.ports.remove(name);
                self.open.write().remove(name);
                self.forget_keys(|of| of == name);
            }
        }
        for (name, declared) in declared {
            let figures = self.get(&name.vhost, &name.name).map(|before| before.figures.clone());
            let key = self.pair(&name, &declared.0).map(|pair| *pair.public());
            let socket = Arc::new(Socket::new(name.clone(), declared, key, figures.unwrap_or_default()));
            self.open(&socket, state);
            self.open.write().insert(name, socket);
        }
        self.forget_keys(|of| self.node.vhost(&of.vhost).is_none());
    }

    /// True if a socket is as it is declared.
    fn is_as(&self, socket: &Socket, spec: &Spec) -> bool {
        *spec == socket.spec && socket.server_key == self.pair(&socket.name, spec).map(|pair| *pair.public())
    }

    /// The key pair of a socket, if it needs one.
    fn pair(&self, name: &Name, spec: &Spec) -> Option<KeyPair> {
        if !matches!(spec.mechanism, Mechanism::Curve { .. }) {
            return None;
        }
        let fixed = self.fixed.iter().find(|fixed| fixed.name == *name);
        let given = fixed.and_then(|fixed| fixed.pair.clone());
        given.or_else(|| self.keys.of(name).ok())
    }

    fn forget_keys(&self, gone: impl Fn(&Name) -> bool) {
        if let Err(error) = self.keys.forget(gone) {
            tracing::warn!(%error, "keys of ZeroMQ sockets that are gone can't be forgotten");
        }
    }

    /// The sockets that should be there. A value that can't be used was refused when it was put; one of another version
    /// may come with the log.
    fn declared(&self) -> Declared {
        let parameters = self.node.parameters.list(|key| key.component == COMPONENT);
        let of = |vhost: &String| self.node.vhost(vhost).is_some();
        let declared = parameters.into_iter().filter_map(|(key, value)| {
            let vhost = key.vhost.filter(of)?;
            let value = serde_json::from_str(&value).ok()?;
            let spec = Spec::parse(&value).ok()?;
            let name = Name { vhost, name: key.name };
            Some((name, (spec, Origin::Parameter)))
        });
        let fixed = self.fixed.iter().filter(|fixed| of(&fixed.name.vhost));
        let fixed = fixed.map(|fixed| (fixed.name.clone(), (fixed.spec.clone(), Origin::Settings)));
        declared.chain(fixed).collect()
    }

    /// Binds a socket, and has its peers accepted.
    fn open(&self, socket: &Arc<Socket>, state: &mut State) {
        let (name, spec) = (&socket.name, &socket.spec);
        match self.bind(socket, state.ports.get(name).copied()) {
            Ok((addresses, tasks)) => {
                if let Some(address) = addresses.first().filter(|_| spec.listen.port == 0) {
                    state.ports.insert(name.clone(), address.port());
                }
                tracing::info!(
                    vhost = name.vhost,
                    socket = name.name,
                    kind = spec.role.name(),
                    addresses = ?addresses,
                    "a ZeroMQ socket listens"
                );
                state.accepting.insert(name.clone(), tasks);
                socket.set_standing(Standing::Running(addresses));
            }
            Err(error) => {
                let why = explained(&error);
                let told = matches!(socket.standing(), Standing::Failed(before) if before == why);
                if !told {
                    let listen = spec.listen.to_string();
                    tracing::warn!(
                        vhost = name.vhost,
                        socket = name.name,
                        listen,
                        "a ZeroMQ socket can't listen: {why}"
                    );
                }
                socket.set_standing(Standing::Failed(why));
            }
        }
    }

    fn bind(&self, socket: &Arc<Socket>, port: Option<u16>) -> io::Result<(Vec<SocketAddr>, Vec<JoinHandle<()>>)> {
        let descriptors = &self.node.descriptors;
        let (mut addresses, mut bound) = (Vec::new(), Vec::new());
        for listening in socket.spec.listen.bind(port)? {
            let seat = descriptors.seat();
            let seat = seat.ok_or_else(|| io::Error::other("all file descriptors for connections are taken"))?;
            let address = listening.local_addr()?;
            addresses.push(address);
            let listening = listener::Socket {
                socket: listening,
                listener: Listener {
                    service: &ZMTP,
                    address,
                },
                certificates: None,
                descriptors: descriptors.clone(),
            };
            bound.push((listening, seat));
        }
        let settings = Arc::new(self.settings(socket)?);
        let tasks = bound
            .into_iter()
            .map(|(listening, seat)| self.accept((socket, &settings), listening, seat));
        Ok((addresses, tasks.collect()))
    }

    /// The broker's side of every handshake of a socket.
    fn settings(&self, socket: &Socket) -> io::Result<ServerSettings> {
        let spec = &socket.spec;
        let most = self.node.max_message_bytes();
        let message = spec.max_message.map_or(most, |own| own.min(most));
        let pair = self.pair(&socket.name, spec);
        let security = match (&spec.mechanism, pair) {
            (Mechanism::Null { .. }, _) => ServerSecurity::Null,
            (Mechanism::Plain, _) => ServerSecurity::Plain,
            (Mechanism::Curve { .. }, Some(pair)) => ServerSecurity::Curve(pair),
            (Mechanism::Curve { .. }, None) => return Err(io::Error::other("its key can't be kept")),
        };
        Ok(ServerSettings {
            socket_type: spec.role.socket_type(),
            security,
            identity: Bytes::new(),
            limits: Limits {
                message: usize::try_from(message).unwrap_or(usize::MAX),
                frames: spec.max_frames,
                ..Limits::default()
            },
        })
    }

    fn accept(
        &self,
        (socket, settings): (&Arc<Socket>, &Arc<ServerSettings>),
        listening: listener::Socket,
        seat: Seat,
    ) -> JoinHandle<()> {
        let peers = Peers {
            socket: socket.clone(),
            settings: settings.clone(),
            node: self.node.clone(),
            offer: self.offer.clone(),
        };
        tokio::spawn(async move {
            if let Err(error) = listener::accept(listening, peers).await {
                tracing::error!("{error:#}");
            }
            drop(seat);
        })
    }
}

/// Ends tasks, and with them the sockets that they accept from: only then can the address be bound again.
async fn stop(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.abort();
        // It was broken off, or had ended.
        let _ = task.await;
    }
}

fn explained(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "port in use".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission; choose a port above 1023".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    }
}
