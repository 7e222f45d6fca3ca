//! Passwords as they are kept: as Argon2id where they were set here, as RabbitMQ's salted hashes where these were
//! imported.
//!
//! Comes in: a password, or a hash with the name of its algorithm. Goes out: a hash, its text for RabbitMQ's API, and
//! whether a password is the one. What was imported is given out again as it came. Pure, but for chance.
//! A hash is never shown by `Debug`.

use super::password;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::digest::{SHA256, SHA512};
use std::fmt::{self, Debug, Formatter};

/// RabbitMQ's names of its algorithms.
const NAME_SHA256: &str = "rabbit_password_hashing_sha256";
const NAME_SHA512: &str = "rabbit_password_hashing_sha512";
/// The name of the algorithm of passwords that are set here. RabbitMQ doesn't know it.
const NAME_ARGON2ID: &str = "argon2id";
/// The begin of such a hash in the form that other programs have, too.
const ARGON2ID: &str = "$argon2id$";

/// Bytes of salt before RabbitMQ's hashes.
const SALT: usize = 4;
/// Bytes of a hash in any form, at most.
const LONGEST: usize = 1024;

/// Memory (KiB), passes and lanes of Argon2id: one of the choices that OWASP recommends, that with the least memory.
const MEMORY: u32 = 7 * 1024;
const PASSES: u32 = 5;
const LANES: u32 = 1;
/// The same of a hash that is imported, at most: whoever logs in has them computed.
const MOST_MEMORY: u32 = 64 * 1024;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 4;

/// A password as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Hash {
    /// No password: nobody logs in with one.
    None,
    /// Salt and SHA-256 of salt and password: RabbitMQ's usual form.
    Sha256(Box<[u8]>),
    /// Salt and SHA-512 of salt and password.
    Sha512(Box<[u8]>),
    /// Argon2id.
    Argon2id(Argon2id),
}

/// A hash by Argon2id with what it was made of.
#[derive(Clone, PartialEq, Eq)]
pub struct Argon2id {
    params: (u32, u32, u32),
    salt: Box<[u8]>,
    digest: Box<[u8]>,
}

impl Debug for Hash {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({})", self.algorithm())
    }
}

