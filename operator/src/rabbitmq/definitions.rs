//! Definitions: the document that RabbitMQ exports by `rabbitmqctl export_definitions` and `GET /api/definitions`.
//!
//! In: the document, of a whole broker or of one virtual host. Out: a `Part` for each object in it. Does not know about
//! files, or what stands on any broker.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::common::{
    self, DEFAULT_VHOST, default_queue_type, destination, entry_of_user, is_empty, put_table, queue_arguments, tracing,
    user_limits, vhost_limits,
};
use super::fields::{Fields, Read, shown};
use super::translation::{Owner, Part, Remark, Translation};
use crate::resource::Kind;

/// Lists of a document; one that has none of them is no document of definitions.
const LISTS: [&str; 10] = [
    "vhosts",
    "users",
    "permissions",
    "topic_permissions",
    "parameters",
    "global_parameters",
    "policies",
    "exchanges",
    "queues",
    "bindings",
];

/// The origin of a document, which is no object.
const ORIGIN: [&str; 7] = [
    "rabbit_version",
    "rabbitmq_version",
    "product_name",
    "product_version",
    "rabbitmq_definition_format",
    "original_cluster_name",
    EXPLANATION,
];

/// A word for whoever reads the document.
const EXPLANATION: &str = "explanation";

/// Properties of the virtual host in the document of one.
const OF_THE_VHOST: [&str; 3] = ["metadata", "description", "limits"];

/// The key under which a Leveret writes down users whose hashes RabbitMQ cannot check, and their lists.
const BESIDE: &str = "leveret";
const LISTS_BESIDE: [&str; 3] = ["users", "permissions", "topic_permissions"];

/// Component of the parameters that are limits of virtual hosts.
const LIMITS: &str = "vhost-limits";

/// The description that RabbitMQ gives to `/`.
const USUAL_DESCRIPTION: &str = "Default virtual host";

/// True for a document of definitions.
pub fn is_one(document: &Map<String, Value>) -> bool {
    LISTS
        .iter()
        .any(|list| document.get(*list).is_some_and(Value::is_array))
}

/// The objects of a document. `vhost`: where objects stand that name none, unless the document says it.
pub fn parts(mut document: Map<String, Value>, vhost: Option<&str>) -> Vec<Part> {
    let said = document.remove("original_vhost_name");
    let only = said.as_ref().and_then(Value::as_str).or(vhost).map(str::to_owned);
    let mut parts = Vec::new();
    let is_of_one = said.is_some() || OF_THE_VHOST.iter().any(|field| document.contains_key(*field));
    if is_of_one && !document.contains_key("vhosts") {
        let properties = OF_THE_VHOST.iter().filter_map(|field| document.remove_entry(*field));
        let mut properties: Map<String, Value> = properties.collect();
        properties.extend(only.as_ref().map(|name| ("name".to_owned(), json!(name))));
        document.insert("vhosts".to_owned(), json!([properties]));
    }
    share_limits(&mut document, only.as_deref().unwrap_or_default());
    let beside = document.remove(BESIDE);
    take_lists(&mut document, &LISTS, "", only.as_deref(), &mut parts);
    for field in ORIGIN {
        document.remove(field);
    }
    parts.extend(unknown(&document, ""));
    match beside {
        None => {}
        Some(Value::Object(mut beside)) => {
            let prefix = format!("{BESIDE}.");
            take_lists(&mut beside, &LISTS_BESIDE, &prefix, only.as_deref(), &mut parts);
            beside.remove(EXPLANATION);
            parts.extend(unknown(&beside, &prefix));
        }
        Some(other) => parts.push(strange(BESIDE, &format!("is no table but {}", shown(&other)))),
    }
    parts
}

