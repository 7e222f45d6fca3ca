//! Users, and what they may do.
//!
//! Comes in: a name and a password; later a right and the object that it is needed for. Goes out: an `Actor`, in whose
//! name every operation of a vhost is carried out, and the answer whether it may.
//! Does not know which operation needs which right: `vhost` asks, at every place where RabbitMQ does.

/// Logins over all protocols: who gets in, and how often that is tried.
pub mod logins;

/// The users that can log in.
pub mod users;

/// Failed logins by address, and how long the next one waits.
pub mod delay;

/// Logins, counted.
pub mod attempts;

/// Name and password in files.
pub mod secret;

/// Passwords, compared in constant time.
pub mod password;

/// A user at work.
pub mod actor;

/// Rights, and the names that they extend to.
pub mod permissions;

pub use actor::{Actor, INTERNAL_USER};
pub use logins::Access;
