//! The lists of docs/extending.md agree with the sources.
//!
//! In: the page's sections, each with an example by name and a list of files. Out: a failure when a listed file does
//! not exist or does not have the example in it, or when a source file has it that is not listed.
//! Test modules don't count.

use std::collections::BTreeSet;

use harness::place::repository;

use crate::{read, shown, sources};

const PAGE: &str = "docs/extending.md";

/// One addition: a heading, the folders that its example is searched in, the names of it, the files.
#[derive(Debug, Default, PartialEq, Eq)]
struct Section {
    title: String,
    folders: Vec<String>,
    names: Vec<String>,
    files: BTreeSet<String>,
}

/// The texts in backticks.
fn quoted(line: &str) -> Vec<String> {
    line.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn sections(page: &str) -> Vec<Section> {
    let mut found: Vec<Section> = Vec::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            found.push(Section {
                title: title.to_owned(),
                ..Section::default()
            });
        }
        let Some(section) = found.last_mut() else { continue };
        if let Some((folders, names)) = line.strip_prefix("Example in ").and_then(|rest| rest.split_once(": ")) {
            (section.folders, section.names) = (quoted(folders), quoted(names));
        } else if line.starts_with("* `") {
            section.files.extend(quoted(line).into_iter().take(1));
        }
    }
    found.retain(|section| !section.names.is_empty());
    found
}

/// The text outside tests.
fn program(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or_default()
}

fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs")
        || ["/tests/", "/benches/", "/fuzz/"]
            .iter()
            .any(|part| file.contains(part))
}

#[test]
fn every_list_names_the_files_that_its_example_is_in() {
    let sections = sections(&read(&repository().join(PAGE)));
    assert!(sections.len() >= 7, "{PAGE} has lost its sections: {sections:#?}");
    for Section {
        title,
        folders,
        names,
        files: listed,
    } in sections
    {
        let has = |text: &str| names.iter().any(|name| text.contains(name.as_str()));
        for file in &listed {
            let text = read(&repository().join(file));
            assert!(
                has(&text),
                "{PAGE}, {title}: {file} is listed and has none of {names:?} in it"
            );
        }
        let unlisted: Vec<String> = folders
            .iter()
            .flat_map(|folder| sources(folder))
            .filter(|path| has(program(&read(path))))
            .map(|path| shown(&path))
            .filter(|file| !is_test(file) && !listed.contains(file))
            .collect();
        assert!(unlisted.is_empty(), "{PAGE}, {title}: {names:?} also in {unlisted:?}");
    }
}

#[test]
fn a_section_is_its_heading_its_example_and_its_files() {
    let page = "# Page\n\n## One\n\nExample in `a`: `x-one`, `One`.\n\n* `a/b.rs`: says `x`\n* `c.rs`: more\n\n## Prose\n\ntext\n";
    let expected = Section {
        title: "One".to_owned(),
        folders: vec!["a".to_owned()],
        names: vec!["x-one".to_owned(), "One".to_owned()],
        files: ["a/b.rs", "c.rs"].map(str::to_owned).into(),
    };
    assert_eq!(sections(page), [expected]);
}
