//! Content headers and the properties of basic.
//!
//! Comes in: the payload of a content header frame. Goes out: body size and the properties as raw octets, which travel
//! on unchanged; on demand one property, or all of them as a struct, and the octets again.
//! Does not know about what a property means, nor about the body.

use bytes::Bytes;

use crate::error::{DecodeError, FrameError, HeaderError};
use crate::field::FieldTable;
use crate::frame::FrameKind;
use crate::short_string::ShortString;
use crate::wire::{Reader, put_short};

/// One property from the raw octets, without parsing the rest; and whether they are well formed.
pub mod raw;

use raw::Property;
pub use raw::validate;

/// A content header, borrowed from the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderView<'a> {
    /// Class of the method before it; only basic (60) has content.
    pub class_id: u16,
    /// Octets of the whole body.
    pub body_size: u64,
    /// Property flags and list, as they are to be sent on.
    pub properties: &'a [u8],
}

/// Reads the payload of a content header frame. The properties are not looked at: see [`validate`].
///
/// # Errors
/// [`HeaderError`] if it is too short, or the weight is not 0.
#[inline]
pub fn parse_header(payload: &[u8]) -> Result<HeaderView<'_>, HeaderError> {
    let mut reader = Reader::new(payload);
    let too_short = |_| HeaderError::Truncated(FrameError::unknown(FrameKind::Header as u8, 0, payload));
    let class_id = reader.u16().map_err(too_short)?;
    let weight = reader.u16().map_err(too_short)?;
    let body_size = reader.u64().map_err(too_short)?;
    let properties = payload.get(reader.offset()..).unwrap_or_default();
    if weight == 0 {
        Ok(HeaderView {
            class_id,
            body_size,
            properties,
        })
    } else {
        Err(HeaderError::Weight(weight))
    }
}

/// The fourteen properties of basic (1.8 of the specification's reference).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasicProperties {
    /// MIME type.
    pub content_type: Option<ShortString>,
    /// MIME encoding.
    pub content_encoding: Option<ShortString>,
    /// Headers of the application, and of the broker (`x-...`, `CC`, `BCC`).
    pub headers: Option<FieldTable>,
    /// 1 transient, 2 persistent.
    pub delivery_mode: Option<u8>,
    /// 0 to 255.
    pub priority: Option<u8>,
    /// The request that a reply belongs to.
    pub correlation_id: Option<ShortString>,
    /// Queue for the reply.
    pub reply_to: Option<ShortString>,
    /// Time to live: milliseconds in decimal digits.
    pub expiration: Option<ShortString>,
    /// The application's name for the message.
    pub message_id: Option<ShortString>,
    /// Seconds since 1970.
    pub timestamp: Option<u64>,
    /// The application's name for the kind of message; `type` in the specification.
    pub kind: Option<ShortString>,
    /// The publishing user; the broker checks it.
    pub user_id: Option<ShortString>,
    /// The publishing application.
    pub app_id: Option<ShortString>,
    /// Not used any more.
    pub cluster_id: Option<ShortString>,
}

impl BasicProperties {
    /// Reads property flags and list, all of it.
    ///
    /// # Errors
    /// The [`DecodeError`] of [`validate`].
    pub fn parse(raw: &[u8]) -> Result<Self, DecodeError> {
        let mut properties = Self::default();
        let mut walker = raw::Walker::new(raw)?;
        while let Some(property) = walker.next_property() {
            properties.read_one(property, walker.reader())?;
        }
        walker.finish()?;
        Ok(properties)
    }

    fn read_one(&mut self, property: Property, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match property {
            Property::Headers => self.headers = Some(FieldTable::read(reader)?),
            Property::DeliveryMode => self.delivery_mode = Some(reader.u8()?),
            Property::Priority => self.priority = Some(reader.u8()?),
            Property::Timestamp => self.timestamp = Some(reader.u64()?),
            Property::ContentType => self.content_type = Some(short(reader)?),
            Property::ContentEncoding => self.content_encoding = Some(short(reader)?),
            Property::CorrelationId => self.correlation_id = Some(short(reader)?),
            Property::ReplyTo => self.reply_to = Some(short(reader)?),
            Property::Expiration => self.expiration = Some(short(reader)?),
            Property::MessageId => self.message_id = Some(short(reader)?),
            Property::Kind => self.kind = Some(short(reader)?),
            Property::UserId => self.user_id = Some(short(reader)?),
            Property::AppId => self.app_id = Some(short(reader)?),
            Property::ClusterId => self.cluster_id = Some(short(reader)?),
        }
        Ok(())
    }

    /// Appends property flags and list.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags_at = out.len();
        out.extend_from_slice(&[0; 2]);
        let mut flags = 0;
        for property in Property::ALL {
            if self.put_one(property, out) {
                flags |= property.flag();
            }
        }
        if let Some(place) = out.get_mut(flags_at..flags_at + 2) {
            place.copy_from_slice(&flags.to_be_bytes());
        }
    }

    /// Appends the property; whether it is there.
    fn put_one(&self, property: Property, out: &mut Vec<u8>) -> bool {
        let octet = |out: &mut Vec<u8>, value: Option<u8>| value.map(|value| out.push(value)).is_some();
        let text = |out: &mut Vec<u8>, value: &Option<ShortString>| {
            value.as_ref().map(|value| put_short(out, value)).is_some()
        };
        match property {
            Property::Headers => self.headers.as_ref().map(|table| table.encode(out)).is_some(),
            Property::DeliveryMode => octet(out, self.delivery_mode),
            Property::Priority => octet(out, self.priority),
            Property::Timestamp => self
                .timestamp
                .map(|time| out.extend_from_slice(&time.to_be_bytes()))
                .is_some(),
            Property::ContentType => text(out, &self.content_type),
            Property::ContentEncoding => text(out, &self.content_encoding),
            Property::CorrelationId => text(out, &self.correlation_id),
            Property::ReplyTo => text(out, &self.reply_to),
            Property::Expiration => text(out, &self.expiration),
            Property::MessageId => text(out, &self.message_id),
            Property::Kind => text(out, &self.kind),
            Property::UserId => text(out, &self.user_id),
            Property::AppId => text(out, &self.app_id),
            Property::ClusterId => text(out, &self.cluster_id),
        }
    }

    /// The raw octets: property flags and list.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(64);
        self.encode(&mut out);
        out.into()
    }
}

/// Names in properties need not be UTF-8: RabbitMQ passes them on as they are.
fn short(reader: &mut Reader<'_>) -> Result<ShortString, DecodeError> {
    reader.short().map(ShortString::copy_from_wire)
}

#[cfg(test)]
mod tests;