/// Takes the entries of some lists out of a table that stands at `prefix`.
fn take_lists(
    table: &mut Map<String, Value>,
    lists: &[&str],
    prefix: &str,
    vhost: Option<&str>,
    parts: &mut Vec<Part>,
) {
    for list in lists {
        let place = format!("{prefix}{list}");
        match table.remove(*list) {
            None => {}
            Some(Value::Array(items)) => {
                let each = items.into_iter().enumerate();
                parts.extend(each.map(|(index, item)| one(list, format!("{place}[{index}]"), item, vhost)));
            }
            Some(other) => parts.push(strange(&place, &format!("is no list but {}", shown(&other)))),
        }
    }
}

/// Fields that nobody has taken.
fn unknown(table: &Map<String, Value>, prefix: &str) -> Vec<Part> {
    let fields = table.keys();
    let each = fields.map(|field| strange(&format!("{prefix}{field}"), "is not known here, and left out"));
    each.collect()
}

/// Limits of virtual hosts stand among the parameters, and in newer versions with the virtual host, too: they are taken
/// from the parameters where they stand there alone.
fn share_limits(document: &mut Map<String, Value>, only: &str) {
    let Some(Value::Array(parameters)) = document.get("parameters") else {
        return;
    };
    let vhost_of = |item: &Value| match text(item, "vhost") {
        "" => only.to_owned(),
        vhost => vhost.to_owned(),
    };
    let of_vhosts = parameters.iter().filter(|item| text(item, "component") == LIMITS);
    let limits: BTreeMap<String, Value> = of_vhosts
        .map(|item| (vhost_of(item), item.get("value").cloned().unwrap_or_default()))
        .collect();
    let Some(Value::Array(vhosts)) = document.get_mut("vhosts") else {
        return;
    };
    let mut known = BTreeSet::new();
    for vhost in vhosts {
        let name = text(vhost, "name").to_owned();
        let Some(value) = limits.get(&name) else { continue };
        if let Some(vhost) = vhost.as_object_mut() {
            let own = vhost.entry("limits").or_insert(Value::Null);
            if own.is_null() || is_empty(own) {
                own.clone_from(value);
            }
            known.insert(name);
        }
    }
    if let Some(Value::Array(parameters)) = document.get_mut("parameters") {
        let is_known = |item: &Value| text(item, "component") == LIMITS && known.contains(&vhost_of(item));
        for item in parameters.iter_mut().filter(|item| is_known(item)) {
            *item = Value::Null;
        }
    }
}

/// A field of the document that is none of its lists.
fn strange(field: &str, why: &str) -> Part {
    Part {
        place: field.to_owned(),
        what: String::new(),
        translated: Some(Err(Remark::whole(why))),
    }
}

/// One entry of a list.
fn one(list: &str, place: String, mut item: Value, vhost: Option<&str>) -> Part {
    let in_vhost = !matches!(list, "vhosts" | "users" | "global_parameters");
    if let (Some(entry), Some(vhost), true) = (item.as_object_mut(), vhost, in_vhost) {
        entry.entry("vhost").or_insert_with(|| json!(vhost));
    }
    let what = called(list, &item);
    let lacks_vhost = in_vhost && item.is_object() && item.get("vhost").is_none();
    let translated = match list {
        _ if lacks_vhost => Some(Err(Remark::whole("names no virtual host: give it by --vhost NAME"))),
        "vhosts" if item.is_object() && item.get("name").is_none() => Some(Err(nameless())),
        "vhosts" => vhost_entry(item).transpose(),
        // RabbitMQ exports the one to which it logs.
        "exchanges" if text(&item, "name").starts_with("amq.") => None,
        "exchanges" => Some(read(Kind::Exchange, item, exchange)),
        "queues" => Some(read(Kind::Queue, item, queue)),
        "bindings" => Some(read(Kind::Binding, item, binding)),
        "policies" => Some(read(Kind::Policy, item, policy)),
        // Taken from here already.
        "parameters" if item.is_null() => None,
        "parameters" => Some(parameter(item)),
        "global_parameters" => global_parameter(&item).map(Err),
        "users" => Some(read(Kind::User, item, user)),
        list => Some(permission(list, item)),
    };
    Part {
        place,
        what,
        translated,
    }
}

