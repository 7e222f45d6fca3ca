//! Process-wide limits: memory of queued messages.
//!
//! Comes in: what queues hold, as changes. Goes out: whether publishers must wait, and a wake-up when they need not any more.

use crate::connection::outbox::Outbox;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Memory that messages in queues take, and the mark above which publishers are stopped.
#[derive(Default)]
pub struct Memory {
    resident: AtomicI64,
    /// Bytes above which publishers are stopped.
    watermark: AtomicU64,
    alarm: AtomicBool,
    blocked: Mutex<Vec<Arc<Outbox>>>,
}

impl Memory {
    /// A limit of `watermark` bytes.
    pub fn new(watermark: u64) -> Self {
        Self {
            watermark: AtomicU64::new(watermark),
            ..Self::default()
        }
    }

    /// A queue holds `change` bytes more (or fewer).
    pub fn add(&self, change: i64) {
        if change == 0 {
            return;
        }
        let now = self.resident.fetch_add(change, Ordering::Relaxed) + change;
        let mark = self.watermark();
        if change > 0 {
            if now.max(0) as u64 > mark && !self.alarm.load(Ordering::Relaxed) {
                self.alarm.store(true, Ordering::SeqCst);
            }
        } else if self.alarm.load(Ordering::Relaxed) && (now.max(0) as u64) < mark / 10 * 9 {
            self.alarm.store(false, Ordering::SeqCst);
            let blocked = std::mem::take(&mut *self.blocked.lock());
            for outbox in blocked {
                outbox.nudge();
            }
        }
    }

    /// Whether publishers must wait.
    pub fn alarm(&self) -> bool {
        self.alarm.load(Ordering::Relaxed)
    }

    /// Wakes the connection when the alarm ends. Look at [`Memory::alarm`] again after this call.
    pub fn wait(&self, outbox: &Arc<Outbox>) {
        let mut blocked = self.blocked.lock();
        if !blocked.iter().any(|other| Arc::ptr_eq(other, outbox)) {
            blocked.push(outbox.clone());
        }
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

/// Memory that this process may use, bytes: the cgroup's limit, or what the machine has.
pub fn memory_limit() -> u64 {
    let number = |path: &str| crate::files::read_small(path).and_then(|text| text.trim().parse::<u64>().ok());
    let cgroup = number("/sys/fs/cgroup/memory.max").or_else(|| number("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    let machine = crate::files::read_small("/proc/meminfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace()
            .nth(1)?
            .parse::<u64>()
            .ok()
            .map(|kib| kib * 1024)
    });
    // Without a limit cgroup v1 shows a number near 2^63.
    [cgroup, machine].into_iter().flatten().min().unwrap_or(1 << 30)
}
