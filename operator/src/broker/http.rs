//! Lists what stands on a broker, and changes what AMQP cannot, by RabbitMQ's management HTTP API.
//!
//! In: the address, user and password; `Request`s. Out: `Topology`, `About`, and whether the broker did it. Whatever a
//! broker answers, it is read row by row, one list at a time and within the budget; of other answers the beginning.
//! Does not know about AMQP, resources, or what is wanted.

/// Certificates, and the way to a host.
mod tls;

/// The way to a host that may be connected to.
mod resolver;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request as HttpRequest, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::budget::{Account, Budget, Room};
use super::client::{About, Backlogs, Dialect, Error, Settled};
use super::hosts::Hosts;
use super::rows::Rows;
use super::trouble::{self, Edge};
use crate::object::{Connection, Usage, Via};
use crate::resource::each_own_kind;
use crate::topology::declaration::Declare;
use crate::topology::zero_mq_socket::{self, ZeroMqSocketDefinition};
use crate::topology::{self, Name, Request, Topology, Verb, escaped};
use resolver::Resolver;

/// Longest wait for an answer. RabbitMQ needs 1.6 s to list 10,000 queues.
const ANSWER: Duration = Duration::from_secs(15);
/// Longest wait for a TCP connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Most requests that change something, under way at the same time.
const AT_ONCE: usize = 8;
/// Most characters of the broker's words when it refuses.
const MOST_WORDS: usize = 300;
/// The first question to a broker.
const OVERVIEW: &str = "/api/overview?columns=product_name,product_version,rabbitmq_version";
const JSON: &str = "application/json";
/// RabbitMQ answers 406 to who asks for JSON alone and sets a limit: there is none in the answer.
const RATHER_JSON: HeaderValue = HeaderValue::from_static("application/json, */*;q=0.1");
/// Most characters of a broker's name or version.
const MOST_NAME: usize = 64;
/// Most octets of an answer that is no list.
const MOST_OCTETS: usize = 256 * 1024;
/// Octets of a connection that are read ahead.
const READ_AHEAD: usize = 64 * 1024;

/// The management API of one broker. Connections are kept alive between calls.
#[derive(Clone)]
pub struct Management {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    base: String,
    authorization: HeaderValue,
    account: Account,
    hosts: Arc<Hosts>,
    host: String,
    /// The host is an address.
    is_literal: bool,
    via: Via,
}

/// Everything that stands on a broker, with the memory that is held for it.
#[derive(Debug)]
pub struct Listed {
    pub topology: Topology,
    pub backlogs: Backlogs,
    pub room: Room,
}