impl Hash {
    /// The hash of a password that is set here. Takes tens of milliseconds and megabytes.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn of(password: &str) -> Result<Self, String> {
        let salt: [u8; 16] = rand::random();
        let mut hash = Argon2id {
            params: (MEMORY, PASSES, LANES),
            salt: salt.into(),
            digest: [0; 32].into(),
        };
        hash.digest = hash.compute(password).ok_or("the password can't be hashed")?;
        Ok(Self::Argon2id(hash))
    }

    /// RabbitMQ's usual hash of a password, with a new salt.
    pub fn salted(password: &str) -> Self {
        let salt: [u8; SALT] = rand::random();
        let digest = ring::digest::digest(&SHA256, &[&salt, password.as_bytes()].concat());
        Self::Sha256([&salt, digest.as_ref()].concat().into())
    }

    /// A hash that no password has, and that takes as long to find out as any that is kept here.
    pub fn decoy() -> Self {
        Self::Argon2id(Argon2id {
            params: (MEMORY, PASSES, LANES),
            salt: rand::random::<[u8; 16]>().into(),
            digest: rand::random::<[u8; 32]>().into(),
        })
    }

    /// A hash as `password_hash` and `hashing_algorithm` of RabbitMQ's API have it; of Argon2id also as text. Without
    /// an algorithm it is RabbitMQ's usual one, or the one that the hash names.
    ///
    /// # Errors
    /// The fault, without the hash.
    pub fn import(algorithm: Option<&str>, text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::None);
        }
        if text.len() > LONGEST {
            return Err(format!("password_hash must not exceed {LONGEST} bytes"));
        }
        let bytes = match text.starts_with(ARGON2ID) {
            true => text.as_bytes().to_vec(),
            false => STANDARD
                .decode(text)
                .map_err(|_| "password_hash: not_base64".to_owned())?,
        };
        match algorithm {
            Some(NAME_ARGON2ID) => Argon2id::read(&bytes),
            None if bytes.starts_with(ARGON2ID.as_bytes()) => Argon2id::read(&bytes),
            None | Some(NAME_SHA256) => Ok(Self::Sha256(bytes.into())),
            Some(NAME_SHA512) => Ok(Self::Sha512(bytes.into())),
            Some(other) => Err(format!(
                "hashing_algorithm '{other}' is not supported: use {NAME_SHA256}, {NAME_SHA512} or {NAME_ARGON2ID}"
            )),
        }
    }

    /// The name of the algorithm in RabbitMQ's API.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::None | Self::Sha256(_) => NAME_SHA256,
            Self::Sha512(_) => NAME_SHA512,
            Self::Argon2id(_) => NAME_ARGON2ID,
        }
    }

    /// `password_hash` of RabbitMQ's API.
    pub fn text(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Sha256(bytes) | Self::Sha512(bytes) => STANDARD.encode(bytes),
            // RabbitMQ would refuse a file with a hash that isn't base64; this one it takes, and lets nobody in.
            Self::Argon2id(hash) => STANDARD.encode(hash.text()),
        }
    }

    /// True if RabbitMQ can tell whose hash it is.
    pub fn is_known_to_rabbitmq(&self) -> bool {
        !matches!(self, Self::Argon2id(_))
    }

    /// True if it takes as long to look at as a hash has to: tens of milliseconds.
    pub fn is_slow(&self) -> bool {
        matches!(self, Self::Argon2id(_))
    }

    /// True if it is the hash of this password.
    pub fn matches(&self, password: &str) -> bool {
        let salted = |kept: &[u8], algorithm| {
            let Some((salt, digest)) = kept.split_at_checked(SALT) else {
                return false;
            };
            let given = ring::digest::digest(algorithm, &[salt, password.as_bytes()].concat());
            password::same(given.as_ref(), digest)
        };
        match self {
            Self::None => false,
            Self::Sha256(kept) => salted(kept, &SHA256),
            Self::Sha512(kept) => salted(kept, &SHA512),
            Self::Argon2id(hash) => {
                let given = hash.compute(password);
                given.is_some_and(|given| password::same(&given, &hash.digest))
            }
        }
    }
}

impl Argon2id {
    fn read(bytes: &[u8]) -> Result<Hash, String> {
        let read = std::str::from_utf8(bytes).ok().and_then(Self::parse);
        read.map(Hash::Argon2id)
            .ok_or_else(|| "password_hash is not a hash of argon2id, or a too costly one".to_owned())
    }

    fn compute(&self, password: &str) -> Option<Box<[u8]>> {
        let (memory, passes, lanes) = self.params;
        let params = Params::new(memory, passes, lanes, Some(self.digest.len())).ok()?;
        let mut digest = vec![0; self.digest.len()];
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(params.block_count()).ok()?;
        blocks.resize(params.block_count(), Block::new());
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(password.as_bytes(), &self.salt, &mut digest, &mut blocks)
            .ok()?;
        Some(digest.into())
    }

