//! Files of segments that were read last, kept open: however many a long backlog has, few are open at a time.
//!
//! In: segments. Out: open files to read from. A segment that has gone is forgotten, so that its space is free. Does
//! not know what is read.

use crate::fs::File;
use crate::patient::Patient;
use crate::segment::Segment;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

/// The open files.
#[derive(Debug)]
pub(crate) struct Handles {
    /// Number of files that are kept open.
    most: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<u32, Kept>,
    /// Counts the uses.
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    file: Arc<dyn File>,
    /// The use that was its last.
    used: u64,
}

impl Handles {
    /// None yet; of so many segments at most.
    pub(crate) fn new(most: usize) -> Handles {
        Handles {
            most: most.max(1),
            open: Mutex::default(),
        }
    }

    /// The file of a segment, opened if need be. Waits while there is no descriptor, which it first takes from another
    /// segment.
    ///
    /// # Errors
    /// The system's error: `NotFound` if the segment has gone.
    pub(crate) fn of(&self, segment: &Segment, fs: &Patient) -> io::Result<Arc<dyn File>> {
        if let Some(file) = self.open.lock().find(segment.number) {
            return Ok(file);
        }
        let file = fs.open_or(&segment.path, || self.open.lock().take_last().is_some())?;
        self.keep(segment.number, &file);
        Ok(file)
    }

    /// Keeps an open file as the one read last. The one read longest ago goes for it.
    pub(crate) fn keep(&self, number: u32, file: &Arc<dyn File>) {
        let mut open = self.open.lock();
        let before = open.put(number, file);
        let last = if open.files.len() > self.most {
            open.take_last()
        } else {
            None
        };
        drop(open);
        // Closing may take the file's space from the disk: not under the lock.
        drop((before, last));
    }

    /// The segment has gone, or is going.
    pub(crate) fn forget(&self, number: u32) {
        let gone = self.open.lock().files.remove(&number);
        drop(gone);
    }

    /// Number of files that are kept open.
    pub(crate) fn len(&self) -> usize {
        self.open.lock().files.len()
    }
}

impl Open {
    fn find(&mut self, number: u32) -> Option<Arc<dyn File>> {
        let found = self.files.get_mut(&number)?;
        self.uses += 1;
        found.used = self.uses;
        Some(Arc::clone(&found.file))
    }

    fn put(&mut self, number: u32, file: &Arc<dyn File>) -> Option<Kept> {
        self.uses += 1;
        let kept = Kept {
            file: Arc::clone(file),
            used: self.uses,
        };
        self.files.insert(number, kept)
    }

    /// Takes out the one that was read longest ago: a look at all, where a file is opened in any case.
    fn take_last(&mut self) -> Option<Kept> {
        let last = self.files.iter().min_by_key(|(_, kept)| kept.used)?;
        let number = *last.0;
        self.files.remove(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Fs;
    use crate::fs::faulty::FaultyFs;
    use std::path::Path;

    const KEPT: usize = 16;

    #[test]
    fn few_are_open_and_those_read_last_stay() {
        let faulty = FaultyFs::new();
        let fs = Patient::new(Arc::new(faulty.clone()));
        let handles = Handles::new(KEPT);
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

    #[test]
    fn segments_for_which_there_is_room_are_opened_once_in_whatever_order_they_are_read() {
        let faulty = FaultyFs::new();
        let fs = Patient::new(Arc::new(faulty.clone()));
        let handles = Handles::new(100);
        let segments: Vec<Segment> = (1..=100)
            .map(|number| Segment::new(Path::new("/data"), number, 7, 0))
            .collect();
        for segment in &segments {
            faulty.create(&segment.path).expect("a file");
            handles.of(segment, &fs).expect("a file");
        }
        // The system gives no other descriptor.
        faulty.run_out_of_descriptors(0, u64::MAX / 2, 24);
        for number in 0..1000 {
            handles.of(&segments[number * 37 % 100], &fs).expect("it is open");
        }
        assert_eq!((handles.len(), fs.waits()), (100, 0));
    }
}
