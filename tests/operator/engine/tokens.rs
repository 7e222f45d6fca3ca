//! Pods log in with the tokens of their service accounts at a broker that was told nothing but its YAML.
//!
//! In: a Broker with `serviceAccountTokens`, a User with `serviceAccount`. Out: the files that a pod of the broker
//! would have, a broker that runs with them, and who gets in. The cluster's keys are those of a real API server.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use harness::api_server::{OwnApiServer, Resources};
use harness::kubectl::Tools;
use harness::requests::{declare, start_ok};
use harness::{Broker, call, expect};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::{Bare, Companion, bare, main_broker, operator};
use crate::{SOON, manifest, text};

const KEYS: &str = "/data/service-account-keys.json";
const DISCOVERY: &str = "system:service-account-issuer-discovery";

/// Ids of the keys in the ConfigMap.
fn ids(map: &Value) -> BTreeSet<String> {
    let Some(file) = map.pointer(KEYS).and_then(Value::as_str) else {
        return BTreeSet::new();
    };
    let set: Value = serde_json::from_str(file).expect("JSON");
    let keys = set["keys"].as_array().expect("keys");
    keys.iter().map(|key| text(key, "/kid").to_owned()).collect()
}

/// A broker with the files of a pod, at other places: addresses are those of the test.
fn as_generated(map: &Value) -> Companion {
    Companion::start_with(|user, password| {
        let folder = user.trim_end_matches("/username");
        let settings = text(map, "/data/leveret.toml").replace("/etc/leveret/config", folder);
        let file = format!("{folder}/leveret.toml");
        fs::write(&file, settings).expect("a file");
        fs::write(format!("{folder}/service-account-keys.json"), text(map, KEYS)).expect("a file");
        let flags = [
            "--config",
            &file,
            "--admin-user-file",
            user,
            "--admin-password-file",
            password,
        ];
        Broker::start_with(&[&flags[..], &["--prometheus-listen", "127.0.0.1:0"]].concat())
    })
}

