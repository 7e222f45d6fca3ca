//! All users of a broker, with their permissions.
//!
//! Comes in: the log's table at start, changes from the API. Goes out: accounts by name; records of a change in the
//! log, in the order of the changes. Does not know which vhosts there are, or what a permission is needed for.

use super::hash::Hash;
use super::proof::Account;
use super::record::{self, Record};
use super::rights::{InVhost, Permission, Rights, TopicPermission};
use super::user::{Limits, Tags, User};
use crate::error::Result;
use leveret_store::{Batch, Handle, Lsn, Urgency};
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// All users.
#[derive(Default)]
pub struct Directory(RwLock<Entries>);

#[derive(Default)]
struct Entries {
    accounts: BTreeMap<String, Arc<Account>>,
    /// True if the first user was made, now or at an earlier start.
    first: bool,
}

/// A change that was made.
#[derive(Debug)]
pub struct Made<T> {
    /// The position in the log that an answer waits for; `None` if there was nothing to change.
    pub lsn: Option<Lsn>,
    /// More about it.
    pub what: T,
}

/// The parts of a user that a change sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// There was none of its name.
    pub created: bool,
    /// It has another password, or another hash of it.
    pub password: bool,
}

/// Users and permissions that are put together.
#[derive(Default)]
pub struct Many {
    /// Users by name; without limits, each keeps those that it has.
    pub users: BTreeMap<String, (User, Option<Limits>)>,
    /// Patterns of what is configured, written and read, by user and vhost.
    pub permissions: BTreeMap<(String, String), [String; 3]>,
    /// Patterns of keys that are written and read, by user, vhost and exchange.
    pub topics: BTreeMap<(String, String, String), [String; 2]>,
}

impl Many {
    /// The number of them.
    pub fn len(&self) -> usize {
        self.users.len() + self.permissions.len() + self.topics.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn records(&self) -> Batch {
        let mut records = Batch::default();
        for (user, _) in self.users.values() {
            records.put(&record::user_key(&user.name), &record::user_value(user));
        }
        for ((user, vhost), patterns) in &self.permissions {
            records.put(&record::permission_key(user, vhost), &record::patterns_value(patterns));
        }
        for ((user, vhost, exchange), patterns) in &self.topics {
            let key = record::topic_permission_key(user, vhost, exchange);
            records.put(&key, &record::patterns_value(patterns));
        }
        records
    }
}

impl Directory {
    /// The users and permissions that the log's table holds.
    pub fn restored<'a>(table: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut entries = Entries::default();
        let mut rights: HashMap<String, Arc<Rights>> = HashMap::new();
        let mut of = |user: String| rights.entry(user).or_default().clone();
        for (key, value) in table {
            match record::decode(key, value) {
                Some(Record::User(user)) => {
                    let rights = of(user.name.clone());
                    entries
                        .accounts
                        .insert(user.name.clone(), Arc::new(Account::new(user, rights)));
                }
                Some(Record::Permission(user, vhost, patterns)) => {
                    let permission = Arc::new(Permission::new(patterns));
                    of(user).change(&vhost, |rights| rights.permission = Some(permission));
                }
                Some(Record::TopicPermission(user, vhost, exchange, patterns)) => {
                    let topic = Arc::new(TopicPermission::new(patterns));
                    of(user).change(&vhost, |rights| _ = rights.topics.insert(exchange, topic));
                }
                Some(Record::FirstUser) => entries.first = true,
                None => {}
            }
        }
        Self(RwLock::new(entries))
    }

