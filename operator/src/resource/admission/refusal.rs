//! One thing that is wrong with a manifest: where, and what, in the words of the API server.
//!
//! In: paths and values. Out: `Refusal`. Does not know about schemas.

use std::fmt;

use serde_json::Value;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Keys from the root to the place; one in a list is like `[0]`.
    pub path: Vec<String>,
    fault: Fault,
}

/// Kinds of faults. With all but the last no CEL rule is evaluated: rules may rely on types and on what is required.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    /// A field that does not exist, and one that was probably meant.
    Unknown(Option<String>),
    Required(&'static str),
    /// Wrong type, not one of the values, too long.
    Blocking(String),
    Invalid(String),
}

impl Refusal {
    fn new(path: &[impl ToString], fault: Fault) -> Self {
        Self {
            path: path.iter().map(ToString::to_string).collect(),
            fault,
        }
    }

    /// A field that does not exist, with those that do.
    pub(super) fn unknown<'a>(path: &[String], known: impl Iterator<Item = &'a str>) -> Self {
        let key = path.last().map(String::as_str).unwrap_or_default();
        Self::new(path, Fault::Unknown(nearest(key, known)))
    }

    /// A field that is not there; `why` may be empty.
    pub(super) fn required(path: &[impl ToString], why: &'static str) -> Self {
        Self::new(path, Fault::Required(why))
    }

    pub(super) fn blocking(path: &[impl ToString], message: String) -> Self {
        Self::new(path, Fault::Blocking(message))
    }

    pub(super) fn invalid(path: &[impl ToString], message: String) -> Self {
        Self::new(path, Fault::Invalid(message))
    }

    /// The API server evaluates no CEL rule of an object with this fault.
    pub(super) fn blocks_rules(&self) -> bool {
        !matches!(self.fault, Fault::Invalid(_))
    }

    /// Keys of the place in the text that this is about: a field that is not there has none.
    pub fn place(&self) -> &[String] {
        match (&self.fault, self.path.split_last()) {
            (Fault::Required(_), Some((_, parent))) => parent,
            _ => &self.path,
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = joined(&self.path);
        let message = match &self.fault {
            Fault::Unknown(None) => return write!(f, "unknown field \"{path}\""),
            Fault::Unknown(Some(meant)) => return write!(f, "unknown field \"{path}\"; did you mean {meant}?"),
            Fault::Required("") => "Required value",
            Fault::Required(why) => return write!(f, "{path}: Required value: {why}"),
            Fault::Blocking(message) | Fault::Invalid(message) => message,
        };
        if path.is_empty() {
            f.write_str(message)
        } else {
            write!(f, "{path}: {message}")
        }
    }
}

/// A path as the API server writes it: `spec.tolerations[0].key`.
pub(super) fn joined(path: &[String]) -> String {
    path.iter().fold(String::new(), |mut joined, key| {
        if !joined.is_empty() && !key.starts_with('[') {
            joined.push('.');
        }
        joined.push_str(key);
        joined
    })
}

/// A value as the API server repeats it.
pub(super) fn shown(value: &Value) -> String {
    value.to_string()
}

/// The one of `known` that was probably meant by `key`.
fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let (distance, name) = known.map(|name| (distance(key, name), name)).min()?;
    (distance <= 1 + key.len() / 4).then(|| name.to_owned())
}

/// Insertions, deletions and substitutions between two words, without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, (y, window)) in b.iter().zip(row.windows(2)).enumerate() {
            let (&[diagonal, above], Some(&left)) = (window, next.get(j)) else {
                continue;
            };
            next.push((above + 1).min(left + 1).min(diagonal + usize::from(x != y)));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
