//! Two tenants of one Broker: the second one tries to reach the things of the first, and is told why it can't, while
//! they go on untouched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::api_server::{ApiServer, Resources, api_server};
use harness::http::Http;
use harness::operator_process::Operator;
use harness::requests::*;
use harness::wait::until;
use harness::{Broker, Client, call};
use kube::api::Patch;
use serde_json::{Value, json};

use crate::{SOON, broker_manifests, manifest, text};

/// The objects of the first tenant: kind, name, spec. Its vhost is called `shop`.
fn of_shop() -> [(&'static str, &'static str, Value); 6] {
    [
        ("Vhost", "shop", json!({"name": "shop"})),
        (
            "User",
            "shop-app",
            json!({"permissions": [{"vhost": "shop", "write": "^orders$", "read": "^till$"}]}),
        ),
        ("Exchange", "orders", json!({"vhost": "shop", "type": "topic"})),
        ("Queue", "till", json!({"vhost": "shop"})),
        (
            "Binding",
            "orders-till",
            json!({"vhost": "shop", "source": "orders", "destination": {"queue": "till"}, "routingKey": "#"}),
        ),
        (
            "Policy",
            "bounded",
            json!({"vhost": "shop", "pattern": "^till$", "applyTo": "queues", "definition": {"max-length": 100_000}}),
        ),
    ]
}

/// A platform team's Broker, its tenants `shop` and `web`, and an operator that sees all three namespaces.
struct Estate {
    _operator: Operator,
    broker: Broker,
    cluster: ApiServer,
    client: kube::Client,
    platform: Resources,
    shop: Resources,
    web: Resources,
    /// Namespaces: of the Broker, of the tenants.
    names: [String; 3],
}

impl Estate {
    async fn new(what: &str) -> Option<Estate> {
        let cluster = api_server()?;
        let client = cluster.client().await;
        let mut names = Vec::new();
        for part in ["platform", "shop", "web"] {
            names.push(cluster.namespace(&client, &format!("{what}-{part}")).await);
        }
        let names: [String; 3] = names.try_into().expect("three");
        let [platform, shop, web] = [0, 1, 2].map(|at: usize| Resources::new(&client, &names[at]));
        let broker = Broker::start_with(&["--segment-size", "4MiB"]);
        let flags = [
            "--watch-namespace",
            &names[1],
            "--watch-namespace",
            &names[2],
            "--leader-election",
            "false",
        ];
        let operator = Operator::start(&cluster, &names[0], &flags);
        let estate = Estate {
            _operator: operator,
            broker,
            cluster,
            client,
            platform,
            shop,
            web,
            names,
        };
        estate.allow(&estate.rules()).await;
        for (kind, name, spec) in of_shop() {
            estate.synced(&estate.shop, kind, name, spec).await;
        }
        Some(estate)
    }

    /// Each tenant has a vhost of its name; the second may ask for all kinds there.
    fn rules(&self) -> Value {
        let kinds = [
            "Vhost",
            "User",
            "Policy",
            "OperatorPolicy",
            "Exchange",
            "Queue",
            "Binding",
        ];
        let mut of_shop = kinds.to_vec();
        of_shop.retain(|kind| *kind != "OperatorPolicy");
        let names = |prefix: &str| json!({"User": [prefix]});
        json!([
            {"namespaces": [self.names[1]], "vhosts": ["shop"], "kinds": of_shop, "namesOf": names("shop-*"),
             "maxObjects": {"Queue": 10}},
            {"namespaces": [self.names[2]], "vhosts": ["web", "web-*"], "kinds": kinds, "namesOf": names("web-*"),
             "userTags": ["management"], "maxObjects": {"Queue": 3}},
        ])
    }

    async fn allow(&self, rules: &Value) {
        let [credentials, mut main] = broker_manifests("main", &self.broker);
        main["spec"]["allowedNamespaces"] = json!({"from": "All", "rules": rules});
        for manifest in [credentials, main] {
            self.platform.apply(&manifest).await.expect("a Broker");
        }
    }

