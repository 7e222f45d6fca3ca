//! The place that a socket listens on, as ZeroMQ writes it: `tcp://HOST:PORT`.
//!
//! Comes in: a text. Goes out: addresses, and sockets bound to them. Does not know what is spoken there.

use crate::listener;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// A place to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address; `None` is all that the machine has.
    host: Option<IpAddr>,
    /// 0 is any that is free.
    pub port: u16,
}

impl Endpoint {
    /// Reads `tcp://HOST:PORT`.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.strip_prefix("tcp://")?.rsplit_once(':')?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(host) => Some(IpAddr::V6(host.parse().ok()?)),
            None if host == "*" => None,
            None => Some(IpAddr::V4(host.parse().ok()?)),
        };
        // `parse` would take a sign.
        let port = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?;
        Some(Self {
            host,
            port: port.parse().ok()?,
        })
    }

    /// Binds it. `port` is the one that was chosen before, where any would do. Without IPv6 on this machine, `*` is
    /// IPv4's addresses alone.
    ///
    /// # Errors
    /// The address is in use, not there or not allowed.
    pub fn bind(&self, port: Option<u16>) -> io::Result<Vec<TcpListener>> {
        let port = port.filter(|_| self.port == 0).unwrap_or(self.port);
        if let Some(host) = self.host {
            return listener::bind_address(SocketAddr::new(host, port)).map(|socket| vec![socket]);
        }
        let first = listener::bind_address(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))?;
        let port = first.local_addr()?.port();
        match listener::bind_address(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            Ok(second) => Ok(vec![first, second]),
            Err(error) if listener::no_such_address(&error) => Ok(vec![first]),
            Err(error) => Err(error),
        }
    }

    /// The same with the port that was chosen.
    pub fn at(&self, port: u16) -> Self {
        Self { port, ..self.clone() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match self.host {
            None => write!(f, "tcp://*:{port}"),
            Some(host) => write!(f, "tcp://{}", SocketAddr::new(host, port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_written() {
        for text in [
            "tcp://*:5555",
            "tcp://127.0.0.1:0",
            "tcp://0.0.0.0:65535",
            "tcp://[::1]:5555",
        ] {
            assert_eq!(
                Endpoint::parse(text).map(|place| place.to_string()).as_deref(),
                Some(text)
            );
        }
        for text in [
            "",
            "tcp://",
            "tcp://*",
            "tcp://*:",
            "tcp://*:+1",
            "tcp://*:65536",
            "tcp://localhost:1",
            "tcp://::1:1",
            "tcp://[127.0.0.1]:1",
            "ipc://x:1",
            "127.0.0.1:1",
        ] {
            assert_eq!(Endpoint::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_port_that_was_chosen_is_taken_again() {
        let place = Endpoint::parse("tcp://*:0").expect("a place");
        let bound = place.bind(None).expect("bound");
        let port = bound[0].local_addr().expect("an address").port();
        assert!(
            bound
                .iter()
                .all(|socket| socket.local_addr().is_ok_and(|at| at.port() == port))
        );
        drop(bound);
        let again = place.bind(Some(port)).expect("bound");
        assert!(again[0].local_addr().is_ok_and(|at| at.port() == port));
        let taken = place.at(port).bind(None).expect_err("in use");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(place.at(port).to_string(), format!("tcp://*:{port}"));
    }
}
