//! YAML that everybody reads the same: kubectl, Helm, Argo CD and Flux read YAML 1.1, others 1.2, and where the two
//! differ a word such as `no` is a text to the one and `false` to the other.
//!
//! In: values to write; words that somebody has written without quotes. Out: YAML in which nothing can be mistaken; how
//! such a word is read. Does not know about kinds or files.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

/// The meaning of a word that stands without quotes.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    Text,
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    /// Something that no manifest has: a date, a merge of maps.
    Other(&'static str),
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Meaning::Text => f.write_str("a text"),
            Meaning::Null => f.write_str("null"),
            Meaning::Bool(value) => write!(f, "{value}"),
            Meaning::Integer(value) => write!(f, "the number {value}"),
            Meaning::Float(value) => write!(f, "the number {value}"),
            Meaning::Other(what) => f.write_str(what),
        }
    }
}

/// The meanings of a word that is read differently: by YAML 1.1, and by YAML 1.2. `None` when all read the same.
pub fn difference(word: &str) -> Option<(Meaning, Meaning)> {
    let new = by_1_2(word);
    let differs = |old: Meaning| (old != new).then_some(old);
    differs(by_1_1(word))
        .or_else(|| differs(by_go(word)))
        .map(|old| (old, new))
}

struct Words {
    integer: Regex,
    float: Regex,
    clock: Regex,
    date: Regex,
    go_float: Regex,
}

