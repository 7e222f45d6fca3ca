//! The companion broker: the program `leveret-broker` as a child process.
//!
//! In: where to find it, where it listens and keeps its data. Out: a broker that is ready, and that ends cleanly.
//! Does not know about resources. It meets the broker only as a program: flags, `/readyz`, signals, exit code.

use std::collections::VecDeque;
use std::env;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const PROGRAM: &str = "leveret-broker";
/// Longest time until the broker is ready: it may have to read a large log.
const START: Duration = Duration::from_secs(60);
/// Between two questions whether it is ready.
const ASK: Duration = Duration::from_millis(40);
/// Longest time for a clean end; then it is killed.
const STOP: Duration = Duration::from_secs(15);
/// Last lines of the broker that are kept for the message when it fails.
const KEPT_LINES: usize = 20;
/// Longest line that is kept, in bytes.
const LINE: u64 = 4_096;

/// The options to start the broker with.
#[derive(Clone, Debug)]
pub struct Options {
    pub program: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
    pub amqp_listen: SocketAddr,
    pub http_listen: SocketAddr,
}

/// The reason why there is no broker (any more).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the broker's program {PROGRAM} is neither beside this program nor in the PATH; give --broker-bin FILE")]
    NotFound,
    #[error("--broker-bin {path}: {why}")]
    NotRunnable { path: String, why: std::io::Error },
    #[error("cannot listen on {address}: {why}; another broker may be running, choose another with --{flag} ADDR:PORT")]
    Port {
        address: SocketAddr,
        why: std::io::Error,
        flag: &'static str,
    },
    #[error("cannot make a temporary folder in {path}: {why}")]
    Temporary { path: String, why: std::io::Error },
    #[error("{}", last_words(*.status, .lines))]
    Ended { status: ExitStatus, lines: Vec<String> },
    #[error("the broker was not ready within {} s", START.as_secs())]
    NotReady,
    #[error("cannot wait for the broker: {0}")]
    Wait(std::io::Error),
}

/// The reason why the broker ended. What is wrong it says itself, in one line of its own form, and that line is passed
/// on; of a signal it knows nothing, and its last line then tells of something else.
fn last_words(status: ExitStatus, lines: &[String]) -> String {
    if let Some(signal) = status.signal() {
        let name = match signal {
            6 => " (SIGABRT)",
            9 => " (SIGKILL)",
            11 => " (SIGSEGV)",
            15 => " (SIGTERM)",
            _ => "",
        };
        let hint = match signal {
            9 => "; if nobody did that, the system was short of memory",
            _ => "",
        };
        return format!("the broker was ended by signal {signal}{name}{hint}");
    }
    let own = lines.iter().rev().find(|line| line.starts_with("leveret-broker: "));
    match (own, lines.last()) {
        (Some(line), _) => line.clone(),
        (None, Some(line)) => format!("the broker ended by itself ({status}); its last line: {line}"),
        (None, None) => format!("the broker ended by itself ({status})"),
    }
}

/// A running broker.
#[derive(Debug)]
pub struct Companion {
    child: Child,
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Removed when the broker has ended.
    temporary: Option<PathBuf>,
}

