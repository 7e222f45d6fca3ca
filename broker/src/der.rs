//! Values in DER (X.690), read one after the other.
//!
//! Comes in: octets. Goes out: tags and contents of values. Does not know what they are part of. Pure.

/// A list of values.
pub const SEQUENCE: u8 = 0x30;
/// A set of values.
pub const SET: u8 = 0x31;
/// The number of a kind of thing.
pub const OBJECT_ID: u8 = 0x06;
/// A whole number.
pub const INTEGER: u8 = 0x02;
/// Bits, after an octet with the number of those at the end that don't count.
pub const BIT_STRING: u8 = 0x03;
/// Octets.
pub const OCTET_STRING: u8 = 0x04;

/// Octets of which one value after the other is read.
#[derive(Clone, Copy)]
pub struct Der<'a>(pub &'a [u8]);

impl<'a> Der<'a> {
    /// True if nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the next value has this tag.
    pub fn is_next(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The contents of the next value, which has this tag.
    pub fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, contents)| contents)
    }
}

/// Tags and contents, to the end or to the first value that isn't whole.
impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // A length of up to three octets: 16 MiB.
            0x81..=0x83 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                (octets.iter().fold(0, |len, octet| len << 8 | usize::from(*octet)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, contents))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_to_the_first_that_is_not_whole() {
        let mut der = Der(&[0x02, 1, 7, 0x04, 0x81, 2, 1, 2, 0x04, 9, 1]);
        assert!(der.is_next(INTEGER));
        assert_eq!(der.read(INTEGER), Some(&[7][..]));
        assert_eq!(der.next(), Some((OCTET_STRING, &[1, 2][..])));
        assert_eq!((der.next(), der.is_empty()), (None, false));
        assert_eq!(Der(&[0x02, 1, 7]).read(SEQUENCE), None);
        assert_eq!(
            Der(&[0x02, 0x84, 0, 0, 0, 1, 7]).next(),
            None,
            "a length that nothing here has"
        );
    }
}
