//! Lists what stands on a broker, and changes what AMQP cannot, by RabbitMQ's management HTTP API.
//!
//! In: the address, user and password; `Request`s. Out: `Topology`, `About`, and whether the broker did it.
//! Does not know about AMQP, resources, or what is wanted.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request as HttpRequest, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::client::{About, Backlogs, Error};
use crate::object::{Connection, Usage};
use crate::resource::each_kind;
use crate::topology::declaration::Declare;
use crate::topology::{self, Name, Request, Rows, Topology, Verb, escaped, queue};

/// Longest wait for an answer. RabbitMQ needs 1.6 s to list 10,000 queues.
const ANSWER: Duration = Duration::from_secs(15);
/// Longest wait for a TCP connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Most requests that change something, under way at the same time.
const AT_ONCE: usize = 8;
/// Most characters of the broker's words when it refuses.
const MOST_WORDS: usize = 300;
const JSON: &str = "application/json";
/// Most bytes of one answer: a million queues with their arguments.
const MOST_BYTES: usize = 512 * 1024 * 1024;

/// The management API of one broker. Connections are kept alive between calls.
#[derive(Clone)]
pub struct Management {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    authorization: HeaderValue,
}

impl Management {
    /// Prepares for calls; does not connect yet.
    ///
    /// # Errors
    /// [`Error::Unencodable`] when the address or the CA cannot be used.
    pub fn new(connection: &Connection) -> Result<Self, Error> {
        let base = connection.management_uri.trim_end_matches('/').to_owned();
        base.parse::<Uri>()
            .map_err(|error| Error::Unencodable(format!("management URI '{base}': {error}")))?;
        let credentials = STANDARD.encode(format!("{}:{}", connection.user, connection.password));
        let mut authorization = HeaderValue::try_from(format!("Basic {credentials}"))
            .map_err(|error| Error::Unencodable(error.to_string()))?;
        authorization.set_sensitive(true);
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls(connection.ca.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(45))
            .build(https);
        Ok(Self {
            client,
            base,
            authorization,
        })
    }

    /// The broker's name and version, as it says.
    ///
    /// # Errors
    /// See [`Management::get`].
    pub async fn about(&self) -> Result<About, Error> {
        let overview: Overview = self
            .get("/api/overview?columns=product_name,product_version,rabbitmq_version")
            .await?;
        let product = overview.product_name.unwrap_or_else(|| "RabbitMQ".to_owned());
        let version = overview.product_version.or(overview.rabbitmq_version);
        Ok(About {
            version: format!("{product} {}", version.unwrap_or_default())
                .trim_end()
                .to_owned(),
            identity: self.identity().await,
            has_events: false,
        })
    }

    /// RabbitMQ's name for the cluster that nobody chooses, where the user may see it.
    async fn identity(&self) -> Option<String> {
        let asked = self
            .get::<Parameter>("/api/global-parameters/internal_cluster_id")
            .await;
        asked.ok()?.value.as_str().map(str::to_owned)
    }

    /// The fill of the broker; what it does not say stays unknown.
    pub async fn usage(&self) -> Usage {
        let (overview, nodes) = tokio::join!(
            self.get::<Totals>("/api/overview?columns=queue_totals"),
            self.get::<Vec<Node>>("/api/nodes?columns=disk_free"),
        );
        let free = nodes.unwrap_or_default().iter().filter_map(|node| node.disk_free).min();
        Usage {
            messages: overview.ok().and_then(|totals| totals.queue_totals.messages),
            disk_free: free,
        }
    }

    /// Everything on the broker in one call for each kind, and what waits in its queues.
    ///
    /// # Errors
    /// See [`Management::get`].
    pub async fn list(&self) -> Result<(Topology, Backlogs), Error> {
        let rows = self.rows().await?;
        let backlogs = rows.queues.iter().filter_map(queue::Row::backlog).collect();
        Ok((Topology::from(rows), backlogs))
    }

