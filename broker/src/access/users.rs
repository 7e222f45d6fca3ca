//! Users: `guest` with password `guest`, as a fresh RabbitMQ has it; or, where files name an administrator, that one
//! only.
//!
//! Comes in: user and password, and the address they come from. Goes out: the actor, or why not (for the log, not for
//! the client).

use super::actor::Actor;
use super::password;
use super::permissions::Permissions;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

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
    /// The one that two files name, one line each, as a mounted Secret has them. They are read at every login, so that
    /// a changed password holds from then on.
    Files {
        /// File with the name.
        user: PathBuf,
        /// File with the password.
        password: PathBuf,
    },
}

impl Users {
    /// The names of all users: one, or none while the file with the name can't be read.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Guest { .. } => vec![USER.to_owned()],
            Self::Files { user, .. } => line(user).into_iter().collect(),
        }
    }

    /// Checks a login from an address. Gives the actor, without a connection.
    ///
    /// # Errors
    /// The reason of a refusal.
    pub fn login(&self, user: &str, password: &str, from: IpAddr) -> Result<Actor, String> {
        let (expected, secret) = match self {
            Self::Guest { .. } => (USER.to_owned(), PASSWORD.to_owned()),
            Self::Files { user, password } => (line(user)?, line(password)?),
        };
        if user != expected {
            return Err(format!("user '{user}' doesn't exist"));
        }
        if !password::matches(password, &secret) {
            return Err(format!("wrong password for user '{user}'"));
        }
        match self {
            Self::Guest { loopback_only: true } if !from.to_canonical().is_loopback() => {
                Err(format!("user '{user}' can only connect via localhost"))
            }
            _ => Ok(Actor {
                user: user.to_owned(),
                connection: None,
                permissions: PERMISSIONS,
            }),
        }
    }
}

/// The first line of a file. An empty one would let anyone log in.
///
/// # Errors
/// The file with what is wrong.
pub fn line(path: &Path) -> Result<String, String> {
    let text = crate::files::read_text(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let line = text
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches('\r')
        .to_owned();
    if line.is_empty() {
        Err(format!("{}: the first line is empty", path.display()))
    } else {
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    /// The user of a login that is accepted.
    fn login(users: &Users, user: &str, password: &str, from: IpAddr) -> Result<String, String> {
        users.login(user, password, from).map(|actor| actor.user)
    }

    #[test]
    fn guest_logs_in_from_this_machine_only() {
        let users = Users::Guest { loopback_only: true };
        let guest = Ok("guest".to_owned());
        assert_eq!(login(&users, "guest", "guest", HERE), guest);
        assert!(login(&users, "guest", "wrong", HERE).is_err());
        assert!(login(&users, "nobody", "guest", HERE).is_err());
        assert!(login(&users, "guest", "guest", ELSEWHERE).is_err());
        let from_anywhere = Users::Guest { loopback_only: false };
        assert_eq!(login(&from_anywhere, "guest", "guest", ELSEWHERE), guest);
    }

    #[test]
    fn an_administrator_from_files_replaces_guest_and_may_change() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let (user, password) = (folder.path().join("username"), folder.path().join("password"));
        let users = Users::Files {
            user: user.clone(),
            password: password.clone(),
        };
        let no_files = login(&users, "admin", "secret", ELSEWHERE).expect_err("no files");
        assert!(no_files.contains("username"), "{no_files}");
        assert!(users.names().is_empty());
        std::fs::write(&user, "admin\n").expect("written");
        std::fs::write(&password, "secret").expect("written");
        let admin = Ok("admin".to_owned());
        assert_eq!(users.names(), ["admin"]);
        assert_eq!(login(&users, "admin", "secret", ELSEWHERE), admin);
        assert!(login(&users, "guest", "guest", HERE).is_err());
        std::fs::write(&password, "changed\n").expect("written");
        assert!(login(&users, "admin", "secret", ELSEWHERE).is_err());
        assert_eq!(login(&users, "admin", "changed", ELSEWHERE), admin);
        std::fs::write(&password, "\n").expect("written");
        assert!(login(&users, "admin", "", ELSEWHERE).is_err());
    }
}
