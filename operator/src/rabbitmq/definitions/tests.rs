//! Documents as brokers write them.

use super::*;

fn parts_of(document: Value, vhost: Option<&str>) -> Vec<Part> {
    match document {
        Value::Object(document) => parts(document, vhost),
        _ => Vec::new(),
    }
}

/// Place, and the spec or the reason.
fn told(document: Value) -> Vec<(String, Value)> {
    let parts = parts_of(document, None).into_iter();
    let each = parts.map(|part| {
        let told = match part.translated {
            None => Value::Null,
            Some(Ok(translation)) => {
                assert_eq!(translation.remarks, [], "{}", part.place);
                Value::Object(translation.spec)
            }
            Some(Err(remark)) => json!(remark.why),
        };
        (part.place, told)
    });
    each.collect()
}

#[test]
fn a_document_as_rabbitmq_writes_it() {
    let told = told(json!({
        "rabbit_version": "4.3.6", "rabbitmq_version": "4.3.6", "product_name": "RabbitMQ",
        "rabbitmq_definition_format": "cluster", "explanation": "x", "original_cluster_name": "rabbit@a",
        "vhosts": [
            {"name": "/", "limits": {}, "metadata": {
                "description": "Default virtual host", "tags": [], "default_queue_type": "classic"}},
            {"name": "shop", "limits": [], "metadata": {
                "description": "", "tags": ["eu"], "default_queue_type": "quorum"}}],
        "policies": [{"vhost": "shop", "name": "p", "pattern": "^a", "apply-to": "queues", "priority": 3,
            "definition": {"max-length": 5}}],
        "parameters": [{"vhost": "shop", "component": "vhost-limits", "name": "limits", "value": {
            "max-queues": 5, "max-connections": -1}}, {"vhost": "/", "component": "operator_policy", "name": "o", "value": {
            "pattern": "^b", "apply-to": "queues", "priority": 0, "definition": {"max-length": 6}}}],
        "global_parameters": [
            {"name": "cluster_name", "value": "rabbit@a"}, {"name": "cluster_tags", "value": []}],
        "exchanges": [{"vhost": "/", "name": "amq.rabbitmq.log", "type": "topic", "durable": true,
            "auto_delete": false, "arguments": {}}, {"vhost": "/", "name": "x", "type": "fanout", "durable": true, "auto_delete": false,
            "arguments": {}}],
        "queues": [{"vhost": "/", "name": "q", "type": "quorum", "durable": true, "auto_delete": false,
            "arguments": {"x-queue-type": "quorum", "x-max-length": 9}}],
        "bindings": [{"vhost": "/", "source": "x", "destination": "q", "destination_type": "queue",
            "routing_key": "k", "arguments": {"n": 1}}]
    }));
    let expected = [
        ("vhosts[0]", Value::Null),
        (
            "vhosts[1]",
            json!({"name": "shop", "tags": ["eu"], "defaultQueueType": "quorum", "limits": {"maxQueues": 5}}),
        ),
        ("parameters[0]", Value::Null),
        (
            "parameters[1]",
            json!({"name": "o", "vhost": "/", "pattern": "^b", "applyTo": "queues", "priority": 0,
            "definition": {"max-length": 6}}),
        ),
        ("global_parameters[0]", Value::Null),
        ("global_parameters[1]", Value::Null),
        (
            "policies[0]",
            json!({"name": "p", "vhost": "shop", "pattern": "^a", "applyTo": "queues", "priority": 3,
            "definition": {"max-length": 5}}),
        ),
        ("exchanges[0]", Value::Null),
        (
            "exchanges[1]",
            json!({"name": "x", "vhost": "/", "type": "fanout", "durable": true, "autoDelete": false}),
        ),
        (
            "queues[0]",
            json!({"name": "q", "vhost": "/", "type": "quorum", "durable": true, "autoDelete": false,
            "arguments": {"x-max-length": 9}}),
        ),
        (
            "bindings[0]",
            json!({"vhost": "/", "source": "x", "destination": {"queue": "q"}, "routingKey": "k",
            "arguments": {"n": 1}}),
        ),
    ];
    assert_eq!(told, expected.map(|(place, value)| (place.to_owned(), value)));
}

#[test]
fn everything_else_is_named() {
    let told = told(json!({
        "vhosts": [{"name": "/", "limits": {"max-queues": 5}, "metadata": {"tags": ["a"]}}],
        "users": ["u"], "permissions": [{"vhost": "/"}],
        "parameters": [
            {"vhost": "/", "component": "shovel", "name": "s", "value": {}},
            {"vhost": "/", "component": "unheard", "name": "s", "value": {}}],
        "global_parameters": [{"name": "mine", "value": 1}],
        "queues": [{"name": "q"}],
        "policies": {}, "colours": []
    }));
    let places: Vec<&str> = told.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(
        places,
        [
            "vhosts[0]",
            "users[0]",
            "permissions[0]",
            "parameters[0]",
            "parameters[1]",
            "global_parameters[0]",
            "policies",
            "queues[0]",
            "colours"
        ]
    );
    assert_eq!(
        told[0].1,
        "is on every broker and has no manifest: set limits, tags there"
    );
    assert!(told.iter().all(|(_, why)| why.is_string()), "{told:?}");
}

