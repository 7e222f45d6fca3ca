//! The addresses at which a broker listens, as sockets are declared with them.
//!
//! In: a host and a port, or both as one text. Out: `Listen`. Does not know about what is spoken there.

use std::fmt;
use std::net::IpAddr;

/// All addresses.
const ANY: &str = "*";
const SCHEME: &str = "tcp://";

/// A place at which a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// `None`: all addresses.
    pub host: Option<IpAddr>,
    /// 0: any free one.
    pub port: u16,
}

impl Listen {
    /// A place by an address, or `*`.
    ///
    /// # Errors
    /// It is no address.
    pub fn at(host: Option<&str>, port: u16) -> Result<Self, String> {
        let host = match host {
            None | Some(ANY) => None,
            Some(host) => Some(host.parse().map_err(|_| format!("address '{host}' is no IP address"))?),
        };
        Ok(Self { host, port })
    }

    /// As the broker writes it.
    pub fn read(text: &str) -> Option<Self> {
        let (host, port) = text.strip_prefix(SCHEME)?.rsplit_once(':')?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        Self::at(Some(host), port.parse().ok()?).ok()
    }

    /// Others can reach it.
    pub fn is_open(&self) -> bool {
        self.host.is_none_or(|host| host.is_unspecified()) && self.port != 0
    }

    /// Two sockets cannot both listen there.
    pub fn meets(&self, other: &Self) -> bool {
        let same = self.host == other.host
            || [self, other]
                .iter()
                .any(|one| one.host.is_none_or(|host| host.is_unspecified()));
        self.port != 0 && self.port == other.port && same
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        match self.host {
            None => f.write_str(ANY)?,
            Some(IpAddr::V4(host)) => write!(f, "{host}")?,
            Some(IpAddr::V6(host)) => write!(f, "[{host}]")?,
        }
        write!(f, ":{}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (host, port, text) in [
            (None, 5555, "tcp://*:5555"),
            (Some("127.0.0.1"), 0, "tcp://127.0.0.1:0"),
            (Some("::1"), 7, "tcp://[::1]:7"),
        ] {
            let listen = Listen::at(host, port).expect("an address");
            assert_eq!(listen.to_string(), text);
            assert_eq!(Listen::read(text), Some(listen));
        }
        for text in [
            "",
            "tcp://",
            "ipc://x:1",
            "tcp://localhost:1",
            "tcp://*:65536",
            "tcp://*",
        ] {
            assert_eq!(Listen::read(text), None, "{text}");
        }
        assert!(Listen::at(Some("localhost"), 1).is_err());
    }

    #[test]
    fn a_port_is_taken_once_for_each_address() {
        let at = |host, port| Listen::at(host, port).expect("an address");
        for (one, other, meets) in [
            (at(None, 5), at(None, 5), true),
            (at(None, 5), at(None, 6), false),
            (at(None, 0), at(None, 0), false),
            (at(None, 5), at(Some("::1"), 5), true),
            (at(Some("0.0.0.0"), 5), at(Some("::1"), 5), true),
            (at(Some("127.0.0.1"), 5), at(Some("::1"), 5), false),
        ] {
            assert_eq!((one.meets(&other), other.meets(&one)), (meets, meets), "{one} {other}");
        }
    }
}
