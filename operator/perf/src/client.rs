//! A blocking connection with one channel: everything that comes before and after the load.
//!
//! In: an address, methods. Out: replies; and the socket with what was read too far, for the event loops.
//! Does not know about loads. Understands only what AMQP 0-9-1 has, so that any broker will do.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use leveret_amqp::method::{
    BasicConsume, BasicQos, ChannelOpen, ConfirmSelect, ConnectionClose, ConnectionOpen, ConnectionStartOk,
    ConnectionTuneOk, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare, QueueDelete,
};
use leveret_amqp::{
    FieldTable, FieldValue, FrameKind, Method, PROTOCOL_HEADER, ShortString, next_frame, put_method_frame,
};

use super::address::Address;
use super::error::Error;

/// Longest time for an answer. RabbitMQ's declarations wait for its metadata store, which can take seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most that is offered for a frame, octets; RabbitMQ's default.
const FRAME_MAX: u32 = 131_072;

/// Requests that are sent before their answers are read.
const PIPELINE: usize = 200;

/// The channel that everything happens on.
pub const CHANNEL: u16 = 1;

/// A connection that has logged in and opened its channel.
#[derive(Debug)]
pub struct Client {
    pub socket: TcpStream,
    /// Read and not yet understood.
    pub received: Vec<u8>,
    /// Octets that a frame may have.
    pub frame_max: u32,
    /// Product and version of the broker.
    pub product: String,
    who: String,
}

impl Client {
    /// Connects. `who` stands in errors.
    ///
    /// # Errors
    /// Nothing listens there, the broker refuses, or it speaks something else.
    pub fn open(address: &Address, who: &str) -> Result<Client, Error> {
        let failed = |source| Error::Connect {
            address: address.shown(),
            source,
        };
        let socket = TcpStream::connect((address.host.as_str(), address.port)).map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut client = Client {
            socket,
            received: Vec::new(),
            frame_max: FRAME_MAX,
            product: String::new(),
            who: who.to_owned(),
        };
        client.write(&PROTOCOL_HEADER)?;
        client.log_in(address)?;
        Ok(client)
    }

    fn log_in(&mut self, address: &Address) -> Result<(), Error> {
        let Method::ConnectionStart(start) = self.wait("connection.start")? else {
            return Err(self.unexpected("something else than connection.start"));
        };
        let text = |name| {
            start
                .server_properties
                .get(name)
                .and_then(FieldValue::as_str)
                .unwrap_or_default()
        };
        self.product = match text("platform") {
            // Brokers in RabbitMQ's dialect may call themselves so as their product; this one's name is its platform.
            platform if platform.starts_with("Leveret ") => platform.to_owned(),
            _ => format!("{} {}", text("product"), text("version")).trim().to_owned(),
        };
        let response = format!("\0{}\0{}", address.user, address.password);
        self.send(ConnectionStartOk {
            client_properties: introduction().into(),
            mechanism: ShortString::from_static("PLAIN"),
            response: Bytes::from(response),
            locale: ShortString::from_static("en_US"),
        })?;
        let tune = match self.wait("connection.tune") {
            Ok(Method::ConnectionTune(tune)) => tune,
            Ok(other) => return Err(self.unexpected(other.name())),
            // Brokers of before 2012 close the socket instead of saying 403.
            Err(Error::Gone { who, .. }) => {
                let hint = " during login: wrong user, password or vhost?";
                return Err(Error::Gone { who, hint });
            }
            Err(error) => return Err(error),
        };
        self.frame_max = if tune.frame_max == 0 {
            FRAME_MAX
        } else {
            tune.frame_max.min(FRAME_MAX)
        };
        self.send(ConnectionTuneOk {
            channel_max: tune.channel_max,
            frame_max: self.frame_max,
            heartbeat: 0,
        })?;
        self.send(ConnectionOpen {
            virtual_host: self.name("--uri", &address.vhost)?,
        })?;
        self.wait("connection.open-ok")?;
        self.ask(ChannelOpen {}, "channel.open-ok").map(drop)
    }

