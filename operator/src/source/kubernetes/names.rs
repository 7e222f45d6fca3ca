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

#[cfg(test)]
mod tests {
    use kube::core::DynamicObject;
    use serde_json::{Value, json};

    use super::super::cache::{Cache, Change};
    use super::*;
    use crate::object::Hash;

    fn object(kind: &str, version: u64, spec: Value, status: Value) -> DynamicObject {
        let mut spec = spec;
        spec["rabbitmqClusterReference"] = json!({"name": "main"});
        let mut object = json!({
            "apiVersion": "rabbitmq.com/v1beta1", "kind": kind,
            "metadata": {"name": "till", "namespace": "shop", "uid": kind, "generation": 1,
                "resourceVersion": version.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": spec,
        });
        object["status"] = status;
        serde_json::from_value(object).expect("an object")
    }

    fn key(kind: Kind) -> ObjectKey {
        let group = Group::RabbitMq;
        ObjectKey::of(GroupKind { group, kind }, "shop", "till")
    }

    fn whose(cache: &Cache) -> Option<String> {
        match cache.snapshot().any(&key(Kind::Permission)) {
            Some(AnyObject::Permission(permission)) => permission.spec.whose.user.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn made(cache: &Cache) -> Option<String> {
        let snapshot = cache.snapshot();
        let meta = snapshot.meta(&key(Kind::Permission)).expect("it is there");
        meta.status.name.clone()
    }

    #[test]
    fn a_name_comes_with_the_secret_and_stays_while_it_is_known() {
        let mut cache = Cache::of("me".to_owned(), &[]);
        let user = |version, status| object("User", version, json!({}), status);
        let refers = json!({"userReference": {"name": "till"}, "vhost": "shop", "permissions": {}});
        let permission = object(
            "Permission",
            1,
            refers,
            json!({"observedGeneration": 1, "conditions": []}),
        );
        let [of_user, of_permission] = [Kind::User, Kind::Permission].map(|kind| key(kind).group_kind());
        assert_eq!(cache.observe(of_permission, permission), Ok(Change::Relevant));
        assert_eq!((whose(&cache), made(&cache)), (None, None));
        assert_eq!(cache.observe(of_user, user(1, Value::Null)), Ok(Change::Relevant));
        assert_eq!(whose(&cache), None);
        let known = Password::Known {
            hash: Hash::none(),
            slow: None,
            secret: Some("s".to_owned()),
            user: Some("x1".to_owned()),
        };
        cache.passwords(&[(key(Kind::User), known)].into());
        assert_eq!(whose(&cache).as_deref(), Some("x1"));
        assert_eq!(made(&cache).as_deref(), Some("x1"), "that operator has made it");
        // A status is written, and nothing changes by that.
        let written = json!({"username": "x1", "conditions": []});
        assert_eq!(cache.observe(of_user, user(2, written.clone())), Ok(Change::None));
        cache.passwords(&Default::default());
        assert_eq!(cache.observe(of_user, user(3, written)), Ok(Change::None));
        assert_eq!(whose(&cache).as_deref(), Some("x1"));
        cache.remove(&key(Kind::User));
        assert_eq!(whose(&cache), None);
    }
}
