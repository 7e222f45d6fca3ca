//! Frames: flags, length, body.
//!
//! Comes in: the octets read so far, or a body to send. Goes out: the head of the first frame, or octets. The length is
//! a number of 64 bits that nobody has judged yet: compare it before anything is kept.
//! Does not know about messages, commands or limits.

use crate::error::Error;

/// More frames of the same message follow.
pub const MORE: u8 = 1;
/// The length has 8 octets instead of one.
pub const LONG: u8 = 2;
/// The frame is a command.
pub const COMMAND: u8 = 4;

/// Octets of the longest head.
pub const HEAD_MAX: usize = 9;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Flags, of which only [`MORE`], [`LONG`] and [`COMMAND`] can be set.
    pub flags: u8,
    /// Octets of the head itself: 2 or 9.
    pub head_len: usize,
    /// Octets of the body, as announced.
    pub body_len: u64,
}

impl Head {
    /// True if more frames of the message follow.
    #[inline]
    #[must_use]
    pub const fn more(&self) -> bool {
        self.flags & MORE != 0
    }

    /// True if the frame is a command.
    #[inline]
    #[must_use]
    pub const fn is_command(&self) -> bool {
        self.flags & COMMAND != 0
    }

    /// Octets of head and body; the largest number there is if they can't be counted.
    #[inline]
    #[must_use]
    pub fn wire_len(&self) -> usize {
        usize::try_from(self.body_len)
            .unwrap_or(usize::MAX)
            .saturating_add(self.head_len)
    }
}

/// The head of the first frame in `octets`; `Ok(None)` if it isn't all there.
///
/// # Errors
/// [`Error::Flags`] if reserved bits are set, or a command says that more follows.
#[inline]
pub fn head(octets: &[u8]) -> Result<Option<Head>, Error> {
    let Some(&flags) = octets.first() else {
        return Ok(None);
    };
    if flags > (MORE | LONG | COMMAND) || flags & (MORE | COMMAND) == MORE | COMMAND {
        return Err(Error::Flags(flags));
    }
    if flags & LONG == 0 {
        return Ok(octets.get(1).map(|&len| Head {
            flags,
            head_len: 2,
            body_len: u64::from(len),
        }));
    }
    let length = octets.get(1..).and_then(<[u8]>::first_chunk::<8>);
    Ok(length.map(|length| Head {
        flags,
        head_len: HEAD_MAX,
        body_len: u64::from_be_bytes(*length),
    }))
}

/// The first frame in `octets` and its body, if all of it is there and nothing is wrong with it.
#[inline]
pub(crate) fn whole(octets: &[u8]) -> Option<(Head, &[u8])> {
    let head = head(octets).ok()??;
    let body = octets.get(head.head_len..head.wire_len())?;
    Some((head, body))
}

/// Appends the head of a frame with a body of `body_len` octets; `flags` are [`MORE`] and [`COMMAND`], the length's
/// flag is added.
#[inline]
pub fn put_head(out: &mut Vec<u8>, flags: u8, body_len: usize) {
    match u8::try_from(body_len) {
        Ok(short) => out.extend_from_slice(&[flags, short]),
        Err(_) => out.extend_from_slice(&long_head(flags, body_len)),
    }
}

const fn long_head(flags: u8, body_len: usize) -> [u8; HEAD_MAX] {
    let [a, b, c, d, e, f, g, h] = (body_len as u64).to_be_bytes();
    [flags | LONG, a, b, c, d, e, f, g, h]
}

/// Writes such a head over the first octets of `to`, which are there. Gives their number.
#[inline]
pub(crate) fn write_head(to: &mut [u8], flags: u8, body_len: usize) -> usize {
    match u8::try_from(body_len) {
        Ok(short) => {
            if let Some(to) = to.first_chunk_mut() {
                *to = [flags, short];
            }
            2
        }
        Err(_) => {
            if let Some(to) = to.first_chunk_mut() {
                *to = long_head(flags, body_len);
            }
            HEAD_MAX
        }
    }
}

/// Appends a frame.
#[inline]
pub fn put_frame(out: &mut Vec<u8>, flags: u8, body: &[u8]) {
    out.reserve(HEAD_MAX + body.len());
    put_head(out, flags, body.len());
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_known_by_their_literal_octets() {
        let mut out = Vec::new();
        put_frame(&mut out, MORE, b"hi");
        assert_eq!(out, [1, 2, b'h', b'i']);
        let head = head(&out).unwrap().unwrap();
        assert_eq!((head.more(), head.is_command(), head.wire_len()), (true, false, 4));
        out.clear();
        put_frame(&mut out, COMMAND, &[7; 256]);
        assert_eq!(out.first_chunk::<10>(), Some(&[6, 0, 0, 0, 0, 0, 0, 1, 0, 7]));
        out.clear();
        put_frame(&mut out, 0, &[7; 255]);
        assert_eq!(out.first_chunk::<3>(), Some(&[0, 255, 7]));
    }

    #[test]
    fn a_head_in_part_is_none_yet() {
        for octets in [&[][..], &[0], &[2], &[2, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(head(octets), Ok(None));
        }
    }

    #[test]
    fn flags_without_a_meaning_are_refused() {
        for flags in 0..=u8::MAX {
            let known = matches!(flags, 0..=4 | 6);
            assert_eq!(head(&[flags, 0, 0, 0, 0, 0, 0, 0, 0]).is_ok(), known, "{flags}");
        }
    }

    #[test]
    fn a_length_of_64_bits_is_not_cut() {
        let octets = [2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let head = head(&octets).unwrap().unwrap();
        assert_eq!((head.body_len, head.wire_len()), (u64::MAX, usize::MAX));
    }
}
