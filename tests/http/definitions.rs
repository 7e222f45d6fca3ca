//! Definitions loaded over HTTP, and parameters.

use harness::requests::unique;
use serde_json::{Value, json};

use crate::{NOT_FOUND, http, is_rabbitmq, refused, send, status};

#[test]
fn what_is_loaded_is_there_and_what_was_there_stays() {
    let (queue, exchange, policy) = (unique("http-load"), unique("http-load"), unique("http-load"));
    let definitions = json!({
        "rabbit_version": "4.3.6",
        "vhosts": [{"name": "/", "limits": [], "metadata": {"description": "Default virtual host", "tags": []}}],
        "exchanges": [{"name": exchange, "vhost": "/", "type": "topic", "durable": true, "auto_delete": false,
            "internal": false, "arguments": {}}],
        "queues": [{"name": queue, "vhost": "/", "type": "quorum", "durable": true, "auto_delete": false,
            "arguments": {"x-queue-type": "quorum", "x-max-length": 5}}],
        "bindings": [{"source": exchange, "vhost": "/", "destination": queue, "destination_type": "queue",
            "routing_key": "a.#", "arguments": {}}],
        "policies": [{"vhost": "/", "name": policy, "pattern": "^nothing$", "apply-to": "queues", "priority": 1,
            "definition": {"max-length": 3}}],
        "global_parameters": [{"name": policy, "value": {"a": [1, "x"]}}],
    });
    assert_eq!(send("POST", "/api/definitions", definitions.clone()).status, 204);
    assert_eq!(send("POST", "/api/all-configuration", definitions).status, 204, "again");
    let path = format!("/api/queues/%2F/{queue}");
    let shown = http().get(&path);
    assert_eq!(
        (&shown["type"], &shown["arguments"]["x-max-length"]),
        (&json!("quorum"), &json!(5))
    );
    let bindings = http().get(&format!("/api/bindings/%2F/e/{exchange}/q/{queue}"));
    assert_eq!(bindings[0]["routing_key"], "a.#");
    assert_eq!(
        http().get(&format!("/api/policies/%2F/{policy}"))["definition"],
        json!({"max-length": 3})
    );
    let other = json!({"queues": [{"name": queue, "vhost": "/", "durable": true, "auto_delete": true}]});
    assert_eq!(send("POST", "/api/definitions", other).status, 204);
    assert_eq!(http().get(&path)["auto_delete"], false, "it was there");
    let exported = http().get("/api/definitions");
    let global = exported["global_parameters"]
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["name"] == json!(policy));
    assert_eq!(global.expect("the parameter")["value"], json!({"a": [1, "x"]}));
    for path in [
        path,
        format!("/api/exchanges/%2F/{exchange}"),
        format!("/api/policies/%2F/{policy}"),
        format!("/api/global-parameters/{policy}"),
    ] {
        assert_eq!(status("DELETE", &path), 204, "{path}");
    }
}

#[test]
fn a_document_of_one_vhost_names_none() {
    let queue = unique("http-load");
    let definitions = json!({
        "queues": [{"name": queue, "durable": true, "auto_delete": false, "arguments": {}}],
        "bindings": [{"source": "amq.topic", "destination": queue, "destination_type": "queue", "routing_key": "x"}],
    });
    let refusal = (404, "not_found", "vhost_not_found");
    refused("POST", "/api/definitions/nowhere", definitions.clone(), refusal);
    if !is_rabbitmq() {
        assert_eq!(
            send("POST", "/api/definitions", definitions.clone()).status,
            400,
            "it names no vhost"
        );
    }
    let mut definitions = definitions;
    definitions["bindings"][0]["arguments"] = json!({});
    // Users are nothing of a vhost's: they are passed over.
    definitions["users"] = json!([{"name": queue, "password_hash": "", "tags": []}]);
    assert_eq!(send("POST", "/api/definitions/%2F", definitions).status, 204);
    assert_eq!(status("GET", &format!("/api/users/{queue}")), 404);
    assert_eq!(
        http().get(&format!("/api/bindings/%2F/e/amq.topic/q/{queue}"))[0]["routing_key"],
        "x"
    );
    assert_eq!(status("DELETE", &format!("/api/queues/%2F/{queue}")), 204);
}

