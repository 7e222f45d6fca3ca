//! Passwords of Users, as brokers keep them: hashes, which is all that the pipeline sees of a password.
//!
//! In: a password, or a hash as a broker lists it. Out: `Hash`, and what became of a User's Secret. Never shown by
//! `Debug`. Does not know about Secrets, nor about how a hash gets to a broker.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::digest::{Context, Digest, SHA256, digest};

use super::reason::Reason;
use crate::resource::HashingAlgorithm;

/// Bytes of salt before a hash (RabbitMQ's form).
const SALT: usize = 4;
/// Memory (KiB), passes and lanes of Argon2id: what Leveret itself takes.
const SLOW: (u32, u32, u32) = (7 * 1024, 5, 1);
/// Bytes of its salt and of its hash.
const SLOW_SALT: usize = 16;
const SLOW_DIGEST: usize = 32;
/// Keeps these salts from being those of anything else.
const PURPOSE: &[u8] = b"leveret.dev/user";

/// A password as a broker keeps it. Two are equal when they are the same text: a broker gives out again what it got.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hash {
    algorithm: String,
    text: String,
}

impl Hash {
    /// As a broker, or a manifest, has it. Without a text no password is right, whatever the algorithm.
    pub fn new(algorithm: &str, text: &str) -> Self {
        let algorithm = if text.is_empty() { "" } else { algorithm };
        Self {
            algorithm: algorithm.to_owned(),
            text: text.to_owned(),
        }
    }

    /// No password is right.
    pub fn none() -> Self {
        Self::default()
    }

    /// The salted hash of a password, in RabbitMQ's usual form. The salt follows from `place` (whose password it is)
    /// and the password: so a hash that a broker lists can be compared, by an operator that has just started, too.
    pub fn salted(password: &[u8], place: &[&str]) -> Self {
        let whole = mixed(password, place);
        let salt = whole.as_ref().get(..SALT).unwrap_or_default();
        let hash = digest(&SHA256, &[salt, password].concat());
        let text = STANDARD.encode([salt, hash.as_ref()].concat());
        Self::new(HashingAlgorithm::Sha256.as_str(), &text)
    }

    /// The same by Argon2id, which Leveret alone knows: for passwords that may be guessed. Takes tens of milliseconds
    /// and 7 MiB; `None` if there is no such memory.
    pub fn slow(password: &[u8], place: &[&str]) -> Option<Self> {
        let whole = mixed(password, place);
        let salt = whole.as_ref().get(..SLOW_SALT)?;
        let (memory, passes, lanes) = SLOW;
        let params = Params::new(memory, passes, lanes, Some(SLOW_DIGEST)).ok()?;
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(params.block_count()).ok()?;
        blocks.resize(params.block_count(), Block::new());
        let mut digest = [0; SLOW_DIGEST];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(password, salt, &mut digest, &mut blocks)
            .ok()?;
        let (salt, digest) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(digest));
        let text = format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${digest}");
        Some(Self::new(HashingAlgorithm::Argon2id.as_str(), &STANDARD.encode(text)))
    }

    /// No password is right.
    pub fn is_none(&self) -> bool {
        self.text.is_empty()
    }

    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// As a broker reads it. To be shown to nobody who has not asked for it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Octets that follow from a password and whose it is.
fn mixed(password: &[u8], place: &[&str]) -> Digest {
    let mut context = Context::new(&SHA256);
    let parts = place.iter().map(|part| part.as_bytes());
    for part in std::iter::once(PURPOSE).chain(parts).chain([password]) {
        // With its length, so that two places never give the same octets.
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    context.finish()
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({})", self.algorithm)
    }
}

/// The outcome of looking for a User's password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    Known {
        hash: Hash,
        /// The same by Argon2id, where the password may be guessed.
        slow: Option<Hash>,
        /// The Secret with all that a client needs, where the operator makes it.
        secret: Option<String>,
        /// The name of the user, where that stands in the Secret alone.
        user: Option<String>,
    },
    /// There is none, and why.
    Missing(Reason, String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_as_rabbitmq_makes_it() {
        let hash = Hash::salted(b"geheim", &["shop", "till"]);
        let bytes = STANDARD.decode(hash.text()).expect("base64");
        let (salt, kept) = bytes.split_at(SALT);
        assert_eq!(kept, digest(&SHA256, &[salt, b"geheim"].concat()).as_ref());
        assert_eq!(hash.algorithm(), "rabbit_password_hashing_sha256");
        assert!(!format!("{hash:?}").contains(hash.text()));
    }

    #[test]
    fn a_slow_hash_is_as_leveret_gives_it_out() {
        let hash = Hash::slow(b"geheim", &["shop", "till"]).expect("memory");
        let text = String::from_utf8(STANDARD.decode(hash.text()).expect("base64")).expect("UTF-8");
        let parts: Vec<&str> = text.split('$').collect();
        assert_eq!(
            parts.get(1..4),
            Some(&["argon2id", "v=19", "m=7168,t=5,p=1"][..]),
            "{text}"
        );
        let lengths: Vec<usize> = parts.iter().skip(4).map(|part| part.len()).collect();
        assert_eq!((parts.len(), lengths), (6, vec![22, 43]));
        assert_eq!(Hash::slow(b"geheim", &["shop", "till"]), Some(hash.clone()));
        assert_ne!(Hash::slow(b"geheim", &["shop", "office"]), Some(hash));
    }

    #[test]
    fn a_hash_says_whose_password_it_is_and_which() {
        let hash = Hash::salted(b"geheim", &["shop", "till"]);
        assert_eq!(hash, Hash::salted(b"geheim", &["shop", "till"]));
        for other in [
            Hash::salted(b"geheim", &["shop", "office"]),
            Hash::salted(b"geheim", &["shopt", "ill"]),
            Hash::salted(b"geheim2", &["shop", "till"]),
            Hash::none(),
        ] {
            assert_ne!(hash, other);
        }
        assert_eq!(Hash::new("rabbit_password_hashing_sha512", ""), Hash::none());
        assert!(Hash::none().is_none() && !hash.is_none());
    }
}
