//! The types of field tables.
//!
//! Comes in, goes out: nothing; what reads, writes and compares them stands above.
//! Does not know about octets.

use bytes::Bytes;

use crate::short_string::ShortString;

/// Tables and arrays within tables, at most. RabbitMQ sets no limit; frame-max is one.
pub const MAX_DEPTH: usize = 64;

/// Pairs of name and value; order and duplicates are kept, as RabbitMQ keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldTable(pub Vec<(ShortString, FieldValue)>);

/// A value with its type. Equality is that of the type and the octets: a NaN equals itself, 0.0 is not -0.0, and
/// 1 as `s` is not 1 as `I`.
#[derive(Debug, Clone)]
pub enum FieldValue {
    /// `t`
    Bool(bool),
    /// `b`
    Byte(i8),
    /// `B`
    UnsignedByte(u8),
    /// `s`
    Short(i16),
    /// `u`
    UnsignedShort(u16),
    /// `I`
    Int(i32),
    /// `i`
    UnsignedInt(u32),
    /// `l`; `L` is read as this too
    Long(i64),
    /// `f`
    Float(f32),
    /// `d`
    Double(f64),
    /// `D`
    Decimal {
        /// Digits after the decimal point.
        scale: u8,
        /// The digits.
        value: u32,
    },
    /// `S`
    LongString(Bytes),
    /// `x`
    ByteArray(Bytes),
    /// `A`
    Array(Vec<FieldValue>),
    /// `F`
    Table(FieldTable),
    /// `T`, seconds since 1970
    Timestamp(u64),
    /// `V`
    Void,
}
