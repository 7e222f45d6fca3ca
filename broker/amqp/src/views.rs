//! Publishes and acknowledgements read where they lie: the hot path of what comes in, without a struct of its strings.
//!
//! Comes in: the payload of a method frame. Goes out: its arguments, borrowed. Errors are those that the method's own
//! parser reports. Does not know about contents.

use crate::error::{DecodeError, MethodError};
use crate::method::{BasicAck, BasicPublish};
use crate::wire::Reader;

/// Octets of class id and method id.
const ID_LEN: usize = 4;

/// A basic.publish, borrowed from the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishView<'a> {
    /// The exchange; empty is the default one.
    pub exchange: &'a [u8],
    /// Routing key.
    pub routing_key: &'a [u8],
    /// Return it if no queue takes it.
    pub mandatory: bool,
    /// Not implemented by RabbitMQ.
    pub immediate: bool,
}

/// The arguments after the ids, if the payload is the method with this id.
#[inline]
fn arguments(payload: &[u8], (class_id, method_id): (u16, u16)) -> Option<Reader<'_>> {
    let (&[c1, c0, m1, m0], _) = payload.split_first_chunk::<ID_LEN>()?;
    let same = u16::from_be_bytes([c1, c0]) == class_id && u16::from_be_bytes([m1, m0]) == method_id;
    let mut reader = Reader::new(payload);
    reader.take(ID_LEN).ok()?;
    same.then_some(reader)
}

/// Reads the payload of a method frame if it is a basic.publish; `None` if it is another method.
///
/// # Errors
/// [`MethodError`], as [`crate::Method::parse`] would.
#[inline]
pub fn parse_publish(payload: &[u8]) -> Option<Result<PublishView<'_>, MethodError>> {
    let reader = arguments(payload, BasicPublish::ID)?;
    Some(read_publish(reader).map_err(|error| error.in_method(BasicPublish::ID)))
}

#[inline]
fn read_publish(mut reader: Reader<'_>) -> Result<PublishView<'_>, DecodeError> {
    reader.u16()?;
    let view = PublishView {
        exchange: reader.short()?,
        routing_key: reader.short()?,
        mandatory: reader.bit()?,
        immediate: reader.bit()?,
    };
    reader.finish()?;
    Ok(view)
}

/// Reads the payload of a method frame if it is a basic.ack: delivery tag and `multiple`. `None` if it is another.
///
/// # Errors
/// [`MethodError`], as [`crate::Method::parse`] would.
#[inline]
pub fn parse_ack(payload: &[u8]) -> Option<Result<(u64, bool), MethodError>> {
    let reader = arguments(payload, BasicAck::ID)?;
    Some(read_ack(reader).map_err(|error| error.in_method(BasicAck::ID)))
}

#[inline]
fn read_ack(mut reader: Reader<'_>) -> Result<(u64, bool), DecodeError> {
    let ack = (reader.u64()?, reader.bit()?);
    reader.finish()?;
    Ok(ack)
}