/// Parameters and policies of RabbitMQ's plugin.
#[test]
fn federation_is_kept_as_it_was() {
    if is_rabbitmq() {
        return;
    }
    let vhost = unique("http-load");
    let parameter = |component: &str, name: &str, value: Value| json!({"vhost": vhost, "component": component, "name": name, "value": value});
    let policy = |name: &str, key: &str| {
        json!({"vhost": vhost, "name": name, "pattern": "^a", "apply-to": "exchanges", "definition": {key: "all"},
        "priority": 0})
    };
    let document = json!({
        "vhosts": [{"name": vhost}],
        "parameters": [
            parameter("federation-upstream", "u", json!({"uri": "amqp://other.example", "expires": 3600000})),
            parameter("federation-upstream-set", "s", json!([{"upstream": "u"}])),
            parameter("shovel", "m", json!({"src-uri": "amqp://", "src-queue": "a", "dest-uri": "amqp://", "dest-queue": "b"})),
        ],
        "policies": [policy("a", "federation-upstream-set"), policy("b", "federation-upstream"),
            policy("c", "federation-upstream-pattern")],
    });
    assert_eq!(send("POST", "/api/definitions", document.clone()).status, 204);
    let there = http().get("/api/definitions");
    for list in ["parameters", "policies"] {
        let rows = there[list].as_array().expect("rows").iter();
        let rows: Vec<&Value> = rows.filter(|row| row["vhost"] == json!(vhost)).collect();
        let expected: Vec<&Value> = document[list].as_array().expect("rows").iter().collect();
        assert_eq!(rows, expected);
    }
    assert_eq!(status("DELETE", &format!("/api/vhosts/{vhost}")), 204);
}

/// RabbitMQ exports them without the queues, and refuses them.
#[test]
fn bindings_of_exclusive_queues_are_passed_over() {
    let (exchange, queue) = (unique("http-load"), format!("amq.gen-{}", unique("http-load")));
    let mut document = json!({
        "exchanges": [{"name": exchange, "vhost": "/", "type": "fanout", "durable": true, "auto_delete": false,
            "internal": false, "arguments": {}}],
        "bindings": [{"source": exchange, "vhost": "/", "destination": queue, "destination_type": "queue",
            "routing_key": "", "arguments": {}}],
    });
    let answer = send("POST", "/api/definitions", document.clone());
    if is_rabbitmq() {
        let resource = format!("{{resource,<<\"/\">>,queue,<<\"{queue}\">>}}");
        let text = format!("{{resources_missing,[{{not_found,{resource}}}]}}");
        assert_eq!((answer.status, &answer.json()["reason"]), (400, &json!(text)));
        assert_eq!(status("DELETE", &format!("/api/exchanges/%2F/{exchange}")), 204);
        return;
    }
    assert_eq!(answer.status, 204, "{}", answer.body);
    let bindings = format!("/api/exchanges/%2F/{exchange}/bindings/source");
    assert_eq!(http().get(&bindings), json!([]));
    document["queues"] = json!([{"name": queue, "vhost": "/", "durable": true}]);
    assert_eq!(send("POST", "/api/definitions", document).status, 204);
    assert_eq!(http().get(&bindings)[0]["destination"], json!(queue));
    assert_eq!(status("DELETE", &format!("/api/exchanges/%2F/{exchange}")), 204);
    assert_eq!(status("DELETE", &format!("/api/queues/%2F/{queue}")), 204);
}

/// RabbitMQ stops at the first and leaves what was made before; Leveret makes nothing, and names every one.
#[test]
fn a_document_is_loaded_whole_or_not_at_all() {
    let (queue, exchange) = (unique("http-load"), unique("http-load"));
    let missing = json!({"queues": [{"name": queue, "vhost": "no-such", "durable": true, "auto_delete": false,
        "arguments": {}}]});
    let text = "Please create virtual host \"no-such\" prior to importing definitions.";
    refused("POST", "/api/definitions", missing, (400, "bad_request", text));
    for body in ["[]", "x"] {
        let answer = http().request("POST", "/api/definitions", Some(&json!(body)));
        assert_eq!(
            (answer.status, &answer.json()["reason"]),
            (400, &json!("failed_to_parse_json"))
        );
    }
    if is_rabbitmq() {
        return;
    }
    let definitions = json!({
        "exchanges": [{"name": exchange, "vhost": "/", "type": "direct", "durable": true},
            {"name": "odd", "vhost": "/", "type": "nonsense", "durable": true}],
        "queues": [{"name": queue, "vhost": "/", "durable": true},
            {"name": "log", "vhost": "/", "durable": true, "arguments": {"x-queue-type": "stream"}}],
        "bindings": [{"source": exchange, "vhost": "/", "destination": queue, "destination_type": "queue"},
            {"source": exchange, "vhost": "/", "destination": "no-queue", "destination_type": "queue"}],
        "policies": [{"vhost": "/", "name": "p", "pattern": "(", "definition": {"max-length": 1}}],
        "parameters": [{"component": "nonsense", "vhost": "/", "name": "n", "value": {}}],
    });
    let answer = send("POST", "/api/definitions", definitions);
    assert_eq!(answer.status, 400);
    let reason = answer.json()["reason"].as_str().expect("a reason").to_owned();
    for named in [
        "exchange 'odd' in vhost '/': unknown exchange type 'nonsense'",
        "queue 'log' in vhost '/'",
        "binding from",
        "to 'no-queue'",
        "policy 'p' in vhost '/': Validation failed",
        "parameter 'n' of component 'nonsense' in vhost '/'",
    ] {
        assert!(reason.contains(named), "{named} in {reason}");
    }
    refused("GET", &format!("/api/queues/%2F/{queue}"), Value::Null, NOT_FOUND);
    refused("GET", &format!("/api/exchanges/%2F/{exchange}"), Value::Null, NOT_FOUND);
}

