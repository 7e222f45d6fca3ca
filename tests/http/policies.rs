//! Policies and operator policies over HTTP.

use harness::requests::unique;
use harness::wait::until;
use serde_json::{Value, json};

use crate::{FIGURES, NOT_FOUND, has, http, is_rabbitmq, refused, send, status};

/// A policy for one name.
fn policy(pattern: &str, definition: Value) -> Value {
    json!({"pattern": format!("^{pattern}$"), "definition": definition})
}

/// A wrong policy is answered with this line.
fn wrong(path: &str, body: Value, line: &str) {
    refused(
        "PUT",
        path,
        body,
        (400, "bad_request", &format!("Validation failed\n\n{line}\n")),
    );
}

/// The policies of a queue or exchange, as lists and the object itself show them (without figures, which a RabbitMQ
/// collects with a delay, and its policies with them).
fn shown(list: &str, name: &str) -> Value {
    let path = format!("/api/{list}/%2F");
    let object = http().get(&format!("{path}/{name}?disable_stats=true"));
    let rows = http().get(&format!("{path}?disable_stats=true"));
    let row = rows.as_array().expect("rows").iter().find(|row| row["name"] == name);
    assert_eq!(row.expect("the object")["policy"], object["policy"]);
    object
}

#[test]
fn a_policy_is_put_shown_changed_and_deleted() {
    for (list, other) in [("policies", "operator-policies"), ("operator-policies", "policies")] {
        let name = unique("http-policy");
        let path = format!("/api/{list}/%2F/{name}");
        assert_eq!(send("PUT", &path, policy(&name, json!({"max-length": 5}))).status, 201);
        let mut expected = json!({
            "vhost": "/", "name": name, "pattern": format!("^{name}$"), "apply-to": "all", "definition": {"max-length": 5},
            "priority": 0
        });
        assert_eq!(http().get(&path), expected);
        let mut body = policy(&name, json!({"message-ttl": 7, "max-length": 6}));
        (body["priority"], body["apply-to"]) = (json!(-3), json!("queues"));
        assert_eq!(send("PUT", &path, body.clone()).status, 204);
        assert_eq!(send("PUT", &path, body.clone()).status, 204, "the same again");
        (expected["priority"], expected["apply-to"]) = (json!(-3), json!("queues"));
        expected["definition"] = body["definition"].clone();
        for place in ["", "/%2F"] {
            let rows = http().get(&format!("/api/{list}{place}"));
            assert!(rows.as_array().expect("rows").contains(&expected), "{rows}");
        }
        refused("GET", &format!("/api/{other}/%2F/{name}"), Value::Null, NOT_FOUND);
        assert_eq!(status("POST", &path), 405);
        assert_eq!(status("DELETE", &path), 204);
        for method in ["GET", "DELETE"] {
            refused(method, &path, Value::Null, NOT_FOUND);
        }
    }
}

#[test]
fn lists_are_ordered_by_priority() {
    let name = unique("http-order");
    for (priority, suffix) in [(2, "a"), (-1, "b"), (2, "c"), (0, "d")] {
        let mut body = policy(&name, json!({"max-length": 5}));
        body["priority"] = json!(priority);
        assert_eq!(
            send("PUT", &format!("/api/policies/%2F/{name}-{suffix}"), body).status,
            201
        );
    }
    let names = |query: &str| {
        let rows = http().get(&format!("/api/policies/%2F{query}"));
        let names = rows
            .as_array()
            .expect("rows")
            .iter()
            .filter_map(|row| row["name"].as_str());
        let own = names.filter_map(|found| found.strip_prefix(&format!("{name}-")));
        own.collect::<String>()
    };
    assert_eq!(names(""), "bdac");
    assert_eq!(names("?sort=name&sort_reverse=true"), "dcba");
    assert_eq!(names("?page=1&page_size=1"), "bdac", "no pages");
    for suffix in ["a", "b", "c", "d"] {
        assert_eq!(status("DELETE", &format!("/api/policies/%2F/{name}-{suffix}")), 204);
    }
}

#[test]
fn vhosts_that_do_not_exist_have_no_policies() {
    for list in ["/api/policies", "/api/operator-policies"] {
        refused("GET", &format!("{list}/nowhere"), Value::Null, NOT_FOUND);
        for method in ["GET", "DELETE"] {
            refused(method, &format!("{list}/nowhere/p"), Value::Null, NOT_FOUND);
        }
        let body = policy("x", json!({"max-length": 5}));
        refused(
            "PUT",
            &format!("{list}/nowhere/p"),
            body,
            (404, "not_found", "vhost_not_found"),
        );
    }
}

