//! ZeroMQ sockets: the users that they are to act as, and their ports.

use super::*;
use crate::object::{CurveKey, ServerKey};

fn to_main(mut spec: Value) -> Value {
    spec["brokerRef"] = json!({"name": "main", "namespace": "shop"});
    spec
}

fn pull(port: u16, user: Value) -> Value {
    let mut spec = json!({"type": "pull", "queue": "q", "port": port});
    if let (Some(spec), Some(user)) = (spec.as_object_mut(), user.as_object()) {
        spec.extend(user.clone());
    }
    to_main(spec)
}

fn guest(port: u16) -> Value {
    pull(port, json!({"user": "guest"}))
}

fn broker(allowed: Value) -> (Kind, &'static str, &'static str, i64, Value) {
    (Kind::Broker, "shop", "main", 0, json!({"allowedNamespaces": allowed}))
}

fn socket(
    namespace: &'static str,
    name: &'static str,
    created: i64,
    spec: Value,
) -> (Kind, &'static str, &'static str, i64, Value) {
    (Kind::ZeroMqSocket, namespace, name, created, spec)
}

fn user(namespace: &'static str, name: &'static str, spec: Value) -> (Kind, &'static str, &'static str, i64, Value) {
    (Kind::User, namespace, name, 9, to_main(spec))
}

fn of(all: &Snapshot, name: &str) -> Standing {
    standing(&desired(all, &main_broker()), name)
}

fn same() -> (Kind, &'static str, &'static str, i64, Value) {
    broker(json!({"from": "Same"}))
}

#[test]
fn a_user_is_named_by_its_resource() {
    let by_reference = pull(5555, json!({"userRef": {"name": "till"}}));
    let without = snapshot(&[same(), socket("shop", "in", 1, by_reference.clone())]);
    let waits = Standing::Waiting(Reason::WaitingForUser, "User shop/till does not exist".to_owned());
    assert_eq!(of(&without, "in"), waits);
    let all = snapshot(&[
        same(),
        socket("shop", "in", 1, by_reference.clone()),
        user("shop", "till", json!({"name": "shop-till"})),
    ]);
    let Standing::Wanted(declared) = of(&all, "in") else {
        panic!("not wanted");
    };
    assert_eq!(declared.demands().acts, BTreeSet::from(["shop-till".to_owned()]));
    let other = json!({"brokerRef": {"name": "other"}});
    let all = snapshot(&[
        same(),
        socket("shop", "in", 1, by_reference),
        (Kind::User, "shop", "till", 2, other),
    ]);
    let message = "User shop/till is a user of Broker shop/other, not of Broker shop/main".to_owned();
    assert_eq!(of(&all, "in"), Standing::Refused(Reason::InvalidArgument, message));
}

#[test]
fn the_oldest_has_a_port() {
    let all = snapshot(&[
        same(),
        socket("shop", "young", 2, guest(5555)),
        socket("shop", "old", 1, guest(5555)),
        socket("shop", "beside", 3, guest(5556)),
        socket("shop", "any", 4, guest(0)),
        socket("shop", "other", 5, guest(0)),
    ]);
    let message = "port 5555 belongs to ZeroMqSocket shop/old, which is older".to_owned();
    assert_eq!(of(&all, "young"), Standing::Refused(Reason::Conflict, message));
    for name in ["old", "beside", "any", "other"] {
        assert!(matches!(of(&all, name), Standing::Wanted(_)), "{name}");
    }
    assert_eq!(open_ports(&all, &main_broker()), BTreeSet::from([5555, 5556]));
    assert_eq!(
        open_ports(&all, &ObjectKey::new(Kind::Broker, "shop", "none")),
        BTreeSet::new()
    );
}

#[test]
fn only_ports_that_others_reach_are_open() {
    let mut inside = guest(5556);
    inside["address"] = json!("127.0.0.1");
    let mut all = snapshot(&[
        same(),
        socket("shop", "goes", 1, guest(5555)),
        socket("shop", "inside", 2, inside),
        socket("shop", "paused", 3, guest(5557)),
    ]);
    let key = |name: &str| ObjectKey::new(Kind::ZeroMqSocket, "shop", name);
    with_annotation(&mut all, &key("paused"), PAUSED);
    assert_eq!(open_ports(&all, &main_broker()), BTreeSet::from([5555, 5557]));
    all.any_mut(&key("goes")).expect("it is there").meta_mut().deleting = Some(5);
    assert_eq!(open_ports(&all, &main_broker()), BTreeSet::from([5557]));
}

