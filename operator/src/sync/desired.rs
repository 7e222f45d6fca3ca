//! Step 2 (pure): what should stand on one broker, and which resource owns what.
//!
//! In: the [`World`] and the broker. Out: [`Desired`], one [`Item`] for each resource that refers to the broker.
//! Does not know about what stands on the broker, or how anything gets there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::object::{FORCE_DELETE, Kind, Meta, Object, ObjectKey, PAUSED, Reason, World};
use crate::resource::{
    AdoptionPolicy, BindingDeletionPolicy, BindingSpec, BrokerRef, BrokerSpec, ExchangeDeletionPolicy, ExchangeSpec,
    PeriodError, QueueDeletionPolicy, QueueSpec, QueueType,
};
use crate::topology::{Arguments, BindingDefinition, End, ExchangeDefinition, Identity, Name, QueueDefinition};

/// Something that a resource wants on the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    Exchange(Name, ExchangeDefinition),
    Queue(Name, QueueDefinition),
    Binding(BindingDefinition),
}

impl Thing {
    pub fn identity(&self) -> Identity {
        match self {
            Thing::Exchange(name, _) => Identity::Exchange(name.clone()),
            Thing::Queue(name, _) => Identity::Queue(name.clone()),
            Thing::Binding(binding) => Identity::Binding(binding.clone()),
        }
    }
}

/// What happens on the broker when the resource goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    Delete,
    /// Only when the queue is empty, or the exchange unused.
    DeleteIfFree,
    Retain,
}

/// Where a resource stands before anybody has looked at the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Wanted(Thing),
    /// Being deleted since a time (Unix seconds); `forced` by annotation.
    Leaving {
        since: i64,
        forced: bool,
    },
    Paused,
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
    pub deletion: Deletion,
    pub adoption: AdoptionPolicy,
    pub standing: Standing,
}

/// Queues and exchanges that resources want, or that their bindings need.
pub type Relevant = BTreeSet<(End, Name)>;

/// All resources that refer to one broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    pub items: Vec<Item>,
    /// Who owns what: of all resources that want it the oldest.
    pub claims: BTreeMap<Identity, ObjectKey>,
}

impl Desired {
    /// There is no such broker: nothing can be wanted of it. Whether something still has to be cleaned up.
    pub fn lose_broker(&mut self, message: &str) -> bool {
        let mut leaving = false;
        for item in &mut self.items {
            match item.standing {
                Standing::Wanted(_) => {
                    item.standing = Standing::Refused(Reason::WaitingForBroker, message.to_owned());
                }
                Standing::Leaving { .. } => leaving = true,
                Standing::Paused | Standing::Refused(..) => {}
            }
        }
        leaving
    }

    /// Queues and exchanges that anything here depends on.
    pub fn relevant(&self) -> Relevant {
        let mut names = BTreeSet::new();
        for identity in self.claims.keys() {
            match identity {
                Identity::Exchange(name) => {
                    names.insert((End::Exchange, name.clone()));
                }
                Identity::Queue(name) => {
                    names.insert((End::Queue, name.clone()));
                }
                Identity::Binding(binding) => {
                    names.insert((End::Exchange, binding.source_name()));
                    names.insert((binding.end, binding.destination_name()));
                }
            }
        }
        names
    }
}

/// The broker that a resource in `namespace` refers to.
pub fn broker_key(reference: &BrokerRef, namespace: &str) -> ObjectKey {
    let namespace = reference.namespace.as_deref().unwrap_or(namespace);
    ObjectKey::new(Kind::Broker, namespace, &reference.name)
}

/// Every broker that exists or is referred to.
pub fn broker_keys(world: &World) -> BTreeSet<ObjectKey> {
    let mut keys: BTreeSet<ObjectKey> = world.brokers.keys().cloned().collect();
    let mut refer = |meta: &Meta, reference: &BrokerRef| {
        keys.insert(broker_key(reference, &meta.key.namespace));
    };
    world
        .exchanges
        .values()
        .for_each(|object| refer(&object.meta, &object.spec.broker_ref));
    world
        .queues
        .values()
        .for_each(|object| refer(&object.meta, &object.spec.broker_ref));
    world
        .bindings
        .values()
        .for_each(|object| refer(&object.meta, &object.spec.broker_ref));
    keys
}

/// What should stand on the broker `key`.
pub fn desired(world: &World, key: &ObjectKey) -> Desired {
    let gate = Gate {
        key,
        broker: world.brokers.get(key).map(Arc::as_ref),
        world,
    };
    let mut candidates = Vec::new();
    for object in world
        .exchanges
        .values()
        .filter(|object| gate.leads_here(&object.meta, &object.spec.broker_ref))
    {
        candidates.push(gate.exchange(object));
    }
    for object in world
        .queues
        .values()
        .filter(|object| gate.leads_here(&object.meta, &object.spec.broker_ref))
    {
        candidates.push(gate.queue(object));
    }
    for object in world
        .bindings
        .values()
        .filter(|object| gate.leads_here(&object.meta, &object.spec.broker_ref))
    {
        candidates.push(gate.binding(object));
    }
    resolve(candidates)
}

