//! The Secrets that Brokers and Users refer to, each watched by its name: never all Secrets of a namespace or cluster.
//!
//! In: which Secrets are wanted. Out: their data, and a word when one changes.
//! Does not know about who refers to them, or what the data means.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::pauses::{Pauses, said};
use crate::object::ConnectionError;
use crate::source::dereference::{self, SecretData};
use crate::source::grant::{BROKER, BROKER_HOSTS};

/// Longest wait for a first answer of the API server.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

type Name = (String, String);

pub(super) struct Secrets {
    client: Client,
    changed: watch::Sender<u64>,
    watched: Mutex<HashMap<Name, Watched>>,
}

struct Watched {
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone, PartialEq)]
enum State {
    Unknown,
    Absent,
    Present(SecretData),
    Failed(String),
}

impl Secrets {
    /// `changed` is bumped when a watched Secret changes.
    pub(super) fn new(client: Client, changed: watch::Sender<u64>) -> Self {
        Self {
            client,
            changed,
            watched: Mutex::default(),
        }
    }

    /// Ends the watches of Secrets that nobody refers to any more. `wanted` is asked while no watch can begin: an
    /// answer from before would end the watch of a Broker that has come since.
    pub(super) fn keep_only(&self, wanted: impl FnOnce() -> BTreeSet<Name>) {
        let mut watched = self.watched.lock();
        let wanted = wanted();
        watched.retain(|name, _| wanted.contains(name));
    }

    fn state(&self, name: Name) -> watch::Receiver<State> {
        let mut watched = self.watched.lock();
        let entry = watched.entry(name).or_insert_with_key(|(namespace, name)| {
            let (sender, state) = watch::channel(State::Unknown);
            let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
            let task = tokio::spawn(follow(api, name.clone(), sender, self.changed.clone()));
            Watched { state, task }
        });
        entry.state.clone()
    }
}

impl dereference::Secrets for Secrets {
    async fn secret(&self, namespace: &str, name: &str) -> Result<SecretData, ConnectionError> {
        let mut state = self.state((namespace.to_owned(), name.to_owned()));
        let known = tokio::time::timeout(FIRST_ANSWER, state.wait_for(|state| *state != State::Unknown)).await;
        let unavailable = |why: &str| {
            Err(ConnectionError::Unavailable(format!(
                "Secret {namespace}/{name}: {why}"
            )))
        };
        let Ok(Ok(state)) = known else {
            return unavailable("the API server does not answer");
        };
        match &*state {
            State::Present(data) => Ok(data.clone()),
            State::Absent => Err(ConnectionError::Missing(format!(
                "Secret {namespace}/{name} does not exist"
            ))),
            State::Failed(why) => unavailable(why),
            State::Unknown => unavailable("the API server does not answer"),
        }
    }
}

async fn follow(api: Api<Secret>, name: String, state: watch::Sender<State>, changed: watch::Sender<u64>) {
    let stream = watcher::watch_object(api, &name).backoff(Pauses::default());
    pin_mut!(stream);
    while let Some(item) = stream.next().await {
        let new = match item {
            Ok(Some(secret)) => State::Present(data(secret)),
            Ok(None) => State::Absent,
            Err(error) => {
                // What was read before stays good while the API server is away.
                if matches!(&*state.borrow(), State::Present(_) | State::Absent) {
                    continue;
                }
                State::Failed(said(&error))
            }
        };
        let is_new = state.send_if_modified(|old| {
            let differs = *old != new;
            *old = new;
            differs
        });
        if is_new {
            changed.send_modify(|number| *number += 1);
        }
    }
}

fn data(secret: Secret) -> SecretData {
    let strings = secret.string_data.into_iter().flatten();
    let strings = strings.map(|(key, text)| (key, text.into_bytes()));
    let bytes = secret.data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0));
    let owners = secret.metadata.owner_references.into_iter().flatten();
    let mut annotations = secret.metadata.annotations.unwrap_or_default();
    annotations.retain(|name, _| matches!(name.as_str(), BROKER | BROKER_HOSTS));
    SecretData {
        values: bytes.chain(strings).collect(),
        owner: owners
            .filter(|owner| owner.controller == Some(true))
            .map(|owner| owner.uid)
            .next(),
        annotations,
    }
}
