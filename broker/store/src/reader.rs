//! Reads a payload by its location, from memory when it is not written yet.
//!
//! In: locations. Out: payloads, checked. Does not know about queues.

use crate::error::Error;
use crate::fs::{self, Fs};
use crate::ids::QueueId;
use crate::location::Location;
use crate::page::Page;
use crate::record::{self, HEAD, Head, Record};
use crate::scan::{Found, Scanner};
use crate::segment::Segment;
use crate::shared::{Counters, Shared};
use crate::stored::StoredMessage;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// The payload of the publish record at this place.
///
/// # Errors
/// [`Error::Corrupt`] when it is damaged, [`Error::Gone`] when its segment has been reclaimed, [`Error::Io`].
pub(crate) fn read(shared: &Shared, location: Location) -> Result<Bytes, Error> {
    let segment = shared.segments.read().get(&location.segment).map(Arc::clone);
    let queued = shared.log.lock().find(location);
    match (queued, segment) {
        (Some(bytes), _) => payload(&Bytes::from(bytes), None, location),
        (None, Some(segment)) => read_file(shared, &segment, location),
        // Written between the two looks: a segment is in the map before its bytes leave the memory.
        (None, None) => match shared.segments.read().get(&location.segment).map(Arc::clone) {
            Some(segment) => read_file(shared, &segment, location),
            None => Err(Error::Gone {
                segment: location.segment,
            }),
        },
    }
}

/// Most bytes that one read of a run takes, and most that it reads in vain between two records.
const SPAN: u64 = 1 << 20;
const GAP: u64 = 4 << 10;

/// The payloads of several publish records. Records that lie one after the other are read at once, and their payloads
/// share the memory.
pub(crate) fn read_run(shared: &Shared, locations: &[Location]) -> Vec<Result<Bytes, Error>> {
    let mut payloads = Vec::with_capacity(locations.len());
    let mut rest = locations;
    while !rest.is_empty() {
        let (run, after) = rest.split_at(neighbours(rest).min(rest.len()));
        match read_span(shared, run) {
            Some(span) => payloads.extend(span),
            None => payloads.extend(run.iter().map(|location| read(shared, *location))),
        }
        rest = after;
    }
    payloads
}

/// The number of locations at the front that lie close together, in order.
fn neighbours(locations: &[Location]) -> usize {
    let Some(first) = locations.first() else { return 0 };
    let mut end = u64::from(first.offset) + u64::from(first.len);
    let near = locations.iter().skip(1).take_while(|next| {
        let from = u64::from(next.offset);
        let near = next.segment == first.segment && (end..=end + GAP).contains(&from);
        end = from + u64::from(next.len);
        near && end - u64::from(first.offset) <= SPAN
    });
    1 + near.count()
}

/// Reads from the first record to the last in one go. `None` if they must be read one by one: there is only one, some
/// are not written yet, or something is wrong.
fn read_span(shared: &Shared, run: &[Location]) -> Option<Vec<Result<Bytes, Error>>> {
    let (first, last) = (run.first()?, run.last()?);
    // What is not written yet is the end of the log.
    if run.len() < 2 || shared.log.lock().find(*last).is_some() {
        return None;
    }
    let segment = shared.segments.read().get(&first.segment).map(Arc::clone)?;
    let mut bytes = vec![0; (last.offset - first.offset) as usize + last.len as usize];
    let file = shared.file_of(&segment).ok()?;
    fs::read_full_at(&*file, &mut bytes, u64::from(first.offset)).ok()?;
    let bytes = Bytes::from(bytes);
    let part = |location: &Location| {
        let from = (location.offset - first.offset) as usize;
        let record = bytes.slice(from..from + location.len as usize);
        payload(&record, Some(segment.mask), *location)
    };
    let payloads: Vec<_> = run.iter().map(part).collect();
    payloads.iter().all(Result::is_ok).then_some(payloads)
}

/// The messages of a page of this queue.
///
/// # Errors
/// The system's error.
pub(crate) fn unpack(shared: &Shared, queue: QueueId, page: &Page) -> Result<Vec<StoredMessage>, Error> {
    match page.unpack() {
        Err(Error::DamagedPage { first, last }) => {
            tracing::error!(
                queue,
                first,
                last,
                "a part of a queue's index is damaged; reading it from the log again"
            );
            Counters::add(&shared.counters.corrupt, 1);
            rescue(shared, queue, page)
        }
        unpacked => unpacked,
    }
}

