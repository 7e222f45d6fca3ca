//! Turns among those that take part: the highest priority first, in a ring within a priority.
//!
//! Comes in: places as they join and leave. Goes out: the place whose turn it is. Each step takes the same time however
//! many there are, but for the logarithm of the number of priorities.
//! Does not know what the places stand for.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The number of one that can take part. Small: there are links for all up to the highest.
pub(super) type Place = u32;

/// The rings, one for each priority.
#[derive(Default)]
pub(super) struct Turns {
    /// The ring with the highest priority, if anyone takes part.
    first: Option<Ring>,
    /// The places whose turn it is in the others.
    others: BTreeMap<Reverse<i32>, Place>,
    links: Vec<Link>,
}

struct Ring {
    priority: i32,
    next: Place,
}

/// The neighbours in a ring; oneself if there is no other.
#[derive(Clone, Copy, Default)]
struct Link {
    before: Place,
    behind: Place,
}

impl Turns {
    /// The place whose turn it is.
    #[inline]
    pub(super) fn next(&self) -> Option<Place> {
        self.first.as_ref().map(|ring| ring.next)
    }

    /// The turn goes on to the one behind.
    #[inline]
    pub(super) fn pass(&mut self) {
        if let Some(ring) = &mut self.first
            && let Some(link) = self.links.get(ring.next as usize)
        {
            ring.next = link.behind;
        }
    }

    /// Takes one in that doesn't take part yet: its turn comes after all others' of its priority.
    pub(super) fn join(&mut self, priority: i32, place: Place) {
        if self.links.len() <= place as usize {
            self.links.resize(place as usize + 1, Link::default());
        }
        let next = match &self.first {
            Some(ring) if ring.priority == priority => Some(ring.next),
            Some(ring) if ring.priority > priority => self.others.get(&Reverse(priority)).copied(),
            _ => None,
        };
        let Some(behind) = next else {
            return self.open(priority, place);
        };
        let before = self.link(behind).before;
        self.set(place, Link { before, behind });
        self.tie(before, place);
        self.tie(place, behind);
    }

    /// The first of its priority.
    fn open(&mut self, priority: i32, place: Place) {
        self.tie(place, place);
        let ring = Ring { priority, next: place };
        match &mut self.first {
            Some(first) if first.priority > priority => _ = self.others.insert(Reverse(priority), place),
            first => {
                if let Some(second) = first.replace(ring) {
                    self.others.insert(Reverse(second.priority), second.next);
                }
            }
        }
    }

    /// Takes one out. The turn of the others stays whose it was.
    pub(super) fn leave(&mut self, priority: i32, place: Place) {
        let Link { before, behind } = self.link(place);
        let alone = behind == place;
        self.tie(before, behind);
        match &mut self.first {
            Some(ring) if ring.priority == priority => {
                if alone {
                    let second = self.others.pop_first();
                    self.first = second.map(|(Reverse(priority), next)| Ring { priority, next });
                } else if ring.next == place {
                    ring.next = behind;
                }
            }
            _ if alone => _ = self.others.remove(&Reverse(priority)),
            _ => {
                if let Some(next) = self.others.get_mut(&Reverse(priority)).filter(|next| **next == place) {
                    *next = behind;
                }
            }
        }
    }

    fn link(&self, place: Place) -> Link {
        self.links.get(place as usize).copied().unwrap_or_default()
    }

    fn set(&mut self, place: Place, link: Link) {
        if let Some(old) = self.links.get_mut(place as usize) {
            *old = link;
        }
    }

    fn tie(&mut self, before: Place, behind: Place) {
        if let Some(link) = self.links.get_mut(before as usize) {
            link.behind = behind;
        }
        if let Some(link) = self.links.get_mut(behind as usize) {
            link.before = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[derive(Clone, Debug)]
    enum Step {
        Join(Place),
        Leave(Place),
        Pass,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..12_u32).prop_map(Step::Join),
            (0..12_u32).prop_map(Step::Leave),
            Just(Step::Pass),
        ]
    }

    fn priority(place: Place) -> i32 {
        (place % 4) as i32 - 2
    }

    proptest! {
        #[test]
        fn turns_are_those_of_a_queue_for_each_priority(steps in proptest::collection::vec(step(), 0..200)) {
            let mut turns = Turns::default();
            let mut model: BTreeMap<Reverse<i32>, VecDeque<Place>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Join(place) => {
                        let queue = model.entry(Reverse(priority(place))).or_default();
                        if !queue.contains(&place) {
                            queue.push_back(place);
                            turns.join(priority(place), place);
                        }
                    }
                    Step::Leave(place) => {
                        let queue = model.entry(Reverse(priority(place))).or_default();
                        if queue.contains(&place) {
                            queue.retain(|other| *other != place);
                            turns.leave(priority(place), place);
                        }
                    }
                    Step::Pass => {
                        turns.pass();
                        if let Some(queue) = model.values_mut().find(|queue| !queue.is_empty()) {
                            queue.rotate_left(1);
                        }
                    }
                }
                let expected = model.values().find_map(|queue| queue.front());
                prop_assert_eq!(turns.next(), expected.copied());
            }
        }
    }
}
