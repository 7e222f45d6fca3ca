//! From the protocol header to connection.open-ok.
//!
//! Comes in: a new socket. Goes out: who it is, where it works and what was agreed; or nothing, after the client has
//! been told why. Rules and texts are RabbitMQ's (`rabbit_reader`).

use super::sasl::{self, Credentials};
use crate::access::Actor;
use crate::access::attempts::Protocol;
use crate::channel::state::Peer;
use crate::clients::{self, Spoken, TooMany};
use crate::config::{Limits, Offer};
use crate::error::{Error, Result};
use crate::limits::logins::Login;
use crate::limits::{Reached, tables};
use crate::listener::Client;
use crate::node::Node;
use crate::outbox::Outbox;
use crate::product::{PRODUCT, RABBITMQ_VERSION, VERSION};
use crate::vhost::{Entered, Vhost};
use bytes::BytesMut;
use leveret_amqp::error::unexpected_frame;
use leveret_amqp::method::{
    ConnectionClose, ConnectionOpen, ConnectionOpenOk, ConnectionStart, ConnectionStartOk, ConnectionTune,
    ConnectionTuneOk,
};
use leveret_amqp::{
    FRAME_MIN_SIZE, FieldTable, FieldValue, FrameKind, FrameView, Method, PROTOCOL_HEADER, RawTable, ShortString,
    next_frame, put_method_frame,
};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Time for which a client that doesn't understand connection.close is kept waiting after a failed login (RabbitMQ's
/// SILENT_CLOSE_DELAY).
const SILENT_CLOSE_DELAY: Duration = Duration::from_secs(3);
/// Room for the first read, bytes: the protocol header and more than most clients send before they log in.
const FIRST_READ: usize = 512;

/// An opened connection, and the terms agreed.
pub struct Opened {
    /// The client.
    pub peer: Peer,
    /// Highest channel number; 0 is no limit.
    pub channel_max: u16,
    /// Seconds between heartbeats; 0 is none.
    pub heartbeat_seconds: u16,
    /// True if it wants to know when it is blocked.
    pub tells_blocked: bool,
}

/// A connection that isn't open yet.
pub struct Handshake<S> {
    stream: S,
    client: Client,
    node: Arc<Node>,
    offer: Offer,
    read: BytesMut,
    login: Login,
}

/// A step that failed, or a socket that did.
enum Stop {
    Io(io::Error),
    /// Tell the client by connection.close, for this method.
    Close(Error, (u16, u16)),
    /// Close the socket after a while, without a word.
    Silent(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Handshake<S> {
    /// A socket that has just been accepted, and what its client is offered.
    pub fn new(stream: S, client: Client, node: Arc<Node>, offer: Offer) -> Self {
        let login = node.logins.enter(client.tls.is_some());
        Self {
            stream,
            client,
            node,
            offer,
            read: BytesMut::new(),
            login,
        }
    }

    /// The socket, and what has been read beyond the handshake.
    pub fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.read)
    }

