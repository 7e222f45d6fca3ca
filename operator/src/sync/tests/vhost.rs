//! Virtual hosts: made before what stands in them, changed in place, removed last and only when nothing is lost.

use serde_json::json;

use super::stage::Stage;
use super::{URI, key, orders, snapshot, to_main};
use crate::object::{Kind, ObjectKey, Reason, Snapshot};
use crate::resource::VhostSpec;
use crate::source::Source;
use crate::topology::Name;

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
