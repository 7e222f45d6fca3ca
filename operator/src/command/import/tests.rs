//! What is imported asks for the same as what was read, and what is not in it is named.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::command::lint::{self, LintArgs};

fn args(from: &Path) -> ImportArgs {
    ImportArgs {
        from: from.to_owned(),
        output: None,
        broker: None,
        namespace: None,
        vhost: None,
        password_hashes: false,
    }
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    folder
}

fn import(files: &[(&str, &str)]) -> Import {
    let folder = folder(files);
    let mut import = run(&args(folder.path())).expect("it can be read");
    let root = format!("{}/", folder.path().display());
    for line in import.left_out.iter_mut().chain(&mut import.alone) {
        *line = line.replace(&root, "");
    }
    import
}

/// Lint has nothing to say about it.
fn assert_fine(import: &Import) {
    let folder = folder(&[("all.yaml", &import.yaml())]);
    let args = LintArgs {
        folder: folder.path().to_owned(),
        partial: true,
    };
    lint::run(&args).unwrap_or_else(|problems| panic!("{problems:#?}\n{}", import.yaml()));
}

const MANIFESTS: &str = r#"
apiVersion: rabbitmq.com/v1beta1
kind: Queue
metadata:
  name: orders
  namespace: shop
  labels: { team: till }
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: "{}"
  uid: "1"
spec:
  name: Orders EU
  vhost: shop
  type: quorum
  arguments:
    x-delivery-limit: 5
    x-dead-letter-exchange: dlx
  deleteIfUnused: true
  rabbitmqClusterReference: { name: rabbit, namespace: infra }
status: { observedGeneration: 1 }
---
apiVersion: rabbitmq.com/v1beta1
kind: Shovel
metadata: { name: move }
spec: {}
---
apiVersion: v1
kind: Secret
metadata: { name: s }
---
apiVersion: rabbitmq.com/v1beta1
kind: Vhost
metadata: { name: shop, namespace: shop }
spec:
  name: shop
  defaultQueueType: stream
  rabbitmqClusterReference: { name: rabbit, namespace: infra }
---
apiVersion: rabbitmq.com/v1beta1
kind: Queue
metadata: { name: plain, namespace: shop }
spec:
  name: plain
  vhost: shop
  rabbitmqClusterReference: { name: rabbit, namespace: infra }
"#;

#[test]
fn manifests_become_manifests() {
    let import = import(&[("all.yaml", MANIFESTS)]);
    let shown: Vec<Value> = import.manifests.iter().map(|(_, manifest)| manifest.clone()).collect();
    let broker = json!({"name": "rabbit", "namespace": "infra"});
    let expected = [
        json!({"apiVersion": "leveret.dev/v1alpha1", "kind": "Vhost",
            "metadata": {"name": "shop", "namespace": "shop"},
            "spec": {"brokerRef": broker, "defaultQueueType": "stream", "deletionPolicy": "Delete"}}),
        json!({"apiVersion": "leveret.dev/v1alpha1", "kind": "Queue",
            "metadata": {"name": "orders", "namespace": "shop", "labels": {"team": "till"}},
            "spec": {"name": "Orders EU", "vhost": "shop", "brokerRef": broker, "type": "quorum", "deliveryLimit": 5,
                "deadLetter": {"exchange": "dlx"}, "deletionPolicy": "DeleteIfEmpty"}}),
        json!({"apiVersion": "leveret.dev/v1alpha1", "kind": "Queue",
            "metadata": {"name": "plain", "namespace": "shop"},
            "spec": {"vhost": "shop", "brokerRef": broker, "type": "stream", "deletionPolicy": "Delete"}}),
    ];
    assert_eq!(shown, expected);
    let told: Vec<(&str, &str)> = import
        .left_out
        .iter()
        .filter_map(|line| line.split_once(": "))
        .collect();
    assert!(
        matches!(told.as_slice(), [("all.yaml:18", one), ("all.yaml:22", two)]
            if one.starts_with("Queue orders: spec.deleteIfUnused: ") && two.starts_with("Shovel move: ")),
        "{told:?}"
    );
    assert_eq!(
        import.alone,
        ["all.yaml:27: Secret s: is of another group, and left alone"]
    );
    assert_fine(&import);
}

