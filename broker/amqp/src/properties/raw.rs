//! Single properties from the raw octets.
//!
//! Comes in: property flags and list as they stand in a content header. Goes out: one property, by walking over those
//! before it; `None` if it is not set, or the octets end too early (which `validate` reports).
//! Does not know about what a property means.

use crate::error::DecodeError;
use crate::field::{MAX_DEPTH, skip_table};
use crate::wire::Reader;

/// The properties in the order of their flags, highest bit first (4.2.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Property {
    /// content-type
    ContentType = 15,
    /// content-encoding
    ContentEncoding = 14,
    /// headers
    Headers = 13,
    /// delivery-mode
    DeliveryMode = 12,
    /// priority
    Priority = 11,
    /// correlation-id
    CorrelationId = 10,
    /// reply-to
    ReplyTo = 9,
    /// expiration
    Expiration = 8,
    /// message-id
    MessageId = 7,
    /// timestamp
    Timestamp = 6,
    /// type
    Kind = 5,
    /// user-id
    UserId = 4,
    /// app-id
    AppId = 3,
    /// cluster-id
    ClusterId = 2,
}

impl Property {
    /// All, in the order in which they stand in the list.
    pub const ALL: [Self; 14] = [
        Self::ContentType,
        Self::ContentEncoding,
        Self::Headers,
        Self::DeliveryMode,
        Self::Priority,
        Self::CorrelationId,
        Self::ReplyTo,
        Self::Expiration,
        Self::MessageId,
        Self::Timestamp,
        Self::Kind,
        Self::UserId,
        Self::AppId,
        Self::ClusterId,
    ];

    /// Its bit in the flags.
    #[must_use]
    pub const fn flag(self) -> u16 {
        1 << self as u8
    }

    /// The property with the highest bit of `flags`.
    const fn first(flags: u16) -> Option<Self> {
        Some(match flags.leading_zeros() {
            0 => Self::ContentType,
            1 => Self::ContentEncoding,
            2 => Self::Headers,
            3 => Self::DeliveryMode,
            4 => Self::Priority,
            5 => Self::CorrelationId,
            6 => Self::ReplyTo,
            7 => Self::Expiration,
            8 => Self::MessageId,
            9 => Self::Timestamp,
            10 => Self::Kind,
            11 => Self::UserId,
            12 => Self::AppId,
            13 => Self::ClusterId,
            _ => return None,
        })
    }
}

/// Goes over the list, one property after the other.
pub(super) struct Walker<'a> {
    reader: Reader<'a>,
    flags: u16,
}

impl<'a> Walker<'a> {
    /// The two lowest flags belong to no property; RabbitMQ ignores them, the continuation bit included.
    #[inline]
    pub(super) fn new(raw: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(raw);
        let flags = reader.u16()?;
        Ok(Self { reader, flags })
    }

    /// The next property that is set; the caller reads it from [`Self::reader`], or skips it.
    #[inline]
    pub(super) fn next_property(&mut self) -> Option<Property> {
        let property = Property::first(self.flags)?;
        self.flags &= !property.flag();
        Some(property)
    }

    #[inline]
    pub(super) fn reader(&mut self) -> &mut Reader<'a> {
        &mut self.reader
    }

    #[inline]
    fn skip(&mut self, property: Property) -> Result<(), DecodeError> {
        self.read(property).map(drop)
    }

    /// The octets of the property: a string's without its length, a table's with it.
    #[inline]
    fn read(&mut self, property: Property) -> Result<&'a [u8], DecodeError> {
        match property {
            Property::DeliveryMode | Property::Priority => self.reader.take(1),
            Property::Timestamp => self.reader.take(8),
            Property::Headers => self.reader.long_with_length(),
            _ => self.reader.short(),
        }
    }

    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        self.reader.finish()
    }
}

