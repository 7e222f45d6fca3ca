//! (pure) Passwords of Users in a folder, for the broker on the developer's own machine.
//!
//! In: the Users, and the Secrets that stand in the folder beside them. Out: a password for each User as a hash: that
//! of the Secret it names, or its own name where the Secret is elsewhere, or would be made in a cluster.
//! Does not know about files.

use std::collections::BTreeMap;

use crate::object::{Hash, Object, ObjectKey, Password, Snapshot};
use crate::resource::{UserSpec, Way};
use crate::source::brought;
use crate::source::grant::SecretData;

/// Secrets by namespace and name.
pub(super) type Secrets = BTreeMap<(String, String), SecretData>;

/// The passwords of all Users whose specs only say where they are.
pub(super) fn of(snapshot: &Snapshot, secrets: &Secrets) -> BTreeMap<ObjectKey, Password> {
    let users = snapshot.iter::<UserSpec>();
    let found = users.filter_map(|user| Some((user.meta.key.clone(), password(user, secrets)?)));
    found.collect()
}

fn password(user: &Object<UserSpec>, secrets: &Secrets) -> Option<Password> {
    match user.spec.way() {
        Way::Hash(_) | Way::Token => None,
        Way::Generated(_) => Some(own_name(user)),
        Way::Secret(reference) => {
            let place = (user.meta.key.namespace.clone(), reference.name.clone());
            Some(match secrets.get(&place) {
                Some(data) => brought::password(user, reference, data),
                None => own_name(user),
            })
        }
    }
}

/// As with RabbitMQ's `guest`, name and password are the same.
fn own_name(user: &Object<UserSpec>) -> Password {
    let name = user.spec.broker_name(&user.meta.key.name);
    Password::Known {
        hash: Hash::salted(name.as_bytes(), &brought::place(user).each_ref().map(String::as_str)),
        slow: None,
        secret: None,
        user: None,
    }
}
