//! The commands of the documents, run as they stand there.
//!
//! In: the fenced `sh` blocks of README.md and docs/. Out: a failure when a command doesn't do what its reader expects,
//! or when a document has a command that no test here runs.
//! Commands that use the standard ports run in a network namespace of their own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use harness::api_server::api_server;
use harness::broker_process::{lines_of, wait_for_exit};
use harness::operator_process::free_address;
use harness::wait::eventually;
use harness::{place, reaper};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Every command line of the documents, and what covers it.
const COMMANDS: [(&str, &str); 19] = [
    ("make demo", "the_demo_ends_by_itself_with_a_summary"),
    ("make test", "this very run"),
    (
        "cargo build --release --workspace --bins",
        "the build before the tests, in another profile",
    ),
    (
        "export PATH=\"$PWD/target/release:$PATH\"",
        "every test here, with the profile's folder",
    ),
    ("leveret dev examples/orders", "leveret_dev_follows_and_ends_cleanly"),
    (
        "leveret dev examples/zeromq",
        "leveret_dev_opens_the_sockets_of_a_folder",
    ),
    (
        "leveret perf -x 4 -y 2 -s 1024 -f persistent -c 100 -q 500 -A 10 -z 10",
        "a_load_on_a_broker",
    ),
    ("leveret-operator crd | kubectl apply -f -", "the_tour_with_a_cluster"),
    (
        "leveret-operator run --allow-broker-hosts 127.0.0.1 &",
        "the_tour_with_a_cluster",
    ),
    (
        "kubectl apply -f examples/external-broker.yaml -f examples/orders/topology.yaml",
        "the_tour_with_a_cluster",
    ),
    ("kubectl get leveret", "the_tour_with_a_cluster"),
    ("leveret-broker --data-dir ./data", "the_broker_alone"),
    (
        "leveret-broker check ./data",
        "check::a_whole_directory_is_intact_and_its_contents_are_told (durability)",
    ),
    (
        "curl -fsSu guest:guest http://127.0.0.1:15672/api/definitions > definitions.json",
        "definitions_go_out_and_come_back",
    ),
    (
        "curl -fsSu guest:guest -H content-type:application/json --data-binary @definitions.json http://127.0.0.1:15672/api/definitions",
        "definitions_go_out_and_come_back",
    ),
    (
        "leveret dev examples/orders --once",
        "leveret_dev_once_answers_with_its_exit_code",
    ),
    (
        "leveret import examples/moving/topology.yaml | leveret lint -",
        "what_other_tools_have_written_is_imported",
    ),
    (
        "leveret import examples/moving/definitions.json | leveret lint -",
        "what_other_tools_have_written_is_imported",
    ),
    (
        "leveret import examples/moving/terraform.tfstate | leveret lint -",
        "what_other_tools_have_written_is_imported",
    ),
];

/// The command lines of all fenced `sh` blocks, without comments.
fn documented() -> Vec<(PathBuf, String)> {
    let root = place::repository();
    let mut files = vec![root.join("README.md")];
    for folder in ["docs", "broker", "operator", "charts"] {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        files.extend(
            entries
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|end| end == "md")),
        );
    }
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a document");
        let mut inside = false;
        for line in text.lines() {
            match line.trim() {
                "```sh" => inside = true,
                "```" => inside = false,
                line if inside && !line.is_empty() && !line.starts_with('#') => {
                    let command = line.split(" # ").next().unwrap_or(line).trim();
                    found.push((file.clone(), command.to_owned()));
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn every_command_of_the_documents_is_run_by_a_test() {
    let found = documented();
    assert!(found.len() >= 10, "the documents have lost their commands: {found:?}");
    for (file, command) in &found {
        let known = COMMANDS.iter().any(|(line, _)| line == command);
        assert!(
            known,
            "{}: `{command}` is run by no test; add it to tests/docs",
            file.display()
        );
    }
}

/// The folder of the built programs, under the names that the documents use.
fn programs() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for (name, variable) in [
        ("leveret", "LEVERET_BIN"),
        ("leveret-broker", "LEVERET_BROKER_BIN"),
        ("leveret-operator", "LEVERET_OPERATOR_BIN"),
    ] {
        symlink(place::program(name, variable), folder.path().join(name)).expect("a link");
    }
    folder
}

/// A shell in the repository, with the programs in its path.
fn shell(programs: &Path, script: &str) -> Command {
    let mut command = Command::new("bash");
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(["-euo", "pipefail", "-c", script]);
    command
        .env("PATH", format!("{}:{path}", programs.display()))
        .current_dir(place::repository());
    command
}

/// The same in a network of its own, where the standard ports are free. `exec` makes the process the program itself.
fn alone(programs: &Path, line: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "bash", "-c", &format!("ip link set lo up; exec {line}")]);
    command
        .env("PATH", format!("{}:{path}", programs.display()))
        .current_dir(place::repository());
    command
}

struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        reaper::add(child.id(), None);
        let lines = lines_of(child.stdout.take().expect("a pipe"));
        Running { child, lines }
    }

    /// Waits for a line that contains `text`.
    fn says(&self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(30));
            let line = line.unwrap_or_else(|error| panic!("no line with '{text}': {error}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    fn ends(mut self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it still runs");
        let status = wait_for_exit(&mut self.child, Duration::from_secs(20)).expect("it ends in time");
        reaper::gone(self.child.id());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        reaper::gone(self.child.id());
    }
}

fn succeeded(output: Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    stdout
}

