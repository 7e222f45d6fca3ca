//! Keys of CURVE, as ZeroMQ's programs write them, and what became of the one that a socket needs.
//!
//! In: a secret key as text, or nothing for a new one. Out: `CurveKey`, `ServerKey`. Does not know about Secrets, nor
//! about how a key gets to a broker.

use std::fmt;

use leveret_zmtp::curve::{KeyPair, SecretKey};

use super::reason::Reason;

/// A secret key with its public one.
#[derive(Clone)]
pub struct CurveKey {
    pair: KeyPair,
    public: String,
}

impl CurveKey {
    /// A new one.
    pub fn fresh() -> Self {
        Self::from(KeyPair::generate())
    }

    /// The one with this secret key, in 40 characters of Z85; `None` if that is none.
    pub fn read(secret: &str) -> Option<Self> {
        let secret = SecretKey::from_z85(secret)?;
        Some(Self::from(KeyPair::from(secret)))
    }

    pub fn public(&self) -> &str {
        &self.public
    }

    /// To be shown to the broker alone, and put into the Secret.
    pub fn secret(&self) -> String {
        self.pair.secret().to_z85().to_string()
    }
}

impl From<KeyPair> for CurveKey {
    fn from(pair: KeyPair) -> Self {
        let public = pair.public().to_string();
        Self { pair, public }
    }
}

/// The public key follows from the secret one.
impl PartialEq for CurveKey {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for CurveKey {}

impl fmt::Debug for CurveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CurveKey({})", self.public)
    }
}

/// The outcome of looking for a socket's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerKey {
    Known(CurveKey),
    /// The broker makes its own.
    OfBroker,
    /// There is none, and why.
    Missing(Reason, String),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libzmq's test keys.
    const PUBLIC: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
    const SECRET: &str = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";

    #[test]
    fn a_key_as_zeromq_makes_it() {
        let key = CurveKey::read(SECRET).expect("a key");
        assert_eq!((key.public(), key.secret().as_str()), (PUBLIC, SECRET));
        assert!(!format!("{key:?}").contains(SECRET));
        assert!(CurveKey::read("short").is_none());
        let new = CurveKey::fresh();
        assert_eq!(CurveKey::read(&new.secret()), Some(new.clone()));
        assert_ne!(new, key);
    }
}