    /// Makes the first user, of this name and password and with all rights in a vhost, unless there has ever been one.
    /// It stays away once it was deleted, or where the first start wanted none.
    pub fn first(&mut self, user: Option<(&str, &str)>, vhost: &str, records: &mut Batch) {
        let entries = self.0.get_mut();
        if std::mem::replace(&mut entries.first, true) {
            return;
        }
        records.put(record::FIRST_USER, &record::first_user_value());
        let Some((name, password)) = user else { return };
        if entries.accounts.contains_key(name) {
            return;
        }
        let user = User {
            name: name.to_owned(),
            // Everybody knows this password: a slow hash would protect nothing, and RabbitMQ can import this one.
            hash: Hash::salted(password),
            tags: Tags::administrator(),
            limits: Limits::default(),
        };
        records.put(&record::user_key(name), &record::user_value(&user));
        let account = Account::new(user, Arc::default());
        let everything = [".*"; 3].map(str::to_owned);
        records.put(
            &record::permission_key(name, vhost),
            &record::patterns_value(&everything),
        );
        let permission = Arc::new(Permission::new(everything));
        account
            .rights
            .change(vhost, |rights| rights.permission = Some(permission));
        entries.accounts.insert(name.to_owned(), Arc::new(account));
    }

    /// A user by name.
    pub fn get(&self, name: &str) -> Option<Arc<Account>> {
        self.0.read().accounts.get(name).cloned()
    }

    /// All users by name.
    pub fn list(&self) -> Vec<Arc<Account>> {
        self.0.read().accounts.values().cloned().collect()
    }

    /// Puts a user in place of the one of its name. Without limits it keeps those that it has.
    ///
    /// # Errors
    /// The log has failed.
    pub fn put(&self, log: &Handle, user: User, limits: Option<Limits>) -> Result<Made<Put>> {
        let mut entries = self.0.write();
        let (user, put) = entries.change(user, limits);
        let Some(what) = put else {
            return Ok(Made {
                lsn: None,
                what: Put::default(),
            });
        };
        let lsn = entries.put(log, user)?;
        Ok(Made { lsn: Some(lsn), what })
    }

    /// Puts users and permissions in place of those of their names: all of them reach the log, or none. Those that
    /// change nothing are taken out of `many`. Gives the parts of each user that are set.
    ///
    /// # Errors
    /// The log has failed.
    pub fn put_many(&self, log: &Handle, many: &mut Many) -> Result<Made<Vec<Put>>> {
        let mut entries = self.0.write();
        let mut what = Vec::new();
        many.users.retain(|_, (user, limits)| {
            let (changed, put) = entries.change(user.clone(), *limits);
            *user = changed;
            what.extend(put);
            put.is_some()
        });
        let rights = |user: &str| entries.accounts.get(user).map(|account| &account.rights);
        many.permissions.retain(|(user, vhost), patterns| {
            let old = rights(user).and_then(|rights| rights.permission(vhost));
            old.is_none_or(|old| old.patterns != *patterns)
        });
        many.topics.retain(|(user, vhost, exchange), patterns| {
            let old = rights(user).and_then(|rights| rights.topic(vhost, exchange));
            old.is_none_or(|old| old.patterns != *patterns)
        });
        if many.is_empty() {
            return Ok(Made { lsn: None, what });
        }
        let lsn = log.append(&mut many.records(), Urgency::Now)?.lsn;
        for (user, _) in many.users.values() {
            entries.insert(user.clone());
        }
        for ((user, vhost), patterns) in &many.permissions {
            let permission = Arc::new(Permission::new(patterns.clone()));
            entries.grant(user, vhost, |rights| rights.permission = Some(permission));
        }
        for ((user, vhost, exchange), patterns) in &many.topics {
            let topic = Arc::new(TopicPermission::new(patterns.clone()));
            entries.grant(user, vhost, |rights| _ = rights.topics.insert(exchange.clone(), topic));
        }
        Ok(Made { lsn: Some(lsn), what })
    }

    /// Sets the limits of a user. `None` if there is none of this name.
    ///
    /// # Errors
    /// The log has failed.
    pub fn limit(&self, log: &Handle, name: &str, set: impl FnOnce(&mut Limits)) -> Result<Option<Made<Limits>>> {
        let mut entries = self.0.write();
        let Some(account) = entries.accounts.get(name) else {
            return Ok(None);
        };
        let mut user = account.user.clone();
        set(&mut user.limits);
        let what = user.limits;
        if what == account.user.limits {
            return Ok(Some(Made { lsn: None, what }));
        }
        let lsn = entries.put(log, user)?;
        Ok(Some(Made { lsn: Some(lsn), what }))
    }

