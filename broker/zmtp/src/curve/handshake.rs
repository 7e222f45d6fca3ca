//! HELLO, WELCOME, INITIATE and READY, of both sides.
//!
//! Comes in: keys, the data of the peer's command. Goes out: the data of the next command, and at the end the key of
//! the connection. Between WELCOME and INITIATE the server keeps one key of 32 octets: all else is in the cookie.
//! Does not know about frames, greetings, or whose key may come in.

use zeroize::Zeroizing;

use super::boxes::{BoxKey, long_nonce, random, short_nonce};
use super::keys::{KeyPair, PublicKey, SecretKey};
use super::messages::{Opener, Sealer, Side};
use crate::error::Error;

const HELLO: &str = "HELLO";
const WELCOME: &str = "WELCOME";
const INITIATE: &str = "INITIATE";
const READY: &str = "READY";

/// Octets of data of a HELLO: version, padding, key, nonce, box.
const HELLO_LEN: usize = 194;
/// Octets in front of the key in a HELLO.
const PADDING_LEN: usize = 74;
const VERSION: [u8; 2] = [1, 0];
/// Octets of a cookie, in the WELCOME and in the INITIATE: nonce and box.
const COOKIE_LEN: usize = 96;
/// Octets in front of the metadata in an INITIATE's box: key, vouch.
const VOUCH_END: usize = 128;

const fn box_error(command: &'static str) -> impl FnOnce() -> Error {
    move || Error::Box(command)
}

/// Cuts an array off the front.
fn cut<const N: usize>(from: &mut &[u8], command: &'static str) -> Result<[u8; N], Error> {
    let Some((array, rest)) = from.split_first_chunk() else {
        return Err(Error::Malformed(command));
    };
    *from = rest;
    Ok(*array)
}

/// The key that the cookie of one connection was closed with. A key for each connection, not for all: an INITIATE that
/// somebody has recorded opens no other connection.
#[derive(Debug)]
pub(crate) struct Cookie(BoxKey);

impl Cookie {
    /// Reads a HELLO and appends the data of the WELCOME.
    pub(crate) fn welcome(server: &KeyPair, mut hello: &[u8], out: &mut Vec<u8>) -> Result<Self, Error> {
        if hello.len() != HELLO_LEN || !hello.starts_with(&VERSION) {
            return Err(Error::Malformed(HELLO));
        }
        cut::<PADDING_LEN>(&mut hello, HELLO)?;
        let client = PublicKey::from_bytes(cut(&mut hello, HELLO)?);
        let nonce = short_nonce(*b"CurveZMQHELLO---", u64::from_be_bytes(cut(&mut hello, HELLO)?));
        let key = BoxKey::between(&client, server.secret()).ok_or_else(box_error(HELLO))?;
        let signature = key.read(&nonce, hello).ok_or_else(box_error(HELLO))?;
        if signature.iter().any(|octet| *octet != 0) {
            return Err(Error::Malformed(HELLO));
        }

        let (ours, cookie, random_part) = (KeyPair::generate(), Self(BoxKey::random()), random());
        let mut inside = Zeroizing::new(Vec::with_capacity(64));
        inside.extend_from_slice(client.as_bytes());
        inside.extend_from_slice(ours.secret().as_bytes());
        let mut text = ours.public().as_bytes().to_vec();
        text.extend_from_slice(&random_part);
        cookie.0.put(&long_nonce(*b"COOKIE--", random_part), &inside, &mut text);
        let random_part = random();
        out.extend_from_slice(&random_part);
        key.put(&long_nonce(*b"WELCOME-", random_part), &text, out);
        Ok(cookie)
    }

    /// Reads the INITIATE that follows on the WELCOME.
    pub(crate) fn initiate(self, server: &KeyPair, mut initiate: &[u8]) -> Result<Initiated, Error> {
        let bad_box = box_error(INITIATE);
        let cookie_nonce = long_nonce(*b"COOKIE--", cut(&mut initiate, INITIATE)?);
        let cookie: [u8; COOKIE_LEN - 16] = cut(&mut initiate, INITIATE)?;
        let nonce = u64::from_be_bytes(cut(&mut initiate, INITIATE)?);
        let Some(inside) = self.0.read(&cookie_nonce, &cookie) else {
            return Err(bad_box());
        };
        let mut inside = inside.as_slice();
        let client = PublicKey::from_bytes(cut(&mut inside, INITIATE)?);
        let ours = SecretKey::from_bytes(cut(&mut inside, INITIATE)?);
        let key = BoxKey::between(&client, &ours).ok_or(Error::Box(INITIATE))?;
        let text = key.read(&short_nonce(*b"CurveZMQINITIATE", nonce), initiate);
        let text = text.ok_or(Error::Box(INITIATE))?;
        let Some((vouch, metadata)) = text.split_first_chunk::<VOUCH_END>() else {
            return Err(Error::Malformed(INITIATE));
        };
        let permanent = vouched(vouch, &client, &ours, server.public())?;
        Ok(Initiated {
            client: permanent,
            metadata: metadata.to_vec(),
            key,
            seal_key: BoxKey::between(&client, &ours).ok_or(Error::Box(INITIATE))?,
            nonce,
        })
    }
}

