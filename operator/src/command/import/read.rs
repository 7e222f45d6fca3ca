//! Files taken apart: which tool wrote them, and what stands in them.
//!
//! In: paths. Out: a `Reading`. Does not know about names or the form of the manifests that come of it.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::found::{Found, text as text_of};
use super::json;
use crate::rabbitmq::manifest::{self, GROUP, Manifest, VERSION, translate};
use crate::rabbitmq::{Part, Remark, definitions, terraform};
use crate::resource::GROUP as OURS;
use crate::source::folder::read::yaml::{Document, Fault, split};
use crate::source::folder::read::{Problem, each_text};

/// Endings of files that may have something in them.
const ENDINGS: [&str; 4] = ["yaml", "yml", "json", "tfstate"];

/// Metadata that the API server or its clients keep for themselves.
const KEPT_BY_THE_SERVER: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "finalizers",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Fields of one object whose lines are looked for.
const MOST_LOOKED_FOR: usize = 50;

/// Annotation in which kubectl keeps the manifest itself.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Everything that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) found: Vec<Found>,
    pub(super) left_out: Vec<String>,
    pub(super) alone: Vec<String>,
    /// Names of users that stand in Secrets, by namespace and name of these.
    pub(super) users: BTreeMap<(String, String), String>,
}

/// Reads a file, the files of a folder, or stdin. `vhost`: of definitions that name none.
///
/// # Errors
/// A file cannot be read, or there is nothing to import in any of them.
pub(super) fn read(from: &Path, vhost: Option<&str>) -> Result<Reading, Vec<Problem>> {
    let mut reader = Reader {
        vhost,
        reading: Reading::default(),
    };
    let problems = each_text(from, &ENDINGS, |path, text| reader.file(path, text));
    if !problems.is_empty() {
        return Err(problems);
    }
    let reading = reader.reading;
    if reading.found.is_empty() && reading.left_out.is_empty() {
        let message = match reading.alone.len() {
            0 => "nothing to import: no manifests, definitions or Terraform state",
            _ => "nothing to import: what is there is of other kinds",
        };
        return Err(vec![Problem {
            place: from.display().to_string(),
            message: message.to_owned(),
        }]);
    }
    Ok(reading)
}

