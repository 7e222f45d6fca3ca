//! (pure) The resources for which this operator makes something.
//!
//! In: a resource and the snapshot. Out: yes or no. Does not know about what is made.

use crate::object::{Meta, ObjectKey, PAUSED, Snapshot, is_set};
use crate::resource::BrokerRef;

/// Says whether a resource may have what it wants of its Broker.
pub type May = fn(&Snapshot, &ObjectKey) -> bool;

/// Nothing is made for what is paused, leaves, or belongs to a Broker of another operator.
pub(super) fn is_ours(meta: &Meta, broker: &BrokerRef, snapshot: &Snapshot) -> bool {
    let key = ObjectKey::broker(broker, &meta.key.namespace);
    let broker = snapshot.meta(&key);
    let paused = is_set(&meta.annotations, PAUSED) || broker.is_some_and(|broker| is_set(&broker.annotations, PAUSED));
    meta.deleting.is_none() && !paused && !snapshot.others.contains(&key) && snapshot.beyond(&key).is_none()
}
