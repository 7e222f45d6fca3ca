//! The elementary domains of 4.2.5: integers, packed bits, short and long strings.
//!
//! Comes in: a payload to read from, or a buffer to append to. Goes out: plain values, or octets.
//! Does not know about methods, tables or frames.

use bytes::Bytes;

use crate::error::{DecodeError, Reason};
use crate::short_string::ShortString;

/// A cursor over a payload. Consecutive bits share an octet, lowest first (4.2.5.2).
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
    bits: u8,
    bits_used: u8,
    utf8: Utf8,
}

/// The demand on short strings. RabbitMQ judges their text only when the structure of the whole method is right.
#[derive(Clone, Copy)]
enum Utf8 {
    Any,
    Required,
    Missing { offset: usize },
}

const NO_BITS: u8 = 8;

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            len: bytes.len(),
            bits: 0,
            bits_used: NO_BITS,
            utf8: Utf8::Any,
        }
    }

    /// Short strings have to be UTF-8 from here on; [`Self::finish`] says whether they were.
    pub(crate) const fn require_utf8(&mut self) {
        self.utf8 = Utf8::Required;
    }

    /// Octets read so far.
    #[inline]
    pub(crate) const fn offset(&self) -> usize {
        self.len - self.rest.len()
    }

    /// Octets not yet read.
    #[inline]
    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The octets not yet read.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) const fn error(&self, reason: Reason) -> DecodeError {
        DecodeError {
            offset: self.offset(),
            reason,
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.error(Reason::Truncated));
        };
        self.rest = rest;
        self.bits_used = NO_BITS;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.error(Reason::Truncated));
        };
        self.rest = rest;
        self.bits_used = NO_BITS;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    #[inline]
    pub(crate) fn bit(&mut self) -> Result<bool, DecodeError> {
        if self.bits_used >= NO_BITS {
            self.bits = self.u8()?;
            self.bits_used = 0;
        }
        let set = self.bits >> self.bits_used & 1 == 1;
        self.bits_used += 1;
        Ok(set)
    }

    /// A short string's octets.
    #[inline]
    pub(crate) fn short(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    /// A short string that a method carries.
    fn short_string(&mut self) -> Result<ShortString, DecodeError> {
        let bytes = self.short()?;
        if matches!(self.utf8, Utf8::Required) && std::str::from_utf8(bytes).is_err() {
            self.utf8 = Utf8::Missing { offset: self.offset() };
        }
        Ok(ShortString::copy_from_wire(bytes))
    }

    /// A long string's octets.
    #[inline]
    pub(crate) fn long(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    /// The octets of a long string or table with the 4 of its length.
    #[inline]
    pub(crate) fn long_with_length(&mut self) -> Result<&'a [u8], DecodeError> {
        let from_here = self.rest;
        let len = self.long()?.len();
        from_here.get(..len + 4).ok_or(self.error(Reason::Truncated))
    }

    /// Nothing may be left, and the text must have been right.
    #[inline]
    pub(crate) const fn finish(&self) -> Result<(), DecodeError> {
        if !self.rest.is_empty() {
            return Err(self.error(Reason::TrailingBytes));
        }
        match self.utf8 {
            Utf8::Missing { offset } => Err(DecodeError {
                offset,
                reason: Reason::NotUtf8,
            }),
            Utf8::Any | Utf8::Required => Ok(()),
        }
    }
}

/// Appends a short string. What goes beyond 255 octets is cut off; a [`ShortString`] never does.
#[inline]
pub(crate) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = short_part(bytes);
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

/// As much as a short string holds.
#[inline]
pub(crate) fn short_part(bytes: &[u8]) -> &[u8] {
    bytes.get(..ShortString::MAX_LEN).unwrap_or(bytes)
}

/// Appends a long string. What goes beyond 4 GiB is cut off.
pub(crate) fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..u32::MAX as usize).unwrap_or(bytes);
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends what `content` appends, with its length in 4 octets in front.
pub(crate) fn put_with_length(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    content(out);
    let len = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}

/// Appends a method's arguments.
pub(crate) struct Writer<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    bits_used: u8,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            bits_used: NO_BITS,
        }
    }

    pub(crate) fn octets(&mut self, bytes: &[u8]) {
        self.bits_used = NO_BITS;
        self.out.extend_from_slice(bytes);
    }

    fn bit(&mut self, set: bool) {
        if self.bits_used >= NO_BITS {
            self.out.push(0);
            self.bits_used = 0;
        }
        if let Some(last) = self.out.last_mut() {
            *last |= u8::from(set) << self.bits_used;
        }
        self.bits_used += 1;
    }
}

/// A domain that a method's argument can have.
pub(crate) trait Argument: Sized {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
    fn write(&self, writer: &mut Writer<'_>);
}

impl Argument for bool {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.bit()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.bit(*self);
    }
}

macro_rules! integer_arguments {
    ($($integer:ident)*) => {$(
        impl Argument for $integer {
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.$integer()
            }

            fn write(&self, writer: &mut Writer<'_>) {
                writer.octets(&self.to_be_bytes());
            }
        }
    )*};
}

integer_arguments!(u8 u16 u32 u64);

impl Argument for ShortString {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.short_string()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.octets(&[]);
        put_short(writer.out, self);
    }
}

impl Argument for Bytes {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.long().map(Self::copy_from_slice)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.octets(&[]);
        put_long(writer.out, self);
    }
}
