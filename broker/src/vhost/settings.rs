//! The settings of a vhost: its description, tags, default queue type, protection from deletion, tracing and limits.
//!
//! Comes in: values as users give them, or as the log has them. Goes out: a table for the log, and the values again.
//! Pure. Does not know who obeys them.

use crate::queue::arguments::QueueType;
use leveret_amqp::{FieldTable, FieldValue, ShortString};

/// A limit of a vhost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Connections that are open.
    Connections,
    /// Queues.
    Queues,
}

impl Limit {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 2] = [Self::Connections, Self::Queues];

    /// RabbitMQ's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "max-connections",
            Self::Queues => "max-queues",
        }
    }

    /// The limit of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|limit| limit.name() == name)
    }
}

/// The limits of a vhost. A negative one is none (RabbitMQ).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits([Option<i64>; Limit::ALL.len()]);

impl Limits {
    /// A limit as it was set.
    pub fn get(&self, limit: Limit) -> Option<i64> {
        self.0[limit as usize]
    }

    /// The same with another value of one limit.
    pub fn with(mut self, limit: Limit, value: Option<i64>) -> Self {
        self.0[limit as usize] = value;
        self
    }

    /// Those that are set, by name.
    pub fn all(&self) -> impl Iterator<Item = (Limit, i64)> {
        Limit::ALL
            .into_iter()
            .filter_map(|limit| Some((limit, self.get(limit)?)))
    }
}

/// The settings of a vhost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// For people.
    pub description: String,
    /// For people and tools.
    pub tags: Vec<String>,
    /// The type of queues that are declared without one; `None` is a classic queue.
    pub default_queue_type: Option<QueueType>,
    /// True if it can't be deleted; `None` if that was never set.
    pub protected: Option<bool>,
    /// RabbitMQ's flag for copies of all messages. It is kept and shown.
    pub tracing: bool,
    /// The limits; `None` if none was ever set.
    pub limits: Option<Limits>,
}

const DESCRIPTION: &str = "description";
const TAGS: &str = "tags";
const DEFAULT_QUEUE_TYPE: &str = "default_queue_type";
const PROTECTED: &str = "protected_from_deletion";
const TRACING: &str = "tracing";
const LIMITS: &str = "limits";

impl Settings {
    /// The settings of `/` in a new data directory (RabbitMQ's).
    pub fn of_main() -> Self {
        Self {
            description: "Default virtual host".to_owned(),
            ..Self::default()
        }
    }

    /// The most that a limit allows.
    pub fn most(&self, limit: Limit) -> Option<u64> {
        self.limits?.get(limit).and_then(|most| u64::try_from(most).ok())
    }

    /// True if it can't be deleted.
    pub fn is_protected(&self) -> bool {
        self.protected.unwrap_or_default()
    }

    /// The name of the type of queues that are declared without one.
    pub fn queue_type_name(&self) -> &'static str {
        self.default_queue_type.unwrap_or_default().name()
    }

    /// Octets of their texts.
    pub fn octets(&self) -> usize {
        self.description.len() + self.tags.iter().map(|tag| tag.len() + 8).sum::<usize>()
    }

    /// The settings as the log keeps them. Names must be kept stable.
    pub fn to_table(&self) -> FieldTable {
        let tags = self.tags.iter().map(|tag| tag.as_str().into()).collect();
        let mut fields = vec![
            (DESCRIPTION, self.description.as_str().into()),
            (TAGS, FieldValue::Array(tags)),
            (TRACING, self.tracing.into()),
        ];
        fields.extend(self.default_queue_type.map(|of| (DEFAULT_QUEUE_TYPE, of.name().into())));
        fields.extend(self.protected.map(|protected| (PROTECTED, protected.into())));
        fields.extend(self.limits.map(|limits| (LIMITS, FieldValue::Table(limits.to_table()))));
        table(fields)
    }

    /// Settings that the log has kept. What this version doesn't know is left out.
    pub fn of_table(kept: &FieldTable) -> Self {
        let text = |value: &FieldValue| match value {
            FieldValue::LongString(text) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        };
        let read = |name| kept.get(name).and_then(text);
        let tags = match kept.get(TAGS) {
            Some(FieldValue::Array(tags)) => tags.iter().filter_map(text).collect(),
            _ => Vec::new(),
        };
        Self {
            description: read(DESCRIPTION).unwrap_or_default(),
            tags,
            default_queue_type: read(DEFAULT_QUEUE_TYPE).and_then(|name| QueueType::of_name(&name)),
            protected: kept.get(PROTECTED).and_then(FieldValue::as_bool),
            tracing: kept.get(TRACING).and_then(FieldValue::as_bool).unwrap_or_default(),
            limits: kept.get(LIMITS).and_then(FieldValue::as_table).map(Limits::of_table),
        }
    }
}

impl Limits {
    /// The limits by name, as events tell them.
    pub fn to_table(self) -> FieldTable {
        table(self.all().map(|(limit, value)| (limit.name(), value.into())).collect())
    }

    fn of_table(kept: &FieldTable) -> Self {
        let mut limits = Self::default();
        for limit in Limit::ALL {
            if let Some(FieldValue::Long(value)) = kept.get(limit.name()) {
                limits = limits.with(limit, Some(*value));
            }
        }
        limits
    }
}

fn table(fields: Vec<(&'static str, FieldValue)>) -> FieldTable {
    let pair = |(name, value)| (ShortString::from_static(name), value);
    fields.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_back_as_they_were() {
        let limits = Limits::default().with(Limit::Queues, Some(-7));
        for settings in [
            Settings::default(),
            Settings::of_main(),
            Settings {
                description: "all of ours".into(),
                tags: vec!["a".into(), String::new(), "b,c".into()],
                default_queue_type: Some(QueueType::Quorum),
                protected: Some(false),
                tracing: true,
                limits: Some(limits),
            },
        ] {
            assert_eq!(Settings::of_table(&settings.to_table()), settings);
        }
    }

    #[test]
    fn a_negative_limit_is_none() {
        let most = |value| {
            let limits = Some(Limits::default().with(Limit::Connections, value));
            let settings = Settings {
                limits,
                ..Settings::default()
            };
            settings.most(Limit::Connections)
        };
        assert_eq!(
            [Some(-1), Some(0), Some(3), None].map(most),
            [None, Some(0), Some(3), None]
        );
        assert_eq!(Settings::default().most(Limit::Queues), None);
    }
}
