//! The hosts that brokers may be at: where users name addresses, and the operator is who connects.
//!
//! In: the patterns of a flag, a host and its port. Out: addresses to connect to, or why there are none. A name is
//! looked up here, once, and what comes of that is connected to: whatever it leads to a moment later does not count.
//! Does not know about protocols, or which Broker names a host.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::net::lookup_host;

use super::client::Error;
use crate::object::Via;

/// A host, or several, as `--allow-broker-hosts` names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `rabbit.example.com`.
    Name(String),
    /// `*.example.com`: everything below it.
    Below(String),
    /// `10.0.0.0/8`, or one address.
    Net(IpAddr, u8),
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        if let Ok(address) = bare(address).parse::<IpAddr>() {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| ()));
            return match bits {
                Ok(bits) if bits <= most => Ok(Pattern::Net(address, bits)),
                _ => Err(format!("a network has 0 to {most} bits after the /")),
            };
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if name.is_empty() || !name.chars().all(is_name) {
            return Err("a host is a name, *.DOMAIN, an address, or a network such as 10.0.0.0/8".to_owned());
        }
        let name = normal(name);
        Ok(if below {
            Pattern::Below(name)
        } else {
            Pattern::Name(name)
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Name(name) => f.write_str(name),
            Pattern::Below(name) => write!(f, "*.{name}"),
            Pattern::Net(address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

impl Pattern {
    /// True for a host as a user writes it.
    pub fn names(&self, host: &str) -> bool {
        let host = normal(host);
        match self {
            Pattern::Name(name) => *name == host,
            Pattern::Below(name) => host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
            Pattern::Net(..) => host.parse().is_ok_and(|address| self.holds(address)),
        }
    }

    fn holds(&self, address: IpAddr) -> bool {
        let Pattern::Net(net, bits) = self else { return false };
        match (*net, plain(address)) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let shift = 32_u32.saturating_sub((*bits).into());
                net.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let shift = 128_u32.saturating_sub((*bits).into());
                net.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

/// The hosts that may be connected to.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Option<Vec<Pattern>>);

impl Hosts {
    /// Any: whoever runs the program names the host, and could connect to it without the program.
    pub fn any() -> Self {
        Self(None)
    }

    /// Those of `patterns`, or with none all but this machine's own.
    pub fn guarded(patterns: Vec<Pattern>) -> Self {
        Self(Some(patterns))
    }

    /// The addresses of a host to connect to.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when none of them may be connected to, [`Error::Unreachable`] when it has none.
    pub async fn resolve(&self, host: &str, port: u16, via: Via) -> Result<Vec<SocketAddr>, Error> {
        let host = bare(host);
        let found = lookup_host((host, port)).await;
        let found = found.map_err(|error| Error::Unreachable(format!("host '{host}': {error}")))?;
        let mut permitted = Vec::new();
        let mut refusal = None;
        for address in found {
            match self.check(host, address.ip(), via) {
                Ok(()) => permitted.push(address),
                Err(text) => refusal = Some(text),
            }
        }
        match (permitted.is_empty(), refusal) {
            (true, Some(text)) => Err(Error::Forbidden(text)),
            (true, None) => Err(Error::Unreachable(format!("host '{host}' has no address"))),
            (false, _) => Ok(permitted),
        }
    }

    /// The reason why `host`, which leads to `address`, may not be connected to.
    fn check(&self, host: &str, address: IpAddr, via: Via) -> Result<(), String> {
        let Some(patterns) = &self.0 else { return Ok(()) };
        let address = plain(address);
        let shown = if host.parse::<IpAddr>().is_ok() {
            format!("host '{host}'")
        } else {
            format!("host '{host}' ({address})")
        };
        if is_link_local(address) {
            return Err(format!(
                "{shown} is a link-local address: the operator connects to none"
            ));
        }
        let in_net = patterns.iter().any(|pattern| pattern.holds(address));
        let local = is_local(address);
        match via {
            Via::Forward if local => return Ok(()),
            Via::Forward => {
                return Err(format!("{shown} is not on this machine, and a port-forward is"));
            }
            Via::Service if !local => return Ok(()),
            Via::Address | Via::Service => {}
        }
        if local {
            let named = patterns.contains(&Pattern::Name("localhost".to_owned())) && normal(host) == "localhost";
            // A network that has everything in it does not mean this machine.
            let meant = |pattern: &Pattern| matches!(pattern, Pattern::Net(_, bits) if *bits >= 8);
            let in_net = patterns.iter().any(|pattern| meant(pattern) && pattern.holds(address));
            return match in_net || named {
                true => Ok(()),
                false => Err(format!(
                    "{shown} is the operator's own machine: --allow-broker-hosts has to name it"
                )),
            };
        }
        let named = || patterns.iter().any(|pattern| pattern.names(host));
        match patterns.is_empty() || in_net || named() {
            true => Ok(()),
            false => Err(format!("{shown} is none of --allow-broker-hosts")),
        }
    }
}

/// Names are compared in small letters and without the dot at the end, addresses without brackets.
fn normal(host: &str) -> String {
    bare(host).trim_end_matches('.').to_ascii_lowercase()
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// An IPv4 address that is written, or translated to, as one of IPv6 is that IPv4 address (RFC 4291, 2.5.5; RFC 6052).
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else { return address };
    let translated = six.segments().starts_with(&[0x64, 0xff9b, 0, 0, 0, 0]);
    let compatible = six.segments().starts_with(&[0; 6]) && six.to_bits() > 0xffff;
    match six.to_ipv4_mapped() {
        Some(four) => IpAddr::V4(four),
        None if translated || compatible => {
            let [.., a, b, c, d] = six.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        None => address,
    }
}

/// Where clouds tell a machine its credentials; and what is no host at all.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_link_local() || four.is_multicast() || four.is_broadcast(),
        IpAddr::V6(six) => six.is_unicast_link_local() || six.is_multicast(),
    }
}

/// To connect to "no address" is to connect to one's own machine.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_loopback() || four.octets().starts_with(&[0]),
        IpAddr::V6(six) => six.is_loopback() || six == Ipv6Addr::UNSPECIFIED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(patterns: &[&str]) -> Hosts {
        Hosts::guarded(patterns.iter().map(|text| text.parse().expect("a pattern")).collect())
    }

    fn permits(patterns: &[&str], host: &str, address: &str) -> bool {
        let address = address.parse().expect("an address");
        hosts(patterns).check(host, address, Via::Address).is_ok()
    }

    #[test]
    fn link_local_and_the_machine_itself_are_refused() {
        for address in [
            "169.254.169.254",
            "fe80::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "::a9fe:a9fe",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!permits(&[], address, address), "{address}");
            assert!(
                !permits(&["0.0.0.0/0", "::/0", "*.example.com"], "a.example.com", address),
                "{address}"
            );
        }
        for address in ["127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"] {
            assert!(!permits(&[], "rabbit", address), "{address}");
            assert!(
                !permits(&["*.shop.svc", "evil.shop.svc"], "evil.shop.svc", address),
                "{address}"
            );
        }
        assert!(!permits(&["0.0.0.0/0"], "127.0.0.1", "127.0.0.1"));
        assert!(!permits(&["::/0"], "::1", "::1"));
        assert!(permits(&["127.0.0.1"], "127.0.0.1", "127.0.0.1"));
        assert!(permits(&["127.0.0.0/8"], "x", "::ffff:127.0.0.9"));
        assert!(permits(&["localhost"], "LOCALHOST", "::1"));
        assert!(permits(&[], "rabbit.shop.svc", "10.96.0.7"));
    }

    #[test]
    fn with_a_list_the_rest_is_refused() {
        let list = ["rabbit.example.com", "*.svc", "10.1.0.0/16", "2001:db8::/32"];
        for (host, address, permitted) in [
            ("rabbit.example.com", "192.0.2.1", true),
            ("Rabbit.Example.com.", "192.0.2.1", true),
            ("xrabbit.example.com", "192.0.2.1", false),
            ("a.shop.svc", "10.9.0.1", true),
            ("svc", "10.9.0.1", false),
            ("asvc", "10.9.0.1", false),
            ("other", "10.1.2.3", true),
            ("other", "10.2.2.3", false),
            ("2001:db8::5", "2001:db8::5", true),
        ] {
            assert_eq!(permits(&list, host, address), permitted, "{host} {address}");
        }
        for bad in ["", "*.", "a b", "10.0.0.0/33", "http://a", "*.*.a"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn services_need_no_list_and_forwards_are_local() {
        let check = |host: &str, address: &str, via| {
            let address = address.parse().expect("an address");
            hosts(&["rabbit.example.com"]).check(host, address, via).is_ok()
        };
        assert!(check("main.shop.svc", "10.96.0.5", Via::Service));
        assert!(!check("main.shop.svc", "127.0.0.1", Via::Service));
        assert!(!check("main.shop.svc", "169.254.1.1", Via::Service));
        assert!(check("localhost", "127.0.0.1", Via::Forward));
        assert!(!check("rabbit.example.com", "192.0.2.1", Via::Forward));
    }

    #[tokio::test]
    async fn only_what_was_checked_is_connected_to() {
        let refused = hosts(&[]).resolve("localhost", 5672, Via::Address).await;
        let Err(Error::Forbidden(text)) = refused else {
            panic!("{refused:?}")
        };
        assert!(
            text.contains("localhost") && text.contains("--allow-broker-hosts"),
            "{text}"
        );
        let addresses = hosts(&["localhost"]).resolve("localhost", 5672, Via::Address).await;
        let addresses = addresses.expect("it is allowed");
        assert!(!addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()));
        let literal = Hosts::any()
            .resolve("[::1]", 1, Via::Address)
            .await
            .expect("an address");
        assert_eq!(literal, ["[::1]:1".parse().expect("an address")]);
    }
}
