//! Tells the owner where its messages are now.
//!
//! In: a complete segment of copies. Out: the owner's messages at their new places, fewer references to the old ones. A
//! message that was settled while it was copied is noted with the segment that it comes from. Does not know how the
//! copies came about.

use crate::batch::Batch;
use crate::error::Error;
use crate::fs::Fs;
use crate::ids::MessageId;
use crate::ledger::Uncovered;
use crate::location::{Location, Urgency};
use crate::owner::Owner;
use crate::record::{Count, Holder, Record};
use crate::scan::{Found, Scanner};
use crate::segment::Segment;
use crate::shared::Shared;
use std::collections::BTreeMap;

/// Copies after which the ledger is told: it is locked for them together.
const TOGETHER: usize = 1024;

/// Relocates all messages of the segment.
///
/// # Errors
/// The system's error when the segment cannot be read, or an error of the log.
pub(super) fn relocate(shared: &Shared, owner: &dyn Owner, segment: &Segment) -> Result<(), Error> {
    let failed = |source| Error::io("read", &segment.path, source);
    let file = shared.fs.open(&segment.path).map_err(failed)?;
    let mut scanner = Scanner::new(&*file, segment.mask).map_err(failed)?;
    let mut told = Told {
        shared,
        owner,
        count: 0,
        sources: BTreeMap::new(),
        late: Batch::new(),
    };
    loop {
        match scanner.next().map_err(failed)? {
            Found::Record {
                offset,
                len,
                record: Record::Copy { from, id, queues, .. },
                ..
            } => {
                let to = Location {
                    segment: segment.number,
                    offset: offset as u32,
                    len: len as u32,
                };
                queues.for_each(|holder| told.message(from, id, holder, to));
            }
            Found::Record { .. } => {}
            // What it held is still where it was.
            Found::Damage { offset, len } => shared.damaged(segment, offset, len),
            Found::End { .. } => return told.account(),
        }
        if told.count >= TOGETHER {
            told.account()?;
        }
    }
}

/// The fate of the copies of one segment's messages.
#[derive(Default)]
struct Source {
    /// References that have left, and the bytes of their records.
    refs: u64,
    weight: u64,
    uncovered: Vec<Uncovered>,
}

/// The part that the owner has been told and the ledger has not.
struct Told<'a> {
    shared: &'a Shared,
    owner: &'a dyn Owner,
    count: usize,
    sources: BTreeMap<u32, Source>,
    /// Returns that name the old place, and go when that goes.
    late: Batch,
}

impl Told<'_> {
    fn message(&mut self, from: u32, id: MessageId, holder: Holder, to: Location) {
        let Holder { queue, live: copied } = holder;
        self.count += 1;
        let source = self.sources.entry(from).or_default();
        if !self.owner.relocate(queue, id, Some(copied.stamp), to) {
            source.uncovered.push(Uncovered {
                queue,
                id,
                location: to,
            });
            return;
        }
        source.refs += 1;
        source.weight += u64::from(to.len);
        // Was it returned, or given another stamp, while its copy was on its way?
        match self.owner.live(queue, id, Some(copied.stamp)) {
            Some(live) if live != copied => {
                let segment = to.segment;
                self.late.counted(queue, &[Count { segment, id, live }]);
            }
            _ => {}
        }
    }

    fn account(&mut self) -> Result<(), Error> {
        self.count = 0;
        {
            let mut log = self.shared.log.lock();
            for (from, mut source) in std::mem::take(&mut self.sources) {
                log.ledger.settled(from, source.refs, source.weight);
                log.ledger.account(from).uncovered.append(&mut source.uncovered);
            }
        }
        self.shared.append(&mut self.late, Urgency::Soon).map(|_| ())
    }
}
