//! Keeps the directory small: drops dead segments, moves the few live records out of nearly dead ones. Live messages go
//! into segments of their own, beside the log.
//!
//! In: the ledger, the owner's word on each message. Out: fewer segments. Runs on its own thread, holding no lock while
//! it asks the owner. Does not know how the owner keeps its messages.

use crate::batch::Batch;
use crate::checkpointer::Checkpoints;
use crate::error::Error;
use crate::ids::QueueId;
use crate::ledger::Ledger;
use crate::location::Urgency;
use crate::log::{Log, MARK};
use crate::owner::Owner;
use crate::page::Page;
use crate::reader;
use crate::segment::HEADER;
use crate::shared::Shared;
use parking_lot::MutexGuard;
use portion::Portion;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Moves what is needed out of segments.
mod evacuate;

/// Tells the owner where its messages are now.
mod relocate;

/// A segment of moved messages, beside the log.
mod beside;

/// The end of segments: recycled, renamed, removed.
mod retire;

/// Disk space of files that are gone from the log, given back in steps.
pub(crate) mod shrink;

/// Patience with segments that the system does not let go.
mod postpone;

/// Bytes that go to the disk at once.
mod portion;

#[cfg(test)]
mod tests;

/// Longest time that references may be left in a segment of which the owner says that nothing is alive.
const PATIENCE: Duration = Duration::from_secs(30);
/// Segments are emptied while the log takes more than this percentage of what is needed in it. Disk use is to stay
/// below twice that, and some of it is always on its way.
const WASTEFUL: u64 = 160;
/// The percentage down to which it goes then: what is moved at a time fills a segment better.
const THRIFTY: u64 = 145;
/// A segment is emptied if less than this percentage of it is needed.
const SPARSE: u64 = 60;
/// Size of a segment that holds nothing, bytes. Moving what is needed would not win it back: the next one takes it,
/// too.
const EMPTY: u64 = HEADER + MARK;
/// Number of segments with little in them that are put together.
const FRAGMENTS: usize = 8;
/// Most segments that are given up at once: they share the waits for the disk.
const AT_ONCE: usize = 16;

/// A decision about segments.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Plan {
    /// Nothing in them is needed.
    Drop(Vec<u32>),
    /// Some of what they hold must be carried forward first.
    Evacuate(Vec<u32>),
}

/// The next thing to do.
enum Next {
    Plan(Plan),
    Checkpoint,
    /// A page of a queue that was purged: its messages have ended.
    Discard(QueueId, Page),
}

/// Runs until the store is closed or fails.
pub(crate) fn run(shared: &Shared, owner: &dyn Owner) {
    let mut watch = Watch {
        appends: 0,
        since: Instant::now(),
        checkpoints: Checkpoints::default(),
        portion: Portion::new(),
    };
    while let Some(next) = watch.next(shared) {
        let done = match next {
            Next::Plan(Plan::Drop(segments)) => retire::retire(shared, &segments),
            Next::Plan(Plan::Evacuate(segments)) => {
                let portion = watch.portion.next(&shared.counters);
                evacuate::evacuate(shared, owner, &segments, portion)
            }
            Next::Checkpoint => watch.checkpoints.take(shared, owner),
            Next::Discard(queue, page) => discard(shared, queue, &page),
        };
        if done.is_err() {
            return;
        }
    }
}

/// Settles the messages of a page.
///
/// # Errors
/// The store is closed or has failed.
pub(crate) fn discard(shared: &Shared, queue: QueueId, page: &Page) -> Result<(), Error> {
    let messages: Vec<_> = reader::unpack(shared, queue, page)?
        .into_iter()
        .map(|message| (message.id, message.location))
        .collect();
    let mut batch = Batch::new();
    batch.settle(queue, &messages);
    shared.append(&mut batch, Urgency::Soon).map(|_| ())
}

/// Tells whether the log is idle.
struct Watch {
    appends: u64,
    since: Instant,
    checkpoints: Checkpoints,
    portion: Portion,
}

