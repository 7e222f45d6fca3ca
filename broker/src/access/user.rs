//! One user: its name, password, tags and limits.
//!
//! Comes in: what the API or the log has. Goes out: the user, and what its tags allow over HTTP. Pure. Does not know
//! about permissions, which are of a user and a vhost.

use super::hash::Hash;

/// The longest name of a user, bytes; the same of a tag.
pub const LONGEST_NAME: usize = 255;
/// Tags of a user, at most (RabbitMQ's figure).
pub const MOST_TAGS: usize = 32;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// The password.
    pub hash: Hash,
    /// Its tags.
    pub tags: Tags,
    /// Its limits.
    pub limits: Limits,
}

/// The tags of a user: those that the HTTP API knows, and any others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(pub Vec<String>);

impl Tags {
    /// Those of whoever may do everything.
    pub fn administrator() -> Self {
        Self(vec!["administrator".to_owned()])
    }

    /// Everything.
    pub fn is_administrator(&self) -> bool {
        self.any(&["administrator"])
    }

    /// See everything.
    pub fn is_monitor(&self) -> bool {
        self.any(&["administrator", "monitoring"])
    }

    /// Set policies and parameters.
    pub fn is_policymaker(&self) -> bool {
        self.any(&["administrator", "policymaker"])
    }

    /// Ask anything at all over HTTP.
    pub fn is_management(&self) -> bool {
        self.any(&["administrator", "monitoring", "policymaker", "management"])
    }

    /// Publish messages that say to be of another user.
    pub fn is_impersonator(&self) -> bool {
        self.any(&["impersonator"])
    }

    fn any(&self, of: &[&str]) -> bool {
        self.0.iter().any(|tag| of.contains(&tag.as_str()))
    }
}

/// The most that a user may have open; a negative number is no limit, as in RabbitMQ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `max-connections`
    pub connections: Option<i64>,
    /// `max-channels`
    pub channels: Option<i64>,
}

impl Limits {
    /// The names of limits, in RabbitMQ's order.
    pub const NAMES: [&str; 2] = ["max-channels", "max-connections"];

    /// A limit by its name; `None` for a name of no limit.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Option<i64>> {
        match name {
            "max-connections" => Some(&mut self.connections),
            "max-channels" => Some(&mut self.channels),
            _ => None,
        }
    }

    /// The most connections and channels; `None` is any number.
    pub fn most(&self) -> [Option<u64>; 2] {
        [self.connections, self.channels].map(|limit| limit.and_then(|limit| u64::try_from(limit).ok()))
    }

    /// All that are set.
    pub fn set(&self) -> impl Iterator<Item = (&'static str, i64)> {
        Self::NAMES
            .into_iter()
            .zip([self.channels, self.connections])
            .filter_map(|(name, limit)| Some((name, limit?)))
    }
}
