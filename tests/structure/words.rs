//! The form of comments, and the captions of modules.
//!
//! In: the sources. Out: lines that are too wide, docs that begin with a question instead of the noun, modules that
//! their parent's list says nothing about. Does not know what a comment means.

use crate::{read, shown, sources};

const CRATES: [&str; 3] = ["broker", "operator", "tests"];

/// Columns of a comment line; rustfmt keeps code to as many.
const WIDTH: usize = 120;

/// First words of a doc that hides its noun.
const QUESTIONS: [&str; 4] = ["What", "Whether", "How", "Who"];

/// The lines that `is_wrong`, with file and number.
fn lines(is_wrong: impl Fn(&[&str], usize) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for path in CRATES.iter().flat_map(|folder| sources(folder)) {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        let wrong = (0..lines.len()).filter(|at| is_wrong(&lines, *at));
        found.extend(wrong.map(|at| format!("{}:{}: {}", shown(&path), at + 1, lines[at].trim())));
    }
    found
}

#[test]
fn comments_are_as_wide_as_code() {
    let wide = lines(|lines, at| lines[at].trim_start().starts_with("//") && lines[at].chars().count() > WIDTH);
    assert!(wide.is_empty(), "wider than {WIDTH} columns: {wide:#?}");
}

#[test]
fn docs_begin_with_the_noun() {
    let questions = lines(|lines, at| {
        let first = lines[at]
            .trim_start()
            .strip_prefix("/// ")
            .and_then(|doc| doc.split(' ').next());
        let begins = at == 0 || !lines[at - 1].trim_start().starts_with("///");
        begins && first.is_some_and(|first| QUESTIONS.contains(&first))
    });
    assert!(
        questions.is_empty(),
        "\"The time that …\", not \"How long …\": {questions:#?}"
    );
}

/// Modules of a `tests.rs` are no part of a crate's map.
#[test]
fn a_list_of_modules_says_a_word_about_each() {
    let silent = lines(|lines, at| {
        let line = lines[at];
        let declares = line.starts_with("mod ") || line.starts_with("pub mod ") || line.starts_with("pub(crate) mod ");
        let above = lines[..at].iter().rev().find(|line| !line.starts_with("#["));
        declares
            && line.ends_with(';')
            && !line.ends_with("mod tests;")
            && above.is_none_or(|above| !above.starts_with("///"))
    });
    let silent: Vec<&String> = silent.iter().filter(|line| !line.contains("/tests.rs:")).collect();
    assert!(silent.is_empty(), "no `///` above: {silent:#?}");
}
