//! Values in a row, each with a key: added, found and taken out in constant time, however long the row is.
//!
//! Comes in: keys with their values. Goes out: the same, in no order that means anything.
//! Does not know what the keys stand for.

use std::collections::HashMap;
use std::hash::Hash;

/// Values up to which looking at each is as quick as a map, and takes no more memory.
const SHORT: usize = 8;

/// Values by key, each key once.
pub(super) struct Row<K, V> {
    list: Vec<(K, V)>,
    /// The places in `list`, if it is long.
    places: Option<Box<Places<K>>>,
}

/// The place of each key. Most rows are short and have none: they shall not be larger for it.
struct Places<K>(HashMap<K, usize>);

impl<K, V> Default for Row<K, V> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            places: None,
        }
    }
}

impl<K: Clone + Eq + Hash, V> Row<K, V> {
    fn place(&self, key: &K) -> Option<usize> {
        match &self.places {
            Some(places) => places.0.get(key).copied(),
            None => self.list.iter().position(|(other, _)| other == key),
        }
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.place(key)?;
        self.list.get_mut(place).map(|(_, value)| value)
    }

    /// Adds a value. There is none with this key yet.
    pub(super) fn add(&mut self, key: K, value: V) {
        if let Some(places) = &mut self.places {
            places.0.insert(key.clone(), self.list.len());
        }
        self.list.push((key, value));
        if self.places.is_none() && self.list.len() > SHORT {
            let keys = self.list.iter().map(|(key, _)| key.clone());
            self.places = Some(Box::new(Places(keys.zip(0..).collect())));
        }
    }

    /// Takes a value out; the last one moves to its place.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.place(key)?;
        let (_, value) = self.list.swap_remove(place);
        if let Some(places) = &mut self.places {
            places.0.remove(key);
            if let Some((moved, _)) = self.list.get(place) {
                places.0.insert(moved.clone(), place);
            }
        }
        if self.list.len() < self.list.capacity() / 4 {
            self.give_back();
        }
        Some(value)
    }

    /// Gives memory back that a longer row took.
    fn give_back(&mut self) {
        let room = self.list.len() * 2;
        self.list.shrink_to(room);
        match &mut self.places {
            Some(places) if self.list.len() > SHORT / 2 => places.0.shrink_to(room),
            places => *places = None,
        }
    }

    pub(super) fn at(&self, place: usize) -> Option<&V> {
        self.list.get(place).map(|(_, value)| value)
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, (K, V)> {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(steps in proptest::collection::vec((any::<bool>(), 0..40_u32), 0..300)) {
            let (mut row, mut model) = (Row::default(), HashMap::new());
            for (number, (add, key)) in steps.into_iter().enumerate() {
                if add && !model.contains_key(&key) {
                    row.add(key, number);
                    model.insert(key, number);
                } else if !add {
                    prop_assert_eq!(row.remove(&key), model.remove(&key));
                }
                prop_assert_eq!(row.get_mut(&key).copied(), model.get(&key).copied());
                let held: HashMap<u32, usize> = row.iter().copied().collect();
                prop_assert_eq!((row.len(), &held), (model.len(), &model));
            }
        }
    }
}
