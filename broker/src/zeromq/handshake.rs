//! From the greeting to READY.
//!
//! Comes in: a new connection of a socket. Goes out: who it is, with what its pattern needs, and READY, not yet sent:
//! what is missing turns up before the peer begins to send; or nothing, after the peer has been told why, or cut off.
//!
//! ERROR is final: a peer that gets one doesn't come back by itself (RFC 37; libzmq's sockets give up the endpoint). So
//! it is said to those with wrong credentials, or whose sockets don't fit. All others, whose time may come, are cut off
//! without a word, and only after a while: they try again by themselves.

use super::pattern::Pattern;
use super::peer::{CHANNEL, Peer, Turn, Wire};
use super::socket::Socket;
use super::spec::Mechanism;
use crate::access::attempts::Protocol;
use crate::access::logins::Refused;
use crate::access::{Access, Actor};
use crate::clients::{self, ChannelInfo, DeliveryFigures, Spoken, TooMany};
use crate::config::Limits;
use crate::connection::handshake::enter;
use crate::error::{Error, Result};
use crate::limits::logins::Login;
use crate::limits::{Quota, Reached};
use crate::listener::Client;
use crate::node::Node;
use crate::outbox::Outbox;
use bytes::BytesMut;
use leveret_amqp::{FieldTable, FieldValue, ShortString};
use leveret_zmtp::{Credentials, Decoder, Refusal, Server, ServerSettings, Session, Step};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Time for which a peer that may try again is kept waiting.
const SILENCE: Duration = Duration::from_secs(1);
/// Room for a read, bytes: more than most peers send before they have logged in.
const READ: usize = 512;

/// A peer that has logged in, and what it is to be told.
pub struct Opened {
    /// The client.
    pub peer: Peer,
    /// The state of its pattern.
    pub pattern: Pattern,
    /// The tools of the connection.
    pub turn: Turn,
    /// Its messages.
    pub decoder: Decoder,
    /// Octets of a message, at most.
    pub most: usize,
    /// READY, or whatever else is to be sent first.
    pub ready: Vec<u8>,
}

/// A connection that isn't open yet.
pub struct Handshake<S> {
    stream: S,
    client: Client,
    node: Arc<Node>,
    socket: Arc<Socket>,
    patience: Duration,
    read: BytesMut,
    login: Login,
}

/// The end of a handshake that fails.
enum Stop {
    Io(io::Error),
    /// The peer has been told what is wrong, or doesn't speak ZMTP.
    Told(String),
    /// It may try again.
    Silent(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Handshake<S> {
    /// A connection that has just been accepted. It has so much time.
    pub fn new(stream: S, client: Client, node: Arc<Node>, socket: Arc<Socket>, patience: Duration) -> Self {
        let login = node.logins.enter(client.tls.is_some());
        Self {
            stream,
            client,
            node,
            socket,
            patience,
            read: BytesMut::new(),
            login,
        }
    }

    /// The connection, and what has been read beyond the handshake.
    pub fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.read)
    }

    /// Goes through all steps. `None`: the peer was refused, and knows.
    ///
    /// # Errors
    /// The connection's, or the reason why it has to go without a word.
    pub async fn run(&mut self, settings: Arc<ServerSettings>) -> io::Result<Option<Opened>> {
        let aborted = |why| Err(io::Error::new(io::ErrorKind::ConnectionAborted, why));
        let (has_to_go, socket) = (self.login.end(), self.socket.clone());
        tokio::select! {
            biased;
            () = has_to_go.notified() => aborted("it had to go for others: too many had not logged in"),
            () = socket.end().cancelled() => aborted("the socket was changed or deleted"),
            opened = self.steps_in_time(settings) => opened,
        }
    }

