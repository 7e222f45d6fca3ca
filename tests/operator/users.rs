//! Users: the whole life, from the Secret that is made to the connections that are closed.
//!
//! All of it holds on RabbitMQ 4.3, too (`LEVERET_TEST_AMQP=HOST:PORT`), where changes by hand are noticed by the next
//! list unless its plugin for events is on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::api_server::api_server;
use harness::http::Http;
use harness::operator_process::Operator;
use harness::wait::{eventually_async, until};
use lapin::options::*;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::{Value, json};

use crate::{SOON, Stage, stage, text};

/// The time until a change by hand has been put right, where nothing tells of it.
const NOTICED: Duration = Duration::from_secs(50);

impl Stage {
    /// A User whose name on the broker is unique, with rights on what has a unique name in `/`.
    fn user(&self, name: &str, mut spec: Value) -> Value {
        spec["name"] = json!(self.name(name));
        if spec.get("permissions").is_none() {
            let own = format!("^{}", self.namespace);
            let write = format!("{own}|^amq.default$");
            spec["permissions"] = json!([{"configure": own, "write": write, "read": own}]);
        }
        self.manifest("User", name, spec)
    }

    /// A Secret of the test's own.
    async fn secret(&self, name: &str, values: Value) {
        let manifest = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values});
        self.apply(&manifest).await;
    }

    /// The content of a Secret that the operator has made; `None` while there is none.
    async fn content(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let secret = self.resources.api("Secret").get_opt(name).await.expect("an answer")?;
        let data = secret.data["data"].as_object().expect("data").clone();
        let text = |value: &Value| {
            let bytes = STANDARD.decode(value.as_str().expect("text")).expect("base64");
            String::from_utf8(bytes).expect("UTF-8")
        };
        Some(data.iter().map(|(key, value)| (key.clone(), text(value))).collect())
    }

    /// The user on the broker.
    fn found(&self, name: &str) -> Option<Value> {
        let answer = self
            .http()
            .request("GET", &format!("/api/users/{}", self.name(name)), None);
        (answer.status == 200).then(|| answer.json())
    }

    /// The user's permissions on the broker by vhost: configure, write, read.
    fn permissions(&self, name: &str) -> BTreeMap<String, [String; 3]> {
        let path = format!("/api/users/{}/permissions", self.name(name));
        let answer = self.http().request("GET", &path, None);
        let Value::Array(all) = (if answer.status == 200 { answer.json() } else { json!([]) }) else {
            return BTreeMap::new();
        };
        let rights = |row: &Value| ["/configure", "/write", "/read"].map(|right| text(row, right));
        all.iter().map(|row| (text(row, "/vhost"), rights(row))).collect()
    }

    fn uri(&self, user: &str, password: &str, vhost: &str) -> String {
        let vhost = vhost.replace('/', "%2F");
        format!("amqp://{}:{password}@{}/{vhost}", self.name(user), self.broker.amqp())
    }

    fn logs_in_over_http(&self, user: &str, password: &str) -> bool {
        let http = Http::with_credentials(self.broker.http(), &self.name(user), password);
        http.request("GET", "/api/whoami", None).status == 200
    }

    /// Time until a change by hand is put right.
    fn second(&self) -> Duration {
        match self.broker.is_external() {
            true => NOTICED,
            false => Duration::from_secs(1),
        }
    }

    /// Everything that anybody may read: the operator's log, statuses, events, its metrics.
    async fn all_that_is_said(&self) -> String {
        let mut said = self.operator.log();
        for kind in ["User", "Broker", "Event"] {
            let list = self
                .resources
                .api(kind)
                .list(&Default::default())
                .await
                .expect("a list");
            said.extend(
                list.items
                    .iter()
                    .map(|object| serde_json::to_string(object).expect("JSON")),
            );
        }
        said + &self.operator.serve().request("GET", "/metrics", None).body
    }
}

async fn connect(uri: &str) -> lapin::Result<Connection> {
    Connection::connect(uri, ConnectionProperties::default()).await
}

async fn publish(channel: &Channel, exchange: &str, key: &str, body: &[u8]) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let properties = BasicProperties::default();
    channel
        .basic_publish(exchange.into(), key.into(), options, body, properties)
        .await?
        .await
}