impl Management {
    /// Prepares for calls; does not connect yet.
    ///
    /// # Errors
    /// [`Error::Unencodable`] when the address or a certificate cannot be used.
    pub fn new(connection: &Connection, hosts: &Arc<Hosts>, budget: &Arc<Budget>) -> Result<Self, Error> {
        let base = connection.management_uri.trim_end_matches('/').to_owned();
        let uri = base.parse::<Uri>();
        let uri = uri.map_err(|error| Error::Unencodable(format!("management URI '{base}': {error}")))?;
        let credentials = STANDARD.encode(format!("{}:{}", connection.user, connection.password));
        let mut authorization = HeaderValue::try_from(format!("Basic {credentials}"))
            .map_err(|error| Error::Unencodable(error.to_string()))?;
        authorization.set_sensitive(true);
        let mut tcp = HttpConnector::new_with_resolver(Resolver::new(hosts, connection.via));
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(connection)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(45))
            .http1_max_buf_size(READ_AHEAD)
            .build(https);
        let host = uri.host().unwrap_or_default().to_owned();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            client,
            base,
            authorization,
            account: budget.account(),
            hosts: Arc::clone(hosts),
            is_literal: address.parse::<IpAddr>().is_ok(),
            host,
            via: connection.via,
        })
    }

    /// Looks the host up before anything is sent to it.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when it must not be connected to, [`Error::Unreachable`] when it is not known.
    pub async fn check_host(&self) -> Result<(), Error> {
        let host = self.host.as_str();
        match self.hosts.resolve(host, 0, self.via).await {
            Err(Error::Unreachable(why)) => Err(self.away(&why)),
            found => found.map(drop),
        }
    }

    /// The broker's name and version, as it says.
    ///
    /// # Errors
    /// See [`Management::get`].
    pub async fn about(&self) -> Result<About, Error> {
        let overview: Overview = match self.get(OVERVIEW).await {
            Err(Error::Refused { code, text }) => Err(Error::Refused {
                code,
                text: trouble::status(&self.base, OVERVIEW, code, &text),
            }),
            answer => answer,
        }?;
        let product = overview.product_name.unwrap_or_else(|| "RabbitMQ".to_owned());
        let version = overview
            .product_version
            .or(overview.rabbitmq_version)
            .unwrap_or_default();
        let shown = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(MOST_NAME).collect() };
        Ok(About {
            version: format!("{} {}", shown(&product), shown(&version)).trim_end().to_owned(),
            identity: self.identity().await,
            has_events: false,
            dialect: Dialect::of(&product, &version),
        })
    }

    /// RabbitMQ's name for the cluster that nobody chooses, where the user may see it.
    async fn identity(&self) -> Option<String> {
        let asked = self
            .get::<Parameter>("/api/global-parameters/internal_cluster_id")
            .await;
        asked.ok()?.value.as_str().map(str::to_owned)
    }

    /// The fate of the settings file of a Leveret. An older version does not say.
    pub async fn settled(&self) -> Option<Settled> {
        let told: Settings = self.get("/api/settings").await.ok()?;
        let SettingsFile { mark, refused } = told.file?;
        let shown = |text: String| -> String {
            let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
            plain.take(MOST_WORDS).collect()
        };
        Some(Settled {
            mark,
            refused: refused.map(shown),
            waiting: told.waiting.into_iter().map(shown).collect(),
        })
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

    /// Everything on the broker, kind by kind, and what waits in its queues.
    ///
    /// # Errors
    /// See [`Management::get`]; [`Error::TooMuch`] when it is more than there is room for.
    pub async fn list(&self) -> Result<Listed, Error> {
        let mut listed = Listed {
            topology: Topology::default(),
            backlogs: Backlogs::new(),
            room: self.account.room(),
        };
        self.all(&mut listed).await?;
        Ok(listed)
    }

    /// The ZeroMQ sockets of the broker, where it has such.
    ///
    /// # Errors
    /// As [`Management::list`].
    pub async fn sockets(&self) -> Result<BTreeMap<Name, ZeroMqSocketDefinition>, Error> {
        let mut found = BTreeMap::new();
        let mut room = self.account.room();
        self.each::<zero_mq_socket::Declaration>(&mut found, &mut Backlogs::new(), &mut room)
            .await?;
        Ok(found)
    }

    /// The rows of a list.
    ///
    /// # Errors
    /// As [`Management::list`].
    pub async fn rows<R: DeserializeOwned>(&self, path: &str) -> Result<Vec<R>, Error> {
        let mut room = self.account.room();
        let mut list = self.open(path).await?;
        let mut rows = Vec::new();
        while let Some(row) = list.next(&mut room).await? {
            rows.push(row);
        }
        Ok(rows)
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

    /// The lists of one kind.
    async fn each<D: Declare>(&self, all: &mut D::All, backlogs: &mut Backlogs, room: &mut Room) -> Result<(), Error> {
        for path in D::lists() {
            let mut list = match self.open(&path).await {
                Err(Error::Refused { .. } | Error::Credentials(_)) if D::GUARDED => return Ok(()),
                opened => opened?,
            };
            while let Some(row) = list.next::<D::Row>(room).await? {
                backlogs.extend(D::backlog(&row));
                D::take(row, all);
            }
        }
        Ok(())
    }

    /// Begins to read a list.
    async fn open(&self, path: &str) -> Result<List, Error> {
        let until = Instant::now() + ANSWER;
        let response = self.ask(Method::GET, path, Bytes::new(), until).await?;
        if !response.status().is_success() {
            return Err(match self.unwelcome(self.answer(response, until).await?.refusal()) {
                Error::Refused { code, text } => Error::Refused {
                    code,
                    text: trouble::status(&self.base, path, code, &text),
                },
                other => other,
            });
        }
        let path = path.split('?').next().unwrap_or_default();
        Ok(List {
            what: format!("management API {}: {path}", self.base),
            path: path.to_owned(),
            body: response.into_body(),
            rows: Rows::new(),
            octets: 0,
            until,
        })
    }

    /// Reads one JSON document. `path` begins with `/`.
    ///
    /// # Errors
    /// [`Error::Credentials`] for 401, [`Error::Refused`] for any other status that is no success,
    /// [`Error::Unreachable`] without an answer in time or with one that is no such document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let until = Instant::now() + ANSWER;
        let response = self.ask(Method::GET, path, Bytes::new(), until).await?;
        let answer = self.answer(response, until).await?;
        if !answer.status.is_success() {
            return Err(self.unwelcome(answer.refusal()));
        }
        serde_json::from_slice(&answer.body).map_err(|error| self.broken(&unexpected(path, &error)))
    }

    /// A refusal of something that only reads.
    fn unwelcome(&self, refusal: Error) -> Error {
        match refusal {
            Error::Refused { code: 401, text } => Error::Credentials(trouble::login(&self.base, &text)),
            refused => refused,
        }
    }

    /// Carries out sequences of requests that change something, some sequences at the same time; each up to its first
    /// failure. The answer has one result for each, in their order.
    ///
    /// # Errors
    /// As [`Management::get`], but 401 is [`Error::Refused`]: RabbitMQ says so to a user who may read and not write.
    pub async fn execute(&self, sequences: Vec<Vec<Request>>) -> Vec<Result<(), Error>> {
        let answers = sequences.into_iter().map(|requests| self.write_all(requests));
        stream::iter(answers).buffered(AT_ONCE).collect().await
    }

    async fn write_all(&self, requests: Vec<Request>) -> Result<(), Error> {
        for (index, request) in requests.into_iter().enumerate() {
            let done = self.write(request).await;
            done.map_err(|error| match index {
                0 => error,
                _ => Error::Partly(Box::new(error)),
            })?;
        }
        Ok(())
    }

    async fn write(&self, request: Request) -> Result<(), Error> {
        let Request { verb, path, body } = request;
        let method = match verb {
            Verb::Put => Method::PUT,
            Verb::Delete => Method::DELETE,
        };
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let until = Instant::now() + ANSWER;
        let response = self.ask(method, &path, body, until).await?;
        if response.status().is_success() {
            return Ok(());
        }
        match self.answer(response, until).await?.refusal() {
            // Gone already is as gone as it should be.
            Error::Refused { code: 404, .. } if verb == Verb::Delete => Ok(()),
            refused => Err(refused),
        }
    }

    /// Sends a request; the answer's body is still to be read.
    async fn ask(&self, method: Method, path: &str, body: Bytes, until: Instant) -> Result<Response<Incoming>, Error> {
        if self.is_literal {
            // Nothing is looked up for an address, so nothing else would check it.
            self.check_host().await?;
        }
        let mut request = HttpRequest::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT, RATHER_JSON);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, JSON);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Error::Unencodable(error.to_string()))?;
        let response = timeout_at(until, self.client.request(request)).await;
        response
            .map_err(|_| self.away(&late()))?
            .map_err(|error| Error::Unreachable(trouble::failed(Edge::Management, &self.base, &error)))
    }

    /// Reads the body of an answer that is no list, as far as it counts.
    async fn answer(&self, response: Response<Incoming>, until: Instant) -> Result<Answer, Error> {
        let status = response.status();
        let mut incoming = response.into_body();
        let mut body = Vec::new();
        while let Some(frame) = timeout_at(until, incoming.frame())
            .await
            .map_err(|_| self.away(&late()))?
        {
            let frame = frame.map_err(|error| self.broken(&trouble::chain(&error)))?;
            let data = frame.into_data().unwrap_or_default();
            if body.len() + data.len() > MOST_OCTETS {
                let text = format!(
                    "an answer of more than {} KiB where a short one belongs",
                    MOST_OCTETS / 1024
                );
                return Err(self.broken(&text));
            }
            body.extend_from_slice(&data);
        }
        Ok(Answer { status, body })
    }

    /// It does not answer.
    fn away(&self, why: &str) -> Error {
        Error::Unreachable(trouble::told(Edge::Management, &self.base, why))
    }

    /// It answers, and not as it should.
    fn broken(&self, what: &str) -> Error {
        Error::Unreachable(format!("management API {}: {what}", self.base))
    }
}