/// The octets of a property: a string's without its length, a table's with it.
#[inline]
fn find(raw: &[u8], wanted: Property) -> Option<&[u8]> {
    let mut walker = Walker::new(raw).ok()?;
    // Most messages lack most properties: look at the flags before walking.
    if walker.flags & wanted.flag() == 0 {
        return None;
    }
    while let Some(property) = walker.next_property() {
        if property == wanted {
            return walker.read(property).ok();
        }
        walker.skip(property).ok()?;
    }
    None
}

/// True if the flags name this property. Says nothing about the list.
#[inline]
#[must_use]
pub fn is_set(raw: &[u8], property: Property) -> bool {
    Walker::new(raw).is_ok_and(|walker| walker.flags & property.flag() != 0)
}

/// Checks that flags and list fit each other and fill `raw` exactly, headers included: then [`super::BasicProperties`]
/// and [`crate::FieldTable`] can read them. Does not allocate.
///
/// # Errors
/// [`DecodeError`] with the offset from the first flag.
pub fn validate(raw: &[u8]) -> Result<(), DecodeError> {
    let mut walker = Walker::new(raw)?;
    while let Some(property) = walker.next_property() {
        match property {
            Property::Headers => _ = skip_table(walker.reader(), MAX_DEPTH)?,
            _ => walker.skip(property)?,
        }
    }
    walker.finish()
}

/// The headers with the 4 octets of their length: what [`crate::FieldTable::parse`] reads.
#[inline]
#[must_use]
pub fn headers(raw: &[u8]) -> Option<&[u8]> {
    find(raw, Property::Headers)
}

/// 1 transient, 2 persistent.
#[inline]
#[must_use]
pub fn delivery_mode(raw: &[u8]) -> Option<u8> {
    find(raw, Property::DeliveryMode)?.first().copied()
}

/// 0 to 255.
#[inline]
#[must_use]
pub fn priority(raw: &[u8]) -> Option<u8> {
    find(raw, Property::Priority)?.first().copied()
}

/// Seconds since 1970.
#[inline]
#[must_use]
pub fn timestamp(raw: &[u8]) -> Option<u64> {
    find(raw, Property::Timestamp)?
        .first_chunk()
        .map(|octets| u64::from_be_bytes(*octets))
}

/// MIME type.
#[inline]
#[must_use]
pub fn content_type(raw: &[u8]) -> Option<&[u8]> {
    find(raw, Property::ContentType)
}

/// MIME encoding.
#[inline]
#[must_use]
pub fn content_encoding(raw: &[u8]) -> Option<&[u8]> {
    find(raw, Property::ContentEncoding)
}

/// The request that a reply belongs to.
#[inline]
#[must_use]
pub fn correlation_id(raw: &[u8]) -> Option<&[u8]> {
    find(raw, Property::CorrelationId)
}

/// Queue for the reply.
#[inline]
#[must_use]
pub fn reply_to(raw: &[u8]) -> Option<&[u8]> {
    find(raw, Property::ReplyTo)
}

/// Time to live: milliseconds in decimal digits, not checked here.
#[inline]
#[must_use]
pub fn expiration(raw: &[u8]) -> Option<&[u8]> {
    find(raw, Property::Expiration)
}

/// The application's name for the message.
#[inline]
#[must_use]
pub fn message_id(raw: &[u8]) -> Option<&[u8]> {
    find(raw, Property::MessageId)
}

/// The application's name for the kind of message; `type` in the specification.
#[inline]
#[must_use]
pub fn kind(raw: &[u8]) -> Option<&[u8]> {
    find(raw, Property::Kind)
}

/// The publishing user.
#[inline]
#[must_use]
pub fn user_id(raw: &[u8]) -> Option<&[u8]> {
    find(raw, Property::UserId)
}

/// The publishing application.
#[inline]
#[must_use]
pub fn app_id(raw: &[u8]) -> Option<&[u8]> {
    find(raw, Property::AppId)
}

/// Not used any more.
#[inline]
#[must_use]
pub fn cluster_id(raw: &[u8]) -> Option<&[u8]> {
    find(raw, Property::ClusterId)
}
