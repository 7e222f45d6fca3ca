//! The source against an API server in memory: what it writes, and that it writes nothing more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use kube::{Client, Config};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Kubernetes, Operator};
use crate::metrics::Metrics;
use crate::object::{ConditionStatus, FINALIZER, Group, Kind, ObjectKey, Reason, StatusReport};
use crate::resource::QueueSpec;
use crate::source::Source;
use crate::source::dereference::Trust;

/// Objects by plural and `namespace/name`, what was written, and how often writing fails first.
#[derive(Default)]
struct Server {
    objects: BTreeMap<(String, String), Value>,
    version: u64,
    writes: Vec<String>,
    failures: u32,
    /// Its definitions are older: `status.operator` is dropped.
    is_older: bool,
    watchers: Vec<tokio::sync::mpsc::UnboundedSender<Result<String, std::convert::Infallible>>>,
}

type Shared = Arc<Mutex<Server>>;

impl Server {
    fn put(&mut self, plural: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = Value::from(self.version.to_string());
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let name = format!("{}/{}", text("namespace"), text("name"));
        let event = format!("{}\n", json!({ "type": "MODIFIED", "object": object }));
        if plural == "queues" {
            self.watchers.retain(|watcher| watcher.send(Ok(event.clone())).is_ok());
        }
        self.objects.insert((plural.to_owned(), name), object);
    }
}

fn status(code: StatusCode, message: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "reason": "", "code": code.as_u16()});
    (code, Json(body)).into_response()
}

async fn list(
    State(server): State<Shared>,
    Path(plural): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    if query.contains_key("watch") {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        if plural == "queues" {
            server.lock().watchers.push(sender);
        } else {
            tokio::spawn(async move { sender.closed().await });
        }
        let stream = futures::stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|line| (line, receiver))
        });
        return Body::from_stream(stream).into_response();
    }
    let server = server.lock();
    let items: Vec<&Value> = server
        .objects
        .iter()
        .filter(|((kind, _), _)| *kind == plural)
        .map(|(_, object)| object)
        .collect();
    let body = json!({"apiVersion": "leveret.dev/v1alpha1", "kind": "List",
        "metadata": {"resourceVersion": server.version.to_string()}, "items": items});
    Json(body).into_response()
}

async fn object(
    State(server): State<Shared>,
    Path(path): Path<BTreeMap<String, String>>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let part = |name: &str| path.get(name).cloned().unwrap_or_default();
    let key = (part("plural"), format!("{}/{}", part("namespace"), part("name")));
    let mut server = server.lock();
    let Some(found) = server.objects.get(&key).cloned() else {
        return status(StatusCode::NOT_FOUND, "not found");
    };
    if method == Method::GET {
        return Json(found).into_response();
    }
    let content = headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let what = if path.contains_key("sub") { "status" } else { "object" };
    server.writes.push(format!("{what} {content}"));
    if server.failures > 0 {
        server.failures -= 1;
        return status(StatusCode::SERVICE_UNAVAILABLE, "not now");
    }
    let patch: Value = serde_json::from_slice(&body).expect("json");
    let metadata = &patch["metadata"];
    let differs = |field: &str| !metadata[field].is_null() && metadata[field] != found["metadata"][field];
    if differs("uid") || differs("resourceVersion") {
        return status(StatusCode::CONFLICT, "conflict");
    }
    let mut changed = found;
    if what == "status" {
        changed["status"] = patch["status"].clone();
        if let (true, Some(status)) = (server.is_older, changed["status"].as_object_mut()) {
            status.remove("operator");
        }
    } else {
        changed["metadata"]["finalizers"] = metadata["finalizers"].clone();
    }
    server.put(&key.0, changed);
    Json(server.objects.get(&key).cloned()).into_response()
}

fn queue(uid: &str) -> Value {
    json!({"apiVersion": "leveret.dev/v1alpha1", "kind": "Queue",
        "metadata": {"name": "invoices", "namespace": "shop", "uid": uid, "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/other"]},
        "spec": {"brokerRef": {"name": "main"}}})
}

fn operator() -> Operator {
    Operator {
        namespace: "leveret".to_owned(),
        lease: "test".to_owned(),
        instance: "test".to_owned(),
    }
}

fn key() -> ObjectKey {
    ObjectKey::new(Kind::Queue, "shop", "invoices")
}

fn report(reason: Reason) -> StatusReport {
    StatusReport {
        uid: "u1".to_owned(),
        name: Some("invoices".to_owned()),
        vhost: Some("/".to_owned()),
        ..StatusReport::sample(key(), ConditionStatus::from(reason == Reason::Synced), reason)
    }
}

