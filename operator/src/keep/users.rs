//! (client) The passwords of Users: looked up in the Secrets that they bring, and made, with a Secret, where they bring
//! none.
//!
//! In: the source's `User`s, their Secrets. Out: Secrets applied, and for each User its password as a hash, or why
//! there is none. Nothing is watched before there is a User that needs it. A password goes from Secret to hash here and
//! nowhere else. Does not know about brokers on the wire.

/// Secrets that were made, as they stand in the cluster.
mod made;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::turn::turn;
use crate::metrics::Metrics;
use crate::object::{ConnectionError, Hash, Object, ObjectKey, PAUSED, Password, Reason, Snapshot, is_set};
use crate::resource::{BrokerSpec, UserSpec, Way};
use crate::source::dereference::Secrets;
use crate::source::kubernetes::Kubernetes;
use crate::source::{Source, brought};
use made::Made;

/// Longest wait for the first answer of the API server.
const FIRST_READ: Duration = Duration::from_secs(10);
/// Users that are worked on at the same time.
const AT_ONCE: usize = 32;
/// Slow hashes at the same time.
const SLOW_AT_ONCE: usize = 2;
/// Pause after a change, in which others come.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// First and longest pause after a problem.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Says whether a User may have what it wants of its Broker.
pub type May = fn(&Snapshot, &ObjectKey) -> bool;

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
    while source.snapshot().iter::<UserSpec>().next().is_none() {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changed.changed() => if changed.is_err() { return },
        }
    }
    let made = Made::start(client, &namespaces, metrics);
    tokio::select! {
        () = stop.cancelled() => return,
        () = made.read() => {}
        () = sleep(FIRST_READ) => warn!("the Secrets of Users cannot be read yet"),
    }
    let mut moved = made.changed();
    let mut users = Users {
        source,
        made,
        may,
        known: BTreeMap::new(),
        slow: Mutex::default(),
        turns: Semaphore::new(SLOW_AT_ONCE),
        problems: BTreeMap::new(),
    };
    loop {
        changed.mark_unchanged();
        moved.mark_unchanged();
        let due = users.pass().await;
        if !turn(&stop, &mut changed, &mut moved, due, DEBOUNCE).await {
            break;
        }
    }
}

/// All Users whose passwords are to be found.
struct Users {
    source: Arc<Kubernetes>,
    made: Made,
    may: May,
    known: BTreeMap<ObjectKey, Password>,
    /// Usual and slow hashes of passwords that were brought.
    slow: Mutex<BTreeMap<ObjectKey, (Hash, Hash)>>,
    /// Slow hashes that are made at the same time: each takes memory.
    turns: Semaphore,
    problems: BTreeMap<ObjectKey, Problem>,
}

/// Something that could not be found out, or made.
struct Problem {
    /// Of the User.
    generation: i64,
    attempts: u32,
    due: Instant,
}

/// The outcome for one User.
enum Found {
    Password(Password),
    /// It cannot be said now; what was known stays.
    Later(Password),
}

impl Users {
    /// Looks at all Users. The answer is when to do so again.
    async fn pass(&mut self) -> Option<Instant> {
        let snapshot = self.source.snapshot();
        let users: Vec<&Arc<Object<UserSpec>>> = snapshot
            .iter::<UserSpec>()
            .filter(|user| is_ours(user, &snapshot) && needs_password(user))
            .collect();
        let (this, shot) = (&*self, &*snapshot);
        let looked = users.iter().filter(|user| !this.waits(user));
        let looked = looked.map(|user| async move { (*user, this.look(user, shot).await) });
        let found: Vec<_> = stream::iter(looked).buffer_unordered(AT_ONCE).collect().await;
        let here: BTreeSet<&ObjectKey> = users.iter().map(|user| &user.meta.key).collect();
        self.known.retain(|key, _| here.contains(key));
        self.problems.retain(|key, _| here.contains(key));
        self.slow.lock().retain(|key, _| here.contains(key));
        for (user, found) in found {
            self.take(user, found);
        }
        self.source.set_passwords(&self.known);
        self.problems.values().map(|problem| problem.due).min()
    }

    /// A Secret could not be made, and it is too soon to try again.
    fn waits(&self, user: &Object<UserSpec>) -> bool {
        let problem = self.problems.get(&user.meta.key);
        let same = problem.filter(|problem| problem.generation == user.meta.generation);
        same.is_some_and(|problem| problem.due > Instant::now()) && matches!(user.spec.way(), Way::Generated(_))
    }

