//! Brokers and Broker authors that mean no good: what they cost the others, and what they get to see.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use harness::call;
use harness::control_group::ControlGroup;
use harness::operator_process::Operator;
use harness::requests::delete;
use harness::wait::until;
use serde_json::{Value, json};

use crate::{SOON, Stage, manifest, stage, stage_by, stage_with};

/// The memory limit that the chart gives the operator, MiB.
const CHART_LIMIT: u64 = 256;
/// Octets of each answer of a broker that says too much.
const MUCH: usize = 512 << 20;

/// A program that listens where a Broker says, and counts who comes.
struct Ear {
    address: SocketAddr,
    heard: Arc<AtomicUsize>,
}

impl Ear {
    fn new() -> Ear {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let heard: Arc<AtomicUsize> = Arc::default();
        let count = Arc::clone(&heard);
        thread::spawn(move || {
            while listener.accept().is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ear { address, heard }
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }
}

/// A management API whose lists repeat `row` until there are [`MUCH`] octets.
fn loud(row: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream, row));
        }
    });
    address
}

/// Answers requests until the other side has heard enough.
fn answer(mut stream: TcpStream, row: &str) -> Option<()> {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    loop {
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
            request.extend_from_slice(&piece[..count]);
        }
        let asked = String::from_utf8_lossy(&request).into_owned();
        request.clear();
        if asked.starts_with("GET /api/overview") {
            let body = r#"{"product_name":"Loud","product_version":"1"}"#;
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .ok()?;
            continue;
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n[").ok()?;
        let block = format!("{row},").repeat((1 << 16) / row.len() + 1);
        for _ in 0..MUCH / block.len() {
            stream.write_all(block.as_bytes()).ok()?;
        }
        return None;
    }
}

fn secret(name: &str, brokers: Option<&str>) -> Value {
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "stringData": {"username": "guest", "password": "guest"}});
    if let Some(brokers) = brokers {
        secret["metadata"]["annotations"] = json!({"leveret.dev/broker": brokers});
    }
    secret
}

fn external(name: &str, amqp: &str, management: &str, secret: &str) -> Value {
    let external = json!({"uri": format!("amqp://{amqp}"), "managementUri": format!("http://{management}"),
        "credentialsSecretRef": {"name": secret}});
    manifest("Broker", name, json!({"engine": "External", "external": external}))
}

impl Stage {
    /// The message of a Broker once something is not allowed.
    async fn forbids(&self, broker: &str) -> String {
        self.resources
            .becomes("Broker", broker, "False", "NotAllowed", SOON)
            .await
    }

    /// Applies a Broker that refers to a Secret of its own.
    async fn apply_external(&self, name: &str, amqp: &str, management: &str) {
        let of_its_own = format!("{name}-credentials");
        self.apply(&secret(&of_its_own, Some(name))).await;
        self.apply(&external(name, amqp, management, &of_its_own)).await;
    }

    /// The owner of `main` deletes a queue by hand, and it comes back.
    fn repairs(&self, queue: &str) {
        let mut client = self.amqp();
        call!(client, 1, delete(&self.name(queue)) => QueueDeleteOk);
        let took = until("the queue is back", SOON, || self.has_queue(queue));
        assert!(took < Duration::from_secs(5), "after {took:?}");
    }
}