#[test]
fn parameters_are_kept_by_name() {
    let name = unique("http-parameter");
    let path = format!("/api/global-parameters/{name}");
    let value = json!({"a": [1, "x"]});
    assert_eq!(send("PUT", &path, json!({"name": name, "value": value})).status, 201);
    assert_eq!(http().get(&path), json!({"name": name, "value": value}));
    assert_eq!(send("PUT", &path, json!({"value": 3})).status, 204);
    refused("PUT", &path, json!({}), (400, "bad_request", "[{key_missing,value}]"));
    let all = http().get("/api/global-parameters?page=1");
    let names: Vec<&str> = all
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["name"].as_str())
        .collect();
    assert!(
        names.contains(&name.as_str()) && names.contains(&"internal_cluster_id"),
        "{names:?}"
    );
    assert_eq!(status("DELETE", &path), 204);
    refused("DELETE", &path, Value::Null, NOT_FOUND);
    refused("GET", &path, Value::Null, NOT_FOUND);

    let nonsense = "/api/parameters/nonsense/%2F/n";
    let text = "Validation failed\n\ncomponent nonsense not found\n";
    refused("PUT", nonsense, json!({"value": {}}), (400, "bad_request", text));
    refused("GET", nonsense, Value::Null, NOT_FOUND);
    let text = "policies may not be set using this method";
    refused(
        "PUT",
        "/api/parameters/policy/%2F/p",
        json!({"value": {}}),
        (400, "bad_request", text),
    );
    let missing = (404, "not_found", "vhost_not_found");
    refused("PUT", "/api/parameters/shovel/nowhere/s", json!({"value": {}}), missing);
    assert_eq!(http().get("/api/parameters/nonsense"), json!([]));
    refused("GET", "/api/parameters/nonsense/nowhere", Value::Null, NOT_FOUND);
    let path = format!("/api/parameters/operator_policy/%2F/{name}");
    let policy = json!({"pattern": "^nothing$", "definition": {"max-length": 3}});
    let text = format!("Validation failed\n\nKey \"priority\" not found in {name}\n");
    refused("PUT", &path, json!({"value": policy}), (400, "bad_request", &text));
}

/// Tools ask for these lists, and take another status than 200 for an error.
#[test]
fn shovels_are_kept_and_not_run() {
    if is_rabbitmq() {
        return;
    }
    let name = unique("http-shovel");
    let path = format!("/api/parameters/shovel/%2F/{name}");
    let value = json!({"src-uri": "amqp://", "src-queue": "a", "dest-uri": "amqp://", "dest-queue": "b"});
    assert_eq!(send("PUT", &path, json!({"value": value})).status, 201);
    let kept = json!({"value": value, "vhost": "/", "component": "shovel", "name": name});
    assert_eq!(http().get(&path), kept);
    for list in ["/api/shovels", "/api/shovels/%2F"] {
        let shovels = http().get(list);
        let shovel = shovels
            .as_array()
            .expect("rows")
            .iter()
            .find(|row| row["name"] == json!(name));
        assert_eq!(shovel.expect("the shovel")["state"], "terminated", "{list}");
    }
    assert!(
        http().get("/api/definitions")["parameters"]
            .as_array()
            .expect("rows")
            .contains(&kept)
    );
    assert_eq!(http().get("/api/federation-links"), json!([]));
    assert_eq!(http().get("/api/federation-links/%2F"), json!([]));
    assert_eq!(status("DELETE", &path), 204);
}