    fn take(&mut self, user: &Object<UserSpec>, found: Found) {
        let key = user.meta.key.clone();
        match found {
            Found::Password(password) => {
                self.problems.remove(&key);
                self.known.insert(key, password);
            }
            Found::Later(problem) => {
                let attempts = self
                    .problems
                    .get(&key)
                    .map_or(0, |problem| problem.attempts.saturating_add(1));
                let pause = (RETRY.0 * 2_u32.saturating_pow(attempts.min(8))).min(RETRY.1);
                let again = Problem {
                    generation: user.meta.generation,
                    attempts,
                    due: Instant::now() + pause,
                };
                self.problems.insert(key.clone(), again);
                if !matches!(self.known.get(&key), Some(Password::Known { .. })) {
                    self.known.insert(key, problem);
                }
            }
        }
    }

    /// Adds the slow hash of a password that was brought: it may be one that can be guessed.
    async fn slowed(&self, user: &Object<UserSpec>, known: Password, clear: Option<&[u8]>) -> Password {
        let (
            Password::Known {
                hash,
                slow: _,
                secret,
                user: name,
            },
            Some(clear),
        ) = (&known, clear)
        else {
            return known;
        };
        let (hash, secret, name) = (hash.clone(), secret.clone(), name.clone());
        let before = self.slow.lock().get(&user.meta.key).cloned();
        let slow = match before {
            Some((of, slow)) if of == hash => Some(slow),
            _ => {
                // The semaphore is never closed.
                let _turn = self.turns.acquire().await;
                let (clear, place) = (clear.to_vec(), brought::place(user));
                let work = move || Hash::slow(&clear, &place.each_ref().map(String::as_str));
                tokio::task::spawn_blocking(work).await.ok().flatten()
            }
        };
        if let Some(slow) = &slow {
            let entry = (hash.clone(), slow.clone());
            self.slow.lock().insert(user.meta.key.clone(), entry);
        }
        Password::Known {
            hash,
            slow,
            secret,
            user: name,
        }
    }

    async fn look(&self, user: &Object<UserSpec>, snapshot: &Snapshot) -> Found {
        let namespace = &user.meta.key.namespace;
        match user.spec.way() {
            Way::Secret(reference) => match self.source.secret(namespace, &reference.name).await {
                Ok(data) => match brought::called(user, reference, &data) {
                    Ok(user) => {
                        let known = brought::password(&user, reference, &data);
                        let clear = brought::clear(&user, reference, &data);
                        Found::Password(self.slowed(&user, known, clear).await)
                    }
                    Err((reason, text)) => Found::Password(Password::Missing(reason, text)),
                },
                Err(ConnectionError::Missing(text)) => {
                    Found::Password(Password::Missing(Reason::WaitingForSecret, text))
                }
                Err(error) => Found::Later(Password::Missing(Reason::WaitingForSecret, error.to_string())),
            },
            _ => {
                let key = ObjectKey::broker(&user.spec.broker_ref, namespace);
                match snapshot.get::<BrokerSpec>(&key) {
                    Some(broker) if (self.may)(snapshot, &user.meta.key) => {
                        match self.made.password(user, broker).await {
                            Ok(password) => Found::Password(password),
                            Err((reason, text)) => Found::Later(Password::Missing(reason, text)),
                        }
                    }
                    // That is said of the User for other reasons.
                    _ => Found::Password(Password::Missing(
                        Reason::WaitingForBroker,
                        format!("no Secret is made before {key} can be used"),
                    )),
                }
            }
        }
    }
}

/// Nothing is made for what is paused, leaves, or belongs to a Broker of another operator.
fn is_ours(user: &Object<UserSpec>, snapshot: &Snapshot) -> bool {
    let key = ObjectKey::broker(&user.spec.broker_ref, &user.meta.key.namespace);
    let broker = snapshot.meta(&key);
    let paused =
        is_set(&user.meta.annotations, PAUSED) || broker.is_some_and(|broker| is_set(&broker.annotations, PAUSED));
    user.meta.deleting.is_none() && !paused && !snapshot.others.contains(&key) && snapshot.beyond(&key).is_none()
}

/// The spec says only where the password is.
fn needs_password(user: &Object<UserSpec>) -> bool {
    match user.spec.way() {
        Way::Secret(_) | Way::Generated(_) => true,
        Way::Hash(_) | Way::Token => false,
    }
}
