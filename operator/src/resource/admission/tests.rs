use serde_json::json;

use super::*;

fn manifest(kind: &str, spec: Value) -> Value {
    json!({"apiVersion": "leveret.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec})
}

/// A Broker with one rule for other namespaces.
fn ruled(rule: Value) -> Value {
    json!({"allowedNamespaces": {"from": "All", "rules": [rule]}})
}

fn said(manifest: &Value) -> String {
    match admit(manifest) {
        Ok(_) => "ok".to_owned(),
        Err(refusals) => refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    }
}

#[test]
fn good_manifests_get_their_defaults() {
    let admitted = admit(&manifest("Queue", json!({"brokerRef": {"name": "main"}, "name": null}))).expect("admitted");
    assert_eq!(admitted["spec"]["vhost"], "/");
    assert_eq!(admitted["spec"]["durable"], true);
    assert_eq!(admitted["spec"]["type"], "classic");
    assert_eq!(admitted["metadata"]["name"], "x");
    assert!(admitted["spec"].get("name").is_none());
    let ca = json!({"engine": "External", "external": {"uri": "amqps://a:5671", "managementUri": "https://a:15671/p",
        "credentialsSecretRef": {"name": "s"}, "caSecretRef": {"name": "c"}}});
    let broker = admit(&manifest("Broker", ca)).expect("admitted");
    assert_eq!(broker["spec"]["external"]["caSecretRef"]["key"], "ca.crt");
    assert_eq!(broker["spec"]["allowedNamespaces"]["from"], "Same");
    let rich = json!({"brokerRef": {"name": "main"}, "messageTtl": "1h30m", "maxLength": 3.0,
        "deadLetter": {"exchange": ""}, "arguments": {"x-anything": [1, {"a": null}], "x-max-length-bytes": 7}});
    assert_eq!(said(&manifest("Queue", rich)), "ok");
}

#[test]
fn bad_manifests_are_refused_with_words() {
    let main = json!({"name": "main"});
    let long = "é".repeat(200);
    let long_name =
        format!("spec.name: Invalid value: \"{long}\": must be at most 255 bytes of UTF-8, without line breaks");
    let cases = [
        ("Queue", json!({}), "spec.brokerRef: Required value"),
        ("Queue", json!({"brokerRef": {}}), "spec.brokerRef.name: Required value"),
        (
            "Queue",
            json!({"brokerRef": main, "durabel": true}),
            "unknown field \"spec.durabel\"; did you mean durable?",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "zzz": true}),
            "unknown field \"spec.zzz\"",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "durable": "yes"}),
            "spec.durable: Invalid value: \"string\": spec.durable in body must be of type boolean: \"string\"",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "maxLength": -1}),
            "spec.maxLength: Invalid value: -1: spec.maxLength in body should be greater than or equal to 0",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "maxPriority": 256}),
            "spec.maxPriority: Invalid value: 256: spec.maxPriority in body should be less than or equal to 255",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "maxLength": 1.5}),
            "spec.maxLength: Invalid value: \"float64\": spec.maxLength in body must be of type int64: \"float64\"",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "type": "lazy"}),
            "spec.type: Unsupported value: \"lazy\": supported values: \"classic\", \"quorum\", \"stream\"",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "name": ""}),
            "spec.name: Invalid value: \"\": spec.name in body should be at least 1 chars long",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "name": "amq.x"}),
            "spec.name: Invalid value: \"amq.x\": names that begin with amq. are reserved by the broker",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "name": "a\nb"}),
            "spec.name: Invalid value: \"a\\nb\": must be at most 255 bytes of UTF-8, without line breaks",
        ),
        ("Queue", json!({"brokerRef": main, "name": long}), long_name.as_str()),
        (
            "Queue",
            json!({"brokerRef": main, "messageTtl": "soon"}),
            "spec.messageTtl: Invalid value: \"soon\": must be a duration like 500ms, 10s, 90m, 24h or 7d",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "updatePolicy": "Migrate"}),
            "spec.updatePolicy: Invalid value: \"Migrate\": updatePolicy Recreate and Migrate are not supported in this version: use Refuse",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "messageTtl": "1s", "arguments": {"x-message-ttl": 1}}),
            "spec: Invalid value: messageTtl and arguments.x-message-ttl say the same thing: give only one of them",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "arguments": {"x-message-ttl": "1"}}),
            "spec.arguments.x-message-ttl: Invalid value: \"string\": spec.arguments.x-message-ttl in body must be of type integer: \"string\"",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "arguments": {"x-queue-type": "quorum"}}),
            "spec: Invalid value: the queue type is given by type, not by arguments.x-queue-type",
        ),
        (
            "Exchange",
            json!({"brokerRef": main, "type": "topik"}),
            "spec.type: Invalid value: \"topik\": type must be direct, fanout, topic, headers, or begin with x-",
        ),
        (
            "Exchange",
            json!({"brokerRef": main, "alternateExchange": "a", "arguments": {"alternate-exchange": "a"}}),
            "spec: Invalid value: alternateExchange and arguments.alternate-exchange say the same thing: give only one of them",
        ),
        (
            "Binding",
            json!({"brokerRef": main, "source": "a", "destination": {}}),
            "spec.destination: Invalid value: destination must have exactly one of queue and exchange",
        ),
        (
            "Binding",
            json!({"brokerRef": main, "source": "a", "destination": {"queue": "a", "exchange": "b"}}),
            "spec.destination: Invalid value: destination must have exactly one of queue and exchange",
        ),
        (
            "Binding",
            json!({"brokerRef": main, "source": "", "destination": {"queue": "a"}}),
            "spec.source: Invalid value: \"\": source must name an exchange: every queue is bound to the default exchange already, by its own name",
        ),
        (
            "Broker",
            json!({"engine": "External"}),
            "spec: Invalid value: engine External needs external: uri, managementUri and credentialsSecretRef",
        ),
        (
            "Broker",
            json!({"allowedNamespaces": {"from": "Selector"}}),
            "spec.allowedNamespaces: Invalid value: allowedNamespaces: from Selector and selector go together",
        ),
        (
            "Broker",
            json!({"allowedNamespaces": {"rules": [{"namespaces": ["web"], "vhosts": ["web"]}]}}),
            "spec.allowedNamespaces: Invalid value: allowedNamespaces.rules are for other namespaces than the Broker's own: they need from All or Selector",
        ),
        (
            "Broker",
            ruled(json!({"vhosts": ["web"]})),
            "spec.allowedNamespaces.rules[0]: Invalid value: a rule is for namespaces, or for those that a selector selects: give one of the two",
        ),
        (
            "Broker",
            ruled(json!({"namespaces": ["web"], "vhosts": ["web"], "kinds": ["User"]})),
            "spec.allowedNamespaces.rules[0]: Invalid value: users are the same in all virtual hosts: a rule for kind User says what they may be called, by names or namesOf.User",
        ),
        (
            "Broker",
            ruled(json!({"namespaces": ["web"]})),
            "spec.allowedNamespaces.rules[0].vhosts: Required value",
        ),
        (
            "Broker",
            ruled(json!({"namespaces": ["web"], "vhosts": []})),
            "spec.allowedNamespaces.rules[0].vhosts: Invalid value: 0: spec.allowedNamespaces.rules[0].vhosts in body should have at least 1 items",
        ),
        (
            "Broker",
            ruled(json!({"namespaces": ["web"], "vhosts": ["web"], "kinds": ["Queue", "Broker"]})),
            "spec.allowedNamespaces.rules[0].kinds[1]: Unsupported value: \"Broker\": supported values: \"Vhost\", \"User\", \"OperatorPolicy\", \"Policy\", \"Exchange\", \"Queue\", \"Binding\", \"ZeroMqSocket\"",
        ),
        (
            "Broker",
            ruled(json!({"namespaces": ["web"], "vhosts": ["web"], "maxObjects": {"Queues": 5}})),
            "unknown field \"spec.allowedNamespaces.rules[0].maxObjects.Queues\"; did you mean Queue?",
        ),
        (
            "Brocker",
            json!({}),
            "kind: Brocker is not known, only Broker, Vhost, User, OperatorPolicy, Policy, Exchange, Queue, Binding, ZeroMqSocket",
        ),
    ];
    for (kind, spec, words) in cases {
        assert_eq!(said(&manifest(kind, spec.clone())), words, "{kind} {spec}");
    }
}

