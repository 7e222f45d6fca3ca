//! The properties that peers tell each other: names and values.
//!
//! Comes in: the tail of a READY or INITIATE, or properties to tell. Goes out: the others.
//! Does not know which command they are in.

use bytes::Bytes;

use crate::error::Error;
use crate::socket_type::SocketType;

/// Octets of the longest identity.
const IDENTITY_MAX: usize = 255;
const SOCKET_TYPE: &str = "Socket-Type";
const IDENTITY: &str = "Identity";

/// The properties of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) socket_type: SocketType,
    /// Empty if there is none.
    pub(crate) identity: Bytes,
    /// All others, in their order.
    pub(crate) others: Vec<(String, Bytes)>,
}

impl Metadata {
    /// Reads properties, and judges whether a peer with them may talk to a socket of this type.
    ///
    /// # Errors
    /// [`Error::Malformed`] in `command`; [`Error::SocketType`], [`Error::Identity`].
    pub(crate) fn parse(command: &'static str, mut octets: &[u8], ours: SocketType) -> Result<Self, Error> {
        let malformed = || Error::Malformed(command);
        let (mut socket_type, mut identity, mut others) = (None, Bytes::new(), Vec::new());
        while !octets.is_empty() {
            let (name, value, rest) = property(octets).ok_or_else(malformed)?;
            octets = rest;
            if name.eq_ignore_ascii_case(SOCKET_TYPE) {
                socket_type = Some(value);
            } else if name.eq_ignore_ascii_case(IDENTITY) {
                if value.len() > IDENTITY_MAX || value.first() == Some(&0) {
                    return Err(Error::Identity);
                }
                identity = Bytes::copy_from_slice(value);
            } else {
                others.push((name.to_owned(), Bytes::copy_from_slice(value)));
            }
        }
        let name = socket_type.unwrap_or_default();
        let fitting = SocketType::from_name(name).filter(|theirs| ours.fits(*theirs));
        let Some(socket_type) = fitting else {
            let theirs = match name {
                [] => "(none)".to_owned(),
                name => name
                    .iter()
                    .take(32)
                    .copied()
                    .flat_map(std::ascii::escape_default)
                    .map(char::from)
                    .collect(),
            };
            return Err(Error::SocketType { ours, theirs });
        };
        Ok(Self {
            socket_type,
            identity,
            others,
        })
    }
}

/// The first property and the octets behind it.
fn property(octets: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let (&len, rest) = octets.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(len))?;
    let known = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.+".contains(octet);
    let name = std::str::from_utf8(name).ok()?;
    if name.is_empty() || !name.as_bytes().iter().all(known) {
        return None;
    }
    let (&len, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(len)).ok()?)?;
    Some((name, value, rest))
}

/// Appends a property. Names have at most 255 octets: they are this side's own.
pub(crate) fn put_property(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend(name.bytes().take(usize::from(u8::MAX)));
    out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(value);
}

/// Appends type and, for types that have one, identity.
pub(crate) fn put(out: &mut Vec<u8>, socket_type: SocketType, identity: &[u8]) {
    put_property(out, SOCKET_TYPE, socket_type.name().as_bytes());
    if socket_type.has_identity() {
        put_property(out, IDENTITY, identity);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn properties_are_known_by_their_literal_octets() {
        let mut out = Vec::new();
        put(&mut out, SocketType::Req, b"me");
        assert_eq!(out, b"\x0bSocket-Type\0\0\0\x03REQ\x08Identity\0\0\0\x02me");
        let metadata = Metadata::parse("READY", &out, SocketType::Router).unwrap();
        assert_eq!(
            (metadata.socket_type, &metadata.identity[..]),
            (SocketType::Req, &b"me"[..])
        );
        out.clear();
        put(&mut out, SocketType::Pull, b"me");
        assert_eq!(out, b"\x0bSocket-Type\0\0\0\x04PULL", "a PULL has no identity");
    }

    #[test]
    fn names_are_the_same_in_any_case() {
        let metadata = Metadata::parse("READY", b"\x0bsocket-TYPE\0\0\0\x04PUSH", SocketType::Pull).unwrap();
        assert_eq!(metadata.socket_type, SocketType::Push);
    }

    #[test]
    fn types_that_do_not_fit_are_named() {
        for (octets, theirs) in [
            (&b""[..], "(none)"),
            (b"\x0bSocket-Type\0\0\0\x04PAIR", "PAIR"),
            (b"\x0bSocket-Type\0\0\0\x05PUSH\0", "PUSH\\x00"),
        ] {
            let error = Metadata::parse("READY", octets, SocketType::Pull).unwrap_err();
            assert_eq!(error.to_string(), format!("socket type {theirs} does not fit PULL"));
        }
    }

    #[test]
    fn what_is_cut_off_is_malformed() {
        let mut out = Vec::new();
        put(&mut out, SocketType::Req, b"me");
        let ends = [0, 19, out.len()];
        for len in (0..out.len()).filter(|len| !ends.contains(len)) {
            let error = Metadata::parse("READY", out.get(..len).unwrap(), SocketType::Router).unwrap_err();
            assert_eq!(error, Error::Malformed("READY"), "{len}");
        }
    }

    #[test]
    fn identities_are_short_and_do_not_begin_with_a_zero() {
        for identity in [&[7; 256][..], &[0, 1]] {
            let mut out = Vec::new();
            put(&mut out, SocketType::Req, identity);
            assert_eq!(Metadata::parse("READY", &out, SocketType::Router), Err(Error::Identity));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            identity in vec(1..=255_u8, 0..=255),
            others in vec(("X-[a-zA-Z0-9_.+-]{1,50}", vec(any::<u8>(), 0..50)), 0..4),
        ) {
            let mut out = Vec::new();
            put(&mut out, SocketType::Dealer, &identity);
            for (name, value) in &others {
                put_property(&mut out, name, value);
            }
            let metadata = Metadata::parse("READY", &out, SocketType::Router).unwrap();
            prop_assert_eq!(&metadata.identity[..], &identity[..]);
            let others: Vec<_> = others.into_iter().map(|(name, value)| (name, Bytes::from(value))).collect();
            prop_assert_eq!(metadata.others, others);
        }

        #[test]
        fn noise_never_panics(octets in vec(any::<u8>(), 0..100)) {
            let _ = Metadata::parse("READY", &octets, SocketType::Pull);
        }
    }
}
