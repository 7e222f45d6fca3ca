//! Manifests of RabbitMQ's messaging topology operator (`rabbitmq.com/v1beta1`).
//!
//! In: kind and spec as they stand in a manifest. Out: `Translation`. Does not know about metadata, files or statuses.
//!
//! What a spec leaves out means what it means to that operator: an exchange is not durable unless it says so, an
//! operator policy is for queues, and a queue or virtual host goes with everything in it.

use serde_json::{Map, Value, json};

use super::common::{
    self, DEFAULT_VHOST, default_queue_type, destination, entry_of_user, put_table, queue_arguments, tracing,
    user_limits, vhost_limits,
};
use super::fields::{Fields, Read};
use super::translation::{Owner, Remark, Translation};
use crate::resource::Kind;

/// API group of the manifests.
pub const GROUP: &str = "rabbitmq.com";
/// API version of the manifests that have a counterpart.
pub const VERSION: &str = "v1beta1";

/// Kinds of the group that have no counterpart, and what to do instead.
const OTHERS: [(&str, &str); 5] = [
    (
        "Federation",
        "Leveret has no federation: publish to both brokers, or keep RabbitMQ for this upstream",
    ),
    (
        "Shovel",
        "Leveret runs no shovels: move the messages with a client, or keep RabbitMQ for it",
    ),
    (
        "SchemaReplication",
        "Leveret has no standby replication: apply the manifests to both clusters",
    ),
    (
        "SuperStream",
        "Leveret has no super streams: declare an exchange and its queues",
    ),
    (
        "RabbitmqCluster",
        "write a Broker of that name in its place: engine Leveret, or External with the address of the cluster",
    ),
];

/// A manifest, or an object in a cluster.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// `metadata.name`.
    pub name: String,
    pub spec: Value,
    /// The words of that operator on it, if there are any.
    pub status: Value,
}

/// Translates a manifest.
///
/// # Errors
/// There is no such resource, and what to do instead.
pub fn translate(kind: &str, manifest: Manifest) -> Result<Translation, Remark> {
    let Manifest { name, spec, status } = manifest;
    match kind {
        "User" => return user(&name, spec, &status),
        "Permission" => return permission("permissions", spec),
        "TopicPermission" => return permission("topicPermissions", spec),
        _ => {}
    }
    let (kind, read): (Kind, Read) = match kind {
        "Queue" => (Kind::Queue, queue),
        "Exchange" => (Kind::Exchange, exchange),
        "Binding" => (Kind::Binding, binding),
        "Vhost" => (Kind::Vhost, vhost),
        "Policy" => (Kind::Policy, |fields| policy(fields, "all")),
        "OperatorPolicy" => (Kind::OperatorPolicy, |fields| policy(fields, "queues")),
        other => {
            let known = OTHERS.iter().find(|(name, _)| *name == other);
            return Err(Remark::whole(
                known.map_or("is no kind that is known here", |(_, why)| why),
            ));
        }
    };
    let mut fields = Fields::of(spec)?;
    let mut spec = read(&mut fields);
    if kind == Kind::Vhost && spec.get("name").is_some_and(|name| name == DEFAULT_VHOST) {
        return Err(Remark::whole(
            "the virtual host / is on every broker: it needs no manifest, and its properties are the broker's own",
        ));
    }
    if let Some(broker) = broker(&mut fields) {
        spec.insert("brokerRef".to_owned(), broker);
    }
    Ok(Translation::new(kind, spec, fields.finish()))
}

/// A user. Its name on the broker stands in a Secret, and in the status once that operator has read it; it makes one up
/// where there is no Secret.
fn user(name: &str, spec: Value, status: &Value) -> Result<Translation, Remark> {
    let mut fields = Fields::of(spec)?;
    let mut spec = Map::new();
    fields.carry(&mut spec, &[("tags", "tags")]);
    user_limits(&mut fields, &mut spec, "connections", "channels");
    let brought = fields
        .inside("importCredentialsSecret", |fields| fields.take("name"))
        .flatten();
    let made = status.pointer("/credentials/name").cloned();
    let (way, secret) = match brought.or(made) {
        Some(secret) => ("passwordSecretRef", secret),
        None => ("generatedSecret", json!(format!("{name}-user-credentials"))),
    };
    spec.insert(way.to_owned(), json!({ "name": secret }));
    // The password on the broker has another salt than here: whether it is the same cannot be seen.
    spec.insert("adoptionPolicy".to_owned(), json!("Always"));
    match status.get("username").and_then(Value::as_str) {
        Some(user) => {
            spec.insert("name".to_owned(), json!(user));
        }
        None if way == "generatedSecret" => {
            spec.insert("name".to_owned(), json!(name));
        }
        None => {}
    }
    if let Some(broker) = broker(&mut fields) {
        spec.insert("brokerRef".to_owned(), broker);
    }
    Ok(Translation::new(Kind::User, spec, fields.finish()))
}

