//! Reads the manifests of a folder.
//!
//! In: a folder, or one file. Out: typed resources, or every `Problem` with its place. Does not know about brokers,
//! what was read before, or what happens to the resources.

/// The documents of a text.
pub(crate) mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::object::{Kind, ObjectKey};
use crate::resource::admission::admit;
use crate::resource::{GROUP, Spec, VERSION};
use crate::source::grant::SecretData;
use yaml::{Document, Fault, split};

/// Biggest manifest that is read.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
const TOO_LARGE: &str = "larger than 64 MiB";
const NOT_TEXT: &str = "not UTF-8 text";
/// In place of a path: standard input.
const STDIN: &str = "-";
/// Most faults of one document that are told.
const MOST_FAULTS: usize = 50;
/// The namespace of an object that names none; the same as kubectl's default.
const DEFAULT_NAMESPACE: &str = "default";

/// Something that is wrong with a folder of manifests, as one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Problem {
    /// `FILE`, `FILE:LINE` or `FILE:LINE:COLUMN`.
    pub place: String,
    pub message: String,
}

/// One resource as it stands in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub annotations: BTreeMap<String, String>,
    pub spec: Spec,
}

/// The content of a folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    pub objects: BTreeMap<ObjectKey, Manifest>,
    /// Documents of other groups, which are left alone: a line for each.
    pub skipped: Vec<String>,
    pub places: BTreeMap<ObjectKey, Place>,
    /// Secrets by namespace and name: they are read for the Users who name them.
    pub secrets: BTreeMap<(String, String), SecretData>,
    /// Names on a broker, in their virtual hosts, of what cannot be read: it is there all the same, and others may
    /// refer to it.
    pub refused: BTreeSet<(Kind, String, String)>,
}

/// The place of a resource in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// Lines of the fields of `spec` that refer to something.
    fields: BTreeMap<&'static str, usize>,
}

/// Fields of `spec` that refer to something.
const REFERENCES: [&str; 10] = [
    "brokerRef",
    "source",
    "destination",
    "deadLetter",
    "alternateExchange",
    "topicPermissions",
    "serviceAccount",
    "queue",
    "exchange",
    "userRef",
];

impl Place {
    /// `FILE:LINE` of a field of `spec`, or of the resource.
    pub fn of(&self, field: &str) -> String {
        format!("{}:{}", self.file, self.fields.get(field).unwrap_or(&self.line))
    }
}

/// Files with what shows that they have changed.
pub type Fingerprint = Vec<(PathBuf, Option<SystemTime>, u64)>;

/// Endings of manifest files.
const ENDINGS: [&str; 2] = ["yaml", "yml"];

/// The manifest files at `path`, in the order of their names.
///
/// # Errors
/// The folder, or one below it, cannot be read.
pub fn files(path: &Path) -> Result<Fingerprint, Problem> {
    files_ending(path, &ENDINGS)
}

/// The file at `path`, or the files with these endings in the folder, in the order of their names.
fn files_ending(path: &Path, endings: &[&str]) -> Result<Fingerprint, Problem> {
    let mut found = Vec::new();
    let meta = fs::metadata(path).map_err(|error| problem(path, reading(&error)))?;
    if meta.is_dir() {
        walk(path, endings, &mut found)?;
    } else {
        found.push((path.to_owned(), meta.modified().ok(), meta.len()));
    }
    found.sort();
    Ok(found)
}

fn walk(folder: &Path, endings: &[&str], found: &mut Fingerprint) -> Result<(), Problem> {
    let entries = fs::read_dir(folder).map_err(|error| problem(folder, reading(&error)))?;
    for entry in entries {
        let entry = entry.map_err(|error| problem(folder, reading(&error)))?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // A file may vanish between the listing and here.
        let Ok(meta) = fs::metadata(&path) else { continue };
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let ends = |ending: &std::ffi::OsStr| endings.iter().any(|known| ending == *known);
        if meta.is_dir() && !is_link {
            walk(&path, endings, found)?;
        } else if meta.is_file() && path.extension().is_some_and(ends) {
            found.push((path, meta.modified().ok(), meta.len()));
        }
    }
    Ok(())
}

/// Reads the text at `path`, or those with these endings in the folder, or stdin for `-`, one after the other; what
/// cannot be read is answered.
pub fn each_text(path: &Path, endings: &[&str], mut each: impl FnMut(&Path, &str)) -> Vec<Problem> {
    if path == Path::new(STDIN) {
        let root = Path::new("stdin");
        return match stdin() {
            Ok(text) => {
                each(root, &text);
                Vec::new()
            }
            Err(message) => vec![problem(root, message)],
        };
    }
    let files = match files_ending(path, endings) {
        Ok(files) => files,
        Err(problem) => return vec![problem],
    };
    let mut problems = Vec::new();
    for (path, _, length) in files {
        match text(&path, length) {
            Ok(text) => each(&path, &text),
            Err(problem) => problems.push(problem),
        }
    }
    problems
}

