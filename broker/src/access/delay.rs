//! Failed logins by address, and how long the next login from there waits: passwords can't be guessed by the thousand.
//!
//! Comes in: addresses, and logins from them that failed. Goes out: a wait, or that there have been too many. Logins
//! from an address without failures never wait. Of IPv6 a client has a network, of 64 bits, and counts as that.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Failures in a row that cost nothing: programs that were started with a wrong password, and people.
const FREE: u32 = 50;
/// The time that each failure counts.
const EACH: Duration = Duration::from_millis(100);
/// The longest wait; who would wait longer is refused at once.
pub const LONGEST: Duration = Duration::from_secs(5);
/// Addresses that are kept, at most. An address is forgotten when its failures have passed; if all are recent, the one
/// whose failures pass first makes room.
const ADDRESSES: usize = 4096;

/// The answer to a login that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is looked at.
    Now,
    /// It asks again after this time.
    After(Duration),
    /// It is refused; another may be tried after this time.
    Never(Duration),
}

/// Failures by address.
#[derive(Debug, Default)]
pub struct Delays {
    /// The time at which the failures of an address have passed: each moves it on by [`EACH`].
    until: Mutex<HashMap<IpAddr, Instant>>,
}

impl Delays {
    /// A login begins, or has waited.
    pub fn turn(&self, from: IpAddr, now: Instant) -> Turn {
        let Some(until) = self.until.lock().get(&network(from)).copied() else {
            return Turn::Now;
        };
        let wait = until.saturating_duration_since(now).saturating_sub(EACH * FREE);
        match wait {
            Duration::ZERO => Turn::Now,
            wait if wait <= LONGEST => Turn::After(wait),
            wait => Turn::Never(wait - LONGEST),
        }
    }

    /// A login has failed. True for the first of many: from here on, logins from there wait.
    pub fn failed(&self, from: IpAddr, now: Instant) -> bool {
        let mut until = self.until.lock();
        let network = network(from);
        if until.len() >= ADDRESSES && !until.contains_key(&network) {
            until.retain(|_, passed| *passed > now);
            let first = until
                .iter()
                .min_by_key(|(_, passed)| **passed)
                .map(|(address, _)| *address);
            if let Some(first) = first.filter(|_| until.len() >= ADDRESSES) {
                until.remove(&first);
            }
        }
        let passed = until.entry(network).or_insert(now);
        let before = (*passed).max(now);
        // However many come at once: what counts is bounded, so that it passes.
        *passed = (before + EACH).min(now + EACH * FREE + 2 * LONGEST);
        let limit = now + EACH * FREE;
        before <= limit && *passed > limit
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn failures_slow_an_address_down_and_no_other() {
        let (delays, now) = (Delays::default(), Instant::now());
        for _ in 0..FREE {
            assert_eq!(delays.turn(A, now), Turn::Now);
            assert!(!delays.failed(A, now));
        }
        assert!(delays.failed(A, now), "the first of many");
        assert_eq!(delays.turn(A, now), Turn::After(EACH));
        assert!(!delays.failed(A, now));
        assert_eq!(delays.turn(A, now + EACH), Turn::After(EACH));
        assert_eq!(delays.turn(A, now + 2 * EACH), Turn::Now);
        assert_eq!(delays.turn(B, now), Turn::Now);
    }

    #[test]
    fn ten_a_second_can_be_guessed_however_many_are_tried() {
        let (delays, start) = (Delays::default(), Instant::now());
        let mut looked_at = 0;
        for tick in 0..60_000 {
            let now = start + Duration::from_millis(tick);
            if delays.turn(A, now) == Turn::Now {
                looked_at += 1;
                delays.failed(A, now);
            }
        }
        assert!((600..=660).contains(&looked_at), "{looked_at} in a minute");
    }

    #[test]
    fn too_many_are_refused_for_a_while() {
        let (delays, now) = (Delays::default(), Instant::now());
        (0..100_000).for_each(|_| _ = delays.failed(A, now));
        assert_eq!(delays.turn(A, now), Turn::Never(LONGEST));
        assert_eq!(delays.turn(A, now + 2 * LONGEST), Turn::Now);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_memory_is_bounded() {
        let (delays, now) = (Delays::default(), Instant::now());
        let v6 = |network: u16, host: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host));
        (0..=FREE as u16).for_each(|host| _ = delays.failed(v6(1, host), now));
        assert_eq!(delays.turn(v6(1, 9999), now), Turn::After(EACH));
        assert_eq!(delays.turn(v6(2, 1), now), Turn::Now);
        (0..20_000).for_each(|number| _ = delays.failed(v6(number, 1), now));
        assert!(delays.until.lock().len() <= ADDRESSES);
        assert_ne!(delays.turn(v6(1, 1), now), Turn::Now, "who fails most is kept");
        let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 9).to_ipv6_mapped());
        (0..=FREE).for_each(|_| _ = delays.failed(mapped, now));
        assert_eq!(delays.turn(Ipv4Addr::new(192, 0, 2, 9).into(), now), Turn::After(EACH));
    }
}
