//! Frames that wait to be written to one client: appended by all that have some for it, written by its connection.
//!
//! Comes in: frames from the connection's own channels and from queues that deliver on other connections' threads. Goes
//! out: all of them per wake-up; word to those who have more than the client takes. The memory of all outboxes together
//! has a share: beyond it, each gets the next message only when the client has taken the last.
//! Does not know about channels, queues or sockets.

/// Encoded frames.
pub mod frames;

/// Records on their way to the log.
pub mod records;

/// Things that wait in a line.
pub mod line;

use crate::clock::{self, Millis};
use crate::limits::{Held, Holding, Memory, Waiter};
use bytes::Bytes;
use frames::Frames;
use leveret_store::{Batch, Error, Handle, Lsn, Urgency};
use line::Line;
use parking_lot::Mutex;
use records::Records;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Bytes waiting for one client above which queues stop delivering to it. Large enough for one write to carry thousands
/// of small messages, small enough that a client that doesn't read costs little.
pub const ROOM_BYTES: usize = 512 * 1024;
/// Bytes waiting for one client above which its requests are not carried out: it doesn't read the answers.
const ANSWERS: usize = 1024 * 1024;
/// The same while all outboxes together have more than their share.
const LITTLE: usize = 16 * 1024;
/// Memory by which an outbox may grow or shrink before that is counted, bytes.
const COUNTED: usize = 4 * 1024;

/// The outgoing frames of one connection. Shared by its channels and by the queues that they consume from.
pub struct Outbox {
    state: Mutex<State>,
    /// Bytes that wait, readable without the lock: a queue asks for room before every delivery.
    queued: AtomicUsize,
    memory: Arc<Memory>,
    /// Set from the first append until the connection takes the buffer: one wake-up per batch, not per message.
    wake_pending: AtomicBool,
    /// Set while the connection is on the list of those that wait for the log.
    waiting: AtomicBool,
}

/// Something that had more for a client than there was room for.
pub trait Stalled: Send + Sync {
    /// There is room again.
    fn resume(self: Arc<Self>, work: &mut Work);

    /// There is room again for the consumer with this number, under a limit that it shares with others.
    fn resume_consumer(self: Arc<Self>, consumer: u64, work: &mut Work);
}

/// Work that a batch leaves for its end, collected by the thread that goes through it: records for the log, connections
/// to wake. Every batch ends with [`Work::finish`]: records that are dropped would be messages that come again after a
/// crash.
#[derive(Default)]
pub struct Work {
    /// Connections that have something to write.
    pub wakes: Wakes,
    /// Acknowledgements, requeues, delivery marks: records that no client waits for.
    records: Records,
    /// Things to do once the batch is through, after its records.
    leftovers: Vec<Box<dyn Leftover>>,
    /// Times that these have left more of them.
    rounds: usize,
    /// Time for which the publisher of the batch should not be read.
    pub pause: Duration,
    now: Option<Instant>,
    millis: Option<Millis>,
    /// The time on the wall clock, for tests that set it.
    #[cfg(test)]
    pub set_time: Option<Millis>,
}

/// Something that cannot be done under the lock where it comes up, and is done at the end of the batch.
pub trait Leftover: Send {
    /// Does it. It may leave more.
    fn finish(self: Box<Self>, work: &mut Work);
}

/// Bytes of records that are collected before they are passed to the log within a batch.
const RECORDS_LIMIT: usize = 1024 * 1024;

