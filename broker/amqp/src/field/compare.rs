//! Equality and hash of field values, by type and octets: what two equal values have in common is their encoding.
//!
//! Comes in: two values. Goes out: whether they are the same. Does not know about RabbitMQ's looser equivalence of
//! arguments on redeclaration.

use std::hash::{Hash, Hasher};

use super::value::FieldValue;

impl PartialEq for FieldValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Byte(a), Self::Byte(b)) => a == b,
            (Self::UnsignedByte(a), Self::UnsignedByte(b)) => a == b,
            (Self::Short(a), Self::Short(b)) => a == b,
            (Self::UnsignedShort(a), Self::UnsignedShort(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::UnsignedInt(a), Self::UnsignedInt(b)) => a == b,
            (Self::Long(a), Self::Long(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            (Self::Decimal { scale: a, value: b }, Self::Decimal { scale: c, value: d }) => (a, b) == (c, d),
            (Self::LongString(a), Self::LongString(b)) | (Self::ByteArray(a), Self::ByteArray(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Table(a), Self::Table(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Void, Self::Void) => true,
            _ => false,
        }
    }
}

impl Eq for FieldValue {}

impl Hash for FieldValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.type_letter().hash(state);
        match self {
            Self::Bool(value) => value.hash(state),
            Self::Byte(value) => value.hash(state),
            Self::UnsignedByte(value) => value.hash(state),
            Self::Short(value) => value.hash(state),
            Self::UnsignedShort(value) => value.hash(state),
            Self::Int(value) => value.hash(state),
            Self::UnsignedInt(value) => value.hash(state),
            Self::Long(value) => value.hash(state),
            Self::Float(value) => value.to_bits().hash(state),
            Self::Double(value) => value.to_bits().hash(state),
            Self::Decimal { scale, value } => (scale, value).hash(state),
            Self::LongString(bytes) | Self::ByteArray(bytes) => bytes.hash(state),
            Self::Array(values) => values.hash(state),
            Self::Table(table) => table.hash(state),
            Self::Timestamp(value) => value.hash(state),
            Self::Void => {}
        }
    }
}