/// A resource with what it would own, and how old it is.
struct Candidate {
    item: Item,
    claim: Option<Identity>,
    created: i64,
}

/// Gives everything to the oldest that wants it; equal ages are decided by namespace and name, so that every replica
/// and every restart decides alike.
fn resolve(mut candidates: Vec<Candidate>) -> Desired {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|a, b| {
        let age = |index: &usize| {
            candidates
                .get(*index)
                .map(|candidate| (candidate.created, &candidate.item.key))
        };
        age(a).cmp(&age(b))
    });
    let mut claims: BTreeMap<Identity, ObjectKey> = BTreeMap::new();
    for index in order {
        let Some(candidate) = candidates.get_mut(index) else {
            continue;
        };
        let Some(identity) = &candidate.claim else { continue };
        match claims.get(identity) {
            None => {
                claims.insert(identity.clone(), candidate.item.key.clone());
            }
            Some(winner) => {
                let message = format!("{} belongs to {winner}, which is older", describe(identity));
                candidate.item.standing = Standing::Refused(Reason::Conflict, message);
            }
        }
    }
    Desired {
        items: candidates.into_iter().map(|candidate| candidate.item).collect(),
        claims,
    }
}

/// An object on the broker as messages call it.
pub fn describe(identity: &Identity) -> String {
    let in_vhost = |vhost: &str| match vhost {
        "/" => String::new(),
        other => format!(" in vhost '{other}'"),
    };
    match identity {
        Identity::Exchange(name) => format!("exchange '{}'{}", name.name, in_vhost(&name.vhost)),
        Identity::Queue(name) => format!("queue '{}'{}", name.name, in_vhost(&name.vhost)),
        Identity::Binding(binding) => format!("the binding of {binding}{}", in_vhost(&binding.vhost)),
    }
}

/// Decides which resources may come in.
struct Gate<'a> {
    key: &'a ObjectKey,
    broker: Option<&'a Object<BrokerSpec>>,
    world: &'a World,
}

impl Gate<'_> {
    fn leads_here(&self, meta: &Meta, reference: &BrokerRef) -> bool {
        broker_key(reference, &meta.key.namespace) == *self.key
    }

    fn exchange(&self, object: &Object<ExchangeSpec>) -> Candidate {
        let spec = &object.spec;
        let deletion = match spec.deletion_policy {
            ExchangeDeletionPolicy::Delete => Deletion::Delete,
            ExchangeDeletionPolicy::DeleteIfUnused => Deletion::DeleteIfFree,
            ExchangeDeletionPolicy::Retain => Deletion::Retain,
        };
        self.candidate(&object.meta, deletion, spec.adoption_policy, || {
            Ok(exchange(spec, &object.meta.key.name))
        })
    }

    fn queue(&self, object: &Object<QueueSpec>) -> Candidate {
        let spec = &object.spec;
        let deletion = match spec.deletion_policy {
            QueueDeletionPolicy::DeleteIfEmpty => Deletion::DeleteIfFree,
            QueueDeletionPolicy::Delete => Deletion::Delete,
            QueueDeletionPolicy::Retain => Deletion::Retain,
        };
        self.candidate(&object.meta, deletion, spec.adoption_policy, || {
            queue(spec, &object.meta.key.name).map_err(|error| error.to_string())
        })
    }

    fn binding(&self, object: &Object<BindingSpec>) -> Candidate {
        let spec = &object.spec;
        let deletion = match spec.deletion_policy {
            BindingDeletionPolicy::Delete => Deletion::Delete,
            BindingDeletionPolicy::Retain => Deletion::Retain,
        };
        self.candidate(&object.meta, deletion, AdoptionPolicy::Always, || binding(spec))
    }

    fn candidate(
        &self,
        meta: &Meta,
        deletion: Deletion,
        adoption: AdoptionPolicy,
        thing: impl FnOnce() -> Result<Thing, String>,
    ) -> Candidate {
        let thing = thing();
        let claim = thing.as_ref().ok().map(Thing::identity);
        let standing = match (meta.deleting, self.refusal(meta), thing) {
            (Some(since), _, _) => Standing::Leaving {
                since,
                forced: is_set(&meta.annotations, FORCE_DELETE) || self.is_paused(meta),
            },
            (None, Some(message), _) => Standing::Refused(Reason::NotAllowed, message),
            (None, None, Err(message)) => Standing::Refused(Reason::InvalidArgument, message),
            (None, None, Ok(_)) if self.is_paused(meta) => Standing::Paused,
            (None, None, Ok(thing)) => Standing::Wanted(thing),
        };
        let claims = matches!(standing, Standing::Wanted(_) | Standing::Paused);
        Candidate {
            item: Item {
                key: meta.key.clone(),
                uid: meta.uid.clone(),
                generation: meta.generation,
                finalized: meta.finalized,
                // Paused means that nothing on the broker is touched, whatever happens to the resource.
                deletion: if self.is_paused(meta) {
                    Deletion::Retain
                } else {
                    deletion
                },
                adoption,
                standing,
            },
            claim: claim.filter(|_| claims),
            created: meta.created,
        }
    }

    /// Why a resource may not use this broker; a broker that does not exist refuses nobody.
    fn refusal(&self, meta: &Meta) -> Option<String> {
        let broker = self.broker?;
        let namespace = &meta.key.namespace;
        let labels = self.world.namespaces.get(namespace);
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
        let broker = self
            .broker
            .is_some_and(|broker| is_set(&broker.meta.annotations, PAUSED));
        broker || is_set(&meta.annotations, PAUSED)
    }
}

