//! Values in the order of their keys, found by their number in that order.
//!
//! They lie in pieces of some hundred, so that adding one moves no more than a piece, and finding the nth is a look at
//! each piece before it.
//!
//! Comes in: keys with their values. Goes out: the nth value. Does not know what the keys stand for.

/// Values in a piece, at most.
const PIECE: usize = 512;

/// Values by key, in the order of the keys.
pub(super) struct Sorted<K, V> {
    /// None of them is empty.
    pieces: Vec<Vec<(K, V)>>,
    len: usize,
}

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            len: 0,
        }
    }
}

impl<K: Ord, V> Sorted<K, V> {
    /// The piece in which a key is, or belongs.
    fn piece(&self, key: &K) -> usize {
        let behind = |piece: &Vec<(K, V)>| piece.last().is_some_and(|(last, _)| last < key);
        let at = self.pieces.partition_point(behind);
        at.min(self.pieces.len().saturating_sub(1))
    }

    /// Adds a value. There is none with this key yet.
    pub(super) fn add(&mut self, key: K, value: V) {
        let at = self.piece(&key);
        self.len += 1;
        let Some(piece) = self.pieces.get_mut(at) else {
            self.pieces.push(vec![(key, value)]);
            return;
        };
        let place = piece.partition_point(|(other, _)| *other < key);
        piece.insert(place, (key, value));
        if piece.len() > PIECE {
            let half = piece.split_off(PIECE / 2);
            self.pieces.insert(at + 1, half);
        }
    }

    /// Takes a value out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.piece(key);
        let piece = self.pieces.get_mut(at)?;
        let place = piece.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        let (_, value) = piece.remove(place);
        self.len -= 1;
        if piece.is_empty() {
            self.pieces.remove(at);
        }
        Some(value)
    }

    /// The nth value.
    pub(super) fn at(&self, mut nth: usize) -> Option<&V> {
        for piece in &self.pieces {
            match piece.get(nth) {
                Some((_, value)) => return Some(value),
                None => nth -= piece.len(),
            }
        }
        None
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Pieces, of which a look at the nth value may pass all.
    pub(super) fn pieces(&self) -> usize {
        self.pieces.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn it_holds_what_a_map_holds(steps in proptest::collection::vec((0..4_u8, 0..3000_u32), 0..4000)) {
            let (mut sorted, mut model) = (Sorted::default(), BTreeMap::new());
            for (step, key) in steps {
                if step > 0 && !model.contains_key(&key) {
                    sorted.add(key, key);
                    model.insert(key, key);
                } else {
                    prop_assert_eq!(sorted.remove(&key), model.remove(&key));
                }
            }
            let held: Vec<u32> = (0..sorted.len()).filter_map(|nth| sorted.at(nth).copied()).collect();
            prop_assert_eq!(sorted.at(sorted.len()), None);
            prop_assert_eq!(held, model.into_keys().collect::<Vec<_>>());
        }
    }
}
