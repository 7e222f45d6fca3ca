//! Sockets of the HTTP API, with and without TLS, as `axum` takes them.
//!
//! Comes in: bound sockets. Goes out: streams of clients, and their addresses. Does not know about requests.

use crate::limits::descriptors::{Descriptors, Seat};
use crate::listener::tls::Certificates;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::server::TlsStream;

/// The time until a failed accept is tried again.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// The address of a client, over TLS or not.
#[derive(Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// A client's stream, with its descriptor.
pub struct Seated<S> {
    stream: S,
    _seat: Seat,
}

impl<S: AsyncRead + Unpin> AsyncRead for Seated<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Seated<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The next client for which there is a descriptor.
async fn accept(listener: &TcpListener, descriptors: &Arc<Descriptors>) -> (TcpStream, SocketAddr, Seat) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Some(seat) = descriptors.seat() {
                    return (stream, peer, seat);
                }
            }
            Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
        }
    }
}

/// Without TLS. Answers are written in one piece; waiting to fill a packet would only delay them.
pub struct PlainListener {
    listener: TcpListener,
    descriptors: Arc<Descriptors>,
}

impl PlainListener {
    /// Starts to accept.
    ///
    /// # Errors
    /// The socket can't be used.
    pub fn new(listener: StdListener, descriptors: Arc<Descriptors>) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            descriptors,
        })
    }
}

impl axum::serve::Listener for PlainListener {
    type Io = Seated<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, peer, seat) = accept(&self.listener, &self.descriptors).await;
        let _ = stream.set_nodelay(true);
        (Seated { stream, _seat: seat }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// With TLS. Handshakes run beside each other, so that a slow client holds up no other.
pub struct TlsListener {
    local: SocketAddr,
    ready: mpsc::Receiver<(Seated<TlsStream<TcpStream>>, SocketAddr)>,
    accepting: JoinHandle<()>,
}

impl TlsListener {
    /// Starts to accept.
    ///
    /// # Errors
    /// The socket can't be used.
    pub fn new(
        listener: StdListener,
        certificates: Arc<Certificates>,
        descriptors: Arc<Descriptors>,
    ) -> io::Result<Self> {
        let local = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let (sender, ready) = mpsc::channel(64);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, peer, seat) = accept(&listener, &descriptors).await;
                let (certificates, sender) = (certificates.clone(), sender.clone());
                tokio::spawn(async move {
                    match certificates.accept(stream).await {
                        Ok(stream) => _ = sender.send((Seated { stream, _seat: seat }, peer)).await,
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
    type Io = Seated<TlsStream<TcpStream>>;
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
