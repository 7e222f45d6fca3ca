//! A value checked against the schema of a CRD, and completed with its defaults.
//!
//! In: a schema and a value. Out: the value as the API server would store it, and refusals.
//! Does not know about CEL rules.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Map, Number, Value};

use super::refusal::{Refusal, joined, shown};

/// A walk through schema and value side by side.
#[derive(Default)]
pub(super) struct Walk {
    path: Vec<String>,
    pub(super) refusals: Vec<Refusal>,
}

impl Walk {
    /// The value with defaults and without nulls.
    pub(super) fn value(&mut self, schema: &Value, value: &Value) -> Value {
        if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
            match value {
                Value::String(text) => self.check_text(schema, text),
                value if integer(value).is_some() => {}
                value => self.refuse_type("integer,string", value),
            }
            return value.clone();
        }
        let expected = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        let admitted = match (expected, value) {
            ("object", Value::Object(fields)) => return self.object(schema, fields),
            ("array", Value::Array(items)) => return self.array(schema, items),
            ("string", Value::String(text)) => {
                self.check_text(schema, text);
                value.clone()
            }
            ("boolean", Value::Bool(_)) | ("", _) => value.clone(),
            ("integer", Value::Number(number)) => match integer(value) {
                Some(whole) => {
                    self.check_range(schema, number);
                    Value::from(whole)
                }
                None => {
                    self.refuse_fraction(schema, value);
                    value.clone()
                }
            },
            ("number", Value::Number(number)) => {
                self.check_range(schema, number);
                value.clone()
            }
            (expected, value) => {
                self.refuse_type(expected, value);
                value.clone()
            }
        };
        self.check_enum(schema, value);
        admitted
    }

    /// Checks what is at `key`.
    fn below<T>(&mut self, key: String, check: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key);
        let result = check(self);
        self.path.pop();
        result
    }

    fn array(&mut self, schema: &Value, items: &[Value]) -> Value {
        let most = schema.get("maxItems").and_then(Value::as_u64);
        let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
        if let Some(most) = most.filter(|most| count > *most) {
            self.block(format!("Too many: {count}: must have at most {most} items"));
        }
        let least = schema.get("minItems").and_then(Value::as_u64);
        if let Some(least) = least.filter(|least| count < *least) {
            self.refuse(&Value::from(count), &format!("should have at least {least} items"));
        }
        let Some(each) = schema.get("items") else {
            return Value::Array(items.to_vec());
        };
        let admitted = items
            .iter()
            .enumerate()
            .map(|(index, item)| self.below(format!("[{index}]"), |walk| walk.value(each, item)));
        let admitted: Vec<Value> = admitted.collect();
        self.check_keys(schema, &admitted);
        Value::Array(admitted)
    }

    /// Items of a list that is a map have other keys than those before them.
    fn check_keys(&mut self, schema: &Value, items: &[Value]) {
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        let Some(keys) = keys else { return };
        let mut known = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let key = |key: &Value| Some((key.as_str()?.to_owned(), item.get(key.as_str()?)?.clone()));
            let shown = Value::Object(keys.iter().filter_map(key).collect()).to_string();
            if !known.insert(shown.clone()) {
                self.below(format!("[{index}]"), |walk| {
                    walk.block(format!("Duplicate value: {shown}"))
                });
            }
        }
    }

    fn object(&mut self, schema: &Value, fields: &Map<String, Value>) -> Value {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let keeps_unknown = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        // Every object has these; a CRD need not repeat them.
        let is_root = self.path.is_empty();
        let is_of_every_object = |name: &str| is_root && (name == "apiVersion" || name == "kind");
        let mut admitted = Map::new();
        for (name, value) in fields {
            match properties.get(name).or(others) {
                // The API server drops a null where the schema does not allow it.
                Some(_) if value.is_null() => {}
                Some(schema) => {
                    let value = self.below(name.clone(), |walk| walk.value(schema, value));
                    admitted.insert(name.clone(), value);
                }
                None if keeps_unknown || is_of_every_object(name) => {
                    admitted.insert(name.clone(), value.clone());
                }
                None => self.below(name.clone(), |walk| {
                    let known = properties.keys().map(String::as_str);
                    walk.refusals.push(Refusal::unknown(&walk.path, known));
                }),
            }
        }
        for (name, schema) in properties {
            let Some(default) = schema.get("default").filter(|_| !admitted.contains_key(name)) else {
                continue;
            };
            let default = self.below(name.clone(), |walk| walk.value(schema, default));
            admitted.insert(name.clone(), default);
        }
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !admitted.contains_key(name) {
                self.below(name.to_owned(), |walk| {
                    walk.refusals.push(Refusal::required(&walk.path, ""));
                });
            }
        }
        Value::Object(admitted)
    }

    fn block(&mut self, message: String) {
        self.refusals.push(Refusal::blocking(&self.path, message));
    }

    fn refuse(&mut self, given: &Value, message: &str) {
        let message = format!(
            "Invalid value: {}: {} in body {message}",
            shown(given),
            joined(&self.path)
        );
        self.refusals.push(Refusal::invalid(&self.path, message));
    }

    fn refuse_type(&mut self, expected: &str, value: &Value) {
        self.refuse_types(expected, type_of(value));
    }

    /// A number that is no integer: the API server names the type of its own language where the schema has a format.
    fn refuse_fraction(&mut self, schema: &Value, value: &Value) {
        match schema.get("format").and_then(Value::as_str) {
            Some(format) => self.refuse_types(format, "float64"),
            None => self.refuse_type("integer", value),
        }
    }

    fn refuse_types(&mut self, expected: &str, found: &str) {
        let path = joined(&self.path);
        self.block(format!(
            "Invalid value: \"{found}\": {path} in body must be of type {expected}: \"{found}\""
        ));
    }

    fn check_text(&mut self, schema: &Value, text: &str) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
        let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        let given = Value::from(text);
        if let Some(least) = bound("minLength").filter(|least| length < *least) {
            self.refuse(&given, &format!("should be at least {least} chars long"));
        }
        if let Some(most) = bound("maxLength").filter(|most| length > *most) {
            self.block(format!("Too long: may not be more than {most} bytes"));
        }
        let pattern = schema.get("pattern").and_then(Value::as_str);
        if let Some(pattern) = pattern
            && Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(text))
        {
            self.refuse(&given, &format!("should match '{pattern}'"));
        }
    }

    fn check_range(&mut self, schema: &Value, number: &Number) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let Some(value) = number.as_f64() else { return };
        let given = Value::Number(number.clone());
        if let Some(least) = bound("minimum").filter(|least| value < *least) {
            self.refuse(&given, &format!("should be greater than or equal to {least}"));
        }
        if let Some(most) = bound("maximum").filter(|most| value > *most) {
            self.refuse(&given, &format!("should be less than or equal to {most}"));
        }
    }

    fn check_enum(&mut self, schema: &Value, value: &Value) {
        let Some(allowed) = schema.get("enum").and_then(Value::as_array) else {
            return;
        };
        if !allowed.contains(value) {
            let allowed: Vec<String> = allowed.iter().map(shown).collect();
            let given = shown(value);
            self.block(format!(
                "Unsupported value: {given}: supported values: {}",
                allowed.join(", ")
            ));
        }
    }
}

/// The value as an integer. `1.0` counts as one, as it does for the API server.
fn integer(value: &Value) -> Option<i64> {
    /// Beyond this not every integer is a double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = |number: &f64| number.fract() == 0.0 && number.abs() <= EXACT;
    let from_double = || value.as_f64().filter(whole).map(|number| number as i64);
    value.as_i64().or_else(from_double)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
