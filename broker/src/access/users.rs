//! Users: `guest` with password `guest`, as a fresh RabbitMQ has it; or, where files name an administrator, that one
//! only.
//!
//! Comes in: user and password, and the address they come from. Goes out: the actor, or why not (for the log, not for
//! the client).

use super::actor::Actor;
use super::password;
use super::permissions::Permissions;
use super::secret::Credentials;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The user of a broker that nothing has been configured for.
const USER: &str = "guest";
const PASSWORD: &str = "guest";
/// The tags of every user: there is no other than an administrator.
pub const TAGS: [&str; 1] = ["administrator"];
/// The rights of every user.
pub const PERMISSIONS: Permissions = Permissions::ALL;

/// The users of a broker: exactly one in this version.
#[derive(Clone, Debug)]
pub enum Users {
    /// `guest`, with its well-known password.
    Guest {
        /// Only from this machine.
        loopback_only: bool,
    },
    /// The one that two files name, one line each, as a mounted Secret has them. They are looked at with every login,
    /// so that a changed password holds from then on.
    Files {
        /// File with the name.
        user: PathBuf,
        /// File with the password.
        password: PathBuf,
    },
}

/// The reason of a refusal, for the log: with names of users only, and not with what was given in their place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name is no user's.
    #[error("there is no such user")]
    Unknown,
    /// The password is another one.
    #[error("wrong password for user '{0}'")]
    Password(String),
    /// The user may only log in from this machine.
    #[error("user '{0}' can only connect via localhost")]
    NotFromThere(String),
    /// The users can't be told.
    #[error("{0}")]
    Unreadable(String),
}

impl Users {
    /// The user of a broker that nothing has been configured for.
    pub fn guest() -> Arc<Credentials> {
        Arc::new(Credentials {
            user: USER.to_owned(),
            password: PASSWORD.to_owned(),
        })
    }

    /// Checks a login from an address against the one that is known. Gives the actor, without a connection.
    ///
    /// # Errors
    /// The reason of a refusal.
    pub fn check(&self, known: &Credentials, user: &str, password: &str, from: IpAddr) -> Result<Actor, Refusal> {
        if user != known.user {
            return Err(Refusal::Unknown);
        }
        if !password::matches(password, &known.password) {
            return Err(Refusal::Password(user.to_owned()));
        }
        match self {
            Self::Guest { loopback_only: true } if !from.to_canonical().is_loopback() => {
                Err(Refusal::NotFromThere(user.to_owned()))
            }
            _ => Ok(Actor {
                user: user.to_owned(),
                connection: None,
                permissions: PERMISSIONS,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn guest_logs_in_from_this_machine_only() {
        let users = Users::Guest { loopback_only: true };
        let login = |users: &Users, user: &str, password: &str, from| {
            let checked = users.check(&Users::guest(), user, password, from);
            checked.map(|actor| actor.user).map_err(|reason| reason.to_string())
        };
        let guest = Ok("guest".to_owned());
        assert_eq!(login(&users, "guest", "guest", HERE), guest);
        let wrong = "wrong password for user 'guest'";
        assert_eq!(login(&users, "guest", "wrong", HERE), Err(wrong.into()));
        assert_eq!(
            login(&users, "nobody", "guest", HERE),
            Err("there is no such user".into())
        );
        assert!(login(&users, "guest", "guest", ELSEWHERE).is_err());
        let from_anywhere = Users::Guest { loopback_only: false };
        assert_eq!(login(&from_anywhere, "guest", "guest", ELSEWHERE), guest);
    }
}
