//! Rights of one user, vhost by vhost, as they were given: the texts of patterns, and the patterns while somebody works
//! with them.
//!
//! Comes in: permissions and topic permissions. Goes out: what holds in a vhost, and a number that grows with every
//! change. Ten thousand users cost their texts, not thirty thousand compiled patterns: those are made when they are
//! needed, shared by all connections of the user, and gone with the last of them.

use super::permissions::{Names, Permissions, Right};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// The rights of one user.
#[derive(Debug, Default)]
pub struct Rights {
    version: AtomicU64,
    vhosts: RwLock<BTreeMap<String, InVhost>>,
}

/// The rights of one user in one vhost.
#[derive(Clone, Debug, Default)]
pub struct InVhost {
    /// The permission; without one, the vhost may not be entered.
    pub permission: Option<Arc<Permission>>,
    /// Topic permissions by exchange.
    pub topics: BTreeMap<String, Arc<TopicPermission>>,
}

/// Patterns of names of exchanges and queues.
#[derive(Debug)]
pub struct Permission {
    /// Those that may be configured, written and read, in this order.
    pub patterns: [String; 3],
    compiled: Mutex<Weak<Permissions>>,
}

/// Patterns of routing keys of one topic exchange.
#[derive(Debug)]
pub struct TopicPermission {
    /// Those that may be published with and bound with, in this order.
    pub patterns: [String; 2],
    compiled: Mutex<Weak<Topics>>,
}

/// Routing keys of one topic exchange.
#[derive(Debug)]
pub struct Topics {
    write: Names,
    read: Names,
}

impl Topics {
    /// The keys that a right extends to.
    pub fn names(&self, right: Right) -> &Names {
        match right {
            Right::Write => &self.write,
            Right::Read | Right::Configure => &self.read,
        }
    }
}

impl Permission {
    /// Patterns of names.
    pub fn new(patterns: [String; 3]) -> Self {
        let compiled = Mutex::default();
        Self { patterns, compiled }
    }

    /// Checks patterns.
    ///
    /// # Errors
    /// The fault in the first wrong one.
    pub fn check(patterns: &[String]) -> Result<(), String> {
        patterns.iter().try_for_each(|text| Names::parse(text).map(drop))
    }

    /// The patterns, ready to match. One that can't be read matches nothing.
    pub fn compiled(&self) -> Arc<Permissions> {
        shared(&self.compiled, || {
            let [configure, write, read] = self.patterns.each_ref().map(|text| names(text));
            Permissions { configure, write, read }
        })
    }
}

impl TopicPermission {
    /// Patterns of routing keys, in which names may stand in braces.
    pub fn new(patterns: [String; 2]) -> Self {
        let compiled = Mutex::default();
        Self { patterns, compiled }
    }

    /// Checks patterns.
    ///
    /// # Errors
    /// The fault in the first wrong one.
    pub fn check(patterns: &[String]) -> Result<(), String> {
        patterns
            .iter()
            .try_for_each(|text| Names::parse(&expanded(text, "user", "vhost")).map(drop))
    }

    /// The patterns for a user and vhost, ready to match.
    pub fn compiled(&self, user: &str, vhost: &str) -> Arc<Topics> {
        shared(&self.compiled, || {
            let [write, read] = self.patterns.each_ref().map(|text| names(&expanded(text, user, vhost)));
            Topics { write, read }
        })
    }
}

fn names(text: &str) -> Names {
    Names::parse(text).unwrap_or(Names::None)
}

fn shared<T>(kept: &Mutex<Weak<T>>, make: impl FnOnce() -> T) -> Arc<T> {
    let mut kept = kept.lock();
    kept.upgrade().unwrap_or_else(|| {
        let made = Arc::new(make());
        *kept = Arc::downgrade(&made);
        made
    })
}

/// A pattern with the names that stand in braces. Clients of AMQP have no `client_id`: it stands for itself there.
fn expanded(text: &str, user: &str, vhost: &str) -> String {
    let names = [("username", user), ("vhost", vhost), ("client_id", "{client_id}")];
    names.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), &escaped(value))
    })
}

