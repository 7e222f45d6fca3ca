//! Step 2 (pure): what should stand on one broker, and which resource owns what.
//!
//! In: the `Snapshot` and the broker. Out: `Desired`, one `Item` for each resource that refers to the broker.
//! Does not know about what stands on the broker, or how anything gets there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::object::{
    FORCE_DELETE, Kind, Meta, OBSERVE, Object, ObjectKey, PAUSED, Reason, Snapshot, is_confirmed, is_set,
};
use crate::resource::{AdoptionPolicy, BrokerRef, BrokerSpec};
use crate::topology::{Declared, Deletion, Identity, Policies, Target, Wish, wish};

/// The standing of a resource before the broker has been looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Wanted(Declared),
    /// Being deleted since a time (Unix seconds); `forced` by annotation.
    Leaving {
        since: i64,
        forced: bool,
    },
    Paused,
    /// Compared with the broker, and nothing is done for it.
    Observed(Declared),
    /// Nothing is done on the broker for it.
    Refused(Reason, String),
}

/// One resource that refers to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub key: ObjectKey,
    pub uid: String,
    pub generation: i64,
    pub finalized: bool,
    /// By annotation: nothing on the broker is touched for it.
    pub paused: bool,
    pub deletion: Deletion,
    pub adoption: AdoptionPolicy,
    pub standing: Standing,
}

/// Named objects that resources want, or that their bindings need.
pub type Relevant = BTreeSet<Target>;

/// All resources that refer to one broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    pub items: Vec<Item>,
    /// Owners: of all resources that want the same the oldest.
    pub claims: BTreeMap<Identity, ObjectKey>,
}

impl Desired {
    /// There is no such broker: nothing can be wanted of it.
    pub fn lose_broker(&mut self, message: &str) {
        for item in &mut self.items {
            if let Standing::Wanted(_) | Standing::Observed(_) = item.standing {
                item.standing = Standing::Refused(Reason::WaitingForBroker, message.to_owned());
            }
        }
    }

    /// Named objects that anything here is, or depends on.
    pub fn relevant(&self) -> Relevant {
        let observed = self.items.iter().filter_map(|item| match &item.standing {
            Standing::Observed(declared) => Some(declared.identity()),
            _ => None,
        });
        let all = self.claims.keys().cloned().chain(observed);
        all.flat_map(|identity| {
            let needed = identity.needs().into_iter().map(|need| need.target);
            identity.target().into_iter().chain(needed)
        })
        .collect()
    }
}

/// The broker that a resource in `namespace` refers to.
pub fn broker_key(reference: &BrokerRef, namespace: &str) -> ObjectKey {
    let namespace = reference.namespace.as_deref().unwrap_or(namespace);
    ObjectKey::new(Kind::Broker, namespace, &reference.name)
}

/// Every broker that exists or is referred to.
pub fn broker_keys(snapshot: &Snapshot) -> BTreeSet<ObjectKey> {
    let keys = snapshot.objects().map(|object| match object.broker_ref() {
        Some(reference) => broker_key(reference, &object.meta().key.namespace),
        None => object.meta().key.clone(),
    });
    keys.collect()
}

/// Objects on the broker by the resource that owns them. A binding that is being edited owns two for a while.
pub type Owned = BTreeMap<ObjectKey, BTreeSet<Identity>>;

/// Everything that should stand on the broker `key`.
pub fn desired(snapshot: &Snapshot, key: &ObjectKey) -> Desired {
    desired_among(snapshot, key, &BTreeSet::new(), &Owned::new())
}

/// Everything that should stand on the broker by its Broker `key`, where others lead to the same broker: what they want
/// counts when it comes to who owns what. `owned`: who owned what when that was last known, beside what statuses say.
pub fn desired_among(snapshot: &Snapshot, key: &ObjectKey, twins: &BTreeSet<ObjectKey>, owned: &Owned) -> Desired {
    let gate = |key| Gate {
        key,
        broker: snapshot.get(key).map(Arc::as_ref),
        snapshot,
    };
    let gates: BTreeMap<&ObjectKey, Gate<'_>> = twins.iter().chain([key]).map(|key| (key, gate(key))).collect();
    let candidates = snapshot.objects().filter_map(|object| {
        let meta = object.meta();
        let gate = gates.get(&broker_key(object.broker_ref()?, &meta.key.namespace))?;
        wish(object).map(|wish| gate.candidate(meta, wish, owned.get(&meta.key)))
    });
    resolve(candidates.collect(), key)
}

/// A resource with what it would own, and how old it is.
struct Candidate {
    item: Item,
    claim: Option<Identity>,
    created: i64,
    broker: ObjectKey,
    /// It owns that already.
    owns: bool,
}

