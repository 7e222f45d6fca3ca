//! Methods: what a client asks and a server answers.
//!
//! Comes in: the payload of a method frame. Goes out: a struct with the arguments, and the payload again. The tickets
//! and reserved arguments of the specification are skipped on reading and written as zero.
//! Does not know about which method is allowed when.

/// Declares method structs, each with its reader and writer.
///
/// `[u16]` in front of the arguments and `[..]` behind them are reserved ones: skipped on reading, zero on writing.
macro_rules! methods {
    ($(
        $(#[$doc:meta])*
        $name:ident($class:literal, $method:literal, $wire_name:literal)
        [$($before:ty),*] { $( $(#[$field_doc:meta])* $field:ident: $domain:ty ),* $(,)? } [$($after:ty),*]
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Default, PartialEq, Eq)]
            pub struct $name { $( $(#[$field_doc])* pub $field: $domain, )* }

            impl $name {
                /// Class id and method id.
                pub const ID: (u16, u16) = ($class, $method);

                /// The specification's name.
                pub const NAME: &'static str = $wire_name;

                /// Any such method, for property tests.
                #[cfg(test)]
                pub(super) fn strategy() -> proptest::strategy::BoxedStrategy<$crate::method::Method> {
                    use proptest::strategy::{Just, Strategy};
                    (Just(()), $( <$domain as $crate::strategy::Domain>::any(), )*)
                        .prop_map(|((), $($field,)*)| Self { $($field),* }.into())
                        .boxed()
                }

                #[allow(unused_variables)]
                pub(super) fn read(reader: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::error::DecodeError> {
                    $( <$before as $crate::wire::Argument>::read(reader)?; )*
                    $( let $field = <$domain as $crate::wire::Argument>::read(reader)?; )*
                    $( <$after as $crate::wire::Argument>::read(reader)?; )*
                    Ok(Self { $($field),* })
                }

                #[allow(unused_variables)]
                pub(super) fn write(&self, writer: &mut $crate::wire::Writer<'_>) {
                    $( $crate::wire::Argument::write(&<$before>::default(), writer); )*
                    $( $crate::wire::Argument::write(&self.$field, writer); )*
                    $( $crate::wire::Argument::write(&<$after>::default(), writer); )*
                }
            }

            impl From<$name> for $crate::method::Method {
                fn from(method: $name) -> Self {
                    Self::$name(method)
                }
            }
        )*
    };
}

/// Connection: negotiation, opening and closing.
mod connection;

/// Channel: opening, closing and flow.
mod channel;

/// Access: tickets of AMQP 0-8, which RabbitMQ still answers.
mod access;

/// Exchange: declaring, deleting, and binding one to another.
mod exchange;

/// Queue: declaring, binding, purging, deleting.
mod queue;

/// Basic: publishing, consuming and acknowledging.
mod basic;

/// Confirm: publisher confirms (RabbitMQ).
mod confirm;

/// Tx: transactions.
mod tx;

pub use access::*;
pub use basic::*;
pub use channel::*;
pub use confirm::*;
pub use connection::*;
pub use exchange::*;
pub use queue::*;
pub use tx::*;

use crate::error::{MethodError, Reason};
use crate::wire::{Reader, Writer};

/// The enum over all methods, with what needs to know each of them.
macro_rules! method_enum {
    ($($name:ident),* $(,)?) => {
        /// Any method.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Method {
            $( #[doc = concat!("See [`", stringify!($name), "`].")] $name($name), )*
        }

        impl Method {
            /// Class id and method id.
            #[must_use]
            pub const fn id(&self) -> (u16, u16) {
                match self {
                    $( Self::$name(_) => $name::ID, )*
                }
            }

            /// The specification's name: `queue.declare-ok`.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $( Self::$name(_) => $name::NAME, )*
                }
            }

            fn read(id: (u16, u16), reader: &mut Reader<'_>) -> Result<Option<Self>, crate::error::DecodeError> {
                Ok(Some(match id {
                    $( $name::ID => Self::$name($name::read(reader)?), )*
                    _ => return Ok(None),
                }))
            }

            fn write(&self, writer: &mut Writer<'_>) {
                match self {
                    $( Self::$name(method) => method.write(writer), )*
                }
            }
        }

        /// Any method, for property tests.
        #[cfg(test)]
        pub(crate) fn strategy() -> impl proptest::strategy::Strategy<Value = Method> {
            proptest::strategy::Union::new([$( $name::strategy(), )*])
        }

        /// Class id, method id and name of every method, in the order of the ids.
        pub const ALL: &[((u16, u16), &str)] = &[$( ($name::ID, $name::NAME), )*];
    };
}

method_enum! {
    ConnectionStart,
    ConnectionStartOk,
    ConnectionSecure,
    ConnectionSecureOk,
    ConnectionTune,
    ConnectionTuneOk,
    ConnectionOpen,
    ConnectionOpenOk,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionBlocked,
    ConnectionUnblocked,
    ConnectionUpdateSecret,
    ConnectionUpdateSecretOk,
    ChannelOpen,
    ChannelOpenOk,
    ChannelFlow,
    ChannelFlowOk,
    ChannelClose,
    ChannelCloseOk,
    AccessRequest,
    AccessRequestOk,
    ExchangeDeclare,
    ExchangeDeclareOk,
    ExchangeDelete,
    ExchangeDeleteOk,
    ExchangeBind,
    ExchangeBindOk,
    ExchangeUnbind,
    ExchangeUnbindOk,
    QueueDeclare,
    QueueDeclareOk,
    QueueBind,
    QueueBindOk,
    QueuePurge,
    QueuePurgeOk,
    QueueDelete,
    QueueDeleteOk,
    QueueUnbind,
    QueueUnbindOk,
    BasicQos,
    BasicQosOk,
    BasicConsume,
    BasicConsumeOk,
    BasicCancel,
    BasicCancelOk,
    BasicPublish,
    BasicReturn,
    BasicDeliver,
    BasicGet,
    BasicGetOk,
    BasicGetEmpty,
    BasicAck,
    BasicReject,
    BasicRecoverAsync,
    BasicRecover,
    BasicRecoverOk,
    BasicNack,
    ConfirmSelect,
    ConfirmSelectOk,
    TxSelect,
    TxSelectOk,
    TxCommit,
    TxCommitOk,
    TxRollback,
    TxRollbackOk,
}

/// The methods that content follows. RabbitMQ does not ask whether their names and keys are UTF-8.
const CONTENT: [(u16, u16); 4] = [BasicPublish::ID, BasicReturn::ID, BasicDeliver::ID, BasicGetOk::ID];

impl Method {
    /// Reads the payload of a method frame, all of it.
    ///
    /// # Errors
    /// [`MethodError`]: no such method, an argument that goes beyond the end, octets left over (RabbitMQ refuses them
    /// too), a short string that is not UTF-8 (unless content follows), a malformed table.
    pub fn parse(payload: &[u8]) -> Result<Self, MethodError> {
        let mut reader = Reader::new(payload);
        let (Ok(class_id), Ok(method_id)) = (reader.u16(), reader.u16()) else {
            return Err(MethodError {
                class_id: 0,
                method_id: 0,
                offset: reader.offset(),
                reason: Reason::Truncated,
            });
        };
        let at = |error: crate::error::DecodeError| error.in_method((class_id, method_id));
        if !CONTENT.contains(&(class_id, method_id)) {
            reader.require_utf8();
        }
        let Some(method) = Self::read((class_id, method_id), &mut reader).map_err(at)? else {
            return Err(at(reader.error(Reason::UnknownMethod)));
        };
        reader.finish().map_err(at)?;
        Ok(method)
    }

    /// Appends class id, method id and arguments: the payload of a method frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (class_id, method_id) = self.id();
        out.extend_from_slice(&class_id.to_be_bytes());
        out.extend_from_slice(&method_id.to_be_bytes());
        self.write(&mut Writer::new(out));
    }

    /// True if a content header and body follow the method.
    #[must_use]
    pub fn has_content(&self) -> bool {
        CONTENT.contains(&self.id())
    }
}

/// The name of the method with these ids, if there is one.
#[must_use]
pub fn name_of(class_id: u16, method_id: u16) -> Option<&'static str> {
    ALL.iter()
        .find(|(id, _)| *id == (class_id, method_id))
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests;
