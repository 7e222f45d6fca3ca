//! Small endpoints, each with what RabbitMQ answers: logins by a form, resets, actions, sessions, settings, pages.

use std::io::{Read, Write};
use std::net::TcpStream;

use harness::requests::{exclusive, unique};
use harness::wait::eventually;
use harness::{Broker, call};
use serde_json::{Value, json};

use crate::{FIGURES, NOT_FOUND, client, http, is_rabbitmq, refused, send, status};

/// A request with any head, without a login: status, and what follows the status line.
fn octets(method: &str, path: &str, head: &str, body: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(Broker::shared().http()).expect("it listens");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{head}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("a new connection");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let status = String::from_utf8_lossy(&answer[9..12]).parse();
    (status.expect("a status"), answer.split_off(12))
}

/// The same, and the body.
fn raw(method: &str, path: &str, head: &str, body: &str) -> (u16, String) {
    let (status, answer) = octets(method, path, head, body);
    let text = String::from_utf8_lossy(&answer);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

/// Lists and metrics are compressed for who accepts that.
#[test]
fn long_answers_are_compressed() {
    let paths: &[&str] = match is_rabbitmq() {
        true => &["/api/exchanges"],
        false => &["/api/exchanges", "/metrics", "/metrics/per-object"],
    };
    for path in paths {
        let login = "authorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n";
        let (status, plain) = octets("GET", path, login, "");
        let (_, zipped) = octets("GET", path, &format!("{login}accept-encoding: gzip, deflate\r\n"), "");
        let head = |answer: &[u8]| String::from_utf8_lossy(answer).to_ascii_lowercase();
        assert_eq!(
            (status, head(&plain).contains("content-encoding")),
            (200, false),
            "{path}"
        );
        assert!(head(&zipped).contains("content-encoding: gzip"), "{path}");
        let magic = zipped.windows(3).any(|bytes| bytes == [0x1f, 0x8b, 8]);
        assert!(
            magic && zipped.len() * 2 < plain.len(),
            "{path}: {} of {}",
            zipped.len(),
            plain.len()
        );
    }
}

#[test]
fn a_form_logs_in_and_gets_a_token() {
    const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";
    let login = |form: &str| raw("POST", "/api/login", FORM, form);
    let (status, body) = login("username=guest&password=gu%65st");
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        answer["user"],
        json!({"name": "guest", "tags": ["administrator"], "is_internal_user": true})
    );
    assert_eq!(answer["token"], json!({"type": "basic", "value": "Z3Vlc3Q6Z3Vlc3Q="}));
    for wrong in [
        "username=guest&password=wrong",
        "username=guest",
        "",
        "username=%FF&password=%FF",
    ] {
        let (status, body) = login(wrong);
        assert_eq!(
            (status, body.contains("not_authorized")),
            (401, true),
            "{wrong}: {body}"
        );
    }
    assert_eq!(raw("DELETE", "/api/login", "", "").0, 204);
}

/// Leveret's own: whoever hasn't logged in sends little.
#[test]
fn a_form_is_short() {
    if is_rabbitmq() {
        return;
    }
    let (status, _) = raw("POST", "/api/login", "", &format!("username={}", "x".repeat(20_000)));
    assert_eq!(status, 413);
}

#[test]
fn some_checks_and_the_version_need_no_login() {
    for path in [
        "/api/version",
        "/api/health/checks/is-in-service",
        "/api/health/checks/below-node-connection-limit",
        "/api/health/checks/ready-to-serve-clients",
        "/api/health/checks/reached-target-cluster-size",
    ] {
        assert_eq!(raw("GET", path, "", "").0, 200, "{path}");
    }
    let (status, page) = raw("GET", "/", "", "");
    assert_eq!((status, page.contains("<html")), (200, true));
}

#[test]
fn queues_have_no_actions_left() {
    let queue = unique("http-action");
    let path = format!("/api/queues/%2F/{queue}");
    assert_eq!(send("PUT", &path, json!({"durable": true})).status, 201);
    let act = |name: &str, body: Value| {
        let answer = send("POST", &format!("/api/queues/%2F/{name}/actions"), body);
        (answer.status, answer.json()["reason"].clone())
    };
    assert_eq!(
        act(&queue, json!({"action": "sync"})),
        (400, json!(["unknown", "sync"]))
    );
    assert_eq!(act(&queue, json!({})), (400, json!("[{key_missing,action}]")));
    assert_eq!(
        act("http-nowhere", json!({"action": "sync"})),
        (404, json!("queue_not_found"))
    );
    assert_eq!(status("DELETE", &path), 204);
}

