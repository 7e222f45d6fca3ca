//! One segment file: its number, its name, its header, growing it ahead of the writes.
//!
//! In: numbers, positions, bytes. Out: a file in which records can be placed. Does not know about record contents or
//! threads.

use crate::error::Error;
use crate::fs::{self, File, Fs};
use crate::location::Lsn;
use crate::record;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Format of everything that is written. Persisted. Format 1 had the log's own segments only, format 2 was that of
/// segments beside the log in a directory of format 1; neither had stamps. Format 4 is written as format 3 is, and its
/// owner's table and stamps may say what earlier builds would overlook: policies, and more than deadlines.
pub(crate) const FORMAT: u32 = 4;
/// The format of which all segments lie beside the log.
const ALL_BESIDE: u32 = 2;
/// Bytes before the first record.
pub(crate) const HEADER: u64 = 64;
/// Files without preallocation grow by really written zeros in steps of this many bytes.
pub(crate) const GROWTH: u64 = 1 << 20;
/// A file that is prepared or recycled, waiting to become a segment.
pub(crate) const SPARE: &str = "spare.log";
/// A segment that is written beside the log, until it is complete.
pub(crate) const MOVING: &str = "moving.log";
/// Distance between the numbers of the log's segments: those between are for segments beside it.
const STRIDE: u32 = 16;

const MAGIC: &[u8; 8] = b"LVRTLOG\n";

/// A segment of the log. Its file is open only while somebody reads or writes it: `crate::handles`.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    pub(crate) mask: u32,
    /// The file's length in bytes.
    len: AtomicU64,
    /// Its name was taken from it, although that is not durable yet.
    nameless: AtomicBool,
}

impl Segment {
    /// The segment of this number, whose file has `len` bytes.
    pub(crate) fn new(directory: &Path, number: u32, mask: u32, len: u64) -> Segment {
        Segment {
            number,
            path: directory.join(file_name(number)),
            mask,
            len: AtomicU64::new(len),
            nameless: AtomicBool::new(false),
        }
    }

    /// The file's length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// The file was cut or extended to this length.
    pub(crate) fn set_len(&self, len: u64) {
        self.len.store(len, Ordering::Relaxed);
    }

    /// True if the file has its name no more: nothing was needed of it when that was taken.
    pub(crate) fn is_nameless(&self) -> bool {
        self.nameless.load(Ordering::Relaxed)
    }

    /// The file's name has been taken away.
    pub(crate) fn lose_name(&self) {
        self.nameless.store(true, Ordering::Relaxed);
    }
}

/// The first bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) format: u32,
    pub(crate) directory_id: u64,
    pub(crate) segment: u32,
    /// Every message id in older segments is lower.
    pub(crate) next_id: u64,
    /// Reclaim wrote the segment beside the log. It may lie before a checkpoint that does not know it.
    pub(crate) beside: bool,
}

/// The outcome of reading a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderRead {
    Valid(Header),
    Newer(u32),
    Invalid,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER as usize] {
        let mut bytes = Vec::with_capacity(HEADER as usize);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.format.to_le_bytes());
        bytes.extend_from_slice(&self.segment.to_le_bytes());
        bytes.extend_from_slice(&self.directory_id.to_le_bytes());
        bytes.extend_from_slice(&self.next_id.to_le_bytes());
        bytes.extend_from_slice(&u32::from(self.beside).to_le_bytes());
        bytes.resize(HEADER as usize - 4, 0);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        let mut header = [0; HEADER as usize];
        header.copy_from_slice(&bytes);
        header
    }

    pub(crate) fn decode(bytes: &[u8; HEADER as usize]) -> HeaderRead {
        let Some((content, crc)) = bytes.split_last_chunk::<4>() else {
            return HeaderRead::Invalid;
        };
        if u32::from_le_bytes(*crc) != crc32fast::hash(content) || !content.starts_with(MAGIC) {
            return HeaderRead::Invalid;
        }
        let u32_at = |at: usize| {
            content
                .get(at..)
                .and_then(|rest| rest.first_chunk())
                .map_or(0, |b| u32::from_le_bytes(*b))
        };
        let u64_at = |at: usize| {
            content
                .get(at..)
                .and_then(|rest| rest.first_chunk())
                .map_or(0, |b| u64::from_le_bytes(*b))
        };
        // Magic, version and the place of the CRC stay where they are in every later format.
        match u32_at(8) {
            0 => HeaderRead::Invalid,
            found if found > FORMAT => HeaderRead::Newer(found),
            format => HeaderRead::Valid(Header {
                format,
                segment: u32_at(12),
                directory_id: u64_at(16),
                next_id: u64_at(24),
                beside: format == ALL_BESIDE || u32_at(32) == 1,
            }),
        }
    }

    pub(crate) fn read(file: &dyn File) -> std::io::Result<HeaderRead> {
        let mut bytes = [0; HEADER as usize];
        match fs::read_full_at(file, &mut bytes, 0)? {
            read if read == bytes.len() => Ok(Header::decode(&bytes)),
            _ => Ok(HeaderRead::Invalid),
        }
    }
}

