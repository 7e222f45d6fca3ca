//! Memory against its limits: messages in queues and transactions against the watermark, the whole process against the
//! memory that it may use.
//!
//! Comes in: changes of the memory of queues and transactions, and of what else is counted; the memory of this process.
//! Goes out: the memory alarm, and whether there is room for more.

use super::alarms::{Alarms, Resource};
use super::held::{Counts, Held, Holding};
use super::waiter::Line;
use crate::error::Error;
use crate::files::read_small;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Memory that messages take, and the mark above which publishers are stopped.
#[derive(Default)]
pub struct Memory {
    resident: Apart<AtomicI64>,
    /// Of it in open transactions.
    reserved: AtomicU64,
    /// Bytes of messages above which publishers are stopped.
    watermark: AtomicU64,
    /// True if messages are above their mark.
    messages: AtomicBool,
    /// True if the process is above its own: buffers of many connections count there, too.
    process: AtomicBool,
    /// Memory that is not messages.
    counts: Arc<Counts>,
    /// The process when it was last looked at.
    looked: Looked,
    /// Messages that clients have not acknowledged, and those who wait for fewer.
    pub(super) delivered: AtomicU64,
    pub(super) line: Mutex<Line>,
    /// Locked while the alarm follows the two.
    deciding: Mutex<Told>,
    alarms: Arc<Alarms>,
}

/// A number that changes all the time, apart from those that are only looked at.
#[derive(Default)]
#[repr(align(64))]
struct Apart<T>(T);

/// The last look at the process.
#[derive(Default)]
struct Looked {
    /// Memory of the process, bytes.
    process: AtomicU64,
    /// Counted memory at that time, bytes.
    counted: AtomicU64,
    /// Memory that the process may use, bytes; 0 until the first look.
    limit: AtomicU64,
}

/// No room for what a client asks to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{used} bytes of memory are in use, above the mark of {mark} bytes")]
pub struct Full {
    /// Bytes in use, with what was asked for.
    pub used: u64,
    /// Bytes that may be used.
    pub mark: u64,
}

impl From<Full> for Error {
    fn from(full: Full) -> Self {
        Self::Precondition(format!("{full}: delete what is not needed, or give the broker more memory").into())
    }
}

impl Memory {
    /// A limit of `watermark` bytes, with separate alarms.
    pub fn new(watermark: u64) -> Self {
        Self::with_alarms(watermark, Arc::default())
    }

    /// A limit of `watermark` bytes that raises its alarm there.
    pub fn with_alarms(watermark: u64, alarms: Arc<Alarms>) -> Self {
        Self {
            watermark: AtomicU64::new(watermark),
            alarms,
            ..Self::default()
        }
    }

    /// The messages of a queue take `change` bytes more (or fewer). The alarm ends a tenth below the mark, so that it
    /// doesn't flutter.
    pub fn add(&self, change: i64) {
        if change == 0 {
            return;
        }
        let now = (self.resident.0.fetch_add(change, Ordering::Relaxed) + change).max(0) as u64;
        self.messages_take(now, self.watermark());
    }

    /// A transaction takes `bytes` more. False, and it must not, where transactions would hold more than half of the
    /// watermark: only their clients can free that, and those aren't read while the alarm is on. The other half is for
    /// consumers to free.
    pub fn reserve(&self, bytes: u64) -> bool {
        let reserved = self.reserved.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if reserved > self.watermark() / 2 {
            self.reserved.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.add(bytes as i64);
        true
    }

    /// A transaction that reserved `bytes` has ended.
    pub fn release(&self, bytes: u64) {
        self.reserved.fetch_sub(bytes, Ordering::Relaxed);
        self.add(-(bytes as i64));
    }

    /// Bytes more that are not messages, until the value that is returned is dropped.
    pub fn hold(&self, what: Holding, bytes: u64) -> Held {
        self.counts.hold(what, bytes)
    }

    /// Bytes held for a use.
    pub fn held(&self, what: Holding) -> u64 {
        self.counts.held(what)
    }

    /// Bytes that a use may have, where it has a share: a quarter of what messages may.
    pub fn share(&self) -> u64 {
        self.watermark() / 4
    }

    /// True if a use has more than its share.
    pub fn is_over_share(&self, what: Holding) -> bool {
        self.held(what) > self.share()
    }

    /// Counts a buffer with messages once, however many queues and clients share it: until the last slice of what is
    /// returned is dropped.
    pub fn count_buffer(self: &Arc<Self>, buffer: Bytes) -> Bytes {
        self.add(buffer.len() as i64);
        let memory = self.clone();
        Bytes::from_owner(Counted { buffer, memory })
    }

    /// True if the process takes more than half of the memory that it may use: threads that are never idle, too, are to
    /// give back what they have emptied.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.looked.process.load(Ordering::Relaxed) > self.looked.limit.load(Ordering::Relaxed) / 2
    }

