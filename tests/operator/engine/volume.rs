//! A broker's volume: it grows where its storage class lets it, and the Broker says so where not.
//!
//! The cluster has no driver that resizes disks: what is looked at is the claim, which is all that an operator can ask
//! for. `make grow` has one.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::{Bare, bare, main_broker};
use crate::text;

fn size(gib: u32, class: &str) -> Value {
    main_broker(json!({"storage": {"size": format!("{gib}Gi"), "storageClassName": class}}))
}

fn asked(claim: &Value) -> String {
    text(claim, "/spec/resources/requests/storage")
}

impl Bare {
    /// A class of this test's own, by a name that no other test has.
    async fn class(&self, grows: bool) -> String {
        let name = format!("{}-{grows}", self.namespace);
        let class = json!({"metadata": {"name": name}, "provisioner": "kubernetes.io/no-provisioner",
            "allowVolumeExpansion": grows});
        let class: StorageClass = serde_json::from_value(class).expect("a class");
        let classes: Api<StorageClass> = Api::all(self.client.clone());
        classes.create(&PostParams::default(), &class).await.expect("a class");
        name
    }

    /// A volume of that class, which a claim can be bound to.
    async fn volume(&self, class: &str) {
        let volume = json!({"metadata": {"name": class}, "spec": {"capacity": {"storage": "4Gi"},
            "accessModes": ["ReadWriteOnce"], "storageClassName": class, "hostPath": {"path": "/nowhere"}}});
        let volume: PersistentVolume = serde_json::from_value(volume).expect("a volume");
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        volumes.create(&PostParams::default(), &volume).await.expect("a volume");
    }

    async fn bound(&self) {
        let bound = |claim: &Value| claim["status"]["phase"] == "Bound";
        self.finds::<PersistentVolumeClaim>("data-main-0", bound).await;
    }

    async fn without(&self, class: &str) {
        let gone = DeleteParams::default();
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let classes: Api<StorageClass> = Api::all(self.client.clone());
        volumes.delete(class, &gone).await.expect("a deletion");
        classes.delete(class, &gone).await.expect("a deletion");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_grows_where_its_class_lets_it() {
    let Some(bare) = bare("grows").await else { return };
    let class = bare.class(true).await;
    bare.apply(&size(1, &class)).await;
    bare.broker_becomes("False", "Starting").await;
    // Nothing can grow that is not there yet: that is no fault, and made good as soon as it is.
    bare.apply(&size(2, &class)).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    bare.broker_becomes("False", "Starting").await;
    bare.finds::<PersistentVolumeClaim>("data-main-0", |claim| asked(claim) == "1Gi")
        .await;
    bare.volume(&class).await;
    bare.bound().await;
    bare.finds::<PersistentVolumeClaim>("data-main-0", |claim| asked(claim) == "2Gi")
        .await;
    bare.apply(&size(3, &class)).await;
    bare.finds::<PersistentVolumeClaim>("data-main-0", |claim| asked(claim) == "3Gi")
        .await;
    bare.broker_becomes("False", "Starting").await;
    bare.without(&class).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_that_lets_no_volume_grow_is_named() {
    let Some(bare) = bare("fixed").await else { return };
    let class = bare.class(false).await;
    bare.volume(&class).await;
    bare.apply(&size(1, &class)).await;
    bare.bound().await;
    bare.apply(&size(2, &class)).await;
    let message = bare.broker_becomes("False", "Immutable").await;
    let expected = format!(
        "storage.size: PersistentVolumeClaim data-main-0 has 1Gi and its storage class '{class}' lets no volume grow \
         (allowVolumeExpansion)"
    );
    assert_eq!(message, expected);
    bare.apply(&size(1, &class)).await;
    bare.broker_becomes("False", "Starting").await;
    bare.without(&class).await;
}
