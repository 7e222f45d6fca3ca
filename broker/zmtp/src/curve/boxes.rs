//! Boxes: XSalsa20 and Poly1305 under what two keys have in common.
//!
//! Comes in: keys, nonces, octets. Goes out: octets that are secret and can't be changed unnoticed, or what was in
//! them. Does not know which command a box is in.

use dryoc::classic::crypto_box::{
    crypto_box_beforenm, crypto_box_detached_afternm_inplace, crypto_box_open_detached_afternm_inplace,
};
use dryoc::rng::copy_randombytes;
use zeroize::Zeroizing;

use super::keys::{PublicKey, SecretKey};

/// Octets that a box has more than what is in it.
pub(crate) const TAG_LEN: usize = 16;

/// A nonce.
pub(crate) type Nonce = [u8; 24];

/// A nonce for keys that live for long: 8 octets that say what it is for, 16 random ones.
pub(crate) fn long_nonce(purpose: [u8; 8], random: [u8; 16]) -> Nonce {
    let mut nonce = [0; 24];
    let (head, tail) = nonce.split_at_mut(8);
    head.copy_from_slice(&purpose);
    tail.copy_from_slice(&random);
    nonce
}

/// A nonce for keys of one connection: 16 octets that say what it is for, and a number that counts up.
#[inline]
pub(crate) fn short_nonce(purpose: [u8; 16], number: u64) -> Nonce {
    let mut nonce = [0; 24];
    let (head, tail) = nonce.split_at_mut(16);
    head.copy_from_slice(&purpose);
    tail.copy_from_slice(&number.to_be_bytes());
    nonce
}

/// Octets from the operating system's randomness.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    copy_randombytes(&mut octets);
    octets
}

/// A key that closes and opens boxes. Wiped when it goes.
pub(crate) struct BoxKey(Zeroizing<[u8; 32]>);

impl BoxKey {
    /// The key that both owners can compute; `None` for a public key that is no point of the curve's large group.
    pub(crate) fn between(theirs: &PublicKey, ours: &SecretKey) -> Option<Self> {
        let key = crypto_box_beforenm(theirs.as_bytes(), ours.as_bytes()).ok()?;
        Some(Self(Zeroizing::new(key)))
    }

    /// A key that nobody else has.
    pub(crate) fn random() -> Self {
        Self(Zeroizing::new(random()))
    }

    /// Closes a box where it lies: 16 octets of room, then what goes in.
    #[inline]
    pub(crate) fn seal(&self, nonce: &Nonce, octets: &mut [u8]) {
        if let Some((tag, text)) = octets.split_first_chunk_mut::<TAG_LEN>() {
            crypto_box_detached_afternm_inplace(text, tag, nonce, &self.0);
        }
    }

    /// Appends a box with this in it.
    pub(crate) fn put(&self, nonce: &Nonce, text: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; TAG_LEN]);
        out.extend_from_slice(text);
        self.seal(nonce, out.get_mut(start..).unwrap_or_default());
    }

    /// Opens a box where it lies; `None` if it doesn't open.
    #[inline]
    pub(crate) fn open<'a>(&self, nonce: &Nonce, octets: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let (tag, text) = octets.split_first_chunk_mut::<TAG_LEN>()?;
        crypto_box_open_detached_afternm_inplace(text, tag, nonce, &self.0).ok()?;
        Some(text)
    }

    /// The text in a box that stays as it is.
    pub(crate) fn read(&self, nonce: &Nonce, octets: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut copy = Zeroizing::new(octets.to_vec());
        self.open(nonce, &mut copy)?;
        copy.drain(..TAG_LEN);
        Some(copy)
    }
}

/// Says nothing of the key.
impl std::fmt::Debug for BoxKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxKey(…)")
    }
}
