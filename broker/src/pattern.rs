//! The pattern of a policy or permission: a regular expression that is looked for anywhere in a name.
//!
//! Comes in: its text, names. Goes out: whether a name matches. The cost of a pattern is bounded: its length, the size
//! of what it compiles to, and the steps of one look. Does not know whose names they are.

use fancy_regex::{BytesMode, Regex, RegexBuilder};

/// Longest pattern, bytes (RabbitMQ's figure).
pub const LONGEST: usize = 1024;
/// Steps back that one look may take (RabbitMQ's figure); a pattern that needs more doesn't match.
const STEPS: usize = 50_000;
/// Size of a compiled pattern, bytes, and the number of its instructions.
const SIZE: usize = 1 << 20;
const INSTRUCTIONS: usize = 1 << 16;

/// Groups within groups: the engine goes down a level of the stack for each.
const NESTED: usize = 16;

/// A pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// The fault in it, in RabbitMQ's words as far as they are not those of its engine.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("pattern must not exceed {LONGEST} bytes"));
        }
        if depth(text) > NESTED {
            return Err(format!("pattern must not nest groups more than {NESTED} levels deep"));
        }
        let regex = RegexBuilder::new(text)
            .bytes_mode(BytesMode::Ascii)
            .backtrack_limit(STEPS)
            .delegate_size_limit(SIZE)
            .delegate_dfa_size_limit(SIZE)
            .max_prog_size(INSTRUCTIONS)
            .build()
            .map_err(|error| format!("pattern should be regular expression but is invalid: {error}"))?;
        let text = text.to_owned();
        Ok(Self { text, regex })
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True if it is found in a name.
    pub fn matches(&self, name: &[u8]) -> bool {
        #[cfg(test)]
        LOOKS.set(LOOKS.get() + 1);
        self.regex.is_match(name).unwrap_or(false)
    }
}

#[cfg(test)]
thread_local! {
    static LOOKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Names that patterns were looked for in, on this thread.
#[cfg(test)]
pub(super) fn looks() -> usize {
    LOOKS.get()
}

/// Groups within groups, at the deepest place. Brackets that stand for themselves in a class may count.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' => _ = octets.next(),
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern).expect("a pattern").matches(name.as_bytes())
    }

    #[test]
    fn a_pattern_is_found_anywhere_unless_it_says_where() {
        assert!(matches("der", "orders") && !matches("^der", "orders") && !matches("Der", "orders"));
        assert!(matches("", "anything") && matches(".*", "") && !matches(".", ""));
        assert!(matches("fé$", "café") && matches("^(?!fé)", "café") && !matches("^fé", "café"));
        let names = Pattern::parse("^.{3}$").expect("a pattern");
        assert!(names.matches(b"a\xffc") && !names.matches(b"a\xff"), "names are bytes");
    }

    #[test]
    fn patterns_of_perl_are_known() {
        for (pattern, yes, no) in [
            (r"^(?!amq\.).*", "orders", "amq.gen-1"),
            (r"^([a-z]+)-\1$", "one-one", "one-two"),
            (r"(?<=eu\.)orders", "eu.orders", "us.orders"),
            (r"^(?i)ORDERS", "orders", "order"),
            (r"^\d+$", "123", "12a"),
        ] {
            assert!(matches(pattern, yes) && !matches(pattern, no), "{pattern}");
        }
    }

    #[test]
    fn a_costly_pattern_is_refused_or_matches_nothing() {
        assert!(Pattern::parse(&"a".repeat(LONGEST)).is_ok());
        for wrong in ["(", "(?<x", "((a{1000}){1000}){1000}", &"a".repeat(LONGEST + 1)] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
        let nested = |groups| "(".repeat(groups) + r"a\(" + &")".repeat(groups);
        assert!(matches(&nested(NESTED), "a("));
        assert!(Pattern::parse(&nested(NESTED + 1)).is_err_and(|text| text.ends_with("16 levels deep")));
        let begin = Instant::now();
        assert!(!matches(r"^(?=(a+)+$)(a+)+\1b$", &"a".repeat(250)));
        assert!(begin.elapsed() < Duration::from_secs(1));
    }
}
