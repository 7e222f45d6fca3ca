//! Logins of peers: NULL, PLAIN and CURVE, and what becomes of those who may not.

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use harness::Broker;
use harness::http::Http;
use harness::requests::unique;
use harness::wait::until;
use harness::zeromq::{Peer, settings};
use leveret_zmtp::curve::{KeyPair, PublicKey};
use leveret_zmtp::{ClientSecurity, ClientSettings, SocketType};
use serde_json::{Value, json};

use crate::{declare, path, pull, reason};

const SOON: Duration = Duration::from_secs(10);

fn api() -> Http {
    Http::new(Broker::shared().http())
}

/// A user with all rights in the first vhost.
fn user(api: &Http) -> String {
    let name = unique("peer");
    let body = json!({"password": "geheim", "tags": ""});
    assert_eq!(
        api.request("PUT", &format!("/api/users/{name}"), Some(&body)).status,
        201
    );
    let all = json!({"configure": "", "write": ".*", "read": ".*"});
    assert_eq!(
        api.request("PUT", &format!("/api/permissions/%2F/{name}"), Some(&all))
            .status,
        201
    );
    name
}

/// A queue, and a socket with this mechanism that publishes to it: its name and port.
fn socket(api: &Http, more: Value) -> (String, u16) {
    let name = unique("login");
    assert_eq!(
        api.request("PUT", &format!("/api/queues/%2F/{name}"), Some(&json!({})))
            .status,
        201
    );
    let mut value = json!({"queue": name, "user": null});
    for (field, other) in more.as_object().expect("fields") {
        value[field] = other.clone();
    }
    let port = declare(api, &name, &pull(value));
    (name, port)
}

fn push(security: ClientSecurity) -> ClientSettings {
    ClientSettings {
        security,
        ..settings(SocketType::Push)
    }
}

fn plain(username: &str, password: &str) -> ClientSettings {
    push(ClientSecurity::Plain {
        username: username.to_owned(),
        password: password.to_owned(),
    })
}

/// The words of a refusal; empty if the connection was cut off without one.
fn refusal(port: u16, settings: ClientSettings) -> String {
    let refused = Peer::try_connect(port, settings).map(drop).expect_err("refused");
    match refused.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => String::new(),
        _ => refused.to_string(),
    }
}

fn messages(api: &Http, queue: &str) -> Value {
    api.get(&format!("/api/queues/%2F/{queue}"))["messages"].clone()
}

/// A message comes through, in the name of this user.
fn works(api: &Http, name: &str, mut peer: Peer, user: &str, mechanism: &str) {
    peer.send(&[b"let in"]);
    until("the message is there", SOON, || messages(api, name) == json!(1));
    until("the connection is listed", SOON, || {
        let all = api.get("/api/connections");
        let is_ours = |row: &Value| {
            row["client_properties"]["socket"] == json!(name)
                && row["user"] == json!(user)
                && row["auth_mechanism"] == json!(mechanism)
        };
        all.as_array().expect("rows").iter().any(is_ours)
    });
}

#[test]
fn plain_is_for_users_with_their_passwords() {
    let broker = Broker::start();
    let api = Http::new(broker.http());
    let user = user(&api);
    let (name, port) = socket(&api, json!({"mechanism": "plain"}));
    let peer = Peer::try_connect(port, plain(&user, "geheim")).expect("let in");
    works(&api, &name, peer, &user, "PLAIN");
    assert_eq!(refusal(port, plain(&user, "wrong")), "peer refused: 400");
    assert_eq!(refusal(port, plain("nobody", "geheim")), "peer refused: 400");
    let null = refusal(port, settings(SocketType::Push));
    assert!(null.contains("mechanism"), "{null}");
    let attempts = api.get(&format!("/api/auth/attempts/{}", broker_name(&api)));
    let ours = attempts
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["protocol"] == "zmtp");
    let ours = ours.expect("logins of peers");
    assert_eq!(
        (&ours["auth_attempts_succeeded"], &ours["auth_attempts_failed"]),
        (&json!(1), &json!(2))
    );
}

fn broker_name(api: &Http) -> String {
    api.get("/api/overview")["node"].as_str().expect("a name").to_owned()
}

#[test]
fn many_wrong_passwords_make_others_wait_or_go() {
    let broker = Broker::start();
    let api = Http::new(broker.http());
    let user = user(&api);
    let (_, port) = socket(&api, json!({"mechanism": "plain"}));
    // Failures pass by ten a second: as long as it takes for more than that to have come.
    until("a login waits or is refused", Duration::from_secs(60), || {
        std::thread::scope(|threads| {
            for _ in 0..80 {
                threads.spawn(|| refusal(port, plain(&user, "wrong")));
            }
        });
        let metrics = api.request("GET", "/metrics", None).body;
        let mut lines = metrics.lines();
        let delayed = lines.find(|line| line.starts_with("leveret_logins_delayed_total"));
        !delayed.expect("the metric").ends_with(" 0")
    });
}

