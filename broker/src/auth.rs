//! Who may log in. In this version there is one user, `guest` with password `guest`, as a fresh RabbitMQ has it.
//!
//! Comes in: user and password. Goes out: yes, or why not (for the log, not for the client).

/// The only user.
pub const USER: &str = "guest";
const PASSWORD: &str = "guest";

/// Checks a login.
///
/// # Errors
/// Why it is refused.
pub fn check(user: &str, password: &str) -> Result<(), String> {
    if user != USER {
        return Err(format!("user '{user}' doesn't exist"));
    }
    if password != PASSWORD {
        return Err(format!("wrong password for user '{user}'"));
    }
    Ok(())
}
