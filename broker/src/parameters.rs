//! Parameters: values that users and tools keep in the broker by a name, of a vhost or of all. The broker knows few of
//! them; a shovel or an upstream of a federation is kept for whatever will run it.
//!
//! Comes in: names and values as JSON text, from the HTTP API or from the log's table. Goes out: the same, and the
//! position in the log that an answer has to wait for; word of a change to whoever acts on parameters. Does not know
//! what a value means.

use crate::error::{Error, Result};
use crate::limits::{Held, Holding, Memory, tables};
use crate::parts::{put, take, text};
use leveret_store::{Batch, Handle, Lsn, Urgency};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch::{Receiver, Sender};

/// The tag of keys in the log's table, which no other kind of entry has.
const TAG: u8 = b'G';
/// Version of the values.
const FORMAT: u8 = 1;
/// Bytes of a parameter beside its names and its value, roughly.
const BESIDE: usize = 256;
/// Name of the global parameter that names the cluster.
const CLUSTER_NAME: &str = "cluster_name";
/// Name of the global parameter with what the cluster is known by, whatever it is called.
pub const CLUSTER_ID: &str = "internal_cluster_id";
/// Name of the global parameter with the mark of the definitions that the last start has loaded.
pub const IMPORTED: &str = "imported_definition_hash_value";

/// The names of a parameter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The vhost that it is of; `None` for a global one.
    pub vhost: Option<String>,
    /// The kind, `shovel` for one; empty for a global one.
    pub component: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// A global parameter.
    pub fn global(name: &str) -> Self {
        Self {
            vhost: None,
            component: String::new(),
            name: name.to_owned(),
        }
    }

    /// A parameter of a vhost.
    pub fn of(vhost: &str, component: &str, name: &str) -> Self {
        Self {
            vhost: Some(vhost.to_owned()),
            component: component.to_owned(),
            name: name.to_owned(),
        }
    }

    /// As the log's table has it.
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![TAG, u8::from(self.vhost.is_some())];
        for part in [self.vhost.as_deref().unwrap_or_default(), &self.component, &self.name] {
            put(&mut out, part.as_bytes());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[TAG])?;
        let of_vhost = rest.split_off_first()? == &1;
        let mut part = || text(take(&mut rest)?);
        let (vhost, component, name) = (part()?, part()?, part()?);
        Some(Self {
            vhost: of_vhost.then_some(vhost),
            component,
            name,
        })
    }

    fn bytes(&self) -> usize {
        let vhost = self.vhost.as_ref().map_or(0, String::len);
        vhost + self.component.len() + self.name.len()
    }
}

/// True for a key of the log's table that is a parameter's.
pub fn is_key(key: &[u8]) -> bool {
    Key::decode(key).is_some()
}

/// A parameter that was put: the position to wait for, and whether there was none of its name.
pub struct Put {
    /// The change is durable from here on.
    pub lsn: Lsn,
    /// The value that it had.
    pub before: Option<Arc<str>>,
}

struct Kept {
    value: Arc<str>,
    _held: Held,
}

/// All parameters.
pub struct Parameters {
    log: Handle,
    memory: Arc<Memory>,
    all: RwLock<BTreeMap<Key, Kept>>,
    /// Notified after each change.
    changed: Sender<()>,
}

impl Parameters {
    /// Those that the log's table has. A new data directory gets what its cluster is known by.
    ///
    /// # Errors
    /// The log has failed.
    pub fn restore<'a>(
        log: Handle,
        memory: Arc<Memory>,
        table: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self> {
        let found = Self {
            log,
            memory,
            all: RwLock::default(),
            changed: Sender::default(),
        };
        for (key, value) in table {
            let Some(key) = Key::decode(key) else { continue };
            let text = value.strip_prefix(&[FORMAT]).map(std::str::from_utf8);
            match text {
                Some(Ok(text)) => _ = found.insert(key, text),
                _ => tracing::warn!(?key, "a parameter in the log is not known; it is left out"),
            }
        }
        if found.get(&Key::global(CLUSTER_ID)).is_none() {
            let id = format!("\"rabbitmq-cluster-id-{:032x}\"", rand::random::<u128>());
            let _ = found.write(Key::global(CLUSTER_ID), &id, Urgency::Soon)?;
        }
        Ok(found)
    }

    fn insert(&self, key: Key, value: &str) -> Option<Kept> {
        let bytes = (BESIDE + key.bytes() + value.len()) as u64;
        let kept = Kept {
            value: value.into(),
            _held: self.memory.hold(Holding::Tables, bytes),
        };
        self.all.write().insert(key, kept)
    }

    /// Puts a value, JSON text, in place of the one of its name.
    ///
    /// # Errors
    /// 406 if a name or the value is too large, or memory is full; the log has failed.
    pub fn put(&self, key: Key, value: &str) -> Result<Put> {
        let names = [key.vhost.as_deref().unwrap_or_default(), &key.component, &key.name];
        if let Some(long) = names.into_iter().find(|name| name.len() > 255) {
            let text = format!(
                "the name '{}…' is longer than 255 bytes",
                long.chars().take(40).collect::<String>()
            );
            return Err(Error::Precondition(text.into()));
        }
        let most = tables::ARGUMENTS;
        if value.len() > most {
            let text = format!(
                "the value of parameter '{}' takes {} bytes; at most {most} are allowed",
                key.name,
                value.len()
            );
            return Err(Error::Precondition(text.into()));
        }
        self.memory.admit((BESIDE + key.bytes() + value.len()) as u64)?;
        self.write(key, value, Urgency::Now)
    }

