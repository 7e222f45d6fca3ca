//! Terraform's state (`terraform.tfstate`, version 4) with resources of the provider `cyrilgdn/rabbitmq`.
//!
//! In: the state. Out: a `Part` for each instance of such a resource. Does not know about files, other providers, or
//! Terraform's configuration.

use serde_json::{Map, Value, json};

use super::common::{self, default_queue_type, destination, put_table, queue_arguments, tracing};
use super::fields::{Fields, Read};
use super::translation::{Owner, Part, Remark, Translation};
use crate::resource::Kind;

/// Version of the format; Terraform writes it since 0.12 (2019).
const VERSION: u64 = 4;

/// Prefix of the types of the provider's resources.
const PREFIX: &str = "rabbitmq_";

/// True for a state of any version.
pub fn is_one(document: &Map<String, Value>) -> bool {
    document.contains_key("terraform_version") && document.contains_key("version")
}

/// The objects of a state, and the number of resources of other providers.
///
/// # Errors
/// It is of another version.
pub fn parts(mut document: Map<String, Value>) -> Result<(Vec<Part>, usize), Remark> {
    if document.get("version").and_then(Value::as_u64) != Some(VERSION) {
        return Err(Remark::whole(format!(
            "is no state of version {VERSION}: a newer Terraform writes it anew, for example by terraform refresh"
        )));
    }
    let Some(Value::Array(resources)) = document.remove("resources") else {
        return Ok((Vec::new(), 0));
    };
    let mut parts = Vec::new();
    let mut others = 0;
    for resource in resources {
        let text = |field: &str| resource.get(field).and_then(Value::as_str).unwrap_or_default();
        match text("type").strip_prefix(PREFIX) {
            // A data source only reads.
            Some(_) if text("mode") == "data" => {}
            Some(kind) => {
                let address = address(text("module"), text("type"), text("name"));
                let instances = resource
                    .get("instances")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten();
                parts.extend(instances.map(|instance| one(kind, &address, instance)));
            }
            None => others += 1,
        }
    }
    Ok((parts, others))
}

/// A resource as Terraform names it.
fn address(module: &str, kind: &str, name: &str) -> String {
    match module {
        "" => format!("{kind}.{name}"),
        module => format!("{module}.{kind}.{name}"),
    }
}

fn one(kind: &str, address: &str, instance: &Value) -> Part {
    let index = instance.get("index_key").filter(|index| !index.is_null());
    let index = index.map(|index| format!("[{index}]")).unwrap_or_default();
    let attributes = instance.get("attributes").cloned().unwrap_or_default();
    let translated = match instance.get("deposed") {
        Some(Value::String(_)) => Err(Remark::whole("is about to be destroyed by Terraform (deposed)")),
        _ => translate(kind, attributes),
    };
    Part {
        place: format!("{address}{index}"),
        what: String::new(),
        translated: Some(translated),
    }
}

fn translate(kind: &str, attributes: Value) -> Result<Translation, Remark> {
    let (kind, read): (Kind, Read) = match kind {
        "queue" => (Kind::Queue, queue),
        "exchange" => (Kind::Exchange, exchange),
        "binding" => (Kind::Binding, binding),
        "vhost" => (Kind::Vhost, vhost),
        "policy" => (Kind::Policy, policy),
        "operator_policy" => (Kind::OperatorPolicy, policy),
        "user" => (Kind::User, user),
        "permissions" => return permissions("permissions", attributes),
        "topic_permissions" => return permissions("topicPermissions", attributes),
        "shovel" => {
            return Err(Remark::whole(
                "Leveret runs no shovels: move the messages with a client, or keep RabbitMQ for it",
            ));
        }
        "federation_upstream" => {
            return Err(Remark::whole(
                "Leveret has no federation: publish to both brokers, or keep RabbitMQ for this upstream",
            ));
        }
        _ => return Err(Remark::whole("is no resource that is known here")),
    };
    let mut fields = Fields::of(attributes)?;
    fields.pass_over(&["id", "timeouts"]);
    let spec = read(&mut fields);
    if kind == Kind::Vhost && spec.get("name").is_some_and(|name| name == "/") {
        return Err(Remark::whole("is on every broker and has no manifest"));
    }
    Ok(Translation::new(kind, spec, fields.finish()))
}

/// The password is not taken along: it stands in the state as it is.
fn user(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    fields.carry(&mut spec, &[("name", "name"), ("tags", "tags")]);
    fields.pass_over(&["password"]);
    spec
}

/// Permissions in one virtual host: one block, or one for each exchange.
fn permissions(list: &str, attributes: Value) -> Result<Translation, Remark> {
    let mut fields = Fields::of(attributes)?;
    fields.pass_over(&["id", "timeouts"]);
    let user = fields.text("user").ok_or_else(|| Remark::whole("names no user"))?;
    let vhost = fields.take("vhost");
    let mut entries = Vec::new();
    fields.blocks("permissions", |block| {
        let mut entry = common::permission(block);
        entry.extend(vhost.clone().map(|vhost| ("vhost".to_owned(), vhost)));
        entries.push(Value::Object(entry));
    });
    let spec = Map::from_iter([(list.to_owned(), Value::Array(entries))]);
    Ok(Translation {
        of: Some(Owner::User(user)),
        ..Translation::new(Kind::User, spec, fields.finish())
    })
}

