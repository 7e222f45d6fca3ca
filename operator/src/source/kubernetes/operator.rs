//! The operator among others in the cluster: its name, and the object that stands for it.
//!
//! In: its Lease and its process. Out: names. Does not know about resources.

use std::fmt;

use k8s_openapi::api::core::v1::ObjectReference;

/// One operator: the processes that share a Lease, of which one reconciles. It stays the same when it is upgraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    pub namespace: String,
    /// Name of its Lease.
    pub lease: String,
    /// Names this process in events.
    pub instance: String,
}

impl Operator {
    /// Its Lease, beside which events stay when what they are about has gone.
    pub(super) fn lease(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            name: Some(self.lease.clone()),
            namespace: Some(self.namespace.clone()),
            ..ObjectReference::default()
        }
    }
}

impl fmt::Display for Operator {
    /// As `leveret-system/leveret`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.lease)
    }
}
