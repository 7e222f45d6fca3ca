//! (pure) The resources as they would be after an apply.
//!
//! In: manifests, and the resources that are there. Out: a [`World`]. Does not know about brokers.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::command::lint;
use crate::object::{LastStatus, Meta, Object, ObjectKey, Objects, World};
use crate::resource::{AllowedNamespaces, BrokerRef, BrokerSpec, NamespacesFrom};
use crate::source::folder::read::Manifests;

/// All resources are for one broker, whatever they name.
pub(super) fn lead_to(broker: &ObjectKey, mut world: World) -> World {
    fn lead<S: Clone>(objects: &mut Objects<S>, set: impl Fn(&mut S)) {
        objects
            .values_mut()
            .for_each(|object| set(&mut Arc::make_mut(object).spec));
    }
    let reference = BrokerRef {
        name: broker.name.clone(),
        namespace: Some(broker.namespace.clone()),
    };
    lead(&mut world.exchanges, |spec| spec.broker_ref = reference.clone());
    lead(&mut world.queues, |spec| spec.broker_ref = reference.clone());
    lead(&mut world.bindings, |spec| spec.broker_ref = reference.clone());
    let spec = BrokerSpec {
        allowed_namespaces: AllowedNamespaces {
            from: NamespacesFrom::All,
            selector: None,
        },
        ..BrokerSpec::default()
    };
    let meta = fresh(broker.clone(), BTreeMap::new());
    world.brokers = BTreeMap::from([(broker.clone(), Arc::new(Object { meta, spec }))]);
    world
}

/// Metadata of a resource that does not exist yet: younger than all that do.
fn fresh(key: ObjectKey, annotations: BTreeMap<String, String>) -> Meta {
    Meta {
        key,
        uid: String::new(),
        generation: 1,
        created: i64::MAX,
        deleting: None,
        annotations,
        finalized: false,
        status: LastStatus::default(),
    }
}

/// The world after an apply: what is there, with the manifests in it.
pub(super) fn applied(mut world: World, manifests: &Manifests) -> World {
    for (key, manifest) in &manifests.objects {
        let mut meta = world
            .meta(key)
            .cloned()
            .unwrap_or_else(|| fresh(key.clone(), BTreeMap::new()));
        meta.annotations.extend(manifest.annotations.clone());
        lint::put(&mut world, meta, manifest);
    }
    world
}