    /// Deletes users. Gives the names of those that there were.
    ///
    /// # Errors
    /// The log has failed.
    pub fn delete(&self, log: &Handle, names: &[String]) -> Result<Made<Vec<String>>> {
        let mut entries = self.0.write();
        let mut records = Batch::default();
        let mut what = Vec::new();
        for name in names.iter().collect::<BTreeSet<_>>() {
            let Some(account) = entries.accounts.get(name) else {
                continue;
            };
            records.delete(&record::user_key(name));
            for (vhost, rights) in account.rights.list() {
                forget(name, &vhost, &rights, &mut records);
            }
            what.push(name.clone());
        }
        if what.is_empty() {
            return Ok(Made { lsn: None, what });
        }
        let lsn = log.append(&mut records, Urgency::Now)?.lsn;
        for name in &what {
            if let Some(account) = entries.accounts.remove(name) {
                // Of connections that are still open.
                account.rights.clear();
            }
        }
        Ok(Made { lsn: Some(lsn), what })
    }

    /// Gives a user a permission in a vhost, in place of the one that it has. `None` if there is no such user; true if
    /// it had none.
    ///
    /// # Errors
    /// The log has failed.
    pub fn permit(&self, log: &Handle, user: &str, vhost: &str, patterns: [String; 3]) -> Result<Option<Made<bool>>> {
        let entries = self.0.write();
        let Some(account) = entries.accounts.get(user) else {
            return Ok(None);
        };
        let old = account.rights.permission(vhost);
        let what = old.is_none();
        if old.is_some_and(|old| old.patterns == patterns) {
            return Ok(Some(Made { lsn: None, what }));
        }
        let key = record::permission_key(user, vhost);
        let lsn = append(log, |records| records.put(&key, &record::patterns_value(&patterns)))?;
        let permission = Arc::new(Permission::new(patterns));
        account
            .rights
            .change(vhost, |rights| rights.permission = Some(permission));
        Ok(Some(Made { lsn: Some(lsn), what }))
    }

    /// Takes a user's permission in a vhost. False if it has none.
    ///
    /// # Errors
    /// The log has failed.
    pub fn forbid(&self, log: &Handle, user: &str, vhost: &str) -> Result<Made<bool>> {
        let entries = self.0.write();
        let account = entries.accounts.get(user);
        let Some(account) = account.filter(|account| account.rights.may_enter(vhost)) else {
            return Ok(Made { lsn: None, what: false });
        };
        let key = record::permission_key(user, vhost);
        let lsn = append(log, |records| records.delete(&key))?;
        account.rights.change(vhost, |rights| rights.permission = None);
        Ok(Made {
            lsn: Some(lsn),
            what: true,
        })
    }

    /// Gives a user a topic permission, in place of the one for the same exchange. `None` if there is no such user;
    /// true if it had none in the vhost.
    ///
    /// # Errors
    /// The log has failed.
    pub fn permit_topic(
        &self,
        log: &Handle,
        user: &str,
        (vhost, exchange): (&str, &str),
        patterns: [String; 2],
    ) -> Result<Option<Made<bool>>> {
        let entries = self.0.write();
        let Some(account) = entries.accounts.get(user) else {
            return Ok(None);
        };
        let what = !account.rights.has_topics(vhost);
        let old = account.rights.topic(vhost, exchange);
        if old.is_some_and(|old| old.patterns == patterns) {
            return Ok(Some(Made { lsn: None, what }));
        }
        let key = record::topic_permission_key(user, vhost, exchange);
        let lsn = append(log, |records| records.put(&key, &record::patterns_value(&patterns)))?;
        let topic = Arc::new(TopicPermission::new(patterns));
        account
            .rights
            .change(vhost, |rights| _ = rights.topics.insert(exchange.to_owned(), topic));
        Ok(Some(Made { lsn: Some(lsn), what }))
    }

