//! (pure) Names of users of RabbitMQ's topology operator, which do not stand in their objects: they are in Secrets, and
//! permissions refer to the objects.
//!
//! In: an object, and all others with the passwords that are known. Out: the object with the name in it. Does not know
//! about Secrets, nor about when to look.

use std::sync::Arc;

use crate::object::{AnyObject, Group, GroupKind, Kind, ObjectKey, Password, Snapshot};
use crate::resource::{UserSpec, Whose};

/// Puts the name in, as far as it is known.
pub(super) fn fill(object: &mut AnyObject, snapshot: &Snapshot) {
    if object.meta().key.group == Group::Leveret {
        return;
    }
    let namespace = object.meta().key.namespace.clone();
    match object {
        AnyObject::User(user) => {
            if let (None, Some(name)) = (&user.spec.name, secret_name(&user.meta.key, snapshot)) {
                Arc::make_mut(user).spec.name = Some(name);
            }
        }
        AnyObject::Permission(permission) => {
            let known = referred(&permission.spec.whose, &namespace, snapshot);
            if known != permission.spec.whose {
                Arc::make_mut(permission).spec.whose = known;
            }
        }
        AnyObject::TopicPermission(permission) => {
            let known = referred(&permission.spec.whose, &namespace, snapshot);
            if known != permission.spec.whose {
                Arc::make_mut(permission).spec.whose = known;
            }
        }
        _ => {}
    }
}

/// Users whose names are not known.
pub(super) fn nameless(snapshot: &Snapshot) -> Vec<ObjectKey> {
    let users = snapshot.iter::<UserSpec>();
    let theirs = users.filter(|user| user.meta.key.group == Group::RabbitMq && user.spec.name.is_none());
    theirs.map(|user| user.meta.key.clone()).collect()
}

/// Permissions that refer to a User.
pub(super) fn dependents(user: &ObjectKey, snapshot: &Snapshot) -> Vec<ObjectKey> {
    let kinds = [Kind::Permission, Kind::TopicPermission].into_iter();
    let all = kinds.flat_map(|kind| snapshot.within_namespace(kind, &user.namespace));
    let refer = all.filter(|object| {
        let whose = match object {
            AnyObject::Permission(permission) => &permission.spec.whose,
            AnyObject::TopicPermission(permission) => &permission.spec.whose,
            _ => return false,
        };
        whose.reference.as_ref() == Some(&user.name)
    });
    refer.map(|object| object.meta().key.clone()).collect()
}

/// The name in the Secret of a User.
fn secret_name(user: &ObjectKey, snapshot: &Snapshot) -> Option<String> {
    match snapshot.passwords.as_ref()?.get(user)? {
        Password::Known { user, .. } => user.clone(),
        Password::Missing(..) => None,
    }
}

fn referred(whose: &Whose, namespace: &str, snapshot: &Snapshot) -> Whose {
    let Some(reference) = &whose.reference else {
        return whose.clone();
    };
    let of = GroupKind {
        group: Group::RabbitMq,
        kind: Kind::User,
    };
    let user = snapshot.get::<UserSpec>(&ObjectKey::of(of, namespace, reference));
    Whose {
        user: user.and_then(|user| user.spec.name.clone()),
        reference: Some(reference.clone()),
    }
}