    /// Sends a method and reads its answer.
    ///
    /// # Errors
    /// The broker refuses, closes, or doesn't answer.
    pub fn ask(&mut self, method: impl Into<Method>, answer: &str) -> Result<Method, Error> {
        self.send(method)?;
        self.wait(answer)
    }

    /// Sends many methods, reading the answers while it goes on.
    ///
    /// # Errors
    /// The first refusal.
    pub fn ask_all(&mut self, methods: impl IntoIterator<Item = Method>, answer: &str) -> Result<(), Error> {
        let mut methods = methods.into_iter().peekable();
        while methods.peek().is_some() {
            let mut out = Vec::new();
            let mut sent = 0;
            for method in methods.by_ref().take(PIPELINE) {
                put_method_frame(&mut out, CHANNEL, &method);
                sent += 1;
            }
            self.write(&out)?;
            for _ in 0..sent {
                self.wait(answer)?;
            }
        }
        Ok(())
    }

    /// Sends a method that has no answer.
    ///
    /// # Errors
    /// The socket.
    pub fn send(&mut self, method: impl Into<Method>) -> Result<(), Error> {
        let method = method.into();
        let channel = if method.id().0 == ConnectionOpen::ID.0 {
            0
        } else {
            CHANNEL
        };
        let mut out = Vec::new();
        put_method_frame(&mut out, channel, &method);
        self.write(&out)
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        self.socket.write_all(octets).map_err(|source| self.broken(source))
    }

    /// The next method with this name; other frames before it are dropped.
    fn wait(&mut self, name: &str) -> Result<Method, Error> {
        loop {
            while let Some(method) = self.next()? {
                match method {
                    Method::ConnectionClose(ConnectionClose {
                        reply_code, reply_text, ..
                    }) => {
                        return Err(self.closed(reply_code, &reply_text));
                    }
                    Method::ChannelClose(close) => return Err(self.closed(close.reply_code, &close.reply_text)),
                    method if method.name() == name => return Ok(method),
                    _ => {}
                }
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> Result<(), Error> {
        let mut piece = [0; 16_384];
        let count = self.socket.read(&mut piece).map_err(|source| self.broken(source))?;
        if count == 0 {
            return Err(Error::Gone {
                who: self.who.clone(),
                hint: "",
            });
        }
        self.received.extend_from_slice(piece.get(..count).unwrap_or_default());
        Ok(())
    }

    /// The next method that has been read.
    fn next(&mut self) -> Result<Option<Method>, Error> {
        loop {
            let frame = next_frame(&self.received, self.frame_max);
            let frame = frame.map_err(|source| Error::Frame {
                who: self.who.clone(),
                source,
            })?;
            let Some(frame) = frame else { return Ok(None) };
            let (length, is_method) = (frame.wire_len(), frame.kind == FrameKind::Method);
            let method = is_method.then(|| Method::parse(frame.payload));
            self.received.drain(..length);
            if let Some(method) = method {
                return method.map(Some).map_err(|source| Error::Method {
                    who: self.who.clone(),
                    source,
                });
            }
        }
    }

    fn closed(&self, code: u16, text: &ShortString) -> Error {
        let (who, text) = (self.who.clone(), text.to_str_lossy().into_owned());
        Error::Closed { who, code, text }
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::Socket {
            who: self.who.clone(),
            source,
        }
    }

    fn unexpected(&self, what: &str) -> Error {
        Error::Unexpected {
            who: self.who.clone(),
            what: what.to_owned(),
        }
    }

    fn name(&self, flag: &'static str, text: &str) -> Result<ShortString, Error> {
        short(flag, text)
    }

    /// Declares an exchange.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn declare_exchange(&mut self, exchange: &ShortString, kind: &str, durable: bool) -> Result<(), Error> {
        let declare = ExchangeDeclare {
            exchange: exchange.clone(),
            kind: short("--type", kind)?,
            durable,
            ..ExchangeDeclare::default()
        };
        self.ask(declare, "exchange.declare-ok").map(drop)
    }

    /// Deletes an exchange.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn delete_exchange(&mut self, exchange: &ShortString) -> Result<(), Error> {
        let delete = ExchangeDelete {
            exchange: exchange.clone(),
            ..ExchangeDelete::default()
        };
        self.ask(delete, "exchange.delete-ok").map(drop)
    }

    /// Messages that wait in a queue.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn depth(&mut self, queue: &ShortString) -> Result<u32, Error> {
        let look = QueueDeclare {
            queue: queue.clone(),
            passive: true,
            ..QueueDeclare::default()
        };
        match self.ask(look, "queue.declare-ok")? {
            Method::QueueDeclareOk(ok) => Ok(ok.message_count),
            other => Err(self.unexpected(other.name())),
        }
    }

