//! Field tables: the arguments, headers and client properties.
//!
//! Comes in: a table's octets, its length in front. Goes out: pairs in the order in which they came, duplicates
//! included, and the octets again. The type letters are RabbitMQ's, which differ from the specification's in places
//! (`s` is a 16 bit integer, `l` a signed 64 bit one).
//! Does not know about what a field stands for, nor about JSON.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::short_string::{ShortString, ShortStringTooLong};
use crate::wire::{Reader, put_long, put_short, put_with_length};

/// Equality and hash.
mod compare;

/// Tables as octets.
mod raw;

/// Octets to values, or only whether they are some.
mod read;

/// The types themselves.
mod value;

pub use raw::{RawFields, RawTable, RawValue};
use read::read_table;
pub(crate) use read::skip_table;
pub use read::validate_table;
pub use value::{FieldTable, FieldValue, MAX_DEPTH};

impl FieldTable {
    /// A table without fields.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Reads a table, its 4 octets of length included, that fills `bytes` exactly.
    ///
    /// # Errors
    /// [`DecodeError`] with the offset of the octet that is wrong: lengths that go beyond the end, type letters that
    /// do not exist, nesting deeper than [`MAX_DEPTH`], octets left over.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let table = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(table)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_table(reader, MAX_DEPTH)
    }

    /// Appends the table with its 4 octets of length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_with_length(out, |out| {
            for (name, value) in &self.0 {
                put_short(out, name);
                value.encode(out);
            }
        });
    }

    /// The first value with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&FieldValue> {
        self.0
            .iter()
            .find(|(field, _)| field.as_bytes() == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// True if a field has this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Puts the value in place of the first one with this name, or at the end.
    pub fn set(&mut self, name: ShortString, value: FieldValue) {
        match self.0.iter_mut().find(|(field, _)| *field == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Appends a pair; an earlier one with the same name stays.
    pub fn push(&mut self, name: ShortString, value: FieldValue) {
        self.0.push((name, value));
    }

    /// Takes every value with this name out, and returns the first.
    pub fn remove(&mut self, name: &str) -> Option<FieldValue> {
        let mut first = None;
        self.0.retain_mut(|(field, value)| {
            let goes = field.as_bytes() == name.as_bytes();
            if goes && first.is_none() {
                first = Some(std::mem::replace(value, FieldValue::Void));
            }
            !goes
        });
        first
    }

    /// The pairs in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, (ShortString, FieldValue)> {
        self.0.iter()
    }

    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(ShortString, FieldValue)> for FieldTable {
    fn from_iter<I: IntoIterator<Item = (ShortString, FieldValue)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl IntoIterator for FieldTable {
    type Item = (ShortString, FieldValue);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a FieldTable {
    type Item = &'a (ShortString, FieldValue);
    type IntoIter = std::slice::Iter<'a, (ShortString, FieldValue)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl FieldValue {
    /// The type letter on the wire.
    #[must_use]
    pub const fn type_letter(&self) -> u8 {
        match self {
            Self::Bool(_) => b't',
            Self::Byte(_) => b'b',
            Self::UnsignedByte(_) => b'B',
            Self::Short(_) => b's',
            Self::UnsignedShort(_) => b'u',
            Self::Int(_) => b'I',
            Self::UnsignedInt(_) => b'i',
            Self::Long(_) => b'l',
            Self::Float(_) => b'f',
            Self::Double(_) => b'd',
            Self::Decimal { .. } => b'D',
            Self::LongString(_) => b'S',
            Self::ByteArray(_) => b'x',
            Self::Array(_) => b'A',
            Self::Table(_) => b'F',
            Self::Timestamp(_) => b'T',
            Self::Void => b'V',
        }
    }

    /// The type's name in RabbitMQ's errors: `... but current is the value '10' of type 'signedint'`.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Byte(_) => "byte",
            Self::UnsignedByte(_) => "unsignedbyte",
            Self::Short(_) => "short",
            Self::UnsignedShort(_) => "unsignedshort",
            Self::Int(_) => "signedint",
            Self::UnsignedInt(_) => "unsignedint",
            Self::Long(_) => "long",
            Self::Float(_) => "float",
            Self::Double(_) => "double",
            Self::Decimal { .. } => "decimal",
            Self::LongString(_) => "longstr",
            Self::ByteArray(_) => "binary",
            Self::Array(_) => "array",
            Self::Table(_) => "table",
            Self::Timestamp(_) => "timestamp",
            Self::Void => "void",
        }
    }

    /// The number, if it is an integer of any width; a timestamp is not one.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Byte(value) => Some(value.into()),
            Self::UnsignedByte(value) => Some(value.into()),
            Self::Short(value) => Some(value.into()),
            Self::UnsignedShort(value) => Some(value.into()),
            Self::Int(value) => Some(value.into()),
            Self::UnsignedInt(value) => Some(value.into()),
            Self::Long(value) => Some(value),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The text of a long string, if it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The octets of a long string.
    #[must_use]
    pub const fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Self::LongString(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The table, if it is one.
    #[must_use]
    pub const fn as_table(&self) -> Option<&FieldTable> {
        match self {
            Self::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[FieldValue]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }

    /// Appends type letter and value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.type_letter());
        match self {
            Self::Bool(value) => out.push((*value).into()),
            Self::Byte(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::UnsignedByte(value) => out.push(*value),
            Self::Short(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::UnsignedShort(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Int(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::UnsignedInt(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Long(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Float(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Double(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Decimal { scale, value } => {
                out.push(*scale);
                out.extend_from_slice(&value.to_be_bytes());
            }
            Self::LongString(bytes) | Self::ByteArray(bytes) => put_long(out, bytes),
            Self::Array(values) => put_with_length(out, |out| values.iter().for_each(|value| value.encode(out))),
            Self::Table(table) => table.encode(out),
            Self::Timestamp(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Void => {}
        }
    }
}

impl From<bool> for FieldValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i32> for FieldValue {
    fn from(value: i32) -> Self {
        Self::Int(value)
    }
}

impl From<i64> for FieldValue {
    fn from(value: i64) -> Self {
        Self::Long(value)
    }
}

impl From<&str> for FieldValue {
    fn from(text: &str) -> Self {
        Self::LongString(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for FieldValue {
    fn from(text: String) -> Self {
        Self::LongString(Bytes::from(text))
    }
}

impl From<&ShortString> for FieldValue {
    fn from(text: &ShortString) -> Self {
        Self::LongString(text.clone().into_bytes())
    }
}

impl From<FieldTable> for FieldValue {
    fn from(table: FieldTable) -> Self {
        Self::Table(table)
    }
}

impl TryFrom<&FieldValue> for ShortString {
    type Error = Option<ShortStringTooLong>;

    /// A long string as a name, where arguments name an exchange or a key; `None` if it is not a long string.
    fn try_from(value: &FieldValue) -> Result<Self, Self::Error> {
        let bytes = value.as_bytes().ok_or(None)?;
        Self::try_from(bytes.clone()).map_err(Some)
    }
}

#[cfg(test)]
mod tests;
