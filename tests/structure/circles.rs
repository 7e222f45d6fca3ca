//! No file imports in a circle: what the compiler allows within a crate, this doesn't.
//!
//! In: the modules of each crate, and what they name. Out: the circles of modules that name one another.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::{CRATES, Modules};

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
        let circle = circle(&Modules::of(folder).arrows());
        assert!(circle.is_none(), "{folder}: these files import in a circle: {circle:?}");
    }
}

#[test]
fn a_circle_is_found() {
    let arrow = |from: &str, to: &[&str]| (from.to_owned(), to.iter().map(|name| (*name).to_owned()).collect());
    let arrows = BTreeMap::from([arrow("a", &["b"]), arrow("b", &["c"]), arrow("c", &["b"])]);
    assert_eq!(circle(&arrows), Some(vec!["b".to_owned(), "c".to_owned()]));
}
