//! Tokens that were proved of late, by their hashes: five thousand clients that come back at once cost five thousand
//! looks, not as many signatures.
//!
//! Comes in: tokens with what they say. Goes out: what they say, for a minute, as long as the keys are the same. All of
//! them take so much memory at most. Does not know about signatures.

use parking_lot::Mutex;
use ring::digest;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time for which a token that was proved is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Bytes of tokens that are remembered, at most.
const MOST: usize = 8 << 20;
/// Bytes of one beside its text, roughly.
const ENTRY: usize = 512;

/// The hash of a token.
pub type Mark = [u8; 32];

/// The hash of a token.
pub fn mark(token: &str) -> Mark {
    let mut mark = Mark::default();
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    mark.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    mark
}

/// Told of the bytes that are taken from now on.
pub type Count = Box<dyn Fn(u64) + Send + Sync>;

/// Tokens that were proved.
pub struct Remembered<T> {
    entries: Mutex<Entries<T>>,
    count: Count,
}

struct Entries<T> {
    by_mark: HashMap<Mark, Entry<T>>,
    /// Oldest first, each once.
    order: VecDeque<Mark>,
    bytes: usize,
}

struct Entry<T> {
    what: Arc<T>,
    generation: u64,
    until: Instant,
    bytes: usize,
}

impl<T> Remembered<T> {
    /// None yet. The memory that they take is counted elsewhere.
    pub fn new(count: Count) -> Self {
        let entries = Mutex::new(Entries {
            by_mark: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        });
        Self { entries, count }
    }

    /// The contents of a token, if it was proved of late with the keys of now.
    pub fn get(&self, mark: &Mark, generation: u64) -> Option<Arc<T>> {
        let entries = self.entries.lock();
        let entry = entries.by_mark.get(mark)?;
        (entry.generation == generation && Instant::now() < entry.until).then(|| entry.what.clone())
    }

    /// Remembers a token that was proved; `len` is its length.
    pub fn add(&self, mark: Mark, what: Arc<T>, generation: u64, len: usize) {
        let entries = &mut *self.entries.lock();
        let entry = Entry {
            what,
            generation,
            until: Instant::now() + REMEMBERED,
            bytes: len + ENTRY,
        };
        entries.bytes += entry.bytes;
        match entries.by_mark.insert(mark, entry) {
            Some(old) => entries.bytes -= old.bytes,
            None => entries.order.push_back(mark),
        }
        while entries.bytes > MOST
            && let Some(oldest) = entries.order.pop_front()
        {
            let gone = entries.by_mark.remove(&oldest);
            entries.bytes -= gone.map_or(0, |gone| gone.bytes);
        }
        // Under the lock, so that the last word is about what there is.
        (self.count)(entries.bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_token_is_remembered_for_a_while_and_with_its_keys() {
        let remembered = Remembered::new(Box::new(|_| ()));
        remembered.add(mark("a"), Arc::new(1), 7, 1);
        assert_eq!(remembered.get(&mark("a"), 7).as_deref(), Some(&1));
        assert_eq!(remembered.get(&mark("a"), 8), None);
        assert_eq!(remembered.get(&mark("b"), 7), None);
        remembered.add(mark("a"), Arc::new(2), 8, 1);
        assert_eq!(remembered.get(&mark("a"), 8).as_deref(), Some(&2));
        if let Some(entry) = remembered.entries.lock().by_mark.get_mut(&mark("a")) {
            entry.until = Instant::now();
        }
        assert_eq!(remembered.get(&mark("a"), 8), None);
    }

    #[test]
    fn tokens_take_no_more_memory_than_so_much_and_it_is_counted() {
        let counted = Arc::new(AtomicU64::new(0));
        let count = counted.clone();
        let remembered = Remembered::new(Box::new(move |bytes| count.store(bytes, Ordering::Relaxed)));
        remembered.add(mark("0"), Arc::new(0), 0, 2048);
        assert_eq!(counted.load(Ordering::Relaxed), 2048 + ENTRY as u64);
        let most = MOST / (2048 + ENTRY);
        for number in 0..2 * most {
            remembered.add(mark(&number.to_string()), Arc::new(number), 0, 2048);
        }
        let entries = remembered.entries.lock();
        assert_eq!((entries.by_mark.len(), entries.order.len()), (most, most));
        assert_eq!(counted.load(Ordering::Relaxed), entries.bytes as u64);
        assert!(entries.bytes <= MOST && entries.by_mark.contains_key(&mark(&(2 * most - 1).to_string())));
    }
}
