//! Virtual hosts over HTTP: made, changed, protected, limited, deleted.

use harness::http::Answer;
use harness::requests::unique;
use serde_json::{Value, json};

use crate::{NOT_FOUND, http, refused, send, status};

/// The path of a vhost.
fn path(name: &str) -> String {
    format!("/api/vhosts/{name}")
}

/// A new vhost, made with a body.
fn made(what: &str, body: Value) -> String {
    let name = unique(what);
    assert_eq!(send("PUT", &path(&name), body).status, 201);
    name
}

/// A vhost without figures and the state of its node.
fn shown(name: &str) -> Value {
    let mut vhost = http().get(&format!("{}?disable_stats=true", path(name)));
    let state = vhost.as_object_mut().and_then(|vhost| vhost.remove("cluster_state"));
    let state = state.expect("a state");
    assert!(
        state
            .as_object()
            .expect("nodes")
            .values()
            .all(|state| state == "running")
    );
    vhost
}

/// The node's name.
fn node() -> String {
    let node = http().get("/api/overview")["node"].clone();
    node.as_str().expect("a name").to_owned()
}

#[test]
fn a_vhost_is_made_shown_changed_and_deleted() {
    let name = unique("http-vhost");
    assert_eq!(status("GET", &path(&name)), 404);
    assert_eq!(send("PUT", &path(&name), Value::Null).status, 201);
    let plain = json!({"description": "", "tags": [], "default_queue_type": "classic"});
    let mut expected = json!({
        "name": name, "description": "", "tags": [], "default_queue_type": "classic", "metadata": plain,
        "protected_from_deletion": false, "tracing": false
    });
    assert_eq!(shown(&name), expected);
    assert_eq!(send("PUT", &path(&name), json!({})).status, 204);
    let metadata = json!({"description": "of ours", "tags": ["a", "b", "", "c"], "default_queue_type": "quorum"});
    let body = json!({"description": "of ours", "tags": "a, b ,,c", "default_queue_type": "quorum", "tracing": true});
    assert_eq!(send("PUT", &path(&name), body).status, 204);
    for field in ["description", "tags", "default_queue_type"] {
        expected[field] = metadata[field].clone();
    }
    (expected["metadata"], expected["tracing"]) = (metadata, json!(true));
    assert_eq!(shown(&name), expected);
    // What a body leaves out becomes the usual, but for tracing.
    assert_eq!(send("PUT", &path(&name), json!({"tags": ["x y", "c,d"]})).status, 204);
    let now = shown(&name);
    assert_eq!(
        (
            &now["tags"],
            &now["description"],
            &now["default_queue_type"],
            &now["tracing"]
        ),
        (&json!(["x y", "c,d"]), &json!(""), &json!("classic"), &json!(true))
    );
    let vhosts = http().get("/api/vhosts?columns=name");
    let mut vhosts = vhosts.as_array().expect("rows").iter();
    assert!(vhosts.any(|vhost| vhost["name"] == name.as_str()));
    assert_eq!(http().get(&format!("/api/queues/{name}")), json!([]));
    assert_eq!(status("DELETE", &path(&name)), 204);
    for method in ["GET", "DELETE"] {
        refused(method, &path(&name), Value::Null, NOT_FOUND);
    }
}

#[test]
fn names_may_have_any_characters() {
    let name = unique("http/\u{e9}\n");
    let escaped = name
        .replace('/', "%2F")
        .replace('\n', "%0A")
        .replace('\u{e9}', "%C3%A9");
    assert_eq!(send("PUT", &path(&escaped), Value::Null).status, 201);
    assert_eq!(shown(&escaped)["name"], name.as_str());
    let queue = format!("/api/queues/{escaped}/q");
    assert_eq!(send("PUT", &queue, json!({})).status, 201);
    assert_eq!(
        http().get(&format!("{queue}?disable_stats=true"))["vhost"],
        name.as_str()
    );
    assert_eq!(status("DELETE", &path(&escaped)), 204);
}

#[test]
fn a_wrong_vhost_is_refused_in_words() {
    let name = unique("http-wrong");
    let path = path(&name);
    for (body, words) in [
        (json!({"default_queue_type": "odd"}), "odd is not a valid queue type"),
        (
            json!({"default_queue_type": ""}),
            "default_queue_type must not be an empty string",
        ),
        (
            json!({"default_queue_type": 3}),
            "3 is not a valid default_queue_type value",
        ),
    ] {
        refused("PUT", &path, body, (400, "bad_request", words));
    }
    refused("PUT", &path, json!([]), (400, "bad_request", "not_json"));
    assert_eq!(send("PUT", &path, json!({"tracing": "odd"})).status, 400);
    refused("GET", &path, Value::Null, NOT_FOUND);
    for (given, shown_as) in [("undefined", "classic"), ("rabbit_quorum_queue", "quorum")] {
        send("PUT", &path, json!({"default_queue_type": given}));
        assert_eq!(shown(&name)["default_queue_type"], shown_as);
    }
    assert_eq!(status("DELETE", &path), 204);
}