async fn confirming(connection: &Connection) -> Channel {
    let channel = connection.create_channel().await.expect("a channel");
    let confirms = channel.confirm_select(ConfirmSelectOptions::default()).await;
    confirms.expect("confirms");
    channel
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_comes_from_nothing_to_a_message_by_one_apply() {
    let Some(stage) = stage("tenant").await else { return };
    let vhost = stage.name("v");
    let inside = |mut spec: Value| {
        spec["vhost"] = json!(vhost);
        spec
    };
    let everything = json!([{"vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}]);
    let topics = json!([{"vhost": vhost, "exchange": "sales", "write": "^till\\.", "read": ".*"}]);
    // What depends on others comes first.
    let all = [
        stage.manifest(
            "Policy",
            "bounded",
            inside(json!({"pattern": "^till", "definition": {"max-length": 10}})),
        ),
        stage.manifest(
            "Binding",
            "b",
            inside(json!({"source": "sales", "destination": {"queue": "till"}, "routingKey": "till.#"})),
        ),
        stage.user("app", json!({"permissions": everything, "topicPermissions": topics})),
        stage.manifest("Queue", "till", inside(json!({}))),
        stage.manifest("Exchange", "sales", inside(json!({"type": "topic"}))),
        stage.manifest("Vhost", "v", json!({"name": vhost, "deletionPolicy": "Delete"})),
    ];
    futures::future::join_all(all.iter().map(|manifest| stage.apply(manifest))).await;
    for manifest in &all {
        let (kind, name) = (text(manifest, "/kind"), text(manifest, "/metadata/name"));
        stage.resources.becomes(&kind, &name, "True", "Synced", SOON).await;
    }
    let secret = stage.content("app-user").await.expect("the Secret");
    for (key, value) in [
        ("type", "rabbitmq"),
        ("provider", "leveret"),
        ("vhost", &vhost),
        ("username", &stage.name("app")),
    ] {
        assert_eq!(secret[key], value, "{key}");
    }
    let user = stage.resources.api("User").get("app").await.expect("the User");
    assert_eq!(user.data.pointer("/status/binding/name"), Some(&json!("app-user")));
    let connection = connect(&secret["uri"]).await.expect("the uri lets it in");
    let channel = confirming(&connection).await;
    let answer = publish(&channel, "sales", "till.1", b"first").await.expect("a confirm");
    assert!(answer.is_ack() && answer.take_message().is_none(), "it was routed");
    let got = channel.basic_get("till".into(), BasicGetOptions { no_ack: true }).await;
    assert_eq!(got.expect("an answer").expect("the message").delivery.data, b"first");
    let refused = publish(&channel, "sales", "other.1", b"x").await;
    assert!(refused.is_err(), "the key is not among its own: {refused:?}");
    let said = stage.all_that_is_said().await;
    assert!(
        !said.contains(&secret["password"]),
        "the password is nowhere but in its Secret"
    );
    for manifest in &all {
        stage
            .resources
            .delete(&text(manifest, "/kind"), &text(manifest, "/metadata/name"))
            .await;
    }
    stage.resources.goes("User", "app", SOON).await;
    assert_eq!(stage.found("app"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_waits_for_its_virtual_host() {
    let Some(stage) = stage("waits").await else { return };
    let vhost = stage.name("late");
    let both = json!([{"vhost": "/", "read": "^a"}, {"vhost": vhost, "configure": "^b"}]);
    stage.apply(&stage.user("app", json!({"permissions": both}))).await;
    let told = stage
        .resources
        .becomes("User", "app", "Unknown", "WaitingForVhost", SOON)
        .await;
    assert!(told.contains(&vhost), "{told}");
    let made = stage.permissions("app");
    assert_eq!((made.len(), made["/"][2].as_str()), (1, "^a"), "the rest is there");
    let path = format!("/api/vhosts/{vhost}");
    assert_eq!(stage.http().request("PUT", &path, Some(&json!({}))).status, 201);
    let took = until("it has the permission", NOTICED, || {
        stage.permissions("app").contains_key(&vhost)
    });
    assert!(took < stage.second(), "after {took:?}");
    stage.resources.becomes("User", "app", "True", "Synced", SOON).await;
    assert_eq!(stage.http().request("DELETE", &path, None).status, 204);
    stage
        .resources
        .becomes("User", "app", "Unknown", "WaitingForVhost", NOTICED)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_by_hand_is_put_right() {
    let Some(stage) = stage("drift").await else { return };
    let spec = json!({"tags": ["management"], "limits": {"maxConnections": 7}});
    stage.synced(&stage.user("app", spec)).await;
    let (http, user) = (stage.http(), stage.name("app"));
    let password = stage.content("app-user").await.expect("the Secret")["password"].clone();
    assert!(stage.logs_in_over_http("app", &password));
    let repaired = |what: &str, holds: &dyn Fn() -> bool| {
        let took = until(what, NOTICED, holds);
        assert!(took < stage.second(), "{what} after {took:?}");
    };
    let whole = || {
        let found = stage.found("app").unwrap_or_default();
        found["tags"] == json!(["management"])
            && found["limits"] == json!({"max-connections": 7})
            && stage.permissions("app").len() == 1
    };
    assert!(whole());
    let path = format!("/api/users/{user}");
    assert_eq!(http.request("DELETE", &path, None).status, 204);
    repaired("the user is back", &|| {
        whole() && stage.logs_in_over_http("app", &password)
    });
    let permission = format!("/api/permissions/%2F/{user}");
    assert_eq!(http.request("DELETE", &permission, None).status, 204);
    repaired("the permission is back", &whole);
    let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
    assert_eq!(http.request("PUT", &permission, Some(&all)).status, 204);
    repaired("the permission is as declared", &|| {
        !stage.permissions("app")["/"].contains(&".*".to_owned())
    });
    let other = json!({"tags": "administrator", "password": "guessed"});
    assert_eq!(http.request("PUT", &path, Some(&other)).status, 204);
    repaired("tags and password are as declared", &|| {
        whole() && stage.logs_in_over_http("app", &password) && !stage.logs_in_over_http("app", "guessed")
    });
    let limit = format!("/api/user-limits/{user}/max-connections");
    assert_eq!(http.request("PUT", &limit, Some(&json!({"value": 1}))).status, 204);
    repaired("the limit is as declared", &whole);
    stage.resources.becomes("User", "app", "True", "Synced", SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_secret_comes_back_and_follows() {
    let Some(stage) = stage("generated").await else { return };
    stage
        .synced(&stage.user("app", json!({"generatedSecret": {"name": "credentials"}})))
        .await;
    let before = stage.content("credentials").await.expect("the Secret");
    assert_eq!(before["vhost"], "/");
    stage.resources.delete("Secret", "credentials").await;
    let uri = |password: &str| stage.uri("app", password, "/");
    let renewed = || async {
        match stage.content("credentials").await {
            Some(now) if now["password"] != before["password"] => match connect(&now["uri"]).await {
                Ok(connection) => Ok(connection),
                Err(error) => Err(error.to_string()),
            },
            other => Err(format!("{:?}", other.map(|content| content.len()))),
        }
    };
    eventually_async("another password, which lets in", SOON, renewed).await;
    assert!(
        connect(&uri(&before["password"])).await.is_err(),
        "the old one is none any more"
    );
    // Another name, another vhost.
    let two = json!([{"vhost": "/", "read": ".*"}, {"vhost": stage.name("v"), "read": ".*"}]);
    let path = format!("/api/vhosts/{}", stage.name("v"));
    assert_eq!(stage.http().request("PUT", &path, Some(&json!({}))).status, 201);
    let spec = json!({"generatedSecret": {"name": "credentials"}, "permissions": two});
    stage.synced(&stage.user("app", spec)).await;
    let follows = || async {
        match stage.content("credentials").await {
            Some(now) if !now.contains_key("vhost") => Ok(()),
            other => Err(other.map(|content| content.into_keys().collect::<Vec<_>>())),
        }
    };
    eventually_async("the Secret says no vhost", SOON, follows).await;
    stage.secret("taken", json!({"password": "x"})).await;
    stage
        .apply(&stage.user("other", json!({"generatedSecret": {"name": "taken"}})))
        .await;
    let told = stage
        .resources
        .becomes("User", "other", "False", "Conflict", SOON)
        .await;
    assert!(told.contains("Secret taken"), "{told}");
    assert_eq!(stage.content("taken").await.expect("the Secret")["password"], "x");
    assert_eq!(stage.http().request("DELETE", &path, None).status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_under_load_loses_no_message() {
    let Some(stage) = stage("rotation").await else { return };
    stage.synced(&stage.queue("q")).await;
    let user = |stage: &Stage| stage.user("app", json!({"passwordSecretRef": {"name": "brought"}}));
    stage.apply(&user(&stage)).await;
    let told = stage
        .resources
        .becomes("User", "app", "Unknown", "WaitingForSecret", SOON)
        .await;
    assert!(told.contains("brought does not exist"), "{told}");
    stage
        .secret("brought", json!({"username": stage.name("app"), "password": "pass-0"}))
        .await;
    stage.resources.becomes("User", "app", "True", "Synced", SOON).await;
    let connection = connect(&stage.uri("app", "pass-0", "/"))
        .await
        .expect("the first password lets in");
    let channel = confirming(&connection).await;
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (queue, stopped, count) = (stage.name("q"), Arc::clone(&stop), Arc::clone(&sent));
    let load = tokio::spawn(async move {
        while !stopped.load(Ordering::SeqCst) {
            let answer = publish(&channel, "", &queue, b"m").await.expect("the connection stays");
            assert!(answer.is_ack(), "{answer:?}");
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    for round in 1..=3 {
        let (old, new) = (format!("pass-{}", round - 1), format!("pass-{round}"));
        stage
            .secret("brought", json!({"username": stage.name("app"), "password": new}))
            .await;
        let uri = stage.uri("app", &new, "/");
        let lets_in = || async {
            let connected = connect(&uri).await.map_err(|error| error.to_string())?;
            connected
                .close(200, "bye".into())
                .await
                .map_err(|error| error.to_string())
        };
        eventually_async("the new password lets in", SOON, lets_in).await;
        assert!(
            connect(&stage.uri("app", &old, "/")).await.is_err(),
            "the old one is none any more"
        );
    }
    let before = sent.load(Ordering::SeqCst);
    until("messages are still taken", SOON, || {
        sent.load(Ordering::SeqCst) > before + 10
    });
    stop.store(true, Ordering::SeqCst);
    load.await.expect("the load ends well");
    let (http, path) = (stage.http(), format!("/api/queues/%2F/{}/get", stage.name("q")));
    let body = json!({"count": 1_000_000, "ackmode": "ack_requeue_false", "encoding": "auto"});
    let got = http.request("POST", &path, Some(&body)).json();
    assert_eq!(got.as_array().map(Vec::len), Some(sent.load(Ordering::SeqCst)));
    let said = stage.all_that_is_said().await;
    assert!(
        (0..4).all(|round| !said.contains(&format!("pass-{round}"))),
        "a password was told"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_operator_writes_nothing_again() {
    let Some(mut stage) = stage("again").await else { return };
    let Some(cluster) = api_server() else { return };
    stage.secret("brought", json!({"password": "geheim"})).await;
    stage.synced(&stage.user("one", json!({}))).await;
    stage
        .synced(&stage.user("two", json!({"passwordSecretRef": {"name": "brought"}})))
        .await;
    let account = json!({"name": "till", "namespace": stage.namespace});
    let spec = json!({"serviceAccount": account, "permissions": [{"read": "^a"}]});
    stage.synced(&stage.manifest("User", "three", spec)).await;
    let hashes =
        |stage: &Stage| ["one", "two"].map(|name| stage.found(name).expect("the user")["password_hash"].clone());
    if !stage.broker.is_external() {
        let form = |name: &str| stage.found(name).expect("the user")["hashing_algorithm"].clone();
        assert_eq!(form("one"), "rabbit_password_hashing_sha256", "nobody can guess it");
        assert_eq!(form("two"), "argon2id", "somebody may have chosen it");
    }
    let before = (hashes(&stage), stage.content("one-user").await, versions(&stage).await);
    assert!(stage.operator.terminate(SOON).success());
    stage.operator = Operator::start(&cluster, &stage.namespace, &["--leader-election", "false"]);
    stage.synced(&stage.queue("q")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        (hashes(&stage), stage.content("one-user").await, versions(&stage).await),
        before
    );
    let calls = stage.operator.serve().request("GET", "/metrics", None).body;
    assert!(!calls.contains("operation=\"put_user\""), "{calls}");
    let path = format!("/api/users/system:serviceaccount:{}:till", stage.namespace);
    let account = stage.http().get(&path);
    assert_eq!(
        (
            account["password_hash"].as_str(),
            account["tags"].as_array().map(Vec::len)
        ),
        (Some(""), Some(0))
    );
}

/// The Users with their versions, and all else, so that a difference shows what was written.
async fn versions(stage: &Stage) -> Vec<String> {
    let users = stage
        .resources
        .api("User")
        .list(&Default::default())
        .await
        .expect("a list");
    let json = |user| serde_json::to_string(user).expect("an object is JSON");
    users.items.iter().map(json).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_of_two_has_the_user() {
    let Some(stage) = stage("two-users").await else { return };
    let named = |name: &str| {
        let mut user = stage.user(name, json!({}));
        user["spec"]["name"] = json!(stage.name("shared"));
        user
    };
    stage.synced(&named("older")).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    stage.apply(&named("younger")).await;
    let told = stage
        .resources
        .becomes("User", "younger", "False", "Conflict", SOON)
        .await;
    assert!(told.contains("older"), "{told}");
    stage.resources.delete("User", "younger").await;
    stage.resources.goes("User", "younger", SOON).await;
    assert!(stage.found("shared").is_some());
    // The operator's own user is nobody's.
    let mut own = stage.user("own", json!({}));
    own["spec"]["name"] = json!("guest");
    stage.apply(&own).await;
    let told = stage
        .resources
        .becomes("User", "own", "False", "NotAllowed", SOON)
        .await;
    assert!(told.contains("the operator's own"), "{told}");
    stage.resources.delete("User", "own").await;
    stage.resources.goes("User", "own", SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_was_there_before_is_taken_over_only_if_it_is_the_same() {
    let Some(stage) = stage("adopted-user").await else {
        return;
    };
    let path = format!("/api/users/{}", stage.name("app"));
    let theirs = json!({"tags": "monitoring", "password": "theirs"});
    assert_eq!(stage.http().request("PUT", &path, Some(&theirs)).status, 201);
    stage.apply(&stage.user("app", json!({}))).await;
    let told = stage.resources.becomes("User", "app", "False", "Mismatch", SOON).await;
    assert!(
        told.contains("its password is another") && told.contains("tags"),
        "{told}"
    );
    assert!(stage.logs_in_over_http("app", "theirs"), "it is left alone");
    stage
        .synced(&stage.user("app", json!({"adoptionPolicy": "Always"})))
        .await;
    let mine = stage.content("app-user").await.expect("the Secret");
    connect(&mine["uri"]).await.expect("it is this resource's now");
    let retained = json!({"adoptionPolicy": "Always", "deletionPolicy": "Retain"});
    stage.synced(&stage.user("app", retained)).await;
    stage.resources.delete("User", "app").await;
    stage.resources.goes("User", "app", SOON).await;
    assert!(stage.found("app").is_some(), "it stays");
    assert_eq!(stage.http().request("DELETE", &path, None).status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_is_logged_out() {
    let Some(stage) = stage("logged-out").await else { return };
    stage.synced(&stage.user("app", json!({}))).await;
    let secret = stage.content("app-user").await.expect("the Secret");
    let connection = connect(&secret["uri"]).await.expect("it lets in");
    let (user, made) = (
        stage.resources.api("User").get("app").await,
        stage.resources.api("Secret").get("app-user").await,
    );
    let owners = made.expect("the Secret").metadata.owner_references.unwrap_or_default();
    let uid = user.expect("the User").metadata.uid.expect("an object has one");
    assert!(
        owners.iter().any(|owner| owner.uid == uid),
        "the Secret goes with its User: {owners:?}"
    );
    stage.resources.delete("User", "app").await;
    stage.resources.goes("User", "app", SOON).await;
    assert_eq!(stage.found("app"), None);
    until("the connection is closed", SOON, || !connection.status().connected());
}

/// A pattern that is none is told in the broker's words, and the user that was half made goes with its resource.
#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_the_broker_refuses_says_why() {
    let Some(stage) = stage("refused-right").await else {
        return;
    };
    let bad = json!([{"configure": "(", "write": "", "read": ""}]);
    stage.apply(&stage.user("app", json!({"permissions": bad}))).await;
    let told = stage
        .resources
        .becomes("User", "app", "False", "InvalidArgument", SOON)
        .await;
    assert!(told.contains("400"), "{told}");
    stage.resources.delete("User", "app").await;
    stage.resources.goes("User", "app", SOON).await;
    assert_eq!(stage.found("app"), None);
}
