//! `--once`: what an application's continuous integration runs.

use std::fs;

use crate::{folder, queue, run, text};

#[test]
fn the_example_becomes_ready() {
    let output = run(&harness::place::repository().join("examples/orders"), &["--once"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said} {}", text(&output.stderr));
    assert!(
        said.contains("invoices") && said.contains("Synced") && said.contains("are Ready"),
        "{said}"
    );
}

#[test]
fn what_cannot_become_ready_fails_with_its_reason() {
    let binding = "apiVersion: leveret.dev/v1alpha1\nkind: Binding\nmetadata: { name: b }\n\
                   spec: { brokerRef: { name: main }, source: nowhere, destination: { queue: q } }\n";
    let folder = folder(&[("q.yaml", &queue("q")), ("b.yml", binding)]);
    let output = run(folder.path(), &["--once", "--timeout", "2s"]);
    let said = text(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("WaitingForSource") && said.contains("nowhere"), "{said}");
}

#[test]
fn a_given_data_directory_is_kept() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let folder = folder(&[("deep/er/q.yaml", &queue("kept"))]);
    let path = data.path().join("data");
    for _ in 0..2 {
        let output = run(
            folder.path(),
            &["--once", "--data-dir", path.to_str().expect("a path in UTF-8")],
        );
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert!(fs::read_dir(&path).expect("it was kept").count() > 0);
}

/// Whatever the order of the files: the virtual host first, then what stands in it.
#[test]
fn a_virtual_host_is_made_with_what_stands_in_it() {
    let queue = "apiVersion: leveret.dev/v1alpha1\nkind: Queue\nmetadata: { name: jobs }\nspec: { brokerRef: { name: main }, vhost: shop }\n";
    let vhost = "apiVersion: leveret.dev/v1alpha1\nkind: Vhost\nmetadata: { name: shop }\nspec: { brokerRef: { name: main } }\n";
    let folder = folder(&[("a.yaml", queue), ("b.yaml", vhost)]);
    let output = run(folder.path(), &["--once", "--timeout", "20s"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}
