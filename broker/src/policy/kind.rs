//! The objects that a policy is for, by their kind: RabbitMQ's `apply-to`.
//!
//! Pure.

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An exchange.
    Exchange,
    /// A classic queue.
    Classic,
    /// A quorum queue.
    Quorum,
    /// A stream.
    Stream,
}

/// The kinds that a policy is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApplyTo {
    /// Queues and exchanges.
    #[default]
    All,
    /// Queues of any type.
    Queues,
    /// Classic queues.
    Classic,
    /// Quorum queues.
    Quorum,
    /// Streams.
    Streams,
    /// Exchanges.
    Exchanges,
}

const NAMES: [(ApplyTo, &str); 6] = [
    (ApplyTo::All, "all"),
    (ApplyTo::Queues, "queues"),
    (ApplyTo::Classic, "classic_queues"),
    (ApplyTo::Quorum, "quorum_queues"),
    (ApplyTo::Streams, "streams"),
    (ApplyTo::Exchanges, "exchanges"),
];

impl ApplyTo {
    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        NAMES.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|row| row.0 == self).map_or("all", |row| row.1)
    }

    /// True if it has objects of this kind.
    pub fn includes(self, kind: Kind) -> bool {
        match self {
            Self::All => true,
            Self::Queues => kind != Kind::Exchange,
            Self::Classic => kind == Kind::Classic,
            Self::Quorum => kind == Kind::Quorum,
            Self::Streams => kind == Kind::Stream,
            Self::Exchanges => kind == Kind::Exchange,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for (apply_to, name) in NAMES {
            assert_eq!((ApplyTo::parse(name), apply_to.name()), (Some(apply_to), name));
        }
        assert_eq!(ApplyTo::parse("none"), None);
    }

    #[test]
    fn queues_are_those_of_any_type() {
        let queues = [Kind::Classic, Kind::Quorum, Kind::Stream];
        assert!(queues.into_iter().all(|kind| ApplyTo::Queues.includes(kind)));
        assert!(!ApplyTo::Queues.includes(Kind::Exchange) && ApplyTo::All.includes(Kind::Exchange));
        assert!(!ApplyTo::Quorum.includes(Kind::Classic));
    }
}