    /// Takes a user's topic permissions in a vhost, or that for one exchange. False if it has none there.
    ///
    /// # Errors
    /// The log has failed.
    pub fn forbid_topics(&self, log: &Handle, user: &str, vhost: &str, exchange: Option<&str>) -> Result<Made<bool>> {
        let entries = self.0.write();
        let Some(account) = entries.accounts.get(user) else {
            return Ok(Made { lsn: None, what: false });
        };
        let what = account.rights.has_topics(vhost);
        let gone: Vec<String> = match exchange {
            Some(exchange) => {
                let found = account.rights.topic(vhost, exchange);
                found.map(|_| exchange.to_owned()).into_iter().collect()
            }
            None => account.rights.in_vhost(vhost).topics.into_keys().collect(),
        };
        if gone.is_empty() {
            return Ok(Made { lsn: None, what });
        }
        let lsn = append(log, |records| {
            for exchange in &gone {
                records.delete(&record::topic_permission_key(user, vhost, exchange));
            }
        })?;
        account.rights.change(vhost, |rights| {
            gone.iter().for_each(|name| _ = rights.topics.remove(name))
        });
        Ok(Made { lsn: Some(lsn), what })
    }

    /// Forgets permissions in vhosts that don't exist: a deletion was broken off.
    pub fn forget_others(&self, exists: impl Fn(&str) -> bool, records: &mut Batch) {
        let entries = self.0.write();
        for (name, account) in &entries.accounts {
            for (vhost, rights) in account.rights.list() {
                if !exists(&vhost) {
                    forget(name, &vhost, &rights, records);
                    account.rights.change(&vhost, |rights| *rights = InVhost::default());
                }
            }
        }
    }

    /// Forgets all permissions in a vhost that is deleted: the records go into `records`, which the caller appends with
    /// those of the vhost. Gives the users who had some, and whether topic permissions were among them.
    pub fn forget_vhost(&self, vhost: &str, records: &mut Batch) -> Vec<(String, bool)> {
        let entries = self.0.write();
        let mut users = Vec::new();
        for (name, account) in &entries.accounts {
            let rights = account.rights.in_vhost(vhost);
            if rights.permission.is_none() && rights.topics.is_empty() {
                continue;
            }
            forget(name, vhost, &rights, records);
            account.rights.change(vhost, |rights| *rights = InVhost::default());
            users.push((name.clone(), !rights.topics.is_empty()));
        }
        users
    }
}

/// Records that delete what a user had in a vhost.
fn forget(user: &str, vhost: &str, rights: &InVhost, records: &mut Batch) {
    if rights.permission.is_some() {
        records.delete(&record::permission_key(user, vhost));
    }
    for exchange in rights.topics.keys() {
        records.delete(&record::topic_permission_key(user, vhost, exchange));
    }
}

fn append(log: &Handle, write: impl FnOnce(&mut Batch)) -> Result<Lsn> {
    let mut records = Batch::default();
    write(&mut records);
    Ok(log.append(&mut records, Urgency::Now)?.lsn)
}

impl Entries {
    fn put(&mut self, log: &Handle, user: User) -> Result<Lsn> {
        let key = record::user_key(&user.name);
        let lsn = append(log, |records| records.put(&key, &record::user_value(&user)))?;
        self.insert(user);
        Ok(lsn)
    }

    /// A user as it will be, without limits with those that it has; and the parts of it that change, if any do.
    fn change(&self, user: User, limits: Option<Limits>) -> (User, Option<Put>) {
        let old = self.accounts.get(&user.name).map(|old| &old.user);
        let kept = old.map_or(Limits::default(), |old| old.limits);
        let user = User {
            limits: limits.unwrap_or(kept),
            ..user
        };
        let put = Put {
            created: old.is_none(),
            password: old.is_none_or(|old| old.hash != user.hash),
        };
        let changed = old != Some(&user);
        (user, changed.then_some(put))
    }

