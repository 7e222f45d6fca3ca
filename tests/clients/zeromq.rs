//! ZeroMQ's four implementations, unchanged: libzmq by Python and by Node, JeroMQ, zmq4 for Go.
//!
//! In: a broker with a socket of each type, the clients' check programs. Out: one test for each client and step, with
//! each mechanism that the client has, and across a restart.
//! Does not know about the wire.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::Broker;
use harness::broker_process::{lines_of, wait_for_exit};
use harness::http::Http;
use harness::programs::said;
use harness::requests::unique;
use harness::wait::until;
use serde_json::{Value, json};

use crate::last_line;

/// Java's JeroMQ.
mod jeromq;

/// Python's pyzmq: libzmq.
mod pyzmq;

/// Node's zeromq.js: libzmq.
mod zeromqjs;

/// Go's zmq4.
mod zmq4;

/// Every row is a test: a step of a client's check program with a mechanism.
#[macro_export]
macro_rules! zeromq_steps {
    ($($test:ident: $run:ident $step:tt),* $(,)?) => {
        $(#[test]
        fn $test() {
            let Some(command) = command() else { return };
            $crate::zeromq::$run(command, $step);
        })*
    };
}

/// The time that a client has for a step, and the broker for what it does by itself.
const SOON: Duration = Duration::from_secs(30);

/// The type that the broker plays, the field of what it stands for, and the type of the client's socket.
const SOCKETS: [(&str, &str, &str); 6] = [
    ("pull", "queue", "PUSH"),
    ("push", "queue", "PULL"),
    ("xsub", "exchange", "PUB"),
    ("xpub", "exchange", "SUB"),
    ("router", "queue", "REQ"),
    ("dealer", "queue", "REP"),
];

/// Keys that libzmq's own tests use: of the client that is let in, and of one that nobody knows.
const CLIENT: (&str, &str) = (
    "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID",
    "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs",
);
const STRANGER: (&str, &str) = (
    "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
    "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6",
);

/// The sockets of one test, with a queue and an exchange of their own.
struct Place {
    api: Http,
    name: String,
}

impl Place {
    /// `more`: fields of each socket.
    fn new(broker: &Broker, mechanism: &str) -> Place {
        let (api, name) = (Http::new(broker.http()), unique("zeromq"));
        let put = |path: &str, body: Value| {
            let answer = api.request("PUT", path, Some(&body));
            assert!([201, 204].contains(&answer.status), "{path}: {answer:?}");
        };
        put(&format!("/api/queues/%2F/{name}"), json!({"durable": true}));
        put(&format!("/api/queues/%2F/{name}-requests"), json!({"durable": true}));
        put(&format!("/api/exchanges/%2F/{name}"), json!({"type": "x-prefix"}));
        for (role, target, _) in SOCKETS {
            let requests = ["router", "dealer"].contains(&role);
            // A port of its own also after a restart.
            let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            let listen = format!("tcp://{}", free.expect("a free port"));
            let mut value = json!({"listen": listen, "type": role, "mechanism": mechanism});
            value[target] = json!(if requests {
                format!("{name}-requests")
            } else {
                name.clone()
            });
            match mechanism {
                "null" => value["user"] = json!("guest"),
                "curve" => value["curve-clients"] = json!({CLIENT.0: "guest"}),
                _ => {}
            }
            put(&format!("/api/zeromq/sockets/%2F/{name}-{role}"), value);
        }
        Place { api, name }
    }

    fn socket(&self, role: &str) -> Value {
        self.api.get(&format!("/api/zeromq/sockets/%2F/{}-{role}", self.name))
    }

    /// Tells a client where the sockets are.
    fn tell(&self, command: &mut Command) {
        for (role, _, kind) in SOCKETS {
            let socket = self.socket(role);
            let text = |field: &str| socket[field].as_str().map(str::to_owned);
            let address = text("address").unwrap_or_else(|| panic!("{socket}"));
            command.env(
                format!("ZMQ_{kind}"),
                format!("tcp://{}", address.trim_start_matches("tcp://")),
            );
            if let Some(key) = text("curve_server_key") {
                command.env(format!("ZMQ_{kind}_KEY"), key);
            }
        }
    }

