//! Links of the documents lead to files that exist.
//!
//! In: all Markdown of the repository. Out: the relative links that lead nowhere. Does not know about the web.

use std::path::Path;

use harness::place::repository;

use crate::{files, read, shown};

/// The targets of `[text](target)`, without anchors.
fn targets(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#', ' ']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

#[test]
fn links_lead_to_files() {
    let mut checked = 0;
    let mut broken = Vec::new();
    for page in files("", ".md") {
        let folder = page.parent().map_or_else(repository, Path::to_owned);
        for target in targets(&read(&page)) {
            checked += 1;
            if !folder.join(target).exists() {
                broken.push(format!("{}: {target}", shown(&page)));
            }
        }
    }
    assert!(checked > 50, "only {checked} links were found");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn targets_are_read_without_anchors() {
    let text = "[a](b.md) and [c](d/e.md#f), [g](https://h/i), [j](#k), array[0](x)";
    assert_eq!(targets(text), ["b.md", "d/e.md", "x"]);
}