/// A list that is being read.
struct List {
    /// The words of a failure.
    what: String,
    path: String,
    body: Incoming,
    rows: Rows,
    octets: usize,
    until: Instant,
}

impl List {
    /// The next row; there must be room for it before it is read.
    async fn next<R: DeserializeOwned>(&mut self, room: &mut Room) -> Result<Option<R>, Error> {
        loop {
            let unexpected = |fault| Error::Unreachable(format!("{}: {fault}", self.what));
            if let Some(row) = self.rows.next().map_err(unexpected)? {
                room.take(row.weight)?;
                let read = serde_json::from_slice(self.rows.text(&row));
                return read.map(Some).map_err(|error| self.failed(&reason(&error)));
            }
            let Some(frame) = timeout_at(self.until, self.body.frame())
                .await
                .map_err(|_| self.failed(&late()))?
            else {
                self.rows.finish().map_err(unexpected)?;
                return Ok(None);
            };
            let frame = frame.map_err(|error| self.failed(&trouble::chain(&error)))?;
            let data = frame.into_data().unwrap_or_default();
            self.octets = self.octets.saturating_add(data.len());
            room.admit(&self.path, self.octets)?;
            self.rows.feed(&data);
        }
    }

    fn failed(&self, why: &str) -> Error {
        Error::Unreachable(format!("{}: {why}", self.what))
    }
}

struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    /// The refusal with the broker's own words.
    fn refusal(&self) -> Error {
        Error::Refused {
            code: self.status.as_u16(),
            text: self.words(),
        }
    }

    /// The `reason` of RabbitMQ's `{"error": ..., "reason": ...}`, or what the status is called. Nothing else is shown:
    /// who names the address of a broker must not read by it what only the operator can reach.
    fn words(&self) -> String {
        let told: Option<Words> = serde_json::from_slice(&self.body).ok();
        let reason = told.map(|told| {
            let Words { error: _, reason } = told;
            let shown = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
            shown.take(MOST_WORDS).collect::<String>()
        });
        match reason.as_deref().map(str::trim) {
            None | Some("") => self.status.canonical_reason().unwrap_or_default().to_owned(),
            Some(reason) => reason.to_owned(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    #[expect(dead_code, reason = "only an answer that has both is RabbitMQ's")]
    error: String,
    reason: String,
}

macro_rules! rows {
    (Broker(BrokerSpec) broker brokers; $($Kind:ident($Spec:ident) $kind:ident $plural:ident;)*) => {
        impl Management {
            /// The lists of all kinds, one after the other.
            async fn all(&self, listed: &mut Listed) -> Result<(), Error> {
                let Listed { topology, backlogs, room } = listed;
                $(self.each::<topology::$kind::Declaration>(&mut topology.$plural, backlogs, room).await?;)*
                Ok(())
            }
        }
    };
}
each_own_kind!(rows);

fn late() -> String {
    format!("no answer within {} s", ANSWER.as_secs())
}

/// The reason why an answer does not fit, without anything that stands in it.
fn reason(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "it is not what the management API answers",
        _ => "it is no JSON",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

fn unexpected(path: &str, error: &serde_json::Error) -> String {
    let path = path.split('?').next().unwrap_or_default();
    format!("unexpected answer to {path}: {}", reason(error))
}

#[derive(Deserialize)]
struct Parameter {
    value: serde_json::Value,
}

#[derive(Deserialize)]
struct Settings {
    #[serde(default)]
    waiting: Vec<String>,
    file: Option<SettingsFile>,
}

#[derive(Deserialize)]
struct SettingsFile {
    mark: Option<String>,
    refused: Option<String>,
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
mod tests;