    /// Goes through all steps. `None`: the client was refused, and knows.
    ///
    /// # Errors
    /// The socket's, or a time-out.
    pub async fn run(&mut self) -> io::Result<Option<Opened>> {
        let end = self.login.end();
        tokio::select! {
            biased;
            () = end.notified() => {
                let why = "it had to go for others: too many had not logged in";
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, why))
            }
            opened = self.steps_in_time() => opened,
        }
    }

    async fn steps_in_time(&mut self) -> io::Result<Option<Opened>> {
        let stop = match timeout(self.offer.handshake_timeout, self.steps()).await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(stop)) => stop,
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "handshake timeout")),
        };
        self.read = BytesMut::new();
        self.login.buffers(0);
        match stop {
            Stop::Io(error) => Err(error),
            Stop::Close(error, method) => {
                tracing::info!(peer = %self.client.peer, "connection refused: {error}");
                self.close(&error, method).await.map(|()| None)
            }
            Stop::Silent(why) => {
                tokio::time::sleep(SILENT_CLOSE_DELAY).await;
                Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
            }
        }
    }

    async fn steps(&mut self) -> std::result::Result<Option<Opened>, Stop> {
        if !self.protocol_header().await? {
            return Ok(None);
        }
        // TLS has verified it.
        let certificate = self.client.tls.clone();
        let certificate = certificate.as_ref().and_then(|tls| tls.peer.as_ref());
        let mechanisms = sasl::offered(self.offer.mechanisms, certificate.is_some());
        self.send(ConnectionStart {
            version_major: 0,
            version_minor: 9,
            server_properties: server_properties(),
            mechanisms: mechanisms.clone().into(),
            locales: "en_US".into(),
        })
        .await?;
        let start = match self.method().await? {
            Method::ConnectionStartOk(start) => start,
            other => return Err(unexpected(&other)),
        };
        let credentials = sasl::credentials(&mechanisms, start.mechanism.as_bytes(), &start.response);
        let credentials = credentials.map_err(|error| Stop::Close(error, ConnectionStartOk::ID))?;
        let name = certificate.and_then(|certificate| certificate.user(self.offer.certificate_name));
        let (access, from) = (&self.node.access, self.client.peer.ip());
        // A box of its own: who hasn't come so far takes no memory for it.
        let login = Box::pin(async {
            match &credentials {
                Credentials::Password(user, password) => access.log_in(Protocol::Amqp, from, user, password).await,
                Credentials::Certificate => access.log_in_by_certificate(Protocol::Amqp, from, name).await,
            }
        });
        let login = login.await;
        let actor = login.map_err(|_| login_refused(&start))?;
        let properties = tables::check(&start.client_properties, tables::PROPERTIES);
        properties.map_err(|wrong| {
            let error = Error::NotAllowed(format!("client properties {wrong}").into());
            Stop::Close(error, ConnectionStartOk::ID)
        })?;
        let offered = &self.offer.limits;
        let (channel_max, frame_max, heartbeat) = (offered.channel_max, offered.frame_max, offered.heartbeat_seconds);
        self.send(ConnectionTune {
            channel_max,
            frame_max,
            heartbeat,
        })
        .await?;
        let tuned = match self.method().await? {
            Method::ConnectionTuneOk(tuned) => tuned,
            other => return Err(unexpected(&other)),
        };
        check_tuned(&tuned, channel_max, frame_max).map_err(|error| Stop::Close(error, ConnectionTuneOk::ID))?;
        let name = match self.method().await? {
            Method::ConnectionOpen(open) => open.virtual_host.to_str_lossy().into_owned(),
            other => return Err(unexpected(&other)),
        };
        let (vhost, entered) =
            enter(&self.node, &name, &actor).map_err(|error| Stop::Close(error, ConnectionOpen::ID))?;
        let capable = |name| capability(&start.client_properties, name);
        let (cancel_notify, tells_blocked) = (capable("consumer_cancel_notify"), capable("connection.blocked"));
        let outbox = Arc::new(Outbox::new(self.node.memory.clone()));
        let opened = clients::Opened {
            client: self.client.clone(),
            user: actor.user.clone(),
            most_of_user: self.node.access.most_of(&actor.user),
            protocol: Spoken::Amqp,
            mechanism: start.mechanism.to_str_lossy().into_owned(),
            vhost: name,
            entered,
            client_properties: start.client_properties,
            tuned: Limits {
                frame_max: tuned.frame_max,
                channel_max: tuned.channel_max,
                heartbeat_seconds: tuned.heartbeat,
            },
        };
        let user = &actor.user;
        let info = self.node.connections.open(opened, outbox.clone()).map_err(|too_many| {
            let text = match too_many {
                TooMany::OfNode(Reached(most)) => {
                    format!("connection refused: node connection limit ({most}) is reached")
                }
                TooMany::OfUser(Reached(most)) => {
                    format!("connection refused for user '{user}': user connection limit ({most}) is reached")
                }
            };
            Stop::Close(Error::NotAllowed(text.into()), ConnectionOpen::ID)
        })?;
        let id = info.id;
        if vhost.is_ended() {
            info.close(&vhost.words_of_end());
        }
        // Its permission may have gone with the user before the connection could be found.
        if !actor.may_enter(&vhost.name) {
            info.close(&format!("user '{user}' is deleted"));
        }
        if let Err(error) = self.send(ConnectionOpenOk {}).await {
            self.node.connections.closed(id);
            return Err(error.into());
        }
        let frame_max = tuned.frame_max;
        let peer = Peer {
            actor: actor.on(id),
            node: self.node.clone(),
            vhost,
            outbox,
            frame_max,
            cancel_notify,
            info,
        };
        Ok(Some(Opened {
            peer,
            channel_max: tuned.channel_max,
            heartbeat_seconds: tuned.heartbeat,
            tells_blocked,
        }))
    }

    /// Eight bytes (AMQP 0-9-1, 4.2.2). Anything else is answered with what we speak.
    async fn protocol_header(&mut self) -> io::Result<bool> {
        while self.read.len() < PROTOCOL_HEADER.len() {
            let known = PROTOCOL_HEADER.get(..self.read.len().min(4)).unwrap_or_default();
            if !self.read.starts_with(known) {
                break;
            }
            self.read_more().await?;
        }
        // RabbitMQ also takes 0-9 and the old form of 0-9-1, which differ in nothing that is sent.
        let accepted: [&[u8]; 3] = [&PROTOCOL_HEADER, b"AMQP\x01\x01\x00\x09", b"AMQP\x01\x01\x09\x01"];
        let header = self.read.get(..8).unwrap_or_default();
        if accepted.contains(&header) {
            let _ = self.read.split_to(8);
            return Ok(true);
        }
        tracing::info!(peer = %self.client.peer, "not the AMQP 0-9-1 protocol header; the client was told what is spoken here");
        self.stream.write_all(&PROTOCOL_HEADER).await?;
        self.stream.shutdown().await?;
        Ok(false)
    }

    async fn method(&mut self) -> std::result::Result<Method, Stop> {
        loop {
            let found = match next_frame(&self.read, self.offer.initial_frame_max) {
                Ok(found) => found.map(|frame| (received(&frame), frame.wire_len())),
                Err(error) => return Err(Stop::Close(error.into(), (0, 0))),
            };
            let Some((method, len)) = found else {
                self.read_more().await?;
                continue;
            };
            let _ = self.read.split_to(len);
            if let Some(method) = method.map_err(|error| Stop::Close(error, (0, 0)))? {
                return Ok(method);
            }
        }
    }

    /// Reads once, to the end of the largest frame at most.
    async fn read_more(&mut self) -> io::Result<()> {
        if self.read.capacity() == self.read.len() {
            let most = self.offer.initial_frame_max as usize;
            self.read.reserve(self.read.len().clamp(FIRST_READ, most));
            self.login.buffers(self.read.capacity());
        }
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn send(&mut self, method: impl Into<Method>) -> io::Result<()> {
        let mut out = Vec::new();
        put_method_frame(&mut out, 0, &method.into());
        self.stream.write_all(&out).await
    }

    /// Says why and waits for the client to agree.
    async fn close(&mut self, error: &Error, (class_id, method_id): (u16, u16)) -> io::Result<()> {
        let (reply_code, reply_text) = (error.reply_code().number(), error.reply_text());
        self.send(ConnectionClose {
            reply_code,
            reply_text,
            class_id,
            method_id,
        })
        .await?;
        let agreed = async {
            while let Ok(method) = self.method().await {
                if matches!(method, Method::ConnectionCloseOk(_)) {
                    break;
                }
            }
        };
        let _ = timeout(SILENT_CLOSE_DELAY, agreed).await;
        self.stream.shutdown().await
    }
}

