//! The parts of a spec that several kinds share.
//!
//! In: the manifest. Out: `BrokerRef`, policies, defaults, and what every kind says of itself (`Specifies`, `Belongs`).
//! Does not know about the kinds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// API group of all kinds.
pub const GROUP: &str = "leveret.dev";
/// API version of all kinds.
pub const VERSION: &str = "v1alpha1";

/// A CEL rule and what is said when it does not hold.
pub type Rule = (&'static str, &'static str);

/// The spec of one kind.
pub trait Specifies {
    /// Rules of the whole object, which see `metadata.name`.
    const RULES: &'static [Rule] = &[];
}

/// The spec of an object that belongs to a Broker, or of a Broker.
pub trait Belongs {
    /// The Broker that the object belongs to; `None` for a Broker itself.
    fn broker_ref(&self) -> Option<&BrokerRef>;

    /// As [`Belongs::broker_ref`], to lead the object to another Broker.
    fn broker_ref_mut(&mut self) -> Option<&mut BrokerRef>;
}

/// Which `Broker` an object belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerRef {
    /// Name of the Broker.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the Broker; default: the namespace of this object. Another namespace needs the Broker's
    /// `allowedNamespaces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// Policy for an object that was on the broker before the resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionPolicy {
    #[default]
    IfEqual,
    Always,
    Never,
}

/// Answer to a change of a field that a broker cannot change in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdatePolicy {
    #[default]
    Refuse,
    Recreate,
    Migrate,
}

pub(super) fn default_vhost() -> String {
    "/".to_owned()
}

pub(super) fn default_true() -> bool {
    true
}
