//! Sockets that clients connect to.
//!
//! Comes in: addresses, and certificates for those with TLS. Goes out: accepted clients, each in a separate task,
//! to whatever serves them. Does not know what is spoken on them.

/// TLS: certificate and key from files, read again when they change.
pub mod tls;

/// Terms agreed on with a client over TLS.
pub mod session;

/// Certificates: whose, by whom, from when to when.
pub mod certificate;

use crate::config::Listen;
use crate::limits::Descriptors;
use crate::limits::descriptors::Seat;
use crate::protocol::Listener;
use crate::turns::{Kind, named};
use anyhow::{Context, bail};
use session::Session;
use socket2::{Domain, Socket as RawSocket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;
use tls::Certificates;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// The time until a failed accept is tried again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A socket that listens.
pub struct Socket {
    /// The socket.
    pub socket: StdListener,
    /// Its service and address.
    pub listener: Listener,
    /// For a service over TLS.
    pub certificates: Option<Arc<Certificates>>,
    /// Each client takes one.
    pub descriptors: Arc<Descriptors>,
}

/// A client that has connected.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// The terms agreed on, if it speaks over TLS.
    pub tls: Option<Arc<Session>>,
}

/// A protocol that is spoken with one client after another.
pub trait Serve: Clone + Send + 'static {
    /// The kind of its clients' tasks.
    const KIND: Kind;

    /// Serves one client from the first byte to the last.
    fn serve<S>(self, stream: S, client: Client) -> impl Future<Output = ()> + Send
    where
        S: AsyncRead + AsyncWrite + Unpin + Send;
}

/// Binds all addresses of a service. An address that is only a default and that this machine doesn't have (no IPv6) is
/// left out.
///
/// # Errors
/// An address that is in use or not allowed, with its name and what to do.
pub fn bind(
    listen: &Listen,
    certificates: Option<&Arc<Certificates>>,
    descriptors: &Arc<Descriptors>,
) -> anyhow::Result<Vec<Socket>> {
    let service = listen.service;
    let mut bound = Vec::new();
    for address in &listen.addresses {
        match bind_address(*address) {
            Ok(socket) => bound.push(Socket {
                listener: Listener {
                    service,
                    address: socket.local_addr()?,
                },
                socket,
                certificates: certificates.filter(|_| service.tls).cloned(),
                descriptors: descriptors.clone(),
            }),
            Err(error) if listen.defaults && address.is_ipv6() && no_such_address(&error) => {}
            Err(error) if listen.defaults && service.protocol.can_do_without() && is_taken(&error) => {
                let (service, flag) = (service.name, service.flag());
                tracing::warn!(service, %address, "not served: the port is in use; choose another with {flag} ADDR:PORT");
            }
            Err(error) => {
                let (name, flag) = (service.name, format!("{} ADDR:PORT", service.flag()));
                let why = match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        format!("port in use; stop what listens there or choose another with {flag}")
                    }
                    io::ErrorKind::PermissionDenied => format!("no permission; choose a port above 1023 with {flag}"),
                    io::ErrorKind::AddrNotAvailable => {
                        format!("this machine has no such address; choose another with {flag}")
                    }
                    _ => error.to_string(),
                };
                bail!("cannot listen for {name} on {address}: {why}");
            }
        }
    }
    if bound.is_empty() && !(listen.defaults && service.protocol.can_do_without()) {
        let (name, flag) = (service.name, service.flag());
        bail!("no address to listen on for {name}; name one with {flag} ADDR:PORT");
    }
    Ok(bound)
}

/// Binds one address. IPv6 sockets take no clients of IPv4.
///
/// # Errors
/// The system's.
pub fn bind_address(address: SocketAddr) -> io::Result<StdListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// True if this machine doesn't have the address, or none of its kind.
pub fn no_such_address(error: &io::Error) -> bool {
    /// EAFNOSUPPORT on Linux: IPv6 is turned off.
    const NO_FAMILY: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_FAMILY)
}

/// Accepts clients, over TLS if the socket has certificates, until the task is dropped.
///
/// # Errors
/// The socket can't be used at all.
pub async fn accept<P: Serve>(socket: Socket, server: P) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(socket.socket).context("cannot use the listening socket")?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let seat = if socket.listener.service.protocol.has_reserve() {
                    None
                } else {
                    let Some(seat) = socket.descriptors.seat() else {
                        continue;
                    };
                    Some(seat)
                };
                let started = start(stream, peer, seat, server.clone(), socket.certificates.clone());
                if let Err(error) = started {
                    not_served(peer, &error);
                }
            }
            Err(error) => {
                // The system is out of file descriptors, most likely: waiting is better than a busy loop, and clients
                // wait in the backlog.
                tracing::error!(%error, "cannot accept connections; trying again in 100 ms");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Has a task serve a client. The task has what the protocol needs and nothing else: there may be very many.
fn start<P: Serve>(
    stream: TcpStream,
    peer: SocketAddr,
    seat: Option<Seat>,
    server: P,
    certificates: Option<Arc<Certificates>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let client = Client {
        peer: canonical(peer),
        local: canonical(stream.local_addr()?),
        tls: None,
    };
    match certificates {
        None => spawn(P::KIND, peer, server.serve(stream, client), seat),
        Some(certificates) => spawn(P::KIND, peer, start_tls(stream, client, server, certificates), seat),
    }
    Ok(())
}

fn spawn(kind: Kind, peer: SocketAddr, served: impl Future<Output = ()> + Send + 'static, seat: Option<Seat>) {
    tokio::spawn(named(kind, peer.port(), Box::pin(served), seat));
}

async fn start_tls(stream: TcpStream, client: Client, server: impl Serve, certificates: Arc<Certificates>) {
    match certificates.accept(stream).await {
        Ok(stream) => {
            let tls = Some(Arc::new(Session::of(stream.get_ref().1)));
            // In a future by itself: the handshake's room is not kept for it.
            Box::pin(server.serve(stream, Client { tls, ..client })).await;
        }
        Err(error) => not_served(client.peer, &error),
    }
}

fn not_served(peer: SocketAddr, error: &io::Error) {
    tracing::info!(%peer, %error, "a new connection could not be served");
}

/// IPv4 clients of an IPv6 socket by their IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
