//! The six classic tutorials, with pika.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use harness::broker_process::{binary, lines_of};
use harness::programs::{own_network, said};
use harness::wait::until;
use harness::{Broker, reaper};

use crate::{at_broker, file, tools};

/// The time that a line may take.
const LINE: Duration = Duration::from_secs(20);

/// A program that runs on, and its lines.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        reaper::add(child.id(), None);
        let lines = lines_of(child.stdout.take().expect("its standard output is a pipe"));
        Running { child, lines }
    }

    /// Starts a receiver and waits until it waits.
    fn waiting(command: &mut Command) -> Running {
        let running = Running::start(command);
        assert_eq!(running.line(), "waiting");
        running
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(LINE).expect("a line in time")
    }

    fn is_quiet(&self) -> bool {
        self.lines.recv_timeout(Duration::from_millis(300)).is_err()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        reaper::gone(self.child.id());
    }
}

/// A script of a tutorial, to be run against the shared broker.
fn script(name: &str, arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new(tools::python()?);
    at_broker(&mut command);
    command
        .env("PYTHONPATH", file("pika"))
        .arg(file("pika").join(name))
        .args(arguments);
    Some(command)
}

/// Runs a script to its end.
fn run(name: &str, arguments: &[&str]) -> String {
    let mut command = script(name, arguments).expect("python is there");
    let output = command.output().expect("python runs");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The two scripts know nothing but `localhost`: they and a broker with default settings get a network of their own.
#[test]
fn hello_world() {
    let (Some(python), Some(prefix)) = (tools::python(), own_network()) else {
        return;
    };
    let data = tempfile::tempdir().expect("a temporary folder");
    let steps = r#"
        if [ "$1" = none ]; then echo "no broker of its own" >&2; else
            "$1" --data-dir "$2/data" >"$2/broker" 2>&1 &
            trap "kill $!" EXIT
            for try in $(seq 300); do grep -qx ready "$2/broker" && break; sleep 0.1; done
        fi
        "$3" "$4/receive.py" > "$2/received" & receiver=$!
        for try in $(seq 300); do grep -qx waiting "$2/received" && break; sleep 0.1; done
        "$3" "$4/send.py"
        for try in $(seq 300); do grep -q received "$2/received" && break; sleep 0.1; done
        kill $receiver
        cat "$2/received""#;
    let (program, prefix) = match Broker::external() {
        None => (binary(), prefix),
        Some(broker) if broker.amqp().port() == 5672 => ("none".into(), vec!["env"]),
        Some(_) => return harness::skip("REQUIRE_CLIENTS", "the broker under test is not at localhost:5672"),
    };
    let mut command = Command::new(prefix[0]);
    command.args(&prefix[1..]).args(["bash", "-c", steps, "hello"]);
    let output = command
        .arg(program)
        .arg(data.path())
        .arg(python)
        .arg(file("pika/hello"))
        .output()
        .expect("bash runs");
    let lines: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_string)
        .collect();
    assert_eq!(
        lines,
        ["sent 'Hello World!'", "waiting", "received 'Hello World!'"],
        "{}",
        said(&output)
    );
}

#[test]
fn work_queues() {
    let Some(mut careless) = script("work_queue/worker.py", &["drop"]) else {
        return;
    };
    let careless = Running::waiting(&mut careless);
    run("work_queue/new_task.py", &["first."]);
    assert_eq!(careless.line(), "dropped first.");
    let workers =
        [(); 2].map(|()| Running::waiting(&mut script("work_queue/worker.py", &[]).expect("python is there")));
    run("work_queue/new_task.py", &["long.........", "a.", "b.", "c."]);
    let mut done: Vec<String> = Vec::new();
    until("all five tasks are done", LINE, || {
        done.extend(workers.iter().flat_map(|worker| worker.lines.try_iter()));
        done.len() == 5
    });
    assert_eq!(
        done.last().map(String::as_str),
        Some("done long........."),
        "the other worker took the short ones: {done:?}"
    );
    assert!(done.contains(&"done first. again".to_string()), "{done:?}");
}

#[test]
fn publish_and_subscribe() {
    if tools::python().is_none() {
        return;
    }
    run("publish_subscribe/emit_log.py", &["nobody", "listens"]);
    let receivers = [(); 2]
        .map(|()| Running::waiting(&mut script("publish_subscribe/receive_logs.py", &[]).expect("python is there")));
    run("publish_subscribe/emit_log.py", &["everybody", "listens"]);
    for receiver in &receivers {
        assert_eq!(receiver.line(), "log everybody listens");
    }
}

#[test]
fn routing() {
    let Some(mut errors) = script("routing/receive.py", &["error"]) else {
        return;
    };
    let errors = Running::waiting(&mut errors);
    let all =
        Running::waiting(&mut script("routing/receive.py", &["info", "warning", "error"]).expect("python is there"));
    run("routing/emit.py", &["info", "fine"]);
    run("routing/emit.py", &["error", "broken"]);
    run("routing/emit.py", &["debug", "noise"]);
    assert_eq!(all.line(), "info fine");
    assert_eq!(all.line(), "error broken");
    assert_eq!(errors.line(), "error broken");
    assert!(all.is_quiet() && errors.is_quiet());
}

#[test]
fn topics() {
    let Some(mut kernel) = script("topics/receive.py", &["kern.*"]) else {
        return;
    };
    let kernel = Running::waiting(&mut kernel);
    let critical = Running::waiting(&mut script("topics/receive.py", &["*.critical"]).expect("python is there"));
    let all = Running::waiting(&mut script("topics/receive.py", &["#"]).expect("python is there"));
    run("topics/emit.py", &["kern.critical", "panic"]);
    run("topics/emit.py", &["cron.info", "tick"]);
    for receiver in [&kernel, &critical, &all] {
        assert_eq!(receiver.line(), "kern.critical panic");
    }
    assert_eq!(all.line(), "cron.info tick");
    assert!(kernel.is_quiet() && critical.is_quiet());
}

#[test]
fn remote_procedure_calls() {
    let Some(mut server) = script("rpc/server.py", &[]) else {
        return;
    };
    let _server = Running::waiting(&mut server);
    let answers = run("rpc/client.py", &["0", "1", "10", "50"]);
    let expected = [
        "fibonacci(0) is 0",
        "fibonacci(1) is 1",
        "fibonacci(10) is 55",
        "fibonacci(50) is 12586269025",
    ];
    assert_eq!(answers.lines().collect::<Vec<_>>(), expected);
}
