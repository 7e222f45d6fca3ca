//! Memory that is not messages: tables, buffers, routes, answers. Counted by its owner for as long as it lasts.
//!
//! Comes in: bytes, and the use that they are put to. Goes out: sums by use. Does not know about marks and alarms.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Uses of memory that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Buffers of connections that have not logged in.
    Logins,
    /// Arguments and properties of clients, as the octets that they came as.
    Tables,
    /// Frames that wait to be written to clients.
    Outboxes,
    /// Routes that connections remember.
    Routes,
    /// Answers of the HTTP API under way.
    Replies,
    /// Bodies that have not come whole.
    Bodies,
    /// Figures of the past.
    History,
    /// Tokens that were proved of late.
    Tokens,
}

impl Holding {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Logins,
        Self::Tables,
        Self::Outboxes,
        Self::Routes,
        Self::Replies,
        Self::Bodies,
        Self::History,
        Self::Tokens,
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logins => "logins",
            Self::Tables => "tables",
            Self::Outboxes => "outboxes",
            Self::Routes => "routes",
            Self::Replies => "replies",
            Self::Bodies => "bodies",
            Self::History => "history",
            Self::Tokens => "tokens",
        }
    }
}

/// Sums by use.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; Holding::ALL.len()]);

impl Counts {
    /// Bytes more for a use, until the value that is returned is dropped.
    pub fn hold(self: &Arc<Self>, what: Holding, bytes: u64) -> Held {
        self.of(what).fetch_add(bytes, Ordering::Relaxed);
        Held {
            counts: self.clone(),
            what,
            bytes,
        }
    }

    /// Bytes held for a use.
    pub fn held(&self, what: Holding) -> u64 {
        self.of(what).load(Ordering::Relaxed)
    }

    /// Bytes held for all uses.
    pub fn sum(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn of(&self, what: Holding) -> &AtomicU64 {
        &self.0[what as usize]
    }
}

/// Bytes that are counted until this is dropped.
#[derive(Debug)]
pub struct Held {
    counts: Arc<Counts>,
    what: Holding,
    bytes: u64,
}

impl Held {
    /// So many bytes in all from now on.
    pub fn set(&mut self, bytes: u64) {
        let count = self.counts.of(self.what);
        if bytes > self.bytes {
            count.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            count.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// Bytes at present.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_for_as_long_as_they_are_held() {
        let counts = Arc::new(Counts::default());
        let mut tables = counts.hold(Holding::Tables, 100);
        let routes = counts.hold(Holding::Routes, 10);
        assert_eq!((counts.held(Holding::Tables), counts.sum()), (100, 110));
        tables.set(300);
        assert_eq!((tables.bytes(), counts.sum()), (300, 310));
        tables.set(50);
        assert_eq!(counts.sum(), 60);
        drop(routes);
        assert_eq!((counts.held(Holding::Routes), counts.sum()), (0, 50));
        drop(tables);
        assert_eq!(counts.sum(), 0);
    }

    #[test]
    fn every_use_has_a_count_and_a_name_of_its_own() {
        let counts = Arc::new(Counts::default());
        let all: Vec<_> = Holding::ALL.map(|what| counts.hold(what, 1)).into();
        assert!(Holding::ALL.iter().all(|what| counts.held(*what) == 1));
        let names: std::collections::HashSet<_> = Holding::ALL.iter().map(|what| what.name()).collect();
        assert_eq!(names.len(), all.len());
    }
}