    async fn steps_in_time(&mut self, settings: Arc<ServerSettings>) -> io::Result<Option<Opened>> {
        let stop = match timeout(self.patience, self.steps(settings)).await {
            Ok(Ok(opened)) => return Ok(Some(opened)),
            Ok(Err(stop)) => stop,
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "handshake timeout")),
        };
        self.read = BytesMut::new();
        self.login.buffers(0);
        match stop {
            Stop::Io(error) => Err(error),
            Stop::Told(why) => {
                tracing::info!(peer = %self.client.peer, socket = self.socket.name.name, "connection refused: {why}");
                self.stream.shutdown().await.map(|()| None)
            }
            Stop::Silent(why) => {
                tokio::time::sleep(SILENCE).await;
                Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
            }
        }
    }

    async fn steps(&mut self, settings: Arc<ServerSettings>) -> std::result::Result<Opened, Stop> {
        let mut out = Vec::new();
        let most = settings.limits.message;
        let mut server = Server::new(settings, &mut out);
        let mut known = None;
        loop {
            match server.feed(&mut self.read, &mut out) {
                Ok(Step::NeedMore) => {
                    self.stream.write_all(&out).await?;
                    out = Vec::new();
                    self.read_more().await?;
                }
                Ok(Step::Authenticate(credentials)) => {
                    // A box of its own: who hasn't come so far takes no memory for it.
                    let (access, mechanism) = (&self.node.access, &self.socket.spec.mechanism);
                    let from = self.client.peer.ip();
                    match Box::pin(authenticate(access, mechanism, from, &credentials)).await {
                        Ok(actor) => {
                            known = Some(actor);
                            server.accept(&mut out);
                        }
                        Err(Denied::Told(refusal, why)) => {
                            server.refuse(refusal, &mut out);
                            self.stream.write_all(&out).await?;
                            return Err(Stop::Told(why));
                        }
                        Err(Denied::Silent(why)) => return Err(Stop::Silent(why)),
                    }
                }
                Ok(Step::Ready(session)) => {
                    let actor = known.ok_or_else(|| Stop::Silent("nobody has logged in".into()))?;
                    let opened = self.open(*session, actor, (most, out));
                    return opened.map_err(|error| Stop::Silent(error.to_string()));
                }
                Err(error) => {
                    self.stream.write_all(&out).await?;
                    return Err(Stop::Told(error.to_string()));
                }
            }
        }
    }

    /// Reads once, and never much: whoever has not logged in has little room.
    async fn read_more(&mut self) -> io::Result<()> {
        self.read.reserve(READ);
        self.login.buffers(self.read.capacity());
        match (&mut self.stream).take(READ as u64).read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The connection, as others see it from now on.
    fn open(&self, session: Session, actor: Actor, (most, ready): (usize, Vec<u8>)) -> Result<Opened> {
        let (node, socket) = (&self.node, &self.socket);
        let Session {
            peer: remote,
            decoder,
            encoder,
        } = session;
        let (vhost, entered) = enter(node, &socket.name.vhost, &actor)?;
        let outbox = Arc::new(Outbox::new(node.memory.clone()));
        let opened = clients::Opened {
            client: self.client.clone(),
            user: actor.user.clone(),
            most_of_user: node.access.most_of(&actor.user),
            protocol: Spoken::Zmtp(remote.minor),
            mechanism: socket.spec.mechanism.name().to_uppercase(),
            vhost: vhost.name.clone(),
            entered,
            client_properties: (&self.properties(&remote)).into(),
            tuned: Limits {
                frame_max: 0,
                channel_max: CHANNEL,
                heartbeat_seconds: socket.spec.heartbeat.map_or(0, |time| time.as_secs() as u16),
            },
        };
        let user = &actor.user;
        let info = node.connections.open(opened, outbox.clone()).map_err(|too_many| {
            let text = match too_many {
                TooMany::OfNode(Reached(most)) => format!("node connection limit ({most}) is reached"),
                TooMany::OfUser(Reached(most)) => {
                    format!("connection limit ({most}) of user '{user}' is reached")
                }
            };
            Error::NotAllowed(text.into())
        })?;
        let mut turn = Turn::default();
        let begun = self.channel(&info).and_then(|channel| {
            let peer = Peer {
                actor: actor.on(info.id),
                node: node.clone(),
                vhost,
                socket: socket.clone(),
                remote,
                outbox,
                wire: Arc::new(Wire::new(encoder)),
                info: info.clone(),
                channel,
            };
            let pattern = Pattern::begin(&peer, &mut turn);
            turn.work.finish(&node.log)?;
            Ok((peer, pattern?))
        });
        let (peer, pattern) = begun.inspect_err(|_| node.connections.closed(info.id))?;
        if peer.vhost.is_ended() {
            info.close(&peer.vhost.words_of_end());
        }
        // Its permission may have gone with the user before the connection could be found.
        if !peer.actor.may_enter(&peer.vhost.name) {
            info.close(&format!("user '{}' is deleted", peer.actor.user));
        }
        socket.joined(&info);
        node.totals.connections.opened.fetch_add(1, Ordering::Relaxed);
        node.totals.channels.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Opened {
            peer,
            pattern,
            turn,
            decoder,
            most,
            ready,
        })
    }

    /// The only channel.
    fn channel(&self, info: &clients::ConnectionInfo) -> Result<Arc<ChannelInfo>> {
        let of_user = info.of_user.hold(Quota::Channels);
        let of_user = of_user.map_err(|Reached(most)| Error::TooManyChannelsOfUser {
            user: info.user.clone(),
            most,
        })?;
        let counted = self.node.quotas.hold(Quota::Channels);
        let counted = counted.map_err(|Reached(most)| Error::TooManyChannelsOfNode {
            node: self.node.name.clone(),
            most,
        })?;
        let channel = Arc::new(ChannelInfo::new(
            CHANNEL,
            Arc::<DeliveryFigures>::default(),
            [of_user, counted],
        ));
        info.channels.lock().insert(CHANNEL, channel.clone());
        Ok(channel)
    }

    /// The description of a peer that AMQP's clients give of themselves.
    fn properties(&self, remote: &leveret_zmtp::Peer) -> FieldTable {
        let field = |name: &'static str, value: &[u8]| {
            (
                ShortString::from_static(name),
                FieldValue::LongString(value.to_vec().into()),
            )
        };
        let mut all = vec![
            field("product", b"ZeroMQ"),
            field("socket", self.socket.name.name.as_bytes()),
            field("socket_type", remote.socket_type.name().as_bytes()),
        ];
        if !remote.identity.is_empty() {
            all.push(field("identity", &remote.identity));
        }
        FieldTable(all)
    }
}

