//! Users, permissions and topic permissions of that operator: from the Secret to the 403.
//!
//! All of it holds on RabbitMQ 4.3, too (`LEVERET_TEST_AMQP=HOST:PORT`), where a change by hand is noticed by the next
//! list unless its plugin for events is on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::http::Http;
use harness::operator_process::Operator;
use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};

use super::*;
use crate::text;

/// The time in which something is done after what it has waited for has come: milliseconds, on an idle machine.
const AT_ONCE: Duration = Duration::from_secs(5);

const OTHER: &str = "messaging-topology-operator";

impl Stage {
    /// The content of a Secret.
    async fn login(&self, name: &str) -> BTreeMap<String, String> {
        let secret = self.resources.api("Secret").get(name).await.expect("the Secret");
        let data = secret.data["data"].as_object().expect("data").clone();
        let text = |value: &Value| {
            let bytes = STANDARD.decode(value.as_str().expect("text")).expect("base64");
            String::from_utf8(bytes).expect("UTF-8")
        };
        data.iter().map(|(key, value)| (key.clone(), text(value))).collect()
    }

    async fn secret_of_mine(&self, name: &str, values: Value) {
        let manifest = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values});
        self.apply(&manifest).await;
    }

    /// Logs in over AMQP.
    async fn enter(&self, user: &str, password: &str, vhost: &str) -> lapin::Result<Connection> {
        let vhost = vhost.replace('/', "%2F");
        let uri = format!("amqp://{user}:{password}@{}/{vhost}", self.broker.amqp());
        Connection::connect(&uri, ConnectionProperties::default()).await
    }

    fn is_let_in(&self, user: &str, password: &str) -> bool {
        let http = Http::with_credentials(self.broker.http(), user, password);
        http.request("GET", "/api/whoami", None).status == 200
    }

    /// Permissions on the broker: configure, write and read by virtual host.
    fn rights(&self, user: &str) -> BTreeMap<String, [String; 3]> {
        let answer = self
            .http()
            .request("GET", &format!("/api/users/{user}/permissions"), None);
        let Value::Array(all) = (if answer.status == 200 { answer.json() } else { json!([]) }) else {
            return BTreeMap::new();
        };
        let rights = |row: &Value| ["/configure", "/write", "/read"].map(|right| text(row, right));
        all.iter().map(|row| (text(row, "/vhost"), rights(row))).collect()
    }

    async fn becomes_so(&self, what: &str, is_so: impl Fn() -> bool) -> Duration {
        let ask = || async { if is_so() { Ok(()) } else { Err("not yet") } };
        eventually_async(what, SOON, ask).await.1
    }

    /// Makes a user by hand.
    fn put_user(&self, name: &str, password: &str) {
        let body = json!({"password": password, "tags": "management"});
        let answer = self.http().request("PUT", &format!("/api/users/{name}"), Some(&body));
        assert!(matches!(answer.status, 201 | 204), "{}", answer.body);
    }

    fn permit(&self, name: &str, vhost: &str, read: &str) {
        let body = json!({"configure": "", "write": "", "read": read});
        let path = format!("/api/permissions/{}/{name}", vhost.replace('/', "%2F"));
        let answer = self.http().request("PUT", &path, Some(&body));
        assert!(matches!(answer.status, 201 | 204), "{}", answer.body);
    }

    /// The words of an object while it is not made.
    async fn theirs_say(&self, kind: &str, name: &str, words: &str) {
        let ask = || async {
            let object = self.theirs(kind).get(name).await.map_err(|error| error.to_string())?;
            let ready = object.data.pointer("/status/conditions/0").cloned().unwrap_or_default();
            match text(&ready, "/message").contains(words) && ready["reason"] == NOT_DONE {
                true => Ok(()),
                false => Err(ready.to_string()),
            }
        };
        eventually_async(&format!("{kind} {name} says {words}"), SOON, ask).await;
    }

    /// Versions of objects: none changes while nothing is written.
    async fn versions(&self, of: &[(&str, &str)]) -> Vec<String> {
        let mut versions = Vec::new();
        for (kind, name) in of {
            let object = match *kind {
                "Secret" => self.resources.api(kind).get(name).await,
                kind => self.theirs(kind).get(name).await,
            };
            let metadata = object.expect("it is there").metadata;
            versions.push(metadata.resource_version.expect("a version"));
        }
        versions
    }

    /// An object as that operator has left it.
    async fn left_by_them(&self, kind: &str, name: &str, spec: Value, status: Value) -> DynamicObject {
        let mut theirs = manifest(kind, name, spec);
        let plural = format!("{}s", kind.to_lowercase());
        theirs["metadata"]["finalizers"] = json!([format!("deletion.finalizers.{plural}.rabbitmq.com")]);
        let parameters = PatchParams::apply(OTHER).force();
        let api = self.theirs(kind);
        let object = api.patch(name, &parameters, &Patch::Apply(theirs)).await;
        let mut status = json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "status": status});
        status["status"]["observedGeneration"] = json!(1);
        status["status"]["conditions"] = json!([{"type": "Ready", "status": "True", "reason": DONE,
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let written = api.patch_status(name, &parameters, &Patch::Apply(status)).await;
        written.expect("a status");
        object.expect("it is applied")
    }
}

/// The code with which a channel was closed.
fn code<T: std::fmt::Debug>(result: lapin::Result<T>) -> u16 {
    let error = result.expect_err("it is refused");
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => error.get_id(),
        other => panic!("{other:?}"),
    }
}

