//! Small files that the broker reads beside its log: settings, secrets, certificates, what the system says of itself.
//!
//! Comes in: paths. Goes out: texts and times. Does not know what they mean. The log's files are the store's business.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// A file that a setting names.
///
/// # Errors
/// It isn't there, can't be read, or isn't UTF-8.
pub fn read_text(path: &Path) -> std::io::Result<String> {
    fs::read_to_string(path)
}

/// The time of the last change of a file, if that can be told.
pub fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// A small file of the system, or nothing.
pub fn read_small(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}
