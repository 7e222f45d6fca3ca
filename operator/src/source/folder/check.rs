//! Checks a manifest as the API server would: types, limits, unknown keys, and the CEL rules of the CRDs.
//!
//! In: the schema of a CRD and a value. Out: what is wrong, by path, in the words of the CRD. Does not know about files.
//!
//! There is no CEL interpreter here. The rules are few and are recognized by their text; a test fails when a CRD has a
//! rule that is not known here.

use serde_json::{Map, Value};

/// Something wrong in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Keys from the root to the place.
    pub path: Vec<String>,
    pub message: String,
}

/// Checks `value` against `schema`. Rules that compare with an older version of the object are not for files.
pub fn check(schema: &Value, value: &Value) -> Vec<Fault> {
    let mut checker = Checker {
        path: Vec::new(),
        faults: Vec::new(),
    };
    checker.value(schema, value);
    checker.faults
}

struct Checker {
    path: Vec<String>,
    faults: Vec<Fault>,
}

impl Checker {
    fn fault(&mut self, message: String) {
        self.faults.push(Fault {
            path: self.path.clone(),
            message,
        });
    }

    fn value(&mut self, schema: &Value, value: &Value) {
        if !self.has_type(schema, value) {
            return;
        }
        let before = self.faults.len();
        self.limits(schema, value);
        match value {
            Value::Object(map) => self.object(schema, map),
            Value::Array(items) => {
                if let Some(schema) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        self.path.push(index.to_string());
                        self.value(schema, item);
                        self.path.pop();
                    }
                }
            }
            _ => {}
        }
        // Rules may rely on the types; the API server skips them too when something below is wrong.
        if self.faults.len() == before {
            self.rules(schema, value);
        }
    }

    fn has_type(&mut self, schema: &Value, value: &Value) -> bool {
        if schema.get("x-kubernetes-int-or-string").is_some() {
            let fits = value.is_i64() || value.is_u64() || value.is_string();
            if !fits {
                self.fault(format!("must be an integer or a string, is {}", type_of(value)));
            }
            return fits;
        }
        let Some(wanted) = schema.get("type").and_then(Value::as_str) else {
            return true;
        };
        let found = type_of(value);
        let fits = found == wanted || (wanted == "number" && found == "integer");
        if !fits {
            self.fault(format!("must be of type {wanted}, is {found}"));
        }
        fits
    }

    fn limits(&mut self, schema: &Value, value: &Value) {
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
            && !allowed.contains(value)
        {
            let allowed: Vec<String> = allowed.iter().map(show).collect();
            self.fault(format!("must be one of {}, is {}", allowed.join(", "), show(value)));
        }
        let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
        let length = value.as_str().map(|text| text.chars().count() as f64);
        for (measure, least, most, unit) in [
            (length, "minLength", "maxLength", " characters"),
            (value.as_f64(), "minimum", "maximum", ""),
        ] {
            let Some(measure) = measure else { continue };
            match (limit(least), limit(most)) {
                (Some(least), _) if measure < least => self.fault(format!("must be at least {least}{unit}")),
                (_, Some(most)) if measure > most => self.fault(format!("must be at most {most}{unit}")),
                _ => {}
            }
        }
    }

    fn object(&mut self, schema: &Value, map: &Map<String, Value>) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let additional = schema.get("additionalProperties");
        let open = is_true(schema, "x-kubernetes-preserve-unknown-fields") || properties.is_none();
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let name = required.as_str().unwrap_or_default();
            if !map.contains_key(name) {
                self.fault(format!("{name} is missing"));
            }
        }
        for (key, value) in map {
            self.path.push(key.clone());
            match (properties.and_then(|properties| properties.get(key)), additional) {
                (Some(schema), _) | (None, Some(schema)) => self.value(schema, value),
                (None, None) if open => {}
                (None, None) => {
                    let names = properties.into_iter().flat_map(Map::keys);
                    self.fault(unknown(key, names));
                }
            }
            self.path.pop();
        }
    }

    fn rules(&mut self, schema: &Value, value: &Value) {
        for rule in schema
            .get("x-kubernetes-validations")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let text = rule.get("rule").and_then(Value::as_str).unwrap_or_default();
            if evaluate(text, value) == Some(false) {
                let message = rule.get("message").and_then(Value::as_str).unwrap_or(text);
                self.fault(message.to_owned());
            }
        }
    }
}