async fn declares(connection: &Connection, queue: &str) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
    declared.await.map(|_| ())
}

async fn publishes(connection: &Connection, exchange: &str, key: &str) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let confirm = channel.basic_publish(exchange.into(), key.into(), options, b"x", properties);
    confirm.await?.await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_its_rights_from_nothing_to_the_last_one_gone() {
    let Some(mut stage) = their_stage("theirs-user").await else {
        return;
    };
    let vhost = stage.name("v");
    let of_app = |mut spec: Value| {
        spec["userReference"] = json!({"name": "app"});
        spec["vhost"] = json!(vhost);
        spec
    };
    // In the order that needs the most waiting.
    let topic = of_app(json!({"permissions": {"exchange": "x", "write": "^own\\.", "read": ""}}));
    let rights = of_app(json!({"permissions": {"configure": "^own", "write": "^x$", "read": "^own"}}));
    stage.apply_theirs("TopicPermission", "app", topic).await;
    stage.apply_theirs("Permission", "app", rights).await;
    for kind in ["TopicPermission", "Permission"] {
        stage
            .theirs_say(kind, "app", "WaitingForUser: the User 'app' does not exist")
            .await;
    }
    let inside = json!({"name": "x", "vhost": vhost, "type": "topic", "durable": true});
    stage.apply_theirs("Exchange", "x", inside).await;
    stage.apply_theirs("Vhost", "v", json!({"name": vhost})).await;
    stage.theirs_become("Exchange", "x", DONE).await;
    let user = json!({"tags": ["management"], "limits": {"connections": 7, "channels": 70}});
    stage.apply_theirs("User", "app", user).await;
    let user = stage.theirs_become("User", "app", DONE).await;
    let since = Instant::now();
    for (kind, plural) in [
        ("Permission", "permissions"),
        ("TopicPermission", "topicpermissions"),
        ("User", "users"),
    ] {
        let object = stage.theirs_become(kind, "app", DONE).await;
        let finalizers = object.metadata.finalizers.unwrap_or_default();
        assert_eq!(finalizers, [format!("deletion.finalizers.{plural}.rabbitmq.com")]);
        let fields = object.data["status"].as_object().map(|fields| fields.len());
        assert_eq!(fields, Some(if kind == "User" { 4 } else { 2 }), "{}", object.data);
    }
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    // The Secret is as that operator makes it, and goes with its User.
    let login = stage.login("app-user-credentials").await;
    assert_eq!(login.keys().collect::<Vec<_>>(), ["password", "username"]);
    let (name, password) = (login["username"].clone(), login["password"].clone());
    let status = &user.data["status"];
    assert_eq!(
        (&status["username"], &status["credentials"]),
        (&json!(name), &json!({"name": "app-user-credentials"}))
    );
    let secret = stage
        .resources
        .api("Secret")
        .get("app-user-credentials")
        .await
        .expect("it");
    let owner = secret
        .metadata
        .owner_references
        .unwrap_or_default()
        .pop()
        .expect("an owner");
    assert_eq!((owner.kind.as_str(), Some(owner.uid)), ("User", user.metadata.uid));
    // It holds.
    let found = stage.http().get(&format!("/api/users/{name}"));
    assert_eq!(
        (&found["tags"], &found["limits"]),
        (
            &json!(["management"]),
            &json!({"max-connections": 7, "max-channels": 70})
        )
    );
    let connection = stage.enter(&name, &password, &vhost).await.expect("it is let in");
    declares(&connection, "own-queue").await.expect("its own");
    assert_eq!(code(declares(&connection, "other").await), 403);
    publishes(&connection, "x", "own.1").await.expect("its own key");
    assert_eq!(code(publishes(&connection, "x", "other.1").await), 403);
    assert_eq!(code(publishes(&connection, "amq.topic", "own.1").await), 403);
    // An operator that starts anew writes nothing.
    let all = [
        ("User", "app"),
        ("Permission", "app"),
        ("TopicPermission", "app"),
        ("Secret", "app-user-credentials"),
    ];
    let before = stage.versions(&all).await;
    stage.operator.terminate(SOON);
    let Some(cluster) = api_server() else { return };
    stage.operator = Operator::start(&cluster, &stage.namespace, &["--leader-election", "false", FLAG]);
    stage.resources.becomes("Broker", "main", "True", "Synced", SOON).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.versions(&all).await, before);
    // Changed by hand.
    let path = format!("/api/permissions/{vhost}/{name}");
    assert_eq!(stage.http().request("DELETE", &path, None).status, 204);
    stage.answers(&path, 200).await;
    // Edited.
    let less = of_app(json!({"permissions": {"configure": "", "write": "", "read": ""}}));
    stage.apply_theirs("Permission", "app", less).await;
    stage
        .becomes_so("it has lost its rights", || {
            stage
                .rights(&name)
                .get(&vhost)
                .is_some_and(|rights| rights.iter().all(String::is_empty))
        })
        .await;
    // The user goes first, and what is left of its rights is never stuck.
    stage.theirs_go("User", "app").await;
    stage.answers(&format!("/api/users/{name}"), 404).await;
    stage
        .theirs_say("Permission", "app", "WaitingForUser: the User 'app' does not exist")
        .await;
    stage.theirs_go("Vhost", "v").await;
    for (kind, name) in [("Permission", "app"), ("TopicPermission", "app"), ("Exchange", "x")] {
        stage.theirs_go(kind, name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_nobody_declares_keeps_all_its_other_rights() {
    let Some(stage) = their_stage("theirs-foreign").await else {
        return;
    };
    let (user, vhost) = (stage.name("till"), stage.name("v"));
    stage.apply_theirs("Vhost", "v", json!({"name": vhost})).await;
    stage.theirs_become("Vhost", "v", DONE).await;
    let spec = |read: &str| json!({"user": user, "vhost": vhost, "permissions": {"read": read}});
    stage.apply_theirs("Permission", "old", spec("^a")).await;
    let missing = format!("WaitingForUser: user '{user}' does not exist");
    stage.theirs_say("Permission", "old", &missing).await;
    stage.put_user(&user, "geheim");
    stage.permit(&user, "/", ".*");
    stage.theirs_become("Permission", "old", DONE).await;
    let both = || {
        let right = |read: &str| ["", "", read].map(str::to_owned);
        BTreeMap::from([("/".to_owned(), right(".*")), (vhost.clone(), right("^a"))])
    };
    assert_eq!(stage.rights(&user), both());
    // A second one for the same: the older counts, and is named.
    tokio::time::sleep(Duration::from_millis(1100)).await; // creation times have a resolution of one second
    stage.apply_theirs("Permission", "a-young", spec("^b")).await;
    let winner = format!(
        "belongs to Permission.rabbitmq.com {}/old, which is older",
        stage.namespace
    );
    stage.theirs_say("Permission", "a-young", &winner).await;
    assert_eq!(stage.rights(&user), both());
    stage.theirs_go("Permission", "old").await;
    stage.theirs_become("Permission", "a-young", DONE).await;
    assert_eq!(stage.rights(&user)[&vhost], ["", "", "^b"].map(str::to_owned));
    // Who declares the user with all its rights gives it none that others declare.
    let own = json!({"name": user, "passwordHash": {"value": ""}, "adoptionPolicy": "Always"});
    stage.synced(&stage.manifest("User", "own", own)).await;
    let winner = format!("belongs to User {}/own", stage.namespace);
    stage.theirs_say("Permission", "a-young", &winner).await;
    stage
        .becomes_so("it has no rights", || stage.rights(&user).is_empty())
        .await;
    stage.resources.delete("User", "own").await;
    stage.resources.goes("User", "own", SOON).await;
    stage.theirs_say("Permission", "a-young", &missing).await;
    stage.put_user(&user, "geheim");
    stage.permit(&user, "/", ".*");
    stage.theirs_become("Permission", "a-young", DONE).await;
    // It goes alone.
    stage.theirs_go("Permission", "a-young").await;
    assert_eq!(stage.rights(&user).into_keys().collect::<Vec<_>>(), ["/"]);
    // With its virtual host gone, or its user, nothing is stuck.
    for gone in [format!("/api/vhosts/{vhost}"), format!("/api/users/{user}")] {
        let is_there = stage.http().request("GET", &gone, None).status == 200;
        assert!(is_there, "{gone}");
        stage.apply_theirs("Permission", "last", spec("^a")).await;
        stage.theirs_become("Permission", "last", DONE).await;
        stage.theirs("Vhost").delete("v", &DeleteParams::default()).await.ok();
        stage.http().request("DELETE", &gone, None);
        stage.theirs_go("Permission", "last").await;
        stage
            .becomes_so("the Vhost is gone", || {
                stage
                    .http()
                    .request("GET", &format!("/api/vhosts/{vhost}"), None)
                    .status
                    == 404
            })
            .await;
        stage.apply_theirs("Vhost", "v", json!({"name": vhost})).await;
        stage.theirs_become("Vhost", "v", DONE).await;
    }
    stage.theirs_go("Vhost", "v").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_brings_its_name_and_its_password() {
    let Some(stage) = their_stage("theirs-import").await else {
        return;
    };
    let name = stage.name("Till");
    let rights = json!({"userReference": {"name": "till"}, "vhost": "/", "permissions": {"read": "^a"}});
    stage.apply_theirs("Permission", "till", rights).await;
    stage
        .apply_theirs(
            "User",
            "till",
            json!({"importCredentialsSecret": {"name": "mine"}, "tags": ["management"]}),
        )
        .await;
    let missing = format!("WaitingForSecret: Secret {}/mine does not exist", stage.namespace);
    stage.theirs_say("User", "till", &missing).await;
    stage
        .secret_of_mine("mine", json!({"username": name, "password": "geheim"}))
        .await;
    let since = Instant::now();
    let user = stage.theirs_become("User", "till", DONE).await;
    stage.theirs_become("Permission", "till", DONE).await;
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    let status = &user.data["status"];
    assert_eq!(
        (&status["username"], &status["credentials"]["name"]),
        (&json!(name), &json!("mine"))
    );
    assert!(stage.is_let_in(&name, "geheim"));
    assert_eq!(stage.rights(&name)["/"], ["", "", "^a"].map(str::to_owned));
    // Rotated.
    stage
        .secret_of_mine("mine", json!({"username": name, "password": "neu"}))
        .await;
    stage
        .becomes_so("the password is the new one", || stage.is_let_in(&name, "neu"))
        .await;
    assert!(!stage.is_let_in(&name, "geheim"));
    // By its hash alone: SHA-512 of the salt abcd and "geheim", as that operator has it.
    let hash = "YWJjZIMeO5mb3SI77j+SXDjzDyEhL2GxQ/wF7suh87WgWm9DTrQGl++0NHR848M5pFcLQDqsfdqcEhMrmLHA5xApCuY=";
    stage
        .secret_of_mine("mine", json!({"username": name, "passwordHash": hash}))
        .await;
    stage
        .becomes_so("the hash is there", || {
            let user = stage.http().get(&format!("/api/users/{name}"));
            user["hashing_algorithm"] == "rabbit_password_hashing_sha512"
        })
        .await;
    assert!(stage.is_let_in(&name, "geheim"));
    stage.theirs_go("User", "till").await;
    stage.answers(&format!("/api/users/{name}"), 404).await;
    stage.theirs_go("Permission", "till").await;
    let secret = stage.resources.api("Secret").get("mine").await;
    assert!(secret.is_ok(), "it was brought, and stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_to_this_operator_and_back_leaves_passwords_alone() {
    let Some(cluster) = api_server() else { return };
    cluster.install(&cluster.client().await, &definitions()).await;
    let start = |cluster: &harness::api_server::ApiServer, namespace: &str, arguments: &[&str]| {
        Operator::start(cluster, namespace, arguments)
    };
    let Some(mut stage) = stage_by("theirs-switch", &[], start).await else {
        return;
    };
    stage.operator.terminate(SOON);
    // As that operator has left it.
    let name = stage.name("x1y2z3");
    stage.put_user(&name, "precious");
    stage.permit(&name, "/", "^a");
    let status = json!({"username": name, "credentials": {"name": "app-user-credentials"}});
    let user = stage
        .left_by_them("User", "app", json!({"tags": ["management"]}), status.clone())
        .await;
    let rights = json!({"userReference": {"name": "app"}, "vhost": "/", "permissions": {"read": "^a"}});
    stage.left_by_them("Permission", "app", rights, json!({})).await;
    let owner = json!({"apiVersion": API_VERSION, "kind": "User", "name": "app", "uid": user.metadata.uid,
        "controller": true, "blockOwnerDeletion": false});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {
        "name": "app-user-credentials", "labels": {"rabbitmq.com/topology-operator": "true"}, "ownerReferences": [owner]},
        "stringData": {"username": name, "password": "precious"}});
    stage.apply(&secret).await;
    let login = stage.login("app-user-credentials").await;
    let objects = [("User", "app"), ("Permission", "app")];
    let before = stage.versions(&objects).await;
    let arguments = ["--leader-election", "false", FLAG];
    stage.operator = Operator::start(&cluster, &stage.namespace, &arguments);
    stage.resources.becomes("Broker", "main", "True", "Synced", SOON).await;
    // It is theirs, and is put right when it is changed by hand.
    let path = format!("/api/permissions/%2F/{name}");
    assert_eq!(stage.http().request("DELETE", &path, None).status, 204);
    stage.answers(&path, 200).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.versions(&objects).await, before, "nothing is written anew");
    assert_eq!(stage.login("app-user-credentials").await, login);
    assert!(stage.is_let_in(&name, "precious"));
    let with_labels = stage.versions(&[("Secret", "app-user-credentials")]).await;
    stage.operator.terminate(SOON);
    stage.operator = Operator::start(&cluster, &stage.namespace, &arguments);
    stage.resources.becomes("Broker", "main", "True", "Synced", SOON).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let later = stage.versions(&[("Secret", "app-user-credentials")]).await;
    assert_eq!(later, with_labels, "its labels are given it once");
    // Back: all that the other operator looks at is as it was.
    stage.operator.terminate(SOON);
    let user = stage.theirs("User").get("app").await.expect("it is there");
    let now = &user.data["status"];
    assert_eq!(
        (&now["username"], &now["credentials"]),
        (&status["username"], &status["credentials"])
    );
    let finalizers = user.metadata.finalizers.unwrap_or_default();
    assert_eq!(finalizers, ["deletion.finalizers.users.rabbitmq.com"]);
    let kept = stage
        .resources
        .api("Secret")
        .get("app-user-credentials")
        .await
        .expect("it is there");
    let labels = kept.metadata.labels.unwrap_or_default();
    assert_eq!(
        labels.get("rabbitmq.com/topology-operator").map(String::as_str),
        Some("true")
    );
    // And deleted by this one, what that one has made goes.
    stage.operator = Operator::start(&cluster, &stage.namespace, &arguments);
    stage.theirs_go("Permission", "app").await;
    stage.answers(&path, 404).await;
    stage.theirs_go("User", "app").await;
    stage.answers(&format!("/api/users/{name}"), 404).await;
}