/// Three brokers answer each list with 512 MiB: of rows, of rows that take much more memory than octets, and of one
/// row.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_say_too_much_cost_the_others_nothing() {
    let Some(group) = ControlGroup::with_memory(CHART_LIMIT) else {
        return;
    };
    let start =
        |cluster: &_, namespace: &str, arguments: &[&str]| Operator::start_in(&group, cluster, namespace, arguments);
    let Some(stage) = stage_by("loud", &[], start).await else {
        return;
    };
    stage.synced(&stage.queue("bystander")).await;
    let amqp = stage.broker.amqp().to_string();
    let rows = [
        r#"{"vhost":"/","name":"a-name-like-any-other","durable":true,"arguments":{}}"#,
        r#"{"vhost":"/","name":"q","arguments":{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1}}"#,
        r#"{"vhost":"/","name":"q","arguments":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0"#,
    ];
    for (number, row) in rows.into_iter().enumerate() {
        let management = loud(row).to_string();
        stage
            .apply_external(&format!("loud-{number}"), &amqp, &management)
            .await;
    }
    for name in ["loud-0", "loud-1"] {
        let message = stage
            .resources
            .becomes("Broker", name, "False", "BrokerError", SOON)
            .await;
        assert!(
            message.contains(" MiB") && message.contains("--list-limit"),
            "the number, and what to do: {message}"
        );
        stage.repairs("bystander");
    }
    let row = "one of its objects has more than 128 KiB";
    stage.resources.says("Broker", "loud-2", row, SOON).await;
    stage.repairs("bystander");
    stage.resources.becomes("Broker", "main", "True", "Synced", SOON).await;
    assert_eq!(group.killed(), 0);
    let status = std::fs::read_to_string(format!("/proc/{}/status", stage.operator.pid())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak
        .and_then(|text| text.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .expect("a number");
    println!("the most that the operator took: {} MiB", peak >> 10);
    assert!(peak >> 10 < CHART_LIMIT, "{} MiB", peak >> 10);
}

/// An author of Brokers who may not read Secrets reads none by them.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_used_only_for_the_brokers_that_it_names() {
    let Some(stage) = stage("thief").await else { return };
    let ear = Ear::new();
    let there = ear.address.to_string();
    stage.apply(&secret("payments", None)).await;
    stage.apply(&external("thief", &there, &there, "payments")).await;
    let message = stage.forbids("thief").await;
    let command = format!(
        "kubectl annotate secret payments -n {} leveret.dev/broker=thief",
        stage.namespace
    );
    assert!(message.ends_with(&command), "{message}");
    stage.apply(&external("other", &there, &there, "main-admin")).await;
    let message = stage.forbids("other").await;
    assert!(
        message.contains("is for Broker main, not for other") && message.ends_with("leveret.dev/broker=main,other"),
        "{message}"
    );
    assert_eq!(ear.heard(), 0, "nobody was sent anything");
    // The owner of the Secret gives it: taken at once.
    stage.apply(&secret("payments", Some("thief"))).await;
    until("it is connected to", SOON, || ear.heard() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_says_where_its_password_goes() {
    let Some(stage) = stage("bound").await else { return };
    let ear = Ear::new();
    let there = ear.address.to_string();
    let mut bound = secret("bound", Some("bound"));
    bound["metadata"]["annotations"]["leveret.dev/broker-hosts"] = json!("rabbit.shop.svc");
    stage.apply(&bound).await;
    stage.apply(&external("bound", &there, &there, "bound")).await;
    let message = stage.forbids("bound").await;
    assert!(
        message.contains("does not let its password go to '127.0.0.1'"),
        "{message}"
    );
    assert_eq!(ear.heard(), 0);
}

/// The administrator of a broker that the operator runs goes to that broker, whatever its author writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_generated_administrator_goes_nowhere_else() {
    let Some(stage) = stage("generated").await else { return };
    let ear = Ear::new();
    let mut own = manifest("Broker", "own", json!({}));
    own["metadata"]["annotations"] = json!({
        "leveret.dev/amqp-uri": format!("amqp://{}", ear.address),
        "leveret.dev/management-uri": format!("http://{}", ear.address),
    });
    stage.apply(&own).await;
    let says = "leveret.dev/amqp-uri is followed only by an operator outside the cluster";
    until_says(&stage, "own", says).await;
    assert_eq!(ear.heard(), 0);
}

/// Until its pod is there, a Broker says that; the connection's trouble is in the log and in what refers to it.
async fn until_says(stage: &Stage, broker: &str, words: &str) {
    let mut queue = stage.queue("waits");
    queue["spec"]["brokerRef"]["name"] = json!(broker);
    stage.apply(&queue).await;
    stage.resources.says("Queue", "waits", words, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_not_for_brokers_are_not_connected_to() {
    let Some(stage) = stage_with("hosts", &["--allow-broker-hosts", "rabbit.example.com,*.shop.svc"]).await else {
        return;
    };
    let ear = Ear::new();
    let port = ear.address.port();
    for (name, host, words) in [
        ("main", None, "is the operator's own machine"),
        ("localhost", Some("localhost"), "is the operator's own machine"),
        ("nowhere", Some("0.0.0.0"), "is the operator's own machine"),
        ("mapped", Some("[::ffff:127.0.0.1]"), "is the operator's own machine"),
        ("metadata", Some("169.254.169.254"), "link-local"),
        ("other", Some("192.0.2.1"), "is none of --allow-broker-hosts"),
    ] {
        if let Some(host) = host {
            let there = format!("{host}:{port}");
            stage.apply_external(name, &there, &there).await;
        }
        let message = stage.forbids(name).await;
        assert!(message.contains(words), "{name}: {message}");
    }
    assert_eq!(ear.heard(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_template_gives_no_further_rights() {
    let Some(stage) = stage("template").await else { return };
    for (name, field, template) in [
        (
            "account",
            "spec.serviceAccountName",
            json!({"serviceAccountName": "admin"}),
        ),
        (
            "host",
            "spec.volumes",
            json!({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}),
        ),
    ] {
        stage
            .apply(&manifest("Broker", name, json!({"podTemplate": {"spec": template}})))
            .await;
        let message = stage.forbids(name).await;
        assert!(
            message.contains(field) && message.contains("--pod-template restricted"),
            "{message}"
        );
    }
    let sets: kube::Api<k8s_openapi::api::apps::v1::StatefulSet> =
        kube::Api::namespaced(stage.client.clone(), &stage.namespace);
    assert!(
        sets.list(&kube::api::ListParams::default())
            .await
            .expect("a list")
            .items
            .is_empty()
    );
}

/// Not at the next reconnect, which may be weeks away.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_noticed_when_it_is_written() {
    let Some(stage) = stage("wrong").await else { return };
    stage.synced(&stage.queue("before")).await;
    let mut wrong = secret("main-admin", Some("main"));
    wrong["stringData"]["password"] = json!("wrong");
    stage.apply(&wrong).await;
    let message = stage.forbids("main").await;
    assert!(message.contains("made before stands"), "{message}");
    // The connection that there is goes on.
    stage.synced(&stage.queue("after")).await;
    stage.apply(&secret("main-admin", Some("main"))).await;
    stage.resources.becomes("Broker", "main", "True", "Synced", SOON).await;
}
