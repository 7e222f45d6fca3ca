//! Lists what stands on a broker, by RabbitMQ's management HTTP API.
//!
//! In: the address, user and password. Out: [`Topology`], [`About`]. AMQP itself cannot list anything.
//! Does not know about AMQP, resources, or what is wanted.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::backlog::{Backlog, COLUMNS, Counters};
use super::{About, Backlogs, Error};
use crate::object::{Connection, Usage};
use crate::topology::{Arguments, BindingDefinition, End, ExchangeDefinition, Name, QueueDefinition, Topology};

/// Longest wait for an answer. RabbitMQ needs 1.6 s to list 10,000 queues.
const ANSWER: Duration = Duration::from_secs(15);
/// Longest wait for a TCP connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Most bytes of one answer: a million queues with their arguments.
const MOST_BYTES: usize = 512 * 1024 * 1024;

/// The management API of one broker. Connections are kept alive between calls.
#[derive(Clone)]
pub struct Management {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
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

    /// What the broker says of itself.
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
            has_events: false,
        })
    }

    /// How full the broker is; what it does not say stays unknown.
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

    /// Everything on the broker in three calls, and what waits in its queues.
    ///
    /// # Errors
    /// See [`Management::get`].
    pub async fn list(&self) -> Result<(Topology, Backlogs), Error> {
        let queues = format!("/api/queues?columns=vhost,name,durable,auto_delete,exclusive,arguments,{COLUMNS}");
        let (exchanges, queues, bindings) = futures::try_join!(
            self.get::<Vec<ExchangeRow>>(
                "/api/exchanges?columns=vhost,name,type,durable,auto_delete,internal,arguments&disable_stats=true"
            ),
            self.get::<Vec<QueueRow>>(&queues),
            self.get::<Vec<BindingRow>>(
                "/api/bindings?columns=vhost,source,destination,destination_type,routing_key,arguments"
            ),
        )?;
        let backlogs = queues.iter().filter_map(QueueRow::backlog).collect();
        let topology = Topology {
            exchanges: exchanges.into_iter().map(ExchangeRow::split).collect(),
            queues: queues.into_iter().map(QueueRow::split).collect(),
            bindings: bindings.into_iter().filter_map(BindingRow::into_binding).collect(),
        };
        Ok((topology, backlogs))
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

    /// Reads one JSON document. `path` begins with `/`.
    ///
    /// # Errors
    /// [`Error::Credentials`] for 401, [`Error::Refused`] for any other status that is no success,
    /// [`Error::Unreachable`] without an answer in time or with one that is no such document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let away = |what: String| Error::Unreachable(format!("management API {}: {what}", self.base));
        match timeout(ANSWER, self.fetch(path)).await {
            Err(_) => Err(away(format!("no answer within {} s", ANSWER.as_secs()))),
            Ok(Err(error)) => Err(error),
            Ok(Ok((StatusCode::UNAUTHORIZED, _))) => Err(Error::Credentials(format!(
                "management API {}: user and password are not accepted (401)",
                self.base
            ))),
            Ok(Ok((status, body))) if !status.is_success() => Err(Error::Refused {
                code: status.as_u16(),
                text: String::from_utf8_lossy(body.get(..body.len().min(300)).unwrap_or_default()).into_owned(),
            }),
            Ok(Ok((_, body))) => {
                serde_json::from_slice(&body).map_err(|error| away(format!("unexpected answer to {path}: {error}")))
            }
        }
    }

    async fn fetch(&self, path: &str) -> Result<(StatusCode, Bytes), Error> {
        let away = |what: String| Error::Unreachable(format!("management API {}: {what}", self.base));
        let request = Request::get(format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|error| Error::Unencodable(error.to_string()))?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| away(chain(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES)
            .collect()
            .await
            .map_err(|error| away(error.to_string()))?;
        Ok((status, body.to_bytes()))
    }
}

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

/// A segment of a path (RFC 3986, 3.3).
fn escaped(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => path.push(char::from(byte)),
            // A dot too: a segment of dots alone means another folder.
            byte => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
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

/// Erlang cannot tell an empty table from an empty list: RabbitMQ sometimes writes `[]`.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Table {
    Map(BTreeMap<String, Value>),
    #[default]
    #[serde(deserialize_with = "anything")]
    Other,
}