    /// Messages in a queue, those that consumers hold included; RabbitMQ says it some seconds late. `None` when it says
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] for a stream about which nothing is said yet: AMQP never counts its messages.
    pub async fn messages(&self, queue: &Name) -> Result<Option<u32>, Error> {
        let (vhost, name) = (escaped(&queue.vhost), escaped(&queue.name));
        let path = format!("/api/queues/{vhost}/{name}?columns=type,messages");
        match self.get::<Held>(&path).await {
            Ok(held) if held.messages.is_none() && held.kind.as_deref() == Some("stream") => Err(Error::Refused {
                code: 404,
                text: "the broker does not say yet how many messages the stream holds".to_owned(),
            }),
            Ok(held) => Ok(held
                .messages
                .map(|messages| u32::try_from(messages).unwrap_or(u32::MAX))),
            Err(Error::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn get_list<D: Declare>(&self) -> Result<Vec<D::Row>, Error> {
        match self.get(&D::list()).await {
            Err(Error::Refused { .. } | Error::Credentials(_)) if D::GUARDED => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Reads one JSON document. `path` begins with `/`.
    ///
    /// # Errors
    /// [`Error::Credentials`] for 401, [`Error::Refused`] for any other status that is no success,
    /// [`Error::Unreachable`] without an answer in time or with one that is no such document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let answer = self.answer(Method::GET, path, Bytes::new()).await?;
        let unexpected = |error| self.away(format!("unexpected answer to {path}: {error}"));
        match answer.refusal() {
            None => serde_json::from_slice(&answer.body).map_err(unexpected),
            Some(Error::Refused { code: 401, .. }) => Err(Error::Credentials(format!(
                "management API {}: user and password are not accepted (401)",
                self.base
            ))),
            Some(refused) => Err(refused),
        }
    }

    /// Carries out requests that change something, some at the same time. The answer has one result for each, in their
    /// order.
    ///
    /// # Errors
    /// As [`Management::get`], but 401 is [`Error::Refused`]: RabbitMQ says so to a user who may read and not write.
    pub async fn execute(&self, requests: Vec<Request>) -> Vec<Result<(), Error>> {
        let answers = requests.into_iter().map(|request| self.write(request));
        stream::iter(answers).buffered(AT_ONCE).collect().await
    }

    async fn write(&self, request: Request) -> Result<(), Error> {
        let Request { verb, path, body } = request;
        let method = match verb {
            Verb::Put => Method::PUT,
            Verb::Delete => Method::DELETE,
        };
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        match self.answer(method, &path, body).await?.refusal() {
            None => Ok(()),
            // Gone already is as gone as it should be.
            Some(Error::Refused { code: 404, .. }) if verb == Verb::Delete => Ok(()),
            Some(refused) => Err(refused),
        }
    }

    async fn answer(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Error> {
        let late = |_| self.away(format!("no answer within {} s", ANSWER.as_secs()));
        timeout(ANSWER, self.ask(method, path, body)).await.map_err(late)?
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Error> {
        let mut request = HttpRequest::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT, JSON);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, JSON);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Error::Unencodable(error.to_string()))?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| self.away(chain(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES)
            .collect()
            .await
            .map_err(|error| self.away(error.to_string()))?;
        Ok(Answer {
            status,
            body: body.to_bytes(),
        })
    }

    fn away(&self, what: String) -> Error {
        Error::Unreachable(format!("management API {}: {what}", self.base))
    }
}

struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    /// The refusal with the broker's own words; `None` for a success.
    fn refusal(&self) -> Option<Error> {
        (!self.status.is_success()).then(|| Error::Refused {
            code: self.status.as_u16(),
            text: self.words(),
        })
    }

    /// The `reason` of RabbitMQ's `{"error": ..., "reason": ...}`, or whatever else the body says, or what the status
    /// is called.
    fn words(&self) -> String {
        let told: Result<Words, _> = serde_json::from_slice(&self.body);
        let start = self.body.get(..self.body.len().min(4 * MOST_WORDS)).unwrap_or_default();
        let text = told.map_or_else(|_| String::from_utf8_lossy(start).into_owned(), |told| told.reason);
        match text.trim() {
            "" => self.status.canonical_reason().unwrap_or_default().to_owned(),
            text => text.chars().take(MOST_WORDS).collect(),
        }
    }
}

#[derive(Deserialize)]
struct Words {
    reason: String,
}

macro_rules! rows {
    (Broker(BrokerSpec) broker brokers; $($Kind:ident($Spec:ident) $kind:ident $plural:ident;)*) => {
        impl Management {
            /// The lists of all kinds, asked for at the same time.
            async fn rows(&self) -> Result<Rows, Error> {
                let ($($plural,)*) = futures::try_join!($(self.get_list::<topology::$kind::Declaration>(),)*)?;
                Ok(Rows { $($plural,)* })
            }
        }
    };
}
each_kind!(rows);

/// An error with its causes, innermost last: hyper's own text is only "client error (Connect)".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// Trusts the system's certificates and those in `ca`.
fn tls(ca: Option<&[u8]>) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in ca.into_iter().flat_map(CertificateDer::pem_slice_iter) {
        let certificate = certificate.map_err(|error| Error::Unencodable(format!("CA certificate: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| Error::Unencodable(format!("CA certificate: {error}")))?;
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Unencodable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

#[derive(Deserialize)]
struct Parameter {
    value: serde_json::Value,
}

#[derive(Deserialize)]
struct Held {
    #[serde(rename = "type")]
    kind: Option<String>,
    messages: Option<u64>,
}

#[derive(Deserialize)]
struct Totals {
    #[serde(default)]
    queue_totals: QueueTotals,
}

#[derive(Default, Deserialize)]
struct QueueTotals {
    messages: Option<u64>,
}

#[derive(Deserialize)]
struct Node {
    disk_free: Option<u64>,
}

#[derive(Deserialize)]
struct Overview {
    product_name: Option<String>,
    product_version: Option<String>,
    rabbitmq_version: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::http::{Method as AskedBy, StatusCode as Status, Uri as Asked};
    use parking_lot::Mutex;
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

    /// A management API that answers each path by the status in its last segment, and keeps what it was asked.
    async fn api() -> (Management, Arc<Mutex<Vec<String>>>) {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        let answer = move |method: AskedBy, target: Asked, body: String| async move {
            let status = target.path().rsplit('/').next().and_then(|last| last.parse().ok());
            heard.lock().push(format!("{method} {target} {body}"));
            let status = status
                .and_then(|status: u16| Status::from_u16(status).ok())
                .unwrap_or(Status::CREATED);
            (status, r#"{"error":"bad_request","reason":"no"}"#)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        let connection = Connection {
            amqp_uri: String::new(),
            management_uri: format!("http://{address}"),
            user: "guest".to_owned(),
            password: "guest".to_owned(),
            ca: None,
        };
        (Management::new(&connection).unwrap(), asked)
    }

    #[tokio::test]
    async fn each_write_has_its_own_answer() {
        let (management, asked) = api().await;
        let request = |verb, name: &str, body| Request {
            verb,
            path: format!("/api/vhosts/{name}"),
            body,
        };
        let results = management
            .execute(vec![
                request(Verb::Put, "shop", Some(json!({"tags": "a"}))),
                request(Verb::Put, "405", Some(json!({}))),
                request(Verb::Put, "401", None),
                request(Verb::Delete, "404", None),
                request(Verb::Delete, "503", None),
            ])
            .await;
        let codes: Vec<Option<u16>> = results
            .iter()
            .map(|result| match result {
                Err(Error::Refused { code, .. }) => Some(*code),
                Err(other) => panic!("{other}"),
                Ok(()) => None,
            })
            .collect();
        assert_eq!(codes, [None, Some(405), Some(401), None, Some(503)]);
        assert!(
            asked
                .lock()
                .contains(&r#"PUT /api/vhosts/shop {"tags":"a"}"#.to_owned())
        );
        let refused = management.get::<serde_json::Value>("/api/401").await;
        assert!(matches!(refused, Err(Error::Credentials(_))), "{refused:?}");
    }
}
