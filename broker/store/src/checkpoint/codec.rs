//! A checkpoint's bytes. `README.md` has the table.
//!
//! In: values. Out: bytes, and back; bytes that are not whole give nothing. Does not know about files.

use super::stream::{Stream, Write};
use crate::backlog::Backlog;
use crate::ids::{MessageId, QueueId};
use crate::ledger::{Account, DeliveredMark, Entry, Ledger, Table, Uncovered};
use crate::location::{Location, Lsn};
use crate::page::{Page, Share, Summary};
use crate::pages::{PageFile, Slot};
use crate::record::{put, take};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"LVRTCKP\n";
/// Format written by this release. Persisted. The one before has no stamps.
const FORMAT: u32 = 2;
const WITHOUT_STAMPS: u32 = 1;
/// Magic, format, CRC of all that follows it; then the directory's id.
const CRC_END: usize = 16;
const HEAD: usize = 24;

/// No page is longer, bytes: what is larger is damage.
const LONGEST: u32 = 8 << 20;

/// The ways in which a page is kept. Persisted.
const LOOSE: u64 = 0;
const SMALL: u64 = 1;
const STORED: u64 = 2;

/// The contents of a checkpoint.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Everything before is in what follows; the log is read from here on.
    pub(crate) position: Lsn,
    /// The log was synced up to here.
    pub(crate) synced: Lsn,
    pub(crate) next_id: MessageId,
    pub(crate) ledger: Ledger,
    pub(crate) queues: Vec<(QueueId, Backlog)>,
    pub(crate) pages: Arc<PageFile>,
}

/// One queue in a checkpoint that is being written.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) queue: QueueId,
    /// Pages as the owner has them.
    pub(crate) pages: Vec<Page>,
    /// Single messages, packed in order to be written.
    pub(crate) loose: Vec<Page>,
}

/// The parts of a checkpoint, in the order of its bytes.
pub(crate) struct Parts<'a> {
    pub(crate) directory_id: u64,
    pub(crate) position: Lsn,
    pub(crate) synced: Lsn,
    pub(crate) next_id: MessageId,
    pub(crate) accounts: &'a BTreeMap<u32, Account>,
    pub(crate) marks: &'a HashMap<QueueId, DeliveredMark>,
    pub(crate) table: &'a Table,
    pub(crate) queues: &'a [Captured],
    /// Where a page that is in memory has been written to.
    pub(crate) written: &'a HashMap<(QueueId, MessageId), Slot>,
}

/// Writes the bytes of the file, piece by piece, the head last. Gives their number.
///
/// # Errors
/// That of `write`.
pub(super) fn encode(parts: &Parts<'_>, write: Write<'_>) -> io::Result<u64> {
    let directory = parts.directory_id.to_le_bytes();
    let mut stream = Stream::new(HEAD as u64, &directory, write);
    let numbers = [parts.position.0, parts.synced.0, parts.next_id];
    put_all(&mut stream.out, numbers);
    put(&mut stream.out, parts.accounts.len() as u64);
    for (&number, account) in parts.accounts {
        put_account(&mut stream, number, account)?;
    }
    put(&mut stream.out, parts.marks.len() as u64);
    for (&queue, &DeliveredMark { up_to, segment }) in parts.marks {
        put_all(&mut stream.out, [queue, up_to, u64::from(segment)]);
        stream.relieve()?;
    }
    put(&mut stream.out, parts.table.len() as u64);
    for (key, entry) in parts.table {
        put_entry(&mut stream.out, key, entry);
        stream.relieve()?;
    }
    put(&mut stream.out, parts.queues.len() as u64);
    for captured in parts.queues {
        put(&mut stream.out, captured.queue);
        put(&mut stream.out, (captured.pages.len() + captured.loose.len()) as u64);
        for page in &captured.loose {
            put_page(&mut stream.out, page, LOOSE, None);
            stream.relieve()?;
        }
        for page in &captured.pages {
            let slot = page
                .slot()
                .or_else(|| parts.written.get(&(captured.queue, page.first())).copied());
            put_page(&mut stream.out, page, SMALL, slot);
            stream.relieve()?;
        }
    }
    stream.end(|crc| {
        let mut head = [0; HEAD];
        fill(&mut head, 0, *MAGIC);
        fill(&mut head, 8, FORMAT.to_le_bytes());
        fill(&mut head, 12, crc.to_le_bytes());
        fill(&mut head, CRC_END, directory);
        head
    })
}