    fn write(&self, key: Key, value: &str, urgency: Urgency) -> Result<Put> {
        let mut records = Batch::default();
        records.put(&key.encode(), &[&[FORMAT], value.as_bytes()].concat());
        let lsn = self.log.append(&mut records, urgency)?.lsn;
        let before = self.insert(key, value).map(|kept| kept.value);
        self.changed.send_replace(());
        Ok(Put { lsn, before })
    }

    /// Removes a parameter. `None` if there is none of this name.
    ///
    /// # Errors
    /// The log has failed.
    pub fn delete(&self, key: &Key) -> Result<Option<Lsn>> {
        if self.all.write().remove(key).is_none() {
            return Ok(None);
        }
        self.changed.send_replace(());
        let mut records = Batch::default();
        records.delete(&key.encode());
        Ok(Some(self.log.append(&mut records, Urgency::Now)?.lsn))
    }

    /// Removes the parameters of a vhost that has gone.
    ///
    /// # Errors
    /// The log has failed.
    pub fn forget_vhost(&self, vhost: &str) -> Result<()> {
        for (key, _) in self.list(|key| key.vhost.as_deref() == Some(vhost)) {
            self.delete(&key)?;
        }
        Ok(())
    }

    /// Word of each change, for those who act on parameters.
    pub fn changes(&self) -> Receiver<()> {
        self.changed.subscribe()
    }

    /// The value of a parameter, JSON text.
    pub fn get(&self, key: &Key) -> Option<Arc<str>> {
        self.all.read().get(key).map(|kept| kept.value.clone())
    }

    /// Those that `keep` says, by vhost, component and name.
    pub fn list(&self, keep: impl Fn(&Key) -> bool) -> Vec<(Key, Arc<str>)> {
        let all = self.all.read();
        let kept = all.iter().filter(|(key, _)| keep(key));
        kept.map(|(key, kept)| (key.clone(), kept.value.clone())).collect()
    }

    /// A global parameter that is a text.
    fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(&self.get(&Key::global(name))?).ok()
    }

    /// The cluster's name, if it was given one.
    pub fn cluster_name(&self) -> Option<String> {
        self.text(CLUSTER_NAME)
    }

    /// Gives the cluster a name.
    ///
    /// # Errors
    /// As [`Parameters::put`].
    pub fn set_cluster_name(&self, name: &str) -> Result<Put> {
        self.put(Key::global(CLUSTER_NAME), &serde_json::Value::from(name).to_string())
    }

    /// The word that the cluster is known by, whatever it is called.
    pub fn cluster_id(&self) -> String {
        self.text(CLUSTER_ID).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_store::fs::RealFs;
    use leveret_store::{Options, Store};
    use std::path::Path;

    fn open(folder: &Path) -> (Store, Parameters) {
        let options = Options::new(folder);
        let opened = Store::open(options, Arc::new(RealFs), Box::new(|_| {}), Box::new(|_| {}));
        let (store, recovered) = opened.expect("a log");
        let table = recovered.table.iter().map(|(key, value)| (&**key, &**value));
        let memory = Arc::new(Memory::new(u64::MAX));
        let found = Parameters::restore(store.handle(), memory, table).expect("parameters");
        (store, found)
    }

    #[test]
    fn what_was_put_is_there_after_a_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, parameters) = open(folder.path());
        let id = parameters.cluster_id();
        assert!(id.starts_with("rabbitmq-cluster-id-"), "{id}");
        let (global, shovel) = (Key::global("g"), Key::of("v", "shovel", "s"));
        assert!(
            parameters
                .put(global.clone(), "{\"a\":[1]}")
                .is_ok_and(|put| put.before.is_none())
        );
        assert!(parameters.put(shovel.clone(), "1").is_ok());
        let again = parameters.put(shovel.clone(), "2").expect("put");
        assert_eq!(again.before.as_deref(), Some("1"));
        let other = Key::of("other", "shovel", "s");
        assert!(parameters.put(other.clone(), "3").is_ok());
        assert!(parameters.delete(&other).is_ok_and(|deleted| deleted.is_some()));
        assert!(parameters.delete(&other).is_ok_and(|deleted| deleted.is_none()));
        assert!(parameters.set_cluster_name("orders \"eu\"").is_ok());
        store.close().expect("closed");

        let (store, parameters) = open(folder.path());
        assert_eq!((parameters.cluster_id(), parameters.get(&other)), (id, None));
        assert_eq!(parameters.get(&global).as_deref(), Some("{\"a\":[1]}"));
        assert_eq!(parameters.cluster_name().as_deref(), Some("orders \"eu\""));
        assert_eq!(parameters.list(|key| key.vhost.is_some()).len(), 1);
        assert!(parameters.forget_vhost("v").is_ok());
        assert_eq!(parameters.get(&shovel), None);
        store.close().expect("closed");
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, parameters) = open(folder.path());
        let long = "n".repeat(256);
        assert!(parameters.put(Key::global(&long), "1").is_err());
        assert!(parameters.put(Key::of("v", &long, "n"), "1").is_err());
        assert!(
            parameters
                .put(Key::global("n"), &"1".repeat(tables::ARGUMENTS + 1))
                .is_err()
        );
        assert!(parameters.memory.held(Holding::Tables) < 1024);
        assert!(!is_key(b"x\x01/") && !is_key(b"G\x01\xff") && !is_key(b""));
        store.close().expect("closed");
    }
}