/// Permissions, which are parts of a User.
fn permission(list: &str, spec: Value) -> Result<Translation, Remark> {
    let mut fields = Fields::of(spec)?;
    let resource = fields.inside("userReference", |fields| fields.text("name")).flatten();
    let owner = match (fields.text("user"), resource) {
        (Some(_), Some(_)) => return Err(Remark::whole("names a user and a userReference")),
        (Some(user), None) => Owner::User(user),
        (None, Some(name)) => Owner::Resource(name),
        (None, None) => return Err(Remark::whole("names no user")),
    };
    let mut entry = fields.inside("permissions", common::permission).unwrap_or_default();
    fields.carry(&mut entry, &[("vhost", "vhost")]);
    let mut spec = entry_of_user(list, entry);
    if let Some(broker) = broker(&mut fields) {
        spec.insert("brokerRef".to_owned(), broker);
    }
    Ok(Translation {
        of: Some(owner),
        ..Translation::new(Kind::User, spec, fields.finish())
    })
}

/// The Broker: it has the name of the cluster, or of the Secret with the way to it.
fn broker(fields: &mut Fields) -> Option<Value> {
    let reference = fields.inside("rabbitmqClusterReference", |fields| {
        let mut broker = Map::new();
        let secret = fields
            .inside("connectionSecret", |fields| fields.take("name"))
            .flatten();
        fields.carry(&mut broker, &[("name", "name"), ("namespace", "namespace")]);
        if let Some(secret) = secret {
            if broker.contains_key("name") {
                fields.remark("connectionSecret", "stands beside a name, which counts");
            } else {
                broker.insert("name".to_owned(), secret);
            }
        }
        broker
    });
    reference.filter(|broker| !broker.is_empty()).map(Value::Object)
}

fn queue(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    let plain = ["name", "vhost", "durable", "autoDelete"].map(|name| (name, name));
    fields.carry(&mut spec, &plain);
    let (queue_type, arguments) = (fields.take("type"), fields.table("arguments"));
    queue_arguments(fields, &mut spec, queue_type, arguments);
    let if_empty = fields.is_on("deleteIfEmpty");
    let if_unused = fields.is_on("deleteIfUnused");
    let retained = deletion(fields, &mut spec, if if_empty { "DeleteIfEmpty" } else { "Delete" });
    if if_unused && !retained {
        let why = "a queue is asked for its messages and not for its consumers when its resource goes: \
                   deletionPolicy is DeleteIfEmpty; Retain would keep it";
        fields.remark("deleteIfUnused", why);
        spec.insert("deletionPolicy".to_owned(), json!("DeleteIfEmpty"));
    }
    spec
}

/// The fate of an object when its resource goes; true if it stays.
fn deletion(fields: &mut Fields, spec: &mut Map<String, Value>, otherwise: &str) -> bool {
    let retained = match fields.text("deletionPolicy").as_deref() {
        None | Some("delete") => false,
        Some("retain") => true,
        Some(other) => {
            let why = format!("is '{other}' and not delete or retain: it is Retain here, by which nothing is lost");
            fields.remark("deletionPolicy", why);
            true
        }
    };
    let policy = if retained { "Retain" } else { otherwise };
    spec.insert("deletionPolicy".to_owned(), json!(policy));
    retained
}

fn exchange(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    spec.insert("durable".to_owned(), json!(false));
    let plain = ["name", "vhost", "type", "durable", "autoDelete"].map(|name| (name, name));
    fields.carry(&mut spec, &plain);
    put_table(&mut spec, "arguments", fields.table("arguments"));
    spec
}

fn binding(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    let plain = ["vhost", "source", "routingKey"].map(|name| (name, name));
    fields.carry(&mut spec, &plain);
    destination(fields, &mut spec, "destination", "destinationType");
    put_table(&mut spec, "arguments", fields.table("arguments"));
    spec
}

