//! Key pairs of sockets with CURVE: made, or put; kept in the log, and shown to nobody.
//!
//! They are not in the declarations: those are parameters, which are exported and listed.
//!
//! Comes in: names of sockets, secret keys. Goes out: key pairs; records for the log. Does not know who asks.

use super::socket::Name;
use crate::error::Result;
use crate::parts::{put, take, text};
use leveret_store::{Batch, Handle, Lsn, Urgency};
use leveret_zmtp::curve::{KeyPair, SecretKey};
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// The tag of keys in the log's table, which no other kind of entry has.
const TAG: u8 = b'Z';
/// Version of the values.
const FORMAT: u8 = 1;

/// All key pairs.
pub struct Keys {
    log: Handle,
    all: Mutex<BTreeMap<Name, KeyPair>>,
}

fn encode(Name { vhost, name }: &Name) -> Vec<u8> {
    let mut out = vec![TAG];
    for part in [vhost, name] {
        put(&mut out, part.as_bytes());
    }
    out
}

fn decode(bytes: &[u8]) -> Option<Name> {
    let mut rest = bytes.strip_prefix(&[TAG])?;
    let (vhost, name) = (text(take(&mut rest)?)?, text(take(&mut rest)?)?);
    rest.is_empty().then_some(Name { vhost, name })
}

/// True for a key of the log's table that is a key pair's.
pub fn is_key(key: &[u8]) -> bool {
    decode(key).is_some()
}

impl Keys {
    /// Those that the log's table has.
    pub fn restore<'a>(log: Handle, table: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let pairs = table.filter_map(|(key, value)| {
            let octets = value.strip_prefix(&[FORMAT])?.try_into().ok()?;
            Some((decode(key)?, KeyPair::from(SecretKey::from_bytes(octets))))
        });
        Self {
            log,
            all: Mutex::new(pairs.collect()),
        }
    }

    /// The pair of a socket, made now if there is none.
    ///
    /// # Errors
    /// The log has failed.
    pub fn of(&self, name: &Name) -> Result<KeyPair> {
        let known = self.all.lock().get(name).cloned();
        match known {
            Some(pair) => Ok(pair),
            None => {
                let pair = KeyPair::generate();
                self.keep(name, pair.clone(), Urgency::Soon)?;
                Ok(pair)
            }
        }
    }

    /// Keeps the pair of a secret key for a socket, which may be declared later. Gives the position from which on that
    /// is durable.
    ///
    /// # Errors
    /// The log has failed.
    pub fn put(&self, name: &Name, secret: SecretKey) -> Result<Lsn> {
        self.keep(name, KeyPair::from(secret), Urgency::Now)
    }

    fn keep(&self, name: &Name, pair: KeyPair, urgency: Urgency) -> Result<Lsn> {
        let mut records = Batch::default();
        records.put(&encode(name), &[&[FORMAT], &pair.secret().as_bytes()[..]].concat());
        let lsn = self.log.append(&mut records, urgency)?.lsn;
        self.all.lock().insert(name.clone(), pair);
        Ok(lsn)
    }

    /// Forgets the pairs that `gone` says.
    ///
    /// # Errors
    /// The log has failed.
    pub fn forget(&self, gone: impl Fn(&Name) -> bool) -> Result<()> {
        let mut records = Batch::default();
        let mut all = self.all.lock();
        for (name, _) in all.extract_if(.., |name, _| gone(name)) {
            records.delete(&encode(&name));
        }
        drop(all);
        if !records.is_empty() {
            self.log.append(&mut records, Urgency::Soon)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_store::fs::RealFs;
    use leveret_store::{Options, Store};
    use std::path::Path;
    use std::sync::Arc;

    fn open(folder: &Path) -> (Store, Keys) {
        let options = Options::new(folder);
        let opened = Store::open(options, Arc::new(RealFs), Box::new(|_| {}), Box::new(|_| {}));
        let (store, recovered) = opened.expect("a log");
        let table = recovered.table.iter().map(|(key, value)| (&**key, &**value));
        let keys = Keys::restore(store.handle(), table);
        (store, keys)
    }

    #[test]
    fn a_pair_stays_the_same_until_it_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, keys) = open(folder.path());
        let name = |name: &str| Name {
            vhost: "/".into(),
            name: name.into(),
        };
        let made = keys.of(&name("made")).expect("a pair");
        let given = KeyPair::generate();
        assert!(keys.put(&name("given"), given.secret().clone()).is_ok());
        assert!(keys.of(&name("gone")).is_ok());
        assert!(keys.forget(|of| of.name == "gone").is_ok());
        store.close().expect("closed");

        let (store, keys) = open(folder.path());
        assert_eq!(keys.all.lock().len(), 2);
        assert_eq!(keys.of(&name("made")).expect("a pair").public(), made.public());
        assert_eq!(keys.of(&name("given")).expect("a pair").public(), given.public());
        assert!(is_key(&encode(&name("x"))) && !is_key(b"Z") && !is_key(b"G\x01/"));
        store.close().expect("closed");
    }
}
