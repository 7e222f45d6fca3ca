//! ZeroMQ sockets: from YAML to a port that answers, put right, told of, removed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::operator_process::free_address;
use harness::wait::{eventually_async, until};
use serde_json::{Value, json};

use crate::{SOON, Stage, stage, text};

/// The time until a change by hand is put right.
const SECOND: Duration = Duration::from_secs(1);
/// Signature and version of a greeting.
const BEGINNING: [u8; 11] = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3];

impl Stage {
    /// A socket for clients that PUSH to queue `q`, as guest, with more or other fields.
    fn pull(&self, name: &str, more: Value) -> Value {
        let mut spec = json!({"name": self.name(name), "type": "pull", "port": 0, "address": "127.0.0.1",
            "queue": self.name("q"), "user": "guest"});
        for (field, value) in more.as_object().expect("fields") {
            spec[field] = value.clone();
        }
        let by_key = spec["mechanism"].as_str().is_some_and(|mechanism| mechanism != "Null");
        if by_key || spec.get("userRef").is_some() {
            spec.as_object_mut().expect("an object").remove("user");
        }
        self.manifest("ZeroMqSocket", name, spec)
    }

    /// The socket as the broker has it.
    fn socket(&self, name: &str) -> Option<Value> {
        let path = format!("/api/zeromq/sockets/%2F/{}", self.name(name));
        let answer = self.http().request("GET", &path, None);
        (answer.status == 200).then(|| answer.json())
    }

    fn parameter(&self, name: &str) -> String {
        format!("/api/parameters/zeromq-socket/%2F/{}", self.name(name))
    }

    async fn status(&self, name: &str) -> Value {
        let object = self.resources.api("ZeroMqSocket").get(name).await;
        object.expect("the resource").data["status"].clone()
    }

    /// The address at which the socket listens, as its status says.
    async fn address(&self, name: &str) -> SocketAddr {
        let address = text(&self.status(name).await, "/address");
        let address = address.strip_prefix("tcp://").unwrap_or(&address);
        address.parse().unwrap_or_else(|_| panic!("no address: {address}"))
    }

    /// The content of a Secret; `None` while there is none.
    async fn key_pair(&self, secret: &str) -> Option<BTreeMap<String, String>> {
        let secret = self.resources.api("Secret").get_opt(secret).await.expect("an answer")?;
        let text = |value: &Value| {
            let bytes = STANDARD.decode(value.as_str().expect("text")).expect("base64");
            String::from_utf8(bytes).expect("UTF-8")
        };
        let data = secret.data["data"].as_object().expect("data");
        Some(data.iter().map(|(key, value)| (key.clone(), text(value))).collect())
    }
}

/// The beginning of what a socket answers to the greeting of ZMTP 3.1.
fn greeted(address: SocketAddr) -> std::io::Result<[u8; 64]> {
    let mut stream = TcpStream::connect_timeout(&address, SECOND)?;
    stream.set_read_timeout(Some(SOON))?;
    let mut greeting = [0; 64];
    greeting[..11].copy_from_slice(&BEGINNING);
    greeting[11] = 1;
    greeting[12..16].copy_from_slice(b"NULL");
    stream.write_all(&greeting)?;
    let mut answer = [0; 64];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, SECOND).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_comes_from_yaml_to_a_greeting_and_goes() {
    let Some(stage) = stage("zeromq").await else { return };
    let socket = stage.pull("in", json!({"userRef": {"name": "till"}}));
    stage.apply(&socket).await;
    if stage.broker.is_external() {
        return;
    }
    let told = stage
        .resources
        .becomes("ZeroMqSocket", "in", "Unknown", "WaitingForUser", SOON)
        .await;
    assert!(told.contains("till does not exist"), "{told}");
    let everything = json!([{"configure": ".*", "write": ".*", "read": ".*"}]);
    let user = json!({"name": stage.name("till"), "permissions": everything});
    stage.synced(&stage.manifest("User", "till", user)).await;
    stage.synced(&stage.queue("q")).await;
    stage
        .resources
        .becomes("ZeroMqSocket", "in", "True", "Synced", SOON)
        .await;
    let found = stage.socket("in").expect("the socket");
    assert_eq!(found["user"], json!(stage.name("till")));
    let address = stage.address("in").await;
    let answer = greeted(address).expect("a greeting");
    assert_eq!((answer[0], answer[9], answer[10]), (0xff, 0x7f, 3), "{answer:?}");
    assert_eq!(&answer[12..16], b"NULL");
    stage.resources.delete("ZeroMqSocket", "in").await;
    stage.resources.goes("ZeroMqSocket", "in", SOON).await;
    assert_eq!(stage.socket("in"), None);
    until("nothing listens there", SOON, || !accepts(address));
}

