//! Walks the records of one segment file, over damage too.
//!
//! In: a file and its mask. Out: records and damaged stretches, in order. Reads through a window of bounded size.
//! Does not know what records mean.

use crate::fs::{self, File};
use crate::record::{self, ALIGN, HEAD, Head, Record};
use crate::segment::HEADER;
use std::io;

const WINDOW: usize = 1 << 20;
const BLOCK: usize = 4096;

/// The thing at the scanner's position.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// An intact record.
    Record {
        offset: u64,
        len: u64,
        first: bool,
        last: bool,
        body: &'a [u8],
        record: Record<'a>,
    },
    /// Bytes that are no intact record, although intact ones may follow.
    Damage { offset: u64, len: u64 },
    /// Nothing more.
    End { offset: u64 },
}

/// Reads a segment from front to back.
#[derive(Debug)]
pub(crate) struct Scanner<'f> {
    window: Window<'f>,
    mask: u32,
    offset: u64,
}

impl<'f> Scanner<'f> {
    /// Starts behind the header.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn new(file: &'f dyn File, mask: u32) -> io::Result<Scanner<'f>> {
        let size = file.size()?;
        Ok(Scanner {
            window: Window {
                file,
                size,
                start: 0,
                bytes: Vec::new(),
            },
            mask,
            offset: HEADER,
        })
    }

    /// Goes on at `offset`, where a record begins or the log ends.
    pub(crate) fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// The next record, damage, or the end.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn next(&mut self) -> io::Result<Found<'_>> {
        let offset = self.offset;
        match self.probe(offset)? {
            Probe::Intact(head) => {
                let len = head.record_len();
                self.offset = offset + record::aligned(len);
                let body = self.window.get(offset + HEAD as u64, head.body as usize)?;
                match body.and_then(|body| Some((body, record::decode(body)?))) {
                    Some((body, record)) => Ok(Found::Record {
                        offset,
                        len,
                        first: head.first,
                        last: head.last,
                        body,
                        record,
                    }),
                    None => Ok(Found::Damage { offset, len }),
                }
            }
            // The head is right, so its length is, and what follows is found without a search.
            Probe::BadBody(len) => {
                self.offset = offset + record::aligned(len);
                Ok(Found::Damage { offset, len })
            }
            Probe::Nothing => match self.search(offset + ALIGN as u64)? {
                Some(found) => {
                    self.offset = found;
                    Ok(Found::Damage {
                        offset,
                        len: found - offset,
                    })
                }
                None => Ok(Found::End { offset }),
            },
        }
    }

    /// The highest position that a mark from here to the end of the file calls synced.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn synced_from(&self, offset: u64) -> io::Result<u64> {
        let mut ahead = Scanner::new(self.window.file, self.mask)?;
        ahead.offset = offset;
        let mut synced = 0;
        loop {
            match ahead.next()? {
                Found::Record {
                    record: Record::Mark { synced: mark },
                    ..
                } => synced = synced.max(mark),
                Found::End { .. } => return Ok(synced),
                Found::Record { .. } | Found::Damage { .. } => {}
            }
        }
    }

    fn probe(&mut self, offset: u64) -> io::Result<Probe> {
        let mask = self.mask;
        let Some(head) = self
            .window
            .get(offset, HEAD)?
            .and_then(|bytes| Head::parse(bytes, mask))
        else {
            return Ok(Probe::Nothing);
        };
        match self.window.get(offset + HEAD as u64, head.body as usize)? {
            Some(body) if head.matches(body) => Ok(Probe::Intact(head)),
            Some(_) => Ok(Probe::BadBody(head.record_len())),
            None => Ok(Probe::Nothing),
        }
    }

    /// The first place at or after `from` with an intact record.
    fn search(&mut self, mut from: u64) -> io::Result<Option<u64>> {
        while from + HEAD as u64 <= self.window.size {
            if from.is_multiple_of(BLOCK as u64)
                && self
                    .window
                    .get(from, BLOCK)?
                    .is_some_and(|block| block == [0; BLOCK].as_slice())
            {
                // A head that starts in the last bytes of a block of zeros would have the length zero: there is none.
                from += BLOCK as u64;
                continue;
            }
            if matches!(self.probe(from)?, Probe::Intact(_)) {
                return Ok(Some(from));
            }
            from += ALIGN as u64;
        }
        Ok(None)
    }
}

enum Probe {
    Intact(Head),
    BadBody(u64),
    Nothing,
}

/// A part of the file in memory.
#[derive(Debug)]
struct Window<'f> {
    file: &'f dyn File,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `len` bytes at `offset`; `None` beyond the end of the file.
    fn get(&mut self, offset: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(len as u64).filter(|&end| end <= self.size) else {
            return Ok(None);
        };
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            let want = (len.max(WINDOW) as u64).min(self.size - offset) as usize;
            self.bytes.resize(want, 0);
            let read = fs::read_full_at(self.file, &mut self.bytes, offset)?;
            self.bytes.truncate(read);
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok(self.bytes.get(from..from + len))
    }
}
