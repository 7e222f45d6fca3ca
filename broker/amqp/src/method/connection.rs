//! Connection: negotiation, opening and closing. Class 10.
//!
//! Comes in: arguments as octets. Goes out: one struct a method. Does not know about the order of negotiation.

use bytes::Bytes;

use crate::field::{FieldTable, RawTable};
use crate::short_string::ShortString;

methods! {
    /// Server to client, first: who the server is.
    ConnectionStart(10, 10, "connection.start") [] {
        /// 0.
        version_major: u8,
        /// 9.
        version_minor: u8,
        /// Product, version, capabilities.
        server_properties: FieldTable,
        /// SASL mechanisms, space between.
        mechanisms: Bytes,
        /// Locales, space between.
        locales: Bytes,
    } []

    /// Client to server: who the client is, and its credentials.
    ConnectionStartOk(10, 11, "connection.start-ok") [] {
        /// Product, version, capabilities.
        client_properties: RawTable,
        /// The chosen SASL mechanism.
        mechanism: ShortString,
        /// Its first response.
        response: Bytes,
        /// The chosen locale.
        locale: ShortString,
    } []

    /// Server to client: another SASL round.
    ConnectionSecure(10, 20, "connection.secure") [] {
        /// The mechanism's question.
        challenge: Bytes,
    } []

    /// Client to server: the answer to it.
    ConnectionSecureOk(10, 21, "connection.secure-ok") [] {
        /// The mechanism's answer.
        response: Bytes,
    } []

    /// Server to client: the limits it proposes.
    ConnectionTune(10, 30, "connection.tune") [] {
        /// Highest channel number; 0 means no limit.
        channel_max: u16,
        /// Octets of a whole frame, at most; 0 means no limit.
        frame_max: u32,
        /// Seconds; 0 means none.
        heartbeat: u16,
    } []

    /// Client to server: the limits it takes.
    ConnectionTuneOk(10, 31, "connection.tune-ok") [] {
        /// Highest channel number; 0 means no limit.
        channel_max: u16,
        /// Octets of a whole frame, at most; 0 means no limit.
        frame_max: u32,
        /// Seconds; 0 means none.
        heartbeat: u16,
    } []

    /// Client to server: the virtual host it wants.
    ConnectionOpen(10, 40, "connection.open") [] {
        /// The virtual host.
        virtual_host: ShortString,
    } [ShortString, bool]

    /// Server to client: the connection is open.
    ConnectionOpenOk(10, 41, "connection.open-ok") [] {} [ShortString]

    /// Either side: the connection ends.
    ConnectionClose(10, 50, "connection.close") [] {
        /// See [`crate::ReplyCode`].
        reply_code: u16,
        /// Name of the code and explanation.
        reply_text: ShortString,
        /// Class of the method that failed; 0 if none did.
        class_id: u16,
        /// The method that failed; 0 if none did.
        method_id: u16,
    } []

    /// The answer to it; nothing follows.
    ConnectionCloseOk(10, 51, "connection.close-ok") [] {} []

    /// Server to client (RabbitMQ): publishing is not read for now.
    ConnectionBlocked(10, 60, "connection.blocked") [] {
        /// For people.
        reason: ShortString,
    } []

    /// Server to client (RabbitMQ): publishing is read again.
    ConnectionUnblocked(10, 61, "connection.unblocked") [] {} []

    /// Client to server (RabbitMQ): new credentials for this connection.
    ConnectionUpdateSecret(10, 70, "connection.update-secret") [] {
        /// The secret.
        new_secret: Bytes,
        /// For people.
        reason: ShortString,
    } []

    /// They hold.
    ConnectionUpdateSecretOk(10, 71, "connection.update-secret-ok") [] {} []
}