#[test]
fn a_protected_vhost_is_not_deleted() {
    let name = made("http-protected", json!({}));
    let protection = format!("{}/deletion/protection", path(&name));
    assert_eq!(status("POST", &protection), 204);
    let now = shown(&name);
    assert_eq!(
        (
            &now["protected_from_deletion"],
            &now["metadata"]["protected_from_deletion"]
        ),
        (&json!(true), &json!(true))
    );
    let words = format!("Refusing to delete virtual host '{name}' because it is protected from deletion");
    refused(
        "DELETE",
        &path(&name),
        Value::Null,
        (412, "precondition_failed", &words),
    );
    assert_eq!(send("PUT", &path(&name), json!({"description": "still"})).status, 204);
    assert_eq!(
        status("DELETE", &path(&name)),
        412,
        "another change leaves it protected"
    );
    assert_eq!(status("DELETE", &protection), 204);
    assert_eq!(shown(&name)["metadata"]["protected_from_deletion"], false);
    assert_eq!(status("DELETE", &path(&name)), 204);
    let words = format!("Cannot enable deletion protection of virtual host '{name}' because it does not exist");
    refused("POST", &protection, Value::Null, (404, "not_found", &words));
    refused("DELETE", &protection, Value::Null, NOT_FOUND);
}

#[test]
fn a_vhost_runs_on_the_node_that_there_is() {
    let name = made("http-start", json!({}));
    let start = |name: &str, node: &str| send("POST", &format!("{}/start/{node}", path(name)), Value::Null);
    let node = node();
    assert_eq!(start(&name, &node).status, 204);
    let reason = |answer: Answer| (answer.status, answer.json()["reason"].clone());
    assert_eq!(reason(start(&name, "nowhere")), (400, json!("Unknown node: nowhere")));
    assert_eq!(status("DELETE", &path(&name)), 204);
    let words = format!("Request to node {node} failed with {{no_such_vhost,<<\"{name}\">>}}");
    let (status, mut said) = reason(start(&name, &node));
    // RabbitMQ breaks long lines.
    if let Value::String(said) = &mut said {
        *said = said.replace('\n', "").split("  ").collect();
    }
    assert_eq!((status, said), (400, json!(words)));
}

#[test]
fn limits_are_set_shown_and_cleared() {
    let name = made("http-limits", json!({}));
    let of_vhost = format!("/api/vhost-limits/{name}");
    let limit = |which: &str| format!("{of_vhost}/{which}");
    assert_eq!(http().get(&of_vhost), json!([]));
    assert_eq!(send("PUT", &limit("max-queues"), json!({"value": 2})).status, 204);
    assert_eq!(send("PUT", &limit("max-connections"), json!({"value": -7})).status, 204);
    let expected = json!({"vhost": name, "value": {"max-connections": -7, "max-queues": 2}});
    assert_eq!(http().get(&of_vhost), json!([expected]));
    let all = http().get("/api/vhost-limits");
    assert!(all.as_array().expect("rows").contains(&expected), "{all}");
    for (value, shown) in [
        (json!("2"), "<<\"2\">>"),
        (json!(1.5), "1.5"),
        (Value::Null, "null"),
        (json!(true), "true"),
    ] {
        let words = format!("Validation failed\n\nmax-queues should be a number, actually was {shown}\n");
        refused(
            "PUT",
            &limit("max-queues"),
            json!({"value": value}),
            (400, "bad_request", &words),
        );
    }
    let words = "Validation failed\n\nUnrecognised terms [{<<\"max-odd\">>,2}] in limits\n";
    refused(
        "PUT",
        &limit("max-odd"),
        json!({"value": 2}),
        (400, "bad_request", words),
    );
    refused(
        "PUT",
        &limit("max-queues"),
        json!({}),
        (400, "bad_request", "[{key_missing,value}]"),
    );
    assert_eq!(status("GET", &limit("max-queues")), 405);
    let queue = |number: u8| send("PUT", &format!("/api/queues/{name}/q{number}"), json!({}));
    assert_eq!((queue(1).status, queue(2).status, queue(1).status), (201, 201, 204));
    let words = format!("cannot declare queue 'q3': queue limit in vhost '{name}' (2) is reached");
    assert_eq!(queue(3).json()["reason"], words);
    assert_eq!(status("DELETE", &limit("max-queues")), 204);
    assert_eq!(queue(3).status, 201);
    assert_eq!(status("DELETE", &limit("max-odd")), 204);
    assert_eq!(http().get(&of_vhost)[0]["value"], json!({"max-connections": -7}));
    assert_eq!(status("DELETE", &limit("max-connections")), 204);
    assert_eq!(http().get(&of_vhost), json!([]));
    let all = http().get("/api/vhost-limits");
    assert!(
        all.as_array()
            .expect("rows")
            .contains(&json!({"vhost": name, "value": {}})),
        "{all}"
    );
    assert_eq!(status("DELETE", &path(&name)), 204);
    refused("GET", &of_vhost, Value::Null, NOT_FOUND);
    for (method, body) in [("PUT", json!({"value": 2})), ("DELETE", Value::Null)] {
        refused(
            method,
            &limit("max-queues"),
            body,
            (404, "not_found", "vhost_not_found"),
        );
    }
}

#[test]
fn definitions_have_what_a_vhost_was_made_with() {
    let body = json!({"description": "d", "tags": "t", "default_queue_type": "quorum"});
    let name = made("http-defined", body);
    send(
        "PUT",
        &format!("/api/vhost-limits/{name}/max-queues"),
        json!({"value": 4}),
    );
    let definitions = http().get("/api/definitions");
    let vhosts = definitions["vhosts"].as_array().expect("vhosts");
    let vhost = vhosts.iter().find(|vhost| vhost["name"] == name.as_str()).expect("it");
    assert_eq!(
        (
            &vhost["limits"],
            &vhost["metadata"]["default_queue_type"],
            &vhost["metadata"]["tags"]
        ),
        (&json!({"max-queues": 4}), &json!("quorum"), &json!(["t"]))
    );
    assert_eq!(status("DELETE", &path(&name)), 204);
}
