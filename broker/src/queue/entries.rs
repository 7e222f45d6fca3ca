//! Entries in the order of their ids: a ring while they are few, blocks where they are many.
//!
//! Comes in: entries, mostly at either end. Goes out: the same, from either end or by id. A ring of a million takes
//! half as much again while it grows, and is as large until the last one has left. A block is free as soon as it is
//! empty, and can be handed on: messages that go from one place to another by the million take no more than they did.
//! Does not know what the entries wait for.

use super::entry::Entry;
use leveret_store::MessageId;
use std::collections::VecDeque;

/// Entries of a block; few in tests, so that blocks come by every case.
const BLOCK: usize = if cfg!(test) { 16 } else { 4096 };
/// Entries from which on there are blocks.
const MANY: usize = 4 * BLOCK;

/// Entries, ascending by id.
pub struct Entries(Form);

enum Form {
    Few(VecDeque<Entry>),
    Many(Box<Blocks>),
}

/// Memory of a block without entries.
pub struct Room(VecDeque<Entry>);

/// Entries that are many.
struct Blocks {
    /// More than one, none of them empty.
    blocks: VecDeque<VecDeque<Entry>>,
    len: usize,
    /// Of a block that has become empty, for the next one.
    spare: Option<Room>,
}

impl Default for Entries {
    fn default() -> Self {
        Self(Form::Few(VecDeque::new()))
    }
}

