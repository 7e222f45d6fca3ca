//! Imports run down.
//!
//! In: the modules of each crate in their order. Out: the paths that run against it: a module names only what stands
//! below it, so that a parent uses its children and they never use their parent.

use crate::modules::{CRATES, Modules};

#[test]
fn imports_run_down() {
    for folder in CRATES {
        let mut found = Modules::of(folder).against_the_order();
        found.retain(|_, targets| !targets.is_empty());
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
        let found = Modules::below(folder.path()).against_the_order();
        let pairs = found
            .iter()
            .flat_map(|(from, targets)| targets.iter().map(move |to| format!("{from} {to}")));
        pairs.collect::<Vec<_>>()
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