impl Watch {
    /// Waits until there is something to do; `None` at the end.
    fn next(&mut self, shared: &Shared) -> Option<Next> {
        let options = &shared.options;
        let mut log = shared.log.lock();
        loop {
            if log.closing || log.failed.is_some() {
                return None;
            }
            if let Some((queue, page)) = shared.discarded.lock().pop_front() {
                return Some(Next::Discard(queue, page));
            }
            if log.appends != self.appends {
                self.appends = log.appends;
                self.since = Instant::now();
            }
            let idle = self.since.elapsed() >= options.idle;
            if idle {
                roll_if_mostly_dead(&mut log, options.segment_bytes);
                log.forget_buffers();
            }
            if self.checkpoints.due(shared, log.since_checkpoint, idle) {
                return Some(Next::Checkpoint);
            }
            let plan = plan(&log.ledger, options.segment_bytes, idle);
            if plan.is_none() && shared.gone.lock().segments.is_empty() {
                log.backpressure.forget();
            }
            if shared.look_at_backpressure(&mut log) {
                MutexGuard::unlocked(&mut log, || (shared.on_durable)(shared.durable()));
            }
            if let Some(plan) = plan {
                return Some(Next::Plan(plan));
            }
            let blocked = log.ledger.accounts.values().any(|account| account.blocked.is_some());
            if idle && !blocked {
                log.reclaim_sleeps = true;
                shared.reclaim_wake.wait(&mut log);
            } else {
                let pause = options
                    .idle
                    .saturating_sub(self.since.elapsed())
                    .max(Duration::from_millis(20));
                let pause = if idle { Duration::from_secs(1) } else { pause };
                shared.reclaim_wake.wait_for(&mut log, pause);
            }
        }
    }
}

/// The segment being written too must not hold disk space for little.
fn roll_if_mostly_dead(log: &mut Log, segment_bytes: u64) {
    let current = log.segment();
    let used = log.ledger.account(current).used;
    if log.begun() && used > segment_bytes / 8 && log.ledger.needed(current) < used / 4 {
        log.roll();
    }
}

/// A sealed segment, as reclaim looks at it. Sizes in bytes.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    segment: u32,
    /// Without what an empty one takes.
    used: u64,
    /// The part of it that is needed.
    needed: u64,
}

impl Candidate {
    fn percent(&self) -> u64 {
        self.needed.saturating_mul(100) / self.used.max(1)
    }
}

/// The segments that come next, if any. The oldest first: settlements of their messages in younger ones need no
/// carrying then.
fn plan(ledger: &Ledger, segment_bytes: u64, idle: bool) -> Option<Plan> {
    let (mut dead, mut forced, mut sparse, mut fragments) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut total, mut live) = (0, 0);
    let copied: BTreeSet<u32> = ledger
        .accounts
        .values()
        .flat_map(|account| account.after.iter().copied())
        .collect();
    for (&segment, account) in &ledger.accounts {
        let carried = ledger.carried(segment);
        let (used, needed) = (account.used.saturating_sub(EMPTY), account.live() + carried);
        total += used;
        live += needed;
        if segment >= ledger.current || !account.after.is_empty() || account.rests(PATIENCE) {
            continue;
        }
        let candidate = Candidate { segment, used, needed };
        if account.refs == 0 && carried == 0 {
            dead.push(segment);
        } else if copied.contains(&segment) || (account.refs == 0 && carried < used / 4) {
            forced.push(candidate);
        } else {
            sparse.extend((candidate.percent() < SPARSE).then_some(candidate));
            fragments.extend((used < segment_bytes / 8).then_some(candidate));
        }
    }
    dead.truncate(AT_ONCE);
    if !dead.is_empty() {
        return Some(Plan::Drop(dead));
    }
    let percent = |part: u64| live.saturating_mul(part) / 100;
    let wasteful = total > percent(WASTEFUL) && (idle || total > 2 * segment_bytes);
    let (candidates, enough) = if !forced.is_empty() {
        (forced, u64::MAX)
    } else if wasteful && !sparse.is_empty() {
        sparse.sort_by_key(Candidate::percent);
        (sparse, total - percent(THRIFTY))
    } else if fragments.len() > FRAGMENTS {
        (fragments, u64::MAX)
    } else {
        return None;
    };
    Some(Plan::Evacuate(together(&candidates, segment_bytes, enough)))
}

/// The first of the candidates: as many as hold no more together than one segment takes, until `enough` bytes become
/// free.
fn together(candidates: &[Candidate], segment_bytes: u64, enough: u64) -> Vec<u32> {
    let (mut moved, mut freed) = (0, 0);
    let mut segments = Vec::new();
    for candidate in candidates.iter().take(AT_ONCE) {
        if !segments.is_empty() && (freed >= enough || moved + candidate.needed > segment_bytes) {
            break;
        }
        moved += candidate.needed;
        freed += candidate.used.saturating_sub(candidate.needed);
        segments.push(candidate.segment);
    }
    segments.sort_unstable();
    segments
}
