//! No file imports in a circle: what the compiler allows within a crate, this doesn't.
//!
//! In: the sources of each crate. Out: the circles of files whose code names one another. Test modules don't count.
//! Reads paths as text: `use` trees, and paths that begin with `crate::` or `super::` in the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use harness::place::repository;

use crate::{read, sources};

const CRATES: [&str; 5] = [
    "broker/amqp/src",
    "broker/store/src",
    "broker/src",
    "operator/perf/src",
    "operator/src",
];

/// The module path of a file: `queue/ready.rs` is `queue::ready`, `lib.rs` and `main.rs` are the root.
fn module(root: &Path, file: &Path) -> Vec<String> {
    let relative = file.strip_prefix(root).expect("a file of the crate").with_extension("");
    let parts: Vec<String> = relative
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts == ["lib"] || parts == ["main"] {
        Vec::new()
    } else {
        parts
    }
}

/// The code without comments, texts and test modules.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// All paths of the code, `use` trees taken apart.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                expand(&code[at..], &mut Vec::new(), &mut found);
            }
        }
    }
    found
}

/// Reads one path or tree at the start of `text`; returns what it took.
fn expand(text: &str, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let mut at = 0;
    let depth = prefix.len();
    loop {
        let rest = &text[at..];
        let word = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*'))
            .unwrap_or(rest.len());
        if word > 0 {
            prefix.push(rest[..word].to_owned());
            at += word;
        }
        if text[at..].starts_with("::") {
            at += 2;
            continue;
        }
        if text[at..].starts_with('{') && text[..at].ends_with("::") {
            at += 1;
            while !text[at..].starts_with('}') && at < text.len() {
                let inner = &text[at..];
                let skip = inner
                    .find(|c: char| !(c.is_whitespace() || c == ','))
                    .unwrap_or(inner.len());
                at += skip;
                if !text[at..].starts_with('}') {
                    at += expand(&text[at..], &mut prefix.clone(), found).max(1);
                }
            }
            at += 1;
        } else {
            found.push(prefix.clone());
        }
        prefix.truncate(depth);
        return at;
    }
}

/// Which files the code of each file names.
fn arrows(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let root = repository().join(folder);
    let files: Vec<_> = sources(folder)
        .into_iter()
        .filter(|path| {
            path.starts_with(&root) && !path.ends_with("tests.rs") && !path.to_string_lossy().contains("/tests/")
        })
        .filter(|path| !path.starts_with(root.join("bin")))
        .collect();
    let modules: BTreeSet<Vec<String>> = files.iter().map(|file| module(&root, file)).collect();
    let mut arrows = BTreeMap::new();
    for file in &files {
        let own = module(&root, file);
        let targets = paths(&code(&read(file))).into_iter().filter_map(|path| {
            let mut absolute = own.clone();
            for segment in path {
                match segment.as_str() {
                    "crate" => absolute.clear(),
                    "super" => _ = absolute.pop(),
                    _ => absolute.push(segment),
                }
            }
            while !absolute.is_empty() && !modules.contains(&absolute) {
                absolute.pop();
            }
            (!absolute.is_empty() && absolute != own).then(|| absolute.join("::"))
        });
        arrows.insert(own.join("::"), targets.collect());
    }
    arrows
}

/// A circle, if there is one: the files on it in order.
fn circle(arrows: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    for start in arrows.keys() {
        let mut way = Vec::new();
        if let Some(circle) = walk(start, arrows, &mut way, &mut done) {
            return Some(circle);
        }
    }
    None
}

fn walk(
    at: &str,
    arrows: &BTreeMap<String, BTreeSet<String>>,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(first) = way.iter().position(|name| name == at) {
        return Some(way[first..].to_vec());
    }
    if done.contains(at) {
        return None;
    }
    way.push(at.to_owned());
    for next in arrows.get(at).into_iter().flatten() {
        if let Some(circle) = walk(next, arrows, way, done) {
            return Some(circle);
        }
    }
    way.pop();
    done.insert(at.to_owned());
    None
}

#[test]
fn no_files_import_in_a_circle() {
    for folder in CRATES {
        let arrows = arrows(folder);
        assert!(
            arrows.values().map(BTreeSet::len).sum::<usize>() > 10,
            "{folder}: the imports were not read"
        );
        let circle = circle(&arrows);
        assert!(circle.is_none(), "{folder}: these files import in a circle: {circle:?}");
    }
}

#[test]
fn a_circle_is_found_and_trees_are_taken_apart() {
    let found = paths("use crate::a::{b::C, d, e::{F, g::H}};\nfn f() { super::x::y(); }");
    let shown: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    let expected = [
        "crate::a::b::C",
        "crate::a::d",
        "crate::a::e::F",
        "crate::a::e::g::H",
        "super::x::y",
    ];
    assert_eq!(shown, expected);
    let arrow = |from: &str, to: &[&str]| (from.to_owned(), to.iter().map(|name| (*name).to_owned()).collect());
    let arrows = BTreeMap::from([arrow("a", &["b"]), arrow("b", &["c"]), arrow("c", &["b"])]);
    assert_eq!(circle(&arrows), Some(vec!["b".to_owned(), "c".to_owned()]));
}
