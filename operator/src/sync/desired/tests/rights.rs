//! Permissions that are objects of their own, and Users of RabbitMQ's topology operator.

use super::*;
use crate::object::{Group, GroupKind};
use crate::resource::AllowedNamespaces;
use crate::topology::Target;
use crate::topology::grant::Place;

pub(crate) fn theirs(kind: Kind, name: &str) -> ObjectKey {
    let group = Group::RabbitMq;
    ObjectKey::of(GroupKind { group, kind }, "shop", name)
}

fn put(snapshot: &mut Snapshot, key: &ObjectKey, created: i64, spec: Value) {
    let meta = Meta {
        uid: key.to_string(),
        created,
        finalized: true,
        ..Meta::fresh(key.clone())
    };
    add(snapshot, meta, spec);
}

pub(crate) fn permission(user: &str, read: &str) -> Value {
    json!({"brokerRef": {"name": "main"}, "whose": {"user": user},
        "permission": {"vhost": "shop", "configure": "", "write": "", "read": read}})
}

fn of(desired: &Desired, key: &ObjectKey) -> Standing {
    let item = desired.items.iter().find(|item| item.key == *key);
    item.expect("the item").standing.clone()
}

fn identity(user: &str) -> Identity {
    Identity::Permission(Place {
        user: user.to_owned(),
        vhost: "shop".to_owned(),
        exchange: None,
    })
}

#[test]
fn of_two_permissions_the_older_counts() {
    let mut snapshot = Snapshot::default();
    let (old, young) = (theirs(Kind::Permission, "old"), theirs(Kind::Permission, "a-young"));
    put(&mut snapshot, &old, 10, permission("till", ".*"));
    put(&mut snapshot, &young, 20, permission("till", ""));
    put(
        &mut snapshot,
        &theirs(Kind::Permission, "other"),
        20,
        permission("office", ""),
    );
    let result = desired(&snapshot, &main_broker());
    assert!(matches!(of(&result, &old), Standing::Wanted(_)));
    assert_eq!(
        of(&result, &young),
        Standing::Refused(
            Reason::Conflict,
            "the permission of user 'till' in vhost 'shop' belongs to Permission.rabbitmq.com shop/old, which is older"
                .to_owned()
        )
    );
    assert!(matches!(
        of(&result, &theirs(Kind::Permission, "other")),
        Standing::Wanted(_)
    ));
}

#[test]
fn a_user_with_all_its_rights_gets_none_from_others() {
    let mut snapshot = Snapshot::default();
    let (whole, part) = (
        ObjectKey::new(Kind::User, "shop", "till"),
        theirs(Kind::Permission, "p"),
    );
    put(&mut snapshot, &part, 10, permission("till", ".*"));
    put(&mut snapshot, &whole, 20, json!({"brokerRef": {"name": "main"}}));
    let result = desired(&snapshot, &main_broker());
    assert_eq!(
        of(&result, &part),
        Standing::Refused(
            Reason::Conflict,
            "the permission of user 'till' in vhost 'shop' belongs to User shop/till, which gives user 'till' all its \
             rights"
                .to_owned()
        )
    );
    assert!(
        result.is_others(&identity("till"), &part),
        "and is not taken away with it"
    );
    assert!(!result.is_others(&identity("office"), &part));
    // One of that operator's leaves them to others.
    snapshot.remove(&whole);
    let user = json!({"brokerRef": {"name": "main"}, "name": "till", "passwordHash": {"value": ""}});
    put(&mut snapshot, &theirs(Kind::User, "till"), 20, user);
    let result = desired(&snapshot, &main_broker());
    assert!(matches!(of(&result, &part), Standing::Wanted(_)));
    let Standing::Wanted(user) = of(&result, &theirs(Kind::User, "till")) else {
        panic!("not wanted");
    };
    assert!(!user.has_all_rights());
}

#[test]
fn a_name_that_is_not_known_claims_nothing() {
    let mut snapshot = Snapshot::default();
    snapshot.passwords = Some(Arc::default());
    let (user, part) = (theirs(Kind::User, "till"), theirs(Kind::Permission, "p"));
    put(&mut snapshot, &user, 10, json!({"brokerRef": {"name": "main"}}));
    let mut referring = permission("", ".*");
    referring["whose"] = json!({"reference": "till"});
    put(&mut snapshot, &part, 10, referring);
    let result = desired(&snapshot, &main_broker());
    assert_eq!(of(&result, &user), Standing::Unknown);
    assert_eq!(
        of(&result, &part),
        Standing::Waiting(
            Reason::WaitingForUser,
            "the User 'till' does not exist, or its name on the broker is not known yet".to_owned()
        )
    );
    assert_eq!(result.claims, BTreeMap::new());
    assert!(is_let_in(&snapshot, &user), "its Secret may be made");
    let missing = Password::Missing(Reason::WaitingForSecret, "Secret shop/s does not exist".to_owned());
    snapshot.passwords = Some(Arc::new([(user.clone(), missing)].into()));
    assert_eq!(
        of(&desired(&snapshot, &main_broker()), &user),
        Standing::Waiting(Reason::WaitingForSecret, "Secret shop/s does not exist".to_owned())
    );
}

#[test]
fn nobody_gives_rights_to_the_operator() {
    let mut snapshot = Snapshot::default();
    let part = theirs(Kind::Permission, "p");
    put(&mut snapshot, &part, 10, permission("admin", ""));
    let mut result = desired(&snapshot, &main_broker());
    result.reserve("admin");
    assert!(matches!(of(&result, &part), Standing::Refused(Reason::NotAllowed, _)));
    assert!(result.is_reserved(&identity("admin")) && !result.is_reserved(&identity("till")));
}

#[test]
fn rights_need_what_users_need() {
    let mut snapshot = Snapshot::default();
    let mut of_broker = Meta::fresh(ObjectKey::new(Kind::Broker, "infra", "main"));
    of_broker.finalized = true;
    let part = theirs(Kind::Permission, "p");
    let mut spec = permission("shop-till", "^shop-");
    spec["brokerRef"]["namespace"] = json!("infra");
    put(&mut snapshot, &part, 10, spec);
    let mut ask = |rules: Value| {
        let allowed: AllowedNamespaces = serde_json::from_value(json!({"from": "All", "rules": rules})).unwrap();
        add(
            &mut snapshot,
            of_broker.clone(),
            json!({ "allowedNamespaces": allowed }),
        );
        of(&desired(&snapshot, &of_broker.key), &part)
    };
    let rule = |kinds: Value, names: &str| {
        json!([{"namespaces": ["shop"], "vhosts": ["shop"], "kinds": kinds,
        "names": [names]}])
    };
    assert!(matches!(ask(rule(json!(["User"]), "shop-*")), Standing::Wanted(_)));
    for refused in [rule(json!(["Queue"]), "shop-*"), rule(json!(["User"]), "web-*")] {
        assert!(
            matches!(ask(refused.clone()), Standing::Refused(Reason::NotAllowed, _)),
            "{refused}"
        );
    }
    let relevant = desired(&snapshot, &of_broker.key).relevant();
    assert!(!relevant.contains(&Target::new(Kind::User, Name::new("", "shop-till"))));
}
