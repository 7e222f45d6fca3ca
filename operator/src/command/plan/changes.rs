//! (pure) What would change on a broker, and how that is told.
//!
//! In: the resources after an apply, and a broker as it stands. Out: `Changes`, a line for each.
//! Does not know about where either comes from. The steps are the pipeline's own: desired, difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::command::live::Live;
use crate::object::{Kind, ObjectKey, Reason, Snapshot};
use crate::sync::desired::{Desired, Item, Owned, Standing, broker_keys, desired};
use crate::sync::difference::{Step, Verdict, difference};
use crate::sync::report::recall;
use crate::topology::{Identity, Name, Operation, Target, Topology};

/// The kind of change to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Create,
    Update,
    Delete,
    /// The broker or the operator would not do it.
    Refuse(Reason),
}

/// The change to one resource, and how it is made.
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
    /// True when an apply would do, or try, anything.
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

/// The changes on one broker for the resources in `asked`; all others only matter for what they own.
pub fn changes(snapshot: &Snapshot, broker: &ObjectKey, live: &Live, asked: &BTreeSet<ObjectKey>) -> Changes {
    let mut wanted = desired(snapshot, broker);
    if !snapshot.contains(broker) {
        wanted.lose_broker(&format!("{broker} does not exist"));
    }
    let owned: Owned = wanted
        .items
        .iter()
        .filter_map(|item| Some((item.key.clone(), recall(snapshot.meta(&item.key)?))))
        .collect();
    let plan = difference(&wanted, &live.topology, &owned);
    let mut steps: BTreeMap<&ObjectKey, Vec<&Step>> = BTreeMap::new();
    for step in &plan.steps {
        steps.entry(&step.key).or_default().push(step);
    }
    let declared = plan.steps.iter().filter(|step| step.creates());
    let ground = Ground {
        live,
        coming: declared.filter_map(|step| step.operation.identity().target()).collect(),
    };
    let mut after = live.topology.clone();
    plan.steps.iter().for_each(|step| step.operation.apply(&mut after));
    let mut changes = Changes::default();
    for item in wanted.items.iter().filter(|item| asked.contains(&item.key)) {
        let steps = steps.remove(&item.key).unwrap_or_default();
        let Some(verdict) = plan.verdicts.get(&item.key) else {
            continue;
        };
        let change = change(item, verdict, &steps, &ground).or_else(|| bereft(verdict, &after));
        match change {
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

/// The ground that a step can build on.
struct Ground<'a> {
    live: &'a Live,
    /// Made by the same plan.
    coming: BTreeSet<Target>,
}

impl Ground<'_> {
    /// True when a virtual host is known to be missing.
    fn lacks_vhost(&self, vhost: &str) -> bool {
        let coming = Target::new(Kind::Vhost, Name::new("", vhost));
        let listed = self.live.vhosts.as_ref();
        !vhost.is_empty() && listed.is_some_and(|vhosts| !vhosts.contains(vhost)) && !self.coming.contains(&coming)
    }
}

/// `None`: nothing.
fn change(item: &Item, verdict: &Verdict, steps: &[&Step], ground: &Ground<'_>) -> Option<(Change, String)> {
    match verdict {
        Verdict::Not(Reason::Paused | Reason::Observed, _) | Verdict::Later => return None,
        Verdict::Not(reason, message) | Verdict::Disowned(reason, message) | Verdict::Kept(_, reason, message) => {
            return Some((Change::Refuse(*reason), message.clone()));
        }
        Verdict::Synced(_) | Verdict::Released(_) => {}
    }
    if let Some(refused) = steps.iter().find_map(|step| refusal(&step.operation, ground)) {
        return Some(refused);
    }
    let texts: Vec<String> = steps.iter().map(|step| step.operation.words()).collect();
    let leaving = matches!(item.standing, Standing::Leaving { .. });
    let is_new = |step: &&Step| step.creates() && !ground.live.topology.contains(&step.operation.identity());
    let creates = steps.iter().any(is_new);
    let change = match (leaving, creates) {
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

/// The loss of something that stands as declared, with what the same plan takes away.
fn bereft(verdict: &Verdict, after: &Topology) -> Option<(Change, String)> {
    let Verdict::Synced(identity) = verdict else {
        return None;
    };
    let need = identity.needs().into_iter().find(|need| !after.has(&need.target))?;
    let message = format!("it goes with {}, which this plan deletes", need.target);
    Some((Change::Refuse(need.reason), message))
}

/// The reason why the broker would not do it, as far as it shows from here.
fn refusal(operation: &Operation, ground: &Ground<'_>) -> Option<(Change, String)> {
    let vhost = operation.vhost();
    if ground.lacks_vhost(vhost) {
        let message = format!("vhost '{vhost}' does not exist");
        return Some((Change::Refuse(Reason::WaitingForVhost), message));
    }
    let Operation::Remove {
        identity: identity @ Identity::Queue(name),
        if_free: true,
    } = operation
    else {
        return None;
    };
    let messages = ground.live.backlogs.get(name)?.messages();
    (messages > 0).then(|| {
        (
            Change::Refuse(Reason::DeletionBlocked),
            format!("{identity} holds {messages} messages"),
        )
    })
}

/// Brokers that the resources in `asked` lead to.
pub(super) fn brokers_of(snapshot: &Snapshot, asked: &BTreeSet<ObjectKey>) -> Vec<ObjectKey> {
    let concerned = |wanted: &Desired| wanted.items.iter().any(|item| asked.contains(&item.key));
    broker_keys(snapshot)
        .into_iter()
        .filter(|key| concerned(&desired(snapshot, key)))
        .collect()
}
