//! The objects as the API server has them, and what a broker must have by them, exactly.
//!
//! In: lists of the API server and of brokers. Out: whether each status is explained, and each difference in words.
//! What an object stands for is worked out here anew, not by the operator's code.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use harness::api_server::{Ready, condition};
use harness::wait::eventually_async;
use kube::core::DynamicObject;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::objects::{self, Slot};
use super::{BOUND, Soak, writer};
use crate::text;

/// An object that is there.
pub(super) struct Object {
    pub(super) kind: &'static str,
    pub(super) object: DynamicObject,
}

/// All of them.
pub(super) struct Stand {
    pub(super) objects: Vec<Object>,
}

impl Object {
    fn name(&self) -> String {
        self.object.metadata.name.clone().unwrap_or_default()
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    pub(super) fn is_kept(&self) -> bool {
        self.name().starts_with("kept-")
    }

    fn spec(&self, pointer: &str) -> String {
        text(&self.object.data, &format!("/spec{pointer}"))
    }

    pub(super) fn broker(&self) -> String {
        self.spec("/brokerRef/name")
    }

    /// Its name on the broker.
    pub(super) fn on_broker(&self) -> String {
        Some(self.spec("/name"))
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| self.name())
    }

    pub(super) fn told(&self) -> String {
        format!(
            "{} {} on {}: {}",
            self.kind,
            self.name(),
            self.broker(),
            self.object.data
        )
    }

    fn ready(&self) -> Option<Ready> {
        condition(&self.object)
    }

    fn says(&self, reason: &str) -> bool {
        self.ready().is_some_and(|ready| ready.reason == reason)
    }

    /// The line that stands for it.
    fn line(&self) -> String {
        let spec = &self.object.data["spec"];
        match self.kind {
            "Exchange" => {
                let arguments = arguments(spec, &[("alternateExchange", "alternate-exchange")]);
                line("exchange", &self.on_broker(), &self.spec("/type"), spec, &arguments)
            }
            "Queue" => {
                let mut arguments = arguments(spec, &[("maxLength", "x-max-length")]);
                if let Some(exchange) = spec.pointer("/deadLetter/exchange") {
                    arguments.insert("x-dead-letter-exchange".to_owned(), exchange.clone());
                }
                if spec.get("messageTtl").is_some() {
                    arguments.insert("x-message-ttl".to_owned(), json!(30_000));
                }
                line("queue", &self.on_broker(), &self.spec("/type"), spec, &arguments)
            }
            _ => {
                let (kind, name) = self.destination();
                let key = self.spec("/routingKey");
                bound(&self.spec("/source"), &kind, &name, &key, &arguments(spec, &[]))
            }
        }
    }

    /// The end that a binding leads to: kind and name.
    fn destination(&self) -> (String, String) {
        let queue = self.spec("/destination/queue");
        if queue.is_empty() {
            ("exchange".to_owned(), self.spec("/destination/exchange"))
        } else {
            ("queue".to_owned(), queue)
        }
    }
}

type Arguments = BTreeMap<String, Value>;

fn arguments(spec: &Value, shorthands: &[(&str, &str)]) -> Arguments {
    let written = spec.get("arguments").and_then(Value::as_object);
    let mut all: Arguments = written
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for (field, argument) in shorthands {
        all.extend(spec.get(field).map(|value| ((*argument).to_owned(), value.clone())));
    }
    all.remove("x-queue-type"); // the type is compared by itself
    all
}

fn line(what: &str, name: &str, type_: &str, spec: &Value, arguments: &Arguments) -> String {
    let flag = |camel: &str, snake: &str| spec.get(camel).or(spec.get(snake)).cloned().unwrap_or(json!(false));
    let (durable, auto_delete) = (flag("durable", "durable"), flag("autoDelete", "auto_delete"));
    format!("{what} {name} of type {type_}, durable {durable}, auto-delete {auto_delete}, {arguments:?}")
}

