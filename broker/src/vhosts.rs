//! All virtual hosts of the broker: made, changed and deleted.
//!
//! Comes in: names and settings from the HTTP API, and the log's table at start. Goes out: vhosts by name, the position
//! in the log that an answer has to wait for, sums over all of them. A vhost that is deleted is out of reach at once;
//! its name is free when all that it had has gone. Does not know about permissions, sockets or the HTTP API.

/// The events of vhosts.
mod tell;

use crate::access::Actor;
use crate::clients::Registry;
use crate::error::{Error, Result};
use crate::limits::{Quota, Reached, tables};
use crate::queue::totals::ByType;
use crate::vhost::settings::{Limit, Settings};
use crate::vhost::shared::Shared;
use crate::vhost::{Vhost, record, restore};
use leveret_amqp::RawTable;
use leveret_store::{Batch, Lsn, Urgency};
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// All vhosts.
pub struct Vhosts {
    /// The things that they share.
    pub shared: Arc<Shared>,
    all: RwLock<All>,
    /// Names of vhosts whose deletion is under way. Held for each change: one comes after the other.
    ending: Mutex<BTreeSet<String>>,
    /// One of them is through.
    ended: Condvar,
}

#[derive(Default)]
struct All {
    by_name: BTreeMap<String, Arc<Vhost>>,
    /// Vhosts whose deletion is under way: they count, but can't be had.
    ending: Vec<Arc<Vhost>>,
    /// Counts of those that were deleted.
    gone: (ByType, Churned),
}

/// Counters of vhosts since the broker started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Churned {
    /// Declarations of queues, passive ones included; queues created; queues deleted.
    pub queues: [u64; 3],
    /// Dead letters dropped because their way is too long.
    pub letters_lost: u64,
}

/// A vhost that was put: the position to wait for, and whether there was none of its name.
pub struct Put {
    /// The change is durable from here on.
    pub lsn: Lsn,
    /// True if there was none of its name.
    pub created: bool,
}

/// The end of a request for the deletion of a vhost.
pub enum Deletion {
    /// It is gone, and that is durable from here on.
    Done(Lsn),
    /// There is none of this name.
    Missing,
    /// It is protected.
    Protected,
}

impl Vhosts {
    /// The vhosts that the log's table holds.
    ///
    /// # Errors
    /// The log has failed.
    pub fn restore<'a>(
        shared: Arc<Shared>,
        table: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> std::result::Result<Self, leveret_store::Error> {
        let restored = restore::restore(&shared, table)?;
        let vhosts = Self {
            shared,
            all: RwLock::default(),
            ending: Mutex::default(),
            ended: Condvar::new(),
        };
        for vhost in restored {
            vhosts.shared.quotas.add(Quota::Vhosts);
            vhosts.add(&vhost);
        }
        Ok(vhosts)
    }

    /// A vhost by name.
    pub fn get(&self, name: &str) -> Option<Arc<Vhost>> {
        self.all.read().by_name.get(name).cloned()
    }

    /// All vhosts, by name.
    pub fn list(&self) -> Vec<Arc<Vhost>> {
        self.all.read().by_name.values().cloned().collect()
    }

    /// The sums of all queues, with what deleted ones had counted.
    pub fn sums(&self) -> ByType {
        let all = self.all.read();
        let mut sums = all.gone.0;
        all.each().for_each(|vhost| vhost.add_sums(&mut sums));
        sums
    }

    /// The counters of all vhosts, with those of deleted ones.
    pub fn churned(&self) -> Churned {
        let all = self.all.read();
        let mut churned = all.gone.1;
        all.each().for_each(|vhost| churned += Churned::of(vhost));
        churned
    }

    /// Has `change` made to the settings of a vhost, or to usual ones of a new vhost. Waits for one of this name whose
    /// deletion is under way.
    ///
    /// # Errors
    /// 406 if there are as many vhosts as there may be, the settings are too large, or memory is full; the log has
    /// failed.
    pub fn put(&self, name: &str, actor: &Actor, change: impl FnOnce(&mut Settings)) -> Result<Put> {
        let mut ending = self.ending.lock();
        while ending.contains(name) {
            self.ended.wait(&mut ending);
        }
        let there = self.get(name);
        let mut settings = there
            .as_ref()
            .map_or_else(Settings::default, |vhost| Settings::clone(&vhost.settings()));
        change(&mut settings);
        if let Some(vhost) = there {
            let lsn = self.keep(&vhost, settings)?;
            drop(ending);
            self.shared.tell(&actor.user, &[tell::updated(&vhost)]);
            return Ok(Put { lsn, created: false });
        }
        self.admit(name, &settings)?;
        let vhost = Vhost::new(name.to_owned(), settings.clone(), &self.shared);
        let lsn = self.keep(&vhost, settings)?;
        self.add(&vhost);
        drop(ending);
        vhost.tell(&actor.user, &tell::exchanges(&vhost));
        self.shared.tell(&actor.user, &[tell::created(&vhost)]);
        Ok(Put { lsn, created: true })
    }

    /// Protects a vhost from deletion, or not. `None` if there is none of this name.
    ///
    /// # Errors
    /// The log has failed.
    pub fn protect(&self, name: &str, protected: bool) -> Result<Option<Lsn>> {
        let _one_after_the_other = self.ending.lock();
        let Some(vhost) = self.get(name) else { return Ok(None) };
        let mut settings = Settings::clone(&vhost.settings());
        settings.protected = Some(protected);
        self.keep(&vhost, settings).map(Some)
    }

