//! Sockets over HTTP: declared, bound, changed, deleted.

use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::time::Duration;

use harness::Broker;
use harness::http::Http;
use harness::requests::unique;
use harness::wait::until;
use harness::zeromq::{Peer, settings};
use leveret_zmtp::SocketType;
use serde_json::{Value, json};

use crate::{declare, path, port, pull, reason};

/// The time in which a change of a declaration takes effect.
const SOON: Duration = Duration::from_secs(5);

fn accepts(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[test]
fn a_socket_is_declared_shown_changed_and_deleted() {
    let api = Http::new(Broker::shared().http());
    let name = unique("socket");
    let put = |value: Value| api.request("PUT", &path(&name), Some(&value));
    assert_eq!(put(pull(json!({}))).status, 201);
    let shown = api.get(&path(&name));
    let first = port(&shown);
    let expected = json!({
        "name": name, "vhost": "/", "type": "pull", "listen": "tcp://127.0.0.1:0",
        "address": format!("tcp://127.0.0.1:{first}"), "state": "running", "error": null, "mechanism": "null",
        "user": "guest", "queue": "jobs", "durable": false, "peers": 0, "messages_in": 0, "messages_out": 0,
        "messages_dropped": 0, "bytes_in": 0, "bytes_out": 0, "declared_by": "parameter",
        "messages_in_details": {"rate": 0.0}, "messages_out_details": {"rate": 0.0},
        "messages_dropped_details": {"rate": 0.0}, "bytes_in_details": {"rate": 0.0}, "bytes_out_details": {"rate": 0.0},
    });
    assert_eq!(shown, expected);
    for list in ["", "/%2F"] {
        let rows = api.get(&format!("/api/zeromq/sockets{list}"));
        assert!(rows.as_array().expect("rows").contains(&expected), "{rows}");
    }
    assert!(accepts(first));

    assert_eq!(put(pull(json!({"durable": true}))).status, 204);
    let changed = api.get(&path(&name));
    assert_eq!(
        (&changed["durable"], port(&changed)),
        (&json!(true), first),
        "it keeps its port"
    );
    assert!(accepts(first));

    assert_eq!(api.request("DELETE", &path(&name), None).status, 204);
    assert!(!accepts(first));
    assert_eq!(api.request("GET", &path(&name), None).status, 404);
    assert_eq!(api.request("DELETE", &path(&name), None).status, 404);
}

#[test]
fn a_socket_is_a_parameter() {
    let mut broker = Broker::start_to_stay(&[]);
    let api = Http::new(broker.http());
    let parameter = "/api/parameters/zeromq-socket/%2F/jobs";
    let put = |value: Value| api.request("PUT", parameter, Some(&json!({"value": value})));
    assert_eq!(put(pull(json!({}))).status, 201);
    let first = port(&api.get(&path("jobs")));
    assert!(accepts(first));
    assert_eq!(api.get(parameter)["value"], pull(json!({})));
    let fault = reason(&put(pull(json!({"queue": null}))), 400);
    assert_eq!(fault, "Validation failed\n\none of 'queue' and 'exchange' is missing\n");
    let fault = reason(&api.request("PUT", &path("jobs"), Some(&pull(json!({"prot": 1})))), 400);
    assert!(
        fault.starts_with("Validation failed\n\nfield 'prot' is not known; known are anywhere, "),
        "{fault}"
    );

    // With a definitions document it comes and goes, and a start binds it again.
    let exported = api.get("/api/definitions");
    let parameters = exported["parameters"].as_array().expect("parameters");
    assert!(
        parameters.iter().any(|entry| entry["component"] == "zeromq-socket"),
        "{parameters:?}"
    );
    assert_eq!(api.request("DELETE", parameter, None).status, 204);
    assert!(!accepts(first));
    assert_eq!(api.request("POST", "/api/definitions", Some(&exported)).status, 204);
    until("the socket is there", SOON, || {
        api.request("GET", &path("jobs"), None).status == 200
    });
    let mut wrong = exported.clone();
    for entry in wrong["parameters"].as_array_mut().expect("parameters") {
        entry["value"]["type"] = json!("pair");
    }
    let refused = reason(&api.request("POST", "/api/definitions", Some(&wrong)), 400);
    assert!(refused.contains("type 'pair' is not allowed"), "{refused}");

    assert!(broker.terminate(SOON).success());
    let broker = broker.restart();
    let api = Http::new(broker.http());
    until("the socket is bound", SOON, || {
        api.request("GET", &path("jobs"), None).status == 200 && accepts(port(&api.get(&path("jobs"))))
    });
}

#[test]
fn a_port_in_use_is_tried_again_until_it_is_free() {
    let api = Http::new(Broker::shared().http());
    let name = unique("taken");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken_port = taken.local_addr().expect("an address").port();
    let listen = json!({"listen": format!("tcp://127.0.0.1:{taken_port}")});
    assert_eq!(api.request("PUT", &path(&name), Some(&pull(listen))).status, 201);
    let shown = api.get(&path(&name));
    assert_eq!(
        (&shown["state"], &shown["error"]),
        (&json!("failed"), &json!("port in use"))
    );
    assert_eq!(shown["address"], Value::Null);
    drop(taken);
    until("it is bound", SOON, || api.get(&path(&name))["state"] == "running");
    assert!(accepts(taken_port));
    assert_eq!(api.request("DELETE", &path(&name), None).status, 204);
}

#[test]
fn with_its_vhost_a_socket_goes() {
    let api = Http::new(Broker::shared().http());
    let vhost = unique("sockets");
    assert_eq!(api.request("PUT", &format!("/api/vhosts/{vhost}"), None).status, 201);
    let socket = format!("/api/zeromq/sockets/{vhost}/jobs");
    assert_eq!(api.request("PUT", &socket, Some(&pull(json!({})))).status, 201);
    let port = port(&api.get(&socket));
    assert!(accepts(port));
    assert_eq!(api.request("DELETE", &format!("/api/vhosts/{vhost}"), None).status, 204);
    until("it is closed", SOON, || !accepts(port));
    let all = api.get("/api/zeromq/sockets");
    assert!(
        !all.as_array()
            .expect("rows")
            .iter()
            .any(|row| row["vhost"] == json!(vhost)),
        "{all}"
    );
}

#[test]
fn only_administrators_declare_sockets() {
    let broker = Broker::shared();
    let api = Http::new(broker.http());
    let user = unique("policymaker");
    let body = json!({"password": "geheim", "tags": "policymaker"});
    assert_eq!(
        api.request("PUT", &format!("/api/users/{user}"), Some(&body)).status,
        201
    );
    let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
    let permissions = format!("/api/permissions/%2F/{user}");
    assert_eq!(api.request("PUT", &permissions, Some(&all)).status, 201);
    let policymaker = Http::with_credentials(broker.http(), &user, "geheim");
    let parameter = format!("/api/parameters/zeromq-socket/%2F/{}", unique("mine"));
    let value = json!({"value": pull(json!({}))});
    for method in ["PUT", "DELETE"] {
        let refused = policymaker.request(method, &parameter, Some(&value));
        assert_eq!(reason(&refused, 401), "Not administrator user");
    }
}

#[test]
fn sockets_are_among_the_listeners() {
    let api = Http::new(Broker::shared().http());
    let name = unique("listener");
    let port = declare(&api, &name, &pull(json!({})));
    let overview = api.get("/api/overview");
    let listeners = overview["listeners"].as_array().expect("listeners");
    let ours = listeners
        .iter()
        .find(|listener| listener["port"] == json!(port))
        .expect("the socket");
    assert_eq!(
        (&ours["protocol"], &ours["ip_address"]),
        (&json!("zmtp"), &json!("127.0.0.1"))
    );
    assert_eq!(api.get("/api/health/checks/protocol-listener/zmtp")["status"], "ok");
    assert_eq!(
        api.get(&format!("/api/health/checks/port-listener/{port}"))["status"],
        "ok"
    );
    assert_eq!(api.request("DELETE", &path(&name), None).status, 204);
}

#[test]
fn sockets_of_the_settings_are_not_changed_by_the_api() {
    let words = [
        "listen=tcp://127.0.0.1:0",
        "type=pull",
        "queue=jobs",
        "user=guest",
        "max_frames=3",
    ];
    let words: Vec<String> = words.iter().map(|word| format!("jobs.{word}")).collect();
    let arguments: Vec<&str> = words.iter().flat_map(|word| ["--zeromq", word.as_str()]).collect();
    let broker = Broker::start_with(&arguments);
    let api = Http::new(broker.http());
    until("it is bound", SOON, || {
        api.request("GET", &path("jobs"), None).status == 200
    });
    let shown = api.get(&path("jobs"));
    assert_eq!(
        (&shown["declared_by"], &shown["state"]),
        (&json!("settings"), &json!("running"))
    );
    assert!(accepts(port(&shown)));
    let expected = "socket 'jobs' is declared by the settings, and changed there";
    let parameter = "/api/parameters/zeromq-socket/%2F/jobs";
    let value = json!({"value": pull(json!({}))});
    assert_eq!(
        reason(&api.request("PUT", &path("jobs"), Some(&pull(json!({})))), 400),
        expected
    );
    assert_eq!(reason(&api.request("PUT", parameter, Some(&value)), 400), expected);
    assert_eq!(reason(&api.request("DELETE", &path("jobs"), None), 400), expected);
}

#[test]
fn a_wrong_socket_of_the_settings_is_no_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_str().expect("a path");
    let refused = Broker::refused(&["--data-dir", folder, "--zeromq", "jobs.type=pair"]);
    assert!(
        refused
            .stderr
            .contains("setting zeromq.jobs: type 'pair' is not allowed; "),
        "{refused:?}"
    );
}

