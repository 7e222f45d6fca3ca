//! A file system that waits while there are no file descriptors: sockets and other processes take them and leave them,
//! and that is no failure of the disk.
//!
//! In: the calls of `Fs`. Out: the same, later if need be; log lines, one when it begins to wait, some while it waits,
//! one when that is over. Does not know which file is for what.

use crate::error::is_out_of_descriptors;
use crate::fs::{File, Fs, Stranger};
use parking_lot::Mutex;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(5);
/// Longest time that a start, or the end, waits: nobody is there who would be served meanwhile.
const HURRIED: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// The time between two log lines.
const TOLD: Duration = Duration::from_secs(10);

/// The file system over another one.
pub(crate) struct Patient {
    behind: Arc<dyn Fs>,
    /// There is no end to its patience.
    serving: AtomicBool,
    /// Calls that had to wait.
    waits: AtomicU64,
    told: Mutex<Told>,
}

/// The last log line.
#[derive(Default)]
struct Told {
    at: Option<Instant>,
    waiting: u64,
}

impl Patient {
    /// Calls of `behind`, with little patience until [`Patient::serve`].
    pub(crate) fn new(behind: Arc<dyn Fs>) -> Patient {
        Patient {
            behind,
            serving: AtomicBool::new(false),
            waits: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// From now on it waits as long as it takes; or, at the end, not any more.
    pub(crate) fn serve(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }

    /// Calls that had to wait so far.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// The file system without patience, for what can be left undone.
    pub(crate) fn at_once(&self) -> &dyn Fs {
        &*self.behind
    }

    /// Opens a file. Each time that there is no descriptor `give_up` closes a file that is not needed now, if it can.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn open_or(&self, path: &Path, mut give_up: impl FnMut() -> bool) -> io::Result<Arc<dyn File>> {
        self.wait(path, || match self.behind.open(path) {
            Err(error) if is_out_of_descriptors(&error) && give_up() => self.behind.open(path),
            opened => opened,
        })
    }

    fn wait<T>(&self, path: &Path, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut hurried = Duration::ZERO;
        let mut waiting = false;
        loop {
            match call() {
                Err(error) if is_out_of_descriptors(&error) && hurried < HURRIED => {
                    if !std::mem::replace(&mut waiting, true) {
                        self.waits.fetch_add(1, Ordering::Relaxed);
                        self.told.lock().waiting += 1;
                    }
                    self.tell(path, &error);
                    if !self.serving.load(Ordering::Relaxed) {
                        hurried += PAUSE;
                    }
                    std::thread::sleep(PAUSE);
                }
                done => {
                    if waiting {
                        self.over();
                    }
                    return done;
                }
            }
        }
    }

    fn tell(&self, path: &Path, error: &io::Error) {
        let mut told = self.told.lock();
        if told.at.is_none_or(|at| at.elapsed() >= TOLD) {
            told.at = Some(Instant::now());
            tracing::error!(path = %path.display(), %error, "the log waits for a file descriptor and tries again; raise the limit of open files");
        }
    }

    fn over(&self) {
        let mut told = self.told.lock();
        told.waiting -= 1;
        if told.waiting == 0 && told.at.take().is_some() {
            tracing::info!("the log has its file descriptors again");
        }
    }
}

impl Fs for Patient {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.wait(path, || self.behind.create_dir_all(path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.wait(path, || self.behind.open(path))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.wait(path, || self.behind.create(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.behind.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.behind.remove(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.wait(directory, || self.behind.list(directory))
    }

    fn strangers(&self, directory: &Path) -> io::Result<Vec<(String, Stranger)>> {
        self.wait(directory, || self.behind.strangers(directory))
    }

    fn close_to_others(&self, path: &Path) -> io::Result<()> {
        self.behind.close_to_others(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.wait(directory, || self.behind.sync_dir(directory))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Arc<dyn File>>> {
        self.wait(path, || self.behind.lock(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::faulty::FaultyFs;

    const EMFILE: i32 = 24;

    fn file_system() -> (FaultyFs, Patient) {
        let faulty = FaultyFs::new();
        faulty.create(Path::new("/data/file")).expect("a file");
        (faulty.clone(), Patient::new(Arc::new(faulty)))
    }

    #[test]
    fn it_waits_while_there_are_no_descriptors() {
        let (faulty, patient) = file_system();
        faulty.run_out_of_descriptors(0, 5, EMFILE);
        patient.open(Path::new("/data/file")).expect("in the end");
        assert_eq!(patient.waits(), 1);
        faulty.run_out_of_descriptors(0, 1, 5);
        let error = patient.open(Path::new("/data/file")).expect_err("another error");
        assert_eq!(error.raw_os_error(), Some(5));
    }

    #[test]
    fn a_start_does_not_wait_for_ever() {
        let (faulty, patient) = file_system();
        faulty.run_out_of_descriptors(0, u64::MAX / 2, EMFILE);
        let error = patient.list(Path::new("/data")).expect_err("no descriptors");
        assert!(is_out_of_descriptors(&error), "{error}");
    }

    #[test]
    fn what_is_not_needed_is_closed_before_it_waits() {
        let (faulty, patient) = file_system();
        patient.serve(true);
        faulty.run_out_of_descriptors(0, 1, EMFILE);
        let mut given_up = 0;
        let opened = patient.open_or(Path::new("/data/file"), || {
            given_up += 1;
            true
        });
        opened.expect("with the descriptor of another");
        assert_eq!((given_up, patient.waits()), (1, 0));
    }
}
