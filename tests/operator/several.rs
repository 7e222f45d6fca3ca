//! Several operators watch the same Brokers: one keeps each of them, the other leaves it alone and says so.

use std::process::Command;
use std::time::{Duration, Instant};

use harness::Broker;
use harness::api_server::{ApiServer, Resources, api_server};
use harness::kubectl::run;
use harness::operator_process::Operator;
use harness::place;
use harness::wait::eventually_async;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Api;
use serde_json::{Value, json};

use crate::{SOON, broker_manifests, manifest, text};

/// Two Lease durations of three seconds, four times each: the bound for a take-over, and some time for a busy machine.
const HANDED_OVER: Duration = Duration::from_secs(60);

/// A namespace and operators that all watch it, each with a Lease and an image of its own.
struct Crowd {
    cluster: ApiServer,
    client: kube::Client,
    namespace: String,
    resources: Resources,
}

impl Crowd {
    async fn gather(what: &str) -> Option<Crowd> {
        let cluster = api_server()?;
        let client = cluster.client().await;
        let namespace = cluster.namespace(&client, what).await;
        let resources = Resources::new(&client, &namespace);
        Some(Crowd {
            cluster,
            client,
            namespace,
            resources,
        })
    }

    fn lease(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }

    fn operator(&self, name: &str) -> Operator {
        let (lease, image) = (self.lease(name), format!("leveret:{name}"));
        let flags = [
            "--lease-name",
            &lease,
            "--lease-namespace",
            "default",
            "--lease-duration",
            "3s",
            "--broker-image",
            &image,
        ];
        Operator::start(&self.cluster, &self.namespace, &flags)
    }

    fn retire(&self, name: &str) {
        let mut command = Command::new(place::program("leveret-operator", "LEVERET_OPERATOR_BIN"));
        let lease = self.lease(name);
        command
            .args(["retire", "--lease-namespace", "default", "--lease-name", &lease])
            .args(["--watch-namespace", &self.namespace])
            .env("KUBECONFIG", &self.cluster.kubeconfig);
        let said = run(&mut command, "");
        assert!(said.well, "{}", said.all);
    }

    async fn field(&self, kind: &str, name: &str, pointer: &str) -> Value {
        let object = self.resources.api(kind).get(name).await.expect("it is there");
        object.data.pointer(pointer).cloned().unwrap_or_default()
    }

    /// Waits until a Broker is kept by one of the operators.
    async fn is_kept_by(&self, broker: &str, name: &str) -> Duration {
        let wanted = format!("default/{}", self.lease(name));
        let ask = || async {
            match self.field("Broker", broker, "/status/operator/name").await {
                Value::String(found) if found == wanted => Ok(()),
                other => Err(other),
            }
        };
        eventually_async(&format!("{broker} is kept by {name}"), HANDED_OVER, ask)
            .await
            .1
    }

    /// Image and generation of the StatefulSet.
    async fn set(&self, name: &str) -> Option<(String, i64)> {
        let sets: Api<StatefulSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = sets.get_opt(name).await.expect("the API server answers")?;
        let containers = found.spec.template.spec?.containers;
        let image = containers.first()?.image.clone()?;
        Some((image, found.metadata.generation?))
    }

    async fn has_image(&self, name: &str, image: &str) {
        let ask = || async {
            match self.set(name).await {
                Some((found, _)) if found == image => Ok(()),
                other => Err(other),
            }
        };
        eventually_async(&format!("the StatefulSet has {image}"), SOON, ask).await;
    }

