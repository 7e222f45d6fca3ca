//! A Git repository with one branch, and the manifests that go into it.
//!
//! In: files as JSON values. Out: commits. Does not know about who reads them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::kubectl::run;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The folder that is applied; others may stand beside it.
pub(crate) const TOPOLOGY: &str = "topology";

/// A file's name, and the manifest that it becomes; `None` for its end.
pub(crate) type File<'a> = (&'a str, Option<Value>);

/// A repository with one branch.
pub(crate) struct Repository {
    folder: TempDir,
    namespace: String,
}

impl Repository {
    /// Its manifests are of this namespace.
    pub(crate) fn new(namespace: &str) -> Repository {
        let repository = Repository {
            folder: tempfile::tempdir().expect("a temporary folder"),
            namespace: namespace.to_owned(),
        };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// The folder that is applied.
    pub(crate) fn topology(&self) -> PathBuf {
        self.folder.path().join(TOPOLOGY)
    }

    /// The output of a git command.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.folder.path());
        command.args(["-c", "user.name=test", "-c", "user.email=test@localhost"]);
        let said = run(command.args(arguments), "");
        assert!(said.well, "git {arguments:?}: {}", said.all);
        said.stdout.trim().to_owned()
    }

    /// Writes files of the folder that is applied (or removes them) and commits.
    pub(crate) fn commit(&self, files: &[File<'_>]) {
        self.commit_in(TOPOLOGY, files);
    }

    /// The same in another folder.
    pub(crate) fn commit_in(&self, folder: &str, files: &[File<'_>]) {
        let folder = self.folder.path().join(folder);
        fs::create_dir_all(&folder).expect("a folder");
        for (name, content) in files {
            self.write(&folder.join(name), content.clone());
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", "a change"]);
    }

    fn write(&self, path: &Path, content: Option<Value>) {
        match content {
            Some(mut manifest) => {
                manifest["metadata"]["namespace"] = json!(self.namespace);
                fs::write(path, serde_yaml::to_string(&manifest).expect("YAML"))
            }
            None => fs::remove_file(path),
        }
        .expect("a file of the repository");
    }
}

/// A manifest of one of Leveret's kinds.
pub(crate) fn object(kind: &str, name: &str, spec: Value) -> Option<Value> {
    let metadata = json!({ "name": name });
    Some(json!({ "apiVersion": "leveret.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec }))
}

/// A queue with nothing but its broker.
pub(crate) fn queue(name: &str) -> Option<Value> {
    object("Queue", name, json!({"brokerRef": {"name": "main"}}))
}

/// The binding `b`, of exchange `orders` to queue `invoices`.
pub(crate) fn binding(key: &str) -> Option<Value> {
    let spec = json!({"brokerRef": {"name": "main"}, "source": "orders", "destination": {"queue": "invoices"}, "routingKey": key});
    object("Binding", "b", spec)
}