/// A login that is refused.
enum Denied {
    /// The peer is told.
    Told(Refusal<'static>, String),
    /// It may try again.
    Silent(String),
}

/// The user that a peer with these credentials acts as.
async fn authenticate(
    access: &Access,
    mechanism: &Mechanism,
    from: IpAddr,
    credentials: &Credentials,
) -> std::result::Result<Actor, Denied> {
    match (credentials, mechanism) {
        (Credentials::Null, Mechanism::Null { user, anywhere }) => {
            if !anywhere && !from.to_canonical().is_loopback() {
                let why = "mechanism NULL is for peers on the machine of the broker";
                return Err(Denied::Told(Refusal::Because(why), why.to_owned()));
            }
            given(access, from, user).await
        }
        (Credentials::Plain { username, password }, Mechanism::Plain) => {
            let password = String::from_utf8_lossy(password.as_bytes());
            let asked = access.log_in(Protocol::Zmtp, from, username, &password);
            asked.await.map_err(denied)
        }
        (Credentials::Curve { public_key }, Mechanism::Curve { clients }) => match clients.get(public_key) {
            Some(user) => given(access, from, user).await,
            None => access.refuse_stranger(Protocol::Zmtp, from).await.map_err(denied),
        },
        _ => Err(Denied::Silent("credentials of another mechanism".into())),
    }
}

/// The user that the socket's declaration names.
async fn given(access: &Access, from: IpAddr, user: &str) -> std::result::Result<Actor, Denied> {
    let asked = access.log_in_as(Protocol::Zmtp, from, user).await;
    asked.map_err(|_| Denied::Silent(format!("user '{user}' of the socket may not log in")))
}

fn denied(refused: Refused) -> Denied {
    match refused {
        Refused::Wrong => Denied::Told(Refusal::Denied, "login refused".into()),
        Refused::TooMany(_) => Denied::Silent("too many failed logins from this address".into()),
    }
}