    /// Sets a limit of a vhost, or takes it away. Connections and queues that there are stay. `None` if there is no
    /// vhost of this name.
    ///
    /// # Errors
    /// The log has failed.
    pub fn limit(&self, name: &str, limit: Option<(Limit, Option<i64>)>, actor: &Actor) -> Result<Option<Lsn>> {
        let one_after_the_other = self.ending.lock();
        let Some(vhost) = self.get(name) else { return Ok(None) };
        let mut settings = Settings::clone(&vhost.settings());
        let mut limits = settings.limits.unwrap_or_default();
        if let Some((limit, value)) = limit {
            limits = limits.with(limit, value);
        }
        settings.limits = Some(limits);
        let lsn = self.keep(&vhost, settings)?;
        drop(one_after_the_other);
        vhost.tell(&actor.user, &tell::limits_set(&limits));
        Ok(Some(lsn))
    }

    /// Deletes a vhost with all that is in it, and closes its clients. Returns when it has gone: that takes as long as
    /// the ends of its queues do, during which others are served. `last` adds records of what else goes with it.
    ///
    /// # Errors
    /// The log has failed.
    pub fn delete(
        &self,
        name: &str,
        clients: &Registry,
        actor: &Actor,
        last: impl FnOnce(&mut Batch),
    ) -> Result<Deletion> {
        let mut ending = self.ending.lock();
        let Some(vhost) = self.get(name) else {
            return Ok(Deletion::Missing);
        };
        let settings = vhost.settings();
        if settings.is_protected() {
            return Ok(Deletion::Protected);
        }
        // From here on a start goes on with the deletion.
        let mut records = Batch::default();
        records.put(&record::vhost_key(name), &record::vhost_value(&settings, true));
        self.shared.log.append(&mut records, Urgency::Soon)?;
        let mut all = self.all.write();
        all.by_name.remove(name);
        all.ending.push(vhost.clone());
        drop(all);
        ending.insert(name.to_owned());
        drop(ending);

        vhost.close();
        clients.close_of(name, &vhost.words_of_end());
        vhost.end(&actor.user)?;
        if settings.limits.is_some() {
            vhost.tell(&actor.user, &tell::limits_cleared());
        }

        let mut ending = self.ending.lock();
        let mut records = Batch::default();
        last(&mut records);
        records.delete(&record::vhost_key(name));
        let lsn = self.shared.log.append(&mut records, Urgency::Now)?.lsn;
        self.forget(&vhost);
        ending.remove(name);
        drop(ending);
        self.ended.notify_all();
        self.shared.tell(&actor.user, &[tell::deleted(name)]);
        Ok(Deletion::Done(lsn))
    }

    fn add(&self, vhost: &Arc<Vhost>) {
        vhost.listen();
        let mut all = self.all.write();
        all.by_name.insert(vhost.name.clone(), vhost.clone());
    }

    fn forget(&self, vhost: &Arc<Vhost>) {
        let mut all = self.all.write();
        all.ending.retain(|other| !Arc::ptr_eq(other, vhost));
        vhost.add_sums(&mut all.gone.0);
        all.gone.1 += Churned::of(vhost);
        drop(all);
        self.shared.quotas.give_back(Quota::Vhosts);
    }

    /// Room for one more.
    fn admit(&self, name: &str, settings: &Settings) -> Result<()> {
        self.shared.admit(Vhost::bytes(settings))?;
        let taken = self.shared.quotas.take(Quota::Vhosts);
        taken.map_err(|Reached(most)| {
            let text = format!("cannot create vhost '{name}': vhost limit of {most} is reached");
            Error::Precondition(text.into())
        })
    }

    /// Has the log keep settings of a vhost, and the vhost obey them.
    fn keep(&self, vhost: &Vhost, settings: Settings) -> Result<Lsn> {
        let table = RawTable::from(&settings.to_table());
        tables::check(&table, tables::ARGUMENTS).map_err(|wrong| wrong.of("settings of a vhost"))?;
        let mut records = Batch::default();
        records.put(&record::vhost_key(&vhost.name), &record::vhost_value(&settings, false));
        let lsn = self.shared.log.append(&mut records, Urgency::Now)?.lsn;
        vhost.set_settings(settings);
        Ok(lsn)
    }
}

impl All {
    fn each(&self) -> impl Iterator<Item = &Vhost> {
        self.by_name.values().chain(&self.ending).map(|vhost| &**vhost)
    }
}

impl Churned {
    fn of(vhost: &Vhost) -> Self {
        let counters = [&vhost.churn.declared, &vhost.churn.created, &vhost.churn.deleted];
        Self {
            queues: counters.map(|counter| counter.load(Ordering::Relaxed)),
            letters_lost: vhost.churn.letters_lost.load(Ordering::Relaxed),
        }
    }
}

impl AddAssign for Churned {
    fn add_assign(&mut self, more: Self) {
        for (sum, more) in self.queues.iter_mut().zip(more.queues) {
            *sum += more;
        }
        self.letters_lost += more.letters_lost;
    }
}

#[cfg(test)]
mod tests;
