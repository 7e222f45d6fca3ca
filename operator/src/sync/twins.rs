//! Broker objects that lead to one and the same broker: their resources must agree on who owns what.
//!
//! In: for each connected Broker, what the broker says of itself. Out: for each the others, and word of changes.
//! Does not know about connections or resources.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::object::ObjectKey;

/// The marks by which a broker is known again: two Brokers with one mark in common lead to the same.
pub(super) type Marks = BTreeSet<String>;

/// All Brokers that are, or were last, connected.
#[derive(Default)]
pub(super) struct Twins {
    marks: Mutex<BTreeMap<ObjectKey, Marks>>,
    changed: watch::Sender<u64>,
}

impl Twins {
    /// A Broker is connected, to a broker with these marks. They stay while it is away.
    pub(super) fn meet(&self, broker: &ObjectKey, marks: Marks) {
        let mut all = self.marks.lock();
        if all.get(broker) != Some(&marks) {
            all.insert(broker.clone(), marks);
            drop(all);
            self.tell();
        }
    }

    /// A Broker is gone, or leads elsewhere now.
    pub(super) fn forget(&self, broker: &ObjectKey) {
        if self.marks.lock().remove(broker).is_some() {
            self.tell();
        }
    }

    /// All others that lead to the same broker.
    pub(super) fn of(&self, broker: &ObjectKey) -> BTreeSet<ObjectKey> {
        let all = self.marks.lock();
        let Some(own) = all.get(broker) else {
            return BTreeSet::new();
        };
        let others = all
            .iter()
            .filter(|(key, marks)| *key != broker && !marks.is_disjoint(own));
        others.map(|(key, _)| key.clone()).collect()
    }

    /// Grows whenever an answer of [`Twins::of`] may have changed.
    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|number| *number = number.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;

    #[test]
    fn one_mark_in_common_is_enough() {
        let key = |namespace: &str| ObjectKey::new(Kind::Broker, namespace, "main");
        let marks = |marks: &[&str]| marks.iter().map(|mark| (*mark).to_owned()).collect();
        let twins = Twins::default();
        twins.meet(&key("a"), marks(&["cluster 1", "amqp://one:5672"]));
        twins.meet(&key("b"), marks(&["cluster 1", "amqp://two:5672"]));
        twins.meet(&key("c"), marks(&["amqp://three:5672"]));
        let mut changed = twins.changed();
        changed.mark_unchanged();
        twins.meet(&key("c"), marks(&["amqp://three:5672"]));
        assert!(!changed.has_changed().expect("it is there"), "nothing new");
        assert_eq!(twins.of(&key("a")), BTreeSet::from([key("b")]));
        assert_eq!(twins.of(&key("b")), BTreeSet::from([key("a")]));
        assert_eq!(twins.of(&key("c")), BTreeSet::new());
        twins.forget(&key("b"));
        assert_eq!(twins.of(&key("a")), BTreeSet::new());
        assert!(changed.has_changed().expect("it is there"));
    }
}
