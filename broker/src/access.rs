//! Users, and what they may do.
//!
//! Comes in: a name and a password, a token, or the name in a certificate; later a right and the object that it is
//! needed for; users as they are made and changed. Goes out: an `Actor`, in whose name every operation of a vhost is
//! carried out, and the answer whether it may; records of users in the log.
//! Does not know which operation needs which right: `vhost` asks, at every place where RabbitMQ does.

/// Logins over all protocols: who gets in, and how often that is tried.
pub mod logins;

/// A user at work.
pub mod actor;

/// Rights of a user, looked up.
pub mod live;

/// Rights of a token.
pub mod granted;

/// All users, kept in the log.
pub mod directory;

/// Passwords, proved.
pub mod proof;

/// The users of the settings.
pub mod users;

/// Tokens of identity providers.
pub mod oauth;

/// Scopes of a token.
pub mod scope;

/// Failed logins by address, and how long the next one waits.
pub mod delay;

/// Logins, counted.
pub mod attempts;

/// Name and password in files.
pub mod secret;

/// Users in the log's table.
pub mod record;

/// One user.
pub mod user;

/// Passwords as they are kept.
pub mod hash;

/// Passwords, compared in constant time.
pub mod password;

/// Rights of a user, as they were given.
pub mod rights;

/// Rights, and the names that they extend to.
pub mod permissions;

pub use actor::{Actor, INTERNAL_USER};
pub use logins::Access;