async fn start(objects: Vec<Value>) -> (Shared, Kubernetes) {
    start_with(|server| {
        objects.into_iter().for_each(|object| server.put("queues", object));
    })
    .await
}

async fn start_with(prepare: impl FnOnce(&mut Server)) -> (Shared, Kubernetes) {
    let server = Shared::default();
    prepare(&mut server.lock());
    let router = Router::new()
        .route("/apis/leveret.dev/v1alpha1/{plural}", axum::routing::get(list))
        .route(
            "/apis/leveret.dev/v1alpha1/namespaces/{namespace}/{plural}/{name}",
            axum::routing::any(object),
        )
        .route(
            "/apis/leveret.dev/v1alpha1/namespaces/{namespace}/{plural}/{name}/{sub}",
            axum::routing::any(object),
        )
        .with_state(Arc::clone(&server));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = Client::try_from(Config::new(url.parse().expect("url"))).expect("client");
    let source = Kubernetes::start(client, &[], &[Group::Leveret], Trust::User, operator(), Metrics::new());
    tokio::time::timeout(Duration::from_secs(10), source.completed())
        .await
        .expect("complete");
    (server, source)
}

fn writes(server: &Shared) -> usize {
    server.lock().writes.len()
}

#[tokio::test]
async fn the_same_is_not_written_twice() {
    let (server, source) = start(vec![queue("u1")]).await;
    source.ensure_finalizer(&key()).await.expect("finalizer");
    source.ensure_finalizer(&key()).await.expect("finalizer");
    source.write_status(vec![report(Reason::Synced)]).await;
    source
        .write_status(vec![report(Reason::Synced), report(Reason::Synced)])
        .await;
    let written = server.lock().writes.clone();
    assert_eq!(
        written,
        [
            "object application/merge-patch+json",
            "status application/apply-patch+yaml"
        ]
    );
    let stored = server.lock().objects.values().next().cloned().expect("queue");
    assert_eq!(
        stored["metadata"]["finalizers"],
        json!(["example.com/other", FINALIZER])
    );
    assert_eq!(stored["status"]["conditions"][0]["reason"], "Synced");
    let meta = source.snapshot().of(Kind::Queue).next().expect("queue").meta().clone();
    assert!(meta.finalized);
    assert_eq!(meta.status.name.as_deref(), Some("invoices"));
    source.remove_finalizer(&key()).await.expect("finalizer");
    source.remove_finalizer(&key()).await.expect("finalizer");
    assert_eq!(writes(&server), 3);
    let stored = server.lock().objects.values().next().cloned().expect("queue");
    assert_eq!(stored["metadata"]["finalizers"], json!(["example.com/other"]));
}

#[tokio::test]
async fn its_own_writes_do_not_wake_the_pipeline() {
    let (server, source) = start(vec![queue("u1")]).await;
    let mut changed = source.changed();
    changed.mark_unchanged();
    source.ensure_finalizer(&key()).await.expect("finalizer");
    source.write_status(vec![report(Reason::Synced)]).await;
    let waited = tokio::time::timeout(Duration::from_millis(300), changed.changed()).await;
    assert!(waited.is_err(), "woken by its own writes");
    let mut edited = server.lock().objects.values().next().cloned().expect("queue");
    edited["spec"]["maxLength"] = json!(3);
    server.lock().put("queues", edited);
    let waited = tokio::time::timeout(Duration::from_secs(5), changed.changed()).await;
    assert!(waited.is_ok(), "not woken by an edit");
    assert_eq!(
        source
            .snapshot()
            .iter::<QueueSpec>()
            .next()
            .and_then(|queue| queue.spec.max_length),
        Some(3)
    );
}

#[tokio::test]
async fn an_api_server_that_fails_is_asked_again() {
    let (server, source) = start(vec![queue("u1")]).await;
    server.lock().failures = 2;
    let written = source.write_status(vec![report(Reason::Synced)]);
    tokio::time::timeout(Duration::from_secs(10), written)
        .await
        .expect("written");
    // The client itself repeats what was answered with 503.
    assert!(writes(&server) >= 3);
    let stored = server.lock().objects.values().next().cloned().expect("queue");
    assert_eq!(stored["status"]["conditions"][0]["status"], "True");
}

