//! Reads what a start from a checkpoint has not read, once, slowly, so that damage is known before the message is
//! needed.
//!
//! In: segments from before the checkpoint. Out: damaged places, reported. Runs on its own thread and ends by itself.
//! Does not know what records mean.

use crate::fs::Fs;
use crate::scan::{Found, Scanner};
use crate::segment::Segment;
use crate::shared::Shared;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Bytes after which it rests, so that it takes neither the disk nor a processor from the clients: about 100 MB/s at
/// most.
const STRETCH: u64 = 1 << 20;
const REST: Duration = Duration::from_millis(10);

/// Reads these segments, unless they go or the store is closed meanwhile.
pub(crate) fn run(shared: &Shared, segments: &[u32]) {
    for number in segments {
        let Some(segment) = shared.segments.read().get(number).map(Arc::clone) else {
            continue;
        };
        match verify(shared, &segment) {
            Ok(true) => {}
            Ok(false) => return,
            // It has gone meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(file = %segment.path.display(), %error, "cannot verify a segment"),
        }
    }
}

/// False when the store is being closed.
fn verify(shared: &Shared, segment: &Segment) -> io::Result<bool> {
    let file = shared.fs.open(&segment.path)?;
    let mut scanner = Scanner::new(&*file, segment.mask)?;
    let mut rest_at = STRETCH;
    loop {
        let at = match scanner.next()? {
            Found::Record { offset, len, .. } => offset + len,
            Found::Damage { offset, len } => {
                shared.damaged(segment, offset, len);
                offset + len
            }
            Found::End { .. } => return Ok(true),
        };
        if at >= rest_at {
            rest_at = at + STRETCH;
            if shared.log.lock().closing || !shared.segments.read().contains_key(&segment.number) {
                return Ok(!shared.log.lock().closing);
            }
            std::thread::sleep(REST);
        }
    }
}