    /// Turns confirms on.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn confirm(&mut self) -> Result<(), Error> {
        self.ask(ConfirmSelect::default(), "confirm.select-ok").map(drop)
    }

    /// Most messages that may be unacknowledged; 0 for no limit.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn prefetch(&mut self, count: u16) -> Result<(), Error> {
        let qos = BasicQos {
            prefetch_count: count,
            ..BasicQos::default()
        };
        self.ask(qos, "basic.qos-ok").map(drop)
    }

    /// Consumes from queues. Nothing is awaited: messages may come before anything else.
    ///
    /// # Errors
    /// The socket.
    pub fn consume<'a>(&mut self, queues: impl Iterator<Item = &'a ShortString>, no_ack: bool) -> Result<(), Error> {
        let mut out = Vec::new();
        for (number, queue) in queues.enumerate() {
            let consume = BasicConsume {
                queue: queue.clone(),
                consumer_tag: short("--consumers", &number.to_string())?,
                no_ack,
                no_wait: true,
                ..BasicConsume::default()
            };
            put_method_frame(&mut out, CHANNEL, &consume.into());
        }
        self.write(&out)
    }

    /// Says goodbye and waits for the answer. A failure is of no interest any more.
    pub fn close(mut self) {
        let goodbye = ConnectionClose {
            reply_code: 200,
            ..ConnectionClose::default()
        };
        let _ = self.ask(goodbye, "connection.close-ok");
    }
}

/// A queue's declaration.
#[must_use]
pub fn declaration(queue: &ShortString, durable: bool, arguments: &FieldTable) -> Method {
    let (queue, arguments) = (queue.clone(), arguments.into());
    QueueDeclare {
        queue,
        durable,
        arguments,
        ..QueueDeclare::default()
    }
    .into()
}

/// A queue's removal, whatever is in it.
#[must_use]
pub fn removal(queue: &ShortString) -> Method {
    QueueDelete {
        queue: queue.clone(),
        ..QueueDelete::default()
    }
    .into()
}

/// A binding of a queue.
#[must_use]
pub fn binding(queue: &ShortString, exchange: &ShortString, key: &ShortString) -> Method {
    QueueBind {
        queue: queue.clone(),
        exchange: exchange.clone(),
        routing_key: key.clone(),
        ..QueueBind::default()
    }
    .into()
}

/// A name that fits AMQP's short strings.
///
/// # Errors
/// It has more than 255 octets.
pub fn short(flag: &'static str, text: &str) -> Result<ShortString, Error> {
    ShortString::try_from(text).map_err(|_| Error::flag(flag, text, "AMQP's names have at most 255 octets"))
}

/// The client's name, and what it understands.
fn introduction() -> FieldTable {
    let capabilities = [
        "publisher_confirms",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "authentication_failure_close",
    ];
    let yes = |name| (ShortString::from_static(name), FieldValue::from(true));
    let text = |name, text: &str| (ShortString::from_static(name), FieldValue::from(text));
    FieldTable::from_iter([
        text("product", "leveret perf"),
        text("version", env!("CARGO_PKG_VERSION")),
        (
            ShortString::from_static("capabilities"),
            FieldValue::from(capabilities.into_iter().map(yes).collect::<FieldTable>()),
        ),
    ])
}
