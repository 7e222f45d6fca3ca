//! Who may log in: `guest` with password `guest`, as a fresh RabbitMQ has it; or, where files name an administrator, that one only.
//!
//! Comes in: user and password, and where they come from. Goes out: yes, or why not (for the log, not for the client).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The user of a broker that nobody has configured.
const USER: &str = "guest";
const PASSWORD: &str = "guest";

static ADMINISTRATOR: OnceLock<String> = OnceLock::new();

/// Name of the only user, as it was at start: who the HTTP API and the events say has done things.
pub fn administrator() -> &'static str {
    ADMINISTRATOR.get().map_or(USER, String::as_str)
}

/// The users of a broker: exactly one in this version.
#[derive(Clone, Debug)]
pub enum Users {
    /// `guest`, with its well-known password.
    Guest {
        /// Only from this machine.
        loopback_only: bool,
    },
    /// The one that two files name, one line each, as a mounted Secret has them. They are read at every login, so that a changed
    /// password holds from then on.
    Files {
        /// File with the name.
        user: PathBuf,
        /// File with the password.
        password: PathBuf,
    },
}

impl Users {
    /// Makes these the users of this process, for [`administrator`]. Only the first call counts.
    pub fn publish(&self) {
        let name = match self {
            Self::Guest { .. } => USER.to_owned(),
            Self::Files { user, .. } => line(user).unwrap_or_else(|_| USER.to_owned()),
        };
        let _ = ADMINISTRATOR.set(name);
    }

    /// Checks a login from an address.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, user: &str, password: &str, from: IpAddr) -> Result<(), String> {
        let (expected, secret) = match self {
            Self::Guest { .. } => (USER.to_owned(), PASSWORD.to_owned()),
            Self::Files { user, password } => (line(user)?, line(password)?),
        };
        if user != expected {
            return Err(format!("user '{user}' doesn't exist"));
        }
        if !same(password.as_bytes(), secret.as_bytes()) {
            return Err(format!("wrong password for user '{user}'"));
        }
        match self {
            Self::Guest { loopback_only: true } if !from.to_canonical().is_loopback() => {
                Err(format!("user '{user}' can only connect via localhost"))
            }
            _ => Ok(()),
        }
    }
}

/// The first line of a file. An empty one would be a login for everybody.
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

/// Compares in a time that doesn't tell where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
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
        assert_eq!(users.check("guest", "guest", HERE), Ok(()));
        assert!(users.check("guest", "wrong", HERE).is_err());
        assert!(users.check("nobody", "guest", HERE).is_err());
        assert!(users.check("guest", "guest", ELSEWHERE).is_err());
        assert_eq!(
            Users::Guest { loopback_only: false }.check("guest", "guest", ELSEWHERE),
            Ok(())
        );
    }

    #[test]
    fn an_administrator_from_files_replaces_guest_and_may_change() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let (user, password) = (folder.path().join("username"), folder.path().join("password"));
        let users = Users::Files {
            user: user.clone(),
            password: password.clone(),
        };
        assert!(
            users
                .check("admin", "secret", ELSEWHERE)
                .expect_err("no files")
                .contains("username")
        );
        std::fs::write(&user, "admin\n").expect("written");
        std::fs::write(&password, "secret").expect("written");
        assert_eq!(users.check("admin", "secret", ELSEWHERE), Ok(()));
        assert!(users.check("guest", "guest", HERE).is_err());
        std::fs::write(&password, "changed\n").expect("written");
        assert!(users.check("admin", "secret", ELSEWHERE).is_err());
        assert_eq!(users.check("admin", "changed", ELSEWHERE), Ok(()));
        std::fs::write(&password, "\n").expect("written");
        assert!(users.check("admin", "", ELSEWHERE).is_err());
    }
}
