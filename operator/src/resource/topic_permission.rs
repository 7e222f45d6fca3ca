//! `TopicPermission` of RabbitMQ's topology operator: limits of a user's routing keys on one exchange, as an object of
//! its own. In the group `leveret.dev` they stand in the User.
//!
//! In: an entry of a User's `topicPermissions`, and whose it is. Out: `TopicPermissionSpec`. Does not know about that
//! operator's manifests, nor about where the name of a user comes from.

use serde::{Deserialize, Serialize};

use super::common::BrokerRef;
use super::permission::Whose;
use super::user::TopicPermission;

/// Limits of routing keys on one exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicPermissionSpec {
    /// The Broker that has the user.
    pub broker_ref: BrokerRef,
    /// The user.
    pub whose: Whose,
    /// The limits.
    pub permission: TopicPermission,
}
