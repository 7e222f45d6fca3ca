//! Families about logins, limits, and the threads and connections that serve.
//!
//! Comes in: the node's counters, and figures that only those who serve have. Goes out: Prometheus' text format.

use super::text::{Kind, Text};
use crate::access::attempts::Count;
use crate::limits::{Holding, Quota};
use crate::node::Node;
use crate::zeromq::Socket;
use std::sync::Arc;
use std::time::Duration;

/// Figures of the threads and connections that serve.
pub struct Service {
    /// HTTP connections.
    pub http_connections: u64,
    /// HTTP connections that had to make room for others.
    pub http_ousted: u64,
    /// Turns of a thread that took longer than a second.
    pub held: u64,
    /// The longest turn that was seen.
    pub longest: Duration,
    /// ZeroMQ's sockets.
    pub sockets: Vec<Arc<Socket>>,
}

pub(super) fn serving(node: &Node, service: &Service, text: &mut Text<'_>) {
    text.gauge(
        "leveret_http_connections",
        "HTTP connections open",
        service.http_connections,
    );
    for (name, help, value) in [
        (
            "leveret_http_connections_ousted_total",
            "HTTP connections closed to make room for others",
            service.http_ousted,
        ),
        (
            "leveret_threads_held_total",
            "Times that one task held a thread that serves clients for over a second",
            service.held,
        ),
        (
            "leveret_logins_delayed_total",
            "Logins that had to wait, or were refused, after failures from their address",
            node.access.delayed(),
        ),
    ] {
        text.counter(name, help, value);
    }
    text.gauge(
        "leveret_threads_longest_turn_seconds",
        "Longest time that one task was seen to hold a thread that serves clients",
        service.longest.as_secs_f64(),
    );
}

/// A family about logins: the name's end, help, the count.
type LoginFamily = (&'static str, &'static str, fn(&Count) -> u64);

const LOGINS: [LoginFamily; 3] = [
    ("total", "Logins tried", |count| count.all()),
    ("succeeded_total", "Logins that succeeded", |count| count.succeeded),
    ("failed_total", "Logins that failed", |count| count.failed),
];

pub(super) fn logins(node: &Node, prefix: &str, text: &mut Text<'_>) {
    let counts = node.access.attempts.by_protocol();
    for (name, help, count) in LOGINS {
        text.family(&format!("{prefix}auth_attempts_{name}"), Kind::Counter, help);
        for (protocol, counted) in &counts {
            text.sample(&[("protocol", protocol.name())], count(counted));
        }
    }
}

pub(super) fn logins_by_source(node: &Node, prefix: &str, text: &mut Text<'_>) {
    let counts = node.access.attempts.by_source();
    for (name, help, count) in LOGINS {
        text.family(&format!("{prefix}auth_attempts_detailed_{name}"), Kind::Counter, help);
        for (source, counted) in &counts {
            let (address, user) = (source.address.to_string(), source.user.as_deref().unwrap_or_default());
            let labels = [
                ("remote_address", address.as_str()),
                ("username", user),
                ("protocol", source.protocol.name()),
            ];
            text.sample(&labels, count(counted));
        }
    }
}

/// The limits of numbers beside their use, and memory that is not messages.
pub(super) fn limits(node: &Node, text: &mut Text<'_>) {
    let counted = || Quota::ALL.into_iter().filter(|quota| quota.is_of_broker());
    text.family("leveret_limit_used", Kind::Gauge, "Things whose number is limited");
    for quota in counted() {
        text.sample(&[("limit", quota.setting())], node.quotas.used(quota));
    }
    text.family("leveret_limit", Kind::Gauge, "The most that there may be of them");
    for quota in counted() {
        let most = node
            .quotas
            .most(quota)
            .map_or("+Inf".to_owned(), |most| most.to_string());
        text.sample(&[("limit", quota.setting())], most);
    }
    let (name, help) = ("leveret_held_bytes", "Memory that is not messages, by its use");
    text.family(name, Kind::Gauge, help);
    for what in Holding::ALL {
        text.sample(&[("use", what.name())], node.memory.held(what));
    }
}
