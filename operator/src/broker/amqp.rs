//! Carries out operations by AMQP: pipelined over a few channels, one connection per virtual host.
//!
//! In: `Operation`s. Out: for each one whether the broker did it, or its reply code and text.
//! Does not know about HTTP, events, or why an operation is wanted.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::join_all;
use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, ExchangeUnbindOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{AsyncTcpStream, Channel, ConnectionProperties, ErrorKind, ExchangeKind};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::client::Error;
use super::hosts::Hosts;
use super::trouble::{self, Edge};
use crate::object::{Connection, Via};
use crate::topology::Operation;
use crate::topology::{Arguments, BindingDefinition, Declared, End, Identity, Name, exchange, queue};

/// Longest wait for a connection to be open.
const CONNECT: Duration = Duration::from_secs(8);
/// Longest wait for one answer while a window of others is under way.
const ANSWER: Duration = Duration::from_secs(15);
/// Heartbeat that is asked for, in seconds: a dead peer is noticed within twice this.
const HEARTBEAT_SECONDS: u16 = 10;
/// Most operations under way on one channel. What follows a refused one has to be sent again.
const WINDOW: usize = 256;
/// The window after a refusal; it doubles with every answer.
const SMALL_WINDOW: usize = 8;
/// Channels that share the work when there is much of it. RabbitMQ serves each channel by a process of its own.
const LANES: usize = 4;
/// From how many operations on it is worth having several channels.
const MANY: usize = 64;

/// Largest frame: RabbitMQ's own default. A broker that wants larger ones would have the client take room for them.
const FRAME_MAX: u32 = 131_072;

/// Opens connections to one broker, and executes operations on them.
pub struct Amqp {
    uri: AMQPUri,
    tls: OwnedTLSConfig,
    name: String,
    hosts: Arc<Hosts>,
    via: Via,
    /// By virtual host; opened when first needed.
    open: Mutex<BTreeMap<String, Arc<lapin::Connection>>>,
}

