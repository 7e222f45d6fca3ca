//! Programs from registries: installed once into the cache outside the clone.
//!
//! In: names and versions. Out: programs that run, or why there are none.
//! Does not know about brokers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::{place, skip};

/// A program that was looked for once, or why it is absent.
pub type Tool = OnceLock<Result<PathBuf, String>>;

/// Installs a program, unless that was tried; without it the test is skipped with the reason printed
/// (`REQUIRE_CLIENTS=1`: a failure).
pub fn installed(tool: &Tool, install: impl FnOnce() -> Result<PathBuf, String>) -> Option<PathBuf> {
    match tool.get_or_init(install) {
        Ok(path) => Some(path.clone()),
        Err(reason) => {
            skip("REQUIRE_CLIENTS", reason);
            None
        }
    }
}

/// The Go program of a folder, built once under a name of the cache.
pub fn go_program(tool: &Tool, folder: &Path, name: &str) -> Option<PathBuf> {
    installed(tool, || {
        let program = place::cache().join(name);
        let mut build = Command::new("go");
        build.args(["build", "-o"]).arg(&program).arg(".").current_dir(folder);
        run(build.env("CGO_ENABLED", "0").env("GOTOOLCHAIN", "local"))?;
        Ok(program)
    })
}

/// A program of a crate, without its optional features, built with little optimisation: it waits for a broker.
pub fn cargo_program(tool: &Tool, name: &str, version: &str) -> Option<PathBuf> {
    installed(tool, || {
        let folder = place::cache().join(format!("{name}-{version}"));
        if !folder.join("done").exists() {
            let mut install = Command::new("cargo");
            install
                .args(["install", "--quiet", "--locked", "--debug", "--no-default-features"])
                .args(["--config", "profile.dev.debug=0"])
                .args(["--version", version, "--root"])
                .arg(&folder)
                .arg(name);
            // What is built on the way isn't kept. Nothing is, where it had been installed and not marked.
            let built = folder.join("target");
            run(install.env("CARGO_TARGET_DIR", &built))?;
            if built.exists() {
                fs::remove_dir_all(&built).map_err(|error| error.to_string())?;
            }
            done(&folder)?;
        }
        Ok(folder.join("bin").join(name))
    })
}

/// A command that is put before others to give them a network of their own, with nothing but loopback in it.
pub fn own_network() -> Option<Vec<&'static str>> {
    let prefix = vec![
        "unshare",
        "--map-root-user",
        "--net",
        "bash",
        "-c",
        "ip link set lo up && exec \"$@\"",
        "own-network",
    ];
    static TRIED: Tool = OnceLock::new();
    installed(&TRIED, || {
        run(Command::new(prefix[0]).args(&prefix[1..]).arg("true"))?;
        Ok(PathBuf::new())
    })?;
    Some(prefix)
}

/// Marks a folder as complete; one that was interrupted is made again.
pub fn done(folder: &Path) -> Result<(), String> {
    fs::write(folder.join("done"), "").map_err(|error| error.to_string())
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {}", said(&output)))
    }
}

/// Everything that a program printed.
pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