impl Entries {
    /// Their number.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Few(few) => few.len(),
            Form::Many(many) => many.len,
        }
    }

    /// True if there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Form::Few(few) if few.is_empty())
    }

    /// Number of entries for which there is memory.
    #[inline]
    pub fn capacity(&self) -> usize {
        match &self.0 {
            Form::Few(few) => few.capacity(),
            Form::Many(many) => many.blocks.len() * BLOCK,
        }
    }

    /// The one with the lowest id.
    #[inline]
    pub fn front(&self) -> Option<&Entry> {
        match &self.0 {
            Form::Few(few) => few.front(),
            Form::Many(many) => many.blocks.front()?.front(),
        }
    }

    /// The one with the highest id.
    #[inline]
    pub fn back(&self) -> Option<&Entry> {
        match &self.0 {
            Form::Few(few) => few.back(),
            Form::Many(many) => many.blocks.back()?.back(),
        }
    }

    /// Adds one behind all others.
    #[inline]
    pub fn push_back(&mut self, entry: Entry) {
        match &mut self.0 {
            Form::Few(few) if few.len() < MANY => few.push_back(entry),
            Form::Many(many) => many.push_back(entry),
            Form::Few(_) => self.insert_into_many(entry),
        }
    }

    /// Adds one where its id belongs.
    pub fn insert(&mut self, entry: Entry) {
        match &mut self.0 {
            Form::Few(few) if few.len() < MANY => {
                let at = few.partition_point(|other| other.id < entry.id);
                few.insert(at, entry);
            }
            _ => self.insert_into_many(entry),
        }
    }

    /// Adds one where its id belongs, if that is at most so many places from an end.
    ///
    /// # Errors
    /// It is not: it is given back.
    pub fn insert_near(&mut self, entry: Entry, places: usize) -> Result<(), Entry> {
        let is_near = match &self.0 {
            Form::Few(few) => {
                let at = few.partition_point(|other| other.id < entry.id);
                at.min(few.len() - at) <= places
            }
            Form::Many(many) => many.is_near(entry.id, places),
        };
        match is_near {
            true => {
                self.insert(entry);
                Ok(())
            }
            false => Err(entry),
        }
    }

    #[cold]
    fn insert_into_many(&mut self, entry: Entry) {
        match &mut self.0 {
            Form::Many(many) => many.insert(entry),
            Form::Few(few) => {
                let mut many = Box::new(Blocks::of(std::mem::take(few)));
                many.insert(entry);
                self.0 = Form::Many(many);
            }
        }
    }

    /// Takes out the first one.
    #[inline]
    pub fn pop_front(&mut self) -> Option<Entry> {
        match &mut self.0 {
            Form::Few(few) => few.pop_front(),
            Form::Many(_) => self.pop_of_many(Blocks::pop_front),
        }
    }

    /// Takes out the first one, if it is as asked for.
    #[inline]
    pub fn pop_front_if(&mut self, wanted: impl FnOnce(&Entry) -> bool) -> Option<Entry> {
        match self.front() {
            Some(first) if wanted(first) => self.pop_front(),
            _ => None,
        }
    }

    /// Takes out the last one, if it is as asked for.
    #[inline]
    pub fn pop_back_if(&mut self, wanted: impl FnOnce(&Entry) -> bool) -> Option<Entry> {
        match self.back() {
            Some(last) if wanted(last) => match &mut self.0 {
                Form::Few(few) => few.pop_back(),
                Form::Many(_) => self.pop_of_many(Blocks::pop_back),
            },
            _ => None,
        }
    }

    /// Drops the first one.
    #[inline]
    pub fn drop_first(&mut self) {
        match &mut self.0 {
            Form::Few(few) => drop(few.pop_front()),
            Form::Many(_) => drop(self.pop_of_many(Blocks::pop_front)),
        }
    }

    /// Drops holes at both ends.
    #[inline]
    pub fn drop_holes(&mut self) {
        match &mut self.0 {
            Form::Few(few) => {
                while few.back().is_some_and(Entry::is_hole) {
                    few.pop_back();
                }
                while few.front().is_some_and(Entry::is_hole) {
                    few.pop_front();
                }
            }
            Form::Many(_) => self.drop_holes_of_many(),
        }
    }

    fn drop_holes_of_many(&mut self) {
        while self.pop_back_if(Entry::is_hole).is_some() {}
        while self.pop_front_if(Entry::is_hole).is_some() {}
    }

    fn pop_of_many(&mut self, pop: impl FnOnce(&mut Blocks) -> Option<Entry>) -> Option<Entry> {
        let Form::Many(many) = &mut self.0 else { return None };
        let popped = pop(many);
        many.len -= usize::from(popped.is_some());
        if many.blocks.len() <= 1 {
            self.0 = Form::Few(many.blocks.pop_front().unwrap_or_default());
        }
        popped
    }

    /// Takes out the first ones.
    pub fn take_first(&mut self, count: usize) -> Vec<Entry> {
        let count = count.min(self.len());
        match &mut self.0 {
            Form::Few(few) => few.drain(..count).collect(),
            Form::Many(_) => std::iter::from_fn(|| self.pop_front()).take(count).collect(),
        }
    }

    /// Takes out those that are as asked for.
    pub fn extract(&mut self, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut taken = Vec::new();
        for entry in std::mem::take(self).into_all() {
            match wanted(&entry) {
                true => taken.push(entry),
                false => self.push_back(entry),
            }
        }
        taken
    }

    /// Drops all others.
    pub fn retain(&mut self, wanted: impl Fn(&Entry) -> bool) {
        match &mut self.0 {
            Form::Few(few) => few.retain(wanted),
            Form::Many(_) => {
                let all = std::mem::take(self).into_all();
                all.filter(wanted).for_each(|entry| self.push_back(entry));
            }
        }
    }

    /// The one with this id.
    #[inline]
    pub fn find(&self, id: MessageId) -> Option<&Entry> {
        let ring = match &self.0 {
            Form::Few(few) => few,
            Form::Many(many) => many.blocks.get(many.block_of(id))?,
        };
        ring.get(place(ring, id)?)
    }

    /// The same, to be changed: not its id.
    #[inline]
    pub fn find_mut(&mut self, id: MessageId) -> Option<&mut Entry> {
        let ring = match &mut self.0 {
            Form::Few(few) => few,
            Form::Many(many) => {
                let at = many.block_of(id);
                many.blocks.get_mut(at)?
            }
        };
        let at = place(ring, id)?;
        ring.get_mut(at)
    }

    /// All, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let (few, many) = match &self.0 {
            Form::Few(few) => (Some(few), None),
            Form::Many(many) => (None, Some(&many.blocks)),
        };
        few.into_iter().chain(many.into_iter().flatten()).flatten()
    }

    /// All, in their order, for good: each block goes with its last entry.
    pub fn into_all(self) -> impl DoubleEndedIterator<Item = Entry> {
        let blocks = match self.0 {
            Form::Few(few) => VecDeque::from([few]),
            Form::Many(many) => many.blocks,
        };
        blocks.into_iter().flatten()
    }

    /// The memory of a block that has become empty.
    #[inline]
    pub fn take_room(&mut self) -> Option<Room> {
        match &mut self.0 {
            Form::Few(_) => None,
            Form::Many(many) => many.spare.take(),
        }
    }

    /// Memory for the next block. It is given up where there is none.
    pub fn lend(&mut self, room: Room) {
        if let Form::Many(many) = &mut self.0 {
            many.spare = Some(room);
        }
    }
}

impl Blocks {
    fn of(few: VecDeque<Entry>) -> Self {
        let (len, mut few) = (few.len(), few.into_iter());
        let mut blocks = VecDeque::new();
        while few.len() > 0 {
            blocks.push_back(few.by_ref().take(BLOCK).collect());
        }
        let spare = None;
        Self { blocks, len, spare }
    }

