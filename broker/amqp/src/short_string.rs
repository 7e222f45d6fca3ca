//! Short strings: names, keys and tags of at most 255 octets.
//!
//! Comes in: text or octets. Goes out: a value that is cheap to clone and to look up by. This is the only place where
//! "too long" can arise; everything that holds a `ShortString` can be encoded.
//! Does not know about what the name stands for, nor about UTF-8: RabbitMQ compares names octet by octet.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// At most 255 octets (the domain shortstr, 4.2.5.3). Equality, order and hash are those of the octets.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortString(Bytes);

/// More octets than a short string holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{len} octets are too long for a short string, which holds {}", ShortString::MAX_LEN)]
pub struct ShortStringTooLong {
    /// Octets that were offered.
    pub len: usize,
}

impl ShortString {
    /// Octets that fit: the length is one octet on the wire.
    pub const MAX_LEN: usize = 255;

    /// The empty string.
    #[must_use]
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// A literal, without allocation. What goes beyond 255 octets is cut off.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        match text.as_bytes().split_at_checked(Self::MAX_LEN) {
            Some((head, _)) => Self(Bytes::from_static(head)),
            None => Self(Bytes::from_static(text.as_bytes())),
        }
    }

    /// As much of `text` as fits, cut between characters: for reply texts, which may be cut (RabbitMQ cuts them too).
    #[must_use]
    pub fn truncated(text: &str) -> Self {
        let mut end = text.len().min(Self::MAX_LEN);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(Bytes::copy_from_slice(text.as_bytes().get(..end).unwrap_or_default()))
    }

    /// Copies octets that are known to fit: the length came from one octet.
    pub(crate) fn copy_from_wire(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            Self::new()
        } else {
            Self(Bytes::copy_from_slice(bytes))
        }
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, with U+FFFD in place of what is not UTF-8.
    #[must_use]
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The text, if the octets are UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The octets as shared bytes, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

const fn check(len: usize) -> Result<(), ShortStringTooLong> {
    if len > ShortString::MAX_LEN {
        Err(ShortStringTooLong { len })
    } else {
        Ok(())
    }
}

impl TryFrom<Bytes> for ShortString {
    type Error = ShortStringTooLong;

    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        check(bytes.len())?;
        Ok(Self(bytes))
    }
}

impl TryFrom<&[u8]> for ShortString {
    type Error = ShortStringTooLong;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        check(bytes.len())?;
        Ok(Self::copy_from_wire(bytes))
    }
}

impl TryFrom<&str> for ShortString {
    type Error = ShortStringTooLong;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.as_bytes().try_into()
    }
}

impl TryFrom<String> for ShortString {
    type Error = ShortStringTooLong;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Bytes::from(text).try_into()
    }
}

impl Deref for ShortString {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for ShortString {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for ShortString {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for ShortString {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for ShortString {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Display for ShortString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_str_lossy())
    }
}

impl fmt::Debug for ShortString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_str_lossy(), f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn holds_255_octets_and_not_one_more() {
        assert_eq!(ShortString::try_from("x".repeat(255)).unwrap().len(), 255);
        assert_eq!(
            ShortString::try_from("x".repeat(256)),
            Err(ShortStringTooLong { len: 256 })
        );
        assert_eq!(
            ShortString::try_from(Bytes::from(vec![0; 300])),
            Err(ShortStringTooLong { len: 300 })
        );
    }

    #[test]
    fn is_found_by_plain_octets() {
        let map = HashMap::from([(ShortString::from_static("orders"), 1)]);
        assert_eq!(map.get(b"orders".as_slice()), Some(&1));
        assert_eq!(map.get(b"order".as_slice()), None);
    }

    #[test]
    fn cuts_between_characters() {
        let text = format!("{}\u{e9}", "x".repeat(254));
        assert_eq!(ShortString::truncated(&text), "x".repeat(254).as_str());
        assert_eq!(ShortString::truncated("short"), "short");
    }

    #[test]
    fn shows_any_octets() {
        let name = ShortString::try_from([b'a', 0xff].as_slice()).unwrap();
        assert_eq!(name.to_string(), "a\u{fffd}");
        assert_eq!(name.as_str(), None);
    }
}
