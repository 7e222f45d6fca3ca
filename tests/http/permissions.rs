//! Permissions and topic permissions over HTTP.

use std::time::{Duration, Instant};

use harness::Broker;
use harness::http::Http;
use harness::requests::unique;
use serde_json::{Value, json};

use crate::{NOT_FOUND, http, refused, send, status};

/// A new user without permissions.
fn user() -> String {
    let name = unique("http-permitted");
    let body = json!({"password": "geheim", "tags": "management"});
    assert_eq!(send("PUT", &format!("/api/users/{name}"), body).status, 201);
    name
}

fn delete(user: &str) {
    assert_eq!(status("DELETE", &format!("/api/users/{user}")), 204);
}

fn has(list: &str, row: &Value) -> bool {
    http().get(list).as_array().expect("rows").contains(row)
}

#[test]
fn a_permission_is_put_shown_changed_and_deleted() {
    let name = user();
    let path = format!("/api/permissions/%2F/{name}");
    let lists = [
        "/api/permissions".to_owned(),
        format!("/api/users/{name}/permissions"),
        "/api/vhosts/%2F/permissions".to_owned(),
    ];
    refused("GET", &path, Value::Null, NOT_FOUND);
    refused("DELETE", &path, Value::Null, NOT_FOUND);
    let body = json!({"configure": "^a", "write": ".*", "read": ""});
    assert_eq!(send("PUT", &path, body.clone()).status, 201);
    assert_eq!(send("PUT", &path, body).status, 204);
    let row = json!({"user": name, "vhost": "/", "configure": "^a", "write": ".*", "read": ""});
    assert_eq!(http().get(&path), row);
    assert!(lists.iter().all(|list| has(list, &row)));
    let without = http().get("/api/users/without-permissions");
    assert!(
        without
            .as_array()
            .expect("users")
            .iter()
            .all(|user| user["name"] != *name)
    );
    let wrong = |path: &str, body: Value, reason: &str| refused("PUT", path, body, (400, "bad_request", reason));
    wrong(&path, json!({"configure": "", "write": ""}), "[{key_missing,read}]");
    let body = || json!({"configure": "", "write": "", "read": ""});
    wrong(
        "/api/permissions/%2F/nobody-of-this-name",
        body(),
        "vhost_or_user_not_found",
    );
    wrong(
        &format!("/api/permissions/no-such-vhost/{name}"),
        body(),
        "vhost_or_user_not_found",
    );
    assert_eq!((status("DELETE", &path), status("GET", &path)), (204, 404));
    assert!(!lists.iter().any(|list| has(list, &row)));
    delete(&name);
}

#[test]
fn topic_permissions_are_of_one_exchange_each() {
    let name = user();
    let path = format!("/api/topic-permissions/%2F/{name}");
    refused("GET", &path, Value::Null, NOT_FOUND);
    let put = |exchange: &str, write: &str| {
        let body = json!({"exchange": exchange, "write": write, "read": "^{username}"});
        send("PUT", &path, body)
    };
    assert_eq!(
        (put("amq.topic", "^a").status, put("amq.topic", "^b").status),
        (201, 204)
    );
    assert_eq!(put("", ".").status, 204);
    let row = |exchange: &str, write: &str| json!({"user": name, "vhost": "/", "exchange": exchange, "write": write, "read": "^{username}"});
    assert_eq!(http().get(&path), json!([row("", "."), row("amq.topic", "^b")]));
    for list in ["/api/topic-permissions", "/api/vhosts/%2F/topic-permissions"] {
        assert!(has(list, &row("amq.topic", "^b")));
    }
    assert_eq!(
        http().get(&format!("/api/users/{name}/topic-permissions")),
        http().get(&path)
    );
    assert_eq!(put("no-such-exchange", "").status, 400);
    assert_eq!(put("amq.topic", "(").status, 400);
    let body = json!({"exchange": "amq.topic", "write": "("});
    refused("PUT", &path, body, (400, "bad_request", "[{key_missing,read}]"));
    assert_eq!(status("DELETE", &format!("{path}/amq.topic")), 204);
    assert_eq!(http().get(&path), json!([row("", ".")]));
    assert_eq!((status("DELETE", &path), status("DELETE", &path)), (204, 404));
    delete(&name);
}

#[test]
fn patterns_that_would_cost_too_much_are_refused_or_match_nothing() {
    let name = user();
    let path = format!("/api/permissions/%2F/{name}");
    for pattern in ["(", &"a".repeat(1025), &"(a|b)*".repeat(170_000)] {
        let begin = Instant::now();
        let answer = send("PUT", &path, json!({"configure": pattern, "write": "", "read": ""}));
        assert!((400..500).contains(&answer.status), "{}", answer.status);
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
    // Backtracks for ever, where that is not bounded.
    let body = json!({"configure": "^(?=(a+)+$)(a+)+\\1b$", "write": ".*", "read": ".*"});
    assert_eq!(send("PUT", &path, body).status, 201);
    let api = Http::with_credentials(Broker::shared().http(), &name, "geheim");
    let begin = Instant::now();
    let queue = format!("/api/queues/%2F/{}", "a".repeat(200));
    assert_eq!(api.request("PUT", &queue, Some(&json!({}))).status, 401);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(http().get("/api/whoami")["name"], "guest");
    delete(&name);
}
