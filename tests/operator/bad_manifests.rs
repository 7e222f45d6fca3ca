//! Manifests that cannot be meant: the API server refuses them, with words that help.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use harness::api_server::{Resources, api_server};
use harness::place;
use serde_json::{Value, json};

use crate::manifest;

/// Name of the fault, manifest, and words that the refusal must have.
fn bad() -> Vec<(&'static str, Value, &'static str)> {
    let queue = |spec: Value| manifest("Queue", "bad", with_broker(spec));
    let exchange = |spec: Value| manifest("Exchange", "bad", with_broker(spec));
    let binding = |spec: Value| manifest("Binding", "bad", with_broker(spec));
    let broker = |spec: Value| manifest("Broker", "bad", spec);
    let external = |key: &str, value: &str| {
        let mut external = json!({
            "uri": "amqp://localhost", "managementUri": "http://localhost:15672",
            "credentialsSecretRef": {"name": "admin"},
        });
        external[key] = json!(value);
        broker(json!({"engine": "External", "external": external}))
    };
    vec![
        (
            "no broker",
            manifest("Queue", "bad", json!({"name": "q"})),
            "spec.brokerRef: Required value",
        ),
        ("an unknown field", queue(json!({"durabel": true})), "durabel"),
        (
            "a type that is none",
            queue(json!({"type": "mirrored"})),
            "Unsupported value: \"mirrored\"",
        ),
        (
            "a policy that is none",
            queue(json!({"deletionPolicy": "Maybe"})),
            "Unsupported value: \"Maybe\"",
        ),
        (
            "a reserved name",
            queue(json!({"name": "amq.mine"})),
            "names that begin with amq. are reserved by the broker",
        ),
        (
            "a line break in a name",
            queue(json!({"name": "two\nlines"})),
            "without line breaks",
        ),
        (
            "a name that is too long",
            queue(json!({"name": "n".repeat(256)})),
            "255",
        ),
        (
            "a duration without unit",
            queue(json!({"messageTtl": "10"})),
            "must be a duration like",
        ),
        ("a negative length", queue(json!({"maxLength": -1})), "spec.maxLength"),
        (
            "a priority that is too high",
            queue(json!({"maxPriority": 256})),
            "spec.maxPriority",
        ),
        (
            "one thing said twice",
            queue(json!({"maxLength": 5, "arguments": {"x-max-length": 6}})),
            "maxLength and arguments.x-max-length say the same thing: give only one of them",
        ),
        (
            "the type as an argument",
            queue(json!({"arguments": {"x-queue-type": "quorum"}})),
            "the queue type is given by type, not by arguments.x-queue-type",
        ),
        (
            "a dead letter without an exchange",
            queue(json!({"deadLetter": {"routingKey": "k"}})),
            "spec.deadLetter.exchange",
        ),
        (
            "an update policy of a later version",
            queue(json!({"updatePolicy": "Migrate"})),
            "not supported in this version",
        ),
        (
            "an exchange type that is none",
            exchange(json!({"type": "topics"})),
            "type must be direct, fanout, topic, headers, or begin with x-",
        ),
        (
            "an alternate said twice",
            exchange(json!({"alternateExchange": "a", "arguments": {"alternate-exchange": "b"}})),
            "give only one of them",
        ),
        (
            "no destination",
            binding(json!({"source": "x"})),
            "spec.destination: Required value",
        ),
        (
            "two destinations",
            binding(json!({"source": "x", "destination": {"queue": "q", "exchange": "y"}})),
            "destination must have exactly one of queue and exchange",
        ),
        (
            "the default exchange as source",
            binding(json!({"source": "", "destination": {"queue": "q"}})),
            "source must name an exchange",
        ),
        (
            "an external broker without an address",
            broker(json!({"engine": "External"})),
            "engine External needs external",
        ),
        (
            "two engines at once",
            broker(json!({"engine": "External", "storage": {"size": "1Gi"}, "external": {
                "uri": "amqp://localhost", "managementUri": "http://localhost", "credentialsSecretRef": {"name": "a"}}})),
            "storage is only for engine Leveret",
        ),
        (
            "an address of another protocol",
            external("uri", "http://localhost"),
            "uri must be amqp://",
        ),
        (
            "a password in an address",
            external("uri", "amqp://guest:guest@localhost"),
            "no user, password",
        ),
        (
            "a management address without http",
            external("managementUri", "localhost:15672"),
            "managementUri must be http://",
        ),
    ]
}

fn with_broker(mut spec: Value) -> Value {
    spec["brokerRef"] = json!({"name": "main"});
    spec
}