#[test]
fn a_user_has_queues_and_a_connection_has_no_sessions() {
    let mut client = client();
    let queue = unique("http-owned");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    let mine = |user: &str| {
        let rows = http().get(&format!("/api/users/{user}/queues"));
        rows.as_array()
            .expect("rows")
            .iter()
            .any(|row| row["name"] == json!(queue))
    };
    assert!(mine("guest") && !mine("nobody"));
    let (connection, _) = eventually("its owner is shown", FIGURES, || {
        let queue = http().get(&format!("/api/queues/%2F/{queue}"));
        let name = queue["owner_pid_details"]["name"].as_str().map(str::to_owned);
        name.ok_or(queue)
    });
    let escaped = connection.replace(' ', "%20").replace('>', "%3E");
    let wrong = (400, "bad_request", "connection does not use AMQP 1.0");
    refused(
        "GET",
        &format!("/api/connections/{escaped}/sessions"),
        Value::Null,
        wrong,
    );
    refused("GET", "/api/connections/nowhere/sessions", Value::Null, NOT_FOUND);
    client.close();
}

/// Shovels and upstreams are kept, and nothing runs by them. RabbitMQ knows them by plugins.
#[test]
fn what_would_run_by_parameters_is_listed_and_deleted() {
    if is_rabbitmq() {
        return;
    }
    let name = unique("http-shovel");
    let (parameter, shovel) = (
        format!("/api/parameters/shovel/%2F/{name}"),
        format!("/api/shovels/vhost/%2F/{name}"),
    );
    let value = json!({"src-uri": "amqp://", "src-queue": "a", "dest-uri": "amqp://", "dest-queue": "b"});
    assert_eq!(send("PUT", &parameter, json!({"value": value})).status, 201);
    assert_eq!(http().get(&shovel)["value"], value);
    let listed = |path: &str| {
        let rows = http().get(path);
        rows.as_array()
            .expect("rows")
            .iter()
            .any(|row| row["name"] == json!(name))
    };
    assert!(listed("/api/shovels") && listed("/api/shovels/%2F"));
    refused("DELETE", &format!("{shovel}/restart"), Value::Null, NOT_FOUND);
    assert_eq!((status("DELETE", &shovel), status("DELETE", &shovel)), (204, 204));
    assert!(!listed("/api/shovels"));
    refused("GET", &parameter, Value::Null, NOT_FOUND);
    for links in ["", "/%2F", "/state/down", "/%2F/state/down"] {
        assert_eq!(
            http().get(&format!("/api/federation-links{links}")),
            json!([]),
            "{links}"
        );
    }
    let upstream = format!("/api/parameters/federation-upstream/%2F/{name}");
    let missing = format!("Validation failed\n\nKey \"uri\" not found in {name}\n");
    refused("PUT", &upstream, json!({"value": {}}), (400, "bad_request", &missing));
}

#[test]
fn settings_are_told_in_erlangs_notation() {
    let answer = send("GET", "/api/config/effective", Value::Null);
    let kind = answer.header("content-type").expect("a type").to_owned();
    assert_eq!((answer.status, kind.starts_with("text/plain")), (200, true), "{kind}");
    assert!(
        answer.body.starts_with("[{") && answer.body.trim_end().ends_with("}]"),
        "{}",
        answer.body
    );
}

/// The refusal is that of RabbitMQ's own client, which the plugin publishes by.
#[test]
fn nothing_is_published_to_an_internal_exchange() {
    let name = unique("http-internal");
    let path = format!("/api/exchanges/%2F/{name}");
    assert_eq!(
        send("PUT", &path, json!({"type": "fanout", "internal": true})).status,
        201
    );
    let message = json!({"properties": {}, "routing_key": "", "payload": "x", "payload_encoding": "string"});
    let told = format!("403 ACCESS_REFUSED - cannot publish to internal exchange '{name}' in vhost '/'");
    refused("POST", &format!("{path}/publish"), message, (400, "bad_request", &told));
    assert_eq!(status("DELETE", &path), 204);
}

/// Filters are Perl's regular expressions, with what that has beyond regular ones.
#[test]
fn a_filter_looks_around() {
    let prefix = unique("http-look");
    let queue = |end: &str| format!("/api/queues/%2F/{prefix}-{end}");
    for end in ["one", "two"] {
        assert_eq!(send("PUT", &queue(end), json!({"durable": true})).status, 201);
    }
    let found = http().get(&format!(
        "/api/queues/%2F?page=1&use_regex=true&name=%5E{prefix}-(?!one)"
    ));
    let names: Vec<&str> = found["items"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["name"].as_str())
        .collect();
    assert_eq!(names, [format!("{prefix}-two")]);
    for end in ["one", "two"] {
        assert_eq!(status("DELETE", &queue(end)), 204);
    }
}
