//! One clear line for each thing that is wrong, an exit that is not 0, nothing changed.

use std::fs;
use std::net::TcpListener;

use crate::{folder, leveret, queue, run, text};

/// Its standard error when it refuses a folder of these files.
fn refusal(files: &[(&str, &str)]) -> String {
    let folder = folder(files);
    let output = run(folder.path(), &["--once"]);
    assert!(!output.status.success(), "it was accepted: {}", text(&output.stdout));
    let said = text(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    assert!(said.lines().all(|line| line.starts_with("leveret: ")), "{said}");
    said
}

#[test]
fn manifests_are_checked_as_the_api_server_would() {
    let manifest = |kind: &str, spec: &str| {
        format!(
            "apiVersion: leveret.dev/v1alpha1\nkind: {kind}\nmetadata: {{ name: bad }}\nspec:\n  brokerRef: {{ name: main }}\n{spec}"
        )
    };
    for (file, words) in [
        (manifest("Queue", "  durabel: true\n"), vec!["bad.yaml", "durabel"]),
        (manifest("Queue", "  type: mirrored\n"), vec!["bad.yaml", "mirrored"]),
        (
            manifest("Queue", "  name: amq.mine\n"),
            vec!["names that begin with amq. are reserved by the broker"],
        ),
        (
            manifest("Queue", "  maxLength: 5\n  arguments: { x-max-length: 6 }\n"),
            vec!["give only one of them"],
        ),
        (manifest("Binding", "  source: x\n"), vec!["destination"]),
        (manifest("Quue", ""), vec!["bad.yaml", "Quue"]),
        (
            "apiVersion: leveret.dev/v1alpha1\nkind: Queue\nmetadata: [\n".to_string(),
            vec!["bad.yaml:"],
        ),
        ("just words\n".to_string(), vec!["bad.yaml"]),
    ] {
        let said = refusal(&[("good.yaml", &queue("good")), ("bad.yaml", &file)]);
        assert!(words.iter().all(|word| said.contains(word)), "{file}: {said}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let said = refusal(&[
        ("a.yaml", "kind: [\n"),
        ("b.yaml", "kind: [\n"),
        ("c.yaml", &queue("good")),
    ]);
    assert!(
        said.contains("a.yaml:") && said.contains("b.yaml:") && said.lines().count() == 2,
        "{said}"
    );
}

#[test]
fn one_object_must_not_stand_in_two_files() {
    let said = refusal(&[("a.yaml", &queue("twice")), ("b.yaml", &queue("twice"))]);
    assert!(
        said.contains("twice") && said.contains("a.yaml") && said.contains("b.yaml"),
        "{said}"
    );
}

#[test]
fn a_folder_without_manifests_is_named() {
    let said = refusal(&[("notes.txt", "nothing here")]);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("no manifests") || said.contains("no resource"), "{said}");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let output = run(std::path::Path::new("/nowhere/at/all"), &["--once"]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("/nowhere/at/all"), "{said}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let folder = folder(&[("q.yaml", &queue("q"))]);
    for flag in ["--amqp-listen", "--http-listen"] {
        let free = harness::operator_process::free_address().to_string();
        let other = if flag == "--amqp-listen" {
            "--http-listen"
        } else {
            "--amqp-listen"
        };
        let output = leveret(folder.path())
            .args([flag, &address, other, &free, "--once"])
            .output()
            .expect("leveret runs");
        let said = text(&output.stderr);
        assert!(
            !output.status.success() && said.contains(&address) && said.contains("in use"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_data_directory_in_use_is_named() {
    let broker = harness::Broker::start_with(&["--segment-size", "4MiB"]);
    let folder = folder(&[("q.yaml", &queue("q"))]);
    let data = broker.data();
    let output = run(
        folder.path(),
        &["--once", "--data-dir", data.to_str().expect("a path in UTF-8")],
    );
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("in use by process"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let folder = folder(&[("q.yaml", &queue("q"))]);
    fs::write(folder.path().join("not-a-program"), "x").expect("a file");
    for program in [
        "/nowhere/leveret-broker",
        folder.path().join("not-a-program").to_str().expect("a path in UTF-8"),
    ] {
        let output = run_with_broker(folder.path(), program);
        let said = text(&output.stderr);
        assert!(
            !output.status.success() && said.contains(program) && said.contains("--broker-bin"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

fn run_with_broker(folder: &std::path::Path, program: &str) -> std::process::Output {
    let mut command = std::process::Command::new(harness::place::program("leveret", "LEVERET_BIN"));
    let (amqp, http) = (
        harness::operator_process::free_address(),
        harness::operator_process::free_address(),
    );
    command.arg("dev").arg(folder).args(["--broker-bin", program, "--once"]);
    command.args(["--amqp-listen", &amqp.to_string(), "--http-listen", &http.to_string()]);
    command.output().expect("leveret runs")
}

#[test]
fn a_command_that_is_not_there_is_named() {
    let output = std::process::Command::new(harness::place::program("leveret", "LEVERET_BIN"))
        .arg("plann")
        .output();
    let output = output.expect("leveret runs");
    assert!(
        !output.status.success() && text(&output.stderr).contains("plann"),
        "{}",
        text(&output.stderr)
    );
}
