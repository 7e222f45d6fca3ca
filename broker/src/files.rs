//! Small files that the broker reads beside its log: settings, secrets, certificates, what the system says of itself.
//!
//! Comes in: paths. Goes out: texts and times. Does not know what they mean. The log's files are the store's business.

use rustix::fs::OFlags;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::SystemTime;

/// Most that a text may hold which a setting names, bytes.
const MOST_BYTES: u64 = 1 << 20;

/// A text that a setting names. It is read whenever a client logs in: a pipe, where that would wait for somebody to
/// write, is refused, and so is what no secret or certificate is as large as.
///
/// # Errors
/// It isn't there, is no file, can't be read, is larger than 1 MiB, or isn't UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let bytes = read(path, MOST_BYTES)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
}

/// A file that a setting names, of so many bytes at most. One that is larger is not read, nor is a pipe.
///
/// # Errors
/// It isn't there, is no file, can't be read, or is larger.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
    let too_large = || match most {
        MOST_BYTES => wrong("larger than 1 MiB"),
        most => wrong(&format!("larger than {most} bytes")),
    };
    let mut options = fs::OpenOptions::new();
    // Opening a pipe would wait already.
    let file = options
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    let found = file.metadata()?;
    let kind = found.file_type();
    if !kind.is_file() && !kind.is_char_device() {
        return Err(wrong("not a regular file"));
    }
    if found.len() > most {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(too_large());
    }
    Ok(bytes)
}

/// The time of the last change of a file, if that can be told.
pub fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// A mark of a text, the same for the same text in every program (FNV-1a, 64 bits): by it a writer of a file knows
/// which of its texts was read.
pub fn mark(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// A small file of the system, or nothing.
pub fn read_small(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_never_changes() {
        assert_eq!(mark("leveret"), "8037a1517cf0cb92");
    }

    #[test]
    fn a_file_that_is_none_is_refused_without_waiting() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).expect("a pipe");
        let refused = read_text(&path).expect_err("a pipe");
        assert_eq!(refused.to_string(), "not a regular file");
        assert!(read_text(folder.path()).is_err());
        fs::remove_file(&path).expect("a pipe");
        fs::write(&path, vec![b'x'; 1 << 20]).expect("a file");
        assert_eq!(read_text(&path).map(|text| text.len()).ok(), Some(1 << 20));
        fs::write(&path, vec![b'x'; (1 << 20) + 1]).expect("a file");
        assert_eq!(
            read_text(&path).expect_err("too large").to_string(),
            "larger than 1 MiB"
        );
        assert_eq!(read_text(Path::new("/dev/null")).ok().as_deref(), Some(""));
    }
}
