//! The settings of a broker that the operator runs: what there is to set, and what each of them takes.
//!
//! In: docs/settings.json, which the broker's own test holds against its table; the `settings` of a `Broker`. Out:
//! their schema, and a refusal in the broker's words before anything is rolled out. Does not know about files or pods.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use schemars::{Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tracing_subscriber::EnvFilter;

use super::schema::object;

/// Settings that the operator makes itself.
pub const OWN: [&str; 11] = [
    "data_dir",
    "amqp_listen",
    "http_listen",
    "amqps_listen",
    "https_listen",
    "prometheus_listen",
    "tls_cert",
    "tls_key",
    "tls_ca",
    "admin_user_file",
    "admin_password_file",
];

static TABLE: LazyLock<Vec<Setting>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../docs/settings.json")).unwrap_or_default());

/// A setting as the broker's table has it.
#[derive(Debug, Deserialize)]
struct Setting {
    key: String,
    about: String,
    default: String,
    /// A running broker takes a change by itself.
    live: bool,
    range: String,
    /// The end of a refusal.
    allowed: Option<String>,
    written: String,
    forms: Vec<Form>,
}

/// A form that a value may have.
#[derive(Debug, Deserialize)]
struct Form {
    pattern: String,
    #[serde(default)]
    units: BTreeMap<String, u64>,
    least: Option<Least>,
    most: Option<u64>,
    /// The end of a refusal of a value that has this form, where it is not the setting's.
    allowed: Option<String>,
}

/// A lower bound.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Least {
    Number(u64),
    /// A multiple of another setting.
    Multiple {
        times: u64,
        of: String,
    },
}

impl Form {
    /// The number in a text of this form; `None` for another form, `Some(None)` for one without a number.
    fn read(&self, text: &str) -> Option<Option<u64>> {
        let pattern = Regex::new(&self.pattern).ok()?;
        let found = pattern.captures(text)?;
        let Some(digits) = found.get(1).filter(|_| self.most.is_some()) else {
            return Some(None);
        };
        let factor = found.get(2).and_then(|unit| self.units.get(unit.as_str())).copied();
        let number = digits.as_str().parse::<u64>().ok();
        // Too large a number is no number of this form.
        Some(Some(number?.checked_mul(factor.unwrap_or(1))?))
    }

    fn allows(&self, text: &str, all: &BTreeMap<String, Value>) -> bool {
        match self.read(text) {
            None => false,
            Some(None) => true,
            Some(Some(number)) => {
                let least = self.least.as_ref().map_or(0, |least| least.value(all));
                number >= least && self.most.is_none_or(|most| number <= most)
            }
        }
    }
}

impl Least {
    fn value(&self, all: &BTreeMap<String, Value>) -> u64 {
        match self {
            Least::Number(number) => *number,
            Least::Multiple { times, of } => {
                let Some(setting) = find(of) else { return 0 };
                let text = all.get(of).and_then(text).unwrap_or_else(|| setting.default.clone());
                let number = setting.forms.iter().find_map(|form| form.read(&text)).flatten();
                number.unwrap_or_default().saturating_mul(*times)
            }
        }
    }
}

fn find(key: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.key == key)
}

impl Setting {
    /// The texts that are checked; `None` for a value that no such setting has. What is below a setting is for the
    /// broker to check.
    fn texts(&self, value: &Value) -> Option<Vec<String>> {
        match (self.written.as_str(), value) {
            ("table", Value::Object(_)) => Some(Vec::new()),
            ("table", _) => None,
            ("list of texts", Value::Array(values)) => values.iter().map(text).collect(),
            (_, value) => text(value).map(|text| vec![text]),
        }
    }
}

/// A value as the broker's file has it.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(on) => Some(on.to_string()),
        _ => None,
    }
}

/// True if a running broker takes a change of a setting by itself: no reason to replace the pod.
pub fn is_live(key: &str) -> bool {
    find(key).is_some_and(|setting| setting.live)
}

/// Everything that the broker would refuse, in its words, each with the key.
pub fn refusals(settings: &BTreeMap<String, Value>) -> Vec<(String, String)> {
    let refusals = settings
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), refusal(key, value, settings)?)));
    refusals.collect()
}

fn refusal(key: &str, value: &Value, all: &BTreeMap<String, Value>) -> Option<String> {
    if OWN.contains(&key) {
        return Some(format!("settings.{key} is made by the operator"));
    }
    let Some(setting) = find(key) else {
        let near = TABLE
            .iter()
            .map(|setting| setting.key.as_str())
            .min_by_key(|known| distance(known, key));
        let near = near.filter(|near| distance(near, key) <= 1 + key.len() / 4);
        let hint = near.map_or(String::new(), |near| format!("; is {near} meant?"));
        return Some(format!("settings.{key}: there is no such setting{hint}"));
    };
    let Some(texts) = setting.texts(value) else {
        let allowed = match setting.written.as_str() {
            "table" => "names and values below it",
            "list of texts" => "a list of texts",
            _ => "one value, not a list",
        };
        return Some(format!("setting {key}: '{value}' is not allowed; {allowed}"));
    };
    texts.iter().find_map(|text| refusal_of(setting, text, all))
}