/// The client's permanent key, if its owner vouches for the key of this connection and means this server.
fn vouched(mut vouch: &[u8], client: &PublicKey, ours: &SecretKey, server: &PublicKey) -> Result<PublicKey, Error> {
    let permanent = PublicKey::from_bytes(cut(&mut vouch, INITIATE)?);
    let nonce = long_nonce(*b"VOUCH---", cut(&mut vouch, INITIATE)?);
    let key = BoxKey::between(&permanent, ours).ok_or(Error::Box(INITIATE))?;
    let inside = key.read(&nonce, vouch).ok_or(Error::Box(INITIATE))?;
    match inside.split_first_chunk::<32>() {
        Some((first, second)) if first == client.as_bytes() && second == server.as_bytes() => Ok(permanent),
        _ => Err(Error::Box(INITIATE)),
    }
}

/// A client that has proved who it is, and that nobody has decided upon.
#[derive(Debug)]
pub(crate) struct Initiated {
    /// Its permanent key.
    pub(crate) client: PublicKey,
    /// Its properties, not yet read.
    pub(crate) metadata: Vec<u8>,
    key: BoxKey,
    seal_key: BoxKey,
    nonce: u64,
}

impl Initiated {
    /// Appends the data of the READY with this side's properties. What follows is messages.
    pub(crate) fn ready(self, metadata: &[u8], out: &mut Vec<u8>) -> (Opener, Sealer) {
        let nonce = 1_u64;
        out.extend_from_slice(&nonce.to_be_bytes());
        self.key.put(&short_nonce(*b"CurveZMQREADY---", nonce), metadata, out);
        (
            Opener::new(self.key, Side::Server, self.nonce),
            Sealer::new(self.seal_key, Side::Server, nonce + 1),
        )
    }
}

/// A client that has said HELLO.
#[derive(Debug)]
pub(crate) struct Greeted {
    ours: KeyPair,
    key: BoxKey,
}

impl Greeted {
    /// Appends the data of a HELLO to the server with this key.
    pub(crate) fn hello(server: &PublicKey, out: &mut Vec<u8>) -> Result<Self, Error> {
        let ours = KeyPair::generate();
        let key = BoxKey::between(server, ours.secret()).ok_or_else(box_error(HELLO))?;
        let nonce = 1_u64;
        out.extend_from_slice(&VERSION);
        out.extend_from_slice(&[0; PADDING_LEN - 2]);
        out.extend_from_slice(ours.public().as_bytes());
        out.extend_from_slice(&nonce.to_be_bytes());
        key.put(&short_nonce(*b"CurveZMQHELLO---", nonce), &[0; 64], out);
        Ok(Self { ours, key })
    }

    /// Reads the WELCOME and appends the data of the INITIATE, with this side's properties.
    pub(crate) fn initiate(
        self,
        permanent: &KeyPair,
        server: &PublicKey,
        mut welcome: &[u8],
        metadata: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Vouched, Error> {
        let nonce = long_nonce(*b"WELCOME-", cut(&mut welcome, WELCOME)?);
        let text = self.key.read(&nonce, welcome).ok_or_else(box_error(WELCOME))?;
        let mut text = text.as_slice();
        let theirs = PublicKey::from_bytes(cut(&mut text, WELCOME)?);
        let cookie: [u8; COOKIE_LEN] = cut(&mut text, WELCOME)?;
        let between = |secret| BoxKey::between(&theirs, secret).ok_or(Error::Box(WELCOME));

        let mut inside = permanent.public().as_bytes().to_vec();
        let random_part = random();
        inside.extend_from_slice(&random_part);
        let vouch = [*self.ours.public().as_bytes(), *server.as_bytes()].concat();
        between(permanent.secret())?.put(&long_nonce(*b"VOUCH---", random_part), &vouch, &mut inside);
        inside.extend_from_slice(metadata);
        let (key, nonce) = (between(self.ours.secret())?, 2_u64);
        out.extend_from_slice(&cookie);
        out.extend_from_slice(&nonce.to_be_bytes());
        key.put(&short_nonce(*b"CurveZMQINITIATE", nonce), &inside, out);
        let seal_key = between(self.ours.secret())?;
        Ok(Vouched { key, seal_key, nonce })
    }
}

/// A client that waits for the READY.
#[derive(Debug)]
pub(crate) struct Vouched {
    key: BoxKey,
    seal_key: BoxKey,
    nonce: u64,
}

impl Vouched {
    /// Reads the READY: the server's properties. What follows is messages.
    pub(crate) fn ready(self, mut ready: &[u8]) -> Result<(Vec<u8>, Opener, Sealer), Error> {
        let nonce = u64::from_be_bytes(cut(&mut ready, READY)?);
        let metadata = self.key.read(&short_nonce(*b"CurveZMQREADY---", nonce), ready);
        let metadata = metadata.ok_or_else(box_error(READY))?;
        Ok((
            metadata.to_vec(),
            Opener::new(self.key, Side::Client, nonce),
            Sealer::new(self.seal_key, Side::Client, self.nonce + 1),
        ))
    }
}
