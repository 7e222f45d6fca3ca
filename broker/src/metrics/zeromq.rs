//! Families about ZeroMQ's sockets, one sample each.

use super::text::{Kind, Text};
use crate::zeromq::Socket;
use std::sync::Arc;

/// Name, help and kind of each counter of a socket, in the order of its counts.
const COUNTERS: [(&str, &str); 5] = [
    ("messages_in_total", "Messages of peers, published"),
    ("messages_out_total", "Messages written for peers"),
    (
        "dropped_total",
        "Messages that no queue took, or that peers had too many of",
    ),
    ("bytes_in_total", "Bytes read from peers"),
    ("bytes_out_total", "Bytes written to peers"),
];

pub(super) fn sockets(sockets: &[Arc<Socket>], text: &mut Text<'_>) {
    let prefix = "leveret_zeromq_socket_";
    text.family(&format!("{prefix}peers"), Kind::Gauge, "Peers that have logged in");
    for socket in sockets {
        text.sample(&labels(socket), socket.peers());
    }
    text.family(&format!("{prefix}up"), Kind::Gauge, "1 if the socket listens");
    for socket in sockets {
        text.sample(&labels(socket), u8::from(!socket.addresses().is_empty()));
    }
    for (at, (name, help)) in COUNTERS.into_iter().enumerate() {
        text.family(&format!("{prefix}{name}"), Kind::Counter, help);
        for socket in sockets {
            let count = socket.figures.counts().get(at).copied().unwrap_or_default();
            text.sample(&labels(socket), count);
        }
    }
}

fn labels(socket: &Socket) -> [(&str, &str); 3] {
    [
        ("vhost", &socket.name.vhost),
        ("socket", &socket.name.name),
        ("type", socket.spec.role.name()),
    ]
}
