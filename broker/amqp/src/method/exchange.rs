//! Exchange: declaring, deleting, and binding one to another. Class 40.
//!
//! Comes in: arguments as octets. Goes out: one struct a method. Does not know about which exchanges exist.

use crate::field::RawTable;
use crate::short_string::ShortString;

methods! {
    /// Declares an exchange.
    ExchangeDeclare(40, 10, "exchange.declare") [u16] {
        /// Its name.
        exchange: ShortString,
        /// Its type: direct, fanout, topic, headers.
        kind: ShortString,
        /// Only ask whether it exists.
        passive: bool,
        /// Survives a restart.
        durable: bool,
        /// Goes with its last binding.
        auto_delete: bool,
        /// Takes messages from exchanges only.
        internal: bool,
        /// No reply is wanted.
        no_wait: bool,
        /// alternate-exchange and the like.
        arguments: RawTable,
    } []

    /// It exists.
    ExchangeDeclareOk(40, 11, "exchange.declare-ok") [] {} []

    /// Deletes an exchange.
    ExchangeDelete(40, 20, "exchange.delete") [u16] {
        /// Its name.
        exchange: ShortString,
        /// Only if nothing is bound to it.
        if_unused: bool,
        /// No reply is wanted.
        no_wait: bool,
    } []

    /// It is gone.
    ExchangeDeleteOk(40, 21, "exchange.delete-ok") [] {} []

    /// Binds an exchange to an exchange (RabbitMQ).
    ExchangeBind(40, 30, "exchange.bind") [u16] {
        /// The exchange that receives.
        destination: ShortString,
        /// The exchange that sends.
        source: ShortString,
        /// Binding key.
        routing_key: ShortString,
        /// No reply is wanted.
        no_wait: bool,
        /// The headers that a headers exchange compares.
        arguments: RawTable,
    } []

    /// It is bound.
    ExchangeBindOk(40, 31, "exchange.bind-ok") [] {} []

    /// Takes such a binding away (RabbitMQ).
    ExchangeUnbind(40, 40, "exchange.unbind") [u16] {
        /// The exchange that receives.
        destination: ShortString,
        /// The exchange that sends.
        source: ShortString,
        /// Binding key.
        routing_key: ShortString,
        /// No reply is wanted.
        no_wait: bool,
        /// Those of the binding.
        arguments: RawTable,
    } []

    /// It is gone.
    ExchangeUnbindOk(40, 51, "exchange.unbind-ok") [] {} []
}