#[test]
fn a_socket_on_every_address_is_counted_by_its_names() {
    let api = Http::new(Broker::shared().http());
    let name = unique("everywhere");
    let queue = format!("/api/queues/%2F/{name}");
    assert_eq!(api.request("PUT", &queue, Some(&json!({}))).status, 201);
    let port = declare(&api, &name, &pull(json!({"listen": "tcp://*:0", "queue": name})));
    let mut peers = vec![Peer::connect(port, SocketType::Push)];
    // Machines without IPv6 are machines, too.
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        let address = (Ipv6Addr::LOCALHOST, port).into();
        peers.push(Peer::try_connect_to(address, settings(SocketType::Push)).expect("let in"));
    }
    for peer in &mut peers {
        peer.send(&[b"counted"]);
    }
    until("all are there", SOON, || {
        api.get(&path(&name))["messages_in"] == json!(peers.len())
    });
    let metrics = api.request("GET", "/metrics", None).body;
    let labels = format!("{{vhost=\"/\",socket=\"{name}\",type=\"pull\"}}");
    for (family, value) in [
        ("up", 1),
        ("peers", peers.len()),
        ("messages_in_total", peers.len()),
        ("messages_out_total", 0),
        ("dropped_total", 0),
    ] {
        let line = format!("leveret_zeromq_socket_{family}{labels} {value}");
        assert!(metrics.lines().any(|each| each == line), "{line}");
    }
    assert_eq!(api.request("DELETE", &path(&name), None).status, 204);
    assert!(
        !api.request("GET", "/metrics", None).body.contains(&labels),
        "gone with it"
    );
}