/// A name as a pattern that finds it alone. Braces are marked so that no later name is looked for in them.
fn escaped(name: &str) -> String {
    let special = |c: char| r"\.+*?()|[]{}^$#&-~".contains(c);
    name.chars().fold(String::new(), |mut out, c| {
        if special(c) {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

impl Rights {
    /// Grows with every change.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The rights in a vhost.
    pub fn in_vhost(&self, vhost: &str) -> InVhost {
        self.vhosts.read().get(vhost).cloned().unwrap_or_default()
    }

    /// The permission in a vhost.
    pub fn permission(&self, vhost: &str) -> Option<Arc<Permission>> {
        self.vhosts.read().get(vhost)?.permission.clone()
    }

    /// The topic permission for an exchange of a vhost.
    pub fn topic(&self, vhost: &str, exchange: &str) -> Option<Arc<TopicPermission>> {
        self.vhosts.read().get(vhost)?.topics.get(exchange).cloned()
    }

    /// True if there are topic permissions in a vhost.
    pub fn has_topics(&self, vhost: &str) -> bool {
        let vhosts = self.vhosts.read();
        vhosts.get(vhost).is_some_and(|rights| !rights.topics.is_empty())
    }

    /// True if the vhost may be entered.
    pub fn may_enter(&self, vhost: &str) -> bool {
        let vhosts = self.vhosts.read();
        vhosts.get(vhost).is_some_and(|rights| rights.permission.is_some())
    }

    /// The rights by vhost.
    pub fn list(&self) -> Vec<(String, InVhost)> {
        let vhosts = self.vhosts.read();
        vhosts
            .iter()
            .map(|(name, rights)| (name.clone(), rights.clone()))
            .collect()
    }

    /// True if no vhost may be entered.
    pub fn are_none(&self) -> bool {
        self.vhosts.read().values().all(|rights| rights.permission.is_none())
    }

    /// Changes the rights in a vhost.
    pub(super) fn change<T>(&self, vhost: &str, change: impl FnOnce(&mut InVhost) -> T) -> T {
        let mut vhosts = self.vhosts.write();
        let rights = vhosts.entry(vhost.to_owned()).or_default();
        let changed = change(rights);
        if rights.permission.is_none() && rights.topics.is_empty() {
            vhosts.remove(vhost);
        }
        self.version.fetch_add(1, Ordering::Release);
        changed
    }

    /// Takes all of them.
    pub(super) fn clear(&self) {
        self.vhosts.write().clear();
        self.version.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(pattern: &str, user: &str) -> Arc<Topics> {
        TopicPermission::new([pattern.into(), String::new()]).compiled(user, "v/1")
    }

    #[test]
    fn names_in_braces_stand_for_themselves() {
        let matches =
            |pattern: &str, user: &str, key: &str| topic(pattern, user).names(Right::Write).contains(key.as_bytes());
        assert!(matches("^{username}\\.{vhost}$", "a.b", "a.b.v/1") && !matches("^{username}$", "a.b", "aXb"));
        assert!(matches("^{client_id}$", "u", "{client_id}") && !matches("^{client_id}$", "u", "u"));
        assert!(matches("^{username}$", "{vhost}", "{vhost}") && !matches("^{username}$", ".*", "x"));
        assert!(matches("^x{2}$", "u", "xx"));
        let empty = topic("", "u");
        assert!(empty.names(Right::Write).contains(b"") && !empty.names(Right::Read).contains(b"a"));
        assert!(TopicPermission::check(&["^{username}".into(), "{client_id}".into()]).is_ok());
        assert!(TopicPermission::check(&["(".into()]).is_err());
    }

    #[test]
    fn patterns_are_made_once_and_forgotten_with_the_last_user_of_them() {
        let permission = Permission::new(["^a".into(), ".*".into(), String::new()]);
        let first = permission.compiled();
        assert!(Arc::ptr_eq(&first, &permission.compiled()));
        assert_eq!((&first.write, &first.read), (&Names::All, &Names::None));
        drop(first);
        assert!(permission.compiled.lock().upgrade().is_none());
    }

    #[test]
    fn every_change_has_its_number() {
        let rights = Rights::default();
        let permission = || Some(Arc::new(Permission::new(Default::default())));
        rights.change("/", |rights| rights.permission = permission());
        assert!(rights.may_enter("/") && !rights.may_enter("v") && !rights.are_none());
        let version = rights.version();
        rights.change("/", |rights| rights.permission = None);
        assert!(rights.version() > version && rights.are_none() && rights.list().is_empty());
        rights.change("v", |rights| rights.permission = permission());
        rights.clear();
        assert!(!rights.may_enter("v"));
    }
}
