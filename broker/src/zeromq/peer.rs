//! One client of a socket: its bytes, its handshake, its messages.

use super::socket::Socket;
use crate::config::Offer;
use crate::listener::{Client, Serve};
use crate::node::Node;
use crate::turns::Kind;
use parking_lot::RwLock;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// The clients of a socket, one after the other.
#[derive(Clone)]
pub struct Peers {
    /// The socket.
    pub socket: Arc<Socket>,
    /// The broker.
    pub node: Arc<Node>,
    /// Terms for the next client.
    pub offer: Arc<RwLock<Offer>>,
}

impl Serve for Peers {
    const KIND: Kind = Kind::Zmtp;

    async fn serve<S>(self, stream: S, client: Client)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let Self { socket, node, offer } = self;
        let _login = node.logins.enter(client.tls.is_some());
        let patience = offer.read().handshake_timeout;
        let _ = tokio::time::timeout(patience, socket.end().cancelled()).await;
        drop(stream);
    }
}
