//! Rust text as far as paths need it.
//!
//! In: a source file. Out: its tokens without comments, literals and what is compiled for tests only, and the paths in
//! them. Does not know about crates, files or which paths are allowed.

/// Tokens that open and close a group.
const OPEN: [&str; 3] = ["(", "[", "{"];
const CLOSE: [&str; 3] = [")", "]", "}"];

/// A path as it is written, with the inline modules that it stands in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Names of the inline modules (`mod name { … }`) around it.
    pub(crate) inline: Vec<String>,
    /// `["crate", "queue", "Entry"]`
    pub(crate) segments: Vec<String>,
}

/// The children that a file declares and the paths that it names.
#[derive(Debug, Default)]
pub(crate) struct Code {
    /// `mod name;` in their order.
    pub(crate) children: Vec<String>,
    /// Paths that begin with `crate`, `super`, `self` or a child's name; trees of `use` taken apart.
    pub(crate) paths: Vec<Written>,
}

impl Code {
    pub(crate) fn read(text: &str) -> Code {
        let tokens = without_tests(&tokens(text));
        let children = children(&tokens);
        let paths = paths(&tokens, &children);
        Code { children, paths }
    }
}

/// Names, `::` and single signs. Comments, lifetimes and literals other than numbers leave no trace.
fn tokens(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = if first.is_whitespace() {
            first.len_utf8()
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = literal(rest) {
            length
        } else {
            let name = |c: char| c.is_alphanumeric() || c == '_';
            let length = match first {
                ':' if rest.starts_with("::") => 2,
                _ if name(first) => rest.find(|c| !name(c)).unwrap_or(rest.len()),
                _ => first.len_utf8(),
            };
            found.push(&rest[..length]);
            length
        };
        rest = &rest[taken..];
    }
    found
}

/// The length of a text, byte text, raw text, character or lifetime at the start of `text`.
fn literal(text: &str) -> Option<usize> {
    let body = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - body.len();
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let inner = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(prefix + 1 + hashes + 1 + inner.find(&end)? + end.len());
    }
    let quote = body.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    if prefix > 2 {
        return None;
    }
    let mut characters = body.char_indices().skip(1);
    if quote == '\'' {
        let first = characters.next()?.1;
        let second = body.char_indices().nth(2)?.1;
        if first != '\\' && second != '\'' {
            return Some(prefix + 1); // a lifetime: its name is harmless
        }
        characters = body.char_indices().skip(1);
    }
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return Some(prefix + at + 1);
        }
    }
    None
}

/// Leaves out every item under `#[cfg(test)]` and `#[cfg(any(test, …))]`.
fn without_tests<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].starts_with(&["#", "[", "cfg", "("]) {
            let end = group(tokens, at + 1);
            let attribute = &tokens[at..end];
            if attribute.contains(&"test") && !attribute.contains(&"not") {
                at = item(tokens, end);
                continue;
            }
        }
        kept.push(tokens[at]);
        at += 1;
    }
    kept
}

