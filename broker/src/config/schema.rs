//! The table of settings for other programs, such as the operator: what each of them takes, in patterns and numbers.
//!
//! Comes in: the settings. Goes out: the text of docs/settings.json, which a test compares with the file. A value is
//! allowed if it has one of the forms: it matches the pattern, and its number, times the factor of its unit, is within
//! the bounds.

use super::error::Error;
use super::setting::Setting;
use super::values::{
    AnyOf, Count, DiskLimit, Document, Filter, Folder, Kind, LineFile, Most, OneOf, PemFile, SIZES, Size, Switch,
    TIMES, Time, Tree, Watermark,
};
use serde_json::{Value, json};

/// Kinds of values, as other programs may check them.
pub(super) trait Formed: Kind {
    /// The forms that a value may have; none where only the broker knows.
    fn forms(&self) -> Vec<Value>;

    /// The type in a document: `text`, `number or text`, `true or false`, `list of texts`, `table`.
    fn written(&self) -> &'static str {
        "text"
    }
}

/// A number with a unit.
fn with_unit(units: &[(&str, u64)], plain: bool, least: u64, most: u64) -> Value {
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    let optional = if plain { "?" } else { "" };
    let units: serde_json::Map<String, Value> = units
        .iter()
        .map(|(name, factor)| ((*name).to_owned(), json!(factor)))
        .collect();
    json!({
        "pattern": format!("^ *([0-9]+) *({}){optional} *$", names.join("|")),
        "units": units, "least": least, "most": most,
    })
}

fn number(least: u64, most: u64) -> Value {
    json!({ "pattern": "^ *([0-9]+) *$", "least": least, "most": most })
}

fn one_of(words: &[&str]) -> Value {
    json!({ "pattern": format!("^({})$", words.join("|")) })
}

impl Formed for Count {
    fn forms(&self) -> Vec<Value> {
        vec![number(self.0, self.1)]
    }

    fn written(&self) -> &'static str {
        "number or text"
    }
}

impl Formed for Most {
    fn forms(&self) -> Vec<Value> {
        let mut forms = Self::NUMBERS.forms();
        forms.push(one_of(&["infinity"]));
        forms
    }

    fn written(&self) -> &'static str {
        "number or text"
    }
}

impl Formed for Switch {
    fn forms(&self) -> Vec<Value> {
        vec![one_of(&["true", "false"])]
    }

    fn written(&self) -> &'static str {
        "true or false"
    }
}

impl Formed for Size {
    fn forms(&self) -> Vec<Value> {
        vec![with_unit(&SIZES, true, self.0, self.1)]
    }

    fn written(&self) -> &'static str {
        "number or text"
    }
}

impl Formed for Time {
    fn forms(&self) -> Vec<Value> {
        vec![with_unit(&TIMES, false, self.0, self.1)]
    }
}

impl Formed for Watermark {
    fn forms(&self) -> Vec<Value> {
        let mut forms = Self::SIZES.forms();
        let mut share = with_unit(&[("%", 1)], false, Self::PERCENT.0, Self::PERCENT.1);
        share["allowed"] = json!(allowed(self, "0%"));
        forms.push(share);
        forms
    }
}

impl Formed for DiskLimit {
    fn forms(&self) -> Vec<Value> {
        let mut forms = Self::with_segments(0).forms();
        // The one bound that depends on another setting.
        forms
            .iter_mut()
            .for_each(|form| form["least"] = json!({ "times": 3, "of": "segment_size" }));
        forms
    }

    fn written(&self) -> &'static str {
        "number or text"
    }
}

impl Formed for OneOf {
    fn forms(&self) -> Vec<Value> {
        vec![one_of(self.0)]
    }
}

impl Formed for AnyOf {
    fn forms(&self) -> Vec<Value> {
        vec![one_of(self.0)]
    }

    fn written(&self) -> &'static str {
        "list of texts"
    }
}

impl Formed for Tree {
    fn forms(&self) -> Vec<Value> {
        Vec::new()
    }

    fn written(&self) -> &'static str {
        "table"
    }
}

impl Formed for Filter {
    fn forms(&self) -> Vec<Value> {
        Vec::new()
    }
}

impl Formed for Folder {
    fn forms(&self) -> Vec<Value> {
        Vec::new()
    }
}

impl Formed for Document {
    fn forms(&self) -> Vec<Value> {
        Vec::new()
    }
}

impl Formed for PemFile {
    fn forms(&self) -> Vec<Value> {
        Vec::new()
    }
}

impl Formed for LineFile {
    fn forms(&self) -> Vec<Value> {
        Vec::new()
    }
}

/// The end of the refusal of a text.
fn allowed<K: Kind>(kind: &K, text: &str) -> Option<String> {
    match kind.parse("", text) {
        Err(Error::Value { allowed, .. }) => Some(allowed),
        _ => None,
    }
}

/// One setting.
pub(super) fn row<K: Formed>(setting: &Setting<K>) -> Value {
    json!({
        "key": setting.key, "about": setting.about, "default": setting.default_words, "live": setting.live,
        "range": setting.kind.range(), "allowed": allowed(&setting.kind, "\u{0}"), "written": setting.kind.written(),
        "forms": setting.kind.forms(),
    })
}
