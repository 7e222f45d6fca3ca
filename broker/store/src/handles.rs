//! Files of segments that were read last, kept open: however many a long backlog has, few are open at a time.
//!
//! In: segments. Out: open files to read from. A segment that has gone is forgotten, so that its space is free. Does
//! not know what is read.

use crate::fs::File;
use crate::patient::Patient;
use crate::segment::Segment;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// Files that are kept open: more than queues are read back at once in the same moment, on most machines.
pub(crate) const KEPT: usize = 16;

/// The open files, the one read last in front.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    open: Mutex<VecDeque<(u32, Arc<dyn File>)>>,
}

impl Handles {
    /// The file of a segment, opened if need be. Waits while there is no descriptor, which it first takes from another
    /// segment.
    ///
    /// # Errors
    /// The system's error: `NotFound` if the segment has gone.
    pub(crate) fn of(&self, segment: &Segment, fs: &Patient) -> io::Result<Arc<dyn File>> {
        if let Some(file) = self.find(segment.number) {
            return Ok(file);
        }
        let file = fs.open_or(&segment.path, || self.open.lock().pop_back().is_some())?;
        self.keep(segment.number, &file);
        Ok(file)
    }

    fn find(&self, number: u32) -> Option<Arc<dyn File>> {
        let mut open = self.open.lock();
        let at = open.iter().position(|(other, _)| *other == number)?;
        if at > 0
            && let Some(found) = open.remove(at)
        {
            open.push_front(found);
        }
        open.front().map(|(_, file)| Arc::clone(file))
    }

    /// Keeps an open file as the one read last. The one read longest ago goes for it.
    pub(crate) fn keep(&self, number: u32, file: &Arc<dyn File>) {
        let mut open = self.open.lock();
        open.retain(|(other, _)| *other != number);
        open.push_front((number, Arc::clone(file)));
        let last = if open.len() > KEPT { open.pop_back() } else { None };
        drop(open);
        // Closing may take the file's space from the disk: not under the lock.
        drop(last);
    }

    /// The segment has gone, or is going.
    pub(crate) fn forget(&self, number: u32) {
        let mut open = self.open.lock();
        let at = open.iter().position(|(other, _)| *other == number);
        let gone = at.and_then(|at| open.remove(at));
        drop(open);
        drop(gone);
    }

    /// Number of files that are kept open.
    pub(crate) fn len(&self) -> usize {
        self.open.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Fs;
    use crate::fs::faulty::FaultyFs;
    use std::path::Path;

    #[test]
    fn few_are_open_and_those_read_last_stay() {
        let faulty = FaultyFs::new();
        let fs = Patient::new(Arc::new(faulty.clone()));
        let handles = Handles::default();
        let segments: Vec<Segment> = (1..=100)
            .map(|number| Segment::new(Path::new("/data"), number, 7, 0))
            .collect();
        for segment in &segments {
            faulty.create(&segment.path).expect("a file");
        }
        for segment in &segments {
            handles.of(&segments[0], &fs).expect("a file");
            handles.of(segment, &fs).expect("a file");
            assert!(handles.len() <= KEPT);
        }
        // No descriptor is left for the system to give: what is open is used, and another one's is taken.
        faulty.run_out_of_descriptors(0, 1, 24);
        handles.of(&segments[0], &fs).expect("it stayed open");
        handles.of(&segments[50], &fs).expect("in place of another");
        assert_eq!(fs.waits(), 0);
        for number in 1..=100 {
            handles.forget(number);
        }
        assert_eq!(handles.len(), 0);
    }
}
