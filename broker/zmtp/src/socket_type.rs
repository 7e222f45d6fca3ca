//! Types of sockets, and which may talk to which.
//!
//! Comes in: the name that a peer gives. Goes out: the type, and whether two of them fit.
//! Does not know what a socket of a type does.

use std::fmt;

/// A type of socket (RFC 37, "The Socket Type Property"). Those of drafts are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "their names are all that they are here")]
pub enum SocketType {
    Pair,
    Pub,
    Sub,
    Req,
    Rep,
    Dealer,
    Router,
    Pull,
    Push,
    XPub,
    XSub,
}

impl SocketType {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Pair,
        Self::Pub,
        Self::Sub,
        Self::Req,
        Self::Rep,
        Self::Dealer,
        Self::Router,
        Self::Pull,
        Self::Push,
        Self::XPub,
        Self::XSub,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pair => "PAIR",
            Self::Pub => "PUB",
            Self::Sub => "SUB",
            Self::Req => "REQ",
            Self::Rep => "REP",
            Self::Dealer => "DEALER",
            Self::Router => "ROUTER",
            Self::Pull => "PULL",
            Self::Push => "PUSH",
            Self::XPub => "XPUB",
            Self::XSub => "XSUB",
        }
    }

    /// The type with this name, if there is one.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name().as_bytes() == name)
    }

    /// True if the two may talk to each other.
    #[must_use]
    pub const fn fits(self, other: Self) -> bool {
        use SocketType::{Dealer, Pair, Pub, Pull, Push, Rep, Req, Router, Sub, XPub, XSub};
        match self {
            Pair => matches!(other, Pair),
            Pub | XPub => matches!(other, Sub | XSub),
            Sub | XSub => matches!(other, Pub | XPub),
            Req => matches!(other, Rep | Router),
            Rep => matches!(other, Req | Dealer),
            Dealer => matches!(other, Rep | Dealer | Router),
            Router => matches!(other, Req | Dealer | Router),
            Pull => matches!(other, Push),
            Push => matches!(other, Pull),
        }
    }

    /// True if peers subscribe at such a socket.
    #[must_use]
    pub const fn takes_subscriptions(self) -> bool {
        matches!(self, Self::Pub | Self::XPub)
    }

    /// True if a socket of this type tells its identity.
    #[must_use]
    pub const fn has_identity(self) -> bool {
        matches!(self, Self::Req | Self::Dealer | Self::Router)
    }
}

impl fmt::Display for SocketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for socket_type in SocketType::ALL {
            assert_eq!(SocketType::from_name(socket_type.name().as_bytes()), Some(socket_type));
        }
        assert_eq!(SocketType::from_name(b"push"), None);
        assert_eq!(SocketType::from_name(b""), None);
    }

    #[test]
    fn fitting_is_mutual() {
        for one in SocketType::ALL {
            for other in SocketType::ALL {
                assert_eq!(one.fits(other), other.fits(one), "{one} and {other}");
            }
        }
    }
}