/// The vhost that a client opens, and the place that it takes there.
///
/// # Errors
/// 530 in RabbitMQ's words: there is none, it has as many connections as it may have, or the user has no rights in it.
pub fn enter(node: &Node, name: &str, actor: &Actor) -> Result<(Arc<Vhost>, Entered)> {
    let vhost = node.vhost(name);
    let vhost = vhost.ok_or_else(|| Error::NotAllowed(format!("vhost {name} not found").into()))?;
    let entered = vhost.enter().map_err(|Reached(most)| {
        let user = &actor.user;
        let text = format!("access to vhost '{name}' refused for user '{user}': connection limit ({most}) is reached");
        Error::NotAllowed(text.into())
    })?;
    actor.check_vhost(name)?;
    Ok((vhost, entered))
}

/// The method in a frame before connection.open; `None` for a heartbeat.
fn received(frame: &FrameView<'_>) -> Result<Option<Method>> {
    match (frame.kind, frame.channel) {
        (FrameKind::Heartbeat, 0) => Ok(None),
        (FrameKind::Method, 0) => Method::parse(frame.payload)
            .map(Some)
            .map_err(|error| Error::Frame(error.explanation(frame.payload).into())),
        _ => Err(Error::UnexpectedFrame(
            unexpected_frame(frame.kind as u8, frame.payload).into(),
        )),
    }
}

