//! The shape of the sources themselves.
//!
//! In: the repository's files. Out: the rules of size and direction that no compiler checks.
//! Does not know about what the code does.

use std::fs;
use std::path::{Path, PathBuf};

use harness::place::repository;

/// No file imports in a circle: what the compiler allows within a crate, this doesn't.
mod circles;

/// Rust text as far as paths need it.
mod code;

/// The tables of docs/compatibility.md agree with the tests.
mod compatibility;

/// Imports run down.
mod direction;

/// The lists of docs/extending.md agree with the sources.
mod extending;

/// Links of the documents lead to files that exist.
mod links;

/// The modules of a crate in their order, and what each of them names.
mod modules;

/// The form of comments, and the captions of modules.
mod words;

/// Longer files are two files.
const MOST_LINES: usize = 600;

/// Every Rust file below a folder of the repository, build folders left out.
fn sources(folder: &str) -> Vec<PathBuf> {
    files(folder, ".rs")
}

/// Every file below a folder of the repository whose name ends so, build folders left out.
fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![repository().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a folder entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with("target") && !name.starts_with('.') && name != "node_modules" {
                folders.push(path);
            } else if name.ends_with(end) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has files that end in {end}");
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).display().to_string()
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = sources("")
        .iter()
        .map(|path| (path, read(path).lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| format!("{} has {lines} lines", shown(path)))
        .collect();
    assert!(long.is_empty(), "at most {MOST_LINES} lines: {long:#?}");
}

/// Folders that must not speak of a crate: in code, or in their manifest.
const NEVER: &[(&str, &[&str])] = &[
    (
        "broker/alloc",
        &[
            "leveret_amqp",
            "leveret_store",
            "leveret_zmtp",
            "leveret_broker",
            "leveret_operator",
            "leveret_perf",
        ],
    ),
    (
        "broker/amqp",
        &[
            "leveret_store",
            "leveret_zmtp",
            "leveret_broker",
            "leveret_operator",
            "leveret_perf",
            "tokio",
        ],
    ),
    (
        "broker/zmtp",
        &[
            "leveret_amqp",
            "leveret_store",
            "leveret_broker",
            "leveret_operator",
            "leveret_perf",
            "tokio",
        ],
    ),
    (
        "broker/store",
        &[
            "leveret_amqp",
            "leveret_zmtp",
            "leveret_broker",
            "leveret_operator",
            "leveret_perf",
            "tokio",
        ],
    ),
    ("broker/src", &["leveret_operator", "leveret_perf", "kube", "lapin"]),
    ("operator", &["leveret_broker", "leveret_store"]),
    (
        "operator/perf",
        &["leveret_operator", "leveret_alloc", "kube", "k8s_openapi"],
    ),
    ("operator/src", &["leveret_amqp"]),
    ("tests", &["leveret_broker", "leveret_operator", "leveret_store"]),
];

#[test]
fn crates_look_in_one_direction() {
    let mut wrong = Vec::new();
    for (folder, never) in NEVER {
        for path in sources(folder) {
            if path.ends_with("tests/structure/main.rs") {
                continue;
            }
            for (number, line) in read(&path).lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                let names = |krate: &&&str| {
                    code.contains(&format!("use {krate}::"))
                        || code.contains(&format!(" {krate}::"))
                        || code.contains(&format!("({krate}::"))
                };
                wrong.extend(
                    never
                        .iter()
                        .filter(names)
                        .map(|krate| format!("{}:{}: {krate}", shown(&path), number + 1)),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn manifests_look_in_one_direction() {
    for (folder, never) in NEVER.iter().filter(|(folder, _)| !folder.ends_with("/src")) {
        let manifest = read(&repository().join(folder).join("Cargo.toml"));
        for krate in *never {
            let package = krate.replace('_', "-");
            let names =
                |line: &str| line.starts_with(&format!("{package}.")) || line.starts_with(&format!("{package} ="));
            assert!(!manifest.lines().any(names), "{folder}/Cargo.toml depends on {package}");
        }
    }
}

/// Every module says what it is for before it says how.
#[test]
fn every_module_begins_with_a_word_about_itself() {
    let silent: Vec<String> = ["broker", "operator", "tests/harness"]
        .iter()
        .flat_map(|folder| sources(folder))
        .filter(|path| !path.ends_with("tests.rs") && !path.components().any(|part| part.as_os_str() == "fuzz_targets"))
        .filter(|path| !read(path).trim_start().starts_with("//!") && !read(path).trim_start().starts_with("#!["))
        .map(|path| shown(&path))
        .collect();
    assert!(silent.is_empty(), "no `//!` at the top: {silent:#?}");
}

/// A module that has a word above its `mod` line has its docs' links looked up where that line stands: they lead
/// nowhere.
#[test]
fn docs_of_modules_have_no_links() {
    let linked: Vec<String> = ["broker", "operator", "tests"]
        .iter()
        .flat_map(|folder| sources(folder))
        .filter(|path| !path.ends_with("lib.rs"))
        .filter(|path| {
            read(path)
                .lines()
                .any(|line| line.starts_with("//!") && line.contains("[`"))
        })
        .map(|path| shown(&path))
        .collect();
    assert!(
        linked.is_empty(),
        "write `Name`, not [`Name`], after `//!`: {linked:#?}"
    );
}