impl Amqp {
    /// Prepares for operations; does not connect yet.
    ///
    /// # Errors
    /// [`Error::Unencodable`] when the address cannot be used.
    pub fn new(name: &str, connection: &Connection, hosts: &Arc<Hosts>) -> Result<Self, Error> {
        let parsed: AMQPUri = connection
            .amqp_uri
            .parse()
            .map_err(|error| Error::Unencodable(format!("URI '{}': {error}", connection.amqp_uri)))?;
        let uri = AMQPUri {
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: connection.user.clone(),
                    password: connection.password.clone(),
                },
                ..parsed.authority
            },
            query: AMQPQueryString {
                heartbeat: Some(HEARTBEAT_SECONDS),
                frame_max: Some(FRAME_MAX),
                ..AMQPQueryString::default()
            },
            ..parsed
        };
        let cert_chain = match &connection.ca {
            None => None,
            Some(pem) => Some(
                String::from_utf8(pem.clone())
                    .map_err(|_| Error::Unencodable("CA certificate: not PEM text".to_owned()))?,
            ),
        };
        let identity = connection.identity.as_ref().map(|identity| OwnedIdentity::PKCS8 {
            pem: identity.certificate.clone(),
            key: identity.key.clone(),
        });
        Ok(Self {
            uri,
            tls: OwnedTLSConfig { identity, cert_chain },
            name: name.to_owned(),
            hosts: Arc::clone(hosts),
            via: connection.via,
            open: Mutex::default(),
        })
    }

    /// Opens a new connection to `vhost`.
    ///
    /// # Errors
    /// All of [`Error`] except `Refused` for an operation.
    pub async fn connect(&self, vhost: &str) -> Result<lapin::Connection, Error> {
        let mut uri = self.uri.clone();
        vhost.clone_into(&mut uri.vhost);
        let properties = ConnectionProperties::default()
            .with_connection_name(self.name.as_str().into())
            .with_client_property("product".into(), "leveret-operator".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
        let address = format!("{}://{}:{}", uri.scheme, uri.authority.host, uri.authority.port);
        let runtime = lapin::runtime::default_runtime().map_err(|error| Error::Unreachable(error.to_string()))?;
        let authority = &uri.authority;
        let resolving = self.hosts.resolve(&authority.host, authority.port, self.via);
        let away = |why: &str| Error::Unreachable(trouble::told(Edge::Amqp, &address, why));
        let late = || away(&format!("no connection within {} s", CONNECT.as_secs()));
        let found = match timeout(CONNECT, resolving).await.map_err(|_| late())? {
            Err(Error::Unreachable(why)) => Err(away(&why)),
            found => found,
        }?;
        let tls = self.tls.clone();
        // To the addresses that were checked, whatever the name leads to by now.
        let connect = async move |uri: AMQPUri, runtime| {
            let stream = AsyncTcpStream::connect(&runtime, found.clone()).await?;
            match uri.scheme {
                AMQPScheme::AMQP => Ok(stream),
                AMQPScheme::AMQPS => Ok(stream.into_tls(&uri.authority.host, tls.as_ref()).await?),
            }
        };
        let opening = lapin::Connection::connector(uri, runtime, connect, properties);
        match timeout(CONNECT, opening).await {
            Err(_) => Err(late()),
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(connect_error(&address, &error)),
        }
    }

    /// The open connection to `vhost`, or a new one.
    async fn connection(&self, vhost: &str) -> Result<Arc<lapin::Connection>, Error> {
        let mut open = self.open.lock().await;
        if let Some(connection) = open.get(vhost) {
            if connection.status().connected() {
                return Ok(Arc::clone(connection));
            }
            open.remove(vhost);
        }
        let connection = Arc::new(self.connect(vhost).await?);
        open.insert(vhost.to_owned(), Arc::clone(&connection));
        Ok(connection)
    }

    async fn forget(&self, vhost: &str) {
        self.open.lock().await.remove(vhost);
    }

    /// Carries out all operations; see [`super::Client::execute`].
    pub async fn execute(&self, operations: &[Operation]) -> Vec<Result<(), Error>> {
        let mut by_vhost: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, operation) in operations.iter().enumerate() {
            by_vhost.entry(operation.vhost()).or_default().push(index);
        }
        let parts = by_vhost
            .into_iter()
            .map(|(vhost, indexes)| self.execute_in(vhost, indexes, operations));
        let mut done: BTreeMap<usize, Result<(), Error>> = join_all(parts).await.into_iter().flatten().collect();
        let unanswered = || Err(Error::Unreachable("no answer".to_owned()));
        (0..operations.len())
            .map(|index| done.remove(&index).unwrap_or_else(unanswered))
            .collect()
    }

    /// Operations of one virtual host. A refusal closes the channel only, but some close the connection: with several
    /// channels under way it cannot be said which operation it was, so the rest is then tried on one channel.
    async fn execute_in(&self, vhost: &str, indexes: Vec<usize>, operations: &[Operation]) -> Done {
        let mut done = Done::new();
        let mut left = indexes;
        let mut lanes = if left.len() < MANY { 1 } else { LANES };
        let mut renewed = false;
        while !left.is_empty() {
            let connection = match self.connection(vhost).await {
                Ok(connection) => connection,
                Err(error) => {
                    done.extend(left.drain(..).map(|index| (index, Err(error.clone()))));
                    break;
                }
            };
            let all = std::mem::take(&mut left);
            let parts = all
                .chunks(all.len().div_ceil(lanes))
                .map(|part| Lane::new(&connection, operations, part).run());
            let mut broken = None;
            for outcome in join_all(parts).await {
                done.extend(outcome.done);
                left.extend(outcome.left);
                broken = broken.or(outcome.broken);
            }
            let Some(error) = broken else { continue };
            self.forget(vhost).await;
            match error {
                Error::Refused { .. } if lanes > 1 => lanes = 1,
                Error::Refused { .. } if !left.is_empty() => done.push((left.remove(0), Err(error))),
                // It ended with its virtual host, perhaps, and could not say so: another attempt tells.
                Error::Unreachable(_) if !connection.status().connected() && !renewed => renewed = true,
                error => done.extend(left.drain(..).map(|index| (index, Err(error.clone())))),
            }
        }
        done
    }

    /// Ready messages in a queue, by passive declaration; `None` when it does not exist (404).
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn message_count(&self, queue: &Name) -> Result<Option<u32>, Error> {
        let connection = self.connection(&queue.vhost).await?;
        let ask = async {
            let channel = connection.create_channel().await?;
            let options = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let answer = channel
                .queue_declare(short(&queue.name).unwrap_or_default(), options, FieldTable::default())
                .await;
            if answer.is_ok() {
                channel.close(200, "done".into()).await?;
            }
            answer
        };
        match timeout(ANSWER, ask).await {
            Err(_) => Err(no_answer()),
            Ok(Ok(queue)) => Ok(Some(queue.message_count())),
            Ok(Err(error)) => match wire_error(&error) {
                Error::Refused { code: 404, .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Says goodbye on all connections; bounded in time.
    pub async fn close(&self) {
        let open = std::mem::take(&mut *self.open.lock().await);
        let closing = open
            .values()
            .map(|connection| timeout(Duration::from_secs(1), connection.close(200, "bye".into())));
        join_all(closing).await;
    }
}

type Done = Vec<(usize, Result<(), Error>)>;
type Answer<'a> = Pin<Box<dyn Future<Output = Result<(), lapin::Error>> + Send + 'a>>;

/// One channel at a time, working through its share of the operations in order.
struct Lane<'a> {
    connection: &'a lapin::Connection,
    operations: &'a [Operation],
    outcome: LaneOutcome,
}

#[derive(Default)]
struct LaneOutcome {
    done: Done,
    /// Not answered, in order.
    left: VecDeque<usize>,
    /// The reason why nothing more could be done on this connection.
    broken: Option<Error>,
}

impl<'a> Lane<'a> {
    fn new(connection: &'a lapin::Connection, operations: &'a [Operation], share: &[usize]) -> Self {
        let outcome = LaneOutcome {
            left: share.iter().copied().collect(),
            ..LaneOutcome::default()
        };
        Self {
            connection,
            operations,
            outcome,
        }
    }

    async fn run(mut self) -> LaneOutcome {
        let mut window = WINDOW;
        while !self.outcome.left.is_empty() && self.outcome.broken.is_none() {
            match timeout(ANSWER, self.connection.create_channel()).await {
                Err(_) => self.outcome.broken = Some(no_answer()),
                Ok(Err(error)) => self.outcome.broken = Some(wire_error(&error)),
                Ok(Ok(channel)) => {
                    self.run_on(&channel, window).await;
                    window = SMALL_WINDOW;
                    if self.outcome.left.is_empty() {
                        // Best effort: the channel goes with the connection otherwise.
                        let _ = timeout(ANSWER, channel.close(200, "done".into())).await;
                    }
                }
            }
        }
        self.outcome
    }

    /// Until everything is answered, the channel closes (the first unanswered operation was refused, what was sent
    /// after it is ignored by the broker), or the connection breaks.
    async fn run_on(&mut self, channel: &Channel, mut window: usize) {
        let mut under_way: VecDeque<Answer<'_>> = VecDeque::new();
        loop {
            while under_way.len() < window {
                let Some(index) = self.outcome.left.get(under_way.len()) else {
                    break;
                };
                let Some(operation) = self.operations.get(*index) else {
                    break;
                };
                let mut answer: Answer<'_> = Box::pin(send(channel, operation));
                // The first poll sends the method; an answer that is there already is kept for its turn.
                let first = futures::poll!(answer.as_mut());
                under_way.push_back(match first {
                    Poll::Pending => answer,
                    Poll::Ready(result) => Box::pin(std::future::ready(result)),
                });
            }
            let Some(answer) = under_way.pop_front() else { return };
            match timeout(ANSWER, answer).await {
                Err(_) => {
                    self.outcome.broken = Some(no_answer());
                    return;
                }
                Ok(Ok(())) => {
                    self.settle(Ok(()));
                    window = (window * 2).min(WINDOW);
                }
                Ok(Err(error)) => {
                    match wire_error(&error) {
                        refused @ (Error::Unencodable(_) | Error::Refused { .. })
                            if self.connection.status().connected() && !error.is_amqp_hard_error() =>
                        {
                            self.settle(Err(refused));
                        }
                        error => self.outcome.broken = Some(error),
                    }
                    return;
                }
            }
        }
    }

    fn settle(&mut self, result: Result<(), Error>) {
        if let Some(index) = self.outcome.left.pop_front() {
            self.outcome.done.push((index, result));
        }
    }
}

/// Sends one operation at the first poll.
async fn send(channel: &Channel, operation: &Operation) -> Result<(), lapin::Error> {
    match operation {
        Operation::Declare(Declared::Exchange(exchange)) => declare_exchange(channel, exchange).await,
        Operation::Declare(Declared::Queue(queue)) => declare_queue(channel, queue).await,
        Operation::Declare(Declared::Binding(binding)) => bind(channel, binding).await,
        Operation::Remove { identity, if_free } => match identity {
            Identity::Exchange(name) => {
                let options = ExchangeDeleteOptions {
                    if_unused: *if_free,
                    ..ExchangeDeleteOptions::default()
                };
                channel.exchange_delete(short(&name.name)?, options).await
            }
            Identity::Queue(name) => {
                let options = QueueDeleteOptions {
                    if_empty: *if_free,
                    ..QueueDeleteOptions::default()
                };
                channel.queue_delete(short(&name.name)?, options).await.map(drop)
            }
            Identity::Binding(binding) => unbind(channel, binding).await,
            other => Err(unencodable(format!("{other} cannot be removed by AMQP"))),
        },
        Operation::Declare(other) => Err(unencodable(format!("{} cannot be declared by AMQP", other.identity()))),
    }
}

async fn declare_exchange(channel: &Channel, exchange: &exchange::Declaration) -> Result<(), lapin::Error> {
    let exchange::Declaration { name, definition } = exchange;
    let options = ExchangeDeclareOptions {
        durable: definition.durable,
        auto_delete: definition.auto_delete,
        internal: definition.internal,
        ..ExchangeDeclareOptions::default()
    };
    let kind = match definition.kind.as_str() {
        "direct" => ExchangeKind::Direct,
        "fanout" => ExchangeKind::Fanout,
        "topic" => ExchangeKind::Topic,
        "headers" => ExchangeKind::Headers,
        other => ExchangeKind::Custom(other.to_owned()),
    };
    let arguments = field_table(&definition.arguments)?;
    channel
        .exchange_declare(short(&name.name)?, kind, options, arguments)
        .await
}

async fn declare_queue(channel: &Channel, queue: &queue::Declaration) -> Result<(), lapin::Error> {
    let queue::Declaration { name, definition } = queue;
    let options = QueueDeclareOptions {
        durable: definition.durable,
        auto_delete: definition.auto_delete,
        exclusive: definition.exclusive,
        ..QueueDeclareOptions::default()
    };
    let arguments = field_table(definition.arguments())?;
    channel
        .queue_declare(short(&name.name)?, options, arguments)
        .await
        .map(drop)
}

async fn bind(channel: &Channel, binding: &BindingDefinition) -> Result<(), lapin::Error> {
    let destination = short(&binding.destination)?;
    let (source, key) = (short(&binding.source)?, short(&binding.routing_key)?);
    let arguments = field_table(&binding.arguments)?;
    match binding.end {
        End::Queue => {
            let options = QueueBindOptions::default();
            channel.queue_bind(destination, source, key, options, arguments).await
        }
        End::Exchange => {
            let options = ExchangeBindOptions::default();
            channel
                .exchange_bind(destination, source, key, options, arguments)
                .await
        }
    }
}

async fn unbind(channel: &Channel, binding: &BindingDefinition) -> Result<(), lapin::Error> {
    let destination = short(&binding.destination)?;
    let (source, key) = (short(&binding.source)?, short(&binding.routing_key)?);
    let arguments = field_table(&binding.arguments)?;
    match binding.end {
        End::Queue => channel.queue_unbind(destination, source, key, arguments).await,
        End::Exchange => {
            let options = ExchangeUnbindOptions::default();
            channel
                .exchange_unbind(destination, source, key, options, arguments)
                .await
        }
    }
}

/// Marks an error of our own among lapin's, so that it is not taken for a broken connection.
const UNENCODABLE: std::io::ErrorKind = std::io::ErrorKind::InvalidInput;

fn unencodable(text: String) -> lapin::Error {
    std::io::Error::new(UNENCODABLE, text).into()
}

/// A short string holds at most 255 bytes (AMQP 0-9-1, 4.2.5.3).
fn short(text: &str) -> Result<ShortString, lapin::Error> {
    ShortString::try_new(text.to_owned()).map_err(|_| {
        unencodable(format!(
            "'{text}' is longer than 255 bytes, the most that AMQP can carry"
        ))
    })
}

/// Arguments as a field table. Integers go as `I` (32 bits) when they fit and `l` (64 bits) otherwise, as the usual
/// clients send them; unsigned ones beyond 64 signed bits do not exist in AMQP 0-9-1 as RabbitMQ speaks it.
fn field_table(arguments: &Arguments) -> Result<FieldTable, lapin::Error> {
    let mut table = FieldTable::default();
    for (name, value) in arguments.iter() {
        table.insert(short(name)?, field_value(&value)?);
    }
    Ok(table)
}

fn field_value(value: &Value) -> Result<AMQPValue, lapin::Error> {
    Ok(match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(flag) => AMQPValue::Boolean(*flag),
        Value::String(text) => AMQPValue::LongString(LongString::from(text.as_str())),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => i32::try_from(integer).map_or(AMQPValue::LongLongInt(integer), AMQPValue::LongInt),
            (None, Some(float)) if number.is_f64() => AMQPValue::Double(float),
            _ => return Err(unencodable(format!("{number} does not fit into 64 bits with a sign"))),
        },
        Value::Array(items) => {
            let items = items.iter().map(field_value).collect::<Result<Vec<_>, _>>()?;
            AMQPValue::FieldArray(FieldArray::from(items))
        }
        Value::Object(map) => {
            let mut table = FieldTable::default();
            for (name, value) in map {
                table.insert(short(name)?, field_value(value)?);
            }
            AMQPValue::FieldTable(table)
        }
    })
}

