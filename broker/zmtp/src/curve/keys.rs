//! Key pairs of Curve25519, as octets and as text in Z85.
//!
//! Comes in: octets, text, or nothing for a new pair. Goes out: keys. Secret ones are wiped when they go, and nothing
//! prints them by accident. Does not know whose a key is.

use std::fmt;

use dryoc::classic::crypto_box::crypto_box_keypair_inplace;
use dryoc::classic::crypto_core::crypto_scalarmult_base;
use zeroize::Zeroizing;

use crate::z85;

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// A key of these octets.
    #[must_use]
    pub const fn from_bytes(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The key in 40 characters of Z85; `None` if it isn't one.
    #[must_use]
    pub fn from_z85(text: &str) -> Option<Self> {
        z85::decode(text).map(|octets| Self(*octets))
    }

    /// Its octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// As Z85.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&z85::encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A secret key. Wiped when it goes.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// A key of these octets.
    #[must_use]
    pub fn from_bytes(octets: [u8; 32]) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The key in 40 characters of Z85; `None` if it isn't one.
    #[must_use]
    pub fn from_z85(text: &str) -> Option<Self> {
        z85::decode(text).map(Self)
    }

    /// As Z85: to be kept where nobody else reads it.
    #[must_use]
    pub fn to_z85(&self) -> Zeroizing<String> {
        Zeroizing::new(z85::encode(&self.0))
    }

    /// Its octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Says nothing of the key.
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// A secret key with its public one.
#[derive(Debug, Clone)]
pub struct KeyPair {
    secret: SecretKey,
    public: PublicKey,
}

impl KeyPair {
    /// A new pair, from the operating system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        let (mut public, mut secret) = ([0; 32], Zeroizing::new([0; 32]));
        crypto_box_keypair_inplace(&mut public, &mut secret);
        Self {
            secret: SecretKey(secret),
            public: PublicKey(public),
        }
    }

    /// The secret half.
    #[must_use]
    pub const fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }
}

/// The public key is computed.
impl From<SecretKey> for KeyPair {
    fn from(secret: SecretKey) -> Self {
        let mut public = [0; 32];
        crypto_scalarmult_base(&mut public, &secret.0);
        Self {
            secret,
            public: PublicKey(public),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libzmq's test keys.
    const PUBLIC: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
    const SECRET: &str = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";

    #[test]
    fn a_public_key_follows_from_the_secret_one() {
        let pair = KeyPair::from(SecretKey::from_z85(SECRET).unwrap());
        assert_eq!(pair.public().to_string(), PUBLIC);
        assert_eq!(*pair.secret().to_z85(), SECRET);
        let new = KeyPair::generate();
        assert_eq!(KeyPair::from(new.secret().clone()).public(), new.public());
        assert_ne!(new.public(), KeyPair::generate().public());
    }

    #[test]
    fn nothing_prints_a_secret_key() {
        let pair = KeyPair::from(SecretKey::from_z85(SECRET).unwrap());
        assert_eq!(
            format!("{pair:?}"),
            format!("KeyPair {{ secret: SecretKey(…), public: PublicKey({PUBLIC}) }}")
        );
    }
}