/// The end of a login that was refused: those who don't understand a word wait for a while.
fn login_refused(start: &ConnectionStartOk) -> Stop {
    if !capability(&start.client_properties, "authentication_failure_close") {
        return Stop::Silent("login refused".to_owned());
    }
    let mechanism = start.mechanism.to_str_lossy();
    let why =
        format!("Login was refused using authentication mechanism {mechanism}. For details see the broker logfile.");
    Stop::Close(Error::AccessRefused(why.into()), (0, 0))
}

fn unexpected(method: &Method) -> Stop {
    Stop::Close(
        Error::CommandInvalid(format!("unexpected method {} before connection.open", method.name()).into()),
        method.id(),
    )
}

/// A client must not ask for more than was offered, and not for too little.
fn check_tuned(tuned: &ConnectionTuneOk, channel_max: u16, frame_max: u32) -> Result<()> {
    let refuse = |field: &str, value: u32, side: (&str, &str), limit: u32| {
        let value = if value == 0 {
            "0 (no limit)".to_owned()
        } else {
            value.to_string()
        };
        let text = format!(
            "negotiated {field} = {value} is {} than the {} allowed value ({limit})",
            side.0, side.1
        );
        Err(Error::NotAllowed(text.into()))
    };
    for (field, value, limit, least) in [
        ("frame_max", tuned.frame_max, frame_max, FRAME_MIN_SIZE),
        ("channel_max", u32::from(tuned.channel_max), u32::from(channel_max), 1),
    ] {
        if value != 0 && value < least {
            return refuse(field, value, ("lower", "minimum"), least);
        }
        if limit != 0 && (value == 0 || value > limit) {
            return refuse(field, value, ("higher", "maximum"), limit);
        }
    }
    Ok(())
}

fn capability(client_properties: &RawTable, name: &str) -> bool {
    let capabilities = client_properties.get("capabilities");
    let capabilities = capabilities.as_ref().and_then(FieldValue::as_table);
    capabilities
        .and_then(|table| table.get(name))
        .and_then(FieldValue::as_bool)
        .unwrap_or_default()
}

/// Properties of this broker in connection.start. Clients switch behaviour on the capabilities, so each of them is
/// true; and on product and version, which name the dialect: a client that has a way of its own for RabbitMQ must take
/// it here too. This broker's own name is the platform.
fn server_properties() -> FieldTable {
    let text = |value: &str| FieldValue::LongString(value.to_owned().into());
    let field = |name: &'static str, value| (ShortString::from_static(name), value);
    let capabilities = [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ];
    let capabilities = capabilities
        .iter()
        .map(|name| field(name, FieldValue::Bool(true)))
        .collect();
    FieldTable(vec![
        field("capabilities", FieldValue::Table(FieldTable(capabilities))),
        field("cluster_name", text("leveret")),
        field("copyright", text("The Leveret authors")),
        field("information", text("Licensed under the Apache License 2.0")),
        field("platform", text(&format!("{PRODUCT} {VERSION}"))),
        field("product", text("RabbitMQ")),
        field("version", text(RABBITMQ_VERSION)),
    ])
}