/// The patterns of YAML 1.1's types, as PyYAML has them, and those of Go's package, which kubectl is built with.
static WORDS: LazyLock<Option<Words>> = LazyLock::new(|| {
    let whole = |pattern: &str| Regex::new(&format!("^(?:{pattern})$"));
    let words = || {
        Ok::<_, regex::Error>(Words {
            integer: whole(r"[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+")?,
            float: whole(r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?")?,
            clock: whole(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")?,
            date: whole(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:.*)?")?,
            go_float: whole(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")?,
        })
    };
    words().ok()
});

/// Words that are the same in both versions.
fn common(word: &str) -> Option<Meaning> {
    Some(match word {
        "" | "~" | "null" | "Null" | "NULL" => Meaning::Null,
        "true" | "True" | "TRUE" => Meaning::Bool(true),
        "false" | "False" | "FALSE" => Meaning::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Meaning::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Meaning::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => Meaning::Other("not a number"),
        _ => return None,
    })
}

/// Words for true and false that only YAML 1.1 has.
fn old_switch(word: &str) -> Option<Meaning> {
    Some(Meaning::Bool(match word {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => true,
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => false,
        _ => return None,
    }))
}

/// YAML 1.1's types (yaml.org/type).
fn by_1_1(word: &str) -> Meaning {
    if let Some(meaning) = common(word).or_else(|| old_switch(word)) {
        return meaning;
    }
    let Some(words) = WORDS.as_ref() else {
        return Meaning::Other("unknown");
    };
    let plain = word.replace('_', "");
    match word {
        "<<" => Meaning::Other("a merge of maps"),
        "=" => Meaning::Other("a default value"),
        word if words.integer.is_match(word) => integer(&plain, |digits| {
            let octal = digits.len() > 1 && digits.starts_with('0');
            octal.then(|| i128::from_str_radix(digits, 8).ok())
        }),
        word if words.float.is_match(word) => float(&plain),
        word if words.clock.is_match(word) => Meaning::Other("a number to the base of 60"),
        word if words.date.is_match(word) => Meaning::Other("a date"),
        _ => Meaning::Text,
    }
}

/// Go's package, which knows a little of both versions.
fn by_go(word: &str) -> Meaning {
    if let Some(meaning) = common(word).or_else(|| old_switch(word)) {
        return meaning;
    }
    let Some(words) = WORDS.as_ref() else {
        return Meaning::Other("unknown");
    };
    if word == "<<" {
        return Meaning::Other("a merge of maps");
    }
    let plain = word.replace('_', "");
    let begins_a_number = word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    if !begins_a_number {
        return Meaning::Text;
    }
    let number = integer(&plain, |digits| {
        let old = digits.len() > 1 && digits.starts_with('0');
        let octal = digits.strip_prefix("0o").or(old.then_some(digits))?;
        Some(i128::from_str_radix(octal, 8).ok())
    });
    match number {
        Meaning::Text if words.go_float.is_match(&plain) => float(&plain),
        number => number,
    }
}

/// YAML 1.2's core schema.
fn by_1_2(word: &str) -> Meaning {
    if let Some(meaning) = common(word) {
        return meaning;
    }
    let Some(words) = WORDS.as_ref() else {
        return Meaning::Other("unknown");
    };
    let number = integer(word, |digits| {
        digits
            .strip_prefix("0o")
            .map(|octal| i128::from_str_radix(octal, 8).ok())
    });
    match number {
        // It has no numbers to the base of two.
        _ if word.contains("0b") => Meaning::Text,
        Meaning::Text if words.go_float.is_match(word) => float(word),
        number => number,
    }
}

/// A whole number with a sign, to the base that its prefix says; `octal` reads one to the base of eight.
fn integer(word: &str, octal: impl Fn(&str) -> Option<Option<i128>>) -> Meaning {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    };
    let based = |prefix: &str, base| {
        digits
            .strip_prefix(prefix)
            .map(|digits| i128::from_str_radix(digits, base).ok())
    };
    let decimal = || digits.parse::<i128>().ok();
    let value = match based("0x", 16).or_else(|| based("0b", 2)).or_else(|| octal(digits)) {
        Some(value) => value,
        None => decimal(),
    };
    // `from_str_radix` takes another sign.
    let is_signed = digits.contains(['-', '+']);
    match value {
        Some(value) if !is_signed => Meaning::Integer(sign * value),
        _ => Meaning::Text,
    }
}

fn float(word: &str) -> Meaning {
    word.parse().map_or(Meaning::Text, Meaning::Float)
}

/// A document that every reader takes for the same value.
pub fn document(value: &Value) -> String {
    let mut text = "---\n".to_owned();
    match value {
        Value::Object(map) if !map.is_empty() => entries(&mut text, map, 0),
        Value::Array(items) if !items.is_empty() => list(&mut text, items, 0),
        value => {
            text.push_str(&scalar(value));
            text.push('\n');
        }
    }
    text
}

fn entries(text: &mut String, map: &Map<String, Value>, indent: usize) {
    for (index, (key, value)) in map.iter().enumerate() {
        // The first entry of a list's item stands on the line of its dash.
        if index > 0 || !text.ends_with("- ") {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str(&word(key));
        text.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                text.push('\n');
                entries(text, map, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                list(text, items, indent);
            }
            value => {
                text.push(' ');
                text.push_str(&scalar(value));
                text.push('\n');
            }
        }
    }
}

fn list(text: &mut String, items: &[Value], indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !text.ends_with("- ") {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => entries(text, map, indent + 2),
            Value::Array(items) if !items.is_empty() => list(text, items, indent + 2),
            item => {
                text.push_str(&scalar(item));
                text.push('\n');
            }
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => written(&number.to_string()),
        Value::String(text) => word(text),
        // Only empty ones come here.
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
    }
}

/// A number as both versions read it: with a point, and a sign before the exponent.
fn written(number: &str) -> String {
    let Some((mantissa, exponent)) = number.split_once(['e', 'E']) else {
        return number.to_owned();
    };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
    format!("{mantissa}{point}e{sign}{exponent}")
}

/// A text, quoted unless nobody can take it for something else.
fn word(text: &str) -> String {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_./-#*+@".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_/.".contains(c));
    let is_text = [by_1_1, by_1_2, by_go].iter().all(|read| read(text) == Meaning::Text);
    // `...` ends a document.
    if begins && text.chars().all(inner) && is_text && !text.starts_with("...") {
        return text.to_owned();
    }
    quoted(text)
}

/// In double quotes, with the escapes that JSON and both versions have in common. What YAML doesn't count as printable
/// is escaped.
fn quoted(text: &str) -> String {
    let json = Value::String(text.to_owned()).to_string();
    let mut quoted = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted
}

#[cfg(test)]
mod tests;