    /// A block with one entry.
    fn begin(&mut self, entry: Entry) -> VecDeque<Entry> {
        let spare = self.spare.take().map(|room| room.0);
        let mut block = spare.unwrap_or_else(|| VecDeque::with_capacity(BLOCK));
        block.push_back(entry);
        block
    }

    /// The block in which an id is, if it is in any.
    fn block_of(&self, id: MessageId) -> usize {
        self.blocks
            .partition_point(|block| block.back().is_some_and(|last| last.id < id))
    }

    /// True if an entry with this id belongs to the first places, or to the last.
    fn is_near(&self, id: MessageId, places: usize) -> bool {
        let (first, last) = (self.blocks.front(), self.blocks.back());
        let below = |block: &VecDeque<Entry>| block.partition_point(|other| other.id < id);
        first.is_some_and(|first| below(first) <= places.min(first.len() - 1))
            || last.is_some_and(|last| below(last) > 0 && last.len() - below(last) <= places)
    }

    fn push_back(&mut self, entry: Entry) {
        self.len += 1;
        match self.blocks.back_mut() {
            Some(last) if last.len() < BLOCK => last.push_back(entry),
            _ => {
                let block = self.begin(entry);
                self.blocks.push_back(block);
            }
        }
    }

    fn insert(&mut self, entry: Entry) {
        if self
            .blocks
            .back()
            .and_then(VecDeque::back)
            .is_none_or(|last| last.id < entry.id)
        {
            return self.push_back(entry);
        }
        self.len += 1;
        // The first block that ends behind it.
        let at = self.block_of(entry.id);
        let Some(block) = self.blocks.get_mut(at) else { return };
        let place = block.partition_point(|other| other.id < entry.id);
        if block.len() < BLOCK {
            block.insert(place, entry);
        } else if place > 0 {
            let mut rest = block.split_off(place);
            rest.push_front(entry);
            self.blocks.insert(at + 1, rest);
        } else {
            let before = at.checked_sub(1).and_then(|before| self.blocks.get_mut(before));
            match before {
                Some(before) if before.len() < BLOCK => before.push_back(entry),
                _ => {
                    let block = self.begin(entry);
                    self.blocks.insert(at, block);
                }
            }
        }
    }

    fn pop_front(&mut self) -> Option<Entry> {
        let block = self.blocks.front_mut()?;
        let popped = block.pop_front();
        if block.is_empty() {
            self.spare = self.blocks.pop_front().map(Room);
        }
        popped
    }

    fn pop_back(&mut self) -> Option<Entry> {
        let block = self.blocks.back_mut()?;
        let popped = block.pop_back();
        if block.is_empty() {
            self.spare = self.blocks.pop_back().map(Room);
        }
        popped
    }
}

/// The place of an entry in a ring. A queue's ids lie mostly evenly, so that its share of the way from the first id to
/// the last tells the place, give or take one.
#[inline]
fn place(ring: &VecDeque<Entry>, id: MessageId) -> Option<usize> {
    let (first, last) = (ring.front()?.id, ring.back()?.id);
    if first == id {
        return Some(0);
    }
    let (way, whole) = (id.checked_sub(first)?, (last - first).max(1));
    let guess = (way as f64 * (ring.len() - 1) as f64 / whole as f64) as usize;
    let near = [guess, guess.wrapping_sub(1), guess + 1];
    near.into_iter()
        .find(|at| ring.get(*at).is_some_and(|there| there.id == id))
        .or_else(|| search(ring, id))
}

