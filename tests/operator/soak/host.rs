//! A broker that restarts, is killed, and whose password changes.
//!
//! In: time and chance. Out: the running broker, and the password that it takes now. Does not know about objects.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use harness::Broker;
use harness::http::Http;
use kube::api::Patch;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::block_in_place;

use super::{Soak, objects};
use crate::manifest;

const USER: &str = "keeper";

/// One broker.
pub(super) struct Host {
    /// `None` for the moment between an end and the next start.
    broker: Mutex<Option<Broker>>,
    amqp: SocketAddr,
    http: SocketAddr,
    password: Mutex<String>,
    secrets: TempDir,
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    pub(super) fn start(number: usize) -> Host {
        let secrets = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| secrets.path().join(name).display().to_string();
        fs::write(path("user"), USER).expect("a writable folder");
        let password = format!("first-{number}");
        fs::write(path("password"), &password).expect("a writable folder");
        let broker = Broker::start_to_stay(&[
            "--segment-size",
            "4MiB",
            "--admin-user-file",
            &path("user"),
            "--admin-password-file",
            &path("password"),
        ]);
        Host {
            amqp: broker.amqp(),
            http: broker.http(),
            broker: Mutex::new(Some(broker)),
            password: Mutex::new(password),
            secrets,
        }
    }

    /// The Secret and the Broker.
    pub(super) fn manifests(&self, number: usize) -> [Value; 2] {
        let name = objects::broker(number);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "annotations": {"leveret.dev/broker": name}},
            "stringData": {"username": USER, "password": self.password()},
        });
        let external = json!({
            "uri": format!("amqp://{}", self.amqp), "managementUri": format!("http://{}", self.http),
            "credentialsSecretRef": {"name": name},
        });
        [
            secret,
            manifest("Broker", &name, json!({"engine": "External", "external": external})),
        ]
    }

    fn password(&self) -> String {
        lock(&self.password).clone()
    }

    /// The address of an AMQP client, with the password of this moment.
    pub(super) fn uri(&self) -> String {
        format!("amqp://{USER}:{}@{}/%2f", self.password(), self.amqp)
    }

    /// The management API, with the password of this moment.
    pub(super) fn management(&self) -> Http {
        Http::with_credentials(self.http, USER, &self.password())
    }

    /// All it has logged.
    pub(super) fn log(&self) -> String {
        lock(&self.broker).as_ref().map(Broker::stderr).unwrap_or_default()
    }

    /// From now on the broker takes this password and no other.
    fn take(&self, password: &str) {
        let (new, file) = (self.secrets.path().join("new"), self.secrets.path().join("password"));
        fs::write(&new, password).expect("a writable folder");
        let mut current = lock(&self.password);
        fs::rename(new, file).expect("a writable folder");
        password.clone_into(&mut current);
    }

    /// Ends it, and starts it again after some time.
    async fn restart(&self, kill: bool, away: Duration) {
        let mut broker = lock(&self.broker).take().expect("nobody else restarts it");
        block_in_place(|| match kill {
            true => broker.kill(),
            false => drop(broker.terminate(Duration::from_secs(30))),
        });
        tokio::time::sleep(away).await;
        let broker = block_in_place(|| broker.restart());
        *lock(&self.broker) = Some(broker);
    }
}

/// Troubles of a broker until the end, and how many of each kind there were.
pub(super) async fn trouble(soak: Arc<Soak>, number: usize) -> BTreeMap<&'static str, u64> {
    let mut random = soak.chance(100 + number as u64);
    let mut counts = BTreeMap::new();
    let host = &soak.hosts[number];
    loop {
        soak.pause(&mut random, 12, [1500, 20_000]).await;
        if !soak.goes_on() {
            return counts;
        }
        let some = |random: &mut StdRng, most| Duration::from_millis(random.random_range(0..most));
        let away = some(&mut random, 6000);
        let what = match random.random_range(0..6) {
            0 => {
                host.restart(false, away).await;
                "restarted"
            }
            1 | 2 => {
                host.restart(true, away).await;
                "killed"
            }
            3 => {
                let rotation = rotate(&soak, number, &mut random);
                tokio::join!(host.restart(true, away), rotation);
                "killed while its password changes"
            }
            _ => {
                rotate(&soak, number, &mut random).await;
                "password changed"
            }
        };
        *counts.entry(what).or_default() += 1;
    }
}

/// Another password: on the broker first or in the Secret first, the other some time later.
async fn rotate(soak: &Soak, number: usize, random: &mut StdRng) {
    let host = &soak.hosts[number];
    let password = format!("{:016x}", random.random::<u64>());
    let later = Duration::from_millis(random.random_range(0..4000));
    let broker_first = random.random_bool(0.5);
    if broker_first {
        host.take(&password);
        tokio::time::sleep(later).await;
    }
    let body = json!({"stringData": {"password": password}});
    let api = soak.resources.api("Secret");
    let patched = api
        .patch(&objects::broker(number), &Default::default(), &Patch::Merge(&body))
        .await;
    patched.unwrap_or_else(|error| panic!("the Secret of broker {number}: {error}"));
    if !broker_first {
        tokio::time::sleep(later).await;
        host.take(&password);
    }
}
