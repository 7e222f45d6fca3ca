//! The operator as a process, watching one test's namespace.
//!
//! In: a cluster and a namespace. Out: the running operator, its metrics, and what it logs.
//! Does not know about resources.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use crate::api_server::ApiServer;
use crate::control_group::ControlGroup;
use crate::http::Http;
use crate::place;
use crate::process::Process;
use crate::wait::eventually;

/// The time that a start may take: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// An operator that watches one namespace.
#[derive(Debug)]
pub struct Operator {
    process: Process,
    /// The address that it has said, once it was asked for.
    listen: OnceLock<SocketAddr>,
}

impl Operator {
    /// Starts it, with `extra` arguments, and waits until it says it is ready.
    pub fn start(cluster: &ApiServer, namespace: &str, extra: &[&str]) -> Operator {
        let operator = Operator::spawn(cluster, namespace, extra);
        operator.until_ready();
        operator
    }

    fn until_ready(&self) {
        let serve = self.serve();
        let ready = || match serve.try_request("GET", "/readyz", None) {
            Ok(answer) if answer.status == 200 => Ok(()),
            answer => Err(format!("{answer:?}: {}", self.log())),
        };
        eventually("the operator is ready", PATIENCE, ready);
    }

    /// Its address: it takes a port that is free.
    fn listen(&self) -> SocketAddr {
        let said = || {
            let log = self.log();
            log.lines().find_map(said_address).ok_or(log)
        };
        *self
            .listen
            .get_or_init(|| eventually("the operator says where it listens", PATIENCE, said).0)
    }

    /// Starts it in a control group, as in a container, and waits until it is ready.
    pub fn start_in(group: &ControlGroup, cluster: &ApiServer, namespace: &str, extra: &[&str]) -> Operator {
        let operator = Operator::spawn_through(&group.wrapper(), cluster, namespace, extra);
        operator.until_ready();
        operator
    }

    /// Starts it as the container of a pod with this uid, and waits until it is ready.
    pub fn start_in_pod(uid: &str, cluster: &ApiServer, namespace: &str, extra: &[&str]) -> Operator {
        let environment = ["env".to_owned(), format!("POD_UID={uid}")];
        let operator = Operator::spawn_through(&environment, cluster, namespace, extra);
        operator.until_ready();
        operator
    }

    /// Starts it and doesn't wait: where the definitions are going it never becomes ready.
    pub fn spawn(cluster: &ApiServer, namespace: &str, extra: &[&str]) -> Operator {
        Operator::spawn_through(&[], cluster, namespace, extra)
    }

    /// `wrapper`: the words of a command that becomes the operator.
    fn spawn_through(wrapper: &[String], cluster: &ApiServer, namespace: &str, extra: &[&str]) -> Operator {
        let program = place::program("leveret-operator", "LEVERET_OPERATOR_BIN");
        let process = Process::start("operator", |_| {
            let mut command = match wrapper.split_first() {
                Some((first, rest)) => {
                    let mut command = Command::new(first);
                    command.args(rest).arg(&program);
                    command
                }
                None => Command::new(&program),
            };
            command
                .arg("run")
                .args(["--watch-namespace", namespace])
                .args(["--listen", "127.0.0.1:0"])
                .args(extra)
                // Brokers of tests are on this machine. By the environment, so that a test's arguments count instead.
                .env("LEVERET_ALLOW_BROKER_HOSTS", "127.0.0.0/8,0.0.0.0/0")
                .env("KUBECONFIG", &cluster.kubeconfig);
            command
        });
        let listen = OnceLock::new();
        Operator { process, listen }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its `/metrics`, `/healthz`, `/readyz`.
    pub fn serve(&self) -> Http {
        Http::anonymous(self.listen())
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end by SIGTERM and waits.
    pub fn terminate(&mut self, within: Duration) -> ExitStatus {
        self.process.terminate(within)
    }
}

/// An address that is free at the moment.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound")
}

/// The address in a line of its log, which is text or, with `--log-format json`, an object.
fn said_address(line: &str) -> Option<SocketAddr> {
    let address = match serde_json::from_str::<serde_json::Value>(line) {
        Ok(entry) => entry.get("listen")?.as_str()?.to_owned(),
        Err(_) => line.split_once("listen=")?.1.split_whitespace().next()?.to_owned(),
    };
    address.parse().ok()
}