fn bound(source: &str, kind: &str, destination: &str, key: &str, arguments: &Arguments) -> String {
    format!("binding from {source} to {kind} {destination} by {key:?}, {arguments:?}")
}

impl Stand {
    pub(super) async fn now(soak: &Soak) -> Stand {
        let mut objects = Vec::new();
        for kind in ["Exchange", "Queue", "Binding"] {
            let listed = soak.resources.api(kind).list(&Default::default()).await;
            let listed = listed.unwrap_or_else(|error| panic!("{kind}: {error}"));
            objects.extend(listed.items.into_iter().map(|object| Object { kind, object }));
        }
        Stand { objects }
    }

    /// Waits until nothing is being deleted and each status says what is so; gives the time that it took.
    pub(super) async fn settles(soak: &Soak) -> Duration {
        let ask = || async {
            let stand = Stand::now(soak).await;
            stand.take_messages(soak);
            let unexplained: Vec<String> = stand
                .objects
                .iter()
                .filter(|found| !stand.explains(found))
                .map(Object::told)
                .collect();
            if unexplained.is_empty() {
                Ok(())
            } else {
                tokio::time::sleep(Duration::from_millis(500)).await; // the lists are long
                Err(unexplained)
            }
        };
        eventually_async("each status says what is so", BOUND, ask).await.1
    }

    /// Takes the messages out of queues whose deletion they hold up, as a consumer would.
    pub(super) fn take_messages(&self, soak: &Soak) {
        let leaving = self
            .objects
            .iter()
            .filter(|found| found.is_leaving() && !found.is_kept());
        for found in leaving.filter(|found| found.kind == "Queue" && found.says("DeletionBlocked")) {
            let hosts = soak.hosts.iter().enumerate();
            let mut hosts = hosts.filter(|(number, _)| objects::broker(*number) == found.broker());
            let (_, host) = hosts.next().expect("there is no other broker");
            let path = format!("/api/queues/%2F/{}/contents", found.on_broker());
            // The next look tries again.
            let _ = block_in_place(|| host.management().try_request("DELETE", &path, None));
        }
    }

    /// True when an object is Ready, or has to say why it can't be, and the reason is so.
    fn explains(&self, found: &Object) -> bool {
        let Some(ready) = found.ready().filter(|_| !found.is_leaving()) else {
            return false;
        };
        let others = || self.objects.iter().filter(|other| other.broker() == found.broker());
        let stands = |kind: &str, name: &str| others().any(|other| other.kind == kind && other.on_broker() == name);
        match ready.reason.as_str() {
            "Synced" => ready.status == "True",
            "WaitingForSource" => !stands("Exchange", &found.spec("/source")),
            "WaitingForDestination" => match found.destination() {
                (kind, name) if kind == "queue" => !stands("Queue", &name),
                (_, name) => !stands("Exchange", &name),
            },
            "Conflict" => others().any(|other| {
                let same = match found.kind {
                    "Binding" => other.line() == found.line(),
                    _ => other.on_broker() == found.on_broker(),
                };
                other.kind == found.kind && same && !other.says("Conflict")
            }),
            "Immutable" | "Mismatch" => found.kind != "Binding" && !found.is_kept(),
            _ => false,
        }
    }