#[test]
fn wrong_bodies_are_refused() {
    let path = "/api/policies/%2F/http-wrong";
    let missing = |body, reason: &str| refused("PUT", path, body, (400, "bad_request", reason));
    missing(json!({}), "[{key_missing,pattern},{key_missing,definition}]");
    missing(json!({"definition": {"max-length": 5}}), "[{key_missing,pattern}]");
    missing(json!([]), "not_json");
    let with = |field: &str, value: Value| {
        let mut body = policy("x", json!({"max-length": 5}));
        body[field] = value;
        body
    };
    wrong(path, with("pattern", json!(5)), "pattern should be a binary but was 5");
    wrong(
        path,
        with("pattern", json!("a".repeat(1025))),
        "pattern must not exceed 1024 bytes",
    );
    wrong(
        path,
        with("priority", json!("5")),
        "priority should be a number, actually was <<\"5\">>",
    );
    wrong(
        path,
        with("priority", Value::Null),
        "priority should be a number, actually was null",
    );
    wrong(
        path,
        with("apply-to", json!("none")),
        "apply-to 'none' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', 'streams', \
         'exchanges', or 'all'",
    );
    wrong(path, with("definition", json!({})), "no policy provided");
    // What is wrong with it is said in the words of the engine.
    let answer = send("PUT", path, with("pattern", json!("(")));
    let begin = "Validation failed\n\npattern should be regular expression but is invalid: ";
    let reason = answer.json()["reason"].as_str().expect("a reason").to_owned();
    assert!(answer.status == 400 && reason.starts_with(begin), "{reason}");
    refused("GET", path, Value::Null, NOT_FOUND);
}

#[test]
fn wrong_definitions_are_refused() {
    let path = "/api/policies/%2F/http-wrong";
    for (definition, line) in [
        (
            json!({"alternate-exchange": 5}),
            "5 is not a valid alternate exchange name",
        ),
        (
            json!({"dead-letter-exchange": {"a": [1, "b"]}}),
            "#{<<\"a\">> => [1,<<\"b\">>]} is not a valid dead letter exchange name",
        ),
        (
            json!({"dead-letter-routing-key": true}),
            "true is not a valid dead letter routing key",
        ),
        (
            json!({"delivery-limit": "x"}),
            "<<\"x\">> is not a valid delivery limit",
        ),
        (
            json!({"delayed-retry-type": "all"}),
            "delayed-retry-min is required when delayed-retry-type is all",
        ),
        (
            json!({"expires": 0, "message-ttl": -1, "nope": 1}),
            "0 is not a valid queue expiry",
        ),
        (json!({"max-length": 1.5}), "1.5 is not a valid maximum length"),
        (
            json!({"max-length-bytes": null}),
            "null is not a valid maximum length in bytes",
        ),
        (json!({"message-ttl": "5"}), "<<\"5\">> is not a valid message TTL"),
        (json!({"overflow": "x"}), "<<\"x\">> is not a valid overflow value"),
        (
            json!({"max-priority": 5}),
            "[{<<\"max-priority\">>,5}] are not recognised policy settings",
        ),
        (
            json!({"ha-mode": "all"}),
            "[{<<\"ha-mode\">>,<<\"all\">>}] are not recognised policy settings",
        ),
        (
            json!({"b": 1, "a": 2}),
            "[{<<\"a\">>,2},{<<\"b\">>,1}] are not recognised policy settings",
        ),
    ] {
        wrong(path, policy("x", definition), line);
    }
    let operator = "/api/operator-policies/%2F/http-wrong";
    for (definition, line) in [
        (
            json!({"dead-letter-exchange": "x", "max-length": 5}),
            "[{<<\"dead-letter-exchange\">>,<<\"x\">>}] are not recognised policy settings",
        ),
        (
            json!({"alternate-exchange": "x"}),
            "[{<<\"alternate-exchange\">>,<<\"x\">>}] are not recognised policy settings",
        ),
        (json!({"expires": 0}), "0 is not a valid queue expiry"),
    ] {
        wrong(operator, policy("x", definition), line);
    }
}

