//! Entries by id, for messages that are delivered mostly in order and settled mostly from the front.
//!
//! Comes in: entries. Goes out: the same by id. A ring with holes does the work of a map as long as each new entry
//! belongs near the end or the front. Where one does not, as when a message of a lower priority follows many of higher
//! ones, all go into a tree until none is left.
//! Does not know what the entries wait for.

use super::entry::Entry;
use super::run::KEPT;
use leveret_store::MessageId;
use std::collections::{BTreeMap, VecDeque};

/// Places that entries of a ring are moved by, at most, to make room for one.
const NEAR: usize = 64;

/// A place in the ring, a hole once its message has been settled.
type Slot = (MessageId, Option<Entry>);

/// Entries by id.
pub struct Outstanding(Form);

enum Form {
    Ring(VecDeque<Slot>),
    Tree(BTreeMap<MessageId, Entry>),
}

impl Default for Outstanding {
    fn default() -> Self {
        Self(Form::Ring(VecDeque::new()))
    }
}

impl Outstanding {
    /// Adds an entry.
    #[inline]
    pub fn insert(&mut self, entry: Entry) {
        match &mut self.0 {
            Form::Ring(ring) if ring.back().is_none_or(|(last, _)| *last < entry.id) => {
                ring.push_back((entry.id, Some(entry)));
            }
            _ => self.insert_between(entry),
        }
    }

    fn insert_between(&mut self, entry: Entry) {
        let ring = match &mut self.0 {
            Form::Tree(tree) => return drop(tree.insert(entry.id, entry)),
            Form::Ring(ring) => ring,
        };
        match ring.binary_search_by_key(&entry.id, |(id, _)| *id) {
            Ok(at) => {
                if let Some(slot) = ring.get_mut(at) {
                    slot.1 = Some(entry);
                }
            }
            Err(at) if at.min(ring.len() - at) <= NEAR => ring.insert(at, (entry.id, Some(entry))),
            Err(_) => {
                let entries = std::mem::take(ring).into_iter().filter_map(|(_, entry)| entry);
                let all = entries.chain([entry]).map(|entry| (entry.id, entry));
                self.0 = Form::Tree(all.collect());
            }
        }
    }

    /// Takes an entry out. `len`: the number of those that are there.
    #[inline]
    pub fn remove(&mut self, id: MessageId, len: usize) -> Option<Entry> {
        let ring = match &mut self.0 {
            Form::Tree(_) => return self.remove_from_tree(id),
            Form::Ring(ring) => ring,
        };
        let at = place(ring, id)?;
        let entry = ring.get_mut(at)?.1.take()?;
        while matches!(ring.front(), Some((_, None))) {
            ring.pop_front();
        }
        if ring.is_empty() && ring.capacity() > KEPT {
            *ring = VecDeque::new();
        }
        if ring.len() > 4096 && ring.len() > len.saturating_sub(1) * 4 {
            ring.retain(|(_, entry)| entry.is_some());
        }
        Some(entry)
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
            Form::Ring(ring) => ring.get(place(ring, id)?)?.1.as_ref(),
            Form::Tree(tree) => tree.get(&id),
        }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: MessageId) -> Option<&mut Entry> {
        match &mut self.0 {
            Form::Ring(ring) => {
                let at = place(ring, id)?;
                ring.get_mut(at)?.1.as_mut()
            }
            Form::Tree(tree) => tree.get_mut(&id),
        }
    }

    /// All entries, ascending by id.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let (ring, tree) = match &self.0 {
            Form::Ring(ring) => (Some(ring), None),
            Form::Tree(tree) => (None, Some(tree)),
        };
        let ring = ring.into_iter().flatten().filter_map(|(_, entry)| entry.as_ref());
        ring.chain(tree.into_iter().flat_map(|tree| tree.values()))
    }
}

/// The place of an entry in a ring, or of its hole. A queue's ids lie mostly evenly, so that its share of the way from
/// the first id to the last tells the place, give or take one.
#[inline]
fn place(ring: &VecDeque<Slot>, id: MessageId) -> Option<usize> {
    let ((first, _), (last, _)) = (ring.front()?, ring.back()?);
    let (way, whole) = (id.checked_sub(*first)?, (last - first).max(1));
    let guess = (way as f64 * (ring.len() - 1) as f64 / whole as f64) as usize;
    let near = [guess, guess.wrapping_sub(1), guess + 1];
    near.into_iter()
        .find(|at| ring.get(*at).is_some_and(|(there, _)| *there == id))
        .or_else(|| search(ring, id))
}

#[cold]
fn search(ring: &VecDeque<Slot>, id: MessageId) -> Option<usize> {
    ring.binary_search_by_key(&id, |(id, _)| *id).ok()
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
        assert_eq!(size_of::<Outstanding>(), size_of::<VecDeque<Slot>>());
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
                            let removed = entries.remove(id, model.len()).map(|entry| entry.id);
                            prop_assert_eq!(removed.is_some(), model.remove(&id));
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
