//! `leveret lint FOLDER`: what is wrong with a folder of manifests, without a broker or a cluster.
//!
//! In: a folder. Out: a line for each problem, with its place. Does not know about what stands on any broker.
//! Unknown keys, types and CEL rules are the reader's; here is what only shows when all manifests are seen together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::task::{Run, print};
use crate::engine::account_tokens;
use crate::object::{AnyObject, Kind, Meta, ObjectKey, Reason, Snapshot};
use crate::resource::settings::refusals;
use crate::resource::{BrokerSpec, Engine, UserSpec};
use crate::source::folder::read::{Manifest, Manifests, Problem, read_all};
use crate::sync::desired::{Desired, Standing, broker_key, broker_keys, desired};
use crate::topology::{Identity, Name, Reference, Target};

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
    let (manifests, mut problems) = read_all(&args.folder, None);
    problems.extend(lint(&manifests, args.partial));
    if problems.is_empty() {
        return Ok(manifests.to_string());
    }
    problems.sort_by(|a, b| natural(&a.place).cmp(&natural(&b.place)));
    Err(problems)
}

/// File, line and column: line 9 comes before line 10.
fn natural(place: &str) -> (&str, usize, usize) {
    let Some((rest, last)) = numbered(place) else {
        return (place, 0, 0);
    };
    match numbered(rest) {
        Some((file, line)) => (file, line, last),
        None => (rest, last, 0),
    }
}

/// A place without its last number, and that.
fn numbered(place: &str) -> Option<(&str, usize)> {
    let (rest, number) = place.rsplit_once(':')?;
    Some((rest, number.parse().ok()?))
}

/// Everything that is wrong with those manifests that each are well formed. Others are there, and may be referred to.
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
            .is_some_and(|broker| broker.spec.allowed_namespaces.asks_for_labels());
        linter.standings(&wanted, by_labels);
        if !partial {
            linter.broker(&snapshot, &wanted, &broker);
            linter.references(&wanted);
        }
    }
    linter.spelling(&snapshot);
    linter.settings(&snapshot);
    linter.tokens(&snapshot);
    linter.problems
}

/// The manifests as if they had just been applied, all at once.
pub fn snapshot(manifests: &Manifests) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (key, manifest) in &manifests.objects {
        let meta = Meta {
            annotations: manifest.annotations.clone(),
            ..Meta::fresh(key.clone())
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
        let refused = |kind: &Kind, name: &String| *kind == Kind::Broker && *name == broker.name;
        let mut all_refused = self.manifests.refused.iter();
        if snapshot.iter::<BrokerSpec>().next().is_none()
            || snapshot.contains(broker)
            || all_refused.any(|(kind, _, name)| refused(kind, name))
        {
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

    /// A Broker that few manifests name, and is nearly called as one that more of them do. A folder without Brokers
    /// says nothing more of them.
    fn spelling(&mut self, snapshot: &Snapshot) {
        if snapshot.iter::<BrokerSpec>().next().is_some() {
            return;
        }
        let mut users: BTreeMap<ObjectKey, Vec<ObjectKey>> = BTreeMap::new();
        for object in snapshot.objects() {
            if let Some(reference) = object.broker_ref() {
                let key = &object.meta().key;
                let broker = broker_key(reference, &key.namespace);
                users.entry(broker).or_default().push(key.clone());
            }
        }
        for (broker, few) in &users {
            let alike = users.iter().find(|(other, many)| {
                many.len() > few.len() && other.namespace == broker.namespace && is_nearly(&other.name, &broker.name)
            });
            let Some((other, _)) = alike else { continue };
            for key in few {
                self.fault(
                    key,
                    "brokerRef",
                    &format!("{broker} is named here, and {other} elsewhere: one is misspelt"),
                );
            }
        }
    }

    /// Settings that the broker would refuse.
    fn settings(&mut self, snapshot: &Snapshot) {
        for broker in snapshot.iter::<BrokerSpec>() {
            for (_, refusal) in refusals(&broker.spec.settings) {
                self.fault(&broker.meta.key, "", &refusal);
            }
            if let Some(refusal) = account_tokens::refusal(broker) {
                self.fault(&broker.meta.key, "", &refusal);
            }
        }
    }

    /// Users with a service account, on a broker that takes no tokens.
    fn tokens(&mut self, snapshot: &Snapshot) {
        for user in snapshot.iter::<UserSpec>() {
            let key = broker_key(&user.spec.broker_ref, &user.meta.key.namespace);
            let Some(broker) = snapshot.get::<BrokerSpec>(&key) else {
                continue;
            };
            let BrokerSpec {
                settings,
                service_account_tokens: tokens,
                ..
            } = &broker.spec;
            let takes_some = tokens.is_some() || settings.contains_key("auth_oauth2");
            if user.spec.service_account.is_some() && broker.spec.engine == Engine::Leveret && !takes_some {
                let message = format!("{key} takes no tokens of service accounts: it has no serviceAccountTokens");
                self.fault(&user.meta.key, "serviceAccount", &message);
            }
        }
    }

    fn references(&mut self, wanted: &Desired) {
        let refused = self.manifests.refused.iter();
        let refused = refused.map(|(kind, vhost, name)| Target::new(*kind, Name::new(vhost, name)));
        let claimed = wanted.claims.keys().filter_map(Identity::target);
        let names: BTreeSet<Target> = claimed.chain(refused).collect();
        for item in &wanted.items {
            let declared = match &item.standing {
                Standing::Wanted(declared) => declared,
                Standing::Waiting(Reason::WaitingForUser, message) => {
                    self.fault(&item.key, "userRef", &format!("{message} in this folder"));
                    continue;
                }
                _ => continue,
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

/// One letter is wrong, missing, too many, or two are exchanged.
fn is_nearly(one: &str, other: &str) -> bool {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let (one, other) = (
        one.get(same..).unwrap_or_default(),
        other.get(same..).unwrap_or_default(),
    );
    match (one, other) {
        ([], []) => false,
        ([a, b, rest @ ..], [c, d, others @ ..]) if (a, b) == (d, c) && rest == others => true,
        (one, other) => {
            let rest = |word: &[char]| word.get(1..).unwrap_or_default().to_vec();
            rest(one) == rest(other) || rest(one) == other || one == rest(other)
        }
    }
}

#[cfg(test)]
mod tests;
