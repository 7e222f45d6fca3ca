//! Imports run down.
//!
//! In: the sources of each crate. Out: the paths that run against the order of the modules. Test modules don't count.
//!
//! The order: all modules of a crate one under the other, as `lib.rs` lists them, each above its own children, and
//! these in the order of their parent's `mod` lines. A module names only what stands below it; so there is no circle
//! either.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::code::{Code, Written};
use crate::read;

use harness::place::repository;

const CRATES: [&str; 5] = [
    "broker/amqp/src",
    "broker/store/src",
    "broker/src",
    "operator/perf/src",
    "operator/src",
];

/// A module: its place in the order, and the paths it writes.
struct Module {
    place: usize,
    code: Code,
}

/// All modules of a crate by their path (`["queue", "ready"]`; the root's is empty).
type Modules = BTreeMap<Vec<String>, Module>;

/// Reads a module and, in their order, its children.
fn collect(folder: &Path, path: &[String], modules: &mut Modules) {
    let file = match path.split_last() {
        None => folder.join("lib.rs"),
        Some((name, parents)) => {
            let folder = parents
                .iter()
                .fold(folder.to_owned(), |folder, parent| folder.join(parent));
            folder.join(format!("{name}.rs"))
        }
    };
    let code = Code::read(&read(&file));
    let children = code.children.clone();
    let place = modules.len();
    modules.insert(path.to_vec(), Module { place, code });
    for child in children {
        collect(folder, &[path, &[child]].concat(), modules);
    }
}

fn modules(folder: PathBuf) -> Modules {
    let mut found = Modules::new();
    collect(&folder, &[], &mut found);
    found
}

/// The module that a path leads to.
fn target(own: &[String], written: &Written, modules: &Modules) -> Vec<String> {
    let mut absolute = [own, &written.inline].concat();
    for segment in &written.segments {
        match segment.as_str() {
            "crate" => absolute.clear(),
            "super" => _ = absolute.pop(),
            "self" => {}
            _ => absolute.push(segment.clone()),
        }
    }
    while !modules.contains_key(&absolute) {
        absolute.pop();
    }
    absolute
}

fn shown(path: &[String]) -> String {
    if path.is_empty() {
        "crate".to_owned()
    } else {
        path.join("::")
    }
}

/// Every pair of modules whose first names the second, which stands above it.
fn against_the_order(modules: &Modules) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for (own, module) in modules {
        for written in &module.code.paths {
            let target = target(own, written, modules);
            if modules[&target].place < module.place {
                found.insert((shown(own), shown(&target)));
            }
        }
    }
    found
}

#[test]
fn imports_run_down() {
    for folder in CRATES {
        let modules = modules(repository().join(folder));
        let paths: usize = modules.values().map(|module| module.code.paths.len()).sum();
        assert!(modules.len() > 5 && paths > 10, "{folder}: the imports were not read");
        let found = against_the_order(&modules);
        assert!(
            found.is_empty(),
            "{folder}: these name a module that stands above them in the order of `lib.rs` and the `mod` lists. Move what \
             they name into a module below both (a parent re-exports it), or the `mod` line: {found:#?}"
        );
    }
}

#[test]
fn a_path_upward_is_found() {
    let tree = |files: &[(&str, &str)]| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            std::fs::write(file, text).expect("a file");
        }
        let found = against_the_order(&modules(folder.path().to_owned()));
        found
            .into_iter()
            .map(|(from, to)| format!("{from} {to}"))
            .collect::<Vec<_>>()
    };
    let files = [
        ("lib.rs", "pub mod a;\npub mod b;\npub use b::B;\npub struct Here;"),
        ("a.rs", "mod x;\nmod y;\nuse x::X;\nuse crate::b::B;\nstruct A;"),
        ("a/x.rs", "use super::y::Y;"),
        ("a/y.rs", ""),
        ("b.rs", ""),
    ];
    assert!(tree(&files).is_empty());
    let against = |name: &'static str, text: &'static str| {
        let mut files = files;
        files
            .iter_mut()
            .filter(|file| file.0 == name)
            .for_each(|file| file.1 = text);
        tree(&files)
    };
    assert_eq!(against("b.rs", "fn f() { crate::a::g() }"), ["b a"], "a sibling above");
    assert_eq!(against("b.rs", "use crate::Here;"), ["b crate"], "the root");
    assert_eq!(against("a/x.rs", "use super::A;"), ["a::x a"], "the parent");
    assert_eq!(
        against("a/y.rs", "use super::x::X;"),
        ["a::y a::x"],
        "a sibling of the folder"
    );
    assert_eq!(
        against("b.rs", "use crate::a::x::X;"),
        ["b a::x"],
        "a child of one above"
    );
}
