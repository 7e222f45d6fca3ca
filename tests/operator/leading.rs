//! The Lease is lost to somebody else: the operator stops its work and stands for election again, in the same process.

use harness::Broker;
use harness::api_server::{Resources, api_server};
use harness::operator_process::Operator;
use harness::wait::{eventually_async, until};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{SOON, broker_manifests, manifest};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_is_stood_for_again_without_a_restart() {
    let Some(cluster) = api_server() else { return };
    let client = cluster.client().await;
    let namespace = cluster.namespace(&client, "leading").await;
    let resources = Resources::new(&client, &namespace);
    let broker = Broker::start_with(&["--segment-size", "4MiB"]);
    for manifest in broker_manifests("main", &broker) {
        resources.apply(&manifest).await.expect("a Broker");
    }
    let flags = [
        "--lease-name",
        "op",
        "--lease-namespace",
        &namespace,
        "--lease-duration",
        "3s",
    ];
    let operator = Operator::start(&cluster, &namespace, &flags);
    let queue = |name: &str| {
        let name_on_broker = format!("{namespace}-{name}");
        manifest(
            "Queue",
            name,
            json!({"brokerRef": {"name": "main"}, "name": name_on_broker}),
        )
    };
    resources.apply(&queue("before")).await.expect("a Queue");
    resources.becomes("Queue", "before", "True", "Synced", SOON).await;
    let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
    let holder = || async {
        let lease = leases.get("op").await.expect("the Lease");
        lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default()
    };
    let identity = holder().await;
    let stolen = Patch::Merge(json!({"spec": {"holderIdentity": "a thief"}}));
    leases
        .patch("op", &PatchParams::default(), &stolen)
        .await
        .expect("a Lease can be edited");
    until("it notices", SOON, || {
        operator
            .log()
            .contains("the lease is lost; standing for election again")
    });
    let ours = || async {
        match holder().await {
            found if found == identity => Ok(()),
            other => Err(other),
        }
    };
    eventually_async("the same process leads again", SOON, ours).await;
    resources.apply(&queue("after")).await.expect("a Queue");
    resources.becomes("Queue", "after", "True", "Synced", SOON).await;
}
