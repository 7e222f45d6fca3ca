//! Users: made with what of their permissions can be made, completed when the rest can, put right, removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::stage::Stage;
use super::{URI, key, orders, snapshot, to_main};
use crate::broker::Operation;
use crate::object::{Hash, Kind, ObjectKey, Password, Reason, Snapshot};
use crate::resource::UserSpec;
use crate::source::Source;
use crate::topology::user::UserDefinition;
use crate::topology::vhost::VhostDefinition;
use crate::topology::{Declared, Identity, Name, Named};

fn shop() -> Snapshot {
    let mut all = orders();
    let spec = to_main(json!({
        "tags": ["management"],
        "permissions": [{"vhost": "shop", "write": ".*"}],
        "topicPermissions": [{"vhost": "shop", "exchange": "sales", "write": "^till"}],
    }));
    let more = snapshot(&[(Kind::User, "shop", "till", 0, spec)]);
    more.objects().for_each(|object| all.insert(object.clone()));
    all.passwords = passwords(known("geheim"));
    all
}

fn passwords(of_user: Password) -> Option<Arc<BTreeMap<ObjectKey, Password>>> {
    Some(Arc::new([(user(), of_user)].into()))
}

fn known(password: &str) -> Password {
    Password::Known {
        user: None,
        hash: Hash::salted(password.as_bytes(), &["shop"]),
        slow: None,
        secret: Some("till-user".to_owned()),
    }
}

fn user() -> ObjectKey {
    key(Kind::User, "till")
}

fn name() -> Name {
    Name::new("", "till")
}

fn found(stage: &Stage) -> Option<UserDefinition> {
    stage
        .fake
        .with(URI, |broker| broker.topology.users.get(&name()).cloned())
}

fn by_hand(stage: &Stage, operation: &Operation) {
    stage
        .fake
        .with(URI, |broker| broker.by_hand(operation))
        .expect("it can be done");
}

fn vhost() -> Operation {
    Operation::Declare(Declared::Vhost(Named::new(
        Name::new("", "shop"),
        VhostDefinition::default(),
    )))
}

#[tokio::test]
async fn a_permission_waits_for_its_virtual_host_and_no_more() {
    let stage = Stage::start(shop());
    stage
        .until("it waits", |stage| {
            stage.reason(&user()) == Some(Reason::WaitingForVhost)
        })
        .await;
    assert_eq!(
        stage.message(&user()),
        "vhost 'shop' does not exist: what user 'till' has there waits for it"
    );
    let made = found(&stage).expect("the user");
    assert!(made.permissions.is_empty() && made.tags.contains("management"));
    by_hand(&stage, &vhost());
    stage
        .until("it waits for the exchange", |stage| {
            stage.reason(&user()) == Some(Reason::WaitingForSource)
        })
        .await;
    assert_eq!(found(&stage).expect("the user").permissions["shop"], ["", ".*", ""]);
    stage.change(|snapshot| {
        let spec = to_main(json!({"vhost": "shop", "type": "topic"}));
        let more = super::snapshot(&[(Kind::Exchange, "shop", "sales", 0, spec)]);
        more.objects().for_each(|object| snapshot.insert(object.clone()));
    });
    stage.until_synced(&[user(), key(Kind::Exchange, "sales")]).await;
    assert_eq!(found(&stage).expect("the user").topics.len(), 1);
}

#[tokio::test]
async fn all_comes_in_its_order_at_once() {
    let mut all = shop();
    let more = snapshot(&[
        (
            Kind::Exchange,
            "shop",
            "sales",
            0,
            to_main(json!({"vhost": "shop", "type": "topic"})),
        ),
        (Kind::Vhost, "shop", "shop", 0, to_main(json!({}))),
    ]);
    more.objects().for_each(|object| all.insert(object.clone()));
    let stage = Stage::start(all);
    stage.until_synced(&[user(), key(Kind::Vhost, "shop")]).await;
    let labels = stage.fake.with(URI, |broker| {
        let operations = broker.operations.iter();
        operations.map(|operation| operation.label()).collect::<Vec<_>>()
    });
    assert_eq!(labels.get(..2), Some(&["put_vhost", "put_user"][..]), "{labels:?}");
    let status = stage.shelf.statuses.lock().get(&user()).cloned().expect("a status");
    assert_eq!(
        (status.name.as_deref(), status.secret.as_deref()),
        (Some("till"), Some("till-user"))
    );
}

#[tokio::test]
async fn another_password_is_set_and_one_set_by_hand_is_put_back() {
    let stage = Stage::start(shop());
    by_hand(&stage, &vhost());
    let has = |stage: &Stage, password: &str| {
        let hash = Hash::salted(password.as_bytes(), &["shop"]);
        found(stage).is_some_and(|user| user.password == Some(hash))
    };
    stage.until("made", |stage| has(stage, "geheim")).await;
    stage.change(|snapshot| snapshot.passwords = passwords(known("neu")));
    stage.until("rotated", |stage| has(stage, "neu")).await;
    let mut other = found(&stage).expect("the user");
    other.password = Some(Hash::none());
    other.permissions.clear();
    by_hand(&stage, &Operation::Declare(Declared::User(Named::new(name(), other))));
    stage.until("put back", |stage| has(stage, "neu")).await;
    assert_eq!(found(&stage).expect("the user").permissions.len(), 1);
}

#[tokio::test]
async fn nothing_is_said_before_a_password_has_been_looked_for() {
    let mut all = shop();
    all.passwords = Some(Default::default());
    let stage = Stage::start(all);
    stage.until_synced(&[key(Kind::Queue, "invoices")]).await;
    assert_eq!((stage.reason(&user()), found(&stage)), (None, None));
    let missing = Password::Missing(Reason::WaitingForSecret, "Secret shop/till does not exist".to_owned());
    stage.change(|snapshot| snapshot.passwords = passwords(missing));
    stage
        .until("missing", |stage| {
            stage.reason(&user()) == Some(Reason::WaitingForSecret)
        })
        .await;
    assert_eq!(found(&stage), None);
}

#[tokio::test]
async fn a_user_goes_with_its_permissions() {
    let stage = Stage::start(shop());
    by_hand(&stage, &vhost());
    stage.until("made", |stage| found(stage).is_some()).await;
    stage.delete(&user(), super::now(), None);
    stage
        .until("gone", |stage| stage.shelf.snapshot().of(Kind::User).next().is_none())
        .await;
    assert_eq!(found(&stage), None);
    let gone = Operation::Remove {
        identity: Identity::User(name()),
        if_free: false,
    };
    assert!(stage.fake.with(URI, |broker| broker.operations.contains(&gone)));
}

#[tokio::test]
async fn the_operators_own_user_is_nobody_elses() {
    let mut all = shop();
    all.get_mut::<UserSpec>(&user()).expect("the user").spec.name = Some(super::stage::OWN.to_owned());
    let stage = Stage::start(all);
    stage
        .until("refused", |stage| stage.reason(&user()) == Some(Reason::NotAllowed))
        .await;
    assert_eq!(
        stage.message(&user()),
        "user 'operator' is the operator's own on this broker: give another name"
    );
    stage.delete(&user(), super::now(), None);
    stage
        .until("gone", |stage| stage.shelf.snapshot().of(Kind::User).next().is_none())
        .await;
}
