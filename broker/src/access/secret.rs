//! Name and password in two files, one line each, as a mounted Secret has them.
//!
//! Comes in: paths. Goes out: what stands in the files at the moment of a login. They are looked at by a thread of
//! their own: a file system that hangs holds up no client, and what was read before counts meanwhile.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// The longest time that a login waits for the files.
const PATIENCE: Duration = Duration::from_secs(2);
/// Logins that may wait for them.
const WAITING: usize = 256;
/// Of the rights to a file, that of everybody to write it.
const OTHERS_WRITE: u32 = 0o002;

/// A name and the password that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

/// The contents of the files, or why they can't be told.
type Found = Result<Arc<Credentials>, String>;

/// Two files that are read when they have changed.
#[derive(Clone, Debug)]
pub struct SecretFiles {
    ask: SyncSender<oneshot::Sender<Found>>,
    last: Arc<parking_lot::Mutex<Found>>,
}

impl SecretFiles {
    /// Reads the files, and starts the thread that does so from now on.
    ///
    /// # Errors
    /// The thread can't be started. (Files that can't be read are told of at each login.)
    pub fn open(user: PathBuf, password: PathBuf) -> io::Result<Self> {
        let (ask, asked) = sync_channel(WAITING);
        let last = Arc::new(parking_lot::Mutex::new(Err(
            "the files have not been read yet".to_owned()
        )));
        let mut files = Files {
            user,
            password,
            stamps: None,
            last: last.clone(),
        };
        files.look();
        std::thread::Builder::new()
            .name("password".into())
            .spawn(move || files.serve(&asked))?;
        Ok(Self { ask, last })
    }

    /// The contents of the files now; those before, if they can't be looked at in time.
    ///
    /// # Errors
    /// The file with what is wrong.
    pub async fn now(&self) -> Found {
        let (answer, answered) = oneshot::channel();
        if self.ask.try_send(answer).is_ok()
            && let Ok(Ok(found)) = tokio::time::timeout(PATIENCE, answered).await
        {
            return found;
        }
        tracing::warn!("the files with user and password can't be read; what was in them before counts");
        self.last()
    }

    /// The contents of the files when they were looked at for the last time.
    pub fn last(&self) -> Found {
        self.last.lock().clone()
    }
}

/// The thread's side.
struct Files {
    user: PathBuf,
    password: PathBuf,
    stamps: Option<[Stamp; 2]>,
    last: Arc<parking_lot::Mutex<Found>>,
}

/// Whatever changes with a file: place and time.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    number: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(data: &Metadata) -> Self {
        Self {
            device: data.dev(),
            number: data.ino(),
            bytes: data.len(),
            changed: (data.ctime(), data.ctime_nsec()),
        }
    }
}

impl Files {
    fn serve(mut self, asked: &Receiver<oneshot::Sender<Found>>) {
        while let Ok(first) = asked.recv() {
            // Those that wait already share one look; who asks after it has begun may know of a later change.
            let waiting: Vec<_> = std::iter::once(first).chain(asked.try_iter()).collect();
            self.look();
            let found = self.last.lock().clone();
            for answer in waiting {
                // Who has asked may have gone.
                let _ = answer.send(found.clone());
            }
        }
    }

    /// Reads the files if they have changed.
    fn look(&mut self) {
        let stamp = |path: &Path| std::fs::metadata(path).map(|data| Stamp::of(&data)).ok();
        let stamps = stamp(&self.user).zip(stamp(&self.password)).map(|(a, b)| [a, b]);
        if stamps.is_some() && stamps == self.stamps {
            return;
        }
        *self.last.lock() = self.read().map(Arc::new);
        self.stamps = stamps;
    }

    fn read(&self) -> Result<Credentials, String> {
        Ok(Credentials {
            user: line(&self.user)?,
            password: line(&self.password)?,
        })
    }
}

/// The first line of a file. An empty one would let anyone log in.
///
/// # Errors
/// The file with what is wrong.
pub fn line(path: &Path) -> Result<String, String> {
    let text = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let line = text
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches('\r')
        .to_owned();
    if line.is_empty() {
        return Err(format!("{}: the first line is empty", path.display()));
    }
    Ok(line)
}

/// A small file, and a warning if anybody may change it.
fn read(path: &Path) -> io::Result<String> {
    let data = std::fs::metadata(path)?;
    if data.permissions().mode() & OTHERS_WRITE != 0 {
        tracing::warn!(file = %path.display(), "every user of this machine may write this file, and log in with that");
    }
    crate::files::read_text(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(files: &SecretFiles) -> Found {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(files.now())
    }

    #[test]
    fn a_change_counts_from_the_next_login_on() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let (user, password) = (folder.path().join("username"), folder.path().join("password"));
        let files = SecretFiles::open(user.clone(), password.clone()).expect("a thread");
        assert!(now(&files).expect_err("no files").contains("username"));
        std::fs::write(&user, "admin\n").expect("written");
        std::fs::write(&password, "secret").expect("written");
        let pair = |user: &str, password: &str| {
            Ok(Arc::new(Credentials {
                user: user.into(),
                password: password.into(),
            }))
        };
        assert_eq!(now(&files), pair("admin", "secret"));
        std::fs::write(&password, "Secret\n").expect("written");
        assert_eq!(now(&files), pair("admin", "Secret"));
        std::fs::write(&password, "\n").expect("written");
        assert!(now(&files).is_err());
        assert_eq!(files.last(), now(&files));
    }

    /// Changes the password and asks again, when it is woken.
    struct Changes {
        password: PathBuf,
        ask: SyncSender<oneshot::Sender<Found>>,
        second: parking_lot::Mutex<Option<oneshot::Sender<Found>>>,
    }

    impl std::task::Wake for Changes {
        fn wake(self: Arc<Self>) {
            std::fs::write(&self.password, "changed").expect("written");
            let asked = self.second.lock().take().map(|second| self.ask.try_send(second));
            assert!(asked.is_none_or(|asked| asked.is_ok()));
        }
    }

    #[test]
    fn a_change_while_others_are_answered_counts() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let (user, password) = (folder.path().join("username"), folder.path().join("password"));
        std::fs::write(&user, "admin").expect("written");
        std::fs::write(&password, "secret").expect("written");
        let files = SecretFiles::open(user, password.clone()).expect("a thread");
        let ((first, mut answered), (second, then)) = (oneshot::channel(), oneshot::channel());
        let changes = Arc::new(Changes {
            password,
            ask: files.ask.clone(),
            second: parking_lot::Mutex::new(Some(second)),
        });
        // The thread wakes whoever has asked as it answers: that is when the password changes.
        let waker = changes.into();
        let polled = std::pin::Pin::new(&mut answered).poll(&mut std::task::Context::from_waker(&waker));
        assert!(polled.is_pending());
        files.ask.try_send(first).expect("room");
        let found = |answer: Result<Found, _>| answer.expect("an answer").expect("files").password.clone();
        assert_eq!(found(then.blocking_recv()), "changed");
        assert_eq!(found(answered.blocking_recv()), "secret");
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .expect("mkfifo");
        assert!(made.success());
        assert!(line(&pipe).expect_err("a pipe").contains("not a regular file"));
        assert!(line(folder.path()).is_err());
    }
}
