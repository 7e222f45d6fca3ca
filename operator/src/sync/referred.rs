//! A part of step 2 (pure): what a spec only refers to. The passwords of Users and the keys of ZeroMQ sockets, which
//! are in Secrets, and users that are named by their resources.
//!
//! In: the `Snapshot`, an object as its spec says. Out: the same, completed, or what is missing. Does not know about
//! where Secrets are, nor about other resources' claims.

use std::collections::BTreeMap;

use crate::object::{Kind, Meta, ObjectKey, Password, Reason, ServerKey, Snapshot};
use crate::resource::UserSpec;
use crate::topology::Declared;

/// The outcome of looking for what is referred to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Referred {
    /// All is there.
    Whole,
    Missing(Reason, String),
    /// It is still being looked for.
    Unknown,
}

/// Puts the names of users in place of resources in the namespace of the object, which belongs to `broker`.
///
/// # Errors
/// The User that is not there, or cannot be meant.
pub(super) fn name_users(
    snapshot: &Snapshot,
    meta: &Meta,
    broker: &ObjectKey,
    declared: &mut Declared,
) -> Result<(), (Reason, String)> {
    let Declared::ZeroMqSocket(socket) = declared else {
        return Ok(());
    };
    let mut names = BTreeMap::new();
    for resource in socket.definition.referred() {
        let key = ObjectKey::new(Kind::User, &meta.key.namespace, resource);
        let Some(user) = snapshot.get::<UserSpec>(&key) else {
            return Err((Reason::WaitingForUser, format!("{key} does not exist")));
        };
        let theirs = ObjectKey::broker(&user.spec.broker_ref, &key.namespace);
        if theirs != *broker {
            let text = format!("{key} is a user of {theirs}, not of {broker}");
            return Err((Reason::InvalidArgument, text));
        }
        names.insert(resource.clone(), user.spec.broker_name(resource));
    }
    socket.definition.name_users(&names);
    Ok(())
}

/// Puts in what is in Secrets.
pub(super) fn reveal(snapshot: &Snapshot, meta: &Meta, declared: &mut Declared) -> Referred {
    match declared {
        Declared::User(user) if user.definition.password.is_none() => {
            let Some(passwords) = &snapshot.passwords else {
                return Referred::Whole;
            };
            match passwords.get(&meta.key) {
                Some(Password::Known { hash, slow, .. }) => {
                    user.definition.password = Some(hash.clone());
                    user.definition.slow.clone_from(slow);
                    Referred::Whole
                }
                Some(Password::Missing(reason, message)) => Referred::Missing(*reason, message.clone()),
                None => Referred::Unknown,
            }
        }
        Declared::ZeroMqSocket(socket) if socket.definition.is_curve() => {
            let Some(keys) = &snapshot.keys else {
                return Referred::Whole;
            };
            match keys.get(&meta.key) {
                Some(ServerKey::Known(key)) => {
                    socket.definition.key = Some(key.clone());
                    Referred::Whole
                }
                Some(ServerKey::OfBroker) => Referred::Whole,
                Some(ServerKey::Missing(reason, message)) => Referred::Missing(*reason, message.clone()),
                None => Referred::Unknown,
            }
        }
        _ => Referred::Whole,
    }
}
