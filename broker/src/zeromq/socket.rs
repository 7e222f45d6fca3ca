//! One socket, from its declaration to its end: what it says, where it listens, its figures and its peers.
//!
//! Comes in: addresses once they are bound, or the reason why they can't be; peers as they come and go; the end. Goes
//! out: the same for those who ask; to each peer, that it has to go. Does not know what peers say.

use super::spec::Spec;
use crate::clients::ConnectionInfo;
use leveret_zmtp::curve::PublicKey;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The names of a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Its vhost.
    pub vhost: String,
    /// Its name there.
    pub name: String,
}

/// The place where a socket is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A parameter.
    Parameter,
    /// The settings: the API can't change it.
    Settings,
}

impl Origin {
    /// The name in the HTTP API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parameter => "parameter",
            Self::Settings => "settings",
        }
    }
}

/// The standing of a socket.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It listens, there.
    Running(Vec<SocketAddr>),
    /// It doesn't listen, for this reason; that is tried again.
    Failed(String),
}

/// Counters of a socket since the broker started.
#[derive(Debug, Default)]
pub struct Figures {
    /// Messages of peers that were published.
    pub messages_in: AtomicU64,
    /// Messages written for peers.
    pub messages_out: AtomicU64,
    /// Messages of peers that no queue took, and messages for peers that had too many.
    pub messages_dropped: AtomicU64,
    /// Bytes read from peers.
    pub bytes_in: AtomicU64,
    /// Bytes written to them.
    pub bytes_out: AtomicU64,
    sampled: Mutex<Option<Sampled>>,
}

/// The number of counters, in the order of [`Figures::counts`].
pub const COUNTS: usize = 5;
/// Time between samples for rates, as everywhere.
const INTERVAL: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
struct Sampled {
    at: Instant,
    counts: [u64; COUNTS],
    rates: [f64; COUNTS],
}

impl Figures {
    /// Messages in, out, dropped; bytes in, out.
    pub fn counts(&self) -> [u64; COUNTS] {
        let all = [
            &self.messages_in,
            &self.messages_out,
            &self.messages_dropped,
            &self.bytes_in,
            &self.bytes_out,
        ];
        all.map(|count| count.load(Ordering::Relaxed))
    }

    /// The same per second, as of the last sample.
    pub fn rates(&self) -> [f64; COUNTS] {
        self.sampled.lock().map_or([0.0; COUNTS], |sampled| sampled.rates)
    }

    /// Takes a sample, if it is time for one.
    pub(super) fn sample(&self, now: Instant) {
        let mut sampled = self.sampled.lock();
        let counts = self.counts();
        let rates = match &*sampled {
            None => [0.0; COUNTS],
            Some(before) => {
                let elapsed = now.saturating_duration_since(before.at);
                if elapsed < INTERVAL {
                    return;
                }
                let mut rates = [0.0; COUNTS];
                for (rate, (now, before)) in rates.iter_mut().zip(counts.into_iter().zip(before.counts)) {
                    *rate = now.saturating_sub(before) as f64 / elapsed.as_secs_f64();
                }
                rates
            }
        };
        *sampled = Some(Sampled { at: now, counts, rates });
    }
}

/// A socket.
pub struct Socket {
    /// Its names.
    pub name: Name,
    /// Its declaration.
    pub spec: Spec,
    /// The place of that.
    pub origin: Origin,
    /// The broker's key, with CURVE.
    pub server_key: Option<PublicKey>,
    /// Its counters. They outlive a change of the declaration.
    pub figures: Arc<Figures>,
    standing: RwLock<Standing>,
    peers: Mutex<HashMap<u64, Arc<ConnectionInfo>>>,
    end: CancellationToken,
}

impl Socket {
    /// One that doesn't listen yet.
    pub fn new(
        name: Name,
        (spec, origin): (Spec, Origin),
        server_key: Option<PublicKey>,
        figures: Arc<Figures>,
    ) -> Self {
        Self {
            name,
            spec,
            origin,
            server_key,
            figures,
            standing: RwLock::new(Standing::Failed(String::new())),
            peers: Mutex::default(),
            end: CancellationToken::new(),
        }
    }

    /// Its standing at the moment.
    pub fn standing(&self) -> Standing {
        self.standing.read().clone()
    }

    /// The addresses that it is bound to.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match &*self.standing.read() {
            Standing::Running(addresses) => addresses.clone(),
            Standing::Failed(_) => Vec::new(),
        }
    }

    pub(super) fn set_standing(&self, standing: Standing) {
        *self.standing.write() = standing;
    }

    /// Peers that have logged in.
    pub fn peers(&self) -> usize {
        self.peers.lock().len()
    }

    /// A peer has logged in. One that comes after the end is closed at once.
    pub(super) fn joined(&self, peer: &Arc<ConnectionInfo>) {
        self.peers.lock().insert(peer.id, peer.clone());
        if self.end.is_cancelled() {
            peer.close(GONE);
        }
    }

    /// A peer has gone.
    pub(super) fn left(&self, id: u64) {
        self.peers.lock().remove(&id);
    }

    /// Cancelled when the socket ends, for peers that haven't logged in.
    pub(super) fn end(&self) -> &CancellationToken {
        &self.end
    }

    /// The end: all peers have to go.
    pub(super) fn close(&self) {
        self.end.cancel();
        let peers: Vec<_> = self.peers.lock().values().cloned().collect();
        for peer in peers {
            peer.close(GONE);
        }
    }
}

/// The reason that peers go for.
const GONE: &str = "the socket was changed or deleted";