fn anything<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| ())
}

impl From<Table> for Arguments {
    fn from(table: Table) -> Self {
        match table {
            Table::Map(map) => map.into(),
            Table::Other => Arguments::default(),
        }
    }
}

#[derive(Deserialize)]
struct ExchangeRow {
    vhost: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    durable: bool,
    #[serde(default)]
    auto_delete: bool,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    arguments: Table,
}

impl ExchangeRow {
    fn split(self) -> (Name, ExchangeDefinition) {
        let definition = ExchangeDefinition {
            kind: self.kind,
            durable: self.durable,
            auto_delete: self.auto_delete,
            internal: self.internal,
            arguments: self.arguments.into(),
        };
        (Name::new(self.vhost, self.name), definition)
    }
}

#[derive(Deserialize)]
struct QueueRow {
    vhost: String,
    name: String,
    #[serde(default)]
    durable: bool,
    #[serde(default)]
    auto_delete: bool,
    #[serde(default)]
    exclusive: bool,
    #[serde(default)]
    arguments: Table,
    #[serde(flatten)]
    counters: Counters,
}

impl QueueRow {
    fn backlog(&self) -> Option<(Name, Backlog)> {
        let backlog = self.counters.backlog()?;
        Some((Name::new(&self.vhost, &self.name), backlog))
    }

    fn split(self) -> (Name, QueueDefinition) {
        let definition = QueueDefinition::new(self.durable, self.auto_delete, self.exclusive, self.arguments.into());
        (Name::new(self.vhost, self.name), definition)
    }
}

#[derive(Deserialize)]
struct BindingRow {
    vhost: String,
    #[serde(default)]
    source: String,
    destination: String,
    destination_type: String,
    #[serde(default)]
    routing_key: String,
    #[serde(default)]
    arguments: Table,
}

impl BindingRow {
    /// `None` for what the default exchange has: those bindings are not made by anybody.
    fn into_binding(self) -> Option<BindingDefinition> {
        let end = match self.destination_type.as_str() {
            "queue" => End::Queue,
            "exchange" => End::Exchange,
            _ => return None,
        };
        (!self.source.is_empty()).then(|| BindingDefinition {
            vhost: self.vhost,
            source: self.source,
            end,
            destination: self.destination,
            routing_key: self.routing_key,
            arguments: self.arguments.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_in_paths() {
        for (name, path) in [
            ("/", "%2F"),
            ("a b", "a%20b"),
            ("..", "%2E%2E"),
            ("é", "%C3%A9"),
            ("a-b_c", "a-b_c"),
        ] {
            assert_eq!(escaped(name), path);
        }
    }

    #[test]
    fn rows_as_rabbitmq_writes_them() {
        let queue: QueueRow = serde_json::from_value(json!({
            "arguments": {"x-max-length": 5, "x-queue-type": "classic"}, "auto_delete": false, "durable": true,
            "exclusive": false, "name": "invoices", "type": "classic", "vhost": "/"
        }))
        .unwrap();
        let (name, definition) = queue.split();
        assert_eq!(name, Name::new("/", "invoices"));
        assert_eq!(
            definition,
            QueueDefinition::new(
                true,
                false,
                false,
                serde_json::from_value(json!({"x-max-length": 5})).unwrap()
            )
        );

        let rows: Vec<BindingRow> = serde_json::from_value(json!([
            {"source": "", "vhost": "/", "destination": "q", "destination_type": "queue", "routing_key": "q",
             "arguments": {}, "properties_key": "q"},
            {"source": "x", "vhost": "/", "destination": "q", "destination_type": "queue", "routing_key": "a.b",
             "arguments": [], "properties_key": "a.b"}
        ]))
        .unwrap();
        let bindings: Vec<_> = rows.into_iter().filter_map(BindingRow::into_binding).collect();
        assert_eq!(bindings.len(), 1);
        assert_eq!(bindings[0].to_string(), "exchange 'x' to queue 'q' by 'a.b'");
        assert!(bindings[0].arguments.is_empty());
    }
}
