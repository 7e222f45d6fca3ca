//! The names in a data directory: which are the store's, that they are files, and for whom.
//!
//! In: a directory. Out: a refusal if one of the store's names is no file of its own; modes that close what is there to
//! other users. Does not know what is in the files.

use crate::error::Error;
use crate::fs::{Fs, Stranger};
use crate::{checkpoint, lock, pages, recovery, segment};
use std::path::Path;

/// True for a name under which the store keeps a file.
fn is_file_of_ours(name: &str) -> bool {
    let fixed = [lock::FILE, pages::FILE, segment::SPARE, segment::MOVING];
    fixed.contains(&name)
        || recovery::identity::FILES.contains(&name)
        || checkpoint::FILES.contains(&name)
        || segment::parse_file_name(name).is_some()
        || segment::is_gone(name)
}

/// Looks for names of the store's that are something else than its files: written to, a link would change another file,
/// and a directory or a pipe would end the broker at the first write.
///
/// # Errors
/// [`Error::Stranger`], or what the system reports.
pub(crate) fn check(fs: &dyn Fs, directory: &Path) -> Result<(), Error> {
    let strangers = fs
        .strangers(directory)
        .map_err(|source| Error::io("list", directory, source))?;
    for (name, what) in strangers {
        let expected = name == recovery::quarantine::FOLDER && what == Stranger::Directory;
        if !expected && (is_file_of_ours(&name) || name == recovery::quarantine::FOLDER) {
            let path = directory.join(name);
            let what = what.to_string();
            return Err(Error::Stranger { path, what });
        }
    }
    Ok(())
}

/// Takes access to the directory and its files from other users. What belongs to somebody else stays as it is: a volume
/// of Kubernetes belongs to root.
///
/// # Errors
/// The directory can't be listed.
pub(crate) fn close_to_others(fs: &dyn Fs, directory: &Path) -> Result<(), Error> {
    if let Err(error) = fs.close_to_others(directory) {
        tracing::debug!(path = %directory.display(), %error, "the data directory's mode stays as it is");
    }
    let names = fs
        .list(directory)
        .map_err(|source| Error::io("list", directory, source))?;
    let failed = names.iter().filter(|name| is_file_of_ours(name)).filter_map(|name| {
        let path = directory.join(name);
        fs.close_to_others(&path).err().map(|error| (path, error))
    });
    let failed: Vec<_> = failed.collect();
    if let Some((path, error)) = failed.first() {
        tracing::warn!(
            files = failed.len(),
            first = %path.display(),
            %error,
            "other users of this machine may be able to read files of the log"
        );
    }
    Ok(())
}
