//! The objects of a soak: fixed slots, and what is written into each by chance.
//!
//! In: a number of objects, and chance. Out: manifests. Does not know about who writes them, or when.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use crate::manifest;

/// Brokers, each with a part of the objects; what a slot stands for is always on the same.
pub(super) const BROKERS: usize = 2;
/// Queues of each broker whose messages are kept.
const KEPT: usize = 4;

/// The name of a Broker.
pub(super) fn broker(number: usize) -> String {
    format!("broker-{number}")
}

/// A place for an object, which is there or isn't.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) kind: &'static str,
    pub(super) number: usize,
    /// A queue that holds messages all the time.
    pub(super) kept: bool,
}

/// The number of slots of each kind.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    exchanges: usize,
    queues: usize,
    bindings: usize,
}

impl Plan {
    pub(super) fn of(objects: usize) -> Plan {
        let others = objects.saturating_sub(KEPT * BROKERS).max(20 * BROKERS);
        let exchanges = others / 8;
        let queues = others * 3 / 8;
        Plan {
            exchanges,
            queues,
            bindings: others - exchanges - queues,
        }
    }

    pub(super) fn slots(&self) -> Vec<Slot> {
        let of = |kind, count, kept| (0..count).map(move |number| Slot { kind, number, kept });
        let kept = of("Queue", KEPT * BROKERS, true);
        let others = of("Exchange", self.exchanges, false).chain(of("Queue", self.queues, false));
        kept.chain(others).chain(of("Binding", self.bindings, false)).collect()
    }

    /// The names of the queues on a broker whose messages are kept.
    pub(super) fn kept(&self, on: usize) -> Vec<String> {
        let slots = self.slots().into_iter().filter(|slot| slot.kept && slot.on() == on);
        slots.map(|slot| slot.name()).collect()
    }

    /// Some exchange or queue on a broker.
    pub(super) fn some(&self, kind: &str, on: usize, random: &mut StdRng) -> String {
        let (letter, count) = match kind {
            "Exchange" => ("x", self.exchanges),
            _ => ("q", self.queues),
        };
        let on_broker = (count - on).div_ceil(BROKERS);
        format!("{letter}-{}", random.random_range(0..on_broker) * BROKERS + on)
    }
}

impl Slot {
    pub(super) fn name(&self) -> String {
        let letter = match self.kind {
            "Exchange" => "x",
            "Binding" => "b",
            _ if self.kept => "kept",
            _ => "q",
        };
        format!("{letter}-{}", self.number)
    }

    /// The broker's number.
    pub(super) fn on(&self) -> usize {
        self.number % BROKERS
    }

    /// Something that may stand here, by chance. Not everything can become everything: an edit may be refused, by the
    /// API server or as `Immutable`, and two may want the same.
    pub(super) fn manifest(&self, plan: &Plan, random: &mut StdRng) -> Value {
        let spec = match self.kind {
            "Exchange" => exchange(random),
            "Queue" if self.kept => json!({"deletionPolicy": "DeleteIfEmpty"}),
            "Queue" => self.queue(plan, random),
            _ => self.binding(plan, random),
        };
        self.with(spec, random)
    }

    /// A manifest with a spec, and a label of its own.
    fn with(&self, mut spec: Value, random: &mut StdRng) -> Value {
        spec["brokerRef"] = json!({"name": broker(self.on())});
        let mut manifest = manifest(self.kind, &self.name(), spec);
        manifest["metadata"]["labels"] = json!({"edit": random.random_range(0..100).to_string()});
        manifest
    }

    fn queue(&self, plan: &Plan, random: &mut StdRng) -> Value {
        let policy = ["DeleteIfEmpty", "DeleteIfEmpty", "Delete"];
        let mut spec = json!({"deletionPolicy": policy.choose(random)});
        if self.number % 10 >= 10 - BROKERS {
            // Two resources for one queue, now and then: the older one has it.
            if self.number >= BROKERS && random.random_bool(0.3) {
                spec["name"] = json!(format!("q-{}", self.number - BROKERS));
            }
        } else if (self.number + BROKERS) % 10 < 10 - BROKERS {
            match random.random_range(0..12) {
                0 => spec["maxLength"] = json!(random.random_range(1000..1004)),
                1 => spec["messageTtl"] = json!("30s"),
                2 => spec["type"] = json!("quorum"),
                3 => spec["deadLetter"] = json!({"exchange": plan.some("Exchange", self.on(), random)}),
                _ => {}
            }
        }
        spec
    }

    fn binding(&self, plan: &Plan, random: &mut StdRng) -> Value {
        let destination = if random.random_bool(0.1) {
            json!({"exchange": plan.some("Exchange", self.on(), random)})
        } else {
            json!({"queue": plan.some("Queue", self.on(), random)})
        };
        let key = match random.random_range(0..20) {
            0 => "shared".to_owned(),
            number => format!("key.{}.{number}", self.number),
        };
        let mut spec = json!({
            "source": plan.some("Exchange", self.on(), random), "destination": destination, "routingKey": key,
        });
        if random.random_bool(0.2) {
            spec["arguments"] = json!({"number": random.random_range(0..3)});
        }
        spec
    }

    /// A manifest that nothing stands against, whatever else there is: the last of the objects of a kind that are made.
    pub(super) fn own(&self, plan: &Plan, random: &mut StdRng) -> Value {
        let spec = match self.kind {
            "Exchange" => json!({"type": "topic"}),
            "Queue" => json!({"deletionPolicy": "DeleteIfEmpty"}),
            _ => {
                let queue = plan.some("Queue", self.on(), random);
                let source = plan.some("Exchange", self.on(), random);
                json!({"source": source, "destination": {"queue": queue}, "routingKey": format!("own.{}", self.number)})
            }
        };
        self.with(spec, random)
    }
}

fn exchange(random: &mut StdRng) -> Value {
    let types = ["topic", "topic", "topic", "topic", "direct", "fanout"];
    let mut spec = json!({"type": types.choose(random)});
    if random.random_bool(0.05) {
        spec["alternateExchange"] = json!("amq.fanout");
    }
    spec
}