    /// Asks for room for `bytes` more that a client wants kept: a declaration, say. The process was last looked at some
    /// milliseconds ago; memory that has been counted since then is added.
    ///
    /// # Errors
    /// The process would take more than three quarters of the memory that it may use.
    pub fn admit(&self, bytes: u64) -> Result<(), Full> {
        let limit = self.looked.limit.load(Ordering::Relaxed);
        if limit == 0 {
            return Ok(());
        }
        let since = self
            .counted()
            .saturating_sub(self.looked.counted.load(Ordering::Relaxed));
        let used = self.looked.process.load(Ordering::Relaxed) + since + bytes;
        let mark = high_mark(limit);
        if used > mark { Err(Full { used, mark }) } else { Ok(()) }
    }

    /// Bytes that declarations may take: a quarter of what the process may use. A start, and a checkpoint, need up to
    /// three times what durable ones take while the broker runs.
    pub fn most_of_declarations(&self) -> u64 {
        match self.looked.limit.load(Ordering::Relaxed) {
            0 => u64::MAX,
            limit => limit / 4,
        }
    }

    /// Bytes that are counted: messages and all else.
    fn counted(&self) -> u64 {
        self.resident() + self.counts.sum()
    }

    /// The process takes `now` bytes of the `limit` that it may use. Publishers are stopped above three quarters, until
    /// it is below two thirds.
    pub fn process_takes(&self, now: u64, limit: u64) {
        self.looked.counted.store(self.counted(), Ordering::Relaxed);
        self.looked.process.store(now, Ordering::Relaxed);
        self.looked.limit.store(limit, Ordering::Relaxed);
        self.compare(
            &self.process,
            "memory of the process",
            now,
            (limit / 3 * 2, high_mark(limit)),
        );
    }

    /// Another mark from now on, bytes. What is in memory already counts against it at once.
    pub fn set_watermark(&self, bytes: u64) {
        self.watermark.store(bytes, Ordering::SeqCst);
        self.messages_take(self.resident(), bytes);
    }

    fn messages_take(&self, now: u64, mark: u64) {
        self.compare(&self.messages, "messages in memory", now, (mark / 10 * 9, mark));
    }

    /// Notes when `now` has come above the upper mark, or below the lower one after that.
    fn compare(&self, above: &AtomicBool, what: &'static str, now: u64, (low, high): (u64, u64)) {
        let was = above.load(Ordering::Relaxed);
        if (now > high && !was) || (now < low && was) {
            above.store(!was, Ordering::SeqCst);
            self.decide(what, now, high);
        }
    }

    fn decide(&self, what: &'static str, now: u64, limit: u64) {
        let mut told = self.deciding.lock();
        let on = self.messages.load(Ordering::SeqCst) || self.process.load(Ordering::SeqCst);
        if on == self.alarm() {
            return;
        }
        self.alarms.set(Resource::Memory, on);
        if on && told.start() {
            tracing::warn!(what, bytes = now, limit, "low on memory: publishers are stopped");
        } else if !on && told.end() {
            tracing::info!(what, bytes = now, limit, "enough memory again");
        }
    }

    /// True if memory is short.
    pub fn alarm(&self) -> bool {
        self.alarms.is_raised(Resource::Memory)
    }

    /// Bytes that messages take.
    pub fn resident(&self) -> u64 {
        self.resident.0.load(Ordering::Relaxed).max(0) as u64
    }

    /// Bytes above which publishers are stopped.
    pub fn watermark(&self) -> u64 {
        self.watermark.load(Ordering::Relaxed)
    }
}

/// A buffer that counts as messages in memory.
struct Counted {
    buffer: Bytes,
    memory: Arc<Memory>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.memory.add(-(self.buffer.len() as i64));
    }
}

/// When the log told of an alarm. A publisher that is faster than its consumers raises one several times a second.
#[derive(Default)]
struct Told {
    last: Option<Instant>,
    now: bool,
}

impl Told {
    const PAUSE: Duration = Duration::from_secs(10);

    /// True if an alarm that begins is to be told.
    fn start(&mut self) -> bool {
        self.now = self.last.is_none_or(|last| last.elapsed() >= Self::PAUSE);
        if self.now {
            self.last = Some(Instant::now());
        }
        self.now
    }