#[cold]
fn search(ring: &VecDeque<Entry>, id: MessageId) -> Option<usize> {
    ring.binary_search_by_key(&id, |entry| entry.id).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::queue::entry::NOWHERE;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn entry(id: MessageId) -> Entry {
        Entry::new(id, NOWHERE, Message::new(b"", b"q", &[0, 0], b""))
    }

    #[test]
    fn blocks_take_no_memory_where_there_are_none() {
        assert_eq!(size_of::<Entries>(), size_of::<VecDeque<Entry>>());
        assert!(size_of::<Entry>() <= 96, "each message of a queue takes that");
    }

    /// As very many messages come back: out of one from its end, into another before all others.
    #[test]
    fn entries_that_go_from_one_to_another_take_their_room_along() {
        let mut from = Entries::default();
        let count = 100 * BLOCK;
        (0..count).for_each(|id| from.push_back(entry(id as u64)));
        let all = from.capacity();
        let (mut to, mut most, mut lent) = (Entries::default(), 0, 0);
        while let Some(entry) = from.pop_back_if(|_| true) {
            if let Some(room) = from.take_room() {
                to.lend(room);
                lent += 1;
            }
            to.insert(entry);
            most = most.max(from.capacity() + to.capacity());
        }
        assert!(most <= all + MANY + 2 * BLOCK, "{most} places for {count} entries");
        assert!(lent >= count / BLOCK - 2, "{lent} blocks were handed on");
        assert!(to.iter().map(|entry| entry.id).eq(0..count as u64));
    }

    #[test]
    fn a_place_is_near_only_at_the_ends() {
        for count in [BLOCK, 10 * BLOCK] {
            let mut entries = Entries::default();
            (0..count as u64).for_each(|id| entries.push_back(entry(id * 2)));
            for (id, near) in [(5, true), (count as u64, false), (count as u64 * 2 - 7, true)] {
                assert_eq!(entries.insert_near(entry(id), 4).is_ok(), near, "{id} of {count}");
            }
            assert_eq!(entries.len(), count + 2);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// So many, upwards by this step.
        Push(u64, u64),
        Insert(u64, u64),
        PopFront(usize),
        PopBack(usize),
        TakeFirst(usize),
        Extract(u64),
        Retain(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let count = 0..6 * BLOCK;
        prop_oneof![
            4 => (0..100u64, 1..5u64).prop_map(|(count, step)| Step::Push(count, step)),
            4 => (0..4000u64, 0..100u64).prop_map(|(first, count)| Step::Insert(first, count)),
            1 => count.clone().prop_map(Step::PopFront),
            1 => count.clone().prop_map(Step::PopBack),
            1 => count.prop_map(Step::TakeFirst),
            1 => (2..9u64).prop_map(Step::Extract),
            1 => (2..9u64).prop_map(Step::Retain),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec(step(), 1..30)) {
            let (mut entries, mut model) = (Entries::default(), BTreeMap::new());
            let add = |model: &mut BTreeMap<u64, ()>, id| model.insert(id, ()).is_none();
            for step in steps {
                match step {
                    Step::Push(count, by) => {
                        let last = model.last_key_value().map_or(1000, |(id, ())| *id);
                        for id in (1..=count).map(|n| last + n * by) {
                            add(&mut model, id);
                            entries.push_back(entry(id));
                        }
                    }
                    // Downwards, as those that come back, or upwards.
                    Step::Insert(first, count) => {
                        let mut ids: Vec<u64> = (first..first + count).collect();
                        if first % 2 == 0 {
                            ids.reverse();
                        }
                        for id in ids {
                            if add(&mut model, id) {
                                entries.insert(entry(id));
                            }
                        }
                    }
                    Step::PopFront(count) => for _ in 0..count {
                        let popped = entries.pop_front().map(|entry| entry.id);
                        prop_assert_eq!(popped, model.pop_first().map(|(id, ())| id));
                    }
                    Step::PopBack(count) => for _ in 0..count {
                        let popped = entries.pop_back_if(|_| true).map(|entry| entry.id);
                        prop_assert_eq!(popped, model.pop_last().map(|(id, ())| id));
                    }
                    Step::TakeFirst(count) => {
                        let first: Vec<u64> = entries.take_first(count).iter().map(|entry| entry.id).collect();
                        let expected: Vec<u64> = std::iter::from_fn(|| model.pop_first()).map(|(id, ())| id).take(count).collect();
                        prop_assert_eq!(first, expected);
                    }
                    Step::Extract(part) => {
                        let taken: Vec<u64> = entries.extract(|entry| entry.id % part == 0).iter().map(|entry| entry.id).collect();
                        let expected: Vec<u64> = model.extract_if(.., |id, ()| id % part == 0).map(|(id, ())| id).collect();
                        prop_assert_eq!(taken, expected);
                    }
                    Step::Retain(part) => {
                        entries.retain(|entry| entry.id % part == 0);
                        model.retain(|id, ()| id % part == 0);
                    }
                }
                prop_assert_eq!((entries.len(), entries.is_empty()), (model.len(), model.is_empty()));
                prop_assert!(entries.iter().map(|entry| entry.id).eq(model.keys().copied()));
                prop_assert_eq!(entries.front().map(|entry| entry.id), model.first_key_value().map(|(id, ())| *id));
                prop_assert_eq!(entries.back().map(|entry| entry.id), model.last_key_value().map(|(id, ())| *id));
                for id in (900..1400).step_by(7) {
                    prop_assert_eq!(entries.find(id).map(|entry| entry.id), model.contains_key(&id).then_some(id));
                    prop_assert_eq!(entries.find_mut(id).is_some(), model.contains_key(&id));
                }
            }
            prop_assert!(std::mem::take(&mut entries).into_all().rev().map(|entry| entry.id).eq(model.keys().rev().copied()));
        }
    }
}