async fn account(bare: &Bare, name: &str) {
    let account = serde_json::from_value(json!({"metadata": {"name": name}})).expect("an account");
    let accounts: Api<ServiceAccount> = bare.api();
    accounts.create(&PostParams::default(), &account).await.expect("made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_a_service_account_logs_in_with_nothing_but_yaml() {
    let Some(bare) = bare("tokens").await else { return };
    for name in ["orders", "stranger"] {
        account(&bare, name).await;
    }
    let spec = json!({"settings": {"heartbeat": "20s"}, "serviceAccountTokens": {}});
    bare.apply(&main_broker(spec.clone())).await;
    let map = bare.finds::<ConfigMap>("main-config", |map| !ids(map).is_empty()).await;
    let set = bare.finds::<StatefulSet>("main", |_| true).await;
    let companion = as_generated(&map);
    bare.apply(&companion.manifest(spec)).await;
    companion.takes(&bare.password("").await);
    bare.pod_says(json!({"conditions": [{"type": "Ready", "status": "True"}]}))
        .await;
    let rights = json!([{"configure": "^orders", "write": "^orders", "read": "^orders"}]);
    let user = json!({"brokerRef": {"name": "main"}, "permissions": rights,
        "serviceAccount": {"name": "orders", "namespace": bare.namespace}});
    bare.apply(&manifest("User", "orders", user)).await;
    bare.resources.becomes("User", "orders", "True", "Synced", SOON).await;

    let own = format!("main.{}.svc", bare.namespace);
    let (cluster, client, namespace) = (&bare.cluster, &bare.client, &bare.namespace);
    let projected = cluster.token(client, namespace, "orders", Some(&own)).await;
    let begun = |token: &str| {
        let mut client = harness::Client::raw(companion.broker.amqp());
        client.start();
        client.send(0, start_ok("PLAIN", format!("\0\0{token}").as_bytes()));
        client
    };
    let mut pod = begun(&projected);
    let tune = expect!(pod, 0, ConnectionTune);
    pod.accept(&tune);
    pod.open("/");
    pod.open_channel(1);
    call!(pod, 1, declare("orders") => QueueDeclareOk);
    // One without a User, one for the API server, one for another broker.
    for (account, audience) in [
        ("stranger", Some(own.as_str())),
        ("orders", None),
        ("orders", Some("leveret")),
    ] {
        let token = cluster.token(client, namespace, account, audience).await;
        let text = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.";
        begun(&token).connection_error(403, text);
    }

    // What does not go together is said, and what runs goes on.
    let refused = json!({"serviceAccountTokens": {}, "settings": {"auth_backends": ["internal"]}});
    bare.apply(&companion.manifest(refused)).await;
    let message = bare.broker_becomes("False", "InvalidArgument").await;
    assert_eq!(
        message,
        "settings.auth_backends: serviceAccountTokens needs oauth2 in it"
    );
    assert_eq!(
        bare.finds::<ConfigMap>("main-config", |_| true).await["data"],
        map["data"]
    );
    // Without them there is no file.
    bare.apply(&companion.manifest(json!({}))).await;
    let none = |map: &Value| ids(map).is_empty() && !text(map, "/data/leveret.toml").contains("oauth2");
    bare.finds::<ConfigMap>("main-config", none).await;
    let mark = "/spec/template/metadata/annotations/leveret.dev~1settings";
    let other = |now: &Value| text(now, mark) != text(&set, mark);
    bare.finds::<StatefulSet>("main", other).await; // a process that runs doesn't take them by itself
}

/// An operator of few rights, on a control plane of its own.
async fn bounded(plane: &OwnApiServer, tools: &Tools) -> Bare {
    let client = plane.cluster.client().await;
    let namespace = plane.cluster.namespace(&client, "keys").await;
    let all = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let (group, kind) = ("rbac.authorization.k8s.io/v1", "ServiceAccount");
    tools.apply(
        &namespace,
        &[
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "operator", "namespace": namespace}}),
            json!({"apiVersion": group, "kind": "ClusterRole", "metadata": {"name": "operator"}, "rules": all}),
            json!({"apiVersion": group, "kind": "ClusterRoleBinding", "metadata": {"name": "operator"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "operator"},
                "subjects": [{"kind": kind, "name": "operator", "namespace": namespace}]}),
        ],
        &[],
    );
    let account = tools.as_account(&namespace, "operator");
    Bare {
        operator: operator(&account, &namespace, "leveret:test"),
        cluster: plane.cluster.clone(),
        resources: Resources::new(&client, &namespace),
        client,
        namespace,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_follow_the_api_server_and_a_right_that_is_missing_is_said() {
    let Some(plane) = OwnApiServer::start("keys") else {
        return;
    };
    let tools = Tools::at(plane.cluster.clone());
    // A cluster that gives the keys to nobody who isn't named.
    let bindings: Api<ClusterRoleBinding> = Api::all(plane.cluster.client().await);
    let usual = bindings.get(DISCOVERY).await.expect("the usual binding");
    bindings
        .delete(DISCOVERY, &DeleteParams::default())
        .await
        .expect("deleted");
    let mut bare = bounded(&plane, &tools).await;
    bare.apply(&main_broker(json!({}))).await;
    let before = bare.finds::<ConfigMap>("main-config", |_| true).await;
    bare.apply(&main_broker(json!({"serviceAccountTokens": {}}))).await;
    let message = bare.broker_becomes("False", "NotAllowed").await;
    let account = format!("system:serviceaccount:{}:operator", bare.namespace);
    let words = [
        "the cluster's keys for serviceAccountTokens can't be read: /.well-known/openid-configuration: ",
        &format!("User \"{account}\" cannot get path \"/.well-known/openid-configuration\""),
        "; the ClusterRole system:service-account-issuer-discovery gives the operator that right",
    ];
    assert!(words.iter().all(|words| message.contains(words)), "{message}");
    let map = bare.finds::<ConfigMap>("main-config", |_| true).await;
    assert_eq!(map["data"], before["data"], "what runs goes on");

    let subject = json!({"kind": "ServiceAccount", "name": "operator", "namespace": bare.namespace});
    let named = ClusterRoleBinding {
        metadata: serde_json::from_value(json!({"name": DISCOVERY})).expect("metadata"),
        subjects: Some(vec![serde_json::from_value(subject).expect("a subject")]),
        ..usual
    };
    bindings.create(&PostParams::default(), &named).await.expect("made");
    let map = bare.finds::<ConfigMap>("main-config", |map| !ids(map).is_empty()).await;
    let first = ids(&map);
    bare.broker_becomes("False", "Starting").await;
    let set = bare.finds::<StatefulSet>("main", |_| true).await;

    let started = std::time::Instant::now();
    plane.rotate();
    let both = |map: &Value| ids(map).len() == 2 && ids(map).is_superset(&first);
    let rotated = bare.finds::<ConfigMap>("main-config", both).await;
    println!(
        "keys of an API server that was killed: there after {:.1?}",
        started.elapsed()
    );
    assert_eq!(text(&rotated, "/data/leveret.toml"), text(&map, "/data/leveret.toml"));
    let now = bare.finds::<StatefulSet>("main", |_| true).await;
    assert_eq!(
        now["metadata"]["generation"], set["metadata"]["generation"],
        "no pod is replaced for that"
    );
    // Who reads the same again writes nothing.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let later = bare.finds::<ConfigMap>("main-config", |_| true).await;
    assert_eq!(
        later["metadata"]["resourceVersion"],
        rotated["metadata"]["resourceVersion"]
    );

    // An operator that starts and may not read them: those that were written stay, and other changes are made.
    bindings
        .delete(DISCOVERY, &DeleteParams::default())
        .await
        .expect("deleted");
    bare.operator.terminate(SOON);
    bare.operator = operator(
        &tools.as_account(&bare.namespace, "operator"),
        &bare.namespace,
        "leveret:test",
    );
    bare.apply(&main_broker(
        json!({"serviceAccountTokens": {}, "settings": {"heartbeat": "9s"}}),
    ))
    .await;
    let changed = |map: &Value| text(map, "/data/leveret.toml").contains("heartbeat = \"9s\"");
    let map = bare.finds::<ConfigMap>("main-config", changed).await;
    assert_eq!(map.pointer(KEYS), rotated.pointer(KEYS));
    bare.broker_becomes("False", "NotAllowed").await;
}