    /// Messages that lie in the queue.
    fn messages(&self) -> Value {
        self.api.get(&format!("/api/queues/%2F/{}", self.name))["messages"].clone()
    }

    /// Closes all connections to these sockets; gives their number.
    fn close_peers(&self) -> usize {
        let rows = self.api.get("/api/connections");
        let ours = rows.as_array().into_iter().flatten().filter(|row| {
            let socket = row["client_properties"]["socket"].as_str().unwrap_or_default();
            socket.starts_with(&self.name)
        });
        let names = ours.filter_map(|row| row["name"].as_str());
        let close = |name: &str| {
            let name = name.replace(' ', "%20").replace('>', "%3E");
            let path = format!("/api/connections/{name}");
            assert_eq!(self.api.request("DELETE", &path, None).status, 204);
        };
        names.map(close).count()
    }
}

/// Runs a step of a client's check; it must print `ok`.
fn run(command: &mut Command, step: &str) {
    let output = command
        .arg(step)
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success() && last_line(&output) == "ok",
        "{command:?}: {}",
        said(&output)
    );
}

fn as_user(command: &mut Command, password: &str) {
    command.env("ZMQ_USER", "guest").env("ZMQ_PASSWORD", password);
}

fn with_keys(command: &mut Command, (public, secret): (&str, &str)) {
    command.env("ZMQ_PUBLIC", public).env("ZMQ_SECRET", secret);
}

/// A broker of this crate's, which alone has such sockets.
fn ours() -> Option<&'static Broker> {
    let broker = Broker::shared();
    (!broker.is_external()).then_some(broker)
}

/// A step without a login.
fn null(mut command: Command, step: &str) {
    let Some(broker) = ours() else { return };
    Place::new(broker, "null").tell(&mut command);
    run(&mut command, step);
}

/// A step as `guest`.
fn plain(mut command: Command, step: &str) {
    let Some(broker) = ours() else { return };
    Place::new(broker, "plain").tell(&mut command);
    as_user(&mut command, "guest");
    run(&mut command, step);
}

/// A step in boxes.
fn curve(mut command: Command, step: &str) {
    let Some(broker) = ours() else { return };
    Place::new(broker, "curve").tell(&mut command);
    with_keys(&mut command, CLIENT);
    run(&mut command, step);
}

/// A client that isn't let in, and what libzmq says of it.
fn refused(mut command: Command, (reason, event): (&str, &str)) {
    let Some(broker) = ours() else { return };
    let place = Place::new(broker, if reason == "password" { "plain" } else { "curve" });
    place.tell(&mut command);
    match reason {
        "password" => as_user(&mut command, "wrong"),
        "client key" => with_keys(&mut command, STRANGER),
        _ => {
            with_keys(&mut command, CLIENT);
            command.env("ZMQ_PUSH_KEY", STRANGER.0);
        }
    }
    run(command.env("ZMQ_EVENT", event), "refused");
    assert_eq!(place.messages(), json!(0));
    until("nobody is left", SOON, || place.socket("pull")["peers"] == json!(0));
}

/// A client that is in the middle of its work while something happens to its connections.
fn interrupted(mut command: Command, what: &str) {
    if ours().is_none() {
        return;
    }
    let broker = Broker::start();
    let place = Place::new(&broker, "null");
    place.tell(&mut command);
    let started = command
        .arg("restart")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut client = started.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let lines = lines_of(client.stdout.take().expect("a pipe"));
    let line = lines.recv_timeout(SOON);
    if line.as_deref() != Ok("ready") {
        let _ = client.kill();
        panic!("{command:?}: {line:?}");
    }
    let broker = match what {
        "closed" => {
            assert_eq!(place.close_peers(), 2);
            broker
        }
        "killed" => {
            let mut broker = broker;
            broker.kill();
            broker.restart()
        }
        _ => {
            let mut broker = broker;
            broker.terminate(SOON);
            broker.restart()
        }
    };
    writeln!(client.stdin.take().expect("a pipe")).expect("a client that waits");
    let ended = wait_for_exit(&mut client, SOON);
    if ended.is_none() {
        let _ = client.kill();
    }
    assert_eq!(lines.iter().last().as_deref(), Some("ok"), "{command:?}");
    drop(broker);
}
