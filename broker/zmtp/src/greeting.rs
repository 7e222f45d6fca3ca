//! The 64 octets that both sides begin with.
//!
//! Comes in: the octets read so far, or what to say. Goes out: version, mechanism and role of the peer, as soon as they
//! are there, or octets. What can't become a greeting is refused at its first wrong octet.
//! Does not know about frames.

use crate::error::Error;
use crate::mechanism::{Mechanism, NAME_LEN};

/// Octets of a greeting.
pub const GREETING_LEN: usize = 64;
/// The oldest major version that is understood.
const MAJOR: u8 = 3;
/// The minor version that is spoken.
const MINOR: u8 = 1;

/// A greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The major version: 3 or above.
    pub major: u8,
    /// The minor version.
    pub minor: u8,
    /// The mechanism's name without its padding.
    pub mechanism: Vec<u8>,
    /// True if the peer says that it plays the server in the handshake. libzmq doesn't look at it, and nor does this.
    pub as_server: bool,
}

impl Greeting {
    /// The greeting of this side.
    #[must_use]
    pub fn new(mechanism: Mechanism, as_server: bool) -> Self {
        Self {
            major: MAJOR,
            minor: MINOR,
            mechanism: mechanism.name().as_bytes().to_vec(),
            // It has no meaning in NULL, where it has to be zero.
            as_server: as_server && mechanism != Mechanism::Null,
        }
    }

    /// Reads a greeting from the start of `octets`; `Ok(None)` if it isn't all there.
    ///
    /// # Errors
    /// [`Error::NotZmtp`], [`Error::Version`], both as early as can be.
    pub fn parse(octets: &[u8]) -> Result<Option<Self>, Error> {
        if octets.first().is_some_and(|first| *first != 0xFF) {
            return Err(Error::NotZmtp);
        }
        // The lowest bit alone, as in libzmq: without it this is the length of a message of ZMTP 1.0.
        if octets.get(9).is_some_and(|last| last & 1 == 0) {
            return Err(Error::Version(1));
        }
        if let Some(&major) = octets.get(10).filter(|major| **major < MAJOR) {
            // Revision 0 is ZMTP 1.0, 1 is 2.0.
            return Err(Error::Version(major + 1));
        }
        let Some(octets) = octets.first_chunk::<GREETING_LEN>() else {
            return Ok(None);
        };
        let [_, _, _, _, _, _, _, _, _, _, major, minor, rest @ ..] = octets;
        let (name, rest) = rest.split_at(NAME_LEN);
        let len = name.iter().position(|octet| *octet == 0).unwrap_or(NAME_LEN);
        let (name, padding) = name.split_at(len);
        if padding.iter().any(|octet| *octet != 0) {
            return Err(Error::NotZmtp);
        }
        Ok(Some(Self {
            major: *major,
            minor: *minor,
            mechanism: name.to_vec(),
            as_server: rest.first() == Some(&1),
        }))
    }

    /// The minor version that both sides understand: a peer of a higher major one speaks ours.
    #[must_use]
    pub fn agreed_minor(&self) -> u8 {
        match self.major {
            MAJOR => self.minor.min(MINOR),
            _ => MINOR,
        }
    }

    /// Appends the 64 octets.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.reserve(GREETING_LEN);
        out.extend_from_slice(&[0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0x7F, self.major, self.minor]);
        let name = self.mechanism.get(..NAME_LEN).unwrap_or(&self.mechanism);
        out.extend_from_slice(name);
        out.resize(out.len() + NAME_LEN - name.len(), 0);
        out.push(u8::from(self.as_server));
        out.resize(out.len() + GREETING_LEN - 33, 0);
    }

    /// The mechanism, if it is the one that is wanted.
    ///
    /// # Errors
    /// [`Error::Mechanism`] if it is another.
    pub fn require(&self, ours: Mechanism) -> Result<(), Error> {
        if Mechanism::from_name(&self.mechanism) == Some(ours) {
            return Ok(());
        }
        let theirs = self.mechanism.escape_ascii().to_string();
        Err(Error::Mechanism { ours, theirs })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn octets(greeting: &Greeting) -> Vec<u8> {
        let mut out = Vec::new();
        greeting.put(&mut out);
        out
    }

    #[test]
    fn a_greeting_is_known_by_its_literal_octets() {
        let mut wanted = vec![0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 3, 1];
        wanted.extend(b"PLAIN\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01");
        wanted.extend([0; 31]);
        assert_eq!(octets(&Greeting::new(Mechanism::Plain, true)), wanted);
        assert_eq!(
            octets(&Greeting::new(Mechanism::Null, true)).get(32),
            Some(&0),
            "NULL knows no server"
        );
    }

    #[test]
    fn old_versions_are_refused_at_their_first_octet_that_tells() {
        assert_eq!(Greeting::parse(&[5]), Err(Error::NotZmtp));
        assert_eq!(Greeting::parse(b"GET / HTTP"), Err(Error::NotZmtp));
        assert_eq!(
            Greeting::parse(&[0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7E]),
            Err(Error::Version(1))
        );
        let signature = [0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F];
        assert_eq!(Greeting::parse(&signature), Ok(None));
        for revision in 0..3 {
            let octets = [&signature[..], &[revision]].concat();
            assert_eq!(Greeting::parse(&octets), Err(Error::Version(revision + 1)));
        }
    }

    #[test]
    fn a_newer_major_version_speaks_ours() {
        let mut greeting = Greeting::new(Mechanism::Null, false);
        (greeting.major, greeting.minor) = (4, 0);
        assert_eq!(greeting.agreed_minor(), 1);
        (greeting.major, greeting.minor) = (3, 0);
        assert_eq!(greeting.agreed_minor(), 0);
        (greeting.major, greeting.minor) = (3, 7);
        assert_eq!(greeting.agreed_minor(), 1);
    }

    #[test]
    fn another_mechanism_is_named() {
        let mut greeting = Greeting::new(Mechanism::Null, false);
        greeting.mechanism = b"GSSAPI\x01".to_vec();
        let error = greeting.require(Mechanism::Curve).unwrap_err();
        assert_eq!(
            error.to_string(),
            "peer wants mechanism GSSAPI\\x01, this socket has CURVE"
        );
        assert_eq!(Greeting::new(Mechanism::Curve, false).require(Mechanism::Curve), Ok(()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            (major, minor) in (3..=255_u8, any::<u8>()),
            mechanism in "[A-Z0-9_.+-]{0,20}",
            as_server in any::<bool>(),
        ) {
            let greeting = Greeting { major, minor, mechanism: mechanism.into_bytes(), as_server };
            let octets = octets(&greeting);
            prop_assert_eq!(octets.len(), GREETING_LEN);
            for len in 0..GREETING_LEN {
                prop_assert_eq!(Greeting::parse(octets.get(..len).unwrap()), Ok(None));
            }
            prop_assert_eq!(Greeting::parse(&octets), Ok(Some(greeting)));
        }

        #[test]
        fn noise_never_panics(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Greeting::parse(&octets);
        }
    }
}
