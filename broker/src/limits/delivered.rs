//! Messages that clients have and have not acknowledged: each takes a place in its queue and in its channel, wherever
//! its body is.
//!
//! Comes in: the number of each channel. Goes out: how many more a channel may get. A client that takes all there is
//! and acknowledges nothing gets no more than there is memory for; one that acknowledges goes on.
//! Does not know about channels or queues.

use super::memory::Memory;
use super::waiter::Waiter;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Memory of a message that was delivered, in its queue and in its channel, bytes: as measured.
pub const EACH: u64 = 160;
/// The step in which a channel counts its messages.
const STEP: usize = 1024;
/// Messages that a channel may always have, where there are by far too many; and the part of the mark above it.
const FEW: u64 = 128;
const PART: u64 = 64;

impl Memory {
    /// The number of messages above which channels get no more: half of what messages may take.
    fn most_delivered(&self) -> u64 {
        self.watermark() / 2 / EACH
    }

    /// True if a channel that has so many messages unacknowledged is to get no more at the moment.
    pub fn has_enough(&self, unacknowledged: u32) -> bool {
        let (most, now) = (self.most_delivered(), self.delivered.load(Ordering::Relaxed));
        if now <= most {
            return false;
        }
        let few = if now > most + most / 2 {
            FEW
        } else {
            (most / PART).max(FEW)
        };
        u64::from(unacknowledged) >= few
    }

    /// Wakes `waiter` when there are fewer. Look again at [`Memory::has_enough`] after this call.
    pub fn wait_for_fewer<W: Waiter + 'static>(&self, waiter: &Arc<W>) {
        self.line.lock().insert(Arc::as_ptr(waiter).addr(), waiter.clone());
    }

    /// A channel's count, which begins with none.
    pub fn delivered(self: &Arc<Self>) -> Delivered {
        Delivered {
            memory: self.clone(),
            counted: 0,
        }
    }

    fn delivered_changes(&self, from: usize, to: usize) {
        let most = self.most_delivered();
        if to > from {
            self.delivered.fetch_add((to - from) as u64, Ordering::Relaxed);
            return;
        }
        let less = (from - to) as u64;
        let before = self.delivered.fetch_sub(less, Ordering::Relaxed);
        let crossed = |mark: u64| before > mark && before - less <= mark;
        if crossed(most) || crossed(most + most / 2) {
            let line = std::mem::take(&mut *self.line.lock());
            line.into_values().for_each(|waiter| waiter.look_again());
        }
    }
}

/// The messages that one channel has not acknowledged.
pub struct Delivered {
    memory: Arc<Memory>,
    counted: usize,
}

impl Delivered {
    /// So many now.
    #[inline]
    pub fn set(&mut self, messages: usize) {
        if messages.abs_diff(self.counted) >= STEP {
            self.count(messages);
        }
    }

    #[cold]
    fn count(&mut self, messages: usize) {
        self.memory.delivered_changes(self.counted, messages);
        self.counted = messages;
    }
}

impl Drop for Delivered {
    fn drop(&mut self) {
        if self.counted > 0 {
            self.count(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Waiter for Count {
        fn look_again(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_has_many_gets_no_more_until_there_are_fewer() {
        const MOST: usize = 100_000;
        let memory = Arc::new(Memory::new(2 * EACH * MOST as u64));
        let (mut greedy, mut modest) = (memory.delivered(), memory.delivered());
        greedy.set(MOST);
        assert!(!memory.has_enough(MOST as u32));
        modest.set(STEP - 1);
        assert!(!memory.has_enough(MOST as u32), "few are not counted");
        modest.set(STEP);
        let part = (MOST / 64) as u32;
        assert!(memory.has_enough(part) && !memory.has_enough(part - 1));
        greedy.set(2 * MOST);
        assert!(memory.has_enough(FEW as u32) && !memory.has_enough(FEW as u32 - 1));
        let waiter = Arc::new(Count::default());
        memory.wait_for_fewer(&waiter);
        modest.set(0);
        assert_eq!(waiter.0.load(Ordering::Relaxed), 0);
        drop(greedy);
        assert_eq!(waiter.0.load(Ordering::Relaxed), 1);
        assert!(!memory.has_enough(u32::MAX));
    }
}