/// Behind the group that opens at `at`.
fn group(tokens: &[&str], at: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        if OPEN.contains(token) {
            depth += 1;
        } else if CLOSE.contains(token) {
            depth -= 1;
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

/// Behind the item that begins at `at`: to its `;` or its block.
fn item(tokens: &[&str], at: usize) -> usize {
    let visibility = ["pub", "(", "crate", "super", ")"];
    let first = tokens[at..].iter().find(|token| !visibility.contains(token));
    let uses = first == Some(&"use");
    let mut at = at;
    while at < tokens.len() {
        match tokens[at] {
            ";" => return at + 1,
            "{" if !uses => return group(tokens, at),
            open if OPEN.contains(&open) => at = group(tokens, at),
            close if CLOSE.contains(&close) => return at,
            _ => at += 1,
        }
    }
    at
}

fn children(tokens: &[&str]) -> Vec<String> {
    tokens
        .windows(3)
        .filter(|window| window[0] == "mod" && window[2] == ";")
        .map(|window| window[1].to_owned())
        .collect()
}

fn paths(tokens: &[&str], children: &[String]) -> Vec<Written> {
    let mut found = Vec::new();
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        inline.retain(|(_, end)| at < *end);
        let before = at.checked_sub(1).map_or("", |before| tokens[before]);
        let mut trees = Vec::new();
        let modules: Vec<String> = inline.iter().map(|(name, _)| name.clone()).collect();
        let outermost = modules.is_empty();
        if tokens[at] == "mod" && tokens.get(at + 2) == Some(&"{") {
            inline.push((tokens[at + 1].to_owned(), group(tokens, at + 2)));
            at += 3;
        } else if tokens[at] == "use" {
            at = tree(tokens, at + 1, &mut Vec::new(), &mut trees).max(at + 1);
        } else if tokens.get(at + 1) == Some(&"::") && before != "::" && !visibility(tokens, at) {
            at = tree(tokens, at, &mut Vec::new(), &mut trees).max(at + 1);
        } else {
            at += 1;
        }
        trees.retain(|segments: &Vec<String>| match segments.first().map(String::as_str) {
            Some("crate" | "super" | "self") => true,
            Some(name) => outermost && children.iter().any(|child| child == name),
            None => false,
        });
        found.extend(trees.into_iter().map(|segments| Written {
            inline: modules.clone(),
            segments,
        }));
    }
    found
}

/// `pub(in path)`: says who may look, and looks at nothing.
fn visibility(tokens: &[&str], at: usize) -> bool {
    tokens[..at].ends_with(&["pub", "(", "in"])
}

/// Reads one path or tree of paths at `at`; returns where it ends.
fn tree(tokens: &[&str], at: usize, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let mut at = at;
    let depth = prefix.len();
    while let Some(token) = tokens.get(at) {
        if *token == "{" {
            let end = group(tokens, at);
            at += 1;
            while at + 1 < end {
                at = tree(tokens, at, prefix, found).max(at + 1);
                while at + 1 < end && tokens[at] != "," {
                    at += 1; // `as name`
                }
                at += usize::from(tokens[at] == ",");
            }
            prefix.truncate(depth);
            return end;
        }
        if !(*token == "*" || token.chars().all(|c| c.is_alphanumeric() || c == '_')) {
            break;
        }
        if *token != "self" || prefix.is_empty() {
            prefix.push((*token).to_owned());
        }
        at += 1;
        if tokens.get(at) != Some(&"::") {
            break;
        }
        at += 1;
    }
    if !prefix.is_empty() {
        found.push(prefix.clone());
    }
    prefix.truncate(depth);
    at
}

#[test]
fn trees_are_taken_apart_and_tests_left_out() {
    let text = r##"
        //! use crate::comment;
        mod child; pub mod other;
        pub use child::{One, deep::{self, Two as Three}};
        use crate::{a, b::{C, d}, e::*};
        use std::{fs, child::x};
        #[cfg(test)] use crate::{in_a, test};
        pub(in crate::seen) fn f<'a>(x: &'a str) -> char { super::g::<u8>("crate::text"); r#"crate::raw"#; other::h(); '\'' }
        #[cfg(any(test, feature = "x"))] mod only;
        mod inline { use super::super::up; fn f() { child::not() } }
        #[cfg(test)] mod tests { use super::*; }
        #[cfg(not(test))] fn g() { x.child; self.f(); $crate::macros::m!() }
    "##;
    let code = Code::read(text);
    assert_eq!(code.children, ["child", "other"]);
    let shown: Vec<String> = code
        .paths
        .iter()
        .map(|path| format!("{}{}", "^".repeat(path.inline.len()), path.segments.join("::")))
        .collect();
    let expected = [
        "child::One",
        "child::deep",
        "child::deep::Two",
        "crate::a",
        "crate::b::C",
        "crate::b::d",
        "crate::e::*",
        "super::g",
        "other::h",
        "^super::super::up",
        "crate::macros::m",
    ];
    assert_eq!(shown, expected);
}
