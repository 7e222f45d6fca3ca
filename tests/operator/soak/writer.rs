//! A writer: somebody who edits, deletes and creates objects, and sometimes lays hands on a broker.
//!
//! In: the slots, and chance. Out: writes to the API server, and how many of each kind there were. It owns nothing:
//! other writers change the same objects, save for the queues whose messages are kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use harness::wait::eventually_async;
use kube::api::{DeleteParams, Patch};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::objects::Slot;
use super::{BOUND, Soak, WRITERS};

/// Applies; false when the API server refuses that, because something of it cannot change, or at that moment.
pub(super) async fn apply(soak: &Soak, manifest: &Value) -> bool {
    match soak.resources.apply(manifest).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if [404, 409, 422].contains(&status.code) => false,
        Err(error) => panic!("{manifest}: {error}"),
    }
}

/// Deletes what may be gone already.
pub(super) async fn delete(soak: &Soak, slot: &Slot) -> bool {
    let api = soak.resources.api(slot.kind);
    match api.delete(&slot.name(), &DeleteParams::default()).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.code == 404 => false,
        Err(error) => panic!("{slot:?}: {error}"),
    }
}

/// Writes until the end.
pub(super) async fn write(soak: Arc<Soak>, number: usize) -> BTreeMap<&'static str, u64> {
    let mut random = soak.chance(200 + number as u64);
    let own = |slot: &Slot| !slot.kept || slot.number % WRITERS == number;
    let slots: Vec<Slot> = soak.plan.slots().into_iter().filter(own).collect();
    let mut counts = BTreeMap::new();
    while soak.goes_on() {
        let slot = slots.choose(&mut random).expect("there are slots");
        let what = act(&soak, slot, &mut random).await;
        *counts.entry(what).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
    }
    counts
}

async fn act(soak: &Soak, slot: &Slot, random: &mut StdRng) -> &'static str {
    let manifest = slot.manifest(&soak.plan, random);
    match random.random_range(0..100) {
        0..50 => applied(apply(soak, &manifest).await),
        50..95 if slot.kept => {
            hand_over(soak, slot, &manifest).await;
            "kept queue deleted and adopted"
        }
        50..75 => match delete(soak, slot).await {
            true => "deleted",
            false => applied(apply(soak, &manifest).await),
        },
        75..90 => {
            delete(soak, slot).await;
            tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
            apply(soak, &manifest).await;
            "deleted and applied at once"
        }
        _ if slot.kept || slot.kind == "Binding" => applied(apply(soak, &manifest).await),
        _ => {
            let path = format!("/api/{}s/%2F/{}", slot.kind.to_lowercase(), slot.name());
            let host = &soak.hosts[slot.on()];
            // It may be away, or have nothing of that name.
            match block_in_place(|| host.management().try_request("DELETE", &path, None)) {
                Ok(answer) if answer.status == 204 => "deleted on the broker by hand",
                _ => "not deleted on the broker",
            }
        }
    }
}

fn applied(taken: bool) -> &'static str {
    if taken { "applied" } else { "refused" }
}

/// A queue that holds messages: its deletion is held up, it is let go with `Retain`, and taken over by the next
/// resource.
async fn hand_over(soak: &Soak, slot: &Slot, manifest: &Value) {
    let (resources, name) = (&soak.resources, slot.name());
    if !delete(soak, slot).await {
        apply(soak, manifest).await;
        return;
    }
    let blocked = resources.says("Queue", &name, "holds", BOUND).await;
    assert_eq!(blocked.reason, "DeletionBlocked", "{name}: {blocked:?}");
    let retain = json!({"spec": {"deletionPolicy": "Retain"}});
    let api = resources.api("Queue");
    let patched = api.patch(&name, &Default::default(), &Patch::Merge(&retain)).await;
    patched.unwrap_or_else(|error| panic!("{name}: {error}"));
    resources.goes("Queue", &name, BOUND).await;
    let created = || async {
        match apply(soak, manifest).await {
            true => Ok(()),
            false => Err("refused"),
        }
    };
    eventually_async(&format!("{name} is there again"), BOUND, created).await;
    resources.becomes("Queue", &name, "True", "Synced", BOUND).await;
}
