//! `Permission` of RabbitMQ's topology operator: rights of a user in one virtual host, as an object of its own. In the
//! group `leveret.dev` they stand in the User.
//!
//! In: an entry of a User's `permissions`, and whose it is. Out: `PermissionSpec`. Does not know about that operator's
//! manifests, nor about where the name of a user comes from.

use serde::{Deserialize, Serialize};

use super::common::BrokerRef;
use super::user::Permission;

/// Rights in one virtual host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermissionSpec {
    /// The Broker that has the user.
    pub broker_ref: BrokerRef,
    /// The user.
    pub whose: Whose,
    /// The rights.
    pub permission: Permission,
}

/// The user that has rights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whose {
    /// Its name on the broker; `None`: the User that is referred to is not there, or its name is not known yet.
    pub user: Option<String>,
    /// The object User, in the same namespace, by which it is named, where it is.
    pub reference: Option<String>,
}

impl Whose {
    /// The name on the broker.
    ///
    /// # Errors
    /// It is not known.
    pub fn name(&self) -> Result<String, String> {
        self.user.clone().ok_or_else(|| {
            let object = self.reference.as_deref().unwrap_or_default();
            format!("the User '{object}' does not exist, or its name on the broker is not known yet")
        })
    }
}
