//! One executable under its names: what each of them is, however it is reached.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use harness::place;
use tempfile::TempDir;

/// A word that only one of the programs has in its help.
const COMMAND_LINE: &str = "Run a broker for a folder of manifests";
const OPERATOR: &str = "Reconcile the resources of a cluster";

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn help(program: &Path) -> String {
    let output = Command::new(program).arg("--help").output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    said(&output)
}

/// The executable `built`, by links of all names.
fn told_apart(built: &str, variable: &str) {
    let executable = place::program(built, variable);
    let folder = TempDir::new().expect("a folder");
    let names = [
        ("leveret-operator", OPERATOR),
        ("leveret", COMMAND_LINE),
        ("kubectl-leveret", COMMAND_LINE),
        ("leveret-operator-0.1.0", COMMAND_LINE),
        ("anything", COMMAND_LINE),
    ];
    for (name, expected) in names {
        let link = folder.path().join(name);
        symlink(&executable, &link).expect("a link");
        let shown = help(&link);
        let other = if expected == OPERATOR { COMMAND_LINE } else { OPERATOR };
        assert!(
            shown.contains(expected) && !shown.contains(other),
            "{built} as {name}: {shown}"
        );
    }
    // Through the path, as a shell finds it, and with a link to a link.
    symlink("leveret-operator", folder.path().join("again")).expect("a link");
    assert!(
        help(&folder.path().join("again")).contains(COMMAND_LINE),
        "the link's own name counts"
    );
    let script = "leveret-operator --help; kubectl-leveret lint --help";
    let output = Command::new("/bin/sh")
        .args(["-c", script])
        .env("PATH", folder.path())
        .output();
    let output = output.expect("sh runs");
    let shown = said(&output);
    assert!(output.status.success() && shown.contains(OPERATOR), "{shown}");
}

#[test]
fn what_is_built_as_leveret_is_all_of_them() {
    told_apart("leveret", "LEVERET_BIN");
}

#[test]
fn what_is_built_as_leveret_operator_is_too() {
    told_apart("leveret-operator", "LEVERET_OPERATOR_BIN");
}

/// The wrong program for a command says so, and which it knows.
#[test]
fn a_command_of_the_other_program_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let executable = place::program("leveret", "LEVERET_BIN");
    for (name, command, refusal) in [
        ("leveret", "retire", "there is no command 'retire'"),
        ("leveret-operator", "dev", "unrecognized subcommand 'dev'"),
    ] {
        let link = folder.path().join(name);
        symlink(&executable, &link).expect("a link");
        let output = Command::new(&link).arg(command).output().expect("it runs");
        assert!(
            !output.status.success() && said(&output).contains(refusal),
            "{}",
            said(&output)
        );
    }
}
