//! Octets to field values, or only whether they are some.
//!
//! Comes in: a cursor before a table's length. Goes out: the table, or the place and the reason of the fault. Space is
//! never taken by a length that the octets announce, only by values that are there.
//! Does not know about what surrounds the table.

use bytes::Bytes;

use super::value::{FieldTable, FieldValue, MAX_DEPTH};
use crate::error::{DecodeError, Reason};
use crate::short_string::ShortString;
use crate::wire::{Argument, Reader, Writer};

impl Argument for FieldTable {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::read(reader)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.octets(&[]);
        self.encode(writer.out);
    }
}

pub(super) fn read_table(reader: &mut Reader<'_>, depth: usize) -> Result<FieldTable, DecodeError> {
    let mut table = FieldTable::new();
    let end = open(reader, depth)?;
    while reader.offset() < end {
        let name = ShortString::copy_from_wire(reader.short()?);
        table.0.push((name, read_value(reader, depth)?));
    }
    close(reader, end)?;
    Ok(table)
}

fn read_array(reader: &mut Reader<'_>, depth: usize) -> Result<Vec<FieldValue>, DecodeError> {
    let mut values = Vec::new();
    let end = open(reader, depth)?;
    while reader.offset() < end {
        values.push(read_value(reader, depth)?);
    }
    close(reader, end)?;
    Ok(values)
}

/// Reads the length of a table or array; where it ends. It must lie within the input, and not too deep.
fn open(reader: &mut Reader<'_>, depth: usize) -> Result<usize, DecodeError> {
    if depth == 0 {
        return Err(reader.error(Reason::TooDeep));
    }
    let len = reader.u32()? as usize;
    if len > reader.remaining() {
        return Err(reader.error(Reason::Truncated));
    }
    Ok(reader.offset() + len)
}

/// The last value must not go beyond the end of its table.
fn close(reader: &Reader<'_>, end: usize) -> Result<(), DecodeError> {
    if reader.offset() == end {
        Ok(())
    } else {
        Err(reader.error(Reason::Truncated))
    }
}

pub(super) fn read_value(reader: &mut Reader<'_>, depth: usize) -> Result<FieldValue, DecodeError> {
    let letter_at = reader.error(Reason::Truncated);
    Ok(match reader.u8()? {
        b't' => FieldValue::Bool(reader.u8()? != 0),
        b'b' => FieldValue::Byte(reader.u8()?.cast_signed()),
        b'B' => FieldValue::UnsignedByte(reader.u8()?),
        b's' => FieldValue::Short(reader.u16()?.cast_signed()),
        b'u' => FieldValue::UnsignedShort(reader.u16()?),
        b'I' => FieldValue::Int(reader.u32()?.cast_signed()),
        b'i' => FieldValue::UnsignedInt(reader.u32()?),
        // RabbitMQ reads both letters and writes the small one.
        b'l' | b'L' => FieldValue::Long(reader.u64()?.cast_signed()),
        b'f' => FieldValue::Float(f32::from_bits(reader.u32()?)),
        b'd' => FieldValue::Double(f64::from_bits(reader.u64()?)),
        b'D' => FieldValue::Decimal {
            scale: reader.u8()?,
            value: reader.u32()?,
        },
        b'S' => FieldValue::LongString(Bytes::copy_from_slice(reader.long()?)),
        b'x' => FieldValue::ByteArray(Bytes::copy_from_slice(reader.long()?)),
        b'A' => FieldValue::Array(read_array(reader, depth - 1)?),
        b'F' => FieldValue::Table(read_table(reader, depth - 1)?),
        b'T' => FieldValue::Timestamp(reader.u64()?),
        b'V' => FieldValue::Void,
        letter => {
            return Err(DecodeError {
                reason: Reason::UnknownFieldType(letter),
                ..letter_at
            });
        }
    })
}

/// Checks that `bytes` are exactly one table with its length: what [`FieldTable::parse`] accepts, without allocating.
///
/// # Errors
/// The same [`DecodeError`] as [`FieldTable::parse`].
pub fn validate_table(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    skip_table(&mut reader, MAX_DEPTH)?;
    reader.finish()
}

/// Walks over a table. Gives the number of values in it, those in other values included.
pub(crate) fn skip_table(reader: &mut Reader<'_>, depth: usize) -> Result<usize, DecodeError> {
    let end = open(reader, depth)?;
    let mut count = 0;
    while reader.offset() < end {
        reader.short()?;
        count += skip_value(reader, depth)?;
    }
    close(reader, end).map(|()| count)
}

fn skip_array(reader: &mut Reader<'_>, depth: usize) -> Result<usize, DecodeError> {
    let end = open(reader, depth)?;
    let mut count = 0;
    while reader.offset() < end {
        count += skip_value(reader, depth)?;
    }
    close(reader, end).map(|()| count)
}

/// Walks over a value of a table. Gives the number of values: this one and those in it.
pub(super) fn skip_value(reader: &mut Reader<'_>, depth: usize) -> Result<usize, DecodeError> {
    let letter_at = reader.error(Reason::Truncated);
    let within = match reader.u8()? {
        b't' | b'b' | b'B' => reader.take(1).map(|_| 0),
        b's' | b'u' => reader.take(2).map(|_| 0),
        b'I' | b'i' | b'f' => reader.take(4).map(|_| 0),
        b'D' => reader.take(1).and_then(|_| reader.take(4)).map(|_| 0),
        b'l' | b'L' | b'd' | b'T' => reader.take(8).map(|_| 0),
        b'S' | b'x' => reader.long().map(|_| 0),
        b'A' => skip_array(reader, depth - 1),
        b'F' => skip_table(reader, depth - 1),
        b'V' => Ok(0),
        letter => Err(DecodeError {
            reason: Reason::UnknownFieldType(letter),
            ..letter_at
        }),
    };
    within.map(|within| within + 1)
}