#[test]
fn uris_hold_no_credentials() {
    for (uri, management, good) in [
        ("amqp://a", "http://a", true),
        ("amqp://a:5672/", "https://a:1/prefix/", true),
        ("amqp://u:p@a", "http://a", false),
        ("amqp://a/vhost", "http://a", false),
        ("http://a/", "http://a", false),
        ("amqp://a", "amqp://a", false),
        ("amqp://a", "http://u@a", false),
        ("amqp://a b", "http://a", false),
    ] {
        let spec = json!({"engine": "External", "external": {"uri": uri, "managementUri": management,
            "credentialsSecretRef": {"name": "s"}}});
        assert_eq!(admit(&manifest("Broker", spec)).is_ok(), good, "{uri} {management}");
    }
}

#[test]
fn metadata_is_checked() {
    let with = |metadata: Value| {
        let mut manifest = manifest("Queue", json!({"brokerRef": {"name": "main"}}));
        manifest["metadata"] = metadata;
        said(&manifest)
    };
    assert_eq!(with(json!({"name": "a.b-1", "labels": {"a": "b"}})), "ok");
    assert_eq!(
        with(json!({})),
        "metadata.name: Required value: name or generateName is required"
    );
    assert_eq!(
        with(json!({"name": "a", "nmespace": "b"})),
        "unknown field \"metadata.nmespace\"; did you mean namespace?"
    );
    assert!(
        with(json!({"name": "A"}))
            .starts_with("metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist")
    );
    assert!(with(json!({"name": "a", "annotations": {"a": true}})).starts_with("metadata.annotations.a: must be"));
    assert!(with(json!({"name": "amq.x"})).contains("names that begin with amq. are reserved"));
    let top = json!({"apiVersion": "leveret.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "x"}, "spce": {}});
    assert_eq!(
        said(&top),
        "unknown field \"spce\"; did you mean spec?; spec: Required value"
    );
}