/// Finds the messages of a page in the segments that hold them. A message that has been settled while others of its
/// page have not does not occur, since pages never change; one that was requeued may lose its delivery count, and the
/// stamp that it got then. Those that lie between them and have other stamps are of other pages, unless messages are
/// missing without them.
fn rescue(shared: &Shared, queue: QueueId, page: &Page) -> Result<Vec<StoredMessage>, Error> {
    let mut found = BTreeMap::new();
    for share in &page.summary().shares {
        let Some(segment) = shared.segments.read().get(&share.segment).map(Arc::clone) else {
            continue;
        };
        let failed = |source| Error::io("read", &segment.path, source);
        let file = match shared.fs.open(&segment.path) {
            // It has gone meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(failed)?,
        };
        let mut scanner = Scanner::new(&*file, segment.mask).map_err(failed)?;
        loop {
            let (offset, len, id, stamp, payload) = match scanner.next().map_err(failed)? {
                Found::End { .. } => break,
                Found::Record {
                    offset, len, record, ..
                } => match record {
                    Record::Publish {
                        id,
                        mut queues,
                        payload,
                    } => {
                        let to = queues.find(|to| to.queue == queue);
                        (offset, len, id, to.map(|to| to.stamp), payload.len())
                    }
                    Record::Copy {
                        id,
                        mut queues,
                        payload,
                        ..
                    } => {
                        let holder = queues.find(|holder| holder.queue == queue);
                        (offset, len, id, holder.map(|holder| holder.live.stamp), payload.len())
                    }
                    _ => continue,
                },
                Found::Damage { .. } => continue,
            };
            if let Some(stamp) = stamp
                && (page.first()..=page.last()).contains(&id)
            {
                let location = Location {
                    segment: share.segment,
                    offset: offset as u32,
                    len: len as u32,
                };
                let message = StoredMessage {
                    id,
                    location,
                    payload_len: payload as u32,
                    delivery_count: 0,
                    redelivered: true,
                    stamp,
                };
                found.insert(id, message);
            }
        }
    }
    let all: Vec<StoredMessage> = found.into_values().collect();
    let fits = |message: &&StoredMessage| {
        message.stamp == 0 || page.stamps().is_some_and(|stamps| stamps.contains(&message.stamp))
    };
    let fitting: Vec<StoredMessage> = all.iter().filter(fits).copied().collect();
    let complete = fitting.len() >= page.count() as usize;
    Ok(if complete { fitting } else { all })
}

fn read_file(shared: &Shared, segment: &Segment, location: Location) -> Result<Bytes, Error> {
    let mut bytes = vec![0; location.len as usize];
    let result = shared
        .file_of(segment)
        .and_then(|file| fs::read_full_at(&*file, &mut bytes, u64::from(location.offset)))
        .map_err(|source| Error::io("read", &segment.path, source))
        .and_then(|_| payload(&Bytes::from(bytes), Some(segment.mask), location));
    if result.is_err() && !shared.segments.read().contains_key(&location.segment) {
        // Reclaimed while it was read: the file may already serve as another segment.
        return Err(Error::Gone {
            segment: location.segment,
        });
    }
    if matches!(result, Err(Error::Corrupt { .. })) {
        shared.damaged(segment, u64::from(location.offset), u64::from(location.len));
    }
    result
}

/// The payload within a record. Bytes that come from memory need no check.
fn payload(bytes: &Bytes, mask: Option<u32>, location: Location) -> Result<Bytes, Error> {
    let corrupt = || Error::Corrupt {
        segment: location.segment,
        offset: location.offset,
    };
    let body = bytes.get(HEAD..).ok_or_else(corrupt)?;
    if let Some(mask) = mask {
        let head = Head::parse(bytes, mask).ok_or_else(corrupt)?;
        if head.record_len() != u64::from(location.len) || !head.matches(body) {
            return Err(corrupt());
        }
    }
    let (Some(Record::Publish { payload, .. }) | Some(Record::Copy { payload, .. })) = record::decode(body) else {
        return Err(corrupt());
    };
    let from = bytes.len() - payload.len();
    Ok(bytes.slice(from..))
}
