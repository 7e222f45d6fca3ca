//! Names and versions by which clients and tools know this broker.
//!
//! Comes in: nothing. Goes out: constants.

/// The RabbitMQ version whose dialect and API this broker has: clients and tools look at it to know what they may ask.
pub const RABBITMQ_VERSION: &str = "4.3.6";

/// The text where RabbitMQ names its Erlang: there is none here, but tools insist on the field.
pub const ERLANG_VERSION: &str = "none";

/// The text where RabbitMQ names the library that does its cryptography.
pub const CRYPTO_VERSION: &str = "rustls";

/// This broker's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// This broker's name.
pub const PRODUCT: &str = "Leveret";