/// Gives everything to the oldest that wants it. Ages count in seconds: of one age, the one that owns it keeps it, and
/// without an owner namespace and name decide, so that every replica and every restart decides alike.
fn resolve(mut candidates: Vec<Candidate>, broker: &ObjectKey) -> Desired {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|a, b| {
        let age = |index: &usize| {
            candidates
                .get(*index)
                .map(|candidate| (candidate.created, !candidate.owns, &candidate.item.key))
        };
        age(a).cmp(&age(b))
    });
    let mut claims: BTreeMap<Identity, ObjectKey> = BTreeMap::new();
    let mut ways: BTreeMap<Identity, ObjectKey> = BTreeMap::new();
    for index in order {
        let Some(candidate) = candidates.get_mut(index) else {
            continue;
        };
        let Some(identity) = &candidate.claim else { continue };
        match claims.get(identity) {
            None => {
                claims.insert(identity.clone(), candidate.item.key.clone());
                if candidate.broker != *broker {
                    ways.insert(identity.clone(), candidate.broker.clone());
                }
            }
            Some(winner) => {
                let way = ways
                    .get(identity)
                    .map(|way| format!("; {way} leads to the same broker"));
                let message = format!(
                    "{identity} belongs to {winner}, which is older{}",
                    way.unwrap_or_default()
                );
                candidate.item.standing = Standing::Refused(Reason::Conflict, message);
            }
        }
    }
    Desired {
        items: candidates
            .into_iter()
            .filter(|candidate| candidate.broker == *broker)
            .map(|candidate| candidate.item)
            .collect(),
        claims,
    }
}

/// Decides which resources may come in.
struct Gate<'a> {
    key: &'a ObjectKey,
    broker: Option<&'a Object<BrokerSpec>>,
    snapshot: &'a Snapshot,
}

impl Gate<'_> {
    fn candidate(&self, meta: &Meta, wish: Wish, owned: Option<&BTreeSet<Identity>>) -> Candidate {
        let Wish { declared, policies } = wish;
        let Policies { deletion, adoption } = policies;
        let claim = declared.as_ref().ok().map(Declared::identity);
        let standing = match (meta.deleting, self.refusal(meta), declared) {
            (Some(since), _, _) => Standing::Leaving {
                since,
                forced: is_confirmed(&meta.annotations, FORCE_DELETE) || self.is_hands_off(meta),
            },
            (None, Some(message), _) => Standing::Refused(Reason::NotAllowed, message),
            (None, None, Err(message)) => Standing::Refused(Reason::InvalidArgument, message),
            (None, None, Ok(_)) if self.is_paused(meta) => Standing::Paused,
            (None, None, Ok(declared)) if self.is_marked(meta, OBSERVE) => Standing::Observed(declared),
            (None, None, Ok(declared)) => Standing::Wanted(declared),
        };
        let claims = matches!(standing, Standing::Wanted(_) | Standing::Paused);
        Candidate {
            item: Item {
                key: meta.key.clone(),
                uid: meta.uid.clone(),
                generation: meta.generation,
                finalized: meta.finalized,
                paused: self.is_paused(meta),
                // Paused, or observed, means that nothing on the broker is touched, whatever happens to the resource.
                deletion: if self.is_hands_off(meta) {
                    Deletion::Retain
                } else {
                    deletion
                },
                adoption,
                standing,
            },
            owns: claim.as_ref().is_some_and(|claim| {
                let known = owned.is_some_and(|owned| owned.contains(claim));
                known || Identity::recall(meta.key.kind, &meta.status).contains(claim)
            }),
            claim: claim.filter(|_| claims),
            created: meta.created,
            broker: self.key.clone(),
        }
    }

    /// The reason why a resource may not use this broker; a broker that does not exist refuses none.
    fn refusal(&self, meta: &Meta) -> Option<String> {
        let broker = self.broker?;
        let namespace = &meta.key.namespace;
        let labels = self.snapshot.namespaces.get(namespace);
        let allowed = broker
            .spec
            .allowed_namespaces
            .allows(&self.key.namespace, namespace, labels);
        (!allowed).then(|| {
            format!(
                "{} does not allow objects from namespace {namespace} (its allowedNamespaces)",
                self.key
            )
        })
    }

    fn is_paused(&self, meta: &Meta) -> bool {
        self.is_marked(meta, PAUSED)
    }

    /// Nothing on the broker is touched for it.
    fn is_hands_off(&self, meta: &Meta) -> bool {
        self.is_paused(meta) || self.is_marked(meta, OBSERVE)
    }

    /// The resource has an annotation, or its Broker has it for all.
    fn is_marked(&self, meta: &Meta, annotation: &str) -> bool {
        let broker = self
            .broker
            .is_some_and(|broker| is_set(&broker.meta.annotations, annotation));
        broker || is_set(&meta.annotations, annotation)
    }
}

#[cfg(test)]
pub(crate) mod tests;
