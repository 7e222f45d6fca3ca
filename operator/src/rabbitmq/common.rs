//! The parts of objects that all of RabbitMQ's tools write in nearly the same way.
//!
//! In: fields. Out: the fields of a spec. Does not know about which tool wrote them.

use serde_json::{Map, Value, json};

use super::fields::{Fields, shown};

/// The virtual host that every broker has.
pub(super) const DEFAULT_VHOST: &str = "/";

/// The word for a default queue type that nobody has set.
const UNDEFINED: &str = "undefined";

/// The type of a queue, which is a field of its spec, and elsewhere a field, an argument, or both; and its arguments.
pub(super) fn queue_arguments(
    fields: &mut Fields,
    spec: &mut Map<String, Value>,
    queue_type: Option<Value>,
    mut arguments: Map<String, Value>,
) {
    let queue_type = queue_type.filter(|value| value != "");
    let argument = arguments.remove("x-queue-type").filter(|value| !value.is_null());
    if let (Some(queue_type), Some(argument)) = (&queue_type, &argument)
        && queue_type != argument
    {
        let why = format!(
            "is {} where type is {}, which counts",
            shown(argument),
            shown(queue_type)
        );
        fields.remark("arguments.x-queue-type", why);
    }
    if let Some(queue_type) = queue_type.or(argument) {
        spec.insert("type".to_owned(), queue_type);
    }
    put_table(spec, "arguments", arguments);
}

/// Puts a table into a spec unless nothing is in it.
pub(super) fn put_table(spec: &mut Map<String, Value>, name: &str, table: Map<String, Value>) {
    if !table.is_empty() {
        spec.insert(name.to_owned(), Value::Object(table));
    }
}

/// The end of a binding, from its name and kind.
pub(super) fn destination(fields: &mut Fields, spec: &mut Map<String, Value>, name_field: &str, kind_field: &str) {
    let name = fields.take(name_field).unwrap_or_else(|| json!(""));
    match fields.text(kind_field).as_deref() {
        Some(kind @ ("queue" | "exchange")) => {
            spec.insert("destination".to_owned(), json!({ kind: name }));
        }
        Some(other) => fields.remark(kind_field, format!("is '{other}' and not queue or exchange")),
        None => fields.remark(kind_field, "is missing: queue or exchange"),
    }
}

/// The default queue type of a virtual host.
pub(super) fn default_queue_type(fields: &mut Fields, spec: &mut Map<String, Value>, name: &str) {
    if let Some(queue_type) = fields.take(name).filter(|value| value != "" && value != UNDEFINED) {
        spec.insert("defaultQueueType".to_owned(), queue_type);
    }
}

/// Limits of a virtual host: those that are not set are none.
pub(super) fn vhost_limits(fields: &mut Fields, spec: &mut Map<String, Value>, connections: &str, queues: &str) {
    limits(fields, spec, &[(connections, "maxConnections"), (queues, "maxQueues")]);
}

/// Limits of a user: those that are not set are none.
pub(super) fn user_limits(fields: &mut Fields, spec: &mut Map<String, Value>, connections: &str, channels: &str) {
    limits(
        fields,
        spec,
        &[(connections, "maxConnections"), (channels, "maxChannels")],
    );
}

fn limits(fields: &mut Fields, spec: &mut Map<String, Value>, names: &[(&str, &str)]) {
    let limits = fields.inside("limits", |fields| {
        let mut limits = Map::new();
        fields.carry(&mut limits, names);
        limits.retain(|_, value| value.as_i64().is_none_or(|number| number >= 0));
        limits
    });
    put_table(spec, "limits", limits.unwrap_or_default());
}

/// Permissions as an entry of a User's list.
pub(super) fn permission(fields: &mut Fields) -> Map<String, Value> {
    let mut entry = Map::new();
    let names = ["vhost", "exchange", "configure", "write", "read"].map(|name| (name, name));
    fields.carry(&mut entry, &names);
    entry
}

/// The spec of a User with one entry in one of its lists.
pub(super) fn entry_of_user(list: &str, entry: Map<String, Value>) -> Map<String, Value> {
    Map::from_iter([(list.to_owned(), json!([entry]))])
}

/// Tracing of a virtual host, for which its resource has no field.
pub(super) fn tracing(fields: &mut Fields, name: &str) {
    let why = "a Vhost has no tracing: switch it on where it is needed, on the broker";
    fields.leave_out(name, |value| *value == json!(false), why);
}

/// A table or list without anything in it.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}
