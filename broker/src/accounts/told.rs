//! Events about users and permissions, as RabbitMQ's event exchange has them.
//!
//! Comes in: what happened to a user. Goes out: the event. Does not know who is told.

use crate::events::Event;
use leveret_amqp::FieldValue;

/// Something that happened to a user.
#[derive(Debug)]
pub(super) enum Told {
    /// `user.created`
    Created,
    /// `user.deleted`
    Deleted,
    /// `user.password.changed`
    PasswordChanged,
    /// `user.password.cleared`
    PasswordCleared,
    /// `user.tags.set`
    TagsSet(Vec<String>),
    /// `user.limits.set`
    LimitsSet(Vec<(&'static str, i64)>),
    /// `user.limits.cleared`
    LimitsCleared,
    /// `permission.created`: vhost; configure, write, read.
    Permitted(String, [String; 3]),
    /// `permission.deleted`: vhost.
    Forbidden(String),
    /// `topic.permission.created`: vhost, exchange; write, read.
    TopicPermitted(String, String, [String; 2]),
    /// `topic.permission.deleted`: vhost.
    TopicForbidden(String),
}

/// Header names with their values.
type Headers = Vec<(&'static str, FieldValue)>;

impl Told {
    /// The event about a user.
    pub(super) fn event(&self, user: &str) -> Event {
        Event::other(self.key(), self.headers(user))
    }

    fn key(&self) -> &'static str {
        match self {
            Self::Created => "user.created",
            Self::Deleted => "user.deleted",
            Self::PasswordChanged => "user.password.changed",
            Self::PasswordCleared => "user.password.cleared",
            Self::TagsSet(_) => "user.tags.set",
            Self::LimitsSet(_) => "user.limits.set",
            Self::LimitsCleared => "user.limits.cleared",
            Self::Permitted(..) => "permission.created",
            Self::Forbidden(_) => "permission.deleted",
            Self::TopicPermitted(..) => "topic.permission.created",
            Self::TopicForbidden(_) => "topic.permission.deleted",
        }
    }

    fn headers(&self, user: &str) -> Headers {
        match self {
            Self::Created | Self::Deleted | Self::PasswordChanged | Self::PasswordCleared => {
                vec![("name", user.into())]
            }
            Self::TagsSet(tags) => {
                let tags = tags.iter().map(|tag| tag.as_str().into()).collect();
                vec![("name", user.into()), ("tags", FieldValue::Array(tags))]
            }
            Self::LimitsSet(limits) => {
                let mut headers: Headers = limits.iter().map(|(name, most)| (*name, (*most).into())).collect();
                headers.extend([("name", "limits".into()), ("username", user.into())]);
                headers
            }
            Self::LimitsCleared => vec![("name", "limits".into()), ("username", user.into())],
            Self::Permitted(vhost, [configure, write, read]) => vec![
                ("configure", configure.as_str().into()),
                ("read", read.as_str().into()),
                ("user", user.into()),
                ("vhost", vhost.as_str().into()),
                ("write", write.as_str().into()),
            ],
            Self::TopicPermitted(vhost, exchange, [write, read]) => vec![
                ("exchange", exchange.as_str().into()),
                ("read", read.as_str().into()),
                ("user", user.into()),
                ("vhost", vhost.as_str().into()),
                ("write", write.as_str().into()),
            ],
            Self::Forbidden(vhost) | Self::TopicForbidden(vhost) => {
                vec![("user", user.into()), ("vhost", vhost.as_str().into())]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_headers_of_rabbitmq() {
        let told = |what: Told| {
            let mut names: Vec<&str> = what.headers("u").into_iter().map(|(name, _)| name).collect();
            names.sort_unstable();
            format!("{}: {}", what.key(), names.join(" "))
        };
        assert_eq!(told(Told::Created), "user.created: name");
        assert_eq!(
            told(Told::TagsSet(vec!["management".into()])),
            "user.tags.set: name tags"
        );
        let limits = Told::LimitsSet(vec![("max-connections", 5)]);
        assert_eq!(told(limits), "user.limits.set: max-connections name username");
        let permitted = Told::Permitted("v".into(), Default::default());
        assert_eq!(told(permitted), "permission.created: configure read user vhost write");
        let topic = Told::TopicPermitted("v".into(), "x".into(), Default::default());
        assert_eq!(told(topic), "topic.permission.created: exchange read user vhost write");
        assert_eq!(
            told(Told::TopicForbidden("v".into())),
            "topic.permission.deleted: user vhost"
        );
    }
}