struct Reader<'a> {
    vhost: Option<&'a str>,
    reading: Reading,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, text: &str) {
        let file = path.display().to_string();
        // JSON is YAML, too, except for the words in its faults.
        if text.trim_start().starts_with('{') {
            match json::parse(text) {
                Ok(Value::Object(document)) => return self.json(&file, document),
                Ok(_) => {}
                Err(error) => return self.leave(format!("{file}: {error}")),
            }
        }
        for document in split(text) {
            match document.parse() {
                Ok(None) => {}
                Ok(Some(value)) => self.yaml(&file, &document, value),
                Err(fault) => self.syntax(&file, &fault),
            }
        }
    }

    fn syntax(&mut self, file: &str, Fault { line, column, message }: &Fault) {
        let column = column.map(|column| format!(":{column}")).unwrap_or_default();
        self.leave(format!("{file}:{line}{column}: {message}"));
    }

    fn leave(&mut self, line: String) {
        self.reading.left_out.push(line);
    }

    fn json(&mut self, file: &str, document: Map<String, Value>) {
        if document.contains_key("apiVersion") {
            return match items(&document) {
                Some(items) => {
                    for (index, item) in items.iter().enumerate() {
                        self.manifest(item.clone(), &Spot::Path(format!("{file}: items[{index}]")));
                    }
                }
                None => self.manifest(Value::Object(document), &Spot::Path(file.to_owned())),
            };
        }
        if terraform::is_one(&document) {
            return match terraform::parts(document) {
                Ok((parts, others)) => {
                    self.parts(file, parts);
                    if others > 0 {
                        let line = format!("{file}: {others} resources of other providers are left alone");
                        self.reading.alone.push(line);
                    }
                }
                Err(remark) => self.leave(format!("{file}: {}", remark.why)),
            };
        }
        match definitions::is_one(&document) {
            true => self.parts(file, definitions::parts(document, self.vhost)),
            false => self.leave(format!(
                "{file}: is no manifest, no document of definitions and no Terraform state"
            )),
        }
    }

    fn parts(&mut self, file: &str, parts: Vec<Part>) {
        for Part {
            place,
            what,
            translated,
        } in parts
        {
            let place = format!("{file}: {place}");
            match translated {
                None => {}
                Some(Err(remark)) => self.remark(&place, &what, &remark),
                Some(Ok(translation)) => {
                    for remark in &translation.remarks {
                        self.remark(&place, &what, remark);
                    }
                    self.reading.found.push(Found {
                        place,
                        what,
                        metadata: Map::new(),
                        translation,
                    });
                }
            }
        }
    }

    fn remark(&mut self, place: &str, what: &str, remark: &Remark) {
        let field = remark.field.join(".");
        let words: Vec<&str> = [place, what, &field, &remark.why]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        self.leave(words.join(": "));
    }

    fn yaml(&mut self, file: &str, document: &Document, value: Value) {
        let listed = value.as_object().and_then(items).map(<[Value]>::to_vec);
        let Some(items) = listed else {
            return self.one_yaml(file, document, value);
        };
        let parts = document.items();
        for (index, item) in items.into_iter().enumerate() {
            self.one_yaml(file, parts.get(index).unwrap_or(document), item);
        }
    }

    fn one_yaml(&mut self, file: &str, document: &Document, value: Value) {
        if is_theirs(&value) {
            let faults = document.ambiguous();
            if !faults.is_empty() {
                // Another word would be carried over than the API server has read.
                return faults.iter().for_each(|fault| self.syntax(file, fault));
            }
        }
        self.manifest(value, &Spot::Lines(file, document));
    }

    fn manifest(&mut self, mut value: Value, spot: &Spot<'_>) {
        let place = spot.of(&[]);
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        if version.is_empty() || kind.is_empty() {
            return self.leave(format!("{place}: is no manifest: apiVersion or kind is missing"));
        }
        let what = format!("{kind} {name}");
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        if group.is_empty() && kind == "Secret" {
            self.secret(&value);
        }
        if group != GROUP {
            let why = if group == OURS {
                "is Leveret's already"
            } else {
                "is of another group"
            };
            let line = format!("{place}: {what}: {why}, and left alone");
            return self.reading.alone.push(line);
        }
        if value.pointer("/metadata/deletionTimestamp").is_some() {
            return self.leave(format!("{place}: {what}: is being deleted"));
        }
        let kind = kind.to_owned();
        let is_known = version == VERSION;
        let Some(fields) = value.as_object_mut() else { return };
        let spec = fields.remove("spec").unwrap_or_else(|| Value::Object(Map::new()));
        let status = fields.remove("status").unwrap_or_default();
        let metadata = fields.remove("metadata").unwrap_or_default();
        for field in ["apiVersion", "kind"] {
            fields.remove(field);
        }
        for (index, (field, _)) in std::mem::take(fields).into_iter().enumerate() {
            let line = spot.of_many(index, std::slice::from_ref(&field), &place);
            self.leave(format!("{line}: {what}: {field}: is not known here"));
        }
        let metadata = self.metadata(metadata, &what, spot);
        let name = text_of(&metadata, "name").to_owned();
        let translation = match translate(&kind, Manifest { name, spec, status }) {
            Ok(_) if !is_known => return self.leave(format!("{place}: {what}: is not of {GROUP}/{VERSION}")),
            Ok(translation) => translation,
            Err(remark) => return self.remark(&place, &what, &remark),
        };
        for (index, remark) in translation.remarks.iter().enumerate() {
            let field = [&["spec".to_owned()], remark.field.as_slice()].concat();
            let place = spot.of_many(index, &field, &place);
            let why = remark.why.clone();
            self.remark(&place, &what, &Remark { field, why });
        }
        self.reading.found.push(Found {
            place,
            what,
            metadata,
            translation,
        });
    }

    /// Notes whose password a Secret has: nothing else of it is looked at.
    fn secret(&mut self, value: &Value) {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let decoded = || {
            let bytes = STANDARD.decode(text("/data/username")?).ok()?;
            String::from_utf8(bytes).ok()
        };
        let user = text("/stringData/username").map(str::to_owned).or_else(decoded);
        if let (Some(name), Some(user)) = (text("/metadata/name"), user) {
            let namespace = text("/metadata/namespace").unwrap_or_default();
            let secret = (namespace.to_owned(), name.to_owned());
            self.reading.users.insert(secret, user);
        }
    }

    /// The metadata that a manifest keeps.
    fn metadata(&mut self, metadata: Value, what: &str, spot: &Spot<'_>) -> Map<String, Value> {
        let Value::Object(mut metadata) = metadata else {
            return Map::new();
        };
        for field in KEPT_BY_THE_SERVER {
            metadata.remove(field);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
        metadata.retain(|_, value| !value.as_object().is_some_and(Map::is_empty) && !value.is_null());
        if metadata.remove("ownerReferences").is_some() {
            let field = ["metadata".to_owned(), "ownerReferences".to_owned()];
            let line = spot.of(&field);
            self.leave(format!(
                "{line}: {what}: metadata.ownerReferences: is left out: the owner has another uid when it is applied anew"
            ));
        }
        metadata
    }
}

/// The objects of a list: what kubectl prints for several.
fn items(document: &Map<String, Value>) -> Option<&[Value]> {
    let text = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default();
    let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
    let is_list = text("kind").ends_with("List") && matches!(group, "" | GROUP);
    let items = document.get("items").filter(|_| is_list)?;
    items.as_array().map(Vec::as_slice)
}

/// True for a manifest of RabbitMQ's group.
fn is_theirs(value: &Value) -> bool {
    let version = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    version
        .split_once('/')
        .is_some_and(|(group, _)| group == manifest::GROUP)
}

/// The place of a manifest, and of its fields where lines are known.
enum Spot<'a> {
    Lines(&'a str, &'a Document),
    Path(String),
}

impl Spot<'_> {
    fn of(&self, field: &[String]) -> String {
        match self {
            Spot::Lines(file, document) => format!("{file}:{}", document.line_of(field)),
            Spot::Path(path) => path.clone(),
        }
    }

    /// As [`Spot::of`] for one of many fields: to look for a line is to go through the text, so the later ones get the
    /// place of the whole.
    fn of_many(&self, index: usize, field: &[String], whole: &str) -> String {
        match index < MOST_LOOKED_FOR {
            true => self.of(field),
            false => whole.to_owned(),
        }
    }
}