impl Work {
    /// The batch's begin: the clock is read once for everything that it touches.
    pub fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(Instant::now)
    }

    /// The same on the wall clock.
    pub fn millis(&mut self) -> Millis {
        #[cfg(test)]
        if let Some(set) = self.set_time {
            return set;
        }
        *self.millis.get_or_insert_with(clock::now)
    }

    /// At the end of the batch: the rounds of what is left for it, each left by the one before.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Leaves something for the end of the batch.
    pub fn leave(&mut self, leftover: Box<dyn Leftover>) {
        self.leftovers.push(leftover);
    }

    /// The records to add to. To be called before the lock of the queue is let go that they are about.
    pub fn records(&mut self, log: &Handle) -> &mut Batch {
        self.records.of(log)
    }

    /// Size of the records so far, bytes.
    pub fn records_len(&self) -> usize {
        self.records.len_bytes()
    }

    /// Appends the records amid a batch if they have become many.
    ///
    /// # Errors
    /// The log has failed.
    pub fn relieve(&mut self, log: &Handle) -> Result<(), Error> {
        if self.records.len_bytes() > RECORDS_LIMIT {
            self.records.append(log, Urgency::Soon)?;
        }
        Ok(())
    }

    /// Appends the records for a client that waits for them, from the position that is returned on; `None` if there are
    /// none.
    ///
    /// # Errors
    /// The log has failed.
    pub fn append_now(&mut self, log: &Handle) -> Result<Option<Lsn>, Error> {
        let appended = self.records.append(log, Urgency::Now)?;
        Ok(appended.map(|appended| appended.lsn))
    }

    /// Between batches, after some time: gives up the room for more records.
    pub fn rest(&mut self) {
        self.records.rest();
    }

    /// The end of a batch: appends the records and wakes the connections that got something.
    ///
    /// # Errors
    /// The log has failed: the records are lost, as everything that it did not sync; connections are woken all the
    /// same.
    pub fn finish(&mut self, log: &Handle) -> Result<(), Error> {
        let mut appended = self.records.append(log, Urgency::Soon);
        while appended.is_ok() && !self.leftovers.is_empty() {
            self.rounds += 1;
            for leftover in std::mem::take(&mut self.leftovers) {
                leftover.finish(self);
            }
            appended = self.records.append(log, Urgency::Soon);
        }
        if appended.is_err() {
            self.records = Records::default();
            self.leftovers.clear();
        }
        (self.now, self.millis, self.rounds) = (None, None, 0);
        self.wakes.flush();
        appended.map(|_| ())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        debug_assert!(
            (self.records.len_bytes() == 0 && self.leftovers.is_empty()) || std::thread::panicking(),
            "a batch was not finished"
        );
    }
}

struct State {
    frames: Frames,
    /// Memory of the frames that the connection is writing.
    taken: usize,
    /// Memory of both.
    held: Held,
    waker: Option<Waker>,
    /// Queues that had something for this client when there was no room: asked again once the frames have been taken.
    stalled: Option<Box<Line<dyn Stalled>>>,
    closed: bool,
    nudged: bool,
}

impl State {
    /// Counts its memory, where that is worth it.
    #[inline]
    fn count(&mut self) {
        let bytes = (self.frames.capacity() + self.taken) as u64;
        if bytes.abs_diff(self.held.bytes()) >= COUNTED as u64 {
            self.held.set(bytes);
        }
    }

    fn note_stalled(&mut self, queue: &Arc<dyn Stalled>) {
        if !self.closed {
            self.stalled.get_or_insert_default().push(queue);
        }
    }
}

impl Outbox {
    /// An empty one, whose memory counts.
    pub fn new(memory: Arc<Memory>) -> Self {
        let state = State {
            frames: Frames::default(),
            taken: 0,
            held: memory.hold(Holding::Outboxes, 0),
            waker: None,
            stalled: None,
            closed: false,
            nudged: false,
        };
        Self {
            state: Mutex::new(state),
            queued: AtomicUsize::new(0),
            memory,
            wake_pending: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
        }
    }

