//! Manifests of RabbitMQ's messaging topology operator (`rabbitmq.com/v1beta1`).
//!
//! In: kind and spec as they stand in a manifest. Out: `Translation`. Does not know about metadata, files or statuses.
//!
//! What a spec leaves out means what it means to that operator: an exchange is not durable unless it says so, an
//! operator policy is for queues, and a queue or virtual host goes with everything in it.

use serde_json::{Map, Value, json};

use super::common::{
    DEFAULT_VHOST, default_queue_type, destination, is_empty, put_table, queue_arguments, tracing, vhost_limits,
};
use super::fields::{Fields, Read};
use super::translation::{Remark, Translation};
use crate::resource::Kind;

/// API group of the manifests.
pub const GROUP: &str = "rabbitmq.com";
/// API version of the manifests that have a counterpart.
pub const VERSION: &str = "v1beta1";

/// Kinds of the group that have no counterpart, and what to do instead.
const OTHERS: [(&str, &str); 8] = [
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
    ("User", USERS),
    ("Permission", USERS),
    ("TopicPermission", USERS),
];

const USERS: &str = "users and permissions are not imported in this version: make them with the management API";

/// Translates the spec of a manifest.
///
/// # Errors
/// There is no such resource, and what to do instead.
pub fn translate(kind: &str, spec: Value) -> Result<Translation, Remark> {
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
    let remarks = fields.finish();
    Ok(Translation { kind, spec, remarks })
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
    vhost_limits(fields, "limits", is_empty);
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

    fn translated(kind: &str, spec: Value) -> (Value, Vec<String>) {
        let Translation { spec, remarks, .. } = translate(kind, spec).expect("it has a counterpart");
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
        assert_eq!(translated("Vhost", limits).1, ["tracing", "limits", "colour"]);
        for kind in ["Shovel", "RabbitmqCluster", "Unheard"] {
            assert!(translate(kind, json!({})).is_err(), "{kind}");
        }
        assert!(translate("Vhost", json!({"name": "/"})).is_err());
        assert!(translate("Queue", json!([])).is_err());
    }
}
