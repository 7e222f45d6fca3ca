//! The modules of a crate in their order, and what each of them names.
//!
//! In: `lib.rs` and the files that it leads to. Out: modules with their places, and the arrows between them. Test
//! modules don't count.
//!
//! The order: all modules one under the other, as `lib.rs` lists them, each above its own children, and these in the
//! order of their parent's `mod` lines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use harness::place::repository;

use crate::code::{Code, Written};
use crate::read;

/// Folders of the crates that have more than one file.
pub(crate) const CRATES: [&str; 6] = [
    "broker/amqp/src",
    "broker/store/src",
    "broker/zmtp/src",
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
pub(crate) struct Modules(BTreeMap<Vec<String>, Module>);

impl Modules {
    /// Those of a crate of the repository.
    pub(crate) fn of(folder: &str) -> Modules {
        let modules = Modules::below(&repository().join(folder));
        let paths: usize = modules.0.values().map(|module| module.code.paths.len()).sum();
        assert!(modules.0.len() > 5 && paths > 10, "{folder}: the imports were not read");
        modules
    }

    /// Those that the `lib.rs` of a folder leads to.
    pub(crate) fn below(folder: &Path) -> Modules {
        let mut modules = Modules(BTreeMap::new());
        modules.collect(folder, &[]);
        modules
    }

    /// Reads a module and, in their order, its children.
    fn collect(&mut self, folder: &Path, path: &[String]) {
        let file = match path.split_last() {
            None => folder.join("lib.rs"),
            Some((name, parents)) => folder.join(parents.join("/")).join(format!("{name}.rs")),
        };
        let code = Code::read(&read(&file));
        let children = code.children.clone();
        let place = self.0.len();
        self.0.insert(path.to_vec(), Module { place, code });
        for child in children {
            self.collect(folder, &[path, &[child]].concat());
        }
    }

    /// The module that a path leads to.
    fn target(&self, own: &[String], written: &Written) -> Vec<String> {
        let mut absolute = [own, &written.inline].concat();
        for segment in &written.segments {
            match segment.as_str() {
                "crate" => absolute.clear(),
                "super" => _ = absolute.pop(),
                "self" => {}
                _ => absolute.push(segment.clone()),
            }
        }
        while !self.0.contains_key(&absolute) {
            absolute.pop();
        }
        absolute
    }

    /// For each module, the others that it names.
    pub(crate) fn arrows(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.named(|_, _| true)
    }

    /// For each module, those that it names although they stand above it.
    pub(crate) fn against_the_order(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.named(|from, to| to < from)
    }

    fn named(&self, counts: impl Fn(usize, usize) -> bool) -> BTreeMap<String, BTreeSet<String>> {
        let named = |(own, module): (&Vec<String>, &Module)| {
            let targets = module.code.paths.iter().map(|written| self.target(own, written));
            let others = targets.filter(|target| target != own && counts(module.place, self.0[target].place));
            (shown(own), others.map(|target| shown(&target)).collect())
        };
        self.0.iter().map(named).collect()
    }
}

fn shown(path: &[String]) -> String {
    if path.is_empty() {
        "crate".to_owned()
    } else {
        path.join("::")
    }
}