    fn insert(&mut self, user: User) {
        let old = self.accounts.get(&user.name);
        let rights = old.map(|old| old.rights.clone()).unwrap_or_default();
        self.accounts
            .insert(user.name.clone(), Arc::new(Account::new(user, rights)));
    }

    fn grant(&self, user: &str, vhost: &str, change: impl FnOnce(&mut InVhost)) {
        if let Some(account) = self.accounts.get(user) {
            account.rights.change(vhost, change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::is_linear;
    use leveret_store::fs::RealFs;
    use leveret_store::{Options, Store};
    use tempfile::TempDir;

    fn user(name: &str) -> User {
        User {
            name: name.to_owned(),
            hash: Hash::salted("secret"),
            tags: Tags::administrator(),
            limits: Limits::default(),
        }
    }

    #[test]
    fn users_and_permissions_come_and_go_in_the_same_time_however_many_there_are() {
        let folder = TempDir::new().expect("a folder");
        let opened = Store::open(
            Options::new(folder.path()),
            Arc::new(RealFs),
            Box::new(|_| {}),
            Box::new(|_| {}),
        );
        let store = opened.expect("a log").0;
        let log = store.handle();
        let names = |n: usize| (0..n).map(|number| format!("{number:05}")).collect::<Vec<_>>();
        let users = |directory: &mut Directory, n| {
            let names = names(n);
            for name in &names {
                assert!(directory.put(&log, user(name), None).expect("a log").what.created);
            }
            let twice: Vec<String> = names.iter().chain(&names).cloned().collect();
            assert_eq!(directory.delete(&log, &twice).expect("a log").what, names);
        };
        is_linear("users", 1_000, |_| Directory::default(), users);
        let permissions = |directory: &mut Directory, n| {
            directory.put(&log, user("u"), None).expect("a log");
            for name in &names(n) {
                let all = || ".*".to_owned();
                let made = directory.permit(&log, "u", name, [all(), all(), all()]);
                assert!(made.expect("a log").is_some_and(|made| made.what));
                let made = directory.permit_topic(&log, "u", ("/", name), [all(), all()]);
                assert_eq!(made.expect("a log").map(|made| made.what), Some(name == "00000"));
            }
            for name in &names(n) {
                assert!(directory.forbid(&log, "u", name).expect("a log").what);
                let gone = directory.forbid_topics(&log, "u", "/", Some(name));
                assert!(gone.expect("a log").what);
            }
            assert!(!directory.forbid_topics(&log, "u", "/", None).expect("a log").what);
        };
        is_linear("permissions", 1_000, |_| Directory::default(), permissions);
        let many = |directory: &mut Directory, n| {
            for changed in [n, 0] {
                let mut many = Many::default();
                for name in names(n) {
                    let all = || ".*".to_owned();
                    many.permissions
                        .insert((name.clone(), "/".into()), [all(), all(), all()]);
                    many.topics
                        .insert((name.clone(), "/".into(), "x".into()), [all(), all()]);
                    let user = User {
                        hash: Hash::None,
                        ..user(&name)
                    };
                    many.users.insert(name, (user, None));
                }
                let appended = store.handle().stats().appends;
                let made = directory.put_many(&log, &mut many).expect("a log");
                let appended = store.handle().stats().appends - appended;
                assert_eq!(
                    (made.what.len(), many.len()),
                    (changed, 3 * changed),
                    "the second time nothing changes"
                );
                assert_eq!(
                    (made.lsn.is_some(), appended),
                    (changed > 0, u64::from(changed > 0)),
                    "one batch"
                );
            }
            let user = directory.get("00000").expect("a user");
            assert!(user.rights.may_enter("/") && user.rights.has_topics("/"));
        };
        is_linear("many", 1_000, |_| Directory::default(), many);
    }
}