/// On a RabbitMQ (`LEVERET_TEST_AMQP`).
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_has_no_such_sockets_says_so() {
    let Some(stage) = stage("zeromq-none").await else {
        return;
    };
    if !stage.broker.is_external() {
        return;
    }
    stage.apply(&stage.pull("in", json!({}))).await;
    let told = stage
        .resources
        .becomes("ZeroMqSocket", "in", "False", "InvalidArgument", SOON)
        .await;
    assert!(told.contains("does not speak ZeroMQ's protocol"), "{told}");
    stage.resources.delete("ZeroMqSocket", "in").await;
    stage.resources.goes("ZeroMqSocket", "in", SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_by_hand_is_put_right() {
    let Some(stage) = stage("zeromq-drift").await else {
        return;
    };
    if stage.broker.is_external() {
        return;
    }
    stage.synced(&stage.queue("q")).await;
    let port = free_address().port();
    stage
        .synced(&stage.pull("in", json!({"durable": true, "port": port})))
        .await;
    let (http, path) = (stage.http(), stage.parameter("in"));
    let before = http.get(&path)["value"].clone();
    let whole = || {
        let now = http.request("GET", &path, None);
        now.status == 200 && now.json()["value"] == before
    };
    let other = json!({"value": {"listen": "tcp://127.0.0.1:0", "type": "push", "queue": "other", "user": "guest"}});
    for (verb, body) in [("DELETE", None), ("PUT", Some(&other))] {
        assert_eq!(http.request(verb, &path, body).status, 204, "{verb}");
        let took = until("it is as declared", SOON, &whole);
        assert!(took < SECOND, "{verb} after {took:?}");
        until("it listens", SOON, || accepts(SocketAddr::from(([127, 0, 0, 1], port))));
    }
    stage
        .resources
        .becomes("ZeroMqSocket", "in", "True", "Synced", SOON)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_for_the_oldest_and_told_while_it_is_taken() {
    let Some(stage) = stage("zeromq-ports").await else {
        return;
    };
    if stage.broker.is_external() {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    stage.apply(&stage.pull("old", json!({ "port": port }))).await;
    let told = stage
        .resources
        .becomes("ZeroMqSocket", "old", "False", "BrokerError", SOON)
        .await;
    let expected = format!("the broker cannot listen at tcp://127.0.0.1:{port}: port in use");
    assert!(told.contains(&expected), "{told}");
    assert_eq!(stage.status("old").await.get("address"), None);
    drop(taken);
    stage
        .resources
        .becomes("ZeroMqSocket", "old", "True", "Synced", SOON)
        .await;
    assert_eq!(stage.address("old").await.port(), port);
    // Ages count in seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    stage.apply(&stage.pull("young", json!({ "port": port }))).await;
    let told = stage
        .resources
        .becomes("ZeroMqSocket", "young", "False", "Conflict", SOON)
        .await;
    let expected = format!(
        "port {port} belongs to ZeroMqSocket {}/old, which is older",
        stage.namespace
    );
    assert_eq!(told, expected);
    stage.resources.delete("ZeroMqSocket", "old").await;
    stage
        .resources
        .becomes("ZeroMqSocket", "young", "True", "Synced", SOON)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_kept_and_renewed() {
    let Some(stage) = stage("zeromq-curve").await else {
        return;
    };
    if stage.broker.is_external() {
        return;
    }
    // libzmq's test keys.
    let (public, secret) = (
        "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
        "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6",
    );
    let clients = json!([{"publicKey": public, "user": "guest"}]);
    let socket = |more: Value| {
        let mut curve = json!({ "clients": clients });
        curve
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("fields").clone());
        stage.pull("in", json!({"mechanism": "Curve", "curve": curve}))
    };
    stage.synced(&socket(json!({}))).await;
    let made = stage.key_pair("in-curve").await.expect("the Secret");
    let on_broker = || stage.socket("in").map(|socket| text(&socket, "/curve_server_key"));
    assert_eq!(on_broker().as_deref(), Some(made["public-key"].as_str()));
    assert_eq!(text(&stage.status("in").await, "/publicKey"), made["public-key"]);
    let parameter = stage.http().get(&stage.parameter("in")).to_string();
    let said = stage.operator.log() + &parameter;
    assert!(
        !said.contains(&made["secret-key"]),
        "the key is nowhere but in its Secret"
    );
    // Another one put by hand.
    let path = format!("/api/zeromq/keys/%2F/{}", stage.name("in"));
    let by_hand = stage.http().request("PUT", &path, Some(&json!({"secret_key": secret})));
    assert_eq!(by_hand.status, 204, "{by_hand:?}");
    assert_eq!(on_broker().as_deref(), Some(public));
    until("the key is put back by the next list", Duration::from_secs(50), || {
        on_broker().as_deref() == Some(made["public-key"].as_str())
    });
    stage.resources.delete("Secret", "in-curve").await;
    let renewed = || async {
        match stage.key_pair("in-curve").await {
            Some(now) if now["public-key"] != made["public-key"] => match on_broker() {
                Some(key) if key == now["public-key"] => Ok(()),
                other => Err(format!("{other:?}")),
            },
            other => Err(format!("{:?}", other.map(|keys| keys.len()))),
        }
    };
    eventually_async("another key, in the Secret and on the broker", SOON, renewed).await;
    // One's own.
    stage.apply(&socket(json!({"secretRef": {"name": "own"}}))).await;
    let told = stage
        .resources
        .becomes("ZeroMqSocket", "in", "Unknown", "WaitingForSecret", SOON)
        .await;
    assert!(told.contains("own does not exist"), "{told}");
    let brought = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "own"},
        "stringData": {"secret-key": secret}});
    stage.apply(&brought).await;
    stage
        .resources
        .becomes("ZeroMqSocket", "in", "True", "Synced", SOON)
        .await;
    until("the broker has it", SOON, || on_broker().as_deref() == Some(public));
}
