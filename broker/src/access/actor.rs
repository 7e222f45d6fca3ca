//! A user at work, in whose name every operation of a vhost is carried out.
//!
//! Comes in: a right and the object that it is needed for. Goes out: the answer, or a refusal in RabbitMQ's words.
//! Does not know which operation needs which right: `vhost` asks, at every place where RabbitMQ does.

use super::granted::Granted;
use super::live::Live;
use super::oauth::{Fault, Verified};
use super::permissions::{Permissions, Resource, Right};
use super::user::Tags;
use crate::error::{Error, Result};
use leveret_store::Urgency;
use std::sync::Arc;
use std::time::Duration;

/// The name in events of what the broker does by itself (RabbitMQ's).
pub const INTERNAL_USER: &str = "rmq-internal";

/// A user at work: on a connection, or over HTTP.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The user who logged in.
    pub user: String,
    /// The connection, which owns the exclusive queues that are declared on it; none over HTTP.
    pub connection: Option<u64>,
    rights: Rights,
    /// Tags of the user.
    pub tags: Tags,
    /// The urgency of its declarations and bindings.
    pub urgency: Urgency,
    /// The token that the user has logged in with.
    token: Option<Arc<Granted>>,
}

/// The rights of a user at work.
#[derive(Clone, Debug)]
enum Rights {
    /// The same in every vhost, for ever.
    Fixed(Permissions),
    /// Those that it has at the time.
    Live(Arc<Live>),
    /// Those that its token grants.
    Granted(Arc<Granted>),
}

impl Actor {
    /// A user without tags, not on a connection, whose rights are the same in every vhost and don't change.
    pub fn new(user: &str, permissions: Permissions) -> Self {
        Self {
            user: user.to_owned(),
            connection: None,
            rights: Rights::Fixed(permissions),
            tags: Tags::default(),
            urgency: Urgency::Now,
            token: None,
        }
    }

    /// The same for many declarations and bindings, of which only the last is waited for.
    pub fn unhurried(self) -> Self {
        let urgency = Urgency::Soon;
        Self { urgency, ..self }
    }

    /// The user of a token, with the rights that it grants.
    pub fn of_token(verified: Arc<Verified>) -> Self {
        let token = Arc::new(Granted::new(verified.clone()));
        Self {
            rights: Rights::Granted(token.clone()),
            token: Some(token),
            ..Self::new(&verified.user, Permissions::NONE).with_tags(verified.tags.clone())
        }
    }

    /// The same for as long as a token works.
    pub fn for_token(self, verified: Arc<Verified>) -> Self {
        let token = Some(Arc::new(Granted::new(verified)));
        Self { token, ..self }
    }

    /// The same with the rights that the user has at the time.
    pub fn with_rights(self, live: Live) -> Self {
        let rights = Rights::Live(Arc::new(live));
        Self { rights, ..self }
    }

    /// The same on a connection.
    pub fn on(self, connection: u64) -> Self {
        let connection = Some(connection);
        Self { connection, ..self }
    }

    /// The same with tags.
    pub fn with_tags(self, tags: Tags) -> Self {
        Self { tags, ..self }
    }

    /// Asks for a right to an exchange or queue.
    ///
    /// # Errors
    /// 403 with RabbitMQ's words.
    pub fn check(&self, right: Right, resource: &Resource<'_>) -> Result<()> {
        let allowed = match &self.rights {
            Rights::Fixed(permissions) => permissions.allow(right, resource),
            Rights::Live(live) => live.allow(right, resource),
            Rights::Granted(token) => token.allow(right, resource),
        };
        if allowed {
            return Ok(());
        }
        let (right, user) = (right.name(), &self.user);
        Err(Error::AccessRefused(
            format!("{right} access to {resource} refused for user '{user}'").into(),
        ))
    }

