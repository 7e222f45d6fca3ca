//! Sockets that clients connect to.
//!
//! Comes in: addresses. Goes out: accepted sockets, each with a task of its own. Does not know what is spoken on them.

pub mod tls;

use crate::connection;
use crate::node::{Limits, Node};
use anyhow::{Context, bail};
use parking_lot::RwLock;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;
use tls::Certificates;
use tokio::net::{TcpListener, TcpStream};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Binds all addresses of a service. With `defaults`, an address that this machine doesn't have (no IPv6) is left out.
///
/// # Errors
/// An address that is in use or not allowed, with its name and what to do.
pub fn bind(service: &str, (addresses, defaults): &(Vec<SocketAddr>, bool)) -> anyhow::Result<Vec<StdListener>> {
    let mut bound = Vec::new();
    for address in addresses {
        match bind_one(*address) {
            Ok(listener) => bound.push(listener),
            Err(error) if *defaults && address.is_ipv6() && no_such_address(&error) => {}
            Err(error) => {
                let flag = format!("--{service}-listen ADDR:PORT");
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
                bail!("cannot listen for {service} on {address}: {why}");
            }
        }
    }
    if bound.is_empty() {
        bail!("no address to listen on for {service}; name one with --{service}-listen ADDR:PORT");
    }
    Ok(bound)
}

fn bind_one(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn no_such_address(error: &io::Error) -> bool {
    /// EAFNOSUPPORT on Linux: IPv6 is turned off.
    const NO_FAMILY: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_FAMILY)
}

/// Accepts AMQP clients, with certificates over TLS, until the task is dropped. Each is offered the limits of that moment.
///
/// # Errors
/// The listener can't be used at all.
pub async fn accept(
    listener: StdListener,
    node: Arc<Node>,
    offer: Arc<RwLock<Limits>>,
    tls: Option<Arc<Certificates>>,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener).context("cannot use the listening socket")?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (node, tls, offer) = (node.clone(), tls.clone(), offer.read().clone());
                tokio::spawn(async move {
                    if let Err(error) = start(stream, peer, node, offer, tls.as_deref()).await {
                        tracing::info!(%peer, %error, "a new connection could not be served");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: waiting is better than a busy loop, and clients wait in the backlog.
                tracing::error!(%error, "cannot accept connections; trying again in 100 ms");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn start(
    stream: TcpStream,
    peer: SocketAddr,
    node: Arc<Node>,
    offer: Limits,
    tls: Option<&Certificates>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let addresses = (canonical(peer), canonical(stream.local_addr()?));
    match tls {
        None => connection::serve(stream, addresses, node, offer).await,
        // On its own, so that connections without TLS don't hold the room for it.
        Some(certificates) => Box::pin(serve_tls(stream, addresses, node, offer, certificates)).await?,
    }
    Ok(())
}

async fn serve_tls(
    stream: TcpStream,
    addresses: (SocketAddr, SocketAddr),
    node: Arc<Node>,
    offer: Limits,
    certificates: &Certificates,
) -> io::Result<()> {
    let stream = certificates.accept(stream).await?;
    connection::serve(stream, addresses, node, offer).await;
    Ok(())
}

/// IPv4 clients of an IPv6 socket by their IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Sockets of the HTTP API. Answers are written in one piece; waiting to fill a packet would only delay them.
pub struct PlainListener(pub TcpListener);

impl axum::serve::Listener for PlainListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let accepted = axum::serve::Listener::accept(&mut self.0).await;
        let _ = accepted.0.set_nodelay(true);
        accepted
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
