//! The operator as a process, watching one test's namespace.
//!
//! In: a cluster and a namespace. Out: the running operator, its metrics, and what it logs.
//! Does not know about resources.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::api_server::ApiServer;
use crate::broker_process::wait_for_exit;
use crate::http::Http;
use crate::wait::until;
use crate::{place, reaper};

/// An operator that watches one namespace.
#[derive(Debug)]
pub struct Operator {
    child: Child,
    home: TempDir,
    listen: SocketAddr,
}

impl Operator {
    /// Starts it, with `extra` arguments, and waits until it says it is ready.
    pub fn start(cluster: &ApiServer, namespace: &str, extra: &[&str]) -> Operator {
        let operator = Operator::spawn(cluster, namespace, extra);
        let ready = || {
            operator
                .serve()
                .try_request("GET", "/readyz", None)
                .is_ok_and(|answer| answer.status == 200)
        };
        until("the operator is ready", Duration::from_secs(30), ready);
        operator
    }

    /// Starts it and doesn't wait: where the definitions are going it never becomes ready.
    pub fn spawn(cluster: &ApiServer, namespace: &str, extra: &[&str]) -> Operator {
        let home = tempfile::Builder::new()
            .prefix("leveret-operator-")
            .tempdir()
            .expect("a temporary folder");
        let listen = free_address();
        let log = File::create(home.path().join("log")).expect("a file for the log");
        let child = Command::new(place::program("leveret-operator", "LEVERET_OPERATOR_BIN"))
            .arg("run")
            .args(["--watch-namespace", namespace])
            .args(["--listen", &listen.to_string()])
            .args(extra)
            .env("KUBECONFIG", &cluster.kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the operator runs");
        reaper::add(child.id(), Some(home.path()));
        Operator { child, home, listen }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its `/metrics`, `/healthz`, `/readyz`.
    pub fn serve(&self) -> Http {
        Http::anonymous(self.listen)
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// Asks it to end by SIGTERM and waits.
    pub fn terminate(&mut self, within: Duration) -> ExitStatus {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(pid, Signal::TERM).expect("the operator was started here");
        let status = wait_for_exit(&mut self.child, within);
        status.unwrap_or_else(|| panic!("the operator did not exit within {within:?} of SIGTERM"))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        reaper::gone(self.child.id());
        if thread::panicking() {
            eprintln!("--- the operator's log\n{}---", self.log());
        }
    }
}

/// An address nobody listens on at the moment.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound")
}
