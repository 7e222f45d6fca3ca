//! The file that holds packed pages: places in it are given out, and given back only when no checkpoint refers to them
//! any more.
//!
//! In: packed bytes. Out: places to read them from. All of it can be rebuilt from the log: what it holds is an index,
//! never the only copy of anything. Does not know what is in a page.

use crate::error::Error;
use crate::fs::{self, File, Fs};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file's name.
pub(crate) const FILE: &str = "pages";
/// Places begin at multiples of this many bytes. Persisted.
const BLOCK: u64 = 512;
/// The file is cut when this much at its end is free.
const SLACK: u64 = 1 << 20;

/// Where a page lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// In blocks of 512 bytes.
    pub(crate) block: u64,
    /// In bytes.
    pub(crate) len: u32,
    /// CRC-32 of the bytes.
    pub(crate) crc: u32,
}

impl Slot {
    fn blocks(&self) -> u64 {
        u64::from(self.len).div_ceil(BLOCK).max(1)
    }
}

/// The open file.
#[derive(Debug)]
pub(crate) struct PageFile {
    file: Arc<dyn File>,
    path: PathBuf,
    space: Mutex<Space>,
}

/// The free blocks.
#[derive(Debug, Default)]
struct Space {
    /// Blocks from here on have never been used.
    end: u64,
    /// Free stretches before it: first block to length.
    free: BTreeMap<u64, u64>,
    /// Not needed any more, but the newest checkpoint may refer to them.
    released: Vec<Slot>,
}

impl PageFile {
    /// Starts with an empty file, whatever was there.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn create(fs: &dyn Fs, directory: &Path) -> Result<Arc<PageFile>, Error> {
        let path = directory.join(FILE);
        match fs.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path, error));
            }
            _ => {}
        }
        let file = fs.create(&path).map_err(|source| Error::io("create", &path, source))?;
        Ok(PageFile::over(file, path))
    }

    /// Opens the file that a checkpoint refers to; `None` if there is none.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn open(fs: &dyn Fs, directory: &Path) -> Result<Option<Arc<PageFile>>, Error> {
        let path = directory.join(FILE);
        match fs.open(&path) {
            Ok(file) => Ok(Some(PageFile::over(file, path))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("open", &path, source)),
        }
    }

    fn over(file: Arc<dyn File>, path: PathBuf) -> Arc<PageFile> {
        Arc::new(PageFile {
            file,
            path,
            space: Mutex::default(),
        })
    }

    /// Tells which places are in use, before any is given out: these, and what has been released since the file was
    /// opened, since the checkpoint that was read refers to it. False if two of them overlap.
    pub(crate) fn occupy(&self, mut slots: Vec<Slot>) -> bool {
        let mut space = self.space.lock();
        slots.extend(&space.released);
        slots.sort_by_key(|slot| slot.block);
        let mut end = 0;
        for slot in slots {
            if slot.block < end {
                return false;
            }
            if slot.block > end {
                space.free.insert(end, slot.block - end);
            }
            end = slot.block.saturating_add(slot.blocks());
        }
        space.end = end;
        true
    }

    /// Writes a page into its own place. Durable after [`PageFile::sync`].
    ///
    /// # Errors
    /// The system's error; the place is free again then.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<Slot, Error> {
        let mut slot = Slot {
            block: 0,
            len: bytes.len() as u32,
            crc: crc32fast::hash(bytes),
        };
        slot.block = self.space.lock().take(slot.blocks());
        let written = fs::write_all_at(&*self.file, bytes, slot.block * BLOCK);
        written.map_err(|source| {
            self.free([slot]);
            Error::io("write", &self.path, source)
        })?;
        Ok(slot)
    }

    /// Returns when all that was written is on the device.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.file
            .sync_data()
            .map_err(|source| Error::io("sync", &self.path, source))
    }

    /// The bytes at a place; `None` if they are not what was written there.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn read(&self, slot: Slot) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = vec![0; slot.len as usize];
        let read = fs::read_full_at(&*self.file, &mut bytes, slot.block.saturating_mul(BLOCK))
            .map_err(|source| Error::io("read", &self.path, source))?;
        Ok((read == bytes.len() && crc32fast::hash(&bytes) == slot.crc).then_some(bytes))
    }

    /// The page is not needed any more. Its place stays taken until the next checkpoint is durable.
    pub(crate) fn release(&self, slot: Slot) {
        self.space.lock().released.push(slot);
    }

    /// The places that were released so far: free as soon as a checkpoint that does not refer to them is durable.
    pub(crate) fn take_released(&self) -> Vec<Slot> {
        std::mem::take(&mut self.space.lock().released)
    }

    /// No checkpoint refers to these places.
    pub(crate) fn free(&self, slots: impl IntoIterator<Item = Slot>) {
        let mut space = self.space.lock();
        for slot in slots {
            space.give_back(slot.block, slot.blocks());
        }
        let end = space.end * BLOCK;
        drop(space);
        // Only this thread writes here, so nothing beyond the end can have come since.
        if self.file.size().is_ok_and(|size| size > end + SLACK)
            && let Err(error) = self.file.set_len(end)
        {
            tracing::warn!(file = %self.path.display(), %error, "cannot cut the free end of a file");
        }
    }
}