    /// Does what the statuses advise until every slot has its object and each is Ready, and then compares. Gives the
    /// time from the last write.
    pub(super) async fn is_mended(soak: &Soak) -> Duration {
        let mut random = soak.chance(500);
        let stand = Stand::now(soak).await;
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        let mut anew: Vec<Slot> = Vec::new();
        for slot in soak.plan.slots() {
            let found = stand
                .objects
                .iter()
                .find(|found| found.kind == slot.kind && found.name() == slot.name());
            let reason = found
                .and_then(Object::ready)
                .map_or("absent".to_owned(), |ready| ready.reason);
            let alien = found.is_some_and(|found| found.kind == "Queue" && found.on_broker() != slot.name());
            *reasons.entry(reason.clone()).or_default() += 1;
            if reason == "Mismatch" {
                take_over(soak, &slot, found.expect("it says so")).await;
            }
            if alien || !["Synced", "WaitingForSource", "WaitingForDestination"].contains(&reason.as_str()) {
                writer::delete(soak, &slot).await;
                anew.push(slot);
            }
        }
        println!("objects by reason after the last act: {reasons:?}");
        let gone = || async {
            let stand = Stand::now(soak).await;
            stand.take_messages(soak);
            let left: Vec<String> = stand
                .objects
                .iter()
                .filter(|found| found.is_leaving())
                .map(Object::told)
                .collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        };
        eventually_async("what is made anew is gone", BOUND, gone).await;
        for slot in &anew {
            let taken = writer::apply(soak, &slot.own(&soak.plan, &mut random)).await;
            assert!(taken, "{slot:?} can be created");
        }
        let written = Instant::now();
        let all = soak.plan.slots().len();
        let ask = || async {
            let stand = Stand::now(soak).await;
            let ready = |found: &&Object| found.says("Synced") && !found.is_leaving();
            match stand.objects.iter().filter(ready).count() {
                count if count == all => Ok(stand),
                _ => {
                    tokio::time::sleep(Duration::from_millis(500)).await; // the lists are long
                    Err(stand
                        .objects
                        .iter()
                        .filter(|found| !ready(found))
                        .map(Object::told)
                        .collect::<Vec<_>>())
                }
            }
        };
        let stand = eventually_async("every object is Ready", BOUND, ask).await.0;
        let took = written.elapsed();
        for number in 0..soak.hosts.len() {
            stand.agrees(soak, number);
        }
        took
    }

    /// Panics with every difference between the objects and what a broker has.
    fn agrees(&self, soak: &Soak, number: usize) {
        let here = self
            .objects
            .iter()
            .filter(|found| found.broker() == objects::broker(number));
        let wanted: BTreeSet<String> = here.map(Object::line).collect();
        let has = has(soak, number);
        let missing: Vec<&String> = wanted.difference(&has).collect();
        let extra: Vec<&String> = has.difference(&wanted).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "broker {number} lacks {missing:#?}\nand has {extra:#?}"
        );
        assert!(wanted.len() > 10, "there is something to compare");
    }
}

/// Lets go of what was there before the object, by its adoption, so that it can be deleted with it.
async fn take_over(soak: &Soak, slot: &Slot, found: &Object) {
    let body = json!({"spec": {"adoptionPolicy": "Always"}});
    let api = soak.resources.api(slot.kind);
    let patched = api
        .patch(&slot.name(), &Default::default(), &kube::api::Patch::Merge(&body))
        .await;
    patched.unwrap_or_else(|error| panic!("{}: {error}", found.told()));
    soak.resources
        .becomes(slot.kind, &slot.name(), "False", "Immutable", BOUND)
        .await;
}

/// Lines for all that stands on a broker and isn't its own, or the operator's ear.
fn has(soak: &Soak, number: usize) -> BTreeSet<String> {
    let api = soak.hosts[number].management();
    let rows = |path: &str| match block_in_place(|| api.get(path)) {
        Value::Array(rows) => rows,
        other => panic!("{path}: no list: {other}"),
    };
    let reserved = |name: &str| name.is_empty() || name.starts_with("amq.");
    let mut lines = BTreeSet::new();
    for (what, path) in [("exchange", "/api/exchanges"), ("queue", "/api/queues")] {
        for row in rows(path).iter().filter(|row| !reserved(&text(row, "/name"))) {
            lines.insert(line(
                what,
                &text(row, "/name"),
                &text(row, "/type"),
                row,
                &arguments(row, &[]),
            ));
        }
    }
    for row in rows("/api/bindings") {
        let (source, to) = (text(&row, "/source"), text(&row, "/destination"));
        if !reserved(&source) && !reserved(&to) {
            let (kind, key) = (text(&row, "/destination_type"), text(&row, "/routing_key"));
            lines.insert(bound(&source, &kind, &to, &key, &arguments(&row, &[])));
        }
    }
    lines
}
