//! The single writer: takes all that is queued, writes it, syncs once, publishes the durable position.
//!
//! In: groups from the log's end. Out: bytes on disk and the durable position. While one group is synced callers fill
//! the next. Does not know about records.

use crate::error::Error;
use crate::location::Lsn;
use crate::log::{Chunk, Group};
use crate::segment::{FORMAT, Header, WriteSegment};
use crate::shared::{Counters, Shared};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Runs until the store is closed or fails.
pub(crate) fn run(shared: &Shared) {
    let mut writer = Writer { shared, current: None };
    while let Some(group) = writer.next_group() {
        if let Err(error) = writer.commit(&group) {
            shared.fail(&error);
            return;
        }
        writer.publish(group);
    }
}

struct Writer<'a> {
    shared: &'a Shared,
    current: Option<WriteSegment>,
}

impl Writer<'_> {
    /// Waits for work; `None` when closed and all is written.
    fn next_group(&mut self) -> Option<Group> {
        let shared = self.shared;
        let next_id = || shared.next_id.load(Ordering::Relaxed);
        let mut log = shared.log.lock();
        loop {
            if log.failed.is_some() {
                return None;
            }
            if log.closing {
                if !log.has_chunks() && !log.unmarked {
                    return None;
                }
                log.unmarked = log.has_chunks();
                return Some(log.take(shared.durable(), next_id(), true));
            }
            let now = Instant::now();
            if log.has_chunks() && (log.urgent || log.due.is_none_or(|due| due <= now)) {
                log.unmarked = true;
                return Some(log.take(shared.durable(), next_id(), true));
            }
            let idle_mark = log.unmarked && !log.has_chunks();
            let until = match log.due {
                Some(due) => Some(due),
                None if idle_mark => Some(now + shared.options.flush_interval),
                None => None,
            };
            match until {
                None => shared.wake.wait(&mut log),
                Some(until) => {
                    let waited = shared.wake.wait_until(&mut log, until);
                    if waited.timed_out() && idle_mark && !log.has_chunks() && !log.closing {
                        // Damage to what is synced can then be told from a torn tail, also after a kill.
                        log.unmarked = false;
                        return Some(log.take(shared.durable(), next_id(), false));
                    }
                }
            }
        }
    }

    fn commit(&mut self, group: &Group) -> Result<(), Error> {
        for chunk in group.chunks.iter() {
            let segment = self.segment_for(chunk)?;
            segment.write(&chunk.bytes, chunk.offset, chunk.limit)?;
        }
        if group.sync
            && let Some(segment) = &mut self.current
        {
            let before = Instant::now();
            segment.sync()?;
            Counters::add(&self.shared.counters.syncs, 1);
            Counters::add(&self.shared.counters.sync_nanos, before.elapsed().as_nanos() as u64);
        }
        Ok(())
    }

    /// The segment of the chunk. Before a new one gets its name, the one before is synced: only the newest can have a
    /// torn tail.
    fn segment_for(&mut self, chunk: &Chunk) -> Result<&mut WriteSegment, Error> {
        let shared = self.shared;
        let current = match self.current.take() {
            Some(current) if current.segment.number == chunk.segment => current,
            before => {
                if let Some(mut before) = before {
                    before.sync()?;
                }
                let header = Header {
                    format: FORMAT,
                    directory_id: shared.directory_id,
                    segment: chunk.segment,
                    next_id: chunk.next_id,
                    beside: false,
                };
                let spare = shared.spare.lock().take();
                let renamed = spare.is_some();
                let created = WriteSegment::create(&*shared.fs, &shared.options.directory, header, spare, chunk.limit)?;
                if renamed {
                    shared.spare.lock().busy = false;
                }
                shared.handles.keep(chunk.segment, &created.file);
                shared
                    .segments
                    .write()
                    .insert(chunk.segment, Arc::clone(&created.segment));
                created
            }
        };
        self.ask_for_spare(chunk);
        Ok(self.current.insert(current))
    }

    fn ask_for_spare(&self, chunk: &Chunk) {
        let filled = chunk.offset + chunk.bytes.len() as u64;
        let whole = self.shared.options.segment_bytes;
        if filled >= whole / 4 {
            let mut spare = self.shared.spare.lock();
            if filled >= spare.patience(whole) && spare.ready.is_none() && !spare.busy && !spare.wanted {
                spare.wanted = true;
                self.shared.spare_wake.notify_one();
            }
        }
    }

    fn publish(&self, group: Group) {
        let shared = self.shared;
        let (end, bytes, sync) = (group.end, group.bytes, group.sync);
        if sync {
            shared.durable.store(end.0, Ordering::Release);
        }
        shared.log.lock().written(group);
        shared.progress.notify_all();
        shared.pending.fetch_sub(bytes, Ordering::Relaxed);
        if sync {
            (shared.on_durable)(Lsn(end.0));
        }
    }
}