impl Space {
    fn take(&mut self, blocks: u64) -> u64 {
        let found = self
            .free
            .iter()
            .find(|(_, len)| **len >= blocks)
            .map(|(&at, &len)| (at, len));
        if let Some((at, len)) = found {
            self.free.remove(&at);
            if len > blocks {
                self.free.insert(at + blocks, len - blocks);
            }
            return at;
        }
        let at = self.end;
        self.end += blocks;
        at
    }

    fn give_back(&mut self, mut at: u64, mut len: u64) {
        if let Some((&before, &size)) = self.free.range(..at).next_back()
            && before + size == at
        {
            self.free.remove(&before);
            (at, len) = (before, len + size);
        }
        if let Some(size) = self.free.remove(&(at + len)) {
            len += size;
        }
        if at + len == self.end {
            self.end = at;
        } else {
            self.free.insert(at, len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::faulty::FaultyFs;
    use std::collections::BTreeSet;

    fn file() -> Arc<PageFile> {
        let fs = FaultyFs::new();
        fs.create_dir_all(Path::new("/data")).expect("a directory");
        PageFile::create(&fs, Path::new("/data")).expect("a file")
    }

    #[test]
    fn a_place_is_used_again_only_after_the_next_checkpoint() {
        let file = file();
        let first = file.write(&[1; 600]).expect("written");
        let second = file.write(&[2; 10]).expect("written");
        file.release(first);
        assert_eq!(file.write(&[3; 10]).expect("written").block, second.block + 1);
        file.free(file.take_released());
        assert_eq!(file.write(&[4; 1024]).expect("written").block, first.block);
        assert_eq!(file.read(second).expect("read"), Some(vec![2; 10]));
        assert_eq!(file.read(first).expect("read"), None, "other bytes now");
    }

    #[test]
    fn free_space_is_put_together_and_the_end_shrinks() {
        let file = file();
        let slots: Vec<Slot> = (0..50).map(|_| file.write(&[7; 2000]).expect("written")).collect();
        let blocks: BTreeSet<u64> = slots.iter().map(|slot| slot.block).collect();
        assert_eq!(blocks.len(), 50);
        file.free(slots.iter().copied().filter(|slot| slot.block % 8 == 0));
        file.free(slots.iter().copied().filter(|slot| slot.block % 8 != 0));
        let space = file.space.lock();
        assert_eq!((space.end, space.free.len()), (0, 0));
    }

    #[test]
    fn occupied_places_are_not_given_out() {
        let file = file();
        let slot = |block, len| Slot { block, len, crc: 0 };
        assert!(file.occupy(vec![slot(5, 600), slot(2, 512)]));
        let given: Vec<u64> = (0..5).map(|_| file.write(&[0; 100]).expect("written").block).collect();
        assert_eq!(given, [0, 1, 3, 4, 7]);
        assert!(!file.occupy(vec![slot(5, 600), slot(6, 1)]));
    }

    /// A start drops the pages that the log speaks of behind the checkpoint.
    #[test]
    fn what_a_start_has_dropped_is_given_out_only_after_the_next_checkpoint() {
        let file = file();
        let slot = |block, len| Slot { block, len, crc: 0 };
        file.release(slot(1, 512));
        assert!(file.occupy(vec![slot(0, 512), slot(2, 512)]));
        assert_eq!(file.write(&[0; 100]).expect("written").block, 3);
        file.free(file.take_released());
        assert_eq!(file.write(&[0; 100]).expect("written").block, 1);
        assert_eq!(file.write(&[0; 100]).expect("written").block, 4);
    }
}