fn vhost(fields: &mut Fields) -> Map<String, Value> {
    let mut spec = Map::new();
    fields.carry(&mut spec, &["name", "tags"].map(|name| (name, name)));
    default_queue_type(fields, &mut spec, "defaultQueueType");
    tracing(fields, "tracing");
    vhost_limits(fields, &mut spec, "connections", "queues");
    deletion(fields, &mut spec, "Delete");
    spec
}

fn policy(fields: &mut Fields, apply_to: &str) -> Map<String, Value> {
    let mut spec = Map::new();
    spec.insert("applyTo".to_owned(), json!(apply_to));
    let plain = ["name", "vhost", "pattern", "applyTo", "priority", "definition"].map(|name| (name, name));
    fields.carry(&mut spec, &plain);
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated_of(kind: &str, spec: Value) -> Result<Translation, Remark> {
        let name = "it".to_owned();
        let status = Value::Null;
        translate(kind, Manifest { name, spec, status })
    }

    fn translated(kind: &str, spec: Value) -> (Value, Vec<String>) {
        let Translation { spec, remarks, .. } = translated_of(kind, spec).expect("it has a counterpart");
        let lines = remarks.into_iter();
        let said = lines.map(|remark| remark.field.join(".")).collect();
        (Value::Object(spec), said)
    }

    #[test]
    fn what_is_left_out_means_what_it_means_there() {
        let reference = json!({"name": "main"});
        for (kind, spec, expected) in [
            (
                "Queue",
                json!({"name": "q"}),
                json!({"name": "q", "deletionPolicy": "Delete"}),
            ),
            ("Exchange", json!({"name": "x"}), json!({"name": "x", "durable": false})),
            (
                "Binding",
                json!({"source": "x", "destination": "q", "destinationType": "queue"}),
                json!({"source": "x", "destination": {"queue": "q"}}),
            ),
            (
                "Vhost",
                json!({"name": "shop", "tracing": false, "limits": {}}),
                json!({"name": "shop", "deletionPolicy": "Delete"}),
            ),
            (
                "Policy",
                json!({"name": "p", "pattern": "^a", "definition": {"max-length": 5}}),
                json!({"name": "p", "pattern": "^a", "definition": {"max-length": 5}, "applyTo": "all"}),
            ),
            (
                "OperatorPolicy",
                json!({"name": "p", "pattern": "^a", "definition": {"max-length": 5}}),
                json!({"name": "p", "pattern": "^a", "definition": {"max-length": 5}, "applyTo": "queues"}),
            ),
        ] {
            let (mut spec, mut expected) = (spec, expected);
            spec["rabbitmqClusterReference"] = reference.clone();
            expected["brokerRef"] = reference.clone();
            assert_eq!(translated(kind, spec), (expected, Vec::new()), "{kind}");
        }
    }

    #[test]
    fn what_goes_with_a_queue_is_never_more_than_there() {
        for (fields, policy, remarks) in [
            (json!({}), "Delete", vec![]),
            (json!({"deletionPolicy": "delete"}), "Delete", vec![]),
            (json!({"deletionPolicy": "retain"}), "Retain", vec![]),
            (json!({"deleteIfEmpty": true}), "DeleteIfEmpty", vec![]),
            (
                json!({"deleteIfEmpty": true, "deletionPolicy": "retain"}),
                "Retain",
                vec![],
            ),
            (json!({"deleteIfUnused": true}), "DeleteIfEmpty", vec!["deleteIfUnused"]),
            (
                json!({"deleteIfUnused": true, "deletionPolicy": "retain"}),
                "Retain",
                vec![],
            ),
            (json!({"deletionPolicy": "Retain"}), "Retain", vec!["deletionPolicy"]),
        ] {
            let (spec, said) = translated("Queue", fields.clone());
            assert_eq!(
                (&spec["deletionPolicy"], said),
                (&json!(policy), remarks_of(remarks)),
                "{fields}"
            );
        }
    }

    fn remarks_of(names: Vec<&str>) -> Vec<String> {
        names.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn the_type_of_a_queue_is_a_field() {
        for (fields, expected, remarks) in [
            (json!({"type": "quorum"}), json!("quorum"), 0),
            (json!({"type": ""}), Value::Null, 0),
            (json!({"arguments": {"x-queue-type": "stream"}}), json!("stream"), 0),
            (
                json!({"type": "quorum", "arguments": {"x-queue-type": "quorum"}}),
                json!("quorum"),
                0,
            ),
            (
                json!({"type": "quorum", "arguments": {"x-queue-type": "classic"}}),
                json!("quorum"),
                1,
            ),
        ] {
            let (spec, said) = translated("Queue", fields.clone());
            assert_eq!(spec["type"], expected, "{fields}");
            assert_eq!((spec.get("arguments"), said.len()), (None, remarks), "{fields}");
        }
    }

    #[test]
    fn the_broker_has_the_name_of_the_cluster_or_of_its_secret() {
        for (reference, broker, remarks) in [
            (
                json!({"name": "a", "namespace": "b"}),
                json!({"name": "a", "namespace": "b"}),
                0,
            ),
            (json!({"connectionSecret": {"name": "c"}}), json!({"name": "c"}), 0),
            (
                json!({"name": "a", "connectionSecret": {"name": "c"}}),
                json!({"name": "a"}),
                1,
            ),
            (json!({}), Value::Null, 0),
        ] {
            let (spec, said) = translated("Queue", json!({"name": "q", "rabbitmqClusterReference": reference}));
            assert_eq!((&spec["brokerRef"], said.len()), (&broker, remarks), "{reference}");
        }
    }

    #[test]
    fn what_has_no_counterpart_is_named() {
        let limits = json!({"name": "shop", "limits": {"queues": 5}, "tracing": true, "colour": "red"});
        let (spec, said) = translated("Vhost", limits);
        assert_eq!(
            (&spec["limits"], said.join(" ")),
            (&json!({"maxQueues": 5}), "tracing colour".to_owned())
        );
        for kind in ["Shovel", "RabbitmqCluster", "Unheard"] {
            assert!(translated_of(kind, json!({})).is_err(), "{kind}");
        }
        assert!(translated_of("Vhost", json!({"name": "/"})).is_err());
        assert!(translated_of("Queue", json!([])).is_err());
        assert!(translated_of("Permission", json!({"vhost": "/"})).is_err());
    }

    #[test]
    fn a_user_has_the_name_and_the_secret_that_it_has_there() {
        let of = |spec: Value, status: Value| {
            let name = "till".to_owned();
            let translation = translate("User", Manifest { name, spec, status }).expect("a User");
            assert_eq!(translation.remarks, []);
            Value::Object(translation.spec)
        };
        let brought = json!({"tags": ["management"], "limits": {"connections": 5},
            "importCredentialsSecret": {"name": "till-secret"}});
        assert_eq!(
            of(brought.clone(), Value::Null),
            json!({"tags": ["management"], "limits": {"maxConnections": 5},
                "passwordSecretRef": {"name": "till-secret"}, "adoptionPolicy": "Always"})
        );
        let status = json!({"username": "Till", "credentials": {"name": "till-secret"}});
        assert_eq!(of(brought, status)["name"], "Till");
        let made = json!({"username": "x1y2", "credentials": {"name": "till-user-credentials"}});
        assert_eq!(
            of(json!({}), made),
            json!({"name": "x1y2", "passwordSecretRef": {"name": "till-user-credentials"}, "adoptionPolicy": "Always"})
        );
        assert_eq!(
            of(json!({}), Value::Null),
            json!({"name": "till", "generatedSecret": {"name": "till-user-credentials"}, "adoptionPolicy": "Always"})
        );
    }

    #[test]
    fn permissions_are_parts_of_a_user() {
        for (kind, mut spec, of, expected) in [
            (
                "Permission",
                json!({"user": "till", "permissions": {"configure": "^a", "read": ".*"}}),
                Owner::User("till".to_owned()),
                json!({"permissions": [{"vhost": "shop", "configure": "^a", "read": ".*"}]}),
            ),
            (
                "TopicPermission",
                json!({"userReference": {"name": "till"}, "permissions": {"exchange": "x", "write": "^a"}}),
                Owner::Resource("till".to_owned()),
                json!({"topicPermissions": [{"vhost": "shop", "exchange": "x", "write": "^a"}]}),
            ),
        ] {
            spec["vhost"] = json!("shop");
            let translation = translated_of(kind, spec).expect("a part of a User");
            assert_eq!((translation.kind, translation.of), (Kind::User, Some(of)));
            assert_eq!((json!(translation.spec), translation.remarks), (expected, Vec::new()));
        }
    }
}
