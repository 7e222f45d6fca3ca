//! Manifests put together from what was found: names, Brokers, and what two of them want alike.
//!
//! In: a `Reading`. Out: an `Import`. Does not know about files.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::args::ImportArgs;
use super::found::{Found, address, text};
use super::output::Import;
use super::read::Reading;
use super::users::whole;
use crate::command::manifest::{self, Names, manifest};
use crate::object::{AnyObject, Kind, Meta, ObjectKey};
use crate::resource::Spec;
use crate::resource::admission::admit;
use crate::topology::{Declared, Identity, wish};

/// The Broker of manifests that name none.
const USUAL_BROKER: &str = "main";

/// Fields of a spec that say nothing of the object on the broker, and are kept as they are.
const ABOUT_THE_RESOURCE: [&str; 6] = [
    "deletionPolicy",
    "adoptionPolicy",
    "passwordSecretRef",
    "passwordHash",
    "generatedSecret",
    "serviceAccount",
];

/// Puts the manifests together, in the order in which they are made on a broker.
pub(super) fn write(reading: Reading, args: &ImportArgs) -> Import {
    let Reading {
        found,
        mut left_out,
        alone,
        users,
    } = reading;
    let mut found = whole(found, &users, args.password_hashes, &mut left_out);
    give_types(&mut found);
    let mut writer = Writer {
        args,
        names: Names::default(),
        wanted: BTreeMap::new(),
        import: Import {
            manifests: Vec::new(),
            left_out,
            alone,
        },
    };
    // Names that are given stay: those that are made go around them.
    found.sort_by_key(|one| (one.metadata.is_empty(), one.translation.kind));
    for one in found {
        if let Err(why) = writer.put(&one) {
            writer.import.left_out.push(one.line(&why));
        }
    }
    writer.import.manifests.sort_by_key(|(kind, _)| *kind);
    writer.import
}

/// Queues without a type are of the type that their virtual host says, where it is here and says one.
fn give_types(found: &mut [Found]) {
    let mut types = BTreeMap::new();
    for one in found.iter().filter(|one| one.translation.kind == Kind::Vhost) {
        let field = |name: &str| text(&one.translation.spec, name).to_owned();
        let (name, queue_type) = (field("name"), field("defaultQueueType"));
        if !matches!(queue_type.as_str(), "" | "classic") {
            types.insert((one.home(), name), queue_type);
        }
    }
    for one in found.iter_mut().filter(|one| one.translation.kind == Kind::Queue) {
        let place = (one.home(), text(&one.translation.spec, "vhost").to_owned());
        let spec = &mut one.translation.spec;
        if let (Some(queue_type), None) = (types.get(&place), spec.get("type")) {
            spec.insert("type".to_owned(), json!(queue_type));
        }
    }
}

struct Writer<'a> {
    args: &'a ImportArgs,
    names: Names,
    /// Objects on brokers that have a manifest, and where that comes from.
    wanted: BTreeMap<(String, Identity), String>,
    import: Import,
}

impl Writer<'_> {
    /// Adds the manifest of one object.
    fn put(&mut self, one: &Found) -> Result<(), String> {
        let kind = one.translation.kind;
        let mut metadata = one.metadata.clone();
        if let Some(namespace) = &self.args.namespace {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
        let namespace = metadata
            .get("namespace")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let mut spec = one.translation.spec.clone();
        let broker = self.broker(spec.remove("brokerRef"), &namespace);
        spec.insert("brokerRef".to_owned(), broker.clone());
        let given = !one.metadata.is_empty();
        if kind != Kind::Binding && !spec.contains_key("name") {
            return Err("has no name".to_owned());
        }
        let object = declared(kind, &metadata, &spec, given)?;
        let place = (address(&broker, &namespace), object.identity());
        if let Some(first) = self.wanted.get(&place) {
            return Err(format!("asks for the same as {first}"));
        }
        let name = match metadata.get("name").and_then(Value::as_str) {
            Some(name) if !self.names.keep(kind, &namespace, name) => {
                return Err("is there twice under this name".to_owned());
            }
            Some(name) => name.to_owned(),
            None => self.names.give(&namespace, &object),
        };
        metadata.insert("name".to_owned(), json!(name));
        let mut written = manifest::spec(&object, &name, &broker);
        for field in ABOUT_THE_RESOURCE {
            if let Some(value) = spec.get(field) {
                written.insert(field.to_owned(), value.clone());
            }
        }
        if written.contains_key("serviceAccount") {
            // It is the name.
            written.remove("name");
        }
        self.wanted.insert(place, one.place.clone());
        let manifest = manifest(kind, Value::Object(metadata), written);
        self.import.manifests.push((kind, manifest));
        Ok(())
    }

    /// The Broker of a manifest in `namespace`.
    fn broker(&self, reference: Option<Value>, namespace: &str) -> Value {
        if let Some(name) = &self.args.broker {
            return json!({ "name": name });
        }
        let mut reference = reference.unwrap_or_else(|| json!({ "name": USUAL_BROKER }));
        if let Some(fields) = reference.as_object_mut()
            && fields.get("namespace").is_some_and(|other| other == namespace)
        {
            fields.remove("namespace");
        }
        reference
    }
}

/// The object that a spec asks for, once it has passed the checks of the API server.
fn declared(
    kind: Kind,
    metadata: &Map<String, Value>,
    spec: &Map<String, Value>,
    given: bool,
) -> Result<Declared, String> {
    let mut metadata = metadata.clone();
    if !given {
        metadata.insert("name".to_owned(), json!("unnamed"));
    }
    let mut asked = spec.clone();
    if asked.contains_key("serviceAccount") {
        asked.remove("name");
    }
    let admitted = admit(&manifest(kind, Value::Object(metadata), asked)).map_err(|refusals| {
        let reasons: BTreeSet<String> = refusals.iter().map(ToString::to_string).collect();
        reasons.into_iter().collect::<Vec<_>>().join("; ")
    })?;
    let spec = admitted.get("spec").cloned().unwrap_or_default();
    let spec = Spec::parse(kind, spec).map_err(|error| error.to_string())?;
    let key = ObjectKey::new(kind, "", "unnamed");
    let wish = wish(&AnyObject::new(Meta::fresh(key), spec)).ok_or("is nothing on a broker")?;
    let object = wish.declared?;
    match object.identity().is_reserved() {
        true => Err("is the broker's own".to_owned()),
        false => Ok(object),
    }
}
