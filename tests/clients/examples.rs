//! The programs of `examples/clients`, as they stand there.

use std::path::PathBuf;
use std::process::Command;

use harness::programs::{self, said};
use harness::{Broker, place};

use crate::tools;

fn file(name: &str) -> PathBuf {
    place::repository().join("examples/clients").join(name)
}

/// Runs a program against the shared broker: it must have its message confirmed, and get it back.
fn runs(mut command: Command) {
    let output = command
        .env(
            "AMQP_URL",
            format!("amqp://guest:guest@{}/%2f", Broker::shared().amqp()),
        )
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let lines = String::from_utf8_lossy(&output.stdout);
    let as_expected = lines.lines().eq(["confirmed", "received hello"]);
    assert!(output.status.success() && as_expected, "{command:?}: {}", said(&output));
}

#[test]
fn python() {
    let Some(python) = tools::python() else { return };
    let mut command = Command::new(python);
    command.arg(file("python/hello.py"));
    runs(command);
}

#[test]
fn node() {
    let Some(modules) = tools::node_modules() else { return };
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules).arg(file("node/hello.js"));
    runs(command);
}

#[test]
fn go() {
    static PROGRAM: programs::Tool = programs::Tool::new();
    if let Some(program) = programs::go_program(&PROGRAM, &file("go"), "amqp091-example") {
        runs(Command::new(program));
    }
}

#[test]
fn java() {
    let Some(libraries) = tools::java_libraries() else {
        return;
    };
    let mut command = Command::new("java");
    command
        .args(["-cp", &format!("{}/*", libraries.display())])
        .arg(file("java/Hello.java"));
    runs(command);
}

/// An example of this crate, so that it is compiled with the lapin of the workspace.
#[test]
fn rust() {
    runs(Command::new(place::program("examples/hello", "LEVERET_HELLO_EXAMPLE")));
}