fn no_answer() -> Error {
    Error::Unreachable(format!("no answer by AMQP within {} s", ANSWER.as_secs()))
}

/// The meaning of lapin's error for an operation.
pub(super) fn wire_error(error: &lapin::Error) -> Error {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => said(refusal.get_id(), refusal.get_message().to_string()),
        ErrorKind::IOError(io) if io.kind() == UNENCODABLE => Error::Unencodable(io.to_string()),
        _ => Error::Unreachable(error.to_string()),
    }
}

/// The meaning of a reply code and text. 320 is about the broker itself, or about the virtual host of the connection.
fn said(code: u16, text: String) -> Error {
    match code {
        320 if text.contains("vhost '") => Error::Vhost(text),
        code => Error::Refused { code, text },
    }
}

/// The meaning of lapin's error for opening a connection: 403 is the login (RabbitMQ's `ACCESS_REFUSED`), 530 the
/// virtual host (`NOT_ALLOWED - vhost x not found`, or access to it refused).
fn connect_error(address: &str, error: &lapin::Error) -> Error {
    match wire_error(error) {
        Error::Refused { code: 403, text } => {
            Error::Credentials(format!("AMQP {address}: user and password are not accepted: {text}"))
        }
        Error::Refused { code: 530, text } if text.contains("not found") => Error::Vhost(text),
        Error::Refused { code: 530, text } => Error::Refused { code: 530, text },
        Error::Refused { code, text } => Error::Unreachable(format!("AMQP {address}: {code} {text}")),
        Error::Unencodable(text) => Error::Unreachable(format!("AMQP {address}: {text}")),
        Error::Unreachable(_) => Error::Unreachable(trouble::failed(Edge::Amqp, address, error)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_virtual_host_that_ends_is_no_broker_that_does() {
        let gone = "CONNECTION_FORCED - vhost 'shop' is deleted";
        assert_eq!(said(320, gone.to_owned()), Error::Vhost(gone.to_owned()));
        let down = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'";
        assert!(matches!(said(320, down.to_owned()), Error::Refused { code: 320, .. }));
    }

    #[test]
    fn integers_have_the_width_that_clients_send() {
        let table = |value| field_table(&serde_json::from_value(value).unwrap()).unwrap();
        let table = table(json!({
            "small": 5, "big": 5_000_000_000_i64, "negative": -1, "float": 1.5, "text": "x", "none": null,
            "list": [1, "a"], "table": {"b": true}
        }));
        let get = |name: &str| table.inner().get(name).unwrap().clone();
        assert_eq!(get("small"), AMQPValue::LongInt(5));
        assert_eq!(get("big"), AMQPValue::LongLongInt(5_000_000_000));
        assert_eq!(get("negative"), AMQPValue::LongInt(-1));
        assert_eq!(get("float"), AMQPValue::Double(1.5));
        assert_eq!(get("text"), AMQPValue::LongString("x".into()));
        assert_eq!(get("none"), AMQPValue::Void);
        assert!(matches!(get("list"), AMQPValue::FieldArray(_)));
        assert!(matches!(get("table"), AMQPValue::FieldTable(_)));
    }

    #[test]
    fn what_does_not_fit_is_refused_here() {
        assert!(matches!(
            wire_error(&short(&"x".repeat(256)).unwrap_err()),
            Error::Unencodable(_)
        ));
        assert!(short(&"x".repeat(255)).is_ok());
        assert!(field_value(&json!(u64::MAX)).is_err());
    }
}
