//! A folder as a source: edits, deletions, and files that do not read well.

use std::fs;

use super::*;
use crate::object::Via;
use crate::object::{ConditionStatus, Reason};

const QUEUE: &str = "---\napiVersion: leveret.dev/v1alpha1\nkind: Queue\nmetadata: { name: NAME }\nspec: { brokerRef: { name: main }, maxLength: 5 }\n";

fn queues(names: &[&str]) -> String {
    names.iter().map(|name| QUEUE.replace("NAME", name)).collect()
}

fn connection() -> Connection {
    Connection {
        amqp_uri: "amqp://127.0.0.1:5672".to_owned(),
        management_uri: "http://127.0.0.1:15672".to_owned(),
        user: "guest".to_owned(),
        password: "guest".to_owned(),
        ca: None,
        identity: None,
        via: Via::Address,
    }
}

fn queue(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::Queue, "default", name)
}

struct Edited {
    folder: Folder,
    dir: tempfile::TempDir,
}

impl Edited {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("a.yaml"), text).expect("a file");
        let folder = Folder::open(dir.path(), connection()).expect("good manifests");
        Self { folder, dir }
    }

    fn edit(&self, text: &str) {
        fs::write(self.dir.path().join("a.yaml"), text).expect("a file");
        self.folder.look();
    }

    fn meta(&self, name: &str) -> Meta {
        self.folder.snapshot().meta(&queue(name)).expect("the queue").clone()
    }
}

#[test]
fn all_lead_to_one_broker() {
    let edited = Edited::new(&queues(&["a"]));
    let snapshot = edited.folder.snapshot();
    let broker = ObjectKey::new(Kind::Broker, "default", "main");
    assert!(snapshot.contains(&broker));
    assert_eq!(crate::sync::desired::broker_keys(&snapshot).len(), 1);
}

#[tokio::test]
async fn edits_and_deletions() {
    let edited = Edited::new(&queues(&["a", "b"]));
    let (a, b) = (edited.meta("a"), edited.meta("b"));
    edited.edit(&queues(&["a"]).replace("maxLength: 5", "maxLength: 55"));
    assert_eq!((edited.meta("a").generation, edited.meta("a").uid), (2, a.uid.clone()));
    assert!(edited.meta("b").deleting.is_some(), "until it is let go");

    edited.edit(&queues(&["a", "b"]));
    assert_eq!(edited.meta("b"), b, "it came back in time");
    edited.folder.remove_finalizer(&queue("b")).await.expect("done");
    assert!(
        edited.folder.snapshot().meta(&queue("b")).is_some(),
        "what came back is not let go"
    );

    edited.edit(&queues(&["a"]));
    edited.folder.remove_finalizer(&queue("b")).await.expect("done");
    assert!(edited.folder.snapshot().meta(&queue("b")).is_none());
}

#[test]
fn bad_files_change_nothing() {
    let edited = Edited::new(&queues(&["a"]));
    let before = edited.folder.snapshot();
    for bad in ["x: [", "", "apiVersion: leveret.dev/v1alpha1\nkind: Topic\n"] {
        edited.edit(bad);
        assert_eq!(edited.folder.shown().problems.len(), 1, "{bad}");
        assert!(Arc::ptr_eq(&before, &edited.folder.snapshot()), "{bad}");
    }
    fs::remove_file(edited.dir.path().join("a.yaml")).expect("removed");
    edited.folder.look();
    assert!(edited.folder.shown().problems[0].message.contains("no manifests"));
    edited.edit(&queues(&["a", "c"]));
    assert!(edited.folder.shown().problems.is_empty());
    assert!(edited.folder.snapshot().meta(&queue("c")).is_some());
}

#[tokio::test]
async fn statuses_of_what_is_there() {
    let edited = Edited::new(&queues(&["a"]));
    let report = |name: &str, uid: &str| StatusReport {
        uid: uid.to_owned(),
        ..StatusReport::sample(queue(name), ConditionStatus::True, Reason::Synced)
    };
    let uid = edited.meta("a").uid;
    edited
        .folder
        .write_status(vec![report("a", "other"), report("z", &uid), report("a", &uid)])
        .await;
    let keys: Vec<ObjectKey> = edited.folder.shown().statuses.into_keys().collect();
    assert_eq!(keys, [queue("a")]);
}

#[test]
fn rules_of_a_broker_in_the_folder_hold() {
    let broker = "---\napiVersion: leveret.dev/v1alpha1\nkind: Broker\nmetadata: { name: main }\nspec: SPEC\n";
    let queue = QUEUE.replace("NAME", "a, namespace: web");
    let refusal = |spec: &str| {
        let edited = Edited::new(&(broker.replace("SPEC", spec) + &queue));
        let key = ObjectKey::new(Kind::Broker, "default", "main");
        let desired = crate::sync::desired::desired(&edited.folder.snapshot(), &key);
        let item = desired.items.into_iter().next().expect("the queue");
        match item.standing {
            crate::sync::desired::Standing::Refused(Reason::NotAllowed, message) => Some(message),
            _ => None,
        }
    };
    assert_eq!(refusal("{}"), None, "every object leads to the companion");
    let rule = "{ allowedNamespaces: { from: All, rules: [{ WHOSE, vhosts: [web] }] } }";
    let message = refusal(&rule.replace("WHOSE", "namespaces: [web]")).expect("a refusal");
    assert!(message.contains("vhost '/' is not one of web"), "{message}");
    assert_eq!(
        refusal(&rule.replace("WHOSE", "selector: {}")),
        None,
        "there are no labels here"
    );
}
