//! Sockets of the HTTP API, with and without TLS, as `axum` takes them.
//!
//! Comes in: bound sockets. Goes out: streams of clients, and their addresses. Does not know about requests.

use crate::listener::tls::Certificates;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::server::TlsStream;

/// The time until a failed accept is tried again.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// The address of a client, over TLS or not.
#[derive(Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// Without TLS. Answers are written in one piece; waiting to fill a packet would only delay them.
pub struct PlainListener(TcpListener);

impl PlainListener {
    /// Starts to accept.
    ///
    /// # Errors
    /// The socket can't be used.
    pub fn new(listener: StdListener) -> io::Result<Self> {
        TcpListener::from_std(listener).map(Self)
    }
}

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

/// With TLS. Handshakes run beside each other, so that a slow client holds up no other.
pub struct TlsListener {
    local: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    accepting: JoinHandle<()>,
}

impl TlsListener {
    /// Starts to accept.
    ///
    /// # Errors
    /// The socket can't be used.
    pub fn new(listener: StdListener, certificates: Arc<Certificates>) -> io::Result<Self> {
        let local = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let (sender, ready) = mpsc::channel(64);
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((stream, peer)) = listener.accept().await else {
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                };
                let (certificates, sender) = (certificates.clone(), sender.clone());
                tokio::spawn(async move {
                    match certificates.accept(stream).await {
                        Ok(stream) => _ = sender.send((stream, peer)).await,
                        Err(error) => tracing::debug!(%peer, %error, "no TLS with an HTTP client"),
                    }
                });
            }
        });
        Ok(Self {
            local,
            ready,
            accepting,
        })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for PeerAddress {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, PlainListener>> for PeerAddress {
    fn connect_info(stream: IncomingStream<'_, PlainListener>) -> Self {
        Self(*stream.remote_addr())
    }
}