fn fill<const N: usize>(out: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>()) {
        *place = bytes;
    }
}

fn put_entry(out: &mut Vec<u8>, key: &[u8], entry: &Entry) {
    put_bytes(out, key);
    put_all(out, [u64::from(entry.segment), u64::from(entry.offset), entry.len]);
    match &entry.value {
        None => put(out, 0),
        Some(value) => {
            put(out, 1);
            put_bytes(out, value);
        }
    }
}

fn put_account(stream: &mut Stream<'_>, number: u32, account: &Account) -> io::Result<()> {
    // Each field is named, so that none is forgotten. References are counted again at start; patience begins again.
    let Account {
        used,
        published,
        weight,
        live_weight: _,
        refs: _,
        foreign,
        table,
        marks,
        tombstones,
        after,
        damaged,
        blocked: _,
        uncovered,
        failing: _,
    } = account;
    let out = &mut stream.out;
    put(out, u64::from(number));
    put_all(out, [*used, *published, *weight, *table, *marks, *tombstones]);
    put(out, u64::from(*damaged));
    put(out, foreign.len() as u64);
    for (&target, &len) in foreign {
        put_all(&mut stream.out, [u64::from(target), len]);
        stream.relieve()?;
    }
    put(&mut stream.out, after.len() as u64);
    for &segment in after {
        put(&mut stream.out, u64::from(segment));
        stream.relieve()?;
    }
    put(&mut stream.out, uncovered.len() as u64);
    for &Uncovered { queue, id, location } in uncovered {
        let Location { segment, offset, len } = location;
        let place = [queue, id, u64::from(segment), u64::from(offset), u64::from(len)];
        put_all(&mut stream.out, place);
        stream.relieve()?;
    }
    stream.relieve()
}

fn put_page(out: &mut Vec<u8>, page: &Page, inline: u64, slot: Option<Slot>) {
    let Summary {
        first,
        last,
        count,
        payload_bytes,
        lowest_stamp,
        highest_stamp,
        shares,
    } = page.summary();
    put(out, if slot.is_some() { STORED } else { inline });
    put_all(
        out,
        [
            *first,
            *last,
            u64::from(*count),
            *payload_bytes,
            *lowest_stamp,
            *highest_stamp,
        ],
    );
    put(out, shares.len() as u64);
    for share in shares {
        put_all(out, [u64::from(share.segment), u64::from(share.count), share.bytes]);
    }
    match slot {
        Some(slot) => put_all(out, [slot.block, u64::from(slot.len), u64::from(slot.crc)]),
        None => put_bytes(out, &page.in_memory().unwrap_or_default()),
    }
}

