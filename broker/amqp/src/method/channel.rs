//! Channel: opening, closing and flow. Class 20.
//!
//! Comes in: arguments as octets. Goes out: one struct a method. Does not know about which channels are open.

use bytes::Bytes;

use crate::short_string::ShortString;

methods! {
    /// Opens the channel.
    ChannelOpen(20, 10, "channel.open") [] {} [ShortString]

    /// It is open.
    ChannelOpenOk(20, 11, "channel.open-ok") [] {} [Bytes]

    /// Asks the peer to pause or go on.
    ChannelFlow(20, 20, "channel.flow") [] {
        /// True if contents may flow.
        active: bool,
    } []

    /// It did.
    ChannelFlowOk(20, 21, "channel.flow-ok") [] {
        /// True if contents flow now.
        active: bool,
    } []

    /// Either side: the channel ends.
    ChannelClose(20, 40, "channel.close") [] {
        /// See [`crate::ReplyCode`].
        reply_code: u16,
        /// Name of the code and explanation.
        reply_text: ShortString,
        /// Class of the method that failed; 0 if none did.
        class_id: u16,
        /// The method that failed; 0 if none did.
        method_id: u16,
    } []

    /// The answer to it.
    ChannelCloseOk(20, 41, "channel.close-ok") [] {} []
}
