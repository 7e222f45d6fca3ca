//! (pure) The resources as they would be after an apply.
//!
//! In: manifests, and the resources that are there. Out: a `Snapshot`. Does not know about brokers.

use crate::command::lint;
use crate::object::{Kind, Meta, ObjectKey, Snapshot};
use crate::resource::{BrokerRef, BrokerSpec};
use crate::source::folder::read::Manifests;

/// All resources are for one broker, whatever they name; if there is a Broker of that name, by its rules.
pub(super) fn lead_to(broker: &ObjectKey, mut snapshot: Snapshot) -> Snapshot {
    let reference = BrokerRef {
        name: broker.name.clone(),
        namespace: Some(broker.namespace.clone()),
    };
    snapshot.objects_mut().for_each(|object| object.lead(&reference));
    let allowed = snapshot
        .get::<BrokerSpec>(broker)
        .map(|broker| broker.spec.allowed_namespaces.clone());
    let spec = BrokerSpec {
        allowed_namespaces: allowed.unwrap_or_default().opened(),
        ..BrokerSpec::default()
    };
    snapshot.clear(Kind::Broker);
    snapshot.put(fresh(broker.clone()), spec);
    snapshot
}

/// Metadata of a resource that does not exist yet: younger than all that do.
fn fresh(key: ObjectKey) -> Meta {
    Meta {
        created: i64::MAX,
        ..Meta::fresh(key)
    }
}

/// The snapshot after an apply: what is there, with the manifests in it.
pub(super) fn applied(mut snapshot: Snapshot, manifests: &Manifests) -> Snapshot {
    for (key, manifest) in &manifests.objects {
        let mut meta = snapshot.meta(key).cloned().unwrap_or_else(|| fresh(key.clone()));
        meta.annotations.extend(manifest.annotations.clone());
        lint::put(&mut snapshot, meta, manifest);
    }
    snapshot
}
