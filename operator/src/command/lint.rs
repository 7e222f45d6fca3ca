//! `leveret lint FOLDER`: what is wrong with a folder of manifests, without a broker or a cluster.
//!
//! In: a folder. Out: a line for each problem, with its place. Does not know about what stands on any broker.
//! Unknown keys, types and CEL rules are the reader's; here is what only shows when all manifests are seen together.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::task::{Run, print};
use crate::object::{AnyObject, Kind, LastStatus, Meta, ObjectKey, Reason, Snapshot};
use crate::resource::{BrokerSpec, NamespacesFrom};
use crate::source::folder::read::{Manifest, Manifests, Problem, read_once};
use crate::sync::desired::{Desired, Standing, broker_keys, desired};
use crate::topology::{Identity, Reference, Target};

#[derive(Clone, Debug, Args)]
pub struct LintArgs {
    /// Folder with the manifests, a single file, or - for stdin (kubectl kustomize DIR | leveret lint -)
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// The folder is only a part: what its manifests refer to may be elsewhere
    #[arg(long)]
    pub partial: bool,
}

impl Run for LintArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        match run(&self) {
            Ok(what) => print(&format!("{what}: fine\n")).map(|()| ExitCode::SUCCESS),
            Err(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                anyhow::bail!("{}", lines.join("\n"))
            }
        }
    }
}

/// Checks a folder. The answer is what there is in it.
///
/// # Errors
/// Everything that is wrong, in the order of files and lines.
pub fn run(args: &LintArgs) -> Result<String, Vec<Problem>> {
    let manifests = read_once(&args.folder, None)?;
    let mut problems = lint(&manifests, args.partial);
    if problems.is_empty() {
        return Ok(manifests.to_string());
    }
    problems.sort_by(|a, b| natural(&a.place).cmp(&natural(&b.place)));
    Err(problems)
}

/// Line 9 comes before line 10.
fn natural(place: &str) -> (&str, usize) {
    let (file, line) = place.rsplit_once(':').unwrap_or((place, ""));
    (file, line.parse().unwrap_or_default())
}

/// Everything that is wrong with manifests that each are well formed.
pub fn lint(manifests: &Manifests, partial: bool) -> Vec<Problem> {
    let snapshot = snapshot(manifests);
    let mut linter = Linter {
        manifests,
        problems: Vec::new(),
    };
    for broker in broker_keys(&snapshot) {
        let wanted = desired(&snapshot, &broker);
        let by_labels = snapshot
            .get::<BrokerSpec>(&broker)
            .is_some_and(|broker| broker.spec.allowed_namespaces.from == NamespacesFrom::Selector);
        linter.standings(&wanted, by_labels);
        if !partial {
            linter.broker(&snapshot, &wanted, &broker);
            linter.references(&wanted);
        }
    }
    linter.problems
}

/// The manifests as if they had just been applied, all at once.
pub fn snapshot(manifests: &Manifests) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (key, manifest) in &manifests.objects {
        let meta = Meta {
            key: key.clone(),
            uid: String::new(),
            generation: 1,
            created: 0,
            deleting: None,
            annotations: manifest.annotations.clone(),
            touched: 0,
            finalized: false,
            status: LastStatus::default(),
        };
        put(&mut snapshot, meta, manifest);
    }
    snapshot
}

/// Puts a manifest into a snapshot.
pub fn put(snapshot: &mut Snapshot, meta: Meta, manifest: &Manifest) {
    snapshot.insert(AnyObject::new(meta, manifest.spec.clone()));
}

struct Linter<'a> {
    manifests: &'a Manifests,
    problems: Vec<Problem>,
}

impl Linter<'_> {
    fn fault(&mut self, key: &ObjectKey, field: &str, message: &str) {
        let place = self.manifests.places.get(key).map(|place| place.of(field));
        self.problems.push(Problem {
            place: place.unwrap_or_default(),
            message: format!("{} {}: {message}", key.kind, key.name),
        });
    }

    /// Resources that want the same, or cannot be had. Which namespaces a selector admits shows only in a cluster.
    fn standings(&mut self, wanted: &Desired, by_labels: bool) {
        for item in &wanted.items {
            match &item.standing {
                Standing::Refused(Reason::Conflict, message) => {
                    let message = message.replace(", which is older", " already");
                    self.fault(&item.key, "", &message);
                }
                Standing::Refused(Reason::NotAllowed, _) if by_labels => {}
                Standing::Refused(_, message) => self.fault(&item.key, "", message),
                _ => {}
            }
        }
    }

    /// A folder with Brokers has all that it needs; one without leaves them to others.
    fn broker(&mut self, snapshot: &Snapshot, wanted: &Desired, broker: &ObjectKey) {
        if snapshot.iter::<BrokerSpec>().next().is_none() || snapshot.contains(broker) {
            return;
        }
        for item in &wanted.items {
            self.fault(
                &item.key,
                "brokerRef",
                &format!("{broker} does not exist in this folder"),
            );
        }
    }

    fn references(&mut self, wanted: &Desired) {
        let names: BTreeSet<Target> = wanted.claims.keys().filter_map(Identity::target).collect();
        for item in &wanted.items {
            let Standing::Wanted(declared) = &item.standing else {
                continue;
            };
            for Reference { field, target } in declared.references() {
                let is_brokers = target.kind == Kind::Exchange && target.name.is_reserved();
                if !is_brokers && !names.contains(&target) {
                    let message = format!("{target} is not declared in this folder");
                    self.fault(&item.key, field, &message);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