    fn to_main(&self, kind: &str, name: &str, mut spec: Value) -> Value {
        spec["brokerRef"] = json!({"name": "main", "namespace": self.names[0]});
        manifest(kind, name, spec)
    }

    async fn apply(&self, tenant: &Resources, kind: &str, name: &str, spec: Value) {
        let manifest = self.to_main(kind, name, spec);
        tenant
            .apply(&manifest)
            .await
            .unwrap_or_else(|error| panic!("{manifest}: {error}"));
    }

    async fn synced(&self, tenant: &Resources, kind: &str, name: &str, spec: Value) {
        self.apply(tenant, kind, name, spec).await;
        tenant.becomes(kind, name, "True", "Synced", SOON).await;
    }

    /// The second tenant asks for something, and is told why it doesn't get it.
    async fn refused(&self, kind: &str, name: &str, spec: Value, why: &str) {
        self.apply(&self.web, kind, name, spec).await;
        let message = self.web.becomes(kind, name, "False", "NotAllowed", SOON).await;
        let place = format!(
            "Broker {}/main does not allow this from namespace {}: ",
            self.names[0], self.names[2]
        );
        assert!(message.starts_with(&place), "{}", message);
        assert!(message.contains(why), "{}: not '{}'", message, why);
    }

    fn http(&self) -> Http {
        Http::new(self.broker.http())
    }

    /// All that stands in a vhost, beside the broker's own.
    fn inside(&self, vhost: &str) -> Vec<String> {
        let mut all = Vec::new();
        for list in ["exchanges", "queues", "bindings", "policies", "operator-policies"] {
            let path = format!("/api/{list}/{vhost}");
            let rows = self.http().get(&path);
            for row in rows.as_array().into_iter().flatten() {
                let name = match list {
                    "bindings" => format!("{} to {}", text(row, "/source"), text(row, "/destination")),
                    _ => text(row, "/name"),
                };
                if !name.is_empty() && !name.starts_with("amq.") && !name.starts_with(" to") {
                    all.push(format!("{list} {name}"));
                }
            }
        }
        all
    }

    /// The users who may do something in the first tenant's vhost, and its own user.
    fn users_of_shop(&self) -> Value {
        let permissions = self.http().get("/api/vhosts/shop/permissions");
        json!([permissions, self.http().get("/api/users/shop-app")])
    }

    /// The versions of the first tenant's objects: every write to one of them makes a new one.
    async fn versions(&self) -> Vec<String> {
        let mut versions = Vec::new();
        for (kind, name, _) in of_shop() {
            let object = self.shop.api(kind).get(name).await.expect("it is there");
            versions.push(object.metadata.resource_version.unwrap_or_default());
        }
        versions
    }
}

