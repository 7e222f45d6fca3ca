//! The directory's identity: the file `STORE`, or when that is lost, what the segments say.
//!
//! In: a directory. Out: its id and its segment files in order. Does not know about records.

use crate::error::Error;
use crate::fs::{self, Fs};
use crate::segment::{self, Header, HeaderRead};
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};

const FILE: &str = "STORE";
const NEW_FILE: &str = "STORE.new";
/// The file, and the next one while it is written.
pub(crate) const FILES: [&str; 2] = [FILE, NEW_FILE];

/// Finds out, or makes up, the id of the directory; lists the segment files in ascending order.
///
/// # Errors
/// [`Error::NewerFormat`], or what the system reports.
pub(crate) fn establish(fs: &dyn Fs, directory: &Path) -> Result<(u64, Vec<(u32, PathBuf)>), Error> {
    let names = fs
        .list(directory)
        .map_err(|source| Error::io("list", directory, source))?;
    let mut segments: Vec<(u32, PathBuf)> = names
        .iter()
        .filter_map(|name| Some((segment::parse_file_name(name)?, directory.join(name))))
        .collect();
    segments.sort();
    let mut id = None;
    // All of them, so that a newer format is met before anything is changed.
    for (_, path) in &segments {
        id = id.or(read(fs, path)?.map(|header| header.directory_id));
    }
    let path = directory.join(FILE);
    if names.iter().any(|name| name == FILE)
        && let Some(header) = read(fs, &path)?
    {
        if header.format < segment::FORMAT {
            // Before anything else is written: an older program must meet this first, and leave the directory alone.
            write(fs, directory, header.directory_id)?;
        }
        return Ok((header.directory_id, segments));
    }
    let id = id.unwrap_or_else(fresh_id);
    write(fs, directory, id)?;
    Ok((id, segments))
}

fn read(fs: &dyn Fs, path: &Path) -> Result<Option<Header>, Error> {
    let file = fs.open(path).map_err(|source| Error::io("open", path, source))?;
    match Header::read(&*file).map_err(|source| Error::io("read", path, source))? {
        HeaderRead::Valid(header) => Ok(Some(header)),
        HeaderRead::Newer(found) => Err(Error::NewerFormat {
            path: path.to_path_buf(),
            found,
            supported: segment::FORMAT,
        }),
        HeaderRead::Invalid => Ok(None),
    }
}

fn write(fs: &dyn Fs, directory: &Path, directory_id: u64) -> Result<(), Error> {
    let header = Header {
        format: segment::FORMAT,
        beside: false,
        directory_id,
        segment: 0,
        next_id: 0,
    }
    .encode();
    fs::replace(fs, directory, (FILE, NEW_FILE), &header)
}

/// The seeds of the standard hasher are random; nothing here needs to be unguessable.
fn fresh_id() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