pub(super) fn is_set(annotations: &BTreeMap<String, String>, name: &str) -> bool {
    annotations.get(name).is_some_and(|value| value == "true")
}

fn exchange(spec: &ExchangeSpec, metadata_name: &str) -> Thing {
    let mut arguments = Arguments::from(spec.arguments.clone());
    if let Some(alternate) = &spec.alternate_exchange {
        arguments.insert("alternate-exchange", &json!(alternate));
    }
    let definition = ExchangeDefinition {
        kind: spec.exchange_type.clone(),
        durable: spec.durable,
        auto_delete: spec.auto_delete,
        internal: spec.internal,
        arguments,
    };
    Thing::Exchange(Name::new(&spec.vhost, spec.broker_name(metadata_name)), definition)
}

fn queue(spec: &QueueSpec, metadata_name: &str) -> Result<Thing, PeriodError> {
    let definition = QueueDefinition::new(spec.durable, spec.auto_delete, false, queue_arguments(spec)?);
    Ok(Thing::Queue(
        Name::new(&spec.vhost, spec.broker_name(metadata_name)),
        definition,
    ))
}

/// The shorthands as RabbitMQ's arguments; times are integers in milliseconds.
fn queue_arguments(spec: &QueueSpec) -> Result<Arguments, PeriodError> {
    let mut arguments = Arguments::from(spec.arguments.clone());
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            arguments.insert(name, &value);
        }
    };
    let millis = |period: &Option<crate::resource::Period>| match period {
        None => Ok(None),
        Some(period) => period.millis().map(|millis| Some(json!(millis))),
    };
    if spec.queue_type != QueueType::Classic {
        put("x-queue-type", Some(json!(spec.queue_type.as_str())));
    }
    put("x-max-length", spec.max_length.map(Value::from));
    put("x-max-length-bytes", spec.max_length_bytes.map(Value::from));
    put("x-overflow", spec.overflow.map(|overflow| json!(overflow.as_str())));
    put("x-message-ttl", millis(&spec.message_ttl)?);
    put("x-expires", millis(&spec.expires)?);
    put("x-max-priority", spec.max_priority.map(Value::from));
    if let Some(dead_letter) = &spec.dead_letter {
        put("x-dead-letter-exchange", Some(json!(dead_letter.exchange)));
        put(
            "x-dead-letter-routing-key",
            dead_letter.routing_key.as_ref().map(|key| json!(key)),
        );
    }
    put("x-delivery-limit", spec.delivery_limit.map(Value::from));
    put("x-single-active-consumer", spec.single_active_consumer.map(Value::from));
    put("x-consumer-timeout", millis(&spec.consumer_timeout)?);
    if let Some(deduplication) = &spec.deduplication {
        put("x-message-deduplication", Some(json!(true)));
        put("x-cache-size", Some(json!(deduplication.cache_size)));
        put("x-cache-ttl", millis(&deduplication.cache_ttl)?);
        put(
            "x-deduplication-header",
            deduplication.header.as_ref().map(|header| json!(header)),
        );
    }
    Ok(arguments)
}

fn binding(spec: &BindingSpec) -> Result<Thing, String> {
    let (end, destination) = match (&spec.destination.queue, &spec.destination.exchange) {
        (Some(queue), None) => (End::Queue, queue),
        (None, Some(exchange)) => (End::Exchange, exchange),
        _ => return Err("destination must have exactly one of queue and exchange".to_owned()),
    };
    if spec.source.is_empty() {
        return Err("source must name an exchange".to_owned());
    }
    Ok(Thing::Binding(BindingDefinition {
        vhost: spec.vhost.clone(),
        source: spec.source.clone(),
        end,
        destination: destination.clone(),
        routing_key: spec.routing_key.clone(),
        arguments: Arguments::from(spec.arguments.clone()),
    }))
}

#[cfg(test)]
pub(crate) mod tests;
