//! Permissions that are objects of their own: they wait for their user, and go without it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::desired::tests::rights::{permission, theirs};
use super::stage::Stage;
use super::{URI, add, orders, to_main};
use crate::broker::Operation;
use crate::object::{Hash, Kind, Meta, ObjectKey, Password, Reason, Snapshot};
use crate::source::Source;
use crate::topology::user::UserDefinition;
use crate::topology::vhost::VhostDefinition;
use crate::topology::{Declared, Name, Named};

/// A user that was made by hand, with a right elsewhere.
fn till() -> Operation {
    let definition = UserDefinition {
        permissions: [("/".to_owned(), ["", "", ".*"].map(str::to_owned))].into(),
        password: Some(Hash::none()),
        ..UserDefinition::default()
    };
    Operation::Declare(Declared::User(Named::new(Name::new("", "till"), definition)))
}

fn by_hand(stage: &Stage, operations: &[Operation]) {
    for operation in operations {
        let done = stage.fake.with(URI, |broker| broker.by_hand(operation));
        done.expect("it can be done");
    }
}

fn found(stage: &Stage) -> Option<UserDefinition> {
    let name = Name::new("", "till");
    stage.fake.with(URI, |broker| broker.topology.users.get(&name).cloned())
}

fn put(snapshot: &mut Snapshot, key: &ObjectKey, spec: serde_json::Value) {
    let meta = Meta {
        uid: key.to_string(),
        ..Meta::fresh(key.clone())
    };
    add(snapshot, meta, spec);
}

fn with_permission() -> (Snapshot, ObjectKey) {
    let mut all = orders();
    let key = theirs(Kind::Permission, "p");
    put(&mut all, &key, permission("till", "^a"));
    (all, key)
}

fn vhost() -> Operation {
    let name = Name::new("", "shop");
    Operation::Declare(Declared::Vhost(Named::new(name, VhostDefinition::default())))
}

#[tokio::test]
async fn a_permission_waits_for_its_user_and_takes_nothing_else_with_it() {
    let (all, key) = with_permission();
    let stage = Stage::start(all);
    by_hand(&stage, &[vhost()]);
    stage
        .until("it waits", |stage| stage.reason(&key) == Some(Reason::WaitingForUser))
        .await;
    assert_eq!(stage.message(&key), "user 'till' does not exist");
    by_hand(&stage, &[till()]);
    let since = Instant::now();
    stage.until_synced(std::slice::from_ref(&key)).await;
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    let rights = found(&stage).expect("the user").permissions;
    assert_eq!(rights.len(), 2);
    assert_eq!(rights["shop"], ["", "", "^a"]);
    stage.delete(&key, super::now(), None);
    stage
        .until("gone", |stage| {
            stage.shelf.snapshot().of(Kind::Permission).next().is_none()
        })
        .await;
    let rights = found(&stage).expect("the user stays").permissions;
    assert_eq!(rights.keys().collect::<Vec<_>>(), ["/"]);
}

#[tokio::test]
async fn a_permission_goes_although_its_user_is_gone() {
    let (all, key) = with_permission();
    let stage = Stage::start(all);
    by_hand(&stage, &[vhost(), till()]);
    stage.until_synced(std::slice::from_ref(&key)).await;
    let Operation::Declare(user) = till() else {
        panic!("no user");
    };
    let gone = Operation::Remove {
        identity: user.identity(),
        if_free: false,
    };
    by_hand(&stage, &[gone]);
    stage
        .until("it waits", |stage| stage.reason(&key) == Some(Reason::WaitingForUser))
        .await;
    stage.delete(&key, super::now(), None);
    stage
        .until("gone", |stage| {
            stage.shelf.snapshot().of(Kind::Permission).next().is_none()
        })
        .await;
}

#[tokio::test]
async fn a_user_and_its_rights_come_at_once_and_drift_is_put_back_one_by_one() {
    let (mut all, key) = with_permission();
    let user = theirs(Kind::User, "till");
    put(
        &mut all,
        &user,
        to_main(json!({"name": "till", "adoptionPolicy": "Always"})),
    );
    let known = Password::Known {
        hash: Hash::salted(b"geheim", &["shop"]),
        slow: None,
        secret: Some("till-user-credentials".to_owned()),
        user: Some("till".to_owned()),
    };
    all.passwords = Some(Arc::new([(user.clone(), known)].into()));
    put(
        &mut all,
        &ObjectKey::new(Kind::Vhost, "shop", "shop"),
        to_main(json!({})),
    );
    let stage = Stage::start(all);
    stage.until_synced(&[user.clone(), key.clone()]).await;
    let labels = || {
        stage.fake.with(URI, |broker| {
            let operations = broker.operations.iter();
            operations.map(|operation| operation.label()).collect::<Vec<_>>()
        })
    };
    let first = ["put_vhost", "put_user", "put_permission"];
    assert_eq!(labels().get(..3), Some(&first[..]), "{:?}", labels());
    let before = labels().len();
    // By hand: the right is changed, and another one is given, which is nobody's business here.
    by_hand(&stage, &[till()]);
    stage
        .until("put back", |stage| {
            found(stage).is_some_and(|user| user.permissions.get("shop") == Some(&["", "", "^a"].map(str::to_owned)))
        })
        .await;
    let user_is_back =
        |stage: &Stage| found(stage).is_some_and(|user| user.password == Some(Hash::salted(b"geheim", &["shop"])));
    stage.until("its password too", user_is_back).await;
    let rights = found(&stage).expect("the user").permissions;
    assert_eq!(rights.keys().collect::<Vec<_>>(), ["/", "shop"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let after = labels().split_off(before);
    assert_eq!(after.iter().filter(|label| **label == "delete_permission").count(), 0);
    assert!(after.len() <= 3, "{after:?}");
}