fn nameless() -> Remark {
    Remark::whole("names no virtual host: give it by --vhost NAME")
}

fn text<'a>(item: &'a Value, field: &str) -> &'a str {
    item.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// An entry as a person calls it.
fn called(list: &str, item: &Value) -> String {
    let text = |field: &str| text(item, field);
    let place = match text("vhost") {
        "" | DEFAULT_VHOST => String::new(),
        vhost => format!(" in vhost '{vhost}'"),
    };
    match list {
        "vhosts" => format!("vhost '{}'", text("name")),
        "users" => format!("user '{}'", text("name")),
        "permissions" => format!("permissions of user '{}'{place}", text("user")),
        "topic_permissions" => format!("topic permissions of user '{}'{place}", text("user")),
        "parameters" => format!("{} '{}'{place}", text("component"), text("name")),
        "global_parameters" => format!("global parameter '{}'", text("name")),
        "policies" => format!("policy '{}'{place}", text("name")),
        "exchanges" => format!("exchange '{}'{place}", text("name")),
        "queues" => format!("queue '{}'{place}", text("name")),
        _ => format!("binding of '{}' to '{}'{place}", text("source"), text("destination")),
    }
}

fn read(kind: Kind, item: Value, entry: Read) -> Result<Translation, Remark> {
    let mut fields = Fields::of(item)?;
    let spec = entry(&mut fields);
    Ok(Translation::new(kind, spec, fields.finish()))
}

/// `None` for the virtual host that every broker has, as it is on every broker.
fn vhost_entry(item: Value) -> Result<Option<Translation>, Remark> {
    let translated = read(Kind::Vhost, item, vhost)?;
    if translated.spec.get("name").is_none_or(|name| name != DEFAULT_VHOST) {
        return Ok(Some(translated));
    }
    let mut rest = translated.spec;
    rest.remove("name");
    if rest.get("description").is_some_and(|text| text == USUAL_DESCRIPTION) {
        rest.remove("description");
    }
    if rest.get("defaultQueueType").is_some_and(|name| name == "classic") {
        rest.remove("defaultQueueType");
    }
    let remarks = translated.remarks.into_iter().map(|remark| remark.field.join("."));
    let own: Vec<String> = rest.keys().cloned().chain(remarks).collect();
    match own.is_empty() {
        true => Ok(None),
        false => Err(Remark::whole(format!(
            "is on every broker and has no manifest: set {} there",
            own.join(", ")
        ))),
    }
}

fn vhost(fields: &mut Fields) -> Map<String, Value> {
    fn properties(fields: &mut Fields, spec: &mut Map<String, Value>) {
        if let Some(description) = fields.text("description") {
            spec.insert("description".to_owned(), json!(description));
        }
        if let Some(tags) = fields.take("tags").filter(|tags| !is_empty(tags)) {
            spec.insert("tags".to_owned(), tags);
        }
        default_queue_type(fields, spec, "default_queue_type");
        let why = "a Vhost has no protection of its own: deletionPolicy is DeleteIfEmpty, Retain would keep it always";
        fields.leave_out("protected_from_deletion", |value| *value == json!(false), why);
    }
    let mut spec = Map::new();
    fields.carry(&mut spec, &[("name", "name")]);
    properties(fields, &mut spec);
    fields.inside("metadata", |fields| properties(fields, &mut spec));
    vhost_limits(fields, &mut spec, "max-connections", "max-queues");
    tracing(fields, "tracing");
    spec
}