fn put_all<const N: usize>(out: &mut Vec<u8>, values: [u64; N]) {
    for value in values {
        put(out, value);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what [`encode`] wrote for the directory with this id. `None` for anything else.
pub(crate) fn decode(bytes: &[u8], directory_id: u64, pages: &Arc<PageFile>) -> Option<Loaded> {
    let (head, body) = bytes.split_at_checked(CRC_END)?;
    let rest = body.get(8..)?;
    let [m @ .., f0, f1, f2, f3, c0, c1, c2, c3] = head else {
        return None;
    };
    let format = u32::from_le_bytes([*f0, *f1, *f2, *f3]);
    let crc = u32::from_le_bytes([*c0, *c1, *c2, *c3]);
    let id = u64::from_le_bytes(*body.first_chunk()?);
    let known = format == FORMAT || format == WITHOUT_STAMPS;
    if m != MAGIC || !known || crc != crc32fast::hash(body) || id != directory_id {
        return None;
    }
    let mut input = Input {
        rest,
        stamps: format != WITHOUT_STAMPS,
    };
    let (position, synced, next_id) = (Lsn(input.number()?), Lsn(input.number()?), input.number()?);
    let mut ledger = Ledger::default();
    for _ in 0..input.number()? {
        let (number, account) = input.account()?;
        ledger.accounts.insert(number, account);
    }
    for _ in 0..input.number()? {
        let queue = input.number()?;
        let mark = DeliveredMark {
            up_to: input.number()?,
            segment: input.narrow()?,
        };
        ledger.marks.insert(queue, mark);
    }
    for _ in 0..input.number()? {
        let (key, entry) = input.entry()?;
        ledger.table.insert(key, entry);
    }
    let mut queues = Vec::new();
    for _ in 0..input.number()? {
        queues.push((input.number()?, input.backlog(pages)?));
    }
    input.rest.is_empty().then_some(Loaded {
        position,
        synced,
        next_id,
        ledger,
        queues,
        pages: Arc::clone(pages),
    })
}

/// The bytes that are left to read.
struct Input<'a> {
    rest: &'a [u8],
    /// Pages tell their stamps.
    stamps: bool,
}

impl<'a> Input<'a> {
    fn number(&mut self) -> Option<u64> {
        take(&mut self.rest)
    }

    fn narrow(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    fn account(&mut self) -> Option<(u32, Account)> {
        let number = self.narrow()?;
        let mut account = Account {
            used: self.number()?,
            published: self.number()?,
            weight: self.number()?,
            table: self.number()?,
            marks: self.number()?,
            tombstones: self.number()?,
            damaged: self.number()? != 0,
            ..Account::default()
        };
        for _ in 0..self.number()? {
            account.foreign.insert(self.narrow()?, self.number()?);
        }
        for _ in 0..self.number()? {
            account.after.insert(self.narrow()?);
        }
        for _ in 0..self.number()? {
            let (queue, id) = (self.number()?, self.number()?);
            let location = Location {
                segment: self.narrow()?,
                offset: self.narrow()?,
                len: self.narrow()?,
            };
            account.uncovered.push(Uncovered { queue, id, location });
        }
        Some((number, account))
    }

    fn entry(&mut self) -> Option<(Arc<[u8]>, Entry)> {
        let key = Arc::from(self.bytes()?);
        let (segment, offset, len) = (self.narrow()?, self.narrow()?, self.number()?);
        let value = match self.number()? {
            0 => None,
            _ => Some(Arc::from(self.bytes()?)),
        };
        let entry = Entry {
            segment,
            offset,
            len,
            value,
        };
        Some((key, entry))
    }

    fn stamp(&mut self) -> Option<u64> {
        if self.stamps { self.number() } else { Some(0) }
    }

    fn summary(&mut self) -> Option<Summary> {
        let mut summary = Summary {
            first: self.number()?,
            last: self.number()?,
            count: self.narrow()?,
            payload_bytes: self.number()?,
            lowest_stamp: self.stamp()?,
            highest_stamp: self.stamp()?,
            shares: Vec::new(),
        };
        for _ in 0..self.number()? {
            summary.shares.push(Share {
                segment: self.narrow()?,
                count: self.narrow()?,
                bytes: self.number()?,
            });
        }
        Some(summary)
    }

    fn backlog(&mut self, pages: &Arc<PageFile>) -> Option<Backlog> {
        let mut backlog = Backlog::default();
        for _ in 0..self.number()? {
            let kind = self.number()?;
            let summary = self.summary()?;
            match kind {
                STORED => {
                    let (block, len, crc) = (self.number()?, self.narrow()?, self.narrow()?);
                    (len <= LONGEST).then_some(())?;
                    backlog
                        .pages
                        .push(Page::stored(summary, Slot { block, len, crc }, Arc::clone(pages)));
                }
                SMALL => backlog.pages.push(Page::inline(summary, self.bytes()?)),
                LOOSE => backlog
                    .loose
                    .extend(Page::inline(summary, self.bytes()?).unpack().ok()?),
                _ => return None,
            }
        }
        Some(backlog)
    }
}
