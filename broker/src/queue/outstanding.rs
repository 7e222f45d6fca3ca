//! Entries by id, for messages that are delivered mostly in order and settled mostly from the front.
//!
//! Comes in: entries. Goes out: the same by id. A ring with holes does the work of a map as long as each new entry
//! belongs near the end or the front. Where one does not, as when a message of a lower priority follows many of higher
//! ones, all go into a tree until none is left.
//! Does not know what the entries wait for.

use super::entries::{Entries, Room};
use super::entry::Entry;
use super::run::KEPT;
use leveret_store::MessageId;
use std::collections::BTreeMap;

/// Places that entries of a ring are moved by, at most, to make room for one.
const NEAR: usize = 64;

/// Entries by id.
pub struct Outstanding(Form);

enum Form {
    /// An entry's place is a hole once its message has been settled.
    Ring(Entries),
    Tree(BTreeMap<MessageId, Entry>),
}

impl Default for Outstanding {
    fn default() -> Self {
        Self(Form::Ring(Entries::default()))
    }
}

impl Outstanding {
    /// Keeps the last place for an entry that comes soon, if its id is the highest.
    #[inline]
    pub fn expect(&mut self, id: MessageId) {
        if let Form::Ring(ring) = &mut self.0
            && ring.back().is_none_or(|last| last.id < id)
        {
            ring.push_back(Entry::hole(id));
        }
    }

    /// Adds an entry.
    #[inline]
    pub fn insert(&mut self, entry: Entry) {
        if let Form::Ring(ring) = &mut self.0 {
            if ring.back().is_none_or(|last| last.id < entry.id) {
                ring.push_back(entry);
                return;
            }
            if let Some(place) = ring.find_mut(entry.id) {
                *place = entry;
                return;
            }
        }
        self.insert_between(entry);
    }

    /// Adds an entry for which there is no place yet.
    fn insert_between(&mut self, entry: Entry) {
        let ring = match &mut self.0 {
            Form::Tree(tree) => return drop(tree.insert(entry.id, entry)),
            Form::Ring(ring) => ring,
        };
        if let Err(entry) = ring.insert_near(entry, NEAR) {
            let entries = std::mem::take(ring).into_all().filter(|entry| !entry.is_hole());
            let all = entries.chain([entry]).map(|entry| (entry.id, entry));
            self.0 = Form::Tree(all.collect());
        }
    }

    /// Takes an entry out. `len`: the number of those that are there.
    #[inline]
    pub fn remove(&mut self, id: MessageId, len: usize) -> Option<Entry> {
        let ring = match &mut self.0 {
            Form::Tree(_) => return self.remove_from_tree(id),
            Form::Ring(ring) => ring,
        };
        let place = ring.find_mut(id).filter(|entry| !entry.is_hole())?;
        let entry = place.take_out();
        drop_holes(ring, len.saturating_sub(1));
        Some(entry)
    }

    /// Drops an entry where it lies, after a look at it. `len`: as with [`Outstanding::remove`].
    #[inline]
    pub fn forget<T>(&mut self, id: MessageId, len: usize, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        let ring = match &mut self.0 {
            Form::Tree(_) => return self.remove_from_tree(id).as_ref().map(look),
            Form::Ring(ring) => ring,
        };
        let seen = match ring.front() {
            // Mostly they go in their order, and then there is no hole.
            Some(first) if first.id == id && !first.is_hole() => {
                let seen = look(first);
                ring.drop_first();
                seen
            }
            _ => {
                let place = ring.find_mut(id).filter(|entry| !entry.is_hole())?;
                let seen = look(place);
                place.leave_hole();
                seen
            }
        };
        drop_holes(ring, len.saturating_sub(1));
        Some(seen)
    }

    #[cold]
    fn remove_from_tree(&mut self, id: MessageId) -> Option<Entry> {
        let Form::Tree(tree) = &mut self.0 else { return None };
        let entry = tree.remove(&id)?;
        if tree.is_empty() {
            *self = Self::default();
        }
        Some(entry)
    }

