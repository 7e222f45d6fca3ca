//! (pure) Passwords of Users and keys of ZeroMQ sockets in a folder, for the broker on the developer's own machine.
//!
//! In: the Users and sockets, and the Secrets that stand in the folder beside them. Out: a password for each User as a
//! hash: that of the Secret it names, or its own name where the Secret is elsewhere, or would be made in a cluster. And
//! a key for each socket that needs one: that of its Secret, or what the broker makes. Does not know about files.

use std::collections::BTreeMap;

use crate::object::{Hash, Object, ObjectKey, Password, ServerKey, Snapshot};
use crate::resource::{KeyPair, UserSpec, Way, ZeroMqSocketSpec};
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

/// The keys of all sockets that need one.
pub(super) fn keys(snapshot: &Snapshot, secrets: &Secrets) -> BTreeMap<ObjectKey, ServerKey> {
    let key = |socket: &Object<ZeroMqSocketSpec>| {
        let key = match socket.spec.key_pair()? {
            KeyPair::Generated(_) => ServerKey::OfBroker,
            KeyPair::Secret(reference) => {
                let place = (socket.meta.key.namespace.clone(), reference.name.clone());
                let data = secrets.get(&place);
                data.map_or(ServerKey::OfBroker, |data| brought::server_key(socket, reference, data))
            }
        };
        Some((socket.meta.key.clone(), key))
    };
    snapshot
        .iter::<ZeroMqSocketSpec>()
        .filter_map(|socket| key(socket))
        .collect()
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