/// The text of standard input.
fn stdin() -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().take(MOST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MOST_BYTES) {
        return Err(TOO_LARGE.to_owned());
    }
    String::from_utf8(bytes).map_err(|_| NOT_TEXT.to_owned())
}

/// The text of a file.
fn text(path: &Path, length: u64) -> Result<String, Problem> {
    if length > MOST_BYTES {
        return Err(problem(path, TOO_LARGE));
    }
    fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => problem(path, NOT_TEXT),
        _ => problem(path, reading(&error)),
    })
}

fn reading(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such folder or file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "no permission to read".to_owned(),
        _ => error.to_string(),
    }
}

fn problem(path: &Path, message: impl Into<String>) -> Problem {
    Problem {
        place: path.display().to_string(),
        message: message.into(),
    }
}

/// Reads all manifests in `files`; `root` is only for messages.
///
/// # Errors
/// Everything that is wrong in any of them.
pub fn read(root: &Path, files: &Fingerprint) -> Result<Manifests, Vec<Problem>> {
    let mut reader = Reader::new(DEFAULT_NAMESPACE);
    reader.files(files);
    whole(reader.finish(root))
}

/// Only manifests of which all can be read.
fn whole((manifests, problems): (Manifests, Vec<Problem>)) -> Result<Manifests, Vec<Problem>> {
    match problems.is_empty() {
        true => Ok(manifests),
        false => Err(problems),
    }
}

/// Reads the manifests at `path` once, or from stdin for `-`. Those without a namespace are in `namespace`, or in
/// `default`.
///
/// # Errors
/// Everything that is wrong in any of them.
pub fn read_once(path: &Path, namespace: Option<&str>) -> Result<Manifests, Vec<Problem>> {
    whole(read_all(path, namespace))
}

/// As [`read_once`], but gives what could be read beside what is wrong.
pub fn read_all(path: &Path, namespace: Option<&str>) -> (Manifests, Vec<Problem>) {
    let mut reader = Reader::new(namespace.unwrap_or(DEFAULT_NAMESPACE));
    let root = if path == Path::new(STDIN) {
        Path::new("stdin")
    } else {
        path
    };
    let unread = each_text(path, &ENDINGS, |path, text| reader.file(path, text));
    reader.problems.extend(unread);
    reader.finish(root)
}

