//! Memory for what brokers say stands on them, shared by all brokers of the operator.
//!
//! In: what a row of a list will take once it is read. Out: whether there is room. Half of the memory is divided
//! equally among the brokers that are connected, so that none can be refused what is its own; the other half goes to
//! whoever asks for more. Does not know about lists, or what the numbers are settings of.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::client::Error;

/// The parts of a number in messages.
const MIB: usize = 1024 * 1024;
/// Octets that are asked for at once: rows are small.
const STEP: usize = 64 * 1024;

/// The most that is read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of one answer.
    pub answer: usize,
    /// Memory that the lists of all brokers take together.
    pub memory: usize,
    /// The last words of a refusal: who may change the limits, and how.
    pub remedy: &'static str,
}

/// The memory, and who has how much of it.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    held: Mutex<Accounts>,
}

#[derive(Debug, Default)]
struct Accounts {
    next: u64,
    by_id: BTreeMap<u64, usize>,
}

impl Budget {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            held: Mutex::default(),
        })
    }

    /// An account for one more broker.
    pub fn account(self: &Arc<Self>) -> Account {
        let mut held = self.held.lock();
        held.next += 1;
        let id = held.next;
        held.by_id.insert(id, 0);
        Account(Arc::new(Entry {
            budget: Arc::clone(self),
            id,
        }))
    }

    /// Octets that are held by all brokers.
    pub fn held(&self) -> usize {
        self.held.lock().by_id.values().sum()
    }

    fn take(&self, id: u64, octets: usize) -> bool {
        let mut accounts = self.held.lock();
        let half = self.limits.memory / 2;
        let own = half / accounts.by_id.len().max(1);
        let beyond = |held: usize| held.saturating_sub(own);
        let Some(now) = accounts.by_id.get(&id).map(|held| held.saturating_add(octets)) else {
            return false;
        };
        let others = accounts.by_id.iter().filter(|(other, _)| **other != id);
        let shared: usize = others.map(|(_, held)| beyond(*held)).sum();
        if beyond(now) > 0 && shared.saturating_add(beyond(now)) > half {
            return false;
        }
        accounts.by_id.insert(id, now);
        true
    }

    fn give_back(&self, id: u64, octets: usize) {
        if let Some(held) = self.held.lock().by_id.get_mut(&id) {
            *held = held.saturating_sub(octets);
        }
    }
}

/// The account of one broker; it ends with its last clone and the last of what it holds.
#[derive(Clone, Debug)]
pub struct Account(Arc<Entry>);

#[derive(Debug)]
struct Entry {
    budget: Arc<Budget>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.budget.held.lock().by_id.remove(&self.id);
    }
}

impl Account {
    /// Room for one more set of lists; nothing is in it yet.
    pub fn room(&self) -> Room {
        Room {
            entry: Arc::clone(&self.0),
            taken: 0,
            used: 0,
        }
    }
}

/// Memory that is held for what was read; it is given back when this is dropped.
#[derive(Debug)]
pub struct Room {
    entry: Arc<Entry>,
    taken: usize,
    used: usize,
}

impl Room {
    /// Makes room for `octets` more.
    ///
    /// # Errors
    /// [`Error::TooMuch`] when there is none.
    pub fn take(&mut self, octets: usize) -> Result<(), Error> {
        let used = self.used.saturating_add(octets);
        if used > self.taken {
            let more = (used - self.taken).div_ceil(STEP).saturating_mul(STEP);
            if !self.entry.budget.take(self.entry.id, more) {
                return Err(self.full());
            }
            self.taken = self.taken.saturating_add(more);
        }
        self.used = used;
        Ok(())
    }

    /// Refuses an answer of `octets` or more.
    ///
    /// # Errors
    /// [`Error::TooMuch`] above the limit of one answer.
    pub fn admit(&self, what: &str, octets: usize) -> Result<(), Error> {
        let Limits { answer, remedy, .. } = self.entry.budget.limits;
        if octets <= answer {
            return Ok(());
        }
        let text = format!("its answer to {what} has more than {} MiB; {remedy}", answer / MIB);
        Err(Error::TooMuch(text))
    }

    fn full(&self) -> Error {
        let Limits { memory, remedy, .. } = self.entry.budget.limits;
        Error::TooMuch(format!(
            "what stands on it takes more than {} MiB, and the brokers of this operator have {} MiB together; {remedy}",
            self.taken / MIB,
            memory / MIB
        ))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.entry.budget.give_back(self.entry.id, self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(memory: usize) -> Arc<Budget> {
        Budget::new(Limits {
            answer: 16 * MIB,
            memory,
            remedy: "raise it",
        })
    }

    #[test]
    fn none_is_refused_what_is_its_own() {
        let budget = budget(64 * MIB);
        let (greedy, modest) = (budget.account(), budget.account());
        let mut much = greedy.room();
        // Its own quarter, and all that is shared.
        much.take(48 * MIB).expect("there is room");
        let refused = much.take(MIB).expect_err("there is none");
        let Error::TooMuch(text) = refused else {
            panic!("{refused:?}")
        };
        assert!(text.contains("64 MiB together") && text.ends_with("raise it"), "{text}");
        let mut little = modest.room();
        little.take(15 * MIB).expect("its own");
        assert!(little.take(2 * MIB).is_err());
        drop(much);
        little.take(2 * MIB).expect("shared");
        drop((little, modest));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn old_and_new_lists_count_until_the_old_ones_go() {
        let budget = budget(8 * MIB);
        let account = budget.account();
        let mut old = account.room();
        old.take(5 * MIB).expect("room");
        let mut new = account.room();
        assert!(new.take(5 * MIB).is_err());
        drop(old);
        new.take(5 * MIB).expect("room");
        assert!(new.admit("x", 16 * MIB).is_ok() && new.admit("x", 16 * MIB + 1).is_err());
    }
}