    /// True if its end is to be told: its beginning was.
    fn end(&mut self) -> bool {
        std::mem::take(&mut self.now)
    }
}

/// Bytes of the process above which publishers are stopped.
pub fn high_mark(limit: u64) -> u64 {
    limit / 4 * 3
}

/// Memory of this process that no file stands behind, bytes.
pub fn process_bytes() -> Option<u64> {
    let text = read_small("/proc/self/statm")?;
    let mut pages = text
        .split_whitespace()
        .skip(1)
        .map_while(|pages| pages.parse::<u64>().ok());
    let (resident, of_files) = (pages.next()?, pages.next()?);
    Some(resident.saturating_sub(of_files) * rustix::param::page_size() as u64)
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

    #[test]
    fn another_mark_counts_at_once() {
        let memory = Memory::new(1000);
        memory.add(800);
        memory.set_watermark(799);
        assert!(memory.alarm());
        memory.set_watermark(885);
        assert!(memory.alarm(), "{} are not a tenth below 885", memory.resident());
        memory.set_watermark(900);
        assert!(!memory.alarm());
        memory.set_watermark(800);
        assert!(!memory.alarm(), "at the mark is not above it");
        memory.add(1);
        assert!(memory.alarm());
    }

    #[test]
    fn transactions_alone_never_raise_the_alarm() {
        let memory = Memory::new(1000);
        assert!(memory.reserve(500) && !memory.reserve(1));
        memory.add(501);
        assert!(memory.alarm(), "together they do");
        memory.add(-501);
        assert!(!memory.alarm());
        memory.release(500);
        assert!(memory.resident() == 0 && memory.reserve(500));
    }

    #[test]
    fn the_process_as_a_whole_counts_too() {
        let memory = Memory::new(1000);
        memory.process_takes(7500, 10_000);
        assert!(!memory.alarm());
        memory.process_takes(7501, 10_000);
        assert!(memory.alarm());
        memory.add(1001);
        memory.process_takes(6000, 10_000);
        assert!(memory.alarm(), "messages alone are too much now");
        memory.add(-200);
        assert!(!memory.alarm());
    }

    #[test]
    fn above_half_of_the_limit_it_is_crowded() {
        let memory = Memory::new(1000);
        assert!(!memory.is_crowded(), "nothing is known yet");
        memory.process_takes(5000, 10_000);
        assert!(!memory.is_crowded());
        memory.process_takes(5001, 10_000);
        assert!(memory.is_crowded());
    }

    #[test]
    fn there_is_room_up_to_three_quarters_of_the_limit() {
        let memory = Memory::new(1000);
        assert_eq!(memory.admit(u64::MAX / 2), Ok(()), "nothing is known yet");
        let tables = memory.hold(Holding::Tables, 500);
        memory.process_takes(6000, 10_000);
        assert_eq!(memory.admit(1500), Ok(()));
        assert_eq!(memory.admit(1501), Err(Full { used: 7501, mark: 7500 }));
        let more = memory.hold(Holding::Tables, 1000);
        memory.add(400);
        assert_eq!(memory.admit(100), Ok(()), "counted since the look");
        assert_eq!(memory.admit(101), Err(Full { used: 7501, mark: 7500 }));
        drop((tables, more));
        assert_eq!(memory.admit(1500), Ok(()), "less than at the look is not room yet");
        assert_eq!(memory.held(Holding::Tables), 0);
        memory.process_takes(4500, 10_000);
        assert_eq!(memory.admit(3000), Ok(()));
    }

    #[test]
    fn a_buffer_counts_once_until_its_last_slice_is_dropped() {
        let memory = Arc::new(Memory::new(u64::MAX));
        let buffer = memory.count_buffer(Bytes::from(vec![7; 1000]));
        let slices: Vec<Bytes> = (0..100).map(|at| buffer.slice(at..at + 1)).collect();
        drop(buffer);
        assert_eq!((memory.resident(), slices[3].as_ref()), (1000, &[7][..]));
        drop(slices);
        assert_eq!(memory.resident(), 0);
    }

    #[test]
    fn the_log_is_told_of_one_alarm_in_a_while() {
        let mut told = Told::default();
        assert!(told.start() && told.end());
        assert!(!told.start() && !told.end());
    }

    #[test]
    fn this_process_takes_something() {
        assert!(process_bytes().is_some_and(|bytes| bytes > 100_000));
    }
}