/// The first tenant's application: publishes and consumes all the time.
struct Application {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Application {
    fn start(estate: &Estate) -> Application {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let address = estate.broker.amqp();
        let thread = std::thread::spawn(move || {
            let mut client = Client::connect_to(address, "shop");
            client.open_channel(1);
            let mut sent = 0;
            while !stopped.load(Ordering::SeqCst) {
                let body = format!("order {sent}");
                client.publish(1, "orders", "new", body.as_bytes());
                let got = std::iter::repeat_with(|| client.get(1, "till", true))
                    .take(1_000)
                    .find_map(|message| message);
                assert_eq!(got.expect("the order").body, body.as_bytes());
                sent += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            sent
        });
        Application { stop, thread }
    }

    /// The number of orders, each of which came, once and in order.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the application goes on to the end")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_tenant_reaches_nothing_of_the_first() {
    let Some(estate) = Estate::new("tenancy").await else {
        return;
    };
    estate.synced(&estate.web, "Vhost", "web", json!({})).await;
    let application = Application::start(&estate);
    let (inside, users, versions) = (estate.inside("shop"), estate.users_of_shop(), estate.versions().await);
    let elsewhere = "vhost 'shop' is not one of web, web-* (its allowedNamespaces.rules[1])";

    // A queue, a binding and a policy in its vhost; a ceiling for its queues.
    estate
        .refused("Queue", "tap", json!({"vhost": "shop"}), elsewhere)
        .await;
    let binding = json!({"vhost": "shop", "source": "orders", "destination": {"queue": "tap"}, "routingKey": "#"});
    estate.refused("Binding", "tap", binding, elsewhere).await;
    let policy = json!({"vhost": "shop", "pattern": ".*", "applyTo": "all", "definition": {"max-length": 0}});
    estate.refused("Policy", "zero", policy.clone(), elsewhere).await;
    let mut ceiling = policy;
    ceiling["applyTo"] = json!("queues");
    estate.refused("OperatorPolicy", "zero", ceiling, elsewhere).await;

    // A user who may read there, one that is called as the other's or logs in as its pods do, one with all rights.
    let read = json!({"permissions": [{"vhost": "shop", "read": ".*"}]});
    estate.refused("User", "web-spy", read, elsewhere).await;
    let topics = json!({"topicPermissions": [{"vhost": "shop", "exchange": "orders", "read": ".*"}]});
    estate.refused("User", "web-topics", topics, elsewhere).await;
    let theirs = json!({"name": "shop-app", "adoptionPolicy": "Always"});
    estate
        .refused("User", "theirs", theirs, "user 'shop-app' is not one of web-*")
        .await;
    let account = json!({"serviceAccount": {"name": "app", "namespace": estate.names[1]}});
    let name = format!(
        "user 'system:serviceaccount:{}:app' is not one of web-*",
        estate.names[1]
    );
    estate.refused("User", "account", account, &name).await;
    let all = json!({"tags": ["administrator"]});
    estate
        .refused("User", "web-admin", all, "tag 'administrator' is not one of management")
        .await;
    estate.web.delete("User", "theirs").await;
    estate.web.goes("User", "theirs", SOON).await;
    let own = json!({"tags": ["management"], "permissions": [{"vhost": "web", "read": ".*"}]});
    estate.synced(&estate.web, "User", "web-app", own).await;

    // Its vhost itself, to be deleted with all that is in it; and the queue as its own, whatever it is.
    let vhost = json!({"name": "shop", "adoptionPolicy": "Always", "deletionPolicy": "Delete"});
    estate.refused("Vhost", "shop", vhost, elsewhere).await;
    let mine = json!({"vhost": "shop", "name": "till", "adoptionPolicy": "Always", "deletionPolicy": "Delete"});
    estate.refused("Queue", "till", mine, elsewhere).await;
    for (kind, name) in [("Vhost", "shop"), ("Queue", "till"), ("Policy", "zero")] {
        estate.web.delete(kind, name).await;
        estate.web.goes(kind, name, SOON).await;
    }

    // A status that says it owned the queue, and then a deletion.
    let forged = json!({"vhost": "web", "name": "forged", "deletionPolicy": "Delete"});
    estate.synced(&estate.web, "Queue", "forged", forged).await;
    estate.forge("forged").await;

    // Words that stop the operator elsewhere stop nothing here.
    let force = json!({"metadata": {"annotations": {"leveret.dev/force-delete": "true"}}});
    let api = estate.web.api("Queue");
    api.patch("tap", &Default::default(), &Patch::Merge(&force))
        .await
        .expect("an annotation");
    estate.web.delete("Queue", "tap").await;
    estate.web.goes("Queue", "tap", SOON).await;

    // A Broker of its own for the same address: with a guess, and with the other's Secret.
    estate.own_broker().await;

    assert_eq!(estate.inside("shop"), inside);
    assert_eq!(estate.users_of_shop(), users);
    assert_eq!(
        estate.versions().await,
        versions,
        "nothing was written to the first tenant's objects"
    );
    assert!(application.end() > 100);
    for (kind, name, _) in of_shop() {
        estate.shop.becomes(kind, name, "True", "Synced", SOON).await;
    }
}

impl Estate {
    /// Somebody who may write statuses gives a queue of the second tenant the name of the first one's, while nobody
    /// looks, and deletes it.
    async fn forge(&self, name: &str) {
        let api = self.web.api("Queue");
        let status = json!({"status": {"name": "till", "vhost": "shop"}});
        api.patch_status(name, &Default::default(), &Patch::Merge(&status))
            .await
            .expect("a status");
        // An operator that has just been started knows what statuses say, and nothing else.
        let flags = ["--leader-election", "false", "--watch-namespace", &self.names[0]];
        let _another = Operator::start(&self.cluster, &self.names[2], &flags);
        self.web.delete("Queue", name).await;
        self.web.goes("Queue", name, SOON).await;
    }

