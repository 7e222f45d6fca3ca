//! Queue: declaring, binding, purging, deleting. Class 50.
//!
//! Comes in: arguments as octets. Goes out: one struct a method. Does not know about which queues exist.

use crate::field::RawTable;
use crate::short_string::ShortString;

methods! {
    /// Declares a queue.
    QueueDeclare(50, 10, "queue.declare") [u16] {
        /// Its name; empty lets the server choose one.
        queue: ShortString,
        /// Only ask whether it exists.
        passive: bool,
        /// Survives a restart.
        durable: bool,
        /// For this connection only, and gone with it.
        exclusive: bool,
        /// Goes with its last consumer.
        auto_delete: bool,
        /// No reply is wanted.
        no_wait: bool,
        /// x-message-ttl and the like.
        arguments: RawTable,
    } []

    /// It exists.
    QueueDeclareOk(50, 11, "queue.declare-ok") [] {
        /// Its name.
        queue: ShortString,
        /// Messages that are ready.
        message_count: u32,
        /// Consumers.
        consumer_count: u32,
    } []

    /// Binds a queue to an exchange.
    QueueBind(50, 20, "queue.bind") [u16] {
        /// The queue; empty means the last one declared on the channel.
        queue: ShortString,
        /// The exchange.
        exchange: ShortString,
        /// Binding key.
        routing_key: ShortString,
        /// No reply is wanted.
        no_wait: bool,
        /// The headers that a headers exchange compares.
        arguments: RawTable,
    } []

    /// It is bound.
    QueueBindOk(50, 21, "queue.bind-ok") [] {} []

    /// Drops all messages that are ready.
    QueuePurge(50, 30, "queue.purge") [u16] {
        /// The queue; empty means the last one declared on the channel.
        queue: ShortString,
        /// No reply is wanted.
        no_wait: bool,
    } []

    /// They are gone.
    QueuePurgeOk(50, 31, "queue.purge-ok") [] {
        /// Messages dropped.
        message_count: u32,
    } []

    /// Deletes a queue.
    QueueDelete(50, 40, "queue.delete") [u16] {
        /// The queue; empty means the last one declared on the channel.
        queue: ShortString,
        /// Only without consumers.
        if_unused: bool,
        /// Only without messages.
        if_empty: bool,
        /// No reply is wanted.
        no_wait: bool,
    } []

    /// It is gone.
    QueueDeleteOk(50, 41, "queue.delete-ok") [] {
        /// Messages that went with it.
        message_count: u32,
    } []

    /// Takes a binding away.
    QueueUnbind(50, 50, "queue.unbind") [u16] {
        /// The queue; empty means the last one declared on the channel.
        queue: ShortString,
        /// The exchange.
        exchange: ShortString,
        /// Binding key.
        routing_key: ShortString,
        /// Those of the binding.
        arguments: RawTable,
    } []

    /// It is gone.
    QueueUnbindOk(50, 51, "queue.unbind-ok") [] {} []
}