    /// The form that other programs have, too (PHC): `$argon2id$v=19$m=7168,t=5,p=1$SALT$HASH`.
    fn text(&self) -> String {
        let (memory, passes, lanes) = self.params;
        let (salt, digest) = (STANDARD_NO_PAD.encode(&self.salt), STANDARD_NO_PAD.encode(&self.digest));
        format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${digest}")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
        let (params, salt, digest) = (parts.next()?, parts.next()?, parts.next()?);
        let mut numbers = params.split(',').zip(["m=", "t=", "p="]);
        let mut number = || -> Option<u32> {
            let (part, name) = numbers.next()?;
            part.strip_prefix(name)?.parse().ok()
        };
        let (memory, passes, lanes) = (number()?, number()?, number()?);
        let read = Self {
            params: (memory, passes, lanes),
            salt: STANDARD_NO_PAD.decode(salt).ok()?.into(),
            digest: STANDARD_NO_PAD.decode(digest).ok()?.into(),
        };
        let bounded = memory <= MOST_MEMORY && passes <= MOST_PASSES && lanes <= MOST_LANES;
        let whole = parts.next().is_none() && params.split(',').count() == 3;
        let sized = (8..=64).contains(&read.salt.len()) && (16..=64).contains(&read.digest.len());
        let possible = Params::new(memory, passes, lanes, Some(read.digest.len())).is_ok();
        (bounded && whole && sized && possible).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made by RabbitMQ 4.3.6: the first is in its documentation, too.
    const VECTORS: [(&str, &str, &str); 3] = [
        (
            NAME_SHA256,
            "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR",
            "test12",
        ),
        (NAME_SHA256, "wb3Wz3/oSkuOpr3Nk5jjRpFVe5NJ/X4Zlp9qO5/8QfmjO/CZ", "abc"),
        (
            NAME_SHA512,
            "IbQl/UKSgXR6QzmSQjdbEG4gGhMkMhLXle3tuR3J/V5TbWC9auYSprigyOy9cEgX/lT09f7YcrLGqFayo20+XI55UM0=",
            "geheim",
        ),
    ];

    #[test]
    fn hashes_of_rabbitmq_are_known_and_given_out_unchanged() {
        for (algorithm, text, password) in VECTORS {
            let hash = Hash::import(Some(algorithm), text).expect("a hash");
            assert!(
                hash.matches(password) && !hash.matches("wrong") && !hash.matches(""),
                "{text}"
            );
            assert_eq!((hash.algorithm(), hash.text().as_str()), (algorithm, text));
            assert!(!format!("{hash:?}").contains(text));
        }
        let usual = Hash::import(None, VECTORS[0].1).expect("a hash");
        assert!(usual.matches("test12"));
        let short = Hash::import(None, "AAAA").expect("RabbitMQ takes it");
        assert!(!short.matches("") && !short.matches("a"));
    }

    #[test]
    fn a_password_that_is_set_here_is_kept_as_argon2id() {
        let hash = Hash::of("geheim").expect("memory");
        assert!(hash.is_slow() && hash.matches("geheim") && !hash.matches("Geheim"));
        assert!(hash != Hash::of("geheim").expect("memory"), "each has its salt");
        let again = Hash::import(Some(hash.algorithm()), &hash.text()).expect("what was given out");
        assert!(again == hash && Hash::import(None, &hash.text()) == Ok(hash.clone()));
        assert!(STANDARD.decode(hash.text()).is_ok(), "RabbitMQ takes nothing else");
        // Made by the reference implementation: `echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1 -l 32`.
        let other = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let other = Hash::import(Some(NAME_ARGON2ID), other).expect("a hash");
        assert!(other.matches("password") && !other.matches("passwort"));
    }

    #[test]
    fn what_is_no_hash_is_refused_without_repeating_it() {
        let refused = |algorithm, text: &str| {
            let fault = Hash::import(algorithm, text).expect_err(text);
            assert!(!fault.contains(text), "{fault}");
            fault
        };
        assert_eq!(refused(None, "!!!"), "password_hash: not_base64");
        assert!(refused(Some("rabbit_password_hashing_md5"), "AAAA").contains("is not supported"));
        assert!(refused(None, &"A".repeat(LONGEST + 4)).ends_with("1024 bytes"));
        for costly in [
            "$argon2id$v=19$m=4000000000,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=65536,t=2000,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=8,t=2,p=4$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=65536,t=2,p=1$$",
            "$argon2id$v=16$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        ] {
            refused(Some(NAME_ARGON2ID), costly);
        }
        assert_eq!(Hash::import(Some("any"), ""), Ok(Hash::None));
        assert!(!Hash::None.matches("") && !Hash::decoy().matches(""));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(algorithm in "(rabbit_password_hashing_sha(256|512)|argon2id)?", text in "\\PC{0,60}") {
            let algorithm = Some(algorithm.as_str()).filter(|name| !name.is_empty());
            let _ = Hash::import(algorithm, &text);
            let _ = Hash::import(algorithm, &format!("$argon2id$v=19$m=8,t=1,p=1${text}"));
        }

        #[test]
        fn a_salted_hash_is_that_of_its_password_alone(password in "\\PC{1,20}", other in "\\PC{1,20}") {
            let hash = Hash::salted(&password);
            prop_assert!(hash.matches(&password));
            prop_assert_eq!(hash.matches(&other), other == password);
            let again = Hash::import(Some(hash.algorithm()), &hash.text());
            prop_assert!(again == Ok(hash));
        }
    }
}
