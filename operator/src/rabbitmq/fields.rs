//! A table of which every field is taken, or told at the end.
//!
//! In: a JSON object. Out: its fields one by one, and a remark on each that nobody asked for. Does not know about what
//! the fields mean.

use serde_json::{Map, Value};

use super::translation::Remark;

/// Reads the fields of an object into those of a spec.
pub(super) type Read = fn(&mut Fields) -> Map<String, Value>;

/// The fields of a table that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Fields {
    /// Keys that lead to the table.
    within: Vec<String>,
    left: Map<String, Value>,
    remarks: Vec<Remark>,
}

impl Fields {
    /// The fields of a table.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn of(value: Value) -> Result<Self, Remark> {
        match value {
            Value::Object(left) => Ok(Self::at(Vec::new(), left)),
            other => Err(Remark::whole(format!("is no table but {}", shown(&other)))),
        }
    }

    fn at(within: Vec<String>, left: Map<String, Value>) -> Self {
        Self {
            within,
            left,
            remarks: Vec::new(),
        }
    }

    /// Takes a field; nothing and `null` are the same.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a text. Another value is remarked on, and an empty text is none.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => (!text.is_empty()).then_some(text),
            other => self.refuse(name, &other, "a text"),
        }
    }

    /// Takes a switch that is off unless it is there. Another value is remarked on.
    pub(super) fn is_on(&mut self, name: &str) -> bool {
        match self.take(name) {
            Some(Value::Bool(on)) => on,
            Some(other) => self.refuse(name, &other, "true or false").unwrap_or_default(),
            None => false,
        }
    }

    /// Takes a table, and has its fields read.
    pub(super) fn inside<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields) -> T) -> Option<T> {
        match self.take(name)? {
            Value::Object(left) => {
                let within = [self.within.as_slice(), &[name.to_owned()]].concat();
                let mut fields = Self::at(within, left);
                let answer = read(&mut fields);
                self.remarks.extend(fields.finish());
                Some(answer)
            }
            // Erlang cannot tell an empty table from an empty list.
            Value::Array(items) if items.is_empty() => None,
            other => self.refuse(name, &other, "a table"),
        }
    }

    /// Takes a list with a single table in it, which is how Terraform keeps a block, and has its fields read.
    pub(super) fn block<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields) -> T) -> Option<T> {
        if let Some(Value::Array(items)) = self.left.get_mut(name)
            && items.len() == 1
        {
            let item = items.pop().unwrap_or_default();
            self.left.insert(name.to_owned(), item);
        }
        self.inside(name, read)
    }

    /// As [`Fields::block`], where there may be several.
    pub(super) fn blocks(&mut self, name: &str, mut read: impl FnMut(&mut Fields)) {
        let items = match self.take(name) {
            Some(Value::Array(items)) => items,
            Some(other) => vec![other],
            None => Vec::new(),
        };
        for item in items {
            self.left.insert(name.to_owned(), item);
            self.inside(name, &mut read);
        }
    }

    /// Takes a table whose fields are the user's own.
    pub(super) fn table(&mut self, name: &str) -> Map<String, Value> {
        let all = self.inside(name, |fields| std::mem::take(&mut fields.left));
        all.unwrap_or_default()
    }

    /// Copies fields as they are into a spec, under their names there. Their values are checked by its schema.
    pub(super) fn carry(&mut self, spec: &mut Map<String, Value>, names: &[(&str, &str)]) {
        for (theirs, ours) in names {
            if let Some(value) = self.take(theirs) {
                spec.insert((*ours).to_owned(), value);
            }
        }
    }

    /// Takes a field that there is no counterpart for. Values by which nothing changes need no word.
    pub(super) fn leave_out(&mut self, name: &str, changes_nothing: impl FnOnce(&Value) -> bool, why: &str) {
        if self.take(name).is_some_and(|value| !changes_nothing(&value)) {
            self.remark(name, why);
        }
    }

    /// Takes a field that says nothing of the object.
    pub(super) fn pass_over(&mut self, names: &[&str]) {
        for name in names {
            self.left.remove(*name);
        }
    }

    pub(super) fn remark(&mut self, field: &str, why: impl Into<String>) {
        let names = field.split('.').map(str::to_owned);
        self.remarks.push(Remark {
            field: self.within.iter().cloned().chain(names).collect(),
            why: why.into(),
        });
    }

    fn refuse<T>(&mut self, name: &str, value: &Value, wanted: &str) -> Option<T> {
        self.remark(name, format!("is {} and not {wanted}", shown(value)));
        None
    }

    /// The remarks, with one on each field that nobody has taken.
    pub(super) fn finish(mut self) -> Vec<Remark> {
        let unknown: Vec<String> = std::mem::take(&mut self.left)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        for name in unknown {
            let field = self.within.iter().cloned().chain([name]).collect();
            let why = "is not known here, and left out".to_owned();
            self.remarks.push(Remark { field, why });
        }
        self.remarks
    }
}

/// A value in a few words.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "a table".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) if text.chars().count() > 60 => "a long text".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(remarks: Vec<Remark>) -> Vec<String> {
        let lines = remarks.into_iter();
        lines
            .map(|remark| format!("{}: {}", remark.field.join("."), remark.why))
            .collect()
    }

    #[test]
    fn a_field_that_nobody_takes_is_told() {
        let table = json!({"a": 1, "b": {"c": true, "d.e": 2}, "f": null, "g": [{"h": "i"}]});
        let mut fields = Fields::of(table).expect("a table");
        assert_eq!(fields.take("a"), Some(json!(1)));
        assert_eq!(fields.inside("b", |fields| fields.is_on("c")), Some(true));
        assert_eq!(fields.block("g", |fields| fields.text("h")), Some(Some("i".to_owned())));
        assert_eq!(fields.take("f"), None);
        assert_eq!(said(fields.finish()), ["b.d.e: is not known here, and left out"]);
    }

    #[test]
    fn a_value_of_another_type_is_told() {
        let mut fields = Fields::of(json!({"a": 1, "b": "yes", "c": 2, "d": []})).expect("a table");
        assert_eq!((fields.text("a"), fields.is_on("b")), (None, false));
        assert_eq!(fields.inside("c", |_| ()), None);
        assert!(fields.table("d").is_empty());
        assert_eq!(
            said(fields.finish()),
            [
                "a: is 1 and not a text",
                "b: is \"yes\" and not true or false",
                "c: is 2 and not a table"
            ]
        );
    }
}
