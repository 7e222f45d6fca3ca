//! Memory of queued messages against its watermark.
//!
//! Comes in: what queues hold, as changes. Goes out: the memory alarm.

use super::{Alarms, Resource};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Memory that messages in queues take, and the mark above which publishers are stopped.
#[derive(Default)]
pub struct Memory {
    resident: AtomicI64,
    /// Bytes above which publishers are stopped.
    watermark: AtomicU64,
    alarms: Arc<Alarms>,
}

impl Memory {
    /// A limit of `watermark` bytes, with alarms of its own.
    pub fn new(watermark: u64) -> Self {
        Self::with_alarms(watermark, Arc::default())
    }

    /// A limit of `watermark` bytes that raises its alarm there.
    pub fn with_alarms(watermark: u64, alarms: Arc<Alarms>) -> Self {
        Self {
            resident: AtomicI64::new(0),
            watermark: AtomicU64::new(watermark),
            alarms,
        }
    }

    /// A queue holds `change` bytes more (or fewer). The alarm ends a tenth below the mark, so that it doesn't flutter.
    pub fn add(&self, change: i64) {
        if change == 0 {
            return;
        }
        let now = (self.resident.fetch_add(change, Ordering::Relaxed) + change).max(0) as u64;
        let mark = self.watermark();
        if change > 0 {
            if now > mark && !self.alarm() {
                self.alarms.set(Resource::Memory, true);
                tracing::warn!(bytes = now, watermark = mark, "low on memory: publishers are stopped");
            }
        } else if self.alarm() && now < mark / 10 * 9 {
            self.alarms.set(Resource::Memory, false);
            tracing::info!(bytes = now, watermark = mark, "enough memory again");
        }
    }

    /// Whether memory is short.
    pub fn alarm(&self) -> bool {
        self.alarms.is_raised(Resource::Memory)
    }

    /// Bytes that messages take.
    pub fn resident(&self) -> u64 {
        self.resident.load(Ordering::Relaxed).max(0) as u64
    }

    /// Bytes above which publishers are stopped.
    pub fn watermark(&self) -> u64 {
        self.watermark.load(Ordering::Relaxed)
    }
}

/// Lets the allocator give the system what has been free for a second. It looks for that only when large blocks come and go: after
/// a drain, when nothing does, memory would stay with the process.
pub fn give_back() {
    /// Larger than what threads keep for themselves.
    const LARGE: usize = 4 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_ends_a_tenth_below_the_mark() {
        let memory = Memory::new(1000);
        memory.add(1000);
        assert!(!memory.alarm());
        memory.add(1);
        assert!(memory.alarm());
        memory.add(-101);
        assert!(memory.alarm(), "{} are not below 900", memory.resident());
        memory.add(-1);
        assert!(!memory.alarm());
    }
}
