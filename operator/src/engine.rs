//! (pure) The broker that the operator runs itself: from a `Broker` with engine Leveret to the objects made for it.
//!
//! In: the `Broker`, and its pod as it stands. Out: the manifests of a StatefulSet and what belongs to it, and why a
//! pod is not up. Does not know about an API server, nor about queues, exchanges and bindings.

/// Reasons why a pod is not up.
pub mod pods;

/// The part of the pod template that the user's patch may change.
pub mod template;

/// The StatefulSet with the pod and its volume.
pub mod statefulset;

/// The user's patch over the pod template.
pub mod patch;

/// Services, metrics and protection of the broker.
pub mod network;

/// The Secret that is made for a User.
pub mod user_secret;

/// The Secret that is made for a ZeroMQ socket.
pub mod curve_secret;

/// The administrator's credentials, in service-binding form.
pub mod secret;

/// The broker's settings file.
pub mod config;

/// Tokens of service accounts: what the broker needs to take them.
pub mod account_tokens;

/// The objects' names, and the labels on all of them.
pub mod names;

/// An object to apply.
mod child;

pub use child::{Child, ChildKind, fingerprint};

#[cfg(test)]
mod tests;
