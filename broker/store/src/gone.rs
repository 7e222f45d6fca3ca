//! Files that are out of the log and still on disk.
//!
//! In: segments that reclaim has given up. Out: one after the other, to who removes them. Does not know how that is done.

use crate::fs::File;
use crate::segment::Segment;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

/// Files to be removed.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    pub(crate) files: VecDeque<Doomed>,
    pub(crate) closing: bool,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Doomed {
    pub(crate) path: PathBuf,
    /// With who may still be reading from it.
    pub(crate) segment: Arc<Segment>,
}

impl Gone {
    /// The files, as far as they are still there.
    pub(crate) fn files(&self) -> impl Iterator<Item = Arc<dyn File>> {
        self.files.iter().map(|doomed| doomed.segment.file.clone())
    }
}
