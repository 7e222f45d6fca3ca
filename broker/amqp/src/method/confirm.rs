//! Confirm: publisher confirms (RabbitMQ). Class 85.
//!
//! Comes in: arguments as octets. Goes out: one struct a method. Does not know about what a confirm promises.

methods! {
    /// From here on every publish is confirmed.
    ConfirmSelect(85, 10, "confirm.select") [] {
        /// No reply is wanted.
        no_wait: bool,
    } []

    /// It is so.
    ConfirmSelectOk(85, 11, "confirm.select-ok") [] {} []
}
