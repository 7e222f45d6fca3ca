//! Protocols: the table of what is spoken, on which port and under which names.
//!
//! Comes in: nothing. Goes out: a line for each protocol on each transport, which settings, sockets and the HTTP API
//! read. A leaf. Does not know how a protocol is served: `server` has that, in one place.

use std::net::SocketAddr;

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// AMQP 0-9-1.
    Amqp,
    /// The management API, with probes.
    Management,
    /// Metrics and probes, for which no password is needed and by which nothing can be changed.
    Metrics,
    /// ZMTP, on sockets that are declared one by one.
    Zmtp,
}

/// A protocol on a transport: what a listening socket is there for.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    /// The protocol.
    pub protocol: Protocol,
    /// The name in messages.
    pub name: &'static str,
    /// The setting with its addresses.
    pub setting: &'static str,
    /// RabbitMQ's names: the first is shown, all are understood.
    pub known_as: &'static [&'static str],
    /// The clients, as help and document call them.
    pub clients: &'static str,
    /// The usual port.
    pub port: u16,
    /// True if it is spoken over TLS; such a service is only there where an address is set.
    pub tls: bool,
}

/// Everything that is spoken.
pub static SERVICES: [Service; 5] = [
    Service {
        protocol: Protocol::Amqp,
        name: "amqp",
        setting: "amqp_listen",
        known_as: &["amqp", "amqp091", "amqp0.9.1"],
        clients: "AMQP clients",
        port: 5672,
        tls: false,
    },
    Service {
        protocol: Protocol::Amqp,
        name: "amqps",
        setting: "amqps_listen",
        known_as: &["amqp/ssl", "amqps"],
        clients: "AMQP clients",
        port: 5671,
        tls: true,
    },
    Service {
        protocol: Protocol::Management,
        name: "http",
        setting: "http_listen",
        known_as: &["http"],
        clients: "the HTTP API",
        port: 15672,
        tls: false,
    },
    Service {
        protocol: Protocol::Management,
        name: "https",
        setting: "https_listen",
        known_as: &["https"],
        clients: "the HTTP API",
        port: 15671,
        tls: true,
    },
    Service {
        protocol: Protocol::Metrics,
        name: "prometheus",
        setting: "prometheus_listen",
        known_as: &["http/prometheus", "prometheus"],
        clients: "Prometheus and probes, without a password",
        port: 15692,
        tls: false,
    },
];

/// ZMTP: its sockets have addresses of their own, each from its declaration.
pub static ZMTP: Service = Service {
    protocol: Protocol::Zmtp,
    name: "zmtp",
    setting: "zeromq",
    known_as: &["zmtp", "zeromq"],
    clients: "ZeroMQ sockets",
    port: 0,
    tls: false,
};

impl Protocol {
    /// True if its connections are served where others are refused for want of file descriptors: they are few.
    pub fn has_reserve(self) -> bool {
        matches!(self, Self::Metrics)
    }

    /// True if the broker starts without it where another program has the usual port.
    pub fn can_do_without(self) -> bool {
        matches!(self, Self::Metrics)
    }

    /// RabbitMQ's description of it among the web contexts; `None` for what browsers don't speak.
    pub fn context(self) -> Option<&'static str> {
        match self {
            Self::Amqp | Self::Zmtp => None,
            Self::Management => Some("RabbitMQ Management"),
            Self::Metrics => Some("RabbitMQ Prometheus"),
        }
    }
}

impl Service {
    /// The flag of the setting with its addresses.
    pub fn flag(&self) -> String {
        format!("--{}", self.setting.replace('_', "-"))
    }

    /// The name that RabbitMQ's API shows.
    pub fn shown_as(&self) -> &'static str {
        self.known_as.first().unwrap_or(&self.name)
    }
}

/// An address that a service listens on.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// The service.
    pub service: &'static Service,
    /// The address, with the port that was chosen if any would do.
    pub address: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_and_ports_mean_one_service_each() {
        let (mut names, mut ports) = (HashSet::new(), HashSet::new());
        for service in SERVICES.iter().chain([&ZMTP]) {
            assert!(ports.insert(service.port), "{service:?}");
            assert!(!service.known_as.is_empty(), "{service:?}");
            for name in service.known_as {
                assert!(names.insert(*name), "{service:?}");
            }
        }
    }
}
