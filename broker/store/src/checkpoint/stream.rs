//! The bytes of a checkpoint on their way to its file, piece by piece: however large it is, little of it is in memory
//! at a time.
//!
//! In: bytes, one entry after the other. Out: pieces with their offsets, and the checksum over all. Does not know what
//! they say.

use std::io;

/// Bytes that are collected before they are written.
pub(super) const PIECE: usize = 256 << 10;

/// Writes bytes at an offset.
pub(super) type Write<'a> = &'a mut dyn FnMut(&[u8], u64) -> io::Result<()>;

/// The bytes of a file from an offset on.
pub(super) struct Stream<'a> {
    /// Bytes that are to be written next: each entry is added here.
    pub(super) out: Vec<u8>,
    offset: u64,
    crc: crc32fast::Hasher,
    write: Write<'a>,
}

impl<'a> Stream<'a> {
    /// Bytes from `offset` on. The checksum counts `first` before them.
    pub(super) fn new(offset: u64, first: &[u8], write: Write<'a>) -> Self {
        let mut crc = crc32fast::Hasher::new();
        crc.update(first);
        Self {
            out: Vec::new(),
            offset,
            crc,
            write,
        }
    }

    /// After an entry: writes what there is, if it has become much.
    ///
    /// # Errors
    /// The system's error.
    #[inline]
    pub(super) fn relieve(&mut self) -> io::Result<()> {
        match self.out.len() < PIECE {
            true => Ok(()),
            false => self.pass(),
        }
    }

    fn pass(&mut self) -> io::Result<()> {
        self.crc.update(&self.out);
        (self.write)(&self.out, self.offset)?;
        self.offset += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    /// Writes the rest, and then the head that `head` makes of the checksum, at the begin of the file. Gives the end of
    /// the file.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn end<const N: usize>(mut self, head: impl FnOnce(u32) -> [u8; N]) -> io::Result<u64> {
        self.pass()?;
        (self.write)(&head(self.crc.finalize()), 0)?;
        Ok(self.offset)
    }
}
