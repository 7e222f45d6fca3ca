//! `leveret dev`: a folder of manifests and a companion broker.
//!
//! In: the program, folders that a test edits. Out: what a developer sees and what the broker has.
//! Does not know about Kubernetes.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use harness::broker_process::{binary, lines_of, wait_for_exit};
use harness::http::Http;
use harness::operator_process::free_address;
use harness::{Client, place, reaper};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// One clear line for each thing that is wrong, an exit that is not 0, nothing changed.
mod bad_input;

/// Edits are followed, what is broken by hand is repaired, Ctrl-C ends it all.
mod follow;

/// Queues that obey arguments: the shorthands, there and back, and the example that lives by them.
mod shorthands;

/// One executable under its names: what each of them is, however it is reached.
mod names;

/// `--once`: what an application's continuous integration runs.
mod once;

/// `leveret perf` against the built broker: what it counts is what happened.
mod perf;

/// `leveret import`: what other tools have written down.
mod import;

/// `leveret lint`, `plan` and `export`: between folders and a broker that runs already.
mod plan;

/// The time that anything may take.
const SOON: Duration = Duration::from_secs(20);

/// A folder with manifests.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
    fs::write(path, text).expect("it can be written");
}

/// A manifest of a queue.
fn queue(name: &str) -> String {
    format!(
        "apiVersion: leveret.dev/v1alpha1\nkind: Queue\nmetadata: {{ name: {name} }}\nspec: {{ brokerRef: {{ name: main }} }}\n"
    )
}

/// The program with its first arguments.
fn leveret(folder: &Path) -> Command {
    let mut command = Command::new(place::program("leveret", "LEVERET_BIN"));
    command
        .arg("dev")
        .arg(folder)
        .arg("--broker-bin")
        .arg(binary())
        .stdin(Stdio::null());
    command
}

/// Starts it on free ports; with the lines that it says on either stream.
fn begin(folder: &Path, extra: &[&str]) -> (Child, Receiver<String>, Receiver<String>) {
    let (amqp, http) = (free_address().to_string(), free_address().to_string());
    let mut command = leveret(folder);
    command
        .args(["--amqp-listen", &amqp, "--http-listen", &http])
        .args(extra);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("leveret runs");
    reaper::add(child.id(), None);
    let stdout = lines_of(child.stdout.take().expect("a pipe"));
    let stderr = lines_of(child.stderr.take().expect("a pipe"));
    (child, stdout, stderr)
}

/// Runs it to its end on free ports.
fn run(folder: &Path, extra: &[&str]) -> Output {
    let (mut child, stdout, stderr) = begin(folder, extra);
    let Some(status) = wait_for_exit(&mut child, Duration::from_secs(60)) else {
        let _ = child.kill();
        panic!("leveret dev did not end: {:?}", stdout.try_iter().collect::<Vec<_>>());
    };
    let all = |lines: Receiver<String>| lines.iter().collect::<Vec<_>>().join("\n").into_bytes();
    Output {
        status,
        stdout: all(stdout),
        stderr: all(stderr),
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// `leveret dev` while it follows a folder.
struct Dev {
    child: Child,
    lines: Receiver<String>,
    amqp: SocketAddr,
    http: SocketAddr,
}

impl Dev {
    fn start(folder: &Path, extra: &[&str]) -> Dev {
        let (amqp, http) = (free_address(), free_address());
        let mut command = leveret(folder);
        command
            .args(["--amqp-listen", &amqp.to_string(), "--http-listen", &http.to_string()])
            .args(extra);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("leveret runs");
        reaper::add(child.id(), None);
        let lines = lines_of(child.stdout.take().expect("a pipe"));
        Dev {
            child,
            lines,
            amqp,
            http,
        }
    }

    /// Waits for a line with these words in it.
    fn says(&self, words: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.lines.recv_timeout(SOON) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("it did not say {words:?}, but {before:#?}"),
            }
        }
    }

    fn amqp(&self) -> Client {
        Client::with_channel(self.amqp)
    }

    fn http(&self) -> Http {
        Http::new(self.http)
    }

    fn has_queue(&self, name: &str) -> bool {
        self.http()
            .request("GET", &format!("/api/queues/%2F/{name}"), None)
            .status
            == 200
    }

    /// Ctrl-C.
    fn interrupt(&mut self) -> ExitStatus {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(pid, Signal::INT).expect("it runs");
        wait_for_exit(&mut self.child, Duration::from_secs(20)).expect("it ends in bounded time")
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.interrupt(); // a kill would leave its broker behind
        }
        reaper::gone(self.child.id());
    }
}

/// True if a program listens there.
fn is_up(address: SocketAddr) -> bool {
    std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok_and(|mut stream| {
        let _ = stream.set_read_timeout(Some(Duration::from_millis(1)));
        let _ = stream.read(&mut [0; 1]);
        true
    })
}