#[test]
fn others_may_only_with_a_rule_and_as_users_of_their_own() {
    let rule =
        json!({"namespaces": ["web"], "vhosts": ["/"], "kinds": ["User", "ZeroMqSocket"], "names": ["web.*", "q"]});
    let with = |allowed: Value, more: &[(Kind, &str, &str, i64, Value)]| {
        let mut all = vec![broker(allowed)];
        let own = |(kind, namespace, name, created, spec): &(Kind, &str, &str, i64, Value)| {
            let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
            (*kind, leak(namespace), leak(name), *created, spec.clone())
        };
        all.extend(more.iter().map(own));
        match of(&snapshot(&all), "it") {
            Standing::Wanted(_) => None,
            Standing::Refused(Reason::NotAllowed, message) => Some(message),
            other => panic!("{other:?}"),
        }
    };
    let named = |user: &str| {
        let mut spec = pull(5555, json!({ "user": user }));
        spec["name"] = json!("web.in");
        socket("web", "it", 1, spec)
    };
    let by_rules = || json!({"from": "All", "rules": [rule.clone()]});
    let refused = with(json!({"from": "All"}), &[named("web.a")]).expect("refused");
    assert!(
        refused.contains("allows no ZeroMqSocket from namespace web"),
        "{refused}"
    );
    let theirs = user("web", "a", json!({"name": "web.a"}));
    assert_eq!(with(by_rules(), &[named("web.a"), theirs.clone()]), None);
    let foreign = user("shop", "b", json!({"name": "web.b"}));
    // Of another name than its namespace may have.
    let forbidden = user("web", "g", json!({"name": "guest"}));
    for name in ["web.b", "guest", "nobody"] {
        let message = with(
            by_rules(),
            &[named(name), theirs.clone(), foreign.clone(), forbidden.clone()],
        );
        let expected = format!("user '{name}' is none that a User of that namespace declares");
        assert!(
            message.as_ref().is_some_and(|message| message.contains(&expected)),
            "{message:?}"
        );
    }
    let mut beyond = named("web.a");
    beyond.4["queue"] = json!("theirs");
    let message = with(by_rules(), &[beyond, theirs.clone()]).expect("refused");
    assert!(message.contains("queue 'theirs' is not one of"), "{message}");
    let mut elsewhere = named("web.a");
    elsewhere.4["vhost"] = json!("shop");
    let message = with(by_rules(), &[elsewhere, theirs]).expect("refused");
    assert!(message.contains("vhost 'shop' is not one of"), "{message}");
}

#[test]
fn a_key_is_awaited_where_it_is_looked_for() {
    let mut spec = to_main(json!({"type": "pull", "queue": "q", "port": 5555, "mechanism": "Curve"}));
    let mut all = snapshot(&[same(), socket("shop", "in", 1, spec.clone())]);
    let key = ObjectKey::new(Kind::ZeroMqSocket, "shop", "in");
    let known = |all: &Snapshot| match of(all, "in") {
        Standing::Wanted(Declared::ZeroMqSocket(socket)) => socket.definition.key,
        other => panic!("{other:?}"),
    };
    assert_eq!(known(&all), None, "nobody looks for it");
    all.keys = Some(Arc::default());
    assert_eq!(of(&all, "in"), Standing::Unknown);
    let made = CurveKey::fresh();
    for (found, expected) in [
        (ServerKey::Known(made.clone()), Some(made)),
        (ServerKey::OfBroker, None),
    ] {
        all.keys = Some(Arc::new([(key.clone(), found)].into()));
        assert_eq!(known(&all), expected);
    }
    let missing = ServerKey::Missing(Reason::WaitingForSecret, "no Secret".to_owned());
    all.keys = Some(Arc::new([(key, missing)].into()));
    assert_eq!(
        of(&all, "in"),
        Standing::Waiting(Reason::WaitingForSecret, "no Secret".to_owned())
    );
    spec["mechanism"] = json!("Plain");
    let mut plain = snapshot(&[same(), socket("shop", "in", 1, spec)]);
    plain.keys = Some(Arc::default());
    assert_eq!(known(&plain), None, "it needs none");
}