#[test]
fn what_cannot_be_asked_for_is_named_with_its_place() {
    let queue = |name: &str, fields: &str| {
        format!(
            "---\napiVersion: rabbitmq.com/v1beta1\nkind: Queue\nmetadata: {{ name: {name} }}\nspec:\n  name: {name}\n  \
             rabbitmqClusterReference: {{ name: main }}\n{fields}"
        )
    };
    for (text, told) in [
        (
            queue("a", "  durable: \"yes\"\n"),
            "all.yaml:2: Queue a: spec.durable: ",
        ),
        (queue("a", "  colour: red\n"), "all.yaml:8: Queue a: spec.colour: "),
        (queue("a", "  durable: yes\n"), "all.yaml:8:12: yes is true in YAML 1.1"),
        (queue("a", "  type: mirrored\n"), "all.yaml:2: Queue a: spec.type: "),
        (
            queue("a", "  arguments: { x-max-length: many }\n"),
            "all.yaml:2: Queue a: spec.arguments.x-max-length: ",
        ),
        (
            queue("a", "").repeat(2),
            "all.yaml:9: Queue a: asks for the same as all.yaml:2",
        ),
        (queue("amq.a", ""), "all.yaml:2: Queue amq.a: spec.name: "),
        (queue("a", "data: {}\n"), "all.yaml:8: Queue a: data: "),
        ("kind: [\n".to_owned(), "all.yaml:"),
        ("just words\n".to_owned(), "all.yaml:1: is no manifest"),
        (
            queue("a", "").replace("v1beta1", "v2"),
            "all.yaml:2: Queue a: is not of rabbitmq.com/v1beta1",
        ),
        ("{\"queues\": [".to_owned(), "all.yaml: EOF"),
        (
            "{\"colours\": []}".to_owned(),
            "all.yaml: is no manifest, no document of definitions",
        ),
        (
            "{\"queues\": [{\"name\": \"a\"}]}".to_owned(),
            "all.yaml: queues[0]: queue 'a': names no virtual host",
        ),
        (
            "{\"version\": 3, \"terraform_version\": \"0.11\"}".to_owned(),
            "all.yaml: is no state of version 4",
        ),
    ] {
        let import = import(&[("all.yaml", &text)]);
        assert!(
            import.left_out.iter().any(|line| line.starts_with(told)),
            "{told}: {:?}",
            import.left_out
        );
        assert_eq!(import.left_out.len(), 1, "{:?}", import.left_out);
    }
}

const USERS: &str = r#"
apiVersion: rabbitmq.com/v1beta1
kind: Permission
metadata: { name: till, namespace: shop }
spec:
  userReference: { name: till }
  vhost: shop
  permissions: { configure: "^a", read: ".*" }
  rabbitmqClusterReference: { name: main }
---
apiVersion: rabbitmq.com/v1beta1
kind: User
metadata: { name: till, namespace: shop }
spec:
  tags: [management]
  limits: { connections: 5 }
  importCredentialsSecret: { name: till-secret }
  rabbitmqClusterReference: { name: main }
---
apiVersion: v1
kind: Secret
metadata: { name: till-secret, namespace: shop }
stringData: { username: Till, password: geheim }
---
apiVersion: rabbitmq.com/v1beta1
kind: TopicPermission
metadata: { name: till, namespace: shop }
spec:
  user: Till
  vhost: shop
  permissions: { exchange: x, write: "^a" }
  rabbitmqClusterReference: { name: main }
---
apiVersion: rabbitmq.com/v1beta1
kind: Permission
metadata: { name: guest, namespace: shop }
spec: { user: guest, vhost: shop, permissions: {}, rabbitmqClusterReference: { name: main } }
"#;

#[test]
fn users_are_put_together_with_their_permissions() {
    let import = import(&[("all.yaml", USERS)]);
    let shown: Vec<&Value> = import.manifests.iter().map(|(_, manifest)| &manifest["spec"]).collect();
    let till = json!({"name": "Till", "brokerRef": {"name": "main"}, "tags": ["management"],
        "limits": {"maxConnections": 5}, "passwordSecretRef": {"name": "till-secret"},
        "adoptionPolicy": "Always",
        "permissions": [{"vhost": "shop", "configure": "^a", "write": "", "read": ".*"}],
        "topicPermissions": [{"vhost": "shop", "exchange": "x", "write": "^a", "read": ""}]});
    assert_eq!(shown, [&till]);
    let [told] = import.left_out.as_slice() else {
        panic!("{:?}", import.left_out)
    };
    assert!(
        told.starts_with("all.yaml:34: Permission guest: its user is not here"),
        "{told}"
    );
    assert_fine(&import);
    assert!(!import.yaml().contains("geheim"));
}