fn user(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    fields.carry(&mut spec, &[("name", "name")]);
    // A list; a text in old versions.
    let tags = match fields.take("tags") {
        Some(Value::String(text)) => text
            .split(',')
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .map(|tag| json!(tag))
            .collect(),
        Some(Value::Array(tags)) => tags,
        Some(other) => vec![other],
        None => Vec::new(),
    };
    if !tags.is_empty() {
        spec.insert("tags".to_owned(), Value::Array(tags));
    }
    user_limits(fields, &mut spec, "max-connections", "max-channels");
    let mut hash = Map::new();
    fields.carry(
        &mut hash,
        &[("password_hash", "value"), ("hashing_algorithm", "algorithm")],
    );
    put_table(&mut spec, "passwordHash", hash);
    spec
}

fn permission(list: &str, item: Value) -> Result<Translation, Remark> {
    let mut fields = Fields::of(item)?;
    let user = fields.text("user").ok_or_else(|| Remark::whole("names no user"))?;
    let entry = common::permission(&mut fields);
    let list = if list == "permissions" {
        "permissions"
    } else {
        "topicPermissions"
    };
    Ok(Translation {
        of: Some(Owner::User(user)),
        ..Translation::new(Kind::User, entry_of_user(list, entry), fields.finish())
    })
}

fn exchange(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    let names = [
        ("name", "name"),
        ("vhost", "vhost"),
        ("type", "type"),
        ("durable", "durable"),
        ("auto_delete", "autoDelete"),
        ("internal", "internal"),
    ];
    fields.carry(&mut spec, &names);
    put_table(&mut spec, "arguments", fields.table("arguments"));
    spec
}

fn queue(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    let names = [
        ("name", "name"),
        ("vhost", "vhost"),
        ("durable", "durable"),
        ("auto_delete", "autoDelete"),
    ];
    fields.carry(&mut spec, &names);
    let (queue_type, arguments) = (fields.take("type"), fields.table("arguments"));
    queue_arguments(fields, &mut spec, queue_type, arguments);
    spec
}

fn binding(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    let names = [("vhost", "vhost"), ("source", "source"), ("routing_key", "routingKey")];
    fields.carry(&mut spec, &names);
    destination(fields, &mut spec, "destination", "destination_type");
    put_table(&mut spec, "arguments", fields.table("arguments"));
    spec
}

fn policy(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    let names = [
        ("name", "name"),
        ("vhost", "vhost"),
        ("pattern", "pattern"),
        ("apply-to", "applyTo"),
        ("priority", "priority"),
        ("definition", "definition"),
    ];
    fields.carry(&mut spec, &names);
    spec
}

/// A parameter: operator policies are kept as such.
fn parameter(item: Value) -> Result<Translation, Remark> {
    let why = match text(&item, "component") {
        "operator_policy" => return operator_policy(item),
        LIMITS => "its virtual host is not here: write limits into its Vhost",
        "shovel" => "Leveret runs no shovels: move the messages with a client, or keep RabbitMQ for it",
        "federation-upstream" | "federation-upstream-set" => {
            "Leveret has no federation: publish to both brokers, or keep RabbitMQ for this upstream"
        }
        _ => "parameters are no resources: set it on the broker, PUT /api/parameters/COMPONENT/VHOST/NAME",
    };
    Err(Remark::whole(why))
}

fn operator_policy(item: Value) -> Result<Translation, Remark> {
    read(Kind::OperatorPolicy, item, |fields| {
        fields.pass_over(&["component"]);
        let value = fields.inside("value", policy);
        let mut spec = value.unwrap_or_default();
        fields.carry(&mut spec, &[("name", "name"), ("vhost", "vhost")]);
        spec
    })
}

/// `None` for what every cluster has of its own: its name, and tags that nobody has given.
fn global_parameter(item: &Value) -> Option<Remark> {
    let is_usual = match text(item, "name") {
        "cluster_name" => true,
        "cluster_tags" => item.get("value").is_none_or(is_empty),
        _ => false,
    };
    let why = "global parameters are no resources: set it on the broker, PUT /api/global-parameters/NAME";
    (!is_usual).then(|| Remark::whole(why))
}

#[cfg(test)]
mod tests;
