//! Numbers of things that clients make, and the most that there may be of each: RabbitMQ's limits of a node and of a
//! cluster.
//!
//! Comes in: settings; things as they come and go. Goes out: whether there is room for one more, and the numbers. Does
//! not know what the things are, nor about the memory that they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Things whose number is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Connections that are open.
    Connections,
    /// Channels of all connections.
    Channels,
    /// Consumers of one channel.
    ConsumersPerChannel,
    /// Queues of all vhosts.
    Queues,
    /// Exchanges of all vhosts.
    Exchanges,
    /// Bindings of all vhosts, without those to the default exchange.
    Bindings,
    /// Vhosts.
    Vhosts,
}

impl Quota {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Connections,
        Self::Channels,
        Self::ConsumersPerChannel,
        Self::Queues,
        Self::Exchanges,
        Self::Bindings,
        Self::Vhosts,
    ];

    /// The setting: RabbitMQ's name, where it has one.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Connections => "connection_max",
            Self::Channels => "channel_max_per_node",
            Self::ConsumersPerChannel => "consumer_max_per_channel",
            Self::Queues => "cluster_queue_limit",
            Self::Exchanges => "cluster_exchange_limit",
            Self::Bindings => "cluster_binding_limit",
            Self::Vhosts => "vhost_max",
        }
    }
}

impl Quota {
    /// True if the things are counted over the whole broker.
    pub fn is_of_broker(self) -> bool {
        self != Self::ConsumersPerChannel
    }
}

/// The most there may be of each thing; `None` is any number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Most([Option<u64>; Quota::ALL.len()]);

impl Most {
    /// The most of connections and channels, for one user.
    pub fn of_user(connections: Option<u64>, channels: Option<u64>) -> Self {
        let mut most = Self::default();
        for (quota, number) in [(Quota::Connections, connections), (Quota::Channels, channels)] {
            if let Some(place) = most.0.get_mut(quota as usize) {
                *place = number;
            }
        }
        most
    }

    /// The most of each, as `of` says.
    ///
    /// # Errors
    /// The first one of `of`.
    pub fn each<E>(mut of: impl FnMut(Quota) -> Result<Option<u64>, E>) -> Result<Self, E> {
        let mut most = Self::default();
        for (place, quota) in most.0.iter_mut().zip(Quota::ALL) {
            *place = of(quota)?;
        }
        Ok(most)
    }
}

/// There are as many as there may be: this many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached(pub u64);

#[derive(Debug)]
struct Count {
    used: AtomicU64,
    most: AtomicU64,
}

impl Default for Count {
    fn default() -> Self {
        Self {
            used: AtomicU64::new(0),
            most: AtomicU64::new(u64::MAX),
        }
    }
}

/// The numbers, and the most of each.
#[derive(Debug, Default)]
pub struct Quotas([Count; Quota::ALL.len()]);

impl Quotas {
    /// Other limits from now on. What there is already stays.
    pub fn set(&self, most: &Most) {
        for (count, most) in self.0.iter().zip(most.0) {
            count.most.store(most.unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// The most that there may be; `None` is any number.
    pub fn most(&self, quota: Quota) -> Option<u64> {
        let most = self.of(quota).most.load(Ordering::Relaxed);
        Some(most).filter(|most| *most != u64::MAX)
    }

    /// Those that there are; 0 for those that are not counted over the whole broker.
    pub fn used(&self, quota: Quota) -> u64 {
        self.of(quota).used.load(Ordering::Relaxed)
    }

    /// Counts one more, if it may be.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn take(&self, quota: Quota) -> Result<(), Reached> {
        let Count { used, most } = self.of(quota);
        let most = most.load(Ordering::Relaxed);
        if used.fetch_add(1, Ordering::Relaxed) < most {
            return Ok(());
        }
        used.fetch_sub(1, Ordering::Relaxed);
        Err(Reached(most))
    }

    /// Counts one more until the value that is returned is dropped.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn hold(self: &Arc<Self>, quota: Quota) -> Result<Counted, Reached> {
        self.take(quota)?;
        let quotas = self.clone();
        Ok(Counted { quotas, quota })
    }

    /// Counts one more in any case: one that was there before the start, or that no client asked for.
    pub fn add(&self, quota: Quota) {
        self.of(quota).used.fetch_add(1, Ordering::Relaxed);
    }

    /// One has gone.
    pub fn give_back(&self, quota: Quota) {
        self.of(quota).used.fetch_sub(1, Ordering::Relaxed);
    }

    fn of(&self, quota: Quota) -> &Count {
        &self.0[quota as usize]
    }
}

/// A thing that is counted until this is dropped.
#[derive(Debug)]
pub struct Counted {
    quotas: Arc<Quotas>,
    quota: Quota,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.quotas.give_back(self.quota);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(of: Quota, number: u64) -> Most {
        Most::each::<()>(|quota| Ok((quota == of).then_some(number))).expect("numbers")
    }

    #[test]
    fn there_is_room_up_to_the_most() {
        let quotas = Arc::new(Quotas::default());
        assert_eq!(quotas.most(Quota::Queues), None);
        quotas.set(&most(Quota::Queues, 2));
        assert_eq!(quotas.most(Quota::Queues), Some(2));
        quotas.add(Quota::Queues);
        let second = quotas.hold(Quota::Queues).expect("room for two");
        assert_eq!(quotas.take(Quota::Queues), Err(Reached(2)));
        assert_eq!((quotas.used(Quota::Queues), quotas.take(Quota::Exchanges)), (2, Ok(())));
        drop(second);
        assert_eq!(quotas.take(Quota::Queues), Ok(()));
        quotas.set(&most(Quota::Queues, 1));
        assert_eq!(quotas.used(Quota::Queues), 2, "what there is stays");
        quotas.give_back(Quota::Queues);
        assert_eq!(quotas.take(Quota::Queues), Err(Reached(1)));
        quotas.set(&Most::default());
        assert_eq!(quotas.take(Quota::Queues), Ok(()));
    }

    #[test]
    fn every_quota_has_a_count_and_a_setting_of_its_own() {
        let quotas = Quotas::default();
        Quota::ALL.iter().for_each(|quota| quotas.add(*quota));
        assert!(Quota::ALL.iter().all(|quota| quotas.used(*quota) == 1));
        let settings: std::collections::HashSet<_> = Quota::ALL.iter().map(|quota| quota.setting()).collect();
        assert_eq!(settings.len(), Quota::ALL.len());
    }
}
