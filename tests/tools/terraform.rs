//! Terraform's provider for RabbitMQ, driven by a program of this folder: Terraform itself isn't needed. The provider's
//! repository is no module that a registry has: the test runs where `LEVERET_TERRAFORM_PROVIDER` names a clone of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::Broker;
use harness::programs::{run, said};
use harness::requests::unique;

use crate::file;

/// The program, built of the sources here and those of the clone.
fn program(provider: &Path, folder: &Path) -> Result<PathBuf, String> {
    for name in ["go.mod", "go.sum", "main.go"] {
        let copied = std::fs::copy(file("terraform").join(name), folder.join(name));
        copied.map_err(|error| format!("{name}: {error}"))?;
    }
    std::os::unix::fs::symlink(provider, folder.join("provider")).map_err(|error| error.to_string())?;
    let mut build = Command::new("go");
    build
        .args(["build", "-mod=mod", "-o", "check", "."])
        .current_dir(folder);
    run(build.env("CGO_ENABLED", "0").env("GOTOOLCHAIN", "local"))?;
    Ok(folder.join("check"))
}

/// Vhost, limits, user, permissions, topic permissions, policies, exchanges, queues, bindings, a shovel, an upstream:
/// made, read (the second plan is empty), changed, read, destroyed, read.
#[test]
fn a_tenant_is_planned_made_changed_and_destroyed() {
    let Some(provider) = std::env::var_os("LEVERET_TERRAFORM_PROVIDER") else {
        return eprintln!("skipped: LEVERET_TERRAFORM_PROVIDER names no clone of the provider");
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = program(Path::new(&provider), folder.path()).unwrap_or_else(|error| panic!("{error}"));
    let output = Command::new(program)
        .env("RABBITMQ_ENDPOINT", format!("http://{}", Broker::shared().http()))
        .env("NAME", unique("tenant"))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", said(&output));
}
