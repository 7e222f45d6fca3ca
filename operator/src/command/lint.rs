//! `leveret lint FOLDER`: what is wrong with a folder of manifests, without a broker or a cluster.
//!
//! In: a folder. Out: a line for each problem, with its place. Does not know about what stands on any broker.
//! Unknown keys, types and CEL rules are the reader's; here is what only shows when all manifests are seen together.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use super::task::{Run, print};
use crate::object::{LastStatus, Meta, Object, ObjectKey, Objects, Reason, World};
use crate::resource::NamespacesFrom;
use crate::source::folder::read::{Manifest, Manifests, Problem, Spec, read_once};
use crate::sync::desired::{Desired, Standing, Thing, broker_keys, describe, desired};
use crate::topology::{End, Identity, Name};

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

/// What is wrong with manifests that each are well formed.
pub fn lint(manifests: &Manifests, partial: bool) -> Vec<Problem> {
    let world = world(manifests);
    let mut linter = Linter {
        manifests,
        problems: Vec::new(),
    };
    for broker in broker_keys(&world) {
        let wanted = desired(&world, &broker);
        let by_labels = world
            .brokers
            .get(&broker)
            .is_some_and(|broker| broker.spec.allowed_namespaces.from == NamespacesFrom::Selector);
        linter.standings(&wanted, by_labels);
        if !partial {
            linter.broker(&world, &wanted, &broker);
            linter.references(&wanted);
        }
    }
    linter.problems
}

/// The manifests as if they had just been applied, all at once.
pub fn world(manifests: &Manifests) -> World {
    let mut world = World::default();
    for (key, manifest) in &manifests.objects {
        let meta = Meta {
            key: key.clone(),
            uid: String::new(),
            generation: 1,
            created: 0,
            deleting: None,
            annotations: manifest.annotations.clone(),
            finalized: false,
            status: LastStatus::default(),
        };
        put(&mut world, meta, manifest);
    }
    world
}

/// Puts a manifest into a world.
pub fn put(world: &mut World, meta: Meta, manifest: &Manifest) {
    fn insert<S: Clone>(objects: &mut Objects<S>, meta: Meta, spec: &S) {
        let spec = spec.clone();
        objects.insert(meta.key.clone(), Arc::new(Object { meta, spec }));
    }
    match &manifest.spec {
        Spec::Broker(spec) => insert(&mut world.brokers, meta, spec.as_ref()),
        Spec::Exchange(spec) => insert(&mut world.exchanges, meta, spec),
        Spec::Queue(spec) => insert(&mut world.queues, meta, spec),
        Spec::Binding(spec) => insert(&mut world.bindings, meta, spec),
    }
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
    fn broker(&mut self, world: &World, wanted: &Desired, broker: &ObjectKey) {
        if world.brokers.is_empty() || world.brokers.contains_key(broker) {
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
        let names: BTreeSet<&Identity> = wanted.claims.keys().collect();
        for item in &wanted.items {
            let Standing::Wanted(thing) = &item.standing else {
                continue;
            };
            let mut missing = |field: &str, end: End, name: Name| {
                let identity = match end {
                    End::Exchange => Identity::Exchange(name.clone()),
                    End::Queue => Identity::Queue(name.clone()),
                };
                let is_brokers = end == End::Exchange && name.is_reserved();
                if !is_brokers && !names.contains(&identity) {
                    let message = format!("{} is not declared in this folder", describe(&identity));
                    self.fault(&item.key, field, &message);
                }
            };
            match thing {
                Thing::Binding(binding) => {
                    missing("source", End::Exchange, binding.source_name());
                    missing("destination", binding.end, binding.destination_name());
                }
                Thing::Queue(name, queue) => {
                    if let Some(Value::String(exchange)) = queue.arguments().get("x-dead-letter-exchange") {
                        missing("deadLetter", End::Exchange, Name::new(&name.vhost, exchange));
                    }
                }
                Thing::Exchange(name, exchange) => {
                    if let Some(Value::String(other)) = exchange.arguments.get("alternate-exchange") {
                        missing("alternateExchange", End::Exchange, Name::new(&name.vhost, other));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