#[test]
fn curve_is_for_keys_that_stand_for_users() {
    let api = api();
    let user = user(&api);
    let keys = KeyPair::generate();
    let clients = json!({keys.public().to_string(): user});
    let (name, port) = socket(&api, json!({"mechanism": "curve", "curve-clients": clients}));
    let shown = api.get(&path(&name));
    let server = shown["curve_server_key"]
        .as_str()
        .and_then(PublicKey::from_z85)
        .expect("a key");
    let curve = |server, keys| push(ClientSecurity::Curve { server, keys });
    let peer = Peer::try_connect(port, curve(server, keys.clone())).expect("let in");
    works(&api, &name, peer, &user, "CURVE");
    assert_eq!(refusal(port, curve(server, KeyPair::generate())), "peer refused: 400");
    let other_server = *KeyPair::generate().public();
    assert!(!refusal(port, curve(other_server, keys.clone())).contains("400"));
    assert!(!refusal(port, plain(&user, "geheim")).contains("400"));

    // Another key of the broker's own: only it is shown, and it stays.
    let own = KeyPair::generate();
    let key_path = format!("/api/zeromq/keys/%2F/{name}");
    let put = |key: &str| api.request("PUT", &key_path, Some(&json!({"secret_key": key})));
    assert_eq!(
        reason(&put("short"), 400),
        "secret_key is not a key: 40 characters in Z85"
    );
    assert_eq!(put(&own.secret().to_z85()).status, 204);
    assert_eq!(
        api.get(&path(&name))["curve_server_key"],
        json!(own.public().to_string())
    );
    assert!(Peer::try_connect(port, curve(*own.public(), keys)).is_ok());
    let exported = api.get("/api/definitions").to_string();
    assert!(!exported.contains(&*own.secret().to_z85()) && !exported.contains("secret_key"));

    // With the socket its key goes.
    let value = api.get(&format!("/api/parameters/zeromq-socket/%2F/{name}"))["value"].clone();
    assert_eq!(api.request("DELETE", &path(&name), None).status, 204);
    declare(&api, &name, &value);
    assert_ne!(
        api.get(&path(&name))["curve_server_key"],
        json!(own.public().to_string())
    );
}

#[test]
fn a_key_survives_a_restart() {
    let mut broker = Broker::start_to_stay(&[]);
    let api = Http::new(broker.http());
    let (name, _) = socket(&api, json!({"mechanism": "curve", "curve-clients": {}}));
    let key = api.get(&path(&name))["curve_server_key"].clone();
    assert!(key.is_string());
    assert!(broker.terminate(SOON).success());
    let broker = broker.restart();
    let api = Http::new(broker.http());
    until("the socket is there", SOON, || {
        api.request("GET", &path(&name), None).status == 200
    });
    assert_eq!(api.get(&path(&name))["curve_server_key"], key);
}

#[test]
fn the_user_of_a_socket_needs_its_rights() {
    let api = api();
    let user = user(&api);
    let (name, port) = socket(&api, json!({"user": user}));
    let peer = Peer::connect(port, SocketType::Push);
    works(&api, &name, peer, &user, "NULL");
    let nothing = json!({"configure": "", "write": "", "read": ""});
    let permissions = format!("/api/permissions/%2F/{user}");
    assert_eq!(api.request("PUT", &permissions, Some(&nothing)).status, 204);
    assert_eq!(
        refusal(port, settings(SocketType::Push)),
        "",
        "it may be allowed to later on"
    );
    assert_eq!(api.request("DELETE", &format!("/api/users/{user}"), None).status, 204);
    assert_eq!(refusal(port, settings(SocketType::Push)), "");
}

#[test]
fn without_security_peers_are_of_this_machine() {
    let probe = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let outside = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr());
    let Some(IpAddr::V4(own)) = outside.ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback()) else {
        return harness::skip("REQUIRE_ADDRESS", "this machine has no address beside loopback");
    };
    let api = api();
    for (anywhere, expected) in [(false, false), (true, true)] {
        let user = user(&api);
        let more = json!({"listen": format!("tcp://{own}:0"), "user": user, "anywhere": anywhere});
        let (_, port) = socket(&api, more);
        let connected = Peer::try_connect_to((own, port).into(), settings(SocketType::Push));
        match connected.map(drop) {
            Ok(()) => assert!(expected),
            Err(refused) => {
                assert!(!expected, "{refused}");
                let text = "peer refused: mechanism NULL is for peers on the machine of the broker";
                assert_eq!(refused.to_string(), text);
            }
        }
    }
}

#[test]
fn limits_of_connections_hold_for_peers() {
    let api = api();
    let user = user(&api);
    let limit = format!("/api/user-limits/{user}/max-connections");
    assert_eq!(api.request("PUT", &limit, Some(&json!({"value": 1}))).status, 204);
    let (_, port) = socket(&api, json!({"user": user}));
    let first = Peer::connect(port, SocketType::Push);
    assert_eq!(refusal(port, settings(SocketType::Push)), "");
    drop(first);
    until("there is room again", SOON, || {
        Peer::try_connect(port, settings(SocketType::Push)).is_ok()
    });
}
