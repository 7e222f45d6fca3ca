//! Reads a payload by its location, from memory when it is not written yet.
//!
//! In: locations. Out: payloads, checked. Does not know about queues.

use crate::error::Error;
use crate::fs;
use crate::location::Location;
use crate::record::{self, HEAD, Head, Record};
use crate::segment::Segment;
use crate::shared::{Counters, Shared};
use bytes::Bytes;
use std::sync::Arc;

/// The payload of the publish record at this place.
///
/// # Errors
/// [`Error::Corrupt`] when it is damaged, [`Error::Gone`] when its segment has been reclaimed, [`Error::Io`].
pub(crate) fn read(shared: &Shared, location: Location) -> Result<Bytes, Error> {
    let segment = shared.segments.read().get(&location.segment).map(Arc::clone);
    let queued = shared.log.lock().find(location);
    match (queued, segment) {
        (Some(bytes), _) => payload(bytes, None, location),
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

fn read_file(shared: &Shared, segment: &Segment, location: Location) -> Result<Bytes, Error> {
    let mut bytes = vec![0; location.len as usize];
    let result = fs::read_full_at(&*segment.file, &mut bytes, u64::from(location.offset))
        .map_err(|source| Error::io("read", &segment.path, source))
        .and_then(|_| payload(bytes, Some(segment.mask), location));
    if result.is_err() && !shared.segments.read().contains_key(&location.segment) {
        // Reclaimed while it was read: the file may already serve as another segment.
        return Err(Error::Gone {
            segment: location.segment,
        });
    }
    if matches!(result, Err(Error::Corrupt { .. })) {
        Counters::add(&shared.counters.corrupt, 1);
    }
    result
}

/// The payload within a record. Bytes that come from memory need no check.
fn payload(bytes: Vec<u8>, mask: Option<u32>, location: Location) -> Result<Bytes, Error> {
    let corrupt = || Error::Corrupt {
        segment: location.segment,
        offset: location.offset,
    };
    let body = bytes.get(HEAD..).ok_or_else(corrupt)?;
    if let Some(mask) = mask {
        let head = Head::parse(&bytes, mask).ok_or_else(corrupt)?;
        if head.record_len() != u64::from(location.len) || !head.matches(body) {
            return Err(corrupt());
        }
    }
    let (Some(Record::Publish { payload, .. }) | Some(Record::Copy { payload, .. })) = record::decode(body) else {
        return Err(corrupt());
    };
    let from = bytes.len() - payload.len();
    Ok(Bytes::from(bytes).slice(from..))
}
