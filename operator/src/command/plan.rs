//! `leveret plan FOLDER`: what applying a folder would change on the live broker. Nothing is changed.
//!
//! In: a folder, and a broker by its address, or the Brokers of a kube context. Out: a line for each change, and whether
//! there is any. Does not know about how changes are carried out.
//! The steps are the pipeline's own: desired, observe (one list), difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::broker;
use crate::command::lint;
use crate::command::live::{FileError, Live, LiveArgs, look};
use crate::object::{ConnectionError, Kind, LastStatus, Meta, Object, ObjectKey, Objects, Reason, World};
use crate::resource::{AllowedNamespaces, BrokerRef, BrokerSpec, NamespacesFrom};
use crate::source::folder::read::{Manifests, Problem, read_once};
use crate::sync::desired::{Desired, Item, Standing, broker_keys, describe, desired};
use crate::sync::difference::{Owned, Step, Verdict, difference};
use crate::sync::report::recall;
use crate::topology::Operation;

mod cluster;

#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// Folder with the manifests, a single file, or - for stdin (kubectl kustomize DIR | leveret plan -)
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// Compare as the operator of this kube context would: with its Brokers, and with what its resources own already.
    /// Without it all manifests are meant for the one broker that the other flags name
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// Namespace of manifests that name none; default: that of the context
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Also what goes when resources are pruned: those in the folder's namespaces that are not in the folder
    #[arg(long, requires = "context")]
    pub prune: bool,

    #[command(flatten)]
    pub live: LiveArgs,
}

/// A plan cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", lines(.0))]
    Manifests(Vec<Problem>),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("context {context}: {why}")]
    Cluster { context: String, why: String },
    #[error("{0}: {1}")]
    Connection(ObjectKey, ConnectionError),
    #[error(transparent)]
    Broker(#[from] broker::Error),
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// What would become of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Create,
    Update,
    Delete,
    /// The broker or the operator would not do it.
    Refuse(Reason),
}

/// What would become of one resource, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub change: Change,
    pub key: ObjectKey,
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, reason) = match self.change {
            Change::Create => ('+', String::new()),
            Change::Update => ('~', String::new()),
            Change::Delete => ('-', String::new()),
            Change::Refuse(reason) => ('!', format!("{reason}: ")),
        };
        write!(f, "{sign} {}: {reason}{}", self.key, self.text)
    }
}

/// Everything that would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub lines: Vec<Line>,
    /// Resources that stand as declared.
    pub same: usize,
}

impl Changes {
    /// Whether an apply would do, or try, anything.
    pub fn any(&self) -> bool {
        !self.lines.is_empty()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        let count = |wanted: fn(Change) -> bool| self.lines.iter().filter(|line| wanted(line.change)).count();
        write!(
            f,
            "{} to create, {} to update, {} to delete, {} refused, {} as declared",
            count(|change| change == Change::Create),
            count(|change| change == Change::Update),
            count(|change| change == Change::Delete),
            count(|change| matches!(change, Change::Refuse(_))),
            self.same
        )
    }
}

/// Makes the plan.
///
/// # Errors
/// See [`Error`].
pub async fn run(args: &PlanArgs) -> Result<Changes, Error> {
    if let Some(context) = &args.context {
        return cluster::run(args, context).await;
    }
    let manifests = read_once(&args.folder, args.namespace.as_deref()).map_err(Error::Manifests)?;
    let broker = ObjectKey::new(Kind::Broker, "default", "main");
    let world = lead_to(&broker, lint::world(&manifests));
    let live = look(&args.live.connection()?).await?;
    let everything = manifests.objects.keys().cloned().collect();
    Ok(changes(&world, &broker, &live, &everything))
}

/// All resources are for one broker, whatever they name.
fn lead_to(broker: &ObjectKey, mut world: World) -> World {
    fn lead<S: Clone>(objects: &mut Objects<S>, set: impl Fn(&mut S)) {
        objects
            .values_mut()
            .for_each(|object| set(&mut Arc::make_mut(object).spec));
    }
    let reference = BrokerRef {
        name: broker.name.clone(),
        namespace: Some(broker.namespace.clone()),
    };
    lead(&mut world.exchanges, |spec| spec.broker_ref = reference.clone());
    lead(&mut world.queues, |spec| spec.broker_ref = reference.clone());
    lead(&mut world.bindings, |spec| spec.broker_ref = reference.clone());
    let spec = BrokerSpec {
        allowed_namespaces: AllowedNamespaces {
            from: NamespacesFrom::All,
            selector: None,
        },
        ..BrokerSpec::default()
    };
    let meta = fresh(broker.clone(), BTreeMap::new());
    world.brokers = BTreeMap::from([(broker.clone(), Arc::new(Object { meta, spec }))]);
    world
}

/// Metadata of a resource that does not exist yet: younger than all that do.
fn fresh(key: ObjectKey, annotations: BTreeMap<String, String>) -> Meta {
    Meta {
        key,
        uid: String::new(),
        generation: 1,
        created: i64::MAX,
        deleting: None,
        annotations,
        finalized: false,
        status: LastStatus::default(),
    }
}

