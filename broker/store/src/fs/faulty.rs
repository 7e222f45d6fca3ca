//! Test double of a disk: knows which bytes and names would survive a crash, and fails when told to.
//!
//! In: the calls of `Fs` and `File`, orders to fail. Out: after `FaultyFs::crash` a new file system with what survived.
//! Does not know about the log.

use super::{File, Fs, Stranger};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Unit in which disks write all or nothing, in bytes.
const SECTOR: usize = 512;

/// The part of the bytes and names that were not synced which is still there after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// Nothing: a power cut before anything was written back.
    Synced,
    /// All of it: the process was killed, the system lives on.
    Everything,
    /// An arbitrary subset of the sectors, and the first few changes of names, drawn from this seed.
    Some(u64),
}

/// A file system in memory. Clones are the same one.
#[derive(Clone, Default)]
pub struct FaultyFs {
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since the last sync of their directory, in order.
    changes: Vec<Change>,
    directories: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    writes: u64,
    syncs: u64,
    failing_write: Option<(u64, i32)>,
    failing_sync: Option<(u64, i32)>,
    calls: u64,
    failing_call: Option<(u64, i32)>,
    /// Calls that need a descriptor, and those of them that find none.
    openings: u64,
    without_descriptors: Option<(Range<u64>, i32)>,
    lasting_names: BTreeSet<PathBuf>,
    short_writes: bool,
}

#[derive(Default)]
struct Contents {
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
enum Change {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Change {
    fn is_in(&self, directory: &Path) -> bool {
        let (Change::Create(path, _) | Change::Rename(path, _) | Change::Remove(path)) = self;
        path.parent() == Some(directory)
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Change::Create(path, file) => {
                names.insert(path.clone(), *file);
            }
            Change::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Change::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

impl FaultyFs {
    /// An empty one that works.
    pub fn new() -> FaultyFs {
        FaultyFs::default()
    }

    /// The files after a crash now. This one lives on by itself, as a process does that does not know it is dead.
    pub fn crash(&self, survival: Survival) -> FaultyFs {
        let world = self.world.lock();
        let mut random = Random(match survival {
            Survival::Some(seed) => seed,
            Survival::Synced | Survival::Everything => 0,
        });
        let mut names = world.durable_names.clone();
        let kept = match survival {
            Survival::Synced => 0,
            Survival::Everything => world.changes.len(),
            Survival::Some(_) => random.below(world.changes.len() as u64 + 1) as usize,
        };
        for change in world.changes.iter().take(kept) {
            change.apply(&mut names);
        }
        let files = world
            .files
            .iter()
            .map(|contents| contents.survivor(survival, &mut random))
            .collect();
        let after = World {
            files,
            durable_names: names.clone(),
            names,
            directories: world.directories.clone(),
            ..World::default()
        };
        FaultyFs {
            world: Arc::new(Mutex::new(after)),
        }
    }

    /// The `nth` write from now (0 is the next) and all later ones fail with this error number of the system.
    pub fn fail_write(&self, nth: u64, errno: i32) {
        let mut world = self.world.lock();
        world.failing_write = Some((world.writes + nth, errno));
    }

    /// The `nth` sync of a file from now (0 is the next) fails with this error number; its bytes stay unsynced. Later
    /// ones seem to succeed, as they do on systems that drop the dirty pages.
    pub fn fail_sync(&self, nth: u64, errno: i32) {
        let mut world = self.world.lock();
        world.failing_sync = Some((world.syncs + nth, errno));
    }

    /// The `nth` call from now (0 is the next), whichever it is, fails with this error number. Later ones work.
    pub fn fail_call(&self, nth: u64, errno: i32) {
        let mut world = self.world.lock();
        world.failing_call = Some((world.calls + nth, errno));
    }

    /// From the `nth` call from now (0 is the next) that needs a descriptor on, `times` of them in a row find none, and
    /// fail with this error number. Other processes and sockets take and leave them.
    pub fn run_out_of_descriptors(&self, nth: u64, times: u64, errno: i32) {
        let mut world = self.world.lock();
        let first = world.openings + nth;
        world.without_descriptors = Some((first..first + times, errno));
    }

    /// This name cannot be removed or changed, as on a disk with errors: each try fails.
    pub fn keep_name(&self, path: &Path) {
        self.world.lock().lasting_names.insert(path.to_path_buf());
    }

    /// True if the call that was to fail has come.
    pub fn has_failed(&self) -> bool {
        let world = self.world.lock();
        world.failing_call.is_some_and(|(nth, _)| world.calls > nth)
    }

    /// True if a call has come that was to find no descriptor.
    pub fn has_run_out(&self) -> bool {
        let world = self.world.lock();
        let calls = world.without_descriptors.as_ref().map(|(calls, _)| calls.start);
        calls.is_some_and(|first| world.openings > first)
    }

    /// Writes take only a part of what they are given.
    pub fn short_writes(&self, short: bool) {
        self.world.lock().short_writes = short;
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.world.lock().syncs
    }

    /// Flips a bit of a file, synced and all.
    ///
    /// # Errors
    /// `NotFound` when there is no such file or byte.
    pub fn flip_bit(&self, path: &Path, offset: usize, bit: u8) -> io::Result<()> {
        let mut world = self.world.lock();
        let number = world.find(path)?;
        let contents = world.contents(number)?;
        let flip = |byte: Option<&mut u8>| byte.map(|byte| *byte ^= 1 << (bit & 7));
        flip(contents.live.get_mut(offset)).ok_or(io::ErrorKind::NotFound)?;
        flip(contents.durable.get_mut(offset));
        Ok(())
    }
}

impl fmt::Debug for FaultyFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.world.lock().names.iter()).finish()
    }
}

impl Contents {
    fn survivor(&self, survival: Survival, random: &mut Random) -> Contents {
        let mut bytes = match survival {
            Survival::Synced => self.durable.clone(),
            Survival::Everything => self.live.clone(),
            Survival::Some(_) => {
                let mut bytes = self.durable.clone();
                if self.live.len() < bytes.len() && random.below(2) == 0 {
                    bytes.truncate(self.live.len());
                }
                for &sector in self.dirty.iter().filter(|_| random.below(2) == 0) {
                    copy_sector(&self.live, &mut bytes, sector);
                }
                bytes
            }
        };
        bytes.shrink_to_fit();
        Contents {
            durable: bytes.clone(),
            live: bytes,
            dirty: BTreeSet::new(),
        }
    }

