//! Tables kept as the octets that they came as, and read field by field when somebody asks.
//!
//! Comes in: a table's octets, checked on the way in, or the values of one. Goes out: the same octets, single values,
//! all of them. A field of two octets takes two octets, not the seventy of its value: what a peer has the broker keep
//! takes the memory that the peer has sent.
//! Does not know about which fields mean something.

use std::fmt;
use std::sync::Arc;

use super::read::{read_value, skip_table, skip_value};
use super::value::{FieldTable, FieldValue, MAX_DEPTH};
use crate::error::DecodeError;
use crate::short_string::ShortString;
use crate::wire::{Argument, Reader, Writer, put_long};

/// Octets of a table's length.
const LENGTH: usize = 4;

/// A table as octets. A clone shares them; an empty table has none.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct RawTable(Option<Arc<[u8]>>);

/// A value where it lies in a [`RawTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawValue<'a>(&'a [u8]);

/// The fields of a [`RawTable`] in their order.
#[derive(Clone)]
pub struct RawFields<'a>(&'a [u8]);

impl RawTable {
    /// A table without fields.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Takes a table, its 4 octets of length included, that fills `bytes` exactly.
    ///
    /// # Errors
    /// The same [`DecodeError`] as [`FieldTable::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let table = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(table)
    }

    /// The fields' octets, without those of the table's length.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    /// True if there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Number of values at any depth.
    ///
    /// # Errors
    /// Tables that were made of values may be deeper than [`MAX_DEPTH`].
    pub fn count(&self) -> Result<usize, DecodeError> {
        let mut rest = Reader::new(self.octets());
        let mut count = 0;
        while rest.remaining() > 0 {
            rest.short()?;
            count += skip_value(&mut rest, MAX_DEPTH)?;
        }
        Ok(count)
    }

    /// The fields in their order.
    #[must_use]
    pub fn iter(&self) -> RawFields<'_> {
        RawFields(self.octets())
    }

    /// The first value with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<FieldValue> {
        self.find(name).map(RawValue::parse)
    }

    /// The first value with this name, where it lies.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<RawValue<'_>> {
        let mut fields = self.iter();
        fields
            .find(|(field, _)| *field == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// True if a field has this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// All of it as values.
    #[must_use]
    pub fn to_table(&self) -> FieldTable {
        let named = |(name, value): (&[u8], RawValue<'_>)| Some((name.try_into().ok()?, value.parse()));
        self.iter().filter_map(named).collect()
    }

    /// Appends the table with its 4 octets of length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_long(out, self.octets());
    }
}

impl<'a> RawFields<'a> {
    /// The fields of a table that lies elsewhere, its 4 octets of length included. They end where it isn't one.
    #[must_use]
    pub fn of(table: &'a [u8]) -> Self {
        Self(table.get(LENGTH..).unwrap_or_default())
    }
}

impl<'a> RawValue<'a> {
    /// The type letter on the wire.
    #[must_use]
    pub fn type_letter(self) -> u8 {
        self.0.first().copied().unwrap_or(b'V')
    }

    /// Letter and value, as they came.
    #[must_use]
    pub fn octets(self) -> &'a [u8] {
        self.0
    }

    /// Number of values in it, at any depth.
    #[must_use]
    pub fn within(self) -> usize {
        skip_value(&mut Reader::new(self.0), MAX_DEPTH).map_or(0, |count| count.saturating_sub(1))
    }

    /// The text of a long string, if it is UTF-8.
    #[must_use]
    pub fn as_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.as_long_string()?).ok()
    }

    /// The octets of a long string.
    #[must_use]
    pub fn as_long_string(self) -> Option<&'a [u8]> {
        match self.0.split_first()? {
            (b'S', string) => string.get(LENGTH..),
            _ => None,
        }
    }

    /// The value.
    #[must_use]
    pub fn parse(self) -> FieldValue {
        // It was walked over when the table came in, or by the iterator that gave it out.
        read_value(&mut Reader::new(self.0), MAX_DEPTH).unwrap_or(FieldValue::Void)
    }
}

impl<'a> Iterator for RawFields<'a> {
    type Item = (&'a [u8], RawValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = Reader::new(self.0);
        let name = reader.short().ok()?;
        let from = reader.offset();
        skip_value(&mut reader, MAX_DEPTH).ok()?;
        let (field, rest) = self.0.split_at_checked(reader.offset())?;
        self.0 = rest;
        Some((name, RawValue(field.get(from..)?)))
    }
}

impl Argument for RawTable {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let whole = reader.rest();
        skip_table(reader, MAX_DEPTH)?;
        let len = whole.len() - reader.remaining();
        let fields = whole.get(LENGTH..len).filter(|fields| !fields.is_empty());
        Ok(Self(fields.map(Arc::from)))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.octets(&[]);
        self.encode(writer.out);
    }
}

impl From<&FieldTable> for RawTable {
    fn from(table: &FieldTable) -> Self {
        if table.is_empty() {
            return Self::new();
        }
        let mut octets = Vec::new();
        table.encode(&mut octets);
        Self(octets.get(LENGTH..).map(Arc::from))
    }
}

impl From<FieldTable> for RawTable {
    fn from(table: FieldTable) -> Self {
        Self::from(&table)
    }
}

impl FromIterator<(ShortString, FieldValue)> for RawTable {
    fn from_iter<I: IntoIterator<Item = (ShortString, FieldValue)>>(pairs: I) -> Self {
        FieldTable::from_iter(pairs).into()
    }
}

impl<'a> IntoIterator for &'a RawTable {
    type Item = (&'a [u8], RawValue<'a>);
    type IntoIter = RawFields<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for RawTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_table().fmt(f)
    }
}