struct Reader<'a> {
    /// Of objects that name none.
    namespace: &'a str,
    manifests: Manifests,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn new(namespace: &'a str) -> Self {
        Self {
            namespace,
            manifests: Manifests::default(),
            problems: Vec::new(),
        }
    }

    fn files(&mut self, files: &Fingerprint) {
        for (path, _, length) in files {
            match text(path, *length) {
                Ok(text) => self.file(path, &text),
                Err(problem) => self.problems.push(problem),
            }
        }
    }

    fn finish(mut self, root: &Path) -> (Manifests, Vec<Problem>) {
        if self.problems.is_empty() && self.manifests.objects.is_empty() {
            let message = match self.manifests.skipped.len() {
                0 => "no manifests (*.yaml, *.yml) in this folder".to_owned(),
                _ => format!("no manifest of {GROUP}/{VERSION} in this folder"),
            };
            self.problems.push(problem(root, message));
        }
        (self.manifests, self.problems)
    }

    fn file(&mut self, path: &Path, text: &str) {
        for document in split(text) {
            match document.parse() {
                Ok(None) => {}
                Ok(Some(value)) => self.document(path, &document, &value),
                Err(fault) => self.syntax(path, fault),
            }
        }
    }

    /// Notes a fault of the text.
    fn syntax(&mut self, path: &Path, Fault { line, column, message }: Fault) {
        let column = column.map(|column| format!(":{column}")).unwrap_or_default();
        let place = format!("{}:{line}{column}", path.display());
        self.problems.push(Problem { place, message });
    }

    /// Notes a problem at the line of the last key of `keys`, or the first line of the document.
    fn fault(&mut self, path: &Path, document: &Document, keys: &[String], message: &str) {
        let keys_text = keys.join(".");
        let separator = if keys.is_empty() { "" } else { ": " };
        self.problems.push(Problem {
            place: format!("{}:{}", path.display(), document.line_of(keys)),
            message: format!("{keys_text}{separator}{message}"),
        });
    }

    fn document(&mut self, path: &Path, document: &Document, value: &Value) {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let (Some(version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            return self.fault(
                path,
                document,
                &[],
                "not a Kubernetes manifest: apiVersion or kind is missing",
            );
        };
        let group = version.split_once('/').map_or("", |(group, _)| group);
        if let Some(items) = items(kind, group, value) {
            return self.list(path, document, items);
        }
        if (version, kind) == ("v1", "Secret") {
            self.secret(value);
        }
        if group != GROUP {
            let line = document.line_of(&[]);
            let skipped = format!("{}:{line}: {kind} of {version} is left alone", path.display());
            self.manifests.skipped.push(skipped);
            return;
        }
        for fault in document.ambiguous().into_iter().take(MOST_FAULTS) {
            self.syntax(path, fault);
        }
        let refusals = match admit(value) {
            Ok(admitted) => return self.object(path, document, kind, &admitted),
            Err(refusals) => refusals,
        };
        let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("?");
        if let Some(known) = Kind::OWN.into_iter().find(|known| known.as_str() == kind) {
            self.manifests.refused.extend(named(known, value));
        }
        let left_out = refusals.len().saturating_sub(MOST_FAULTS);
        for refusal in refusals.into_iter().take(MOST_FAULTS) {
            let of_a_kind = !matches!(refusal.path.first().map(String::as_str), Some("apiVersion" | "kind"));
            let who = if of_a_kind {
                format!("{kind} {name}: ")
            } else {
                String::new()
            };
            self.problems.push(Problem {
                place: format!("{}:{}", path.display(), document.line_of(refusal.place())),
                message: format!("{who}{refusal}"),
            });
        }
        if left_out > 0 {
            self.fault(path, document, &[], &format!("{kind} {name}: {left_out} more faults"));
        }
    }

    /// Takes in what a Secret holds; what is not as Kubernetes takes it is as good as not there.
    fn secret(&mut self, value: &Value) {
        let text = |name: &str| value.pointer(&format!("/metadata/{name}")).and_then(Value::as_str);
        let fields = |name: &str| value.get(name).and_then(Value::as_object).into_iter().flatten();
        let decoded = |(key, value): (&String, &Value)| Some((key.clone(), STANDARD.decode(value.as_str()?).ok()?));
        let plain = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.as_bytes().to_vec()));
        let Some(name) = text("name") else { return };
        let place = (text("namespace").unwrap_or(self.namespace).to_owned(), name.to_owned());
        let values = fields("data").filter_map(decoded);
        let values = values.chain(fields("stringData").filter_map(plain)).collect();
        let data = SecretData {
            values,
            ..SecretData::default()
        };
        self.manifests.secrets.insert(place, data);
    }

    /// The objects of a list, each as if it were a document of its own.
    fn list(&mut self, path: &Path, document: &Document, items: &[Value]) {
        let parts = document.items();
        for (index, item) in items.iter().enumerate() {
            let part = parts.get(index).unwrap_or(document);
            if item.pointer("/items").is_some() {
                self.fault(path, part, &[], "a list within a list is not read");
            } else {
                self.document(path, part, item);
            }
        }
    }

    fn object(&mut self, path: &Path, document: &Document, kind: &str, value: &Value) {
        let Some(kind) = Kind::OWN.into_iter().find(|known| known.as_str() == kind) else {
            return;
        };
        let spec = value.get("spec").cloned().unwrap_or_else(|| Value::Object(Map::new()));
        let spec = match Spec::parse(kind, spec) {
            Ok(spec) => spec,
            Err(error) => return self.fault(path, document, &["spec".to_owned()], &error.to_string()),
        };
        let metadata = |name: &str| value.pointer(&format!("/metadata/{name}"));
        let namespace = metadata("namespace").and_then(Value::as_str).unwrap_or(self.namespace);
        let name = metadata("name").and_then(Value::as_str).unwrap_or_default();
        let key = ObjectKey::new(kind, namespace, name);
        let fields = REFERENCES
            .into_iter()
            .filter(|field| value.pointer(&format!("/spec/{field}")).is_some());
        let place = Place {
            file: path.display().to_string(),
            line: document.line_of(&[]),
            fields: fields
                .map(|field| (field, document.line_of(&["spec".to_owned(), field.to_owned()])))
                .collect(),
        };
        if let Some(first) = self.manifests.places.get(&key) {
            let message = format!("{key} is there twice, first in {}", first.of(""));
            let place = place.of("");
            self.problems.push(Problem { place, message });
            return;
        }
        self.manifests.places.insert(key.clone(), place);
        let annotations = metadata("annotations").cloned().map(serde_json::from_value);
        let manifest = Manifest {
            annotations: annotations.and_then(Result::ok).unwrap_or_default(),
            spec,
        };
        self.manifests.objects.insert(key, manifest);
    }
}

/// The name on a broker of what a manifest asks for, as far as it can be told: kind, virtual host, name.
fn named(kind: Kind, value: &Value) -> Option<(Kind, String, String)> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let name = text("/spec/name").or_else(|| text("/metadata/name"))?;
    let vhost = text("/spec/vhost").unwrap_or("/");
    Some((kind, vhost.to_owned(), name.to_owned()))
}

/// The objects of a list: what `kubectl get -o yaml` prints for several.
fn items<'a>(kind: &str, group: &str, value: &'a Value) -> Option<&'a [Value]> {
    let is_list = kind.ends_with("List") && (group.is_empty() || group == GROUP);
    let items = value.get("items").filter(|_| is_list)?;
    items.as_array().map(Vec::as_slice)
}

impl fmt::Display for Manifests {
    /// For example `2 exchanges, 3 queues, 4 bindings`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for kind in Kind::OWN {
            match self.objects.keys().filter(|key| key.kind == kind).count() {
                0 => {}
                1 => parts.push(format!("1 {}", kind.word())),
                count => parts.push(format!("{count} {}", kind.plural())),
            }
        }
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests;