fn refusal_of(setting: &Setting, text: &str, all: &BTreeMap<String, Value>) -> Option<String> {
    let key = setting.key.as_str();
    let wrong = |allowed: &str| Some(format!("setting {key}: '{text}' is not allowed; {allowed}"));
    // The one setting whose values have a grammar of their own.
    if key == "log" {
        let range = &setting.range;
        return EnvFilter::try_new(text)
            .err()
            .and_then(|error| wrong(&format!("{error}; allowed is {range}")));
    }
    let fits = setting.forms.is_empty() || setting.forms.iter().any(|form| form.allows(text, all));
    let form = setting.forms.iter().find(|form| form.read(text).is_some());
    let allowed = form.and_then(|form| form.allowed.as_ref()).or(setting.allowed.as_ref());
    if fits {
        None
    } else {
        wrong(allowed.map(String::as_str).unwrap_or_default())
    }
}

/// Letters to change, add and leave out (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (above, a) in one.chars().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(other.chars()) {
            let here = (diagonal + usize::from(a != b)).min(*cell + 1).min(left + 1);
            diagonal = std::mem::replace(cell, here);
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// All settings with their meaning, default and pattern; bounds are checked by [`refusals`].
pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    let own = OWN.iter().map(|key| {
        let about = "Made by the operator, which refuses it here.";
        ((*key).to_owned(), json!({ "type": "string", "description": about }))
    });
    let others = TABLE.iter().filter(|setting| !OWN.contains(&setting.key.as_str()));
    let properties: Map<String, Value> = own
        .chain(others.map(|setting| (setting.key.clone(), property(setting))))
        .collect();
    object(json!({ "type": "object", "properties": properties }))
}

fn property(setting: &Setting) -> Value {
    let Setting {
        about,
        default,
        range,
        live,
        ..
    } = setting;
    let effect = if *live {
        "at once"
    } else {
        "when the pod is replaced, which a change does"
    };
    let mut schema = match setting.written.as_str() {
        "true or false" => json!({ "type": "boolean" }),
        "number or text" => json!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
        }),
        "list of texts" => json!({ "type": "array", "items": { "type": "string" } }),
        "table" => json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }),
        _ => json!({ "type": "string" }),
    };
    if let Some(map) = schema.as_object_mut() {
        let about = format!("{about}. Allowed: {range}; default: {default}. Takes effect {effect}.");
        map.insert("description".to_owned(), Value::from(about));
        let patterns: Vec<&str> = setting.forms.iter().map(|form| form.pattern.as_str()).collect();
        let pattern = Value::from(patterns.join("|"));
        match map.get_mut("items") {
            Some(items) => items["pattern"] = pattern,
            None if patterns.is_empty() || setting.written == "true or false" => {}
            None => _ = map.insert("pattern".to_owned(), pattern),
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(settings: Value) -> Vec<String> {
        let settings = serde_json::from_value(settings).expect("settings");
        refusals(&settings).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn the_broker_s_words() {
        for (settings, words) in [
            (
                json!({"max_message_size": "lots"}),
                "setting max_message_size: 'lots' is not allowed; allowed is a size with a unit (B, KiB, MiB, GiB, KB, MB, GB) \
                 from 1KiB to 512MiB",
            ),
            (
                json!({"no_such_setting": "1"}),
                "settings.no_such_setting: there is no such setting",
            ),
            (
                json!({"hartbeat": "1s"}),
                "settings.hartbeat: there is no such setting; is heartbeat meant?",
            ),
            (
                json!({"heartbeat": "2h"}),
                "setting heartbeat: '2h' is not allowed; allowed is a time with a unit (ms, s, m, h) from 0s to 3600s",
            ),
            (
                json!({"channel_max": 0}),
                "setting channel_max: '0' is not allowed; allowed is a whole number from 1 to 65535",
            ),
            (
                json!({"log_format": "xml"}),
                "setting log_format: 'xml' is not allowed; allowed is text or json",
            ),
            (
                json!({"threads": [1]}),
                "setting threads: '[1]' is not allowed; one value, not a list",
            ),
            (json!({"data_dir": "/"}), "settings.data_dir is made by the operator"),
            (
                json!({"auth_mechanisms": ["PLAIN", "MD5"]}),
                "setting auth_mechanisms: 'MD5' is not allowed; allowed is PLAIN, AMQPLAIN, EXTERNAL",
            ),
            (
                json!({"auth_oauth2": "x"}),
                "setting auth_oauth2: '\"x\"' is not allowed; names and values below it",
            ),
        ] {
            assert_eq!(refused(settings), [words]);
        }
        assert!(
            refused(json!({"log": "no,such=filter="}))[0].starts_with("setting log: 'no,such=filter=' is not allowed")
        );
        assert!(refused(json!({"memory_watermark": "95%"}))[0].contains("1% to 90%"));
        let small = json!({"disk_free_limit": "150MiB"});
        assert!(refused(small)[0].starts_with("setting disk_free_limit: '150MiB' is not allowed"));
    }

    #[test]
    fn what_the_broker_takes() {
        let settings = json!({
            "max_message_size": "16 MiB", "heartbeat": "0s", "channel_max": "9", "threads": 2, "connection_max": "infinity",
            "guest_loopback_only": false, "memory_watermark": "50%", "disk_free_limit": "150MiB", "segment_size": "16MiB",
            "log": "info,leveret_broker=debug", "log_format": "json", "max_header_size": 65536,
            "auth_backends": ["oauth2", "internal"], "auth_oauth2": {"resource_servers": {"pods": {"authz": "internal"}}},
        });
        assert_eq!(refused(settings), Vec::<String>::new());
        assert!(is_live("heartbeat") && !is_live("threads") && !is_live("nothing"));
    }
}
