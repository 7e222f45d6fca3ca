//! The tables of docs/compatibility.md, docs/security.md and docs/comparison.md agree with the tests.
//!
//! In: the pages' rows. Out: the tests that they name and that don't exist, and the promises without one.
//! Does not know what a test shows.

use harness::place::repository;

use crate::read;

const PAGE: &str = "docs/compatibility.md";
const SECURITY: &str = "docs/security.md";
const COMPARISON: &str = "docs/comparison.md";

/// The cells of each row of a table whose last column is `test`.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    let mut within = false;
    for line in page.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        within = line.starts_with('|') && (within || cells.iter().rev().nth(1) == Some(&"test"));
        if within {
            found.push(cells[1..cells.len() - 1].to_vec());
        }
    }
    found.retain(|cells| cells.last() != Some(&"test") && !cells.iter().all(|cell| cell.starts_with("---")));
    found
}

/// The names in a cell: `folder::file::function`, with folders between where there are some.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// True if a name is a function of that file.
fn exists(name: &str) -> bool {
    let parts: Vec<&str> = name.split("::").collect();
    let [place @ .., function] = &parts[..] else {
        return false;
    };
    let path = repository().join("tests").join(format!("{}.rs", place.join("/")));
    path.exists() && read(&path).contains(&format!("fn {function}()"))
}

#[test]
fn every_promise_names_tests_that_exist() {
    let page = read(&repository().join(PAGE));
    let rows = rows(&page);
    assert!(rows.len() > 80, "{PAGE} has lost its rows: {}", rows.len());
    let mut wrong = Vec::new();
    for cells in rows {
        let [feature, _, here, tests] = cells[..] else {
            wrong.push(format!("not four columns: {cells:?}"));
            continue;
        };
        wrong.extend(
            names(tests)
                .filter(|name| !exists(name))
                .map(|name| format!("{feature}: no test {name}")),
        );
        let promises = !here.starts_with("not there") && !here.starts_with("no limit");
        if promises && names(tests).next().is_none() {
            wrong.push(format!("{feature}: no test shows it"));
        }
    }
    assert!(wrong.is_empty(), "{PAGE}: {wrong:#?}");
}

#[test]
fn every_promise_of_security_names_tests_that_exist() {
    let page = read(&repository().join(SECURITY));
    let rows = rows(&page);
    assert!(rows.len() > 20, "{SECURITY} has lost its rows: {}", rows.len());
    let mut wrong = Vec::new();
    for cells in rows {
        let [promise, tests] = cells[..] else {
            wrong.push(format!("not two columns: {cells:?}"));
            continue;
        };
        if names(tests).next().is_none() {
            wrong.push(format!("{promise}: no test shows it"));
        }
    }
    // In the text, too: what looks like the name of a test is one.
    let is_name = |word: &&str| {
        word.contains("::")
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c))
    };
    let is_test = |word: &&str| is_name(word) && !word.starts_with("fd");
    wrong.extend(
        names(&page)
            .filter(is_test)
            .filter(|name| !exists(name))
            .map(|name| format!("no test {name}")),
    );
    assert!(wrong.is_empty(), "{SECURITY}: {wrong:#?}");
}

/// Numbered, and none is left out: what does not hold says so.
#[test]
fn every_pain_and_behaviour_names_tests_that_exist() {
    let page = read(&repository().join(COMPARISON));
    let rows = rows(&page);
    let numbers: Vec<&str> = rows.iter().filter_map(|cells| cells.first().copied()).collect();
    let pains = (1..=47).map(|number| format!("P{number}"));
    let all: Vec<String> = pains.chain((1..=20).map(|number| format!("B{number}"))).collect();
    assert_eq!(numbers, all, "{COMPARISON}");
    let (mut wrong, mut held) = (Vec::new(), [0; 3]);
    for cells in rows {
        let [number, _, _, here, tests] = cells[..] else {
            wrong.push(format!("not five columns: {cells:?}"));
            continue;
        };
        let missing = names(tests).filter(|name| !exists(name));
        wrong.extend(missing.map(|name| format!("{number}: no test {name}")));
        let not_here = here == "no" || here.starts_with("no:");
        let class = if not_here {
            2
        } else {
            usize::from(here.starts_with("in part:"))
        };
        held[class] += 1;
        if !not_here && names(tests).next().is_none() {
            wrong.push(format!("{number}: no test shows it"));
        }
    }
    let [whole, part, not] = held;
    let summary = format!("Of the 67, {whole} hold, {part} in part, and {not} not.");
    if !page.contains(&summary) {
        wrong.push(format!("it should say: {summary}"));
    }
    assert!(wrong.is_empty(), "{COMPARISON}: {wrong:#?}");
}

#[test]
fn rows_are_those_of_tables_of_tests() {
    let page = "| a | test |\n|---|---|\n| one | `x::y::z` `u::v::w` |\n\ntext\n\n| a | b |\n|---|---|\n| c | `d` |\n";
    assert_eq!(rows(page), [["one", "`x::y::z` `u::v::w`"]]);
    assert_eq!(names("`x::y::z` `u::v::w`").collect::<Vec<_>>(), ["x::y::z", "u::v::w"]);
    assert!(exists("structure::compatibility::rows_are_those_of_tables_of_tests"));
    assert!(!exists("structure::compatibility::no_such_function"));
}