impl Companion {
    /// Starts the broker and waits until it is ready.
    ///
    /// # Errors
    /// All of [`Error`]; nothing is left running then.
    ///
    /// # Cancel safety
    /// When dropped, the broker is killed and the temporary folder removed.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let program = find(options.program)?;
        check_port(options.amqp_listen, "amqp-listen")?;
        check_port(options.http_listen, "http-listen")?;
        let (data_dir, temporary) = match options.data_dir {
            Some(folder) => (folder, None),
            None => {
                let folder = temporary_folder()?;
                (folder.clone(), Some(folder))
            }
        };
        let mut companion = Self::spawn(&program, &data_dir, temporary, options.amqp_listen, options.http_listen)?;
        let ready = companion.until_ready(options.http_listen);
        match timeout(START, ready).await {
            Ok(Ok(())) => Ok(companion),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                companion.stop().await?;
                Err(Error::NotReady)
            }
        }
    }

    fn spawn(
        program: &Path,
        data_dir: &Path,
        temporary: Option<PathBuf>,
        amqp: SocketAddr,
        http: SocketAddr,
    ) -> Result<Self, Error> {
        let spawned = Command::new(program)
            .arg("--data-dir")
            .arg(data_dir)
            .arg("--amqp-listen")
            .arg(amqp.to_string())
            .arg("--http-listen")
            .arg(http.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in the terminal goes to the whole group: this program alone decides when the broker ends.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(why) => {
                remove(temporary.as_deref());
                let path = program.display().to_string();
                return Err(Error::NotRunnable { path, why });
            }
        };
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(output) = child.stdout.take() {
            tokio::spawn(keep_lines(output, Arc::clone(&lines)));
        }
        if let Some(output) = child.stderr.take() {
            tokio::spawn(keep_lines(output, Arc::clone(&lines)));
        }
        Ok(Self {
            child,
            lines,
            temporary,
        })
    }

    async fn until_ready(&mut self, http: SocketAddr) -> Result<(), Error> {
        loop {
            if is_ready(http).await {
                return Ok(());
            }
            tokio::select! {
                status = self.child.wait() => return Err(self.epitaph(status).await),
                () = sleep(ASK) => {}
            }
        }
    }

    /// Waits until the broker ends by itself, and says why.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ended(&mut self) -> Error {
        let status = self.child.wait().await;
        self.epitaph(status).await
    }

    async fn epitaph(&self, status: std::io::Result<ExitStatus>) -> Error {
        // The last lines may still be on their way through the pipe.
        sleep(Duration::from_millis(50)).await;
        match status {
            Ok(status) => Error::Ended {
                status,
                lines: self.lines.lock().iter().cloned().collect(),
            },
            Err(error) => Error::Wait(error),
        }
    }

    /// Ends the broker cleanly (SIGTERM); kills it when that takes too long.
    ///
    /// # Errors
    /// When the system does not let us wait for it.
    pub async fn stop(&mut self) -> Result<(), Error> {
        let pid = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It fails only for a process that has ended already.
            let _ = kill_process(pid, Signal::TERM);
            if timeout(STOP, self.child.wait()).await.is_err() {
                tracing::warn!("the broker did not end within {} s and is killed", STOP.as_secs());
                self.child.kill().await.map_err(Error::Wait)?;
            }
        }
        remove(self.temporary.take().as_deref());
        Ok(())
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        remove(self.temporary.take().as_deref());
    }
}

/// Best effort: a temporary folder that stays behind does no harm.
fn remove(folder: Option<&Path>) {
    if let Some(folder) = folder {
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn find(given: Option<PathBuf>) -> Result<PathBuf, Error> {
    if let Some(path) = given {
        return match std::fs::metadata(&path) {
            Ok(_) => Ok(path),
            Err(why) => Err(Error::NotRunnable {
                path: path.display().to_string(),
                why,
            }),
        };
    }
    let beside = env::current_exe()
        .ok()
        .and_then(|path| path.parent().map(|folder| folder.join(PROGRAM)));
    let in_path = env::var_os("PATH").map(|path| env::split_paths(&path).map(|folder| folder.join(PROGRAM)).collect());
    let candidates: Vec<PathBuf> = in_path.unwrap_or_default();
    beside
        .into_iter()
        .chain(candidates)
        .find(|path| path.is_file())
        .ok_or(Error::NotFound)
}

/// A check that the port is free, before anything is started: otherwise another broker's readiness could be taken for
/// ours.
fn check_port(address: SocketAddr, flag: &'static str) -> Result<(), Error> {
    TcpListener::bind(address)
        .map(drop)
        .map_err(|why| Error::Port { address, why, flag })
}

fn temporary_folder() -> Result<PathBuf, Error> {
    let base = env::temp_dir();
    let failed = |why| Error::Temporary {
        path: base.display().to_string(),
        why,
    };
    for _ in 0..16 {
        let folder = base.join(format!("leveret-dev-{:08x}", rand::random::<u32>()));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(std::io::ErrorKind::AlreadyExists.into()))
}

/// `GET /readyz`; only the status line matters.
async fn is_ready(http: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(http).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LINE).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    match timeout(Duration::from_secs(2), ask).await {
        Ok(Ok(answer)) => answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.0 200"),
        _ => false,
    }
}

/// Reads to the end, so that the broker never waits for us; keeps the last lines.
async fn keep_lines(output: impl AsyncRead + Unpin, lines: Arc<Mutex<VecDeque<String>>>) {
    let mut reader = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        match (&mut reader).take(LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                let mut lines = lines.lock();
                lines.push_back(text);
                if lines.len() > KEPT_LINES {
                    lines.pop_front();
                }
            }
        }
    }
}
