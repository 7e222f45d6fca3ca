//! Users of the settings: `guest` with password `guest`, which a fresh broker has as a fresh RabbitMQ does; or an
//! administrator whom files name.
//!
//! Comes in: a name, and the address that it comes from. Goes out: whether it may log in from there; why not (for the
//! log, not for the client). Does not know about the users that the log has.

use super::oauth::Fault;
use std::net::IpAddr;
use std::path::PathBuf;

/// The first user of a broker that nothing has been configured for.
pub const GUEST: &str = "guest";
/// The vhost that it has all rights in.
pub const FIRST_VHOST: &str = "/";

/// The users of the settings.
#[derive(Clone, Debug)]
pub enum Users {
    /// `guest`, with its well-known password, is made at the first start; it can be changed and deleted.
    Guest {
        /// Only from this machine.
        loopback_only: bool,
        /// False if the first start has definitions to load instead, which have users of their own (RabbitMQ).
        made: bool,
    },
    /// The one that two files name, one line each, as a mounted Secret has them. They are looked at with every login,
    /// so that a changed password holds from then on. The API can't change or delete it.
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
    /// The key is nobody's.
    #[error("the key is not known")]
    Stranger,
    /// The password is another one.
    #[error("wrong password for user '{0}'")]
    Password(String),
    /// The user may only log in from this machine.
    #[error("user '{0}' can only connect via localhost")]
    NotFromThere(String),
    /// Others from the same address have failed while it waited.
    #[error("too many logins from this address have failed meanwhile")]
    Late,
    /// The token is not accepted.
    #[error("Authentication using an OAuth 2/JWT token failed: {0}")]
    Token(Fault),
    /// The token is good, and of nobody who is known.
    #[error("the token is of '{0}', and there is no user of this name")]
    NoUser(String),
    /// The client's certificate has no name that a user may have.
    #[error("no name found")]
    Nameless,
    /// The name in the certificate is no user's.
    #[error("the certificate is of '{0}', and there is no user of this name")]
    NotKnown(String),
    /// The users can't be told.
    #[error("{0}")]
    Unreadable(String),
}

impl Users {
    /// True if a user may not log in from an address: `guest`, whose password may be the one that everybody knows, from
    /// another machine.
    pub fn are_shut_out(&self, user: &str, from: IpAddr) -> bool {
        let anywhere = matches!(
            self,
            Self::Guest {
                loopback_only: false,
                ..
            }
        );
        user == GUEST && !anywhere && !from.to_canonical().is_loopback()
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
        let guest = |loopback_only| Users::Guest {
            loopback_only,
            made: true,
        };
        let users = guest(true);
        assert!(!users.are_shut_out("guest", HERE) && users.are_shut_out("guest", ELSEWHERE));
        assert!(!users.are_shut_out("other", ELSEWHERE));
        let from_anywhere = guest(false);
        assert!(!from_anywhere.are_shut_out("guest", ELSEWHERE));
        let (user, password) = (PathBuf::new(), PathBuf::new());
        let files = Users::Files { user, password };
        assert!(files.are_shut_out("guest", ELSEWHERE) && !files.are_shut_out("admin", ELSEWHERE));
    }
}
