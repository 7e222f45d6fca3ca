//! Logins, counted: by protocol, and by the address and user that they came with.
//!
//! Comes in: logins and how they ended. Goes out: the counts, as RabbitMQ's API and metrics have them. Names that are
//! no user's are not kept: they may be passwords, typed into the wrong field.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

/// Addresses and users that are kept, at most; the one that was quiet for longest makes room.
const SOURCES: usize = 1000;

/// The protocol of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// AMQP 0-9-1.
    Amqp,
    /// The HTTP API.
    Http,
    /// ZeroMQ's sockets.
    Zmtp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Amqp, Self::Http, Self::Zmtp];

    /// RabbitMQ's name, where it has one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amqp => "amqp091",
            Self::Http => "http",
            Self::Zmtp => "zmtp",
        }
    }
}

/// Logins that were tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that were let in.
    pub succeeded: u64,
    /// The others.
    pub failed: u64,
}

impl Count {
    /// All.
    pub fn all(self) -> u64 {
        self.succeeded + self.failed
    }

    fn add(&mut self, succeeded: bool) {
        let count = if succeeded {
            &mut self.succeeded
        } else {
            &mut self.failed
        };
        *count += 1;
    }
}

/// The place that logins come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The client's address.
    pub address: IpAddr,
    /// The user, if there is one of the name that was given.
    pub user: Option<String>,
    /// The protocol.
    pub protocol: Protocol,
}

/// The counts of a node.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_protocol: [Count; Protocol::ALL.len()],
    by_source: HashMap<Source, (Count, Instant)>,
}

/// A way to several counts.
trait Of {
    fn of(&mut self, protocol: Protocol) -> &mut Count;
}

impl Of for [Count; Protocol::ALL.len()] {
    fn of(&mut self, protocol: Protocol) -> &mut Count {
        let [amqp, http, zmtp] = self;
        match protocol {
            Protocol::Amqp => amqp,
            Protocol::Http => http,
            Protocol::Zmtp => zmtp,
        }
    }
}

impl Attempts {
    /// Counts a login.
    pub fn add(&self, source: Source, succeeded: bool) {
        let counts = &mut *self.0.lock();
        counts.by_protocol.of(source.protocol).add(succeeded);
        if counts.by_source.len() >= SOURCES && !counts.by_source.contains_key(&source) {
            let quiet = counts.by_source.iter().min_by_key(|(_, (_, at))| *at);
            if let Some(quiet) = quiet.map(|(source, _)| source.clone()) {
                counts.by_source.remove(&quiet);
            }
        }
        let now = Instant::now();
        let (count, at) = counts.by_source.entry(source).or_insert((Count::default(), now));
        count.add(succeeded);
        *at = now;
    }

    /// The counts of the protocols.
    pub fn by_protocol(&self) -> [(Protocol, Count); Protocol::ALL.len()] {
        let mut counts = self.0.lock().by_protocol;
        Protocol::ALL.map(|protocol| (protocol, *counts.of(protocol)))
    }

    /// The counts by address and user, sorted.
    pub fn by_source(&self) -> Vec<(Source, Count)> {
        let counts = self.0.lock();
        let pair = |(source, (count, _)): (&Source, &(Count, Instant))| (source.clone(), *count);
        let mut all: Vec<_> = counts.by_source.iter().map(pair).collect();
        drop(counts);
        all.sort_by(|(a, _), (b, _)| (a.address, &a.user).cmp(&(b.address, &b.user)));
        all
    }

    /// Begins to count anew.
    pub fn reset(&self) {
        *self.0.lock() = Counts::default();
    }

    /// Forgets addresses and users.
    pub fn reset_sources(&self) {
        self.0.lock().by_source.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn from(number: u32, user: Option<&str>) -> Source {
        Source {
            address: Ipv4Addr::from(number).into(),
            user: user.map(str::to_owned),
            protocol: Protocol::Http,
        }
    }

    #[test]
    fn logins_are_counted_by_protocol_and_source() {
        let attempts = Attempts::default();
        attempts.add(from(1, Some("guest")), true);
        attempts.add(from(1, None), false);
        attempts.add(from(1, None), false);
        let (succeeded, failed) = (1, 2);
        assert_eq!(attempts.by_protocol()[1], (Protocol::Http, Count { succeeded, failed }));
        assert_eq!(attempts.by_protocol()[0].1.all(), 0);
        let of = |source| {
            attempts
                .by_source()
                .into_iter()
                .find(|(of, _)| *of == source)
                .map(|(_, c)| c)
        };
        assert_eq!(of(from(1, None)).expect("counted").failed, 2);
        assert_eq!(of(from(1, Some("guest"))).expect("counted").succeeded, 1);
        attempts.reset_sources();
        assert_eq!((attempts.by_source().len(), attempts.by_protocol()[1].1.all()), (0, 3));
        attempts.reset();
        assert_eq!(attempts.by_protocol()[1].1.all(), 0);
    }

    #[test]
    fn sources_take_no_more_memory_than_a_thousand_do() {
        let attempts = Attempts::default();
        (0..5000).for_each(|number| attempts.add(from(number, None), false));
        let kept = attempts.by_source();
        assert_eq!(kept.len(), SOURCES);
        assert!(
            kept.iter().any(|(source, _)| *source == from(4999, None)),
            "the newest is there"
        );
        assert_eq!(attempts.by_protocol()[1].1.failed, 5000);
    }
}