/// What would change on one broker for the resources in `asked`; all others only matter for what they own.
pub fn changes(world: &World, broker: &ObjectKey, live: &Live, asked: &BTreeSet<ObjectKey>) -> Changes {
    let mut wanted = desired(world, broker);
    if !world.brokers.contains_key(broker) {
        wanted.lose_broker(&format!("{broker} does not exist"));
    }
    let owned: Owned = wanted
        .items
        .iter()
        .filter_map(|item| Some((item.key.clone(), recall(world.meta(&item.key)?))))
        .collect();
    let plan = difference(&wanted, &live.topology, &owned);
    let mut steps: BTreeMap<&ObjectKey, Vec<&Step>> = BTreeMap::new();
    for step in &plan.steps {
        steps.entry(&step.key).or_default().push(step);
    }
    let mut changes = Changes::default();
    for item in wanted.items.iter().filter(|item| asked.contains(&item.key)) {
        let steps = steps.remove(&item.key).unwrap_or_default();
        let Some(verdict) = plan.verdicts.get(&item.key) else {
            continue;
        };
        match change(item, verdict, &steps, live) {
            None => changes.same += 1,
            Some((change, text)) => changes.lines.push(Line {
                change,
                key: item.key.clone(),
                text,
            }),
        }
    }
    changes
}

/// `None`: nothing.
fn change(item: &Item, verdict: &Verdict, steps: &[&Step], live: &Live) -> Option<(Change, String)> {
    match verdict {
        Verdict::Not(Reason::Paused, _) => return None,
        Verdict::Not(reason, message) | Verdict::Disowned(reason, message) => {
            return Some((Change::Refuse(*reason), message.clone()));
        }
        Verdict::Synced(_) | Verdict::Released(_) => {}
    }
    if let Some(refused) = steps.iter().find_map(|step| refusal(&step.operation, live)) {
        return Some(refused);
    }
    let texts: Vec<String> = steps.iter().map(|step| tell(&step.operation)).collect();
    let leaving = matches!(item.standing, Standing::Leaving { .. });
    let change = match (leaving, steps.iter().any(|step| step.creates())) {
        (true, _) if steps.is_empty() => {
            return Some((Change::Delete, "nothing on the broker goes with it".to_owned()));
        }
        (true, _) => Change::Delete,
        (false, _) if steps.is_empty() => return None,
        (false, true) if steps.len() == 1 => Change::Create,
        (false, _) => Change::Update,
    };
    Some((change, texts.join(", ")))
}

/// Why the broker would not do it, as far as it shows from here.
fn refusal(operation: &Operation, live: &Live) -> Option<(Change, String)> {
    let vhost = operation.vhost();
    if live.vhosts.as_ref().is_some_and(|vhosts| !vhosts.contains(vhost)) {
        let message = format!("vhost '{vhost}' does not exist");
        return Some((Change::Refuse(Reason::WaitingForVhost), message));
    }
    let Operation::DeleteQueue { name, if_empty: true } = operation else {
        return None;
    };
    let messages = live.backlogs.get(name)?.messages();
    (messages > 0).then(|| {
        let what = describe(&operation.effect().0);
        (
            Change::Refuse(Reason::DeletionBlocked),
            format!("{what} holds {messages} messages"),
        )
    })
}

fn tell(operation: &Operation) -> String {
    let what = describe(&operation.effect().0);
    match operation {
        Operation::DeclareExchange(_, exchange) => format!("declare {what} ({})", exchange.kind),
        Operation::DeclareQueue(..) => format!("declare {what}"),
        Operation::Bind(_) => format!("add {what}"),
        Operation::Unbind(_) => format!("remove {what}"),
        Operation::DeleteQueue { if_empty: true, .. } => format!("delete {what} if it is empty"),
        Operation::DeleteExchange { if_unused: true, .. } => format!("delete {what} if nothing is bound to it"),
        Operation::DeleteQueue { .. } => format!("delete {what} with all its messages"),
        Operation::DeleteExchange { .. } => format!("delete {what}"),
    }
}

/// Brokers that the resources in `asked` lead to.
fn brokers_of(world: &World, asked: &BTreeSet<ObjectKey>) -> Vec<ObjectKey> {
    let concerned = |wanted: &Desired| wanted.items.iter().any(|item| asked.contains(&item.key));
    broker_keys(world)
        .into_iter()
        .filter(|key| concerned(&desired(world, key)))
        .collect()
}

/// The world after an apply: what is there, with the manifests in it.
fn applied(mut world: World, manifests: &Manifests) -> World {
    for (key, manifest) in &manifests.objects {
        let mut meta = world
            .meta(key)
            .cloned()
            .unwrap_or_else(|| fresh(key.clone(), BTreeMap::new()));
        meta.annotations.extend(manifest.annotations.clone());
        lint::put(&mut world, meta, manifest);
    }
    world
}

#[cfg(test)]
mod tests;