    /// The entry with this id.
    pub fn get(&self, id: MessageId) -> Option<&Entry> {
        match &self.0 {
            Form::Ring(ring) => ring.find(id).filter(|entry| !entry.is_hole()),
            Form::Tree(tree) => tree.get(&id),
        }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: MessageId) -> Option<&mut Entry> {
        match &mut self.0 {
            Form::Ring(ring) => ring.find_mut(id).filter(|entry| !entry.is_hole()),
            Form::Tree(tree) => tree.get_mut(&id),
        }
    }

    /// All entries, ascending by id.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let (ring, tree) = match &self.0 {
            Form::Ring(ring) => (Some(ring), None),
            Form::Tree(tree) => (None, Some(tree)),
        };
        let ring = ring
            .into_iter()
            .flat_map(Entries::iter)
            .filter(|entry| !entry.is_hole());
        ring.chain(tree.into_iter().flat_map(|tree| tree.values()))
    }

    /// Memory that very many have left, for the place that they go to.
    #[inline]
    pub fn take_room(&mut self) -> Option<Room> {
        match &mut self.0 {
            Form::Ring(ring) => ring.take_room(),
            Form::Tree(_) => None,
        }
    }

    /// Memory of the place that very many come from.
    pub fn lend(&mut self, room: Room) {
        if let Form::Ring(ring) = &mut self.0 {
            ring.lend(room);
        }
    }
}

/// Drops the holes at both ends of a ring with `len` entries, and what a burst has left.
#[inline]
fn drop_holes(ring: &mut Entries, len: usize) {
    ring.drop_holes();
    if ring.capacity() > KEPT {
        give_back(ring, len);
    }
}

/// Drops all holes of a ring where they have become many beside `len` entries, and memory that is not needed.
fn give_back(ring: &mut Entries, len: usize) {
    if ring.is_empty() {
        *ring = Entries::default();
    }
    if ring.len() > KEPT && ring.len() > len * 4 {
        ring.retain(|entry| !entry.is_hole());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::queue::entry::NOWHERE;
    use proptest::prelude::*;

    fn entry(id: MessageId) -> Entry {
        Entry::new(id, NOWHERE, Message::new(b"", b"q", &[0, 0], b""))
    }

    #[test]
    fn the_tree_takes_no_memory_where_there_is_none() {
        assert_eq!(size_of::<Outstanding>(), size_of::<Entries>());
    }

    #[test]
    fn a_round_among_many_consumers_stays_in_the_ring() {
        let mut entries = Outstanding::default();
        entries.insert(entry(1));
        (2..3002).for_each(|id| entries.expect(id));
        for consumer in 0..3 {
            (2..3002)
                .skip(consumer)
                .step_by(3)
                .for_each(|id| entries.insert(entry(id)));
        }
        assert!(matches!(entries.0, Form::Ring(_)));
        assert!(entries.iter().map(|entry| entry.id).eq(1..3002));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Runs of ids upwards from anywhere, as those of priorities are.
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0..4000u64, 1..800u64, 0..2u8), 1..12)) {
            let mut entries = Outstanding::default();
            let mut model = std::collections::BTreeSet::new();
            for (first, count, kind) in steps {
                for id in first..first + count {
                    match kind {
                        0 if model.insert(id) => entries.insert(entry(id)),
                        0 => {}
                        _ => {
                            let removed = match id % 2 {
                                0 => entries.remove(id, model.len()).map(|entry| entry.id),
                                _ => entries.forget(id, model.len(), |entry| entry.id),
                            };
                            prop_assert_eq!(removed, model.take(&id));
                        }
                    }
                }
                for id in (first.saturating_sub(5)..first + count + 5).step_by(3) {
                    prop_assert_eq!(entries.get(id).map(|entry| entry.id), model.get(&id).copied());
                    prop_assert_eq!(entries.get_mut(id).is_some(), model.contains(&id));
                }
                prop_assert!(entries.iter().map(|entry| entry.id).eq(model.iter().copied()));
                prop_assert!(!model.is_empty() || matches!(entries.0, Form::Ring(_)));
            }
        }
    }
}
