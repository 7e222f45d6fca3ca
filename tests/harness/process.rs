//! A program at work for one test, with its own folder.
//!
//! In: a command. Out: the running process, and all that it says. It goes with the value, and at the latest with the
//! test; where the test fails, what it said is shown. Does not know about what the program is for.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::broker_process::wait_for_exit;
use crate::reaper;

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    home: TempDir,
}

impl Process {
    /// Starts what `command` makes, given a folder to work in. Its output goes into a file there.
    pub fn start(name: &'static str, command: impl FnOnce(&Path) -> Command) -> Process {
        let home = tempfile::Builder::new()
            .prefix(&format!("leveret-{name}-"))
            .tempdir()
            .expect("a temporary folder");
        let log = File::create(home.path().join("log")).expect("a file for the log");
        let child = command(home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("the {name} doesn't run: {error}"));
        reaper::add(child.id(), Some(home.path()));
        Process { name, child, home }
    }

    /// Its folder.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().expect("it was started here");
        self.child.wait().expect("it was started here");
        reaper::gone(self.child.id());
    }

    /// Asks it to end by SIGTERM and waits.
    pub fn terminate(&mut self, within: Duration) -> ExitStatus {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(pid, Signal::TERM).expect("it was started here");
        let status = wait_for_exit(&mut self.child, within);
        status.unwrap_or_else(|| panic!("the {} did not exit within {within:?} of SIGTERM", self.name))
    }
}

/// Resident memory of a process, KiB.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("Linux says it in KiB")
}

/// Open files and sockets of a process.
pub fn descriptors(pid: u32) -> usize {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs");
    folder.count()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        reaper::gone(self.child.id());
        if thread::panicking() {
            eprintln!("--- the {}'s log\n{}---", self.name, self.log());
        }
    }
}
