//! (client) The passwords of Users: looked up in the Secrets that they bring, and made, with a Secret, where they bring
//! none.
//!
//! In: the source's `User`s, their Secrets. Out: Secrets applied, and for each User its password as a hash, or why
//! there is none. Nothing is watched before there is a User that needs it. A password goes from Secret to hash here and
//! nowhere else. Does not know about brokers on the wire.

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

use super::made::{Made, Order, Taken};
use super::ours::{May, is_ours};
use super::retries::Retries;
use super::turn::turn;
use crate::engine::user_secret::{self, Login};
use crate::metrics::Metrics;
use crate::object::{ConnectionError, Group, Hash, Object, ObjectKey, Password, Reason, Snapshot};
use crate::resource::{BrokerSpec, UserSpec, Way};
use crate::source::dereference::Secrets;
use crate::source::kubernetes::Kubernetes;
use crate::source::{Source, brought};

/// Longest wait for the first answer of the API server.
const FIRST_READ: Duration = Duration::from_secs(10);
/// Users that are worked on at the same time.
const AT_ONCE: usize = 32;
/// Slow hashes at the same time.
const SLOW_AT_ONCE: usize = 2;
/// Pause after a change, in which others come: all Users are looked at then.
const DEBOUNCE: Duration = Duration::from_millis(50);

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
    let made = Made::start(client, &namespaces, user_secret::COMPONENT, metrics);
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
        retries: Retries::default(),
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
    retries: Retries,
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
            .filter(|user| is_ours(&user.meta, &user.spec.broker_ref, &snapshot) && needs_password(user))
            .collect();
        let (this, shot) = (&*self, &*snapshot);
        let looked = users.iter().filter(|user| !this.waits(user));
        let looked = looked.map(|user| async move { (*user, this.look(user, shot).await) });
        let found: Vec<_> = stream::iter(looked).buffer_unordered(AT_ONCE).collect().await;
        let here: BTreeSet<&ObjectKey> = users.iter().map(|user| &user.meta.key).collect();
        self.known.retain(|key, _| here.contains(key));
        self.retries.keep_only(&here);
        self.slow.lock().retain(|key, _| here.contains(key));
        for (user, found) in found {
            self.take(user, found);
        }
        self.source.set_passwords(&self.known);
        self.retries.due()
    }

    /// A Secret could not be made, and it is too soon to try again.
    fn waits(&self, user: &Object<UserSpec>) -> bool {
        self.retries.waits(&user.meta) && matches!(user.spec.way(), Way::Generated(_))
    }

    fn take(&mut self, user: &Object<UserSpec>, found: Found) {
        let key = user.meta.key.clone();
        match found {
            Found::Password(password) => {
                self.retries.over(&key);
                self.known.insert(key, password);
            }
            Found::Later(problem) => {
                self.retries.failed(&user.meta);
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
                    Some(broker) if (self.may)(snapshot, &user.meta.key) => match self.generated(user, broker).await {
                        Ok(password) => Found::Password(password),
                        Err((reason, text)) => Found::Later(Password::Missing(reason, text)),
                    },
                    // That is said of the User for other reasons.
                    _ => Found::Password(Password::Missing(
                        Reason::WaitingForBroker,
                        format!("no Secret is made before {key} can be used"),
                    )),
                }
            }
        }
    }

    /// The password that is in the Secret of a User, which is as it should be.
    async fn generated(
        &self,
        user: &Object<UserSpec>,
        broker: &Object<BrokerSpec>,
    ) -> Result<Password, (Reason, String)> {
        let Some(address) = user_secret::address(broker) else {
            let text = format!("{} says no address of its broker", broker.meta.key);
            return Err((Reason::WaitingForBroker, text));
        };
        let is_theirs = user.meta.key.group == Group::RabbitMq;
        let order = Order {
            owner: &user.meta,
            name: user_secret::name(user),
            component: user_secret::COMPONENT,
            label: user_secret::label(user),
            type_: user_secret::type_of(user),
            passing: if is_theirs { &[] } else { &[user_secret::VHOST] },
            taken: if is_theirs {
                Taken::Adopt
            } else {
                Taken::Rename("generatedSecret")
            },
        };
        // The last one that was asked for is the one that was kept.
        let kept = Mutex::new(None);
        let data = |existing: Option<&_>| {
            let login = user_secret::login(user, existing);
            let data = user_secret::data(user, &address, &login);
            *kept.lock() = Some(login);
            data
        };
        self.made.keep(&order, data).await?;
        let Some(Login { username, way }) = kept.into_inner() else {
            return Err((Reason::WaitingForSecret, format!("Secret {}: not made", order.name)));
        };
        let place = brought::place(&brought::named(user, username.clone()));
        Ok(Password::Known {
            hash: match way {
                user_secret::Way::Password(password) => {
                    Hash::salted(password.as_bytes(), &place.each_ref().map(String::as_str))
                }
                user_secret::Way::Hash(hash) => Hash::new(brought::algorithm(&hash).as_str(), &hash),
            },
            slow: None,
            secret: Some(order.name),
            user: is_theirs.then_some(username),
        })
    }
}

/// The spec says only where the password is.
fn needs_password(user: &Object<UserSpec>) -> bool {
    match user.spec.way() {
        Way::Secret(_) | Way::Generated(_) => true,
        Way::Hash(_) | Way::Token => false,
    }
}
