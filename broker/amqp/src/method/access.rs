//! Access: tickets of AMQP 0-8, which RabbitMQ still answers. Class 30.
//!
//! Comes in: arguments as octets. Goes out: one struct a method. Does not know about permissions.

use crate::short_string::ShortString;

methods! {
    /// Asks for a ticket.
    AccessRequest(30, 10, "access.request") [] {
        /// Ignored.
        realm: ShortString,
        /// Ignored.
        exclusive: bool,
        /// Ignored.
        passive: bool,
        /// Ignored.
        active: bool,
        /// Ignored.
        write: bool,
        /// Ignored.
        read: bool,
    } []

    /// Grants it.
    AccessRequestOk(30, 11, "access.request-ok") [] {
        /// The ticket; RabbitMQ says 1.
        ticket: u16,
    } []
}
