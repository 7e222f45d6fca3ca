//! Parts of a key or value in the log's table, each behind its length.
//!
//! Comes in: names and texts. Goes out: their octets, and the same again. Pure. Does not know what the parts mean.

/// Adds a part of at most 255 octets; what is beyond is cut off.
pub fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..255).unwrap_or(bytes);
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

/// Adds a part of at most 65,535 octets; what is beyond is cut off.
pub fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..usize::from(u16::MAX)).unwrap_or(bytes);
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Takes out what [`put`] has added. `None` if it is not there whole.
pub fn take<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&len, rest) = from.split_first()?;
    let (part, rest) = rest.split_at_checked(usize::from(len))?;
    *from = rest;
    Some(part)
}

/// Takes out what [`put_long`] has added. `None` if it is not there whole.
pub fn take_long<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = from.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    *from = rest;
    Some(part)
}

/// A part that is a text.
pub fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_come_back_and_half_a_part_is_none(name in ".{0,60}", long in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut out = Vec::new();
            put(&mut out, name.as_bytes());
            put_long(&mut out, &long);
            let mut from = &out[..];
            prop_assert_eq!(take(&mut from).and_then(text), Some(name));
            let mut half = &from[..from.len() - 1];
            prop_assert_eq!(take_long(&mut half), None);
            prop_assert_eq!(take_long(&mut from), Some(&long[..]));
            prop_assert!(from.is_empty() && take(&mut from).is_none());
        }
    }
}