/// The message about a key that does not exist, with the nearest one that does.
pub fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a String>) -> String {
    let nearest = known.map(|name| (distance(key, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 1 + key.len() / 4 => format!("unknown key; did you mean {name}?"),
        _ => "unknown key".to_owned(),
    }
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

fn is_true(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool) == Some(true)
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

fn show(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The truth of a rule; `None` for one that is not known.
fn evaluate(rule: &str, value: &Value) -> Option<bool> {
    if rule.contains("oldSelf") {
        return Some(true);
    }
    if let Some((field, argument)) = shorthand(rule) {
        let has_field = field.is_empty() || has(value, &[field]);
        return Some(!(has_field && has(value, &["arguments", &argument])));
    }
    let text = value.as_str().unwrap_or_default();
    let is = |field: &str, wanted: &str| value.get(field).and_then(Value::as_str) == Some(wanted);
    let of_rule = |before: &str| rule.strip_prefix(before).and_then(|rest| rest.strip_suffix(')'));
    if let Some(field) = of_rule("self.engine != 'External' || !has(self.") {
        return Some(!is("engine", "External") || !has(value, &[field]));
    }
    if let Some(key) = of_rule("!has(self.settings) || !has(self.settings.") {
        return Some(!has(value, &["settings", key]));
    }
    Some(match rule {
        r"size(bytes(self)) <= 255 && !self.contains('\n') && !self.contains('\r')" => {
            text.len() <= 255 && !text.contains(['\n', '\r'])
        }
        "self.matches('^([0-9]{1,12}(ms|s|m|h|d))+$')" => is_period(text),
        "self == 'Refuse'" => text == "Refuse",
        "self != ''" => !text.is_empty(),
        "self != '/'" => text != "/",
        "self.all(tag, tag.matches('^[^,\\\\s]+$'))" => {
            let bad = |tag: &Value| tag.as_str().is_none_or(|tag| tag.contains([',', ' ', '\t', '\n']));
            !value.as_array().into_iter().flatten().any(bad)
        }
        "!self.startsWith('amq.')" => !text.starts_with("amq."),
        "has(self.spec.name) || !self.metadata.name.startsWith('amq.')" => {
            let name = value
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            has(value, &["spec", "name"]) || !name.starts_with("amq.")
        }
        "self in ['direct', 'fanout', 'topic', 'headers'] || self.startsWith('x-')" => {
            ["direct", "fanout", "topic", "headers"].contains(&text) || text.starts_with("x-")
        }
        "has(self.queue) != has(self.exchange)" => has(value, &["queue"]) != has(value, &["exchange"]),
        "self.engine != 'External' || has(self.external)" => !is("engine", "External") || has(value, &["external"]),
        "self.engine == 'External' || !has(self.external)" => is("engine", "External") || !has(value, &["external"]),
        "!has(self.tls) || !has(self.tls.clientAuth) || self.tls.plain != 'Disabled'" => {
            let plain = value.pointer("/tls/plain").and_then(Value::as_str);
            !has(value, &["tls", "clientAuth"]) || plain != Some("Disabled")
        }
        "self.spec.engine != 'Leveret' || (size(self.metadata.name) <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$'))" =>
        {
            let at = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default();
            at("/spec/engine") != "Leveret" || is_service_name(at("/metadata/name"))
        }
        "(self.from == 'Selector') == has(self.selector)" => is("from", "Selector") == has(value, &["selector"]),
        r"self.matches('^amqps?://[^@/?#\\s]+/?$')" => is_uri(text, &["amqp://", "amqps://"], false),
        r"self.matches('^https?://[^@/?#\\s]+(/[^@?#\\s]*)?$')" => is_uri(text, &["http://", "https://"], true),
        _ => return None,
    })
}

/// `!has(self.FIELD) || !has(self.arguments) || !has(self.arguments.ARGUMENT)`, FIELD being optional.
fn shorthand(rule: &str) -> Option<(&str, String)> {
    let (before, argument) = rule.split_once("!has(self.arguments) || !has(self.arguments.")?;
    let field = before.trim_start_matches("!has(self.").trim_end_matches(") || ");
    let argument = argument
        .strip_suffix(')')?
        .replace("__dash__", "-")
        .replace("__dot__", ".");
    Some((field, argument))
}

fn has(value: &Value, path: &[&str]) -> bool {
    let end = path.iter().try_fold(value, |value, key| value.get(key));
    end.is_some_and(|end| !end.is_null())
}

fn is_period(text: &str) -> bool {
    !text.is_empty() && crate::resource::Period(text.to_owned()).millis().is_ok()
}

fn is_service_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 50
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(inner)
        && !name.ends_with('-')
}

fn is_uri(text: &str, schemes: &[&str], with_path: bool) -> bool {
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let bad = |c: char| c.is_whitespace() || "@?#".contains(c);
        !host.is_empty() && !rest.contains(bad) && (with_path || path.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn collect_rules(value: &Value, rules: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for rule in map
                    .get("x-kubernetes-validations")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    rules.push(rule["rule"].as_str().unwrap().to_owned());
                }
                map.values().for_each(|value| collect_rules(value, rules));
            }
            Value::Array(items) => items.iter().for_each(|value| collect_rules(value, rules)),
            _ => {}
        }
    }

    #[test]
    fn every_rule_of_the_crds_is_known() {
        let mut rules = Vec::new();
        for crd in crate::resource::crds() {
            collect_rules(&serde_json::to_value(&crd).unwrap(), &mut rules);
        }
        assert!(rules.len() > 30, "{}", rules.len());
        for rule in rules {
            assert!(evaluate(&rule, &json!({})).is_some(), "no meaning for: {rule}");
        }
    }

    #[test]
    fn rules_hold_and_fail() {
        for (rule, good, bad) in [
            (
                "!has(self.maxLength) || !has(self.arguments) || !has(self.arguments.x__dash__max__dash__length)",
                json!({"maxLength": 1, "arguments": {"x": 1}}),
                json!({"maxLength": 1, "arguments": {"x-max-length": 1}}),
            ),
            (
                "!has(self.arguments) || !has(self.arguments.x__dash__queue__dash__type)",
                json!({"arguments": {}}),
                json!({"arguments": {"x-queue-type": "quorum"}}),
            ),
            (
                "has(self.queue) != has(self.exchange)",
                json!({"queue": "q"}),
                json!({"queue": "q", "exchange": "x"}),
            ),
            (
                "self.matches('^([0-9]{1,12}(ms|s|m|h|d))+$')",
                json!("1h30m"),
                json!("10 s"),
            ),
            (
                r"self.matches('^amqps?://[^@/?#\\s]+/?$')",
                json!("amqp://host:5672"),
                json!("amqp://user@host"),
            ),
            (
                r"self.matches('^https?://[^@/?#\\s]+(/[^@?#\\s]*)?$')",
                json!("https://host/rabbit"),
                json!("ftp://host"),
            ),
        ] {
            assert_eq!(evaluate(rule, &good), Some(true), "{rule} {good}");
            assert_eq!(evaluate(rule, &bad), Some(false), "{rule} {bad}");
        }
    }

    #[test]
    fn faults_say_where_and_what() {
        let schema = json!({
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 3},
                "maxLength": {"type": "integer", "minimum": 0},
                "policy": {"type": "string", "enum": ["Delete", "Retain"]},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}}
            }
        });
        for (value, path, message) in [
            (json!({}), "", "name is missing"),
            (json!({"name": "abcd"}), "name", "must be at most 3 characters"),
            (
                json!({"name": "a", "maxLenght": 5}),
                "maxLenght",
                "unknown key; did you mean maxLength?",
            ),
            (json!({"name": "a", "colour": 5}), "colour", "unknown key"),
            (json!({"name": "a", "maxLength": -1}), "maxLength", "must be at least 0"),
            (
                json!({"name": "a", "maxLength": "5"}),
                "maxLength",
                "must be of type integer, is string",
            ),
            (
                json!({"name": "a", "policy": "delete"}),
                "policy",
                "must be one of Delete, Retain, is delete",
            ),
            (
                json!({"name": "a", "labels": {"x": 1}}),
                "labels.x",
                "must be of type string, is integer",
            ),
        ] {
            let faults = check(&schema, &value);
            assert_eq!(faults.len(), 1, "{value}: {faults:?}");
            assert_eq!(
                (faults[0].path.join("."), faults[0].message.as_str()),
                (path.to_owned(), message)
            );
        }
        assert_eq!(
            check(&schema, &json!({"name": "a", "free": {"x": [1]}, "labels": {"x": "y"}})),
            vec![]
        );
    }
}