#[test]
fn users_and_permissions_as_rabbitmq_writes_them() {
    let parts = parts_of(
        json!({
            "users": [
                {"name": "till", "password_hash": "aGFzaA==", "hashing_algorithm": "rabbit_password_hashing_sha512",
                    "tags": ["management"], "limits": {"max-connections": 5, "max-channels": -1}},
                {"name": "old", "password_hash": "aGFzaA==", "tags": "management,monitoring", "limits": []}],
            "permissions": [{"user": "till", "vhost": "/", "configure": "^a", "write": "", "read": ".*"}],
            "topic_permissions": [{"user": "till", "vhost": "/", "exchange": "x", "write": "^a", "read": ".*"}]
        }),
        None,
    );
    let told: Vec<(Option<Owner>, Value)> = parts
        .into_iter()
        .map(|part| match part.translated {
            Some(Ok(translation)) if translation.remarks.is_empty() => (translation.of, json!(translation.spec)),
            other => panic!("{other:?}"),
        })
        .collect();
    let till = Some(Owner::User("till".to_owned()));
    let expected = [
        (
            None,
            json!({"name": "till", "tags": ["management"], "limits": {"maxConnections": 5}, "passwordHash": {
            "value": "aGFzaA==", "algorithm": "rabbit_password_hashing_sha512"}}),
        ),
        (
            None,
            json!({"name": "old", "tags": ["management", "monitoring"],
            "passwordHash": {"value": "aGFzaA=="}}),
        ),
        (
            till.clone(),
            json!({"permissions": [
            {"vhost": "/", "configure": "^a", "write": "", "read": ".*"}]}),
        ),
        (
            till,
            json!({"topicPermissions": [{"vhost": "/", "exchange": "x", "write": "^a", "read": ".*"}]}),
        ),
    ];
    assert_eq!(told, expected);
}

#[test]
fn objects_of_one_vhost_name_none() {
    let document = json!({"queues": [{"name": "q", "durable": true, "auto_delete": false, "arguments": []}]});
    let spec = |parts: Vec<Part>| match parts.into_iter().next_back().and_then(|part| part.translated) {
        Some(Ok(translation)) => translation.spec,
        other => panic!("{other:?}"),
    };
    let given = spec(parts_of(document.clone(), Some("shop")));
    assert_eq!(given["vhost"], "shop");
    let mut own = document;
    own["original_vhost_name"] = json!("depot");
    own["metadata"] = json!({"description": "", "tags": [], "default_queue_type": "undefined"});
    own["description"] = json!("of the depot");
    own["limits"] = json!({});
    own["parameters"] = json!([{"component": "vhost-limits", "name": "limits", "value": {"max-queues": 5}}]);
    let parts = parts_of(own, Some("shop"));
    let Some(Ok(vhost)) = &parts[0].translated else {
        panic!("{parts:?}")
    };
    assert_eq!(
        json!(vhost.spec),
        json!({"name": "depot", "description": "of the depot", "limits": {"maxQueues": 5}})
    );
    assert_eq!(spec(parts)["vhost"], "depot");
}

#[test]
fn a_document_is_known_by_its_lists() {
    let is_one = |value: Value| is_one(value.as_object().expect("an object"));
    assert!(is_one(json!({"queues": []})));
    assert!(!is_one(json!({"apiVersion": "v1", "kind": "List", "items": []})));
}

#[test]
fn users_that_rabbitmq_cannot_check_stand_beside_the_others() {
    let slow = json!({"name": "slow", "password_hash": "JGFyZ29uMmlk", "hashing_algorithm": "argon2id",
        "tags": [], "limits": {}});
    let told = told(json!({
        "users": [{"name": "till", "password_hash": "aGFzaA==", "tags": []}],
        "leveret": {
            "explanation": "Users whose passwords RabbitMQ can't check",
            "users": [slow],
            "permissions": [{"user": "slow", "vhost": "/", "configure": "", "write": "", "read": ".*"}],
            "topic_permissions": {}, "colours": []
        }
    }));
    let hash = json!({"value": "JGFyZ29uMmlk", "algorithm": "argon2id"});
    let expected = [
        (
            "users[0]",
            json!({"name": "till", "passwordHash": {"value": "aGFzaA=="}}),
        ),
        ("leveret.users[0]", json!({"name": "slow", "passwordHash": hash})),
        (
            "leveret.permissions[0]",
            json!({"permissions": [{"vhost": "/", "configure": "", "write": "", "read": ".*"}]}),
        ),
        ("leveret.topic_permissions", json!("is no list but a table")),
        ("leveret.colours", json!("is not known here, and left out")),
    ];
    assert_eq!(told, expected.map(|(place, value)| (place.to_owned(), value)));
    let no_table = self::told(json!({"users": [], "leveret": 1}));
    assert_eq!(no_table, [("leveret".to_owned(), json!("is no table but 1"))]);
}