#[test]
fn a_queue_shows_its_policies() {
    let name = unique("http-governed");
    let path = format!("/api/queues/%2F/{name}");
    let arguments = json!({"x-max-length": 3});
    assert_eq!(
        send("PUT", &path, json!({"durable": true, "arguments": arguments})).status,
        201
    );
    let fields = |queue: &Value| {
        let fields = ["policy", "operator_policy", "effective_policy_definition"];
        json!(fields.map(|field| queue[field].clone()))
    };
    until("no policy is shown", FIGURES, || {
        fields(&shown("queues", &name)) == json!([null, null, {}])
    });
    let (of_users, of_operators) = (
        format!("/api/policies/%2F/{name}"),
        format!("/api/operator-policies/%2F/{name}-o"),
    );
    let body = policy(
        &name,
        json!({"max-length": 4, "message-ttl": 1000, "overflow": "drop-head"}),
    );
    assert_eq!(send("PUT", &of_users, body).status, 201);
    let body = policy(
        &name,
        json!({"max-length": 5, "message-ttl": 900, "overflow": "reject-publish"}),
    );
    assert_eq!(send("PUT", &of_operators, body).status, 201);
    let both = json!([name, format!("{name}-o"), {"max-length": 4, "message-ttl": 900, "overflow": "reject-publish"}]);
    until("both apply", FIGURES, || fields(&shown("queues", &name)) == both);
    let queue = http().get(&path);
    assert_eq!(queue["arguments"]["x-max-length"], 3, "arguments are as declared");
    assert_eq!(
        send("PUT", &path, json!({"durable": true, "arguments": arguments})).status,
        204
    );
    // One with a key of other queue types is passed over, whatever its priority.
    let mut body = policy(&name, json!({"max-length": 1, "delivery-limit": 3}));
    body["priority"] = json!(9);
    let quorum = format!("{of_users}-q");
    assert_eq!(send("PUT", &quorum, body).status, 201);
    assert_eq!(fields(&shown("queues", &name)), both);
    for path in [&of_users, &quorum] {
        assert_eq!(status("DELETE", path), 204);
    }
    let operator =
        json!([null, format!("{name}-o"), {"max-length": 5, "message-ttl": 900, "overflow": "reject-publish"}]);
    until("one applies", FIGURES, || fields(&shown("queues", &name)) == operator);
    assert_eq!(status("DELETE", &of_operators), 204);
    until("none applies", FIGURES, || {
        fields(&shown("queues", &name)) == json!([null, null, {}])
    });
    assert_eq!(status("DELETE", &path), 204);
}

#[test]
fn an_exchange_shows_its_policy() {
    let name = unique("http-governed");
    let path = format!("/api/exchanges/%2F/{name}");
    let mut body = policy(&name, json!({"alternate-exchange": "amq.fanout"}));
    body["apply-to"] = json!("exchanges");
    assert_eq!(send("PUT", &format!("/api/policies/%2F/{name}"), body).status, 201);
    assert_eq!(send("PUT", &path, json!({"type": "direct"})).status, 201);
    let exchange = shown("exchanges", &name);
    assert_eq!(exchange["policy"], name);
    if !is_rabbitmq() {
        // RabbitMQ tells these of queues only.
        has(
            &exchange,
            &["operator_policy", "effective_policy_definition.alternate-exchange"],
        );
    }
    let queue = format!("/api/queues/%2F/{name}");
    assert_eq!(send("PUT", &queue, json!({})).status, 201);
    assert_eq!(shown("queues", &name)["policy"], Value::Null, "it is for exchanges");
    assert_eq!(status("DELETE", &format!("/api/policies/%2F/{name}")), 204);
    until("none applies", FIGURES, || {
        shown("exchanges", &name)["policy"].is_null()
    });
    for path in [&path, &queue] {
        assert_eq!(status("DELETE", path), 204);
    }
}

#[test]
fn definitions_hold_policies() {
    let name = unique("http-definition");
    let mut body = policy(&name, json!({"max-length": 5}));
    (body["priority"], body["apply-to"]) = (json!(2), json!("classic_queues"));
    for list in ["policies", "operator-policies"] {
        assert_eq!(
            send("PUT", &format!("/api/{list}/%2F/{name}"), body.clone()).status,
            201
        );
    }
    for (place, vhost) in [("", true), ("/%2F", false)] {
        let all = http().get(&format!("/api/definitions{place}"));
        let find = |list: &str| {
            let rows = all[list].as_array().expect("rows").clone();
            rows.into_iter().find(|row| row["name"] == json!(name)).expect("a row")
        };
        let mut expected = body.clone();
        expected["name"] = json!(name);
        let mut parameter = json!({"component": "operator_policy", "name": name, "value": body});
        if vhost {
            (expected["vhost"], parameter["vhost"]) = (json!("/"), json!("/"));
        }
        assert_eq!((find("policies"), find("parameters")), (expected, parameter));
    }
    let parameters = http().get("/api/parameters");
    assert!(
        parameters
            .as_array()
            .expect("rows")
            .iter()
            .any(|row| row["name"] == json!(name))
    );
    for list in ["policies", "operator-policies"] {
        assert_eq!(status("DELETE", &format!("/api/{list}/%2F/{name}")), 204);
    }
}
