//! Virtual hosts: made before what stands in them, changed in place, removed last and only when nothing is lost.

use serde_json::json;

use super::stage::Stage;
use super::{URI, key, orders, snapshot, to_main};
use crate::broker::fake::Broker;
use crate::object::{Kind, ObjectKey, Reason, Snapshot};
use crate::resource::VhostSpec;
use crate::source::Source;
use crate::topology::vhost::VhostDefinition;
use crate::topology::{Declared, Identity, Name, Named, Operation};

fn shop() -> Snapshot {
    let mut all = orders();
    let spec = to_main(json!({"description": "of the shop"}));
    let queue = to_main(json!({"vhost": "shop"}));
    let more = snapshot(&[
        (Kind::Vhost, "shop", "shop", 0, spec),
        (Kind::Queue, "shop", "till", 0, queue),
    ]);
    more.objects().for_each(|object| all.insert(object.clone()));
    all
}

fn vhost() -> ObjectKey {
    key(Kind::Vhost, "shop")
}

fn till() -> ObjectKey {
    key(Kind::Queue, "till")
}

fn description(stage: &Stage) -> Option<String> {
    let name = Name::new("", "shop");
    stage.fake.with(URI, |broker| {
        let vhost = broker.topology.vhosts.get(&name);
        vhost.map(|vhost| vhost.description.clone())
    })
}

#[tokio::test]
async fn a_virtual_host_comes_first_and_is_changed_in_place() {
    let stage = Stage::start(shop());
    stage.until_synced(&[vhost(), till()]).await;
    let labels = stage.fake.with(URI, |broker| {
        let operations = broker.operations.iter();
        operations.map(|operation| operation.label()).collect::<Vec<_>>()
    });
    assert_eq!(labels.first(), Some(&"put_vhost"));
    assert_eq!(description(&stage).as_deref(), Some("of the shop"));
    stage.change(|snapshot| {
        let object = snapshot.get_mut::<VhostSpec>(&vhost()).expect("the vhost");
        object.spec.description = "of the new shop".to_owned();
        object.meta.generation += 1;
    });
    stage
        .until("changed", |stage| {
            description(stage).as_deref() == Some("of the new shop")
        })
        .await;
    stage.until_synced(&[vhost(), till()]).await;
}

#[tokio::test]
async fn a_virtual_host_stays_until_nothing_is_in_it() {
    let stage = Stage::start(shop());
    stage.until_synced(&[vhost(), till()]).await;
    stage.delete(&vhost(), super::now(), None);
    stage
        .until("blocked", |stage| {
            stage.reason(&vhost()) == Some(Reason::DeletionBlocked)
        })
        .await;
    assert_eq!(
        stage.message(&vhost()),
        "vhost 'shop' is not empty, there is queue 'till' in vhost 'shop'; set deletionPolicy to Delete or Retain, or \
         empty it"
    );
    stage.delete(&till(), super::now(), None);
    stage
        .until("gone", |stage| stage.shelf.snapshot().of(Kind::Vhost).next().is_none())
        .await;
    assert_eq!(description(&stage), None);
}

#[tokio::test]
async fn a_virtual_host_with_messages_says_where_they_are() {
    let stage = Stage::start(shop());
    stage.until_synced(&[vhost(), till()]).await;
    stage.fake.with(URI, |broker| {
        broker.messages.insert(Name::new("shop", "till"), 3);
        broker.messages.insert(Name::new("/", "invoices"), 5);
    });
    stage.delete(&vhost(), super::now(), None);
    stage
        .until("blocked", |stage| {
            stage.reason(&vhost()) == Some(Reason::DeletionBlocked)
        })
        .await;
    assert_eq!(
        stage.message(&vhost()),
        "vhost 'shop' is not empty, it holds 3 messages: 3 in queue 'till'; set deletionPolicy to Delete or Retain, or \
         empty it"
    );
}

#[tokio::test]
async fn a_virtual_host_that_is_changed_or_deleted_by_hand_is_put_right() {
    let stage = Stage::start(shop());
    stage.until_synced(&[vhost(), till()]).await;
    let name = Name::new("", "shop");
    let other = Named::new(name, VhostDefinition::default());
    for change in [Operation::Declare(Declared::Vhost(other)), gone()] {
        stage
            .fake
            .with(URI, |broker| broker.by_hand(&change))
            .expect("it can be done");
        stage
            .until("put right", |stage| {
                description(stage).as_deref() == Some("of the shop") && has_till(stage)
            })
            .await;
    }
}

#[tokio::test]
async fn a_folder_that_goes_takes_its_virtual_host_along_in_one_pass() {
    let stage = Stage::start(shop());
    stage.until_synced(&[vhost(), till()]).await;
    stage.change(|snapshot| {
        for key in [vhost(), till()] {
            let object = snapshot.any_mut(&key).expect("the object");
            object.meta_mut().deleting = Some(super::now());
        }
    });
    stage
        .until("gone", |stage| stage.shelf.snapshot().of(Kind::Vhost).next().is_none())
        .await;
    assert_eq!(description(&stage), None);
}

fn gone() -> Operation {
    Operation::Remove {
        identity: Identity::Vhost(Name::new("", "shop")),
        if_free: false,
    }
}

fn has_till(stage: &Stage) -> bool {
    let till = Name::new("shop", "till");
    stage
        .fake
        .with(URI, |broker| broker.topology.queues.contains_key(&till))
}

/// Were it a failure like others, the pauses would add up to more than is waited here.
#[tokio::test]
async fn a_virtual_host_that_goes_while_it_is_made_is_made_again_at_once() {
    let stage = Stage::start(shop());
    stage.until_synced(&[vhost(), till()]).await;
    stage.fake.with(URI, |broker| {
        broker.crossings.insert("shop".to_owned(), vec![gone(); 5]);
        broker.by_hand(&gone()).expect("it can be done");
    });
    let there = |stage: &Stage| description(stage).is_some() && has_till(stage);
    stage.until("the queue is there", there).await;
    let made = |broker: &mut Broker| {
        let operations = broker.operations.iter();
        operations.filter(|operation| operation.label() == "put_vhost").count()
    };
    assert_eq!(stage.fake.with(URI, made), 7, "at first, five times in vain, and again");
}