    /// Asks for a right to a routing key of a topic exchange.
    ///
    /// # Errors
    /// 403 with RabbitMQ's words.
    pub fn check_topic(&self, right: Right, exchange: &Resource<'_>, key: &[u8]) -> Result<()> {
        let name = || String::from_utf8_lossy(exchange.name);
        let allowed = match &self.rights {
            Rights::Fixed(_) => true,
            Rights::Live(live) => live.allow_topic(right, exchange.vhost, &name(), key),
            Rights::Granted(token) => token.allow_topic(right, exchange.vhost, exchange.name, key),
        };
        if allowed {
            return Ok(());
        }
        let (right, user, key) = (right.name(), &self.user, String::from_utf8_lossy(key));
        Err(Error::AccessRefused(
            format!("{right} access to topic '{key}' in {exchange} refused for user '{user}'").into(),
        ))
    }

    /// Grows with every change of the rights: what was allowed before has to be asked for again.
    #[inline]
    pub fn version(&self) -> u64 {
        match &self.rights {
            Rights::Fixed(_) => 0,
            Rights::Live(live) => live.version(),
            Rights::Granted(token) => token.version(),
        }
    }

    /// True if the user is one of the broker's own.
    pub fn is_internal(&self) -> bool {
        !matches!(self.rights, Rights::Granted(_))
    }

    /// True if a token is what the user has logged in with.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The time until its token doesn't work any more; `None` if there is no such end.
    pub fn left(&self) -> Option<Duration> {
        self.token.as_ref()?.left()
    }

    /// Goes on with a newer token.
    ///
    /// # Errors
    /// It is of another user, or for another purpose.
    pub fn renew(&mut self, newer: Arc<Verified>) -> std::result::Result<(), Fault> {
        let Some(token) = &self.token else { return Ok(()) };
        token.renew(newer.clone())?;
        if !self.is_internal() {
            self.tags = newer.tags.clone();
        }
        Ok(())
    }

    /// True if the actor may work in a vhost.
    pub fn may_enter(&self, vhost: &str) -> bool {
        match &self.rights {
            Rights::Fixed(permissions) => permissions.any(),
            Rights::Live(live) => live.may_enter(vhost),
            Rights::Granted(token) => token.may_enter(vhost),
        }
    }

    /// Asks for the right to work in a vhost.
    ///
    /// # Errors
    /// 530 with RabbitMQ's words.
    pub fn check_vhost(&self, vhost: &str) -> Result<()> {
        if self.may_enter(vhost) {
            return Ok(());
        }
        let text = format!("access to vhost '{vhost}' refused for user '{}'", self.user);
        Err(Error::NotAllowed(text.into()))
    }

    /// True if a queue with this owner is another connection's.
    pub fn is_shut_out(&self, owner: Option<u64>) -> bool {
        owner.is_some() && owner != self.connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::permissions::{Kind, Names};

    fn reader() -> Actor {
        let permissions = Permissions {
            read: Names::All,
            ..Permissions::NONE
        };
        Actor::new("reader", permissions).on(1)
    }

    #[test]
    fn a_refusal_names_right_object_and_user() {
        let resource = |name| Resource {
            vhost: "/",
            kind: Kind::Exchange,
            name,
        };
        assert!(reader().check(Right::Read, &resource(b"x")).is_ok());
        let refused = |name| {
            reader()
                .check(Right::Write, &resource(name))
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            refused(b"x"),
            Err("write access to exchange 'x' in vhost '/' refused for user 'reader'".into())
        );
        assert_eq!(
            refused(b""),
            Err("write access to exchange 'amq.default' in vhost '/' refused for user 'reader'".into())
        );
        let nowhere = Actor::new("reader", Permissions::NONE);
        assert!(reader().check_vhost("/").is_ok());
        assert_eq!(
            nowhere.check_vhost("/").map_err(|error| error.to_string()),
            Err("access to vhost '/' refused for user 'reader'".into())
        );
    }

    #[test]
    fn an_exclusive_queue_is_its_connections_alone() {
        let (on_a_connection, over_http) = (
            reader(),
            Actor {
                connection: None,
                ..reader()
            },
        );
        for (owner, shut_out) in [(None, false), (Some(1), false), (Some(2), true)] {
            assert_eq!(on_a_connection.is_shut_out(owner), shut_out);
        }
        assert!(over_http.is_shut_out(Some(1)) && !over_http.is_shut_out(None));
    }
}
