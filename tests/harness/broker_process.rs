//! The broker under test, as a process.
//!
//! In: a data directory and arguments. Out: addresses to talk to, and the process to kill, drain and start again.
//! `LEVERET_TEST_AMQP=HOST:PORT` and `LEVERET_TEST_HTTP=HOST:PORT` name a running broker to use instead, which lets the
//! protocol tests run against any other AMQP 0-9-1 broker.
//! Does not know about AMQP.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{place, reaper};

/// The longest a start may take before the test gives up.
const START: Duration = Duration::from_secs(30);

/// A broker that answers: one this test started, or the one the environment names.
#[derive(Debug)]
pub struct Broker {
    amqp: SocketAddr,
    http: SocketAddr,
    /// Metrics and probes; of a broker that was not started by the test, unknown.
    metrics: Option<SocketAddr>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    home: Home,
    how: How,
}

/// The command that starts it.
#[derive(Debug)]
struct How {
    /// A program, with arguments, that becomes the broker by `exec`; empty for none.
    wrapper: Vec<String>,
    /// Further arguments of the broker.
    extra: Vec<String>,
}

/// A folder of the broker's own: `data` in it, and `stderr` beside that. Removed with the last handle.
#[derive(Debug)]
struct Home {
    folder: TempDir,
}

/// A start that ended in an exit.
#[derive(Debug)]
pub struct Refused {
    /// The exit status.
    pub status: ExitStatus,
    /// All it said on standard error.
    pub stderr: String,
}

impl Broker {
    /// The broker all tests of one program share; its queues are told apart by name.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| Broker::external().unwrap_or_else(Broker::start))
    }

    /// The running broker that the environment names.
    pub fn external() -> Option<Broker> {
        let amqp = resolve(&std::env::var("LEVERET_TEST_AMQP").ok()?);
        let http = std::env::var("LEVERET_TEST_HTTP").ok();
        let http = http.map_or_else(|| SocketAddr::new(amqp.ip(), 15672), |address| resolve(&address));
        Some(Broker {
            amqp,
            http,
            metrics: None,
            running: None,
        })
    }

    /// A broker of the test's own, on free ports, with an empty data directory.
    pub fn start() -> Broker {
        Broker::start_with(&[])
    }

    /// [`Broker::start`] with further arguments.
    pub fn start_with(extra: &[&str]) -> Broker {
        Broker::first(Home::new(), &[], extra)
    }

    /// [`Broker::start_on`] through a program that prepares the process and then becomes the broker: `env NAME=VALUE`,
    /// say.
    pub fn start_through(wrapper: &[&str], prepare: impl FnOnce(&Path), extra: &[&str]) -> Broker {
        let home = Home::new();
        prepare(&home.data());
        Broker::first(home, wrapper, extra)
    }

    /// [`Broker::start_with`] for one that is away often, among many who connect: nobody else gets its ports meanwhile.
    pub fn start_to_stay(extra: &[&str]) -> Broker {
        Broker::first_at([lasting_address(), lasting_address()], Home::new(), &[], extra)
    }

    fn first(home: Home, wrapper: &[&str], extra: &[&str]) -> Broker {
        Broker::first_at([SocketAddr::from(([127, 0, 0, 1], 0)); 2], home, wrapper, extra)
    }

    fn first_at([amqp, http]: [SocketAddr; 2], home: Home, wrapper: &[&str], extra: &[&str]) -> Broker {
        let owned = |words: &[&str]| words.iter().map(|word| word.to_string()).collect();
        let how = How {
            wrapper: owned(wrapper),
            extra: owned(extra),
        };
        Broker::launch(home, how, amqp, http).unwrap_or_else(|refused| panic!("the broker did not start: {refused:?}"))
    }

    /// A broker on a data directory that `prepare` fills, with further arguments.
    pub fn start_on(prepare: impl FnOnce(&Path), extra: &[&str]) -> Broker {
        Broker::start_through(&[], prepare, extra)
    }

    /// Runs the program with these arguments alone until it exits by itself, for starts that must be refused.
    pub fn refused(arguments: &[&str]) -> Refused {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the broker runs");
        reaper::add(child.id(), None);
        let status = wait_for_exit(&mut child, START).unwrap_or_else(|| {
            let _ = child.kill();
            panic!("the broker started although it should have refused {arguments:?}")
        });
        let mut stderr = String::new();
        let _ = child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut stderr));
        Refused { status, stderr }
    }

    fn launch(home: Home, how: How, amqp: SocketAddr, http: SocketAddr) -> Result<Broker, Refused> {
        let mut command = match how.wrapper.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary());
                command
            }
            None => Command::new(binary()),
        };
        let mut child = command
            .arg("--data-dir")
            .arg(home.data())
            .args(["--amqp-listen", &amqp.to_string(), "--http-listen", &http.to_string()])
            .args(["--prometheus-listen", "127.0.0.1:0"])
            .args(&how.extra)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(
                File::options()
                    .create(true)
                    .append(true)
                    .open(home.stderr())
                    .expect("a file for standard error"),
            )
            .spawn()
            .expect("the broker runs");
        reaper::add(child.id(), Some(home.folder.path()));
        let lines = lines_of(child.stdout.take().expect("its standard output is a pipe"));
        match listeners(&lines) {
            Some((amqp, http, metrics)) => Ok(Broker {
                amqp,
                http,
                metrics,
                running: Some(Running { child, home, how }),
            }),
            None => {
                let _ = child.kill();
                let status = child.wait().expect("the broker was started here");
                reaper::gone(child.id());
                Err(Refused {
                    status,
                    stderr: fs::read_to_string(home.stderr()).unwrap_or_default(),
                })
            }
        }
    }

    /// The AMQP address.
    pub fn amqp(&self) -> SocketAddr {
        self.amqp
    }

    /// The management API's address.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// The address of metrics and probes.
    pub fn metrics(&self) -> SocketAddr {
        self.metrics.expect("a broker that was started by the test has metrics")
    }

    /// True if this broker was not started by the test.
    pub fn is_external(&self) -> bool {
        self.running.is_none()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.own().home.data()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.own().child.id()
    }

    /// All it has said on standard error, over all its starts.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.own().home.stderr()).unwrap_or_default()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        let child = &mut self.own_mut().child;
        child.kill().expect("the broker was started here");
        child.wait().expect("the broker was started here");
        reaper::gone(child.id());
    }

    /// Asks it to drain by SIGTERM and waits for the exit, at most `within`.
    pub fn terminate(&mut self, within: Duration) -> ExitStatus {
        self.ask_to_end();
        let child = &mut self.own_mut().child;
        let status = wait_for_exit(child, within);
        status.unwrap_or_else(|| panic!("the broker did not exit within {within:?} of SIGTERM"))
    }

    /// SIGTERM, without waiting.
    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(pid, signal).expect("the broker was started here");
    }

    /// Waits for an exit that comes by itself, at most `within`.
    pub fn exits(&mut self, within: Duration) -> Option<ExitStatus> {
        wait_for_exit(&mut self.own_mut().child, within)
    }

    /// Starts the ended process again: same data directory, same ports.
    pub fn restart(self) -> Broker {
        self.try_restart()
            .unwrap_or_else(|refused| panic!("the broker did not start again: {refused:?}"))
    }

    /// [`Broker::restart`] after everything it had stored was removed.
    pub fn restart_empty(self) -> Broker {
        fs::remove_dir_all(self.data()).expect("the data directory of a broker that has ended");
        self.restart()
    }

    /// [`Broker::restart`] for starts that may fail.
    pub fn try_restart(mut self) -> Result<Broker, Refused> {
        let Running { child, home, how } = self.running.take().expect("an own broker");
        reaper::gone(child.id());
        Broker::launch(home, how, self.amqp, self.http)
    }

    fn own(&self) -> &Running {
        self.running
            .as_ref()
            .expect("an own broker, not the one LEVERET_TEST_AMQP names")
    }

    fn own_mut(&mut self) -> &mut Running {
        self.running
            .as_mut()
            .expect("an own broker, not the one LEVERET_TEST_AMQP names")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let Some(Running { child, home, .. }) = &mut self.running else {
            return;
        };
        let _ = child.kill();
        let _ = child.wait();
        reaper::gone(child.id());
        if thread::panicking() {
            eprintln!(
                "--- the broker's standard error\n{}---",
                fs::read_to_string(home.stderr()).unwrap_or_default()
            );
        }
    }
}