#[test]
fn passwords_come_as_hashes_on_demand_and_by_a_secret_otherwise() {
    let document = json!({
        "users": [
            {"name": "Till", "password_hash": "aGFzaA==", "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": [], "limits": {}},
            {"name": "system:serviceaccount:shop:till", "password_hash": "", "tags": [], "limits": {}}],
        "permissions": [
            {"user": "Till", "vhost": "/", "configure": "", "write": ".*", "read": ""},
            {"user": "Till", "vhost": "/", "configure": ".*", "write": "", "read": ""}],
    });
    let folder = folder(&[("d.json", &document.to_string())]);
    for hashes in [true, false] {
        let args = ImportArgs {
            password_hashes: hashes,
            ..args(folder.path())
        };
        let import = run(&args).expect("it can be read");
        let (told, way) = match hashes {
            true => (
                1,
                json!({"value": "aGFzaA==", "algorithm": "rabbit_password_hashing_sha256"}),
            ),
            false => (2, json!({"name": "till-password"})),
        };
        assert_eq!(import.left_out.len(), told, "{:?}", import.left_out);
        let field = if hashes { "passwordHash" } else { "passwordSecretRef" };
        assert_eq!(import.manifests[0].1["spec"][field], way);
        assert_eq!(import.yaml().contains("aGFzaA=="), hashes);
        let account = &import.manifests[1].1["spec"];
        assert_eq!(account["serviceAccount"], json!({"namespace": "shop", "name": "till"}));
        assert_fine(&import);
    }
}

#[test]
fn many_fields_that_are_not_known_are_all_named() {
    let fields: String = (0..2000).map(|number| format!("  unknown{number}: 1\n")).collect();
    let text = format!(
        "apiVersion: rabbitmq.com/v1beta1\nkind: Queue\nmetadata: {{ name: q }}\nspec:\n  name: q\n  \
         rabbitmqClusterReference: {{ name: main }}\n{fields}"
    );
    let import = import(&[("all.yaml", &text)]);
    let told = |number: usize| {
        import
            .left_out
            .iter()
            .any(|line| line.contains(&format!("unknown{number}: ")))
    };
    assert!((0..2000).all(told) && import.left_out.len() == 2000);
}

#[test]
fn nothing_to_import_is_a_failure() {
    let other = "apiVersion: v1\nkind: Secret\nmetadata: { name: s }\n";
    for files in [&[("notes.txt", "")][..], &[("a.yaml", other)], &[("a.yaml", "")]] {
        let folder = folder(files);
        let problems = run(&args(folder.path())).expect_err("nothing is there");
        assert!(problems[0].message.starts_with("nothing to import"), "{problems:?}");
    }
    assert!(run(&args(Path::new("/does/not/exist"))).is_err());
}

#[test]
fn a_file_for_each_kind_and_none_is_overwritten() {
    let import = import(&[("all.yaml", MANIFESTS)]);
    let folder = tempfile::tempdir().expect("a folder");
    let into = folder.path().join("new");
    import.save(&into).expect("it is written");
    let read = |name: &str| fs::read_to_string(into.join(name)).expect("a file");
    assert!(read("vhosts.yaml").contains("kind: Vhost"));
    assert_eq!(read("queues.yaml").matches("kind: Queue").count(), 2);
    assert!(import.save(&into).is_err());
}

/// Names as brokers have them.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z.-]{1,9}",
        "[A-Za-z0-9 _/.é~-]{1,9}",
        Just("no".to_owned()),
        Just("1e5".to_owned())
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Definitions of any names come out as manifests that lint takes, one for each object.
    #[test]
    fn definitions_of_any_names(names in prop::collection::btree_set(name(), 1..6), vhost in name()) {
        let names: Vec<&String> = names.iter().filter(|name| !name.starts_with("amq.")).collect();
        let queue = |name: &&String| json!({"name": name, "vhost": vhost, "durable": true, "auto_delete": false,
            "arguments": {"x-message-ttl": 1500, "odd": {"a": [1, null]}}});
        let binding = |name: &&String| json!({"source": "x", "vhost": vhost, "destination": name,
            "destination_type": "queue", "routing_key": name, "arguments": {}});
        let document = json!({
            "queues": names.iter().map(queue).collect::<Vec<_>>(),
            "bindings": names.iter().map(binding).collect::<Vec<_>>(),
        });
        let import = import(&[("d.json", &document.to_string())]);
        prop_assert_eq!(import.left_out.as_slice(), &[] as &[String]);
        prop_assert_eq!(import.manifests.len(), 2 * names.len());
        if !names.is_empty() {
            assert_fine(&import);
        }
    }
}
