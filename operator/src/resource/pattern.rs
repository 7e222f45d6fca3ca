//! Names with `*` in them, by which a Broker says what a namespace may call its objects.
//!
//! In: patterns; a name, or a regular expression over names. Out: whether it is within them.
//! Does not know about what has the names.
//!
//! These are no regular expressions, although the broker's own permissions are. A pattern here always means the whole
//! name, so that none is too wide because its author forgot an anchor; it takes no more steps than the product of two
//! lengths, whoever wrote it; and a regular expression can be held against it, which two of them cannot in general.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names: one, or with `*`, which stands for any characters and for none, all that look so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NamePattern(#[schemars(length(min = 1, max = 255))] String);

impl NamePattern {
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Every name.
    pub fn any() -> Self {
        Self::new("*")
    }

    /// True if it means `name`. A star takes as little as will do, and more only when what follows does not fit.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut from) = (0, 0);
        let mut star = None;
        while let Some(octet) = name.get(from) {
            match (pattern.get(at), star) {
                (Some(b'*'), _) => {
                    at += 1;
                    star = Some((at, from));
                }
                (Some(wanted), _) if wanted == octet => {
                    at += 1;
                    from += 1;
                }
                (_, Some((after, taken))) => {
                    at = after;
                    from = taken + 1;
                    star = Some((after, from));
                }
                (_, None) => return false,
            }
        }
        pattern
            .get(at..)
            .is_some_and(|rest| rest.iter().all(|octet| *octet == b'*'))
    }

    /// True if it certainly means every name that begins with `^` and what `regex` says.
    fn holds(&self, regex: &str, closed: bool) -> bool {
        let (literal, rest) = literal(regex);
        match self.0.split_once('*') {
            Some((beginning, "")) => literal.starts_with(beginning),
            None => literal == self.0 && (rest == "$" || (closed && rest.is_empty())),
            Some(_) => false,
        }
    }
}

/// True if it is certain that `regex`, as the broker reads it, matches only names that are within one of the patterns.
///
/// Sound and not complete: whatever a broker's regular expressions can do, one that begins with `^` and characters that
/// stand for themselves, and has no alternative on its outer level, matches only what begins with these characters. So
/// a pattern must be a beginning with a `*` after it, or one name and nothing else.
pub fn hold(patterns: &[NamePattern], regex: &str) -> bool {
    if patterns.iter().any(|pattern| pattern.0 == "*") {
        return true;
    }
    let Some(rest) = regex.strip_prefix('^') else {
        return false;
    };
    let within = |regex: &str, closed| patterns.iter().any(|pattern| pattern.holds(regex, closed));
    let group = rest.strip_suffix('$').unwrap_or(rest);
    match group.strip_prefix('(').and_then(|group| group.strip_suffix(')')) {
        // Alternatives with nothing in them that could end the group earlier.
        Some(group) if !group.contains(['(', ')', '[', ']', '#']) && !escapes_letters(group) => {
            let closed = rest.ends_with('$');
            group.split('|').all(|one| within(one, closed))
        }
        _ => !rest.contains('|') && within(rest, false),
    }
}

/// The characters with which everything begins that `regex` matches, and the part after them.
fn literal(regex: &str) -> (String, &str) {
    let mut text = String::new();
    let mut rest = regex;
    loop {
        let mut chars = rest.chars();
        let (found, after) = match chars.next() {
            Some('\\') => match chars.next() {
                // A letter or digit after a backslash stands for something else.
                Some(escaped) if escaped.is_ascii_punctuation() && !"<>".contains(escaped) => (escaped, chars.as_str()),
                _ => return (text, rest),
            },
            Some(plain) if !r".^$|?*+()[]{}".contains(plain) => (plain, chars.as_str()),
            _ => return (text, rest),
        };
        // A character that may be missing, or come again, is none of the beginning.
        if after.starts_with(['?', '*', '+', '{']) {
            return (text, rest);
        }
        text.push(found);
        rest = after;
    }
}

/// True if a letter or digit stands after a backslash: `\Q`, for example, takes the meaning from what follows.
fn escapes_letters(regex: &str) -> bool {
    let mut chars = regex.chars();
    while let Some(next) = chars.next() {
        if next == '\\'
            && chars
                .next()
                .is_none_or(|escaped| escaped.is_ascii_alphanumeric() || escaped == '|')
        {
            return true;
        }
    }
    false
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_the_whole_name() {
        for (pattern, name, expected) in [
            ("shop", "shop", true),
            ("shop", "workshop", false),
            ("shop", "shops", false),
            ("shop.*", "shop.orders", true),
            ("shop.*", "shop.", true),
            ("shop.*", "shopping", false),
            ("*", "", true),
            ("*", "/", true),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "abbc", true),
            ("a*b*c", "acb", false),
            ("*.dead", "x.dead.dead", true),
            ("ü*", "uber", false),
            ("ü*", "über", true),
        ] {
            assert_eq!(NamePattern::new(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = NamePattern::new(&format!("{}b", "*a".repeat(127)));
        let before = std::time::Instant::now();
        assert!(!pattern.matches(&"a".repeat(255)));
        assert!(before.elapsed() < std::time::Duration::from_secs(1));
    }

    #[test]
    fn a_regular_expression_is_held_against_a_pattern() {
        for (pattern, regex, expected) in [
            ("*", "^.*", true),
            ("*", ".*", true),
            ("shop.*", r"^shop\.", true),
            ("shop.*", r"^shop\.orders$", true),
            ("shop.*", r"^shop\.(a|b)$", false),
            ("shop.*", r"^shop\.[ab]+", true),
            ("shop.*", r"shop\.", false),
            ("shop.*", "", false),
            ("shop.*", "^shop.", false),
            ("shop.*", r"^shop\.?", false),
            ("shop.*", r"^shop\.{0}", false),
            ("shop.*", r"^shop\.|.*", false),
            ("shop.*", r"^(shop\.a|shop\.b)$", true),
            ("shop.*", r"^(shop\.a|billing)$", false),
            ("shop.*", r"^(shop\.a|.*)", false),
            ("shop.*", r"^(shop\.a)|(.*)$", false),
            ("shop.*", r"^(shop\.\Qa|\E)", false),
            ("shop.*", r"^(shop\.a|shop\.b)?", false),
            ("shop.*", r"^\Qshop\E\.", false),
            ("shop.*", r"^(?i)shop\.", false),
            ("shop.*", r"^s\hop\.", false),
            ("orders", "^orders$", true),
            ("orders", "^(orders)$", true),
            ("orders", "^(orders)", false),
            ("orders", "^orders", false),
            ("*.shop", r"^a\.shop$", false),
            ("shop.* orders", r"^(shop\.a|orders)$", true),
            ("shop.* orders", r"^(shop\.a|others)$", false),
        ] {
            let patterns: Vec<_> = pattern.split(' ').map(NamePattern::new).collect();
            assert_eq!(hold(&patterns, regex), expected, "{pattern} {regex}");
        }
    }
}