#[test]
fn the_demo_ends_by_itself_with_a_summary() {
    let programs = programs();
    let (amqp, http) = (free_address(), free_address());
    let mut demo = shell(programs.path(), "examples/demo.sh");
    demo.env("BIN", programs.path())
        .env("DEMO_AMQP", amqp.to_string())
        .env("DEMO_HTTP", http.to_string());
    let said = succeeded(demo.output().expect("bash runs"));
    assert!(said.contains("All of it worked"), "{said}");
    let dry = succeeded(
        shell(programs.path(), "make --dry-run demo")
            .output()
            .expect("make runs"),
    );
    assert!(
        dry.contains("cargo build --profile demo") && dry.contains("examples/demo.sh"),
        "{dry}"
    );
}

#[test]
fn leveret_dev_follows_and_ends_cleanly() {
    let programs = programs();
    let dev = Running::start(alone(programs.path(), "leveret dev examples/orders"));
    dev.says("127.0.0.1:5672");
    dev.says("objects are Ready");
    dev.ends(Signal::INT);
}

#[test]
fn leveret_dev_opens_the_sockets_of_a_folder() {
    let programs = programs();
    let dev = Running::start(alone(programs.path(), "leveret dev examples/zeromq"));
    dev.says("objects are Ready");
    dev.ends(Signal::INT);
}

#[test]
fn leveret_dev_once_answers_with_its_exit_code() {
    let programs = programs();
    let once = alone(programs.path(), "leveret dev examples/orders --once").output();
    succeeded(once.expect("it runs"));
}

#[test]
fn what_other_tools_have_written_is_imported() {
    let programs = programs();
    for file in ["topology.yaml", "definitions.json", "terraform.tfstate"] {
        let line = format!("leveret import examples/moving/{file} | leveret lint -");
        let said = succeeded(shell(programs.path(), &line).output().expect("bash runs"));
        assert!(said.contains("2 queues") && said.ends_with(": fine\n"), "{said}");
    }
}

#[test]
fn the_broker_alone() {
    let programs = programs();
    let home = TempDir::new().expect("a folder");
    let mut command = alone(programs.path(), "leveret-broker --data-dir ./data");
    command.current_dir(home.path());
    let broker = Running::start(command);
    broker.says("listening amqp 127.0.0.1:5672");
    broker.says("listening http 127.0.0.1:15672");
    broker.says("ready");
    assert!(home.path().join("data").is_dir());
    broker.ends(Signal::TERM);
}

#[test]
fn definitions_go_out_and_come_back() {
    let programs = programs();
    let home = TempDir::new().expect("a folder");
    let lines = COMMANDS
        .map(|(line, _)| line)
        .into_iter()
        .filter(|line| line.contains("/api/definitions"));
    let lines = lines.collect::<Vec<_>>().join("; ");
    let script = format!(
        "cd {}; leveret-broker --data-dir data >log & until grep -qx ready log; do sleep 0.05; done; {lines}; \
         cat definitions.json; kill -TERM %1; wait %1",
        home.path().display()
    );
    let output = alone(programs.path(), &format!("bash -emc '{script}'")).output();
    let said = succeeded(output.expect("bash runs"));
    assert!(said.starts_with('{') && said.contains("\"name\":\"guest\""), "{said}");
}

#[test]
fn a_load_on_a_broker() {
    let programs = programs();
    let home = TempDir::new().expect("a folder");
    let home = home.path().display();
    // Beside a broker in the same network, and for a second instead of ten.
    let line = "leveret perf -x 4 -y 2 -s 1024 -f persistent -c 100 -q 500 -A 10 -z 1";
    let script = format!(
        "leveret-broker --data-dir {home}/data >{home}/log & until grep -qx ready {home}/log; do sleep 0.05; done; \
         {line}; kill -TERM %1; wait %1"
    );
    let output = alone(programs.path(), &format!("bash -emc '{script}'")).output();
    let said = succeeded(output.expect("bash runs"));
    assert!(said.contains("messages/s") && said.contains("p99.9"), "{said}");
}

#[test]
fn the_tour_with_a_cluster() {
    let Some(cluster) = api_server() else { return };
    let programs = programs();
    if let Ok(folder) = Command::new(place::repository().join("tests/cluster/build.sh"))
        .arg("cp")
        .output()
    {
        let kcp = PathBuf::from(String::from_utf8_lossy(&folder.stdout).trim()).join("kcp");
        symlink(kcp, programs.path().join("kubectl")).expect("a link");
    }
    // The manifests name 127.0.0.1:5672, so the broker must be there, where the API server can be reached too.
    let broker = Running::start(shell(
        programs.path(),
        "d=$(mktemp -d); exec leveret-broker --data-dir $d",
    ));
    broker.says("ready");
    let kubectl = |line: &str| {
        shell(programs.path(), line)
            .env("KUBECONFIG", &cluster.kubeconfig)
            .output()
            .expect("bash runs")
    };
    succeeded(kubectl("leveret-operator crd | kubectl apply -f -"));
    let mut run = shell(
        programs.path(),
        "exec leveret-operator run --allow-broker-hosts 127.0.0.1",
    );
    run.env("KUBECONFIG", &cluster.kubeconfig).stderr(Stdio::null());
    let operator = Running::start(run);
    succeeded(kubectl(
        "kubectl apply -f examples/external-broker.yaml -f examples/orders/topology.yaml",
    ));
    eventually("all objects are Ready and Synced", Duration::from_secs(30), || {
        let shown = succeeded(kubectl("kubectl get leveret"));
        let rows: Vec<&str> = shown.lines().filter(|line| line.contains(".leveret.dev/")).collect();
        let ready = rows
            .iter()
            .filter(|row| row.contains("True") && row.contains("Synced"))
            .count();
        if rows.len() >= 10 && ready == rows.len() {
            Ok(())
        } else {
            Err(shown)
        }
    });
    succeeded(kubectl(
        "kubectl delete -f examples/orders/topology.yaml -f examples/external-broker.yaml --timeout=60s",
    ));
    drop(operator);
    drop(broker);
}
