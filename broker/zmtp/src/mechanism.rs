//! Names of mechanisms.
//!
//! Comes in: 20 octets of a greeting. Goes out: the mechanism, or the name that isn't known.
//! Does not know how one works.

use std::fmt;

/// Octets of the name in a greeting.
pub(crate) const NAME_LEN: usize = 20;

/// A security mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// Nobody says who they are (RFC 37).
    Null,
    /// User and password in clear text (RFC 24).
    Plain,
    /// Keys of Curve25519, everything encrypted (RFC 26).
    Curve,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Null, Self::Plain, Self::Curve];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Plain => "PLAIN",
            Self::Curve => "CURVE",
        }
    }

    /// The mechanism with this name, if there is one.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name().as_bytes() == name)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