/// Arguments are a table of texts, or JSON in a text where some are no texts.
fn arguments(fields: &mut Fields) -> Map<String, Value> {
    let plain = fields.table("arguments");
    let Some(text) = fields.text("arguments_json") else {
        return plain;
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(arguments)) => arguments,
        _ => {
            fields.remark("arguments_json", "is no JSON object");
            plain
        }
    }
}

fn queue(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    spec.insert("durable".to_owned(), json!(false));
    fields.carry(&mut spec, &["name", "vhost"].map(|name| (name, name)));
    fields.block("settings", |fields| {
        fields.carry(&mut spec, &[("durable", "durable"), ("auto_delete", "autoDelete")]);
        let arguments = arguments(fields);
        queue_arguments(fields, &mut spec, None, arguments);
    });
    spec
}

fn exchange(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    spec.insert("durable".to_owned(), json!(false));
    fields.carry(&mut spec, &["name", "vhost"].map(|name| (name, name)));
    fields.block("settings", |fields| {
        let names = [("type", "type"), ("durable", "durable"), ("auto_delete", "autoDelete")];
        fields.carry(&mut spec, &names);
        put_table(&mut spec, "arguments", arguments(fields));
    });
    spec
}

fn binding(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    let names = [("vhost", "vhost"), ("source", "source"), ("routing_key", "routingKey")];
    fields.carry(&mut spec, &names);
    fields.pass_over(&["properties_key"]);
    destination(fields, &mut spec, "destination", "destination_type");
    put_table(&mut spec, "arguments", arguments(fields));
    spec
}

fn vhost(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    fields.carry(&mut spec, &[("name", "name")]);
    if let Some(description) = fields.text("description") {
        spec.insert("description".to_owned(), json!(description));
    }
    default_queue_type(fields, &mut spec, "default_queue_type");
    tracing(fields, "tracing");
    let mut limits = Map::new();
    for (theirs, ours) in [("max_connections", "maxConnections"), ("max_queues", "maxQueues")] {
        // A text there.
        if let Some(text) = fields.text(theirs) {
            match text.parse::<i64>() {
                Ok(most) if most < 0 => {}
                Ok(most) => drop(limits.insert(ours.to_owned(), json!(most))),
                Err(_) => fields.remark(theirs, "is no number"),
            }
        }
    }
    put_table(&mut spec, "limits", limits);
    spec
}