    async fn own_broker(&self) {
        let address = json!({
            "uri": format!("amqp://{}", self.broker.amqp()),
            "managementUri": format!("http://{}", self.broker.http()),
            "credentialsSecretRef": {"name": "guessed"},
        });
        let guessed = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "guessed", "annotations": {"leveret.dev/broker": "mine"}},
            "stringData": {"username": "guest", "password": "guess"},
        });
        self.web.apply(&guessed).await.expect("a Secret");
        let broker =
            |name: &str, external: &Value| manifest(name, name, json!({"engine": "External", "external": external}));
        let mut mine = broker("mine", &address);
        mine["kind"] = json!("Broker");
        self.web.apply(&mine).await.expect("a Broker");
        let message = self.web.becomes("Broker", "mine", "False", "NotAllowed", SOON).await;
        assert!(message.contains("user and password are not accepted"), "{}", message);
        let theirs = json!({"brokerRef": {"name": "mine"}, "vhost": "shop", "name": "till"});
        self.web
            .apply(&manifest("Queue", "by-mine", theirs))
            .await
            .expect("a Queue");
        self.web
            .becomes("Queue", "by-mine", "Unknown", "WaitingForBroker", SOON)
            .await;

        // A Secret of another namespace has no name here.
        mine["spec"]["external"]["credentialsSecretRef"] = json!({"name": "main-admin", "namespace": self.names[0]});
        let error = self.web.apply(&mine).await.expect_err("no such field");
        assert!(
            error.to_string().contains("credentialsSecretRef.namespace"),
            "{}",
            error
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_narrowed_leaves_what_is_there_and_one_that_is_widened_counts_at_once() {
    let Some(estate) = Estate::new("tenancy-rules").await else {
        return;
    };
    let vhost = json!({"deletionPolicy": "Delete"});
    estate.synced(&estate.web, "Vhost", "web", vhost).await;
    let queue = |name: &str| (name.to_owned(), json!({"vhost": "web", "deletionPolicy": "Delete"}));
    for (name, spec) in ["one", "two", "three"].map(queue) {
        estate.synced(&estate.web, "Queue", &name, spec).await;
    }

    // One too many.
    let (name, spec) = queue("four");
    estate
        .refused(
            "Queue",
            &name,
            spec,
            "objects of kind Queue are limited to 3 (its allowedNamespaces.rules[1].maxObjects)",
        )
        .await;

    // Widened.
    let mut rules = estate.rules();
    rules[1]["maxObjects"] = json!({"Queue": 4});
    estate.allow(&rules).await;
    let changed = std::time::Instant::now();
    estate.web.becomes("Queue", "four", "True", "Synced", SOON).await;
    let took = changed.elapsed();
    println!("Ready {took:?} after the rule was widened");
    assert!(took < Duration::from_secs(1), "{took:?}");

    // Narrowed: what is there stays, isn't put right any more, and says so.
    rules[1]["names"] = json!(["web.*"]);
    estate.allow(&rules).await;
    let message = estate.web.becomes("Queue", "one", "False", "NotAllowed", SOON).await;
    assert!(message.contains("queue 'one' is not one of web.*"), "{}", message);
    assert!(
        message.ends_with("; queue 'one' in vhost 'web' stays on the broker and is not kept as declared"),
        "{}",
        message
    );
    let queues = || estate.http().get("/api/queues/web").as_array().map_or(0, Vec::len);
    assert_eq!(queues(), 4);
    estate.web.delete("Queue", "two").await;
    estate.web.goes("Queue", "two", SOON).await;
    assert_eq!(queues(), 4, "it stays, and an event says so");
    let mut client = Client::connect_to(estate.broker.amqp(), "web");
    client.open_channel(1);
    call!(client, 1, delete("one") => QueueDeleteOk);

    // And widened again: what was deleted by hand meanwhile is back.
    rules[1]["names"] = json!(["*"]);
    estate.allow(&rules).await;
    estate.web.becomes("Queue", "one", "True", "Synced", SOON).await;
    until("the queue is back", SOON, || queues() == 4);

    // No rule at all.
    estate.allow(&json!([rules[0]])).await;
    let message = estate.web.becomes("Queue", "one", "False", "NotAllowed", SOON).await;
    assert!(
        message.contains("none of its allowedNamespaces.rules is for it"),
        "{}",
        message
    );
    estate.shop.becomes("Queue", "till", "True", "Synced", SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_who_share_a_vhost_have_their_names() {
    let Some(estate) = Estate::new("tenancy-shared").await else {
        return;
    };
    let mut rules = estate.rules();
    rules[1]["vhosts"] = json!(["web", "shop"]);
    rules[1]["names"] = json!(["web.*"]);
    estate.allow(&rules).await;
    let spec = |more: Value| {
        let mut spec = json!({"vhost": "shop", "name": "web.q"});
        spec.as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().unwrap_or_default());
        spec
    };
    let application = Application::start(&estate);
    let exchange = "exchange 'orders' is not one of web.*";
    estate
        .refused(
            "Queue",
            "q",
            spec(json!({"name": "tap"})),
            "queue 'tap' is not one of web.*",
        )
        .await;
    estate
        .refused(
            "Queue",
            "dead",
            spec(json!({"deadLetter": {"exchange": "orders"}})),
            exchange,
        )
        .await;
    let to_till = json!({"deadLetter": {"exchange": "", "routingKey": "till"}});
    estate
        .refused("Queue", "dead", spec(to_till), "queue 'till' is not one of web.*")
        .await;
    estate
        .refused("Exchange", "x", spec(json!({"alternateExchange": "orders"})), exchange)
        .await;
    let tap = json!({"vhost": "shop", "source": "orders", "destination": {"queue": "web.q"}});
    estate.refused("Binding", "tap", tap, exchange).await;
    let all = json!({"vhost": "shop", "name": "web.p", "pattern": ".*", "applyTo": "queues", "definition": {"max-length": 0}});
    estate
        .refused("Policy", "p", all, "the pattern '.*' may match other queues than web.*")
        .await;

    let reads_all = json!({"name": "web-spy", "permissions": [{"vhost": "shop", "read": ".*"}]});
    estate
        .refused(
            "User",
            "spy",
            reads_all,
            "the pattern '.*' may match other exchanges than web.*",
        )
        .await;

    let reads_own = json!({"name": "web-app", "permissions": [{"vhost": "shop", "read": "^web\\."}]});
    estate.synced(&estate.web, "User", "app", reads_own).await;
    let own = json!({"vhost": "shop", "name": "web.p", "pattern": "^web\\.", "definition": {"max-length": 9}});
    estate.synced(&estate.web, "Policy", "p", own).await;
    estate
        .synced(
            &estate.web,
            "Queue",
            "mine",
            spec(json!({"deadLetter": {"exchange": "", "routingKey": "web.dead"}})),
        )
        .await;
    assert!(application.end() > 10);
    let till = estate.http().get("/api/queues/shop/till");
    assert_eq!(till["policy"], "bounded");
    // kube::Client is kept until here: the namespaces are deleted with it.
    drop(estate.client);
}