#[tokio::test]
async fn a_finalizer_survives_a_conflict() {
    let (server, source) = start(vec![queue("u1")]).await;
    {
        // Another client writes, and no watch tells of it in time.
        let mut server = server.lock();
        server.watchers.clear();
        let mut other = server.objects.values().next().cloned().expect("queue");
        other["metadata"]["finalizers"] = json!(["example.com/new"]);
        server.put("queues", other);
    }
    source.ensure_finalizer(&key()).await.expect("finalizer");
    let stored = server.lock().objects.values().next().cloned().expect("queue");
    assert_eq!(stored["metadata"]["finalizers"], json!(["example.com/new", FINALIZER]));
}

#[tokio::test]
async fn nothing_is_written_into_another_object_of_that_name() {
    let (server, source) = start(vec![queue("u2")]).await;
    source.write_status(vec![report(Reason::Synced)]).await;
    assert_eq!(writes(&server), 0);
    source
        .remove_finalizer(&ObjectKey::new(Kind::Queue, "shop", "nix"))
        .await
        .expect("finalizer");
    assert_eq!(writes(&server), 0);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_says_so() {
    let mut odd = queue("u1");
    odd["spec"] = json!({"brokerRef": 7});
    let (server, source) = start(vec![odd]).await;
    assert!(source.snapshot().of(Kind::Queue).next().is_none());
    for _ in 0..100 {
        if writes(&server) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stored = server.lock().objects.values().next().cloned().expect("queue");
    assert_eq!(stored["status"]["conditions"][2]["status"], "True", "Stalled");
    assert_eq!(stored["status"]["conditions"][0]["reason"], "InvalidArgument");
}

#[tokio::test]
async fn what_was_done_is_not_forgotten_with_a_report_that_never_arrived() {
    let (server, source) = start(vec![queue("u1")]).await;
    // The client itself repeats what was answered with 503.
    server.lock().failures = 20;
    let mut first = report(Reason::Synced);
    first.did_something = true;
    let second = async {
        while writes(&server) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let second = source.write_status(vec![report(Reason::Immutable)]);
        server.lock().failures = 0;
        second.await;
    };
    let both = futures::future::join(source.write_status(vec![first]), second);
    tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .expect("written");
    let stored = server.lock().objects.values().next().cloned().expect("queue");
    assert_eq!(stored["status"]["conditions"][0]["reason"], "Immutable");
    assert!(stored["status"]["lastSyncTime"].is_string(), "{stored}");
}

fn main_broker() -> ObjectKey {
    ObjectKey::new(Kind::Broker, "shop", "main")
}

/// A Broker, as another operator keeps it or as it comes.
fn broker(keeper: Option<&str>) -> Value {
    let mut broker = json!({"apiVersion": "leveret.dev/v1alpha1", "kind": "Broker",
        "metadata": {"name": "main", "namespace": "shop", "uid": "u1", "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {}});
    if let Some(name) = keeper {
        broker["status"] = json!({"operator": {"name": name, "asked": 0, "answered": 0}});
    }
    broker
}

/// The claim that stands after a while, and whether the Broker is left to others.
async fn claimed(keeper: Option<&str>, is_older: bool) -> (Value, bool) {
    let (server, source) = start_with(|server| {
        server.is_older = is_older;
        server.put("brokers", broker(keeper));
    })
    .await;
    assert!(
        source.snapshot().others.contains(&main_broker()),
        "before it is claimed"
    );
    let stop = CancellationToken::new();
    let claiming = source.claim(Duration::from_secs(60), stop);
    let _ = tokio::time::timeout(Duration::from_millis(300), claiming).await;
    let stored = server.lock().objects.values().next().cloned().expect("the Broker");
    let writes = server.lock().writes.len();
    assert_eq!(writes, 1, "one word is enough");
    let is_others = source.snapshot().others.contains(&main_broker());
    (stored["status"]["operator"].clone(), is_others)
}

#[tokio::test]
async fn a_broker_is_claimed_once_and_another_operator_s_left_alone() {
    let (claim, is_others) = claimed(None, false).await;
    assert_eq!((claim["name"].as_str(), is_others), (Some("leveret/test"), false));
    let (claim, is_others) = claimed(Some("team-a/op"), false).await;
    assert_eq!((claim["name"].as_str(), is_others), (Some("team-a/op"), true));
    assert_eq!(claim["contender"], "leveret/test");
}

#[tokio::test]
async fn a_broker_of_older_definitions_is_kept_all_the_same() {
    let (claim, is_others) = claimed(None, true).await;
    assert_eq!((claim, is_others), (Value::Null, false));
}
