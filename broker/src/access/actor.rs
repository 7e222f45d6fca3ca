//! A user at work, in whose name every operation of a vhost is carried out.
//!
//! Comes in: a right and the object that it is needed for. Goes out: the answer, or a refusal in RabbitMQ's words.
//! Does not know which operation needs which right: `vhost` asks, at every place where RabbitMQ does.

use super::permissions::{Permissions, Resource, Right};
use crate::error::{Error, Result};

/// The name in events of what the broker does by itself (RabbitMQ's).
pub const INTERNAL_USER: &str = "rmq-internal";

/// A user at work: on a connection, or over HTTP.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The user who logged in.
    pub user: String,
    /// The connection, which owns the exclusive queues that are declared on it; none over HTTP.
    pub connection: Option<u64>,
    /// Rights of the user.
    pub permissions: Permissions,
}

impl Actor {
    /// Asks for a right to an exchange or queue.
    ///
    /// # Errors
    /// 403 with RabbitMQ's words.
    pub fn check(&self, right: Right, resource: &Resource<'_>) -> Result<()> {
        if self.permissions.allow(right, resource) {
            return Ok(());
        }
        let (right, user) = (right.name(), &self.user);
        Err(Error::AccessRefused(
            format!("{right} access to {resource} refused for user '{user}'").into(),
        ))
    }

    /// Asks for the right to work in a vhost.
    ///
    /// # Errors
    /// 530 with RabbitMQ's words.
    pub fn check_vhost(&self, vhost: &str) -> Result<()> {
        if self.permissions.any() {
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
        Actor {
            user: "reader".into(),
            connection: Some(1),
            permissions: Permissions {
                read: Names::All,
                ..Permissions::NONE
            },
        }
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
        let nowhere = Actor {
            permissions: Permissions::NONE,
            ..reader()
        };
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
