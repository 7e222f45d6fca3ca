//! The Lease: lost to somebody else, the operator stops its work and stands for election again, in the same process;
//! left by a container that was killed, the next one of the same pod takes it up at once, and no other.

use std::time::Instant;

use harness::Broker;
use harness::api_server::{ApiServer, Resources, api_server};
use harness::operator_process::Operator;
use harness::wait::{eventually_async, until};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::{SOON, broker_manifests, manifest};

/// Longer than the test may take: nobody waits for it to run out.
const LONG: &str = "120s";

/// A broker with its Broker, and a namespace for operators that stand for one Lease.
struct Scene {
    cluster: ApiServer,
    client: Client,
    namespace: String,
    resources: Resources,
    _broker: Broker,
}

impl Scene {
    async fn set(name: &str) -> Option<Scene> {
        let cluster = api_server()?;
        let client = cluster.client().await;
        let namespace = cluster.namespace(&client, name).await;
        let resources = Resources::new(&client, &namespace);
        let broker = Broker::start_with(&["--segment-size", "4MiB"]);
        for manifest in broker_manifests("main", &broker) {
            resources.apply(&manifest).await.expect("a Broker");
        }
        Some(Scene {
            cluster,
            client,
            namespace,
            resources,
            _broker: broker,
        })
    }

    /// The flags of its operators.
    fn flags<'a>(&'a self, duration: &'a str) -> [&'a str; 6] {
        [
            "--lease-name",
            "op",
            "--lease-namespace",
            &self.namespace,
            "--lease-duration",
            duration,
        ]
    }

    fn queue(&self, name: &str) -> Value {
        let on_broker = format!("{}-{name}", self.namespace);
        manifest("Queue", name, json!({"brokerRef": {"name": "main"}, "name": on_broker}))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_started_again_goes_on_with_the_lease_of_its_pod() {
    let Some(scene) = Scene::set("leading-again").await else {
        return;
    };
    let Scene {
        cluster,
        namespace,
        resources,
        ..
    } = &scene;
    let flags = scene.flags(LONG);
    let mut first = Operator::start_in_pod("one", cluster, namespace, &flags);
    resources.apply(&scene.queue("before")).await.expect("a Queue");
    resources.becomes("Queue", "before", "True", "Synced", SOON).await;
    first.kill();
    resources.apply(&scene.queue("after")).await.expect("a Queue");
    let another = Operator::start_in_pod("two", cluster, namespace, &flags);
    until("it stands by", SOON, || another.log().contains("standing by"));
    let again = Operator::start_in_pod("one", cluster, namespace, &flags);
    let took = Instant::now();
    resources.becomes("Queue", "after", "True", "Synced", SOON).await;
    println!("at work again after {:?}", took.elapsed());
    assert!(again.log().contains("leading"), "{}", again.log());
    assert!(!another.log().contains("leading"), "{}", another.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_is_stood_for_again_without_a_restart() {
    let Some(scene) = Scene::set("leading").await else {
        return;
    };
    let Scene {
        cluster,
        client,
        namespace,
        resources,
        ..
    } = &scene;
    let flags = scene.flags("3s");
    let operator = Operator::start(cluster, namespace, &flags);
    resources.apply(&scene.queue("before")).await.expect("a Queue");
    resources.becomes("Queue", "before", "True", "Synced", SOON).await;
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
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
    resources.apply(&scene.queue("after")).await.expect("a Queue");
    resources.becomes("Queue", "after", "True", "Synced", SOON).await;
}