    fn touch(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
    }
}

fn copy_sector(from: &[u8], to: &mut Vec<u8>, sector: usize) {
    let start = sector * SECTOR;
    let end = (start + SECTOR).min(from.len());
    let Some(bytes) = from.get(start..end) else { return };
    if to.len() < end {
        to.resize(end, 0);
    }
    if let Some(to) = to.get_mut(start..end) {
        to.copy_from_slice(bytes);
    }
}

impl World {
    fn may_go(&self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        if self.lasting_names.contains(path) {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    /// Counts a call; fails if this is the one.
    fn call(&mut self) -> io::Result<()> {
        let number = self.calls;
        self.calls += 1;
        match self.failing_call {
            Some((nth, errno)) if nth == number => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }

    /// As [`World::call`], of one that needs a descriptor.
    fn call_with_descriptor(&mut self) -> io::Result<()> {
        self.call()?;
        let number = self.openings;
        self.openings += 1;
        match &self.without_descriptors {
            Some((calls, errno)) if calls.contains(&number) => Err(io::Error::from_raw_os_error(*errno)),
            _ => Ok(()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn contents(&mut self, number: usize) -> io::Result<&mut Contents> {
        self.files.get_mut(number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn create(&mut self, path: &Path) -> usize {
        let number = self.files.len();
        self.files.push(Contents::default());
        self.change(Change::Create(path.to_path_buf(), number));
        number
    }
}

impl Fs for FaultyFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.world.lock().call()?;
        self.world.lock().directories.insert(path.to_path_buf());
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut world = self.world.lock();
        world.call_with_descriptor()?;
        let number = world.find(path)?;
        Ok(Arc::new(FaultyFile {
            fs: self.clone(),
            number,
            lock: None,
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut world = self.world.lock();
        world.call_with_descriptor()?;
        if world.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = world.create(path);
        Ok(Arc::new(FaultyFile {
            fs: self.clone(),
            number,
            lock: None,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.call()?;
        world.may_go(from)?;
        world.change(Change::Rename(from.to_path_buf(), to.to_path_buf()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.call()?;
        world.may_go(path)?;
        world.change(Change::Remove(path.to_path_buf()));
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut world = self.world.lock();
        world.call_with_descriptor()?;
        let here = world.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(here
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn strangers(&self, _: &Path) -> io::Result<Vec<(String, Stranger)>> {
        Ok(Vec::new())
    }

    fn close_to_others(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.call_with_descriptor()?;
        let changes = std::mem::take(&mut world.changes);
        for change in changes {
            if change.is_in(directory) {
                change.apply(&mut world.durable_names);
            } else {
                world.changes.push(change);
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Arc<dyn File>>> {
        let mut world = self.world.lock();
        world.call_with_descriptor()?;
        if !world.locks.insert(path.to_path_buf()) {
            return Ok(None);
        }
        let number = match world.find(path) {
            Ok(number) => number,
            Err(_) => world.create(path),
        };
        Ok(Some(Arc::new(FaultyFile {
            fs: self.clone(),
            number,
            lock: Some(path.to_path_buf()),
        })))
    }
}

#[derive(Debug)]
struct FaultyFile {
    fs: FaultyFs,
    number: usize,
    lock: Option<PathBuf>,
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        if let Some(path) = &self.lock {
            self.fs.world.lock().locks.remove(path);
        }
    }
}

impl File for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.fs.world.lock();
        world.call()?;
        let live = &world.contents(self.number)?.live;
        let rest = live.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut world = self.fs.world.lock();
        world.call()?;
        let number = world.writes;
        world.writes += 1;
        let mut len = if world.short_writes {
            bytes.len().div_ceil(3)
        } else {
            bytes.len()
        };
        if let Some((nth, errno)) = world.failing_write
            && number >= nth
        {
            if number > nth {
                return Err(io::Error::from_raw_os_error(errno));
            }
            // The first failing one is cut short: the bytes before the failure are in the file.
            len /= 2;
            if len == 0 {
                return Err(io::Error::from_raw_os_error(errno));
            }
        }
        let contents = world.contents(self.number)?;
        let start = offset as usize;
        let end = start + len;
        let before = contents.live.len();
        if before < end {
            contents.live.resize(end, 0);
            contents.touch(before.min(start), end);
        }
        contents.touch(start, end);
        if let (Some(to), Some(from)) = (contents.live.get_mut(start..end), bytes.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.fs.world.lock();
        let called = world.call();
        let number = world.syncs;
        world.syncs += 1;
        let failing = world.failing_sync.filter(|&(nth, _)| nth == number);
        let contents = world.contents(self.number)?;
        let failed = failing.map(|(_, errno)| io::Error::from_raw_os_error(errno));
        if let Some(error) = called.err().or(failed) {
            contents.dirty.clear();
            return Err(error);
        }
        let len = contents.live.len();
        contents.durable.truncate(len);
        for sector in std::mem::take(&mut contents.dirty) {
            copy_sector(&contents.live, &mut contents.durable, sector);
        }
        contents.durable.resize(len, 0);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.fs.world.lock().contents(self.number)?.live.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut world = self.fs.world.lock();
        world.call()?;
        let contents = world.contents(self.number)?;
        let (before, len) = (contents.live.len(), len as usize);
        contents.live.resize(len, 0);
        contents.touch(before.min(len), before.max(len));
        Ok(())
    }
}

/// A small generator, so that a seed tells the whole story of a failure.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % limit.max(1)
    }
}
