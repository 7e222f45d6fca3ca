//! A resource: its spec, and everything about it that is not its spec.
//!
//! In: what a source has read. Out: `Object` with its `Meta`, and the finalizer and annotations that mean
//! something. Does not know about the spec's type.

use std::collections::BTreeMap;

use serde_json::Value;

use super::key::ObjectKey;
use super::report::QueueNumbers;

/// The object on the broker that the resource owns by its last written status. A source gives back exactly what it was
/// last asked to write (`StatusReport::name`, `StatusReport::vhost`, `StatusReport::applied`); all `None` when nothing
/// was ever written. Deletion goes by this alone, so that it works although the spec has gone wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastStatus {
    pub name: Option<String>,
    pub vhost: Option<String>,
    /// A binding as last put on the broker; opaque to sources (in the CRD: `x-kubernetes-preserve-unknown-fields`).
    pub applied: Option<Value>,
    /// The numbers of a queue that were last said. They have nothing to do with deletion.
    pub queue: Option<QueueNumbers>,
    /// The newest generation that an operator, this or another, has said something of.
    pub looked_at: Option<i64>,
}

/// Everything about a resource that is not its spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    pub key: ObjectKey,
    pub uid: String,
    pub generation: i64,
    /// Unix seconds. The oldest resource owns a broker object; equal times are decided by the key.
    pub created: i64,
    /// Unix seconds since which the resource is being deleted.
    pub deleting: Option<i64>,
    pub annotations: BTreeMap<String, String>,
    /// Another number after somebody has changed labels or annotations, whichever they are.
    pub touched: u64,
    /// Carries the operator's finalizer.
    pub finalized: bool,
    pub status: LastStatus,
}

impl Meta {
    /// A resource at which nobody has looked yet, with nothing but its key: the first of its generations.
    pub fn fresh(key: ObjectKey) -> Self {
        Self {
            key,
            uid: String::new(),
            generation: 1,
            created: 0,
            deleting: None,
            annotations: BTreeMap::new(),
            touched: 0,
            finalized: false,
            status: LastStatus::default(),
        }
    }
}

/// A resource: metadata and spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<S> {
    pub meta: Meta,
    pub spec: S,
}

/// The finalizer that every resource carries before anything is declared for it.
pub const FINALIZER: &str = "leveret.dev/finalizer";

/// Annotation: stops reconciling this resource (or, on a Broker, everything that refers to it); see [`is_set`].
pub const PAUSED: &str = "leveret.dev/paused";

/// Annotation: only tells how the broker differs from this resource (or, on a Broker, from everything that refers to
/// it): nothing is changed on the broker; see [`is_set`].
pub const OBSERVE: &str = "leveret.dev/observe";

/// Annotation: lets a resource that is being deleted go although its broker cannot be reached or refuses, or (on a
/// Broker) although messages go with it; see [`is_confirmed`].
pub const FORCE_DELETE: &str = "leveret.dev/force-delete";

/// Annotations: the addresses under which the operator reaches a broker it runs, when it is not in the same cluster
/// network (`kubectl port-forward`): `amqp://127.0.0.1:5672` and `http://127.0.0.1:15672`.
pub const AMQP_URI: &str = "leveret.dev/amqp-uri";

/// See [`AMQP_URI`].
pub const MANAGEMENT_URI: &str = "leveret.dev/management-uri";

/// Words for yes and no in annotations: YAML's, in any spelling, and numbers.
const YES: [&str; 5] = ["true", "yes", "on", "y", "1"];
const NO: [&str; 5] = ["false", "no", "off", "n", "0"];

fn says(value: &str, words: &[&str]) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(value.trim()))
}

/// True if an annotation that keeps the operator's hands off is there and does not say no: a word that is not
/// understood is taken for the harmless answer.
pub fn is_set(annotations: &BTreeMap<String, String>, name: &str) -> bool {
    annotations.get(name).is_some_and(|value| !says(value, &NO))
}

/// True if an annotation that allows a loss says yes: a word that is not understood allows nothing.
pub fn is_confirmed(annotations: &BTreeMap<String, String>, name: &str) -> bool {
    annotations.get(name).is_some_and(|value| says(value, &YES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_not_understood_do_no_harm() {
        for (value, set, confirmed) in [
            ("true", true, true),
            ("Yes", true, true),
            (" on ", true, true),
            ("1", true, true),
            ("", true, false),
            ("maybe", true, false),
            ("false", false, false),
            ("NO", false, false),
            ("0", false, false),
        ] {
            let annotations = [(PAUSED.to_owned(), value.to_owned())].into();
            assert_eq!(is_set(&annotations, PAUSED), set, "{value:?}");
            assert_eq!(is_confirmed(&annotations, PAUSED), confirmed, "{value:?}");
        }
        assert!(!is_set(&BTreeMap::new(), PAUSED));
    }
}