impl Home {
    fn new() -> Home {
        let folder = tempfile::Builder::new().prefix("leveret-broker-").tempdir();
        Home {
            folder: folder.expect("a temporary folder"),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn stderr(&self) -> PathBuf {
        self.folder.path().join("stderr")
    }
}

/// A free address that stays free while its owner is away: the system takes no port for outgoing connections from
/// there.
fn lasting_address() -> SocketAddr {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 10_000).expect("it is small");
    let ports =
        std::iter::from_fn(|| Some(20_000 + first.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % 10_000));
    let mut addresses = ports.take(10_000).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let free = addresses.find(|address| TcpListener::bind(address).is_ok());
    free.expect("some port is free")
}

/// The broker's program.
pub fn binary() -> PathBuf {
    place::program("leveret-broker", "LEVERET_BROKER_BIN")
}

/// Waits for an exit, at most `within`.
pub fn wait_for_exit(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the child was started here") {
            reaper::gone(child.id());
            return Some(status);
        }
        if start.elapsed() >= within {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Every line of a pipe, read by a thread so that the writer never blocks on it.
pub fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = sender.send(line); // the receiver may be gone; the pipe is drained all the same
        }
    });
    receiver
}

/// The addresses it announces, that of metrics only if it has any; `None` when it exits, or says nothing, before it is
/// ready.
fn listeners(lines: &Receiver<String>) -> Option<(SocketAddr, SocketAddr, Option<SocketAddr>)> {
    let start = Instant::now();
    let (mut amqp, mut http, mut metrics) = (None, None, None);
    loop {
        let line = match lines.recv_timeout(START.saturating_sub(start.elapsed())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        };
        match line.split_once(' ') {
            Some(("listening", rest)) => match rest.split_once(' ') {
                Some(("amqp", address)) => amqp = address.trim().parse().ok(),
                Some(("http", address)) => http = address.trim().parse().ok(),
                Some(("prometheus", address)) => metrics = address.trim().parse().ok(),
                _ => {}
            },
            _ if line.trim() == "ready" => return amqp.zip(http).map(|(amqp, http)| (amqp, http, metrics)),
            _ => {}
        }
    }
}

fn resolve(address: &str) -> SocketAddr {
    let mut found = address
        .to_socket_addrs()
        .unwrap_or_else(|error| panic!("{address} is no HOST:PORT: {error}"));
    found.next().unwrap_or_else(|| panic!("{address} has no address"))
}