async fn resources(what: &str) -> Option<Resources> {
    let cluster = api_server()?;
    let client = cluster.client().await;
    let namespace = cluster.namespace(&client, what).await;
    Some(Resources::new(&client, &namespace))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_refused_with_the_right_words() {
    let Some(resources) = resources("bad").await else {
        return;
    };
    let bad = bad();
    assert!(bad.len() >= 20);
    for (what, manifest, words) in bad {
        match resources.apply(&manifest).await {
            Ok(_) => panic!("{what} was accepted: {manifest}"),
            Err(error) => assert!(error.to_string().contains(words), "{what}: {error}"),
        }
    }
}

/// Refusals of the API server, a line for each fault of a manifest, and true if it looked at everything.
async fn refused_by_the_api_server(resources: &Resources, manifest: &Value) -> (BTreeSet<String>, bool) {
    /// It says this when it has left out the CEL rules, and says the same twice about an integer that is none.
    const BESIDE: [&str; 2] = [
        "some validation rules were not checked",
        "Checked value must be of type",
    ];
    let kube::Error::Api(status) = resources.create(manifest).await.expect_err("it is bad") else {
        panic!("no answer to {manifest}");
    };
    if let Some((_, unknown)) = status.message.split_once("strict decoding error: ") {
        return (unknown.split(", ").map(str::to_owned).collect(), false);
    }
    let causes = status.details.map(|details| details.causes).unwrap_or_default();
    let lines = causes
        .iter()
        .filter(|cause| !BESIDE.iter().any(|words| cause.message.contains(words)))
        .map(|cause| match cause.field.as_str() {
            "<nil>" => cause.message.clone(),
            field => format!("{field}: {}", cause.message),
        });
    (lines.collect(), true)
}

/// Refusals of `leveret lint`, by `KIND NAME`.
fn refused_by_lint(folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(place::program("leveret", "LEVERET_BIN"))
        .arg("lint")
        .arg(folder)
        .output()
        .expect("leveret runs");
    assert!(!output.status.success(), "the folder is bad");
    let mut refused: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        let (place, rest) = line.split_once(": Queue ").map_or_else(
            || {
                let kinds = [
                    "Exchange",
                    "Binding",
                    "Broker",
                    "Vhost",
                    "User",
                    "OperatorPolicy",
                    "Policy",
                ];
                let found = kinds.iter().find_map(|kind| {
                    let (place, rest) = line.split_once(&format!(": {kind} "))?;
                    Some((place, format!("{kind} {rest}")))
                });
                found.unwrap_or_else(|| panic!("{line}"))
            },
            |(place, rest)| (place, format!("Queue {rest}")),
        );
        let line_number = place.rsplit(':').next().unwrap_or_default();
        assert!(line_number.parse::<usize>().is_ok(), "no line in {line}");
        let (who, what) = rest.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        let what = what.split("; did you mean ").next().unwrap_or(what);
        refused.entry(who.to_owned()).or_default().insert(what.to_owned());
    }
    refused
}

/// The same manifest gets the same refusal, word for word, from a folder and from the API server.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_refuses_what_the_api_server_refuses() {
    let Some(resources) = resources("folder").await else {
        return;
    };
    let folder = place::repository().join("tests/operator/bad");
    let lint = refused_by_lint(&folder);
    let manifests = harness::api_server::manifests(&folder);
    assert!(manifests.len() > 50);
    for manifest in manifests {
        let text = |path: &str| manifest.pointer(path).and_then(Value::as_str).unwrap_or("?");
        let who = format!("{} {}", text("/kind"), text("/metadata/name"));
        let (expected, is_all) = refused_by_the_api_server(&resources, &manifest).await;
        let found = lint.get(&who).cloned().unwrap_or_default();
        // An unknown field is all that the API server says; a folder says the rest, too.
        let same = if is_all {
            found == expected
        } else {
            found.is_superset(&expected)
        };
        assert!(
            same,
            "{who}\n    the API server: {expected:#?}\n    leveret lint: {found:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_an_object_cannot_change() {
    let Some(resources) = resources("identity").await else {
        return;
    };
    let manifests = [
        manifest("Queue", "q", with_broker(json!({"name": "one"}))),
        manifest("Exchange", "x", with_broker(json!({"name": "one"}))),
        manifest(
            "Binding",
            "b",
            with_broker(json!({"source": "x", "destination": {"queue": "q"}})),
        ),
    ];
    for original in manifests {
        resources.apply(&original).await.expect("the first is good");
        let mut edits = vec![
            ("/spec/vhost", json!("other")),
            ("/spec/brokerRef", json!({"name": "other"})),
        ];
        if original["kind"] != "Binding" {
            edits.push(("/spec/name", json!("two")));
        }
        for (field, value) in edits {
            let mut edited = original.clone();
            edited["spec"][field.trim_start_matches("/spec/")] = value;
            let error = resources.apply(&edited).await.expect_err(field).to_string();
            assert!(
                error.contains("cannot be changed"),
                "{} {field}: {error}",
                original["kind"]
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_are_accepted() {
    let Some(resources) = resources("examples").await else {
        return;
    };
    let examples = harness::place::repository().join("examples");
    let folders = ["orders", "retry", "zeromq"].map(|name| examples.join(name));
    for folder in [examples].into_iter().chain(folders) {
        for mut manifest in harness::api_server::manifests(&folder) {
            // Beside ours there are those of Kubernetes.
            if !crate::text(&manifest, "/apiVersion").starts_with("leveret.dev/") {
                continue;
            }
            // Some say where they belong; here all of them have a namespace of their own.
            let metadata = manifest["metadata"].as_object_mut().expect("metadata");
            metadata.remove("namespace");
            resources
                .apply(&manifest)
                .await
                .unwrap_or_else(|error| panic!("{manifest}: {error}"));
        }
    }
}