fn policy(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    fields.carry(&mut spec, &["name", "vhost"].map(|name| (name, name)));
    fields.block("policy", |fields| {
        let names = [
            ("pattern", "pattern"),
            ("apply_to", "applyTo"),
            ("priority", "priority"),
        ];
        fields.carry(&mut spec, &names);
        // A table of texts: the provider makes numbers of those that are some.
        let definition = fields.table("definition").into_iter().map(|(key, value)| {
            let number = value.as_str().and_then(|text| text.parse::<i64>().ok());
            (key, number.map_or(value, Value::from))
        });
        spec.insert("definition".to_owned(), Value::Object(definition.collect()));
    });
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(kind: &str, attributes: Value) -> Value {
        json!({
            "version": 4, "terraform_version": "1.9.0", "serial": 3, "lineage": "x", "outputs": {},
            "resources": [{
                "mode": "managed", "type": format!("rabbitmq_{kind}"), "name": "it",
                "provider": "provider[\"registry.terraform.io/cyrilgdn/rabbitmq\"]",
                "instances": [{"schema_version": 0, "attributes": attributes, "sensitive_attributes": []}]
            }]
        })
    }

    fn parts_of(state: Value) -> Vec<Part> {
        match state {
            Value::Object(state) => parts(state).expect("a state").0,
            _ => Vec::new(),
        }
    }

    #[test]
    fn resources_as_the_provider_writes_them() {
        for (kind, attributes, expected) in [
            (
                "queue",
                json!({"id": "q@/", "name": "q", "vhost": "/", "settings": [{
                    "arguments": null, "arguments_json": "{\"x-queue-type\":\"quorum\",\"x-max-length\":5}",
                    "auto_delete": false, "durable": true}]}),
                json!({"name": "q", "vhost": "/", "durable": true, "autoDelete": false, "type": "quorum",
                    "arguments": {"x-max-length": 5}}),
            ),
            (
                "exchange",
                json!({"id": "x@shop", "name": "x", "vhost": "shop", "settings": [{
                    "arguments": {"alternate-exchange": "rest"}, "auto_delete": true, "durable": false,
                    "type": "topic"}]}),
                json!({"name": "x", "vhost": "shop", "durable": false, "autoDelete": true, "type": "topic",
                    "arguments": {"alternate-exchange": "rest"}}),
            ),
            (
                "binding",
                json!({"id": "%2F/x/q/queue/k", "vhost": "/", "source": "x", "destination": "q",
                    "destination_type": "queue", "routing_key": "k", "properties_key": "k", "arguments": null,
                    "arguments_json": null}),
                json!({"vhost": "/", "source": "x", "destination": {"queue": "q"}, "routingKey": "k"}),
            ),
            (
                "vhost",
                json!({"id": "shop", "name": "shop", "description": "", "default_queue_type": "quorum",
                    "tracing": false, "max_connections": "", "max_queues": ""}),
                json!({"name": "shop", "defaultQueueType": "quorum"}),
            ),
            (
                "user",
                json!({"id": "u", "name": "u", "password": "secret", "tags": ["management"]}),
                json!({"name": "u", "tags": ["management"]}),
            ),
            (
                "permissions",
                json!({"id": "u@/", "user": "u", "vhost": "/", "permissions": [
                    {"configure": "^a", "write": "", "read": ".*"}]}),
                json!({"permissions": [{"vhost": "/", "configure": "^a", "write": "", "read": ".*"}]}),
            ),
            (
                "topic_permissions",
                json!({"id": "u@/", "user": "u", "vhost": "/", "permissions": [
                    {"exchange": "x", "write": "^a", "read": ".*"}, {"exchange": "y", "write": "", "read": ""}]}),
                json!({"topicPermissions": [
                    {"vhost": "/", "exchange": "x", "write": "^a", "read": ".*"},
                    {"vhost": "/", "exchange": "y", "write": "", "read": ""}]}),
            ),
            (
                "operator_policy",
                json!({"id": "p@/", "name": "p", "vhost": "/", "policy": [{"pattern": "^a", "priority": 2,
                    "apply_to": "queues", "definition": {"max-length": "5", "overflow": "drop-head"}}]}),
                json!({"name": "p", "vhost": "/", "pattern": "^a", "priority": 2, "applyTo": "queues",
                    "definition": {"max-length": 5, "overflow": "drop-head"}}),
            ),
        ] {
            let parts = parts_of(state(kind, attributes));
            let Some(Ok(Translation { spec, remarks, .. })) = &parts[0].translated else {
                panic!("{parts:?}")
            };
            assert_eq!((json!(spec), remarks.as_slice()), (expected, [].as_slice()), "{kind}");
            assert_eq!(parts[0].place, format!("rabbitmq_{kind}.it"));
        }
    }

    #[test]
    fn everything_else_is_named() {
        for (kind, attributes) in [
            ("permissions", json!({"vhost": "/"})),
            ("shovel", json!({})),
            ("federation_upstream", json!({})),
            ("unheard", json!({})),
            ("vhost", json!({"name": "/"})),
        ] {
            let parts = parts_of(state(kind, attributes));
            assert!(matches!(&parts[0].translated, Some(Err(_))), "{kind}: {parts:?}");
        }
        let user = parts_of(state(
            "user",
            json!({"id": "u", "name": "u", "password": "secret", "tags": ["management"]}),
        ));
        assert!(!format!("{user:?}").contains("secret"), "{user:?}");
        let limits = json!({"name": "a", "max_queues": "5", "tracing": true, "colour": "red"});
        let parts = parts_of(state("vhost", limits));
        let Some(Ok(Translation { spec, remarks, .. })) = &parts[0].translated else {
            panic!("{parts:?}")
        };
        assert_eq!(spec["limits"], json!({"maxQueues": 5}));
        let fields: Vec<&str> = remarks.iter().map(|remark| remark.field[0].as_str()).collect();
        assert_eq!(fields, ["tracing", "colour"]);
    }

    #[test]
    fn instances_are_told_apart_and_others_are_counted() {
        let mut state = state("vhost", json!({"name": "a"}));
        state["resources"][0]["module"] = json!("module.m");
        state["resources"][0]["instances"][0]["index_key"] = json!("one");
        let deposed = json!({"index_key": 1, "deposed": "ab", "attributes": {"name": "b"}});
        state["resources"][0]["instances"]
            .as_array_mut()
            .expect("a list")
            .push(deposed);
        let other = json!({"mode": "managed", "type": "aws_instance", "name": "x", "instances": []});
        let data = json!({"mode": "data", "type": "rabbitmq_vhost", "name": "x", "instances": [{}]});
        let resources = state["resources"].as_array_mut().expect("a list");
        resources.extend([other, data]);
        let (parts, others) = parts(state.as_object().expect("a state").clone()).expect("a state");
        let places: Vec<&str> = parts.iter().map(|part| part.place.as_str()).collect();
        assert_eq!(
            places,
            ["module.m.rabbitmq_vhost.it[\"one\"]", "module.m.rabbitmq_vhost.it[1]"]
        );
        assert!(matches!(&parts[1].translated, Some(Err(_))));
        assert_eq!(others, 1);
    }

    #[test]
    fn another_version_is_refused() {
        let mut state = state("queue", json!({}));
        state["version"] = json!(3);
        assert!(parts(state.as_object().expect("a state").clone()).is_err());
    }
}