    /// Appends through `encode`, which gets the frames. Nothing happens once the connection has gone. The caller owes a
    /// wake-up: see [`Wakes`].
    pub fn append(self: &Arc<Self>, wakes: &mut Wakes, encode: impl FnOnce(&mut Frames)) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        encode(&mut state.frames);
        self.queued.store(state.frames.len(), Ordering::Release);
        state.count();
        drop(state);
        if !self.wake_pending.swap(true, Ordering::AcqRel) {
            wakes.0.push(self.clone());
        }
    }

    /// Marks the connection as waiting for the log; returns whether it was before.
    pub fn set_waiting(&self, waiting: bool) -> bool {
        self.waiting.swap(waiting, Ordering::AcqRel)
    }

    /// Bytes that wait to be written.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Acquire)
    }

    /// Bytes that queues may still deliver to this client now.
    pub fn room(&self) -> usize {
        self.most(ROOM_BYTES).saturating_sub(self.queued())
    }

    /// True if nothing more that the client asks for is to be carried out now.
    pub fn is_full(&self) -> bool {
        self.queued() >= self.most(ANSWERS)
    }

    /// The limit of what may wait.
    fn most(&self, usual: usize) -> usize {
        match self.is_tight() {
            false => usual,
            true => LITTLE,
        }
    }

    /// True if all outboxes together have more than their share.
    pub fn is_tight(&self) -> bool {
        self.memory.is_over_share(Holding::Outboxes)
    }

    /// Memory that messages take, and all else that is counted.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Has `queue` resumed when the connection is next nudged, or has taken what waits.
    pub fn resume_later(&self, queue: &Arc<dyn Stalled>) {
        self.state.lock().note_stalled(queue);
    }

    /// A body as something to refer to until it is written. One that does not count by its buffer counts here.
    pub fn refer_to(&self, body: Bytes, counted: bool) -> Bytes {
        match counted {
            true => body,
            false => {
                let held = self.memory.hold(Holding::Outboxes, body.len() as u64);
                Bytes::from_owner(Referred { body, _held: held })
            }
        }
    }

    /// Notes that `queue` has more for this client. False if there is room after all (the caller tries again).
    pub fn stall(&self, queue: &Arc<dyn Stalled>) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return true;
        }
        if state.frames.len() < self.most(ROOM_BYTES) {
            return false;
        }
        state.note_stalled(queue);
        true
    }

    /// Swaps the frames against `written`, all of which have been written, and returns the number of queues that wait
    /// for room. Pending: nothing to write; the task is woken at the next append or nudge.
    pub fn poll_take(&self, context: &mut Context<'_>, written: &mut Frames) -> Poll<usize> {
        let mut state = self.state.lock();
        self.wake_pending.store(false, Ordering::Release);
        if state.frames.is_empty() && !state.nudged {
            match &state.waker {
                Some(waker) if waker.will_wake(context.waker()) => {}
                _ => state.waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        state.nudged = false;
        std::mem::swap(&mut state.frames, written);
        state.taken = written.capacity();
        state.count();
        self.queued.store(0, Ordering::Release);
        Poll::Ready(state.stalled.as_ref().map_or(0, |stalled| stalled.len()))
    }

    /// The queue that has waited for room for the longest time, if there is room: it is to be resumed.
    pub fn next_stalled(&self) -> Option<Arc<dyn Stalled>> {
        let mut state = self.state.lock();
        if state.frames.len() >= self.most(ROOM_BYTES) {
            return None;
        }
        let next = state.stalled.as_mut()?.pop();
        state.stalled.take_if(|stalled| stalled.is_empty());
        next
    }

    /// Wakes the connection although there may be nothing to write (something became durable, memory is free again, it
    /// is to close).
    pub fn nudge(&self) {
        let waker = {
            let mut state = self.state.lock();
            state.nudged = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Gives memory back if more than `keep` bytes are reserved and none are used. `written`: what the connection
    /// keeps.
    pub fn shrink(&self, keep: usize, written: &mut Frames) {
        written.shrink(keep);
        let mut state = self.state.lock();
        state.frames.shrink(keep);
        state.taken = written.capacity();
        state.count();
    }

    /// From now on appends are dropped: the connection has gone.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let left = (std::mem::take(&mut state.frames), std::mem::take(&mut state.stalled));
        state.taken = 0;
        state.held.set(0);
        self.queued.store(0, Ordering::Release);
        drop(state);
        // With the last reference to a message an alarm may end, which wakes other connections: not under this lock.
        drop(left);
    }

    fn wake(&self) {
        let waker = self.state.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Waiter for Outbox {
    fn look_again(&self) {
        self.nudge();
    }
}

/// A body that counts as long as it waits to be written.
struct Referred {
    body: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Referred {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Connections that have something new to write, collected while a batch is worked through and woken once at its end.
#[derive(Default)]
pub struct Wakes(Vec<Arc<Outbox>>);

impl Wakes {
    /// Wakes each connection that got something since the last call.
    pub fn flush(&mut self) {
        for outbox in self.0.drain(..) {
            outbox.wake();
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Resumed(AtomicUsize);

    impl Stalled for Resumed {
        fn resume(self: Arc<Self>, _: &mut Work) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn resume_consumer(self: Arc<Self>, _: u64, _: &mut Work) {}
    }

    fn outbox(watermark: u64) -> (Arc<Memory>, Arc<Outbox>) {
        let memory = Arc::new(Memory::new(watermark));
        (memory.clone(), Arc::new(Outbox::new(memory)))
    }

    fn fill(outbox: &Arc<Outbox>, wakes: &mut Wakes, bytes: usize) {
        outbox.append(wakes, |frames| frames.encoded().resize(bytes, 0));
    }

    fn take(outbox: &Outbox, frames: &mut Frames) -> Option<usize> {
        frames.advance(frames.len());
        let mut context = Context::from_waker(Waker::noop());
        match outbox.poll_take(&mut context, frames) {
            Poll::Ready(stalled) => Some(stalled),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_queue_that_finds_no_room_is_given_back_once_the_frames_are_taken() {
        let ((_, outbox), mut wakes) = (outbox(u64::MAX), Wakes::default());
        let resumed = Arc::new(Resumed::default());
        let queue: Arc<dyn Stalled> = resumed.clone();
        assert!(!outbox.stall(&queue), "there is room");
        fill(&outbox, &mut wakes, ROOM_BYTES + 1);
        assert_eq!((outbox.room(), outbox.queued()), (0, ROOM_BYTES + 1));
        assert!(outbox.stall(&queue) && outbox.stall(&queue));
        let (mut frames, mut context) = (Frames::default(), Context::from_waker(Waker::noop()));
        let Poll::Ready(stalled) = outbox.poll_take(&mut context, &mut frames) else {
            panic!("there is something to write");
        };
        assert_eq!((stalled, frames.len(), outbox.room()), (1, ROOM_BYTES + 1, ROOM_BYTES));
        while let Some(queue) = outbox.next_stalled() {
            queue.resume(&mut Work::default());
        }
        assert_eq!(resumed.0.load(Ordering::Relaxed), 1);
        assert_eq!(take(&outbox, &mut frames), None);
    }

    #[test]
    fn of_many_that_find_no_room_as_many_go_on_as_there_is_room_for() {
        let ((_, outbox), mut wakes) = (outbox(u64::MAX), Wakes::default());
        let queues: Vec<Arc<dyn Stalled>> = (0..1000).map(|_| Arc::new(Resumed::default()) as _).collect();
        fill(&outbox, &mut wakes, ROOM_BYTES);
        assert!(queues.iter().all(|queue| outbox.stall(queue)));
        let mut frames = Frames::default();
        for portion in queues.chunks(100) {
            assert!(take(&outbox, &mut frames).is_some_and(|stalled| stalled >= portion.len()));
            for queue in portion {
                let next = outbox.next_stalled().expect("there is room");
                assert!(Arc::ptr_eq(&next, queue), "each in its turn");
            }
            fill(&outbox, &mut wakes, ROOM_BYTES);
            assert!(outbox.next_stalled().is_none(), "the others wait for the next time");
        }
        assert_eq!(take(&outbox, &mut frames), Some(0));
        assert!(outbox.next_stalled().is_none());
    }

    #[test]
    fn what_waits_and_what_is_being_written_counts_until_it_is_given_back() {
        let ((memory, outbox), mut wakes) = (outbox(u64::MAX), Wakes::default());
        let held = || memory.held(Holding::Outboxes);
        fill(&outbox, &mut wakes, 100);
        assert_eq!(held(), 0, "little is not worth it");
        fill(&outbox, &mut wakes, 100_000);
        assert!((100_000..200_001).contains(&held()));
        let mut frames = Frames::default();
        assert_eq!(take(&outbox, &mut frames), Some(0));
        fill(&outbox, &mut wakes, 50_000);
        assert!((150_000..300_001).contains(&held()));
        frames.advance(frames.len());
        outbox.shrink(1000, &mut frames);
        assert!((50_000..100_001).contains(&held()));
        outbox.close();
        assert_eq!(held(), 0);
    }

    #[test]
    fn beyond_the_share_of_all_each_has_little() {
        let ((memory, outbox), mut wakes) = (outbox(4_000_000), Wakes::default());
        assert_eq!((outbox.room(), outbox.is_full()), (ROOM_BYTES, false));
        let body = outbox.refer_to(Bytes::from(vec![0; 1_000_001]), false);
        assert_eq!((memory.held(Holding::Outboxes), outbox.room()), (1_000_001, LITTLE));
        assert!(!outbox.is_full(), "the next message always comes");
        fill(&outbox, &mut wakes, LITTLE);
        assert!(outbox.is_full() && outbox.room() == 0);
        drop(body);
        assert!(!outbox.is_full() && outbox.room() == ROOM_BYTES - LITTLE);
        let counted = outbox.refer_to(Bytes::from(vec![0; 1_000_001]), true);
        assert_eq!((counted.len(), outbox.is_tight()), (1_000_001, false));
    }

    #[test]
    #[cfg(debug_assertions)]
    fn work_that_is_dropped_with_records_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = leveret_store::Options::new(folder.path());
        let opened = leveret_store::Store::open(
            options,
            Arc::new(leveret_store::fs::RealFs),
            Box::new(|_| {}),
            Box::new(|_| {}),
        );
        let (store, _) = opened.expect("a log");
        let log = store.handle();
        let mut work = Work::default();
        work.records(&log).delivered(1, 1);
        assert!(work.finish(&log).is_ok());
        drop(work);
        let mut forgotten = Work::default();
        forgotten.records(&log).delivered(1, 2);
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(forgotten)));
        assert!(dropped.is_err());
    }
}
