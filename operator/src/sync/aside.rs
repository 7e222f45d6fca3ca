//! Resources whose Broker is in a namespace that this operator does not watch: another operator's, who sees both.
//!
//! In: the resources, and whether anybody has looked at them. Out: reports and farewells, for those alone at which
//! nobody has looked for some time, so that no resource is without a word, and none hangs. Does not know about brokers.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::desired::{Desired, Item, Standing};
use super::difference::Verdict;
use super::finalizer::Farewell;
use super::report::{left_behind, recall, report};
use crate::object::{Meta, ObjectKey, Outlook, Reason, Snapshot, StatusReport};

/// Time in which another operator that sees a Broker says something of what refers to it.
const SOON: Duration = Duration::from_secs(10);

/// Resources at which nobody has looked: their generation, and since when that is known.
#[derive(Default)]
pub(super) struct Aside(BTreeMap<ObjectKey, (i64, Instant)>);

/// The time of a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) at: Instant,
    /// The same in Unix seconds.
    pub(super) now: i64,
    /// Longest wait of a deletion, in seconds.
    pub(super) patience: i64,
}

/// The things that are said and let go in one pass, and when there may be more.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) reports: Vec<StatusReport>,
    pub(super) farewells: Vec<Farewell>,
    pub(super) wake: Option<Instant>,
}

impl Aside {
    /// Stands aside for the operator that sees `broker`.
    pub(super) fn turn(
        &mut self,
        broker: &ObjectKey,
        outlook: &Outlook,
        snapshot: &Snapshot,
        desired: &Desired,
        times: Times,
    ) -> Turn {
        let Times { at, now, patience } = times;
        let mut turn = Turn::default();
        let mut unseen = BTreeMap::new();
        for item in &desired.items {
            let Some(meta) = snapshot.meta(&item.key) else { continue };
            if meta.status.looked_at.is_some_and(|seen| seen >= item.generation) {
                continue;
            }
            let since = match self.0.get(&item.key) {
                Some((generation, since)) if *generation == item.generation => *since,
                _ => at,
            };
            unseen.insert(item.key.clone(), (item.generation, since));
            let quiet = SOON.saturating_sub(at.duration_since(since));
            let left = match item.standing {
                Standing::Leaving { since, .. } => deadline(since, patience).saturating_sub(now),
                _ => 0,
            };
            let wait = quiet.max(Duration::from_secs(u64::try_from(left).unwrap_or_default()));
            if wait.is_zero() {
                turn.end(broker, outlook, item, meta, patience);
            } else {
                let due = at + wait;
                turn.wake = Some(turn.wake.map_or(due, |wake| wake.min(due)));
            }
        }
        self.0 = unseen;
        turn
    }
}

/// Twice what an operator that sees the Broker would wait for: time for it to be replaced.
fn deadline(since: i64, patience: i64) -> i64 {
    since.saturating_add(patience.saturating_mul(2))
}

impl Turn {
    /// Nobody has looked.
    fn end(&mut self, broker: &ObjectKey, outlook: &Outlook, item: &Item, meta: &Meta, patience: i64) {
        // As of now: the operator that saw the Broker has written it.
        let owned = recall(meta);
        let why = format!(
            "{broker} is in a namespace that operator {} does not watch (its --watch-namespace)",
            outlook.operator
        );
        if let Standing::Leaving { .. } = item.standing {
            if item.finalized {
                let why = format!(
                    "{why}, and no other has looked at it in {} s",
                    patience.saturating_mul(2)
                );
                let text = (!owned.is_empty()).then(|| left_behind(&owned, &why));
                self.farewells.push(Farewell::new(item, text));
            }
            return;
        }
        let text = format!("{why}: an operator has to watch both");
        let verdict = Verdict::Not(Reason::WaitingForBroker, text);
        self.reports.extend(report(item, &verdict, None, &owned, false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Kind, Meta};
    use crate::resource::{BrokerRef, QueueSpec};
    use crate::sync::desired::desired;

    fn snapshot(looked_at: Option<i64>, deleting: Option<i64>) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut meta = Meta::fresh(ObjectKey::new(Kind::Queue, "shop", "q"));
        (meta.generation, meta.deleting, meta.finalized) = (3, deleting, true);
        meta.status.looked_at = looked_at;
        let mut spec: QueueSpec = serde_json::from_value(serde_json::json!({"brokerRef": {"name": "main"}})).unwrap();
        spec.broker_ref = BrokerRef {
            name: "main".to_owned(),
            namespace: Some("elsewhere".to_owned()),
        };
        snapshot.put(meta, spec);
        snapshot
    }

    fn turns(looked_at: Option<i64>, deleting: Option<i64>, seconds: u64) -> (usize, usize) {
        let start = Instant::now();
        let broker = ObjectKey::new(Kind::Broker, "elsewhere", "main");
        let outlook = Outlook {
            operator: "shop/one".to_owned(),
            namespaces: ["shop".to_owned()].into(),
        };
        let (mut aside, snapshot) = (Aside::default(), snapshot(looked_at, deleting));
        let desired = desired(&snapshot, &broker);
        assert_eq!(desired.items.len(), 1);
        let mut ended = (0, 0);
        for now in 0..=seconds {
            let times = Times {
                at: start + Duration::from_secs(now),
                now: i64::try_from(now).unwrap(),
                patience: 20,
            };
            let turn = aside.turn(&broker, &outlook, &snapshot, &desired, times);
            ended = (turn.reports.len(), turn.farewells.len());
        }
        ended
    }

    #[test]
    fn only_what_nobody_looks_at_is_told_and_let_go() {
        assert_eq!(turns(Some(3), None, 100), (0, 0));
        assert_eq!(turns(Some(2), None, 9), (0, 0));
        assert_eq!(turns(Some(2), None, 11), (1, 0));
        assert_eq!(turns(None, None, 11), (1, 0));
        assert_eq!(turns(Some(3), Some(0), 100), (0, 0));
        assert_eq!(turns(Some(2), Some(0), 39), (0, 0));
        assert_eq!(turns(Some(2), Some(0), 41), (0, 1));
    }
}