    async fn finalizers(&self, kind: &str, name: &str) -> usize {
        let object = self.resources.api(kind).get(name).await.expect("it is there");
        object.metadata.finalizers.unwrap_or_default().len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_do_not_fight_over_a_broker() {
    let Some(crowd) = Crowd::gather("fight").await else {
        return;
    };
    let mut one = crowd.operator("one");
    let broker = manifest("Broker", "main", json!({"storage": {"size": "1Gi"}}));
    crowd.resources.apply(&broker).await.expect("a Broker");
    crowd.is_kept_by("main", "one").await;
    crowd.has_image("main", "leveret:one").await;
    let two = crowd.operator("two");
    let contested = || async {
        let conditions = crowd.field("Broker", "main", "/status/conditions").await;
        let all = conditions.as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|condition| condition["type"] == "Contested");
        let named = |condition: &Value| text(condition, "/message").contains(&crowd.lease("two"));
        if found.as_ref().is_some_and(named) {
            Ok(())
        } else {
            Err(found)
        }
    };
    eventually_async("the Broker says who else would keep it", SOON, contested).await;
    let told = || async {
        let events = crowd
            .resources
            .api("Event")
            .list(&Default::default())
            .await
            .expect("events");
        let about = |event: &kube::api::DynamicObject| {
            text(&event.data, "/reason") == "Conflict" && text(&event.data, "/message").contains("leaves it alone")
        };
        if events.items.iter().any(about) {
            Ok(())
        } else {
            Err("no event")
        }
    };
    eventually_async("an event tells of the conflict", SOON, told).await;
    let before = crowd.set("main").await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(crowd.set("main").await, before, "nobody writes");

    // An upgrade of the same release: another process with the same Lease.
    assert!(one.terminate(Duration::from_secs(10)).success());
    let mut one = crowd.operator("one");
    tokio::time::sleep(Duration::from_secs(4)).await;
    crowd.is_kept_by("main", "one").await;

    // It goes for good, without a word.
    assert!(one.terminate(Duration::from_secs(10)).success());
    let took = crowd.is_kept_by("main", "two").await;
    println!("taken over {took:?} after the end of the other");
    crowd.has_image("main", "leveret:two").await;
    drop(two);
}

#[tokio::test(flavor = "multi_thread")]
async fn retiring_touches_what_is_ones_own() {
    let Some(crowd) = Crowd::gather("retire").await else {
        return;
    };
    let broker = Broker::start_with(&["--segment-size", "4MiB"]);
    let mut one = crowd.operator("one");
    for manifest in broker_manifests("main", &broker) {
        crowd.resources.apply(&manifest).await.expect("a Broker");
    }
    let queue = manifest(
        "Queue",
        "q",
        json!({"brokerRef": {"name": "main"}, "name": format!("{}-q", crowd.namespace)}),
    );
    crowd.resources.apply(&queue).await.expect("a Queue");
    crowd.resources.becomes("Queue", "q", "True", "Synced", SOON).await;
    let mut two = crowd.operator("two");
    two.terminate(Duration::from_secs(10));
    crowd.retire("two");
    assert_eq!(
        (
            crowd.finalizers("Queue", "q").await,
            crowd.finalizers("Broker", "main").await
        ),
        (1, 1)
    );
    crowd.is_kept_by("main", "one").await;

    let two = crowd.operator("two");
    one.terminate(Duration::from_secs(10));
    let started = Instant::now();
    crowd.retire("one");
    let took = crowd.is_kept_by("main", "two").await;
    println!("retired in {:?}, kept by the other {took:?} later", started.elapsed());
    assert!(took < Duration::from_secs(5), "given back, not waited for: {took:?}");
    let back = || async {
        let both = (
            crowd.finalizers("Queue", "q").await,
            crowd.finalizers("Broker", "main").await,
        );
        if both == (1, 1) { Ok(()) } else { Err(both) }
    };
    eventually_async("the other has put its finalizers", SOON, back).await;
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> = Api::namespaced(crowd.client.clone(), "default");
    let left: Vec<String> = leases
        .list(&Default::default())
        .await
        .expect("leases")
        .items
        .into_iter()
        .filter_map(|lease| lease.metadata.name)
        .filter(|name| name.starts_with(&crowd.namespace))
        .collect();
    assert_eq!(left, [crowd.lease("two")], "the Lease of the retired is deleted");
    crowd.resources.delete("Queue", "q").await;
    crowd.resources.goes("Queue", "q", SOON).await;
    drop(two);
}