/// The number of the log's first segment after everything up to `last`.
pub(crate) fn number_after(last: u32) -> u32 {
    if last == 0 { 1 } else { (last / STRIDE + 1) * STRIDE }
}

/// The file name of a segment.
pub(crate) fn file_name(number: u32) -> String {
    format!("segment-{number:010}.log")
}

/// The number in a segment's file name.
pub(crate) fn parse_file_name(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    let number = digits.parse().ok()?;
    (number > 0 && file_name(number) == name).then_some(number)
}

/// The name of a segment's file that is needed no more.
pub(crate) fn gone_name(number: u32) -> String {
    format!("gone-{number:010}.log")
}

/// True for such a name.
pub(crate) fn is_gone(name: &str) -> bool {
    let number = name
        .strip_prefix("gone-")
        .and_then(|rest| rest.strip_suffix(".log"))
        .and_then(|digits| digits.parse().ok());
    number.is_some_and(|number| gone_name(number) == name)
}

/// The segment being written.
#[derive(Debug)]
pub(crate) struct WriteSegment {
    pub(crate) segment: Arc<Segment>,
    /// Open as long as it is being written.
    pub(crate) file: Arc<dyn File>,
    pub(crate) dirty: bool,
}

impl WriteSegment {
    /// Creates the file of a segment, out of the spare one if there is one, and makes its name durable. It may grow to
    /// `limit` bytes.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn create(
        fs: &dyn Fs,
        directory: &Path,
        header: Header,
        spare: Option<Arc<dyn File>>,
        limit: u64,
    ) -> Result<WriteSegment, Error> {
        let path = directory.join(file_name(header.segment));
        let file = match spare {
            Some(file) => {
                let from = directory.join(SPARE);
                fs.rename(&from, &path)
                    .map_err(|source| Error::io("rename", &from, source))?;
                file
            }
            None => fs.create(&path).map_err(|source| Error::io("create", &path, source))?,
        };
        fs.sync_dir(directory)
            .map_err(|source| Error::io("sync directory", directory, source))?;
        let len = file
            .size()
            .map_err(|source| Error::io("read the size of", &path, source))?;
        let mask = record::segment_mask(header.directory_id, header.segment);
        let mut write = WriteSegment {
            segment: Arc::new(Segment::new(directory, header.segment, mask, len)),
            file,
            dirty: false,
        };
        write.write(&header.encode(), 0, limit)?;
        Ok(write)
    }

    /// Writes at `offset`. A file that is too short is extended, up to `limit`, with zeros beyond the bytes.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn write(&mut self, bytes: &[u8], offset: u64, limit: u64) -> Result<(), Error> {
        let segment = &*self.segment;
        let failed = |source| Error::io("write", &segment.path, source);
        self.dirty = true;
        fs::write_all_at(&*self.file, bytes, offset).map_err(failed)?;
        let end = offset + bytes.len() as u64;
        // What lies below the length has been allocated.
        if end > segment.len() {
            // Syncs of blocks that exist cost two thirds of syncs that also change the file's length.
            let target = end.next_multiple_of(GROWTH).min(limit);
            if target > end {
                let zeros = vec![0; (target - end) as usize];
                fs::write_all_at(&*self.file, &zeros, end).map_err(failed)?;
            }
            segment.set_len(end.max(target));
        }
        Ok(())
    }

    /// Syncs what was written.
    ///
    /// # Errors
    /// The system's error; nothing written since the last success can be trusted then.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        if self.dirty {
            self.file
                .sync_data()
                .map_err(|source| Error::io("sync", &self.segment.path, source))?;
            self.dirty = false;
        }
        Ok(())
    }
}

/// Where the end of an append lies.
pub(crate) fn end_of(segment: u32, offset: u64) -> Lsn {
    Lsn::new(segment, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_ignored() {
        assert_eq!(parse_file_name(&file_name(7)), Some(7));
        for name in [
            "segment-7.log",
            "segment-0000000000.log",
            "spare.log",
            "segment-0000000001.log.bak",
        ] {
            assert_eq!(parse_file_name(name), None, "{name}");
            assert!(!is_gone(name), "{name}");
        }
        assert!(is_gone(&gone_name(7)));
        assert_eq!(parse_file_name(&gone_name(7)), None);
        assert!(!is_gone("gone-7.log"));
    }

    #[test]
    fn numbers_leave_room_between_them() {
        assert_eq!([0, 1, 15, 16, 17, 31].map(number_after), [1, 16, 16, 32, 32, 32]);
    }

    #[test]
    fn a_header_survives_and_a_flipped_bit_does_not() {
        let header = Header {
            format: FORMAT,
            directory_id: 42,
            segment: 3,
            next_id: 99,
            beside: false,
        };
        let beside = Header { beside: true, ..header };
        assert_eq!(Header::decode(&beside.encode()), HeaderRead::Valid(beside));
        let mut bytes = header.encode();
        assert_eq!(Header::decode(&bytes), HeaderRead::Valid(header));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes), HeaderRead::Invalid, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
