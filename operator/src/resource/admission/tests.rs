use serde_json::json;

use super::*;

fn manifest(kind: &str, spec: Value) -> Value {
    json!({"apiVersion": "leveret.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec})
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
    let cases = [
        ("Queue", json!({}), "spec.brokerRef: required"),
        ("Queue", json!({"brokerRef": {}}), "spec.brokerRef.name: required"),
        (
            "Queue",
            json!({"brokerRef": main, "durabel": true}),
            "spec.durabel: unknown field; did you mean durable?",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "zzz": true}),
            "spec.zzz: unknown field",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "durable": "yes"}),
            "spec.durable: must be true or false, not a text",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "maxLength": -1}),
            "spec.maxLength: must be at least 0, not -1",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "maxPriority": 256}),
            "spec.maxPriority: must be at most 255, not 256",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "maxLength": 1.5}),
            "spec.maxLength: must be an integer, not a number",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "type": "lazy"}),
            "spec.type: must be one of classic, quorum, stream, not 'lazy'",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "name": ""}),
            "spec.name: must not be empty",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "name": "amq.x"}),
            "spec.name: names that begin with amq. are reserved by the broker",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "name": "a\nb"}),
            "spec.name: must be at most 255 bytes of UTF-8, without line breaks",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "name": long}),
            "spec.name: must be at most 255 bytes of UTF-8, without line breaks",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "messageTtl": "soon"}),
            "spec.messageTtl: must be a duration like 500ms, 10s, 90m, 24h or 7d",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "updatePolicy": "Migrate"}),
            "spec.updatePolicy: updatePolicy Recreate and Migrate are not supported in this version: use Refuse",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "messageTtl": "1s", "arguments": {"x-message-ttl": 1}}),
            "spec: messageTtl and arguments.x-message-ttl say the same thing: give only one of them",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "arguments": {"x-message-ttl": "1"}}),
            "spec.arguments.x-message-ttl: must be an integer, not a text",
        ),
        (
            "Queue",
            json!({"brokerRef": main, "arguments": {"x-queue-type": "quorum"}}),
            "spec: the queue type is given by type, not by arguments.x-queue-type",
        ),
        (
            "Exchange",
            json!({"brokerRef": main, "type": "topik"}),
            "spec.type: type must be direct, fanout, topic, headers, or begin with x-",
        ),
        (
            "Exchange",
            json!({"brokerRef": main, "alternateExchange": "a", "arguments": {"alternate-exchange": "a"}}),
            "spec: alternateExchange and arguments.alternate-exchange say the same thing: give only one of them",
        ),
        (
            "Binding",
            json!({"brokerRef": main, "source": "a", "destination": {}}),
            "spec.destination: destination must have exactly one of queue and exchange",
        ),
        (
            "Binding",
            json!({"brokerRef": main, "source": "a", "destination": {"queue": "a", "exchange": "b"}}),
            "spec.destination: destination must have exactly one of queue and exchange",
        ),
        (
            "Binding",
            json!({"brokerRef": main, "source": "", "destination": {"queue": "a"}}),
            "spec.source: source must name an exchange: every queue is bound to the default exchange already, by its own name",
        ),
        (
            "Broker",
            json!({"engine": "External"}),
            "spec: engine External needs external: uri, managementUri and credentialsSecretRef",
        ),
        (
            "Broker",
            json!({"allowedNamespaces": {"from": "Selector"}}),
            "spec.allowedNamespaces: allowedNamespaces: from Selector and selector go together",
        ),
        (
            "Brocker",
            json!({}),
            "kind: unknown kind 'Brocker' in leveret.dev; there are Broker, Vhost, Exchange, Queue, Binding",
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
    assert_eq!(with(json!({})), "metadata.name: required");
    assert_eq!(
        with(json!({"name": "a", "nmespace": "b"})),
        "metadata.nmespace: unknown field"
    );
    assert!(with(json!({"name": "A"})).starts_with("metadata.name: must be 1 to 253"));
    assert!(with(json!({"name": "a", "annotations": {"a": true}})).starts_with("metadata.annotations: must be"));
    assert!(with(json!({"name": "amq.x"})).contains("names that begin with amq. are reserved"));
    let top = json!({"apiVersion": "leveret.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "x"}, "spce": {}});
    assert_eq!(said(&top), "spce: unknown field; did you mean spec?; spec: required");
}
