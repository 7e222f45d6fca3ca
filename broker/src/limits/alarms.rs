//! Alarms, at which publishers must wait.
//!
//! Comes in: alarms, raised and ended by whatever watches a resource. Goes out: the reason to wait, and a wake-up for
//! publishers when there is none any more.
//! Does not know how a resource is measured.

use super::waiter::{Line, Waiter};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// A resource that can be short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Memory of queued messages.
    Memory,
    /// Free space of the data directory's file system.
    Disk,
}

impl Resource {
    const ALL: [Self; 2] = [Self::Memory, Self::Disk];

    /// RabbitMQ's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Memory => 1,
            Self::Disk => 2,
        }
    }
}

/// The alarms in effect, and the publishers that wait for their end.
#[derive(Default)]
pub struct Alarms {
    raised: AtomicU8,
    stopped: Mutex<Line>,
}

impl Alarms {
    /// Raises or ends the alarm of a resource. When the last one ends all publishers are woken.
    pub fn set(&self, resource: Resource, on: bool) {
        let bit = resource.bit();
        if on {
            self.raised.fetch_or(bit, Ordering::SeqCst);
            return;
        }
        let left = self.raised.fetch_and(!bit, Ordering::SeqCst) & !bit;
        if left == 0 {
            let stopped = std::mem::take(&mut *self.stopped.lock());
            for waiter in stopped.into_values() {
                waiter.look_again();
            }
        }
    }

    /// True if the resource is short.
    pub fn is_raised(&self, resource: Resource) -> bool {
        self.raised.load(Ordering::Relaxed) & resource.bit() != 0
    }

    /// The resources that are short.
    pub fn raised(&self) -> impl Iterator<Item = Resource> + '_ {
        Resource::ALL.into_iter().filter(|resource| self.is_raised(*resource))
    }

    /// The reason for which publishers must wait, in RabbitMQ's words; `None` if they need not.
    pub fn reason(&self) -> Option<&'static str> {
        const MEMORY: u8 = Resource::Memory.bit();
        const DISK: u8 = Resource::Disk.bit();
        match self.raised.load(Ordering::Relaxed) {
            0 => None,
            MEMORY => Some("low on memory"),
            DISK => Some("low on disk"),
            _ => Some("low on memory & disk"),
        }
    }

    /// Wakes the publisher when no alarm is left. Look at [`Alarms::reason`] again after this call.
    pub fn wait<W: Waiter + 'static>(&self, waiter: &Arc<W>) {
        self.stopped.lock().insert(address(waiter), waiter.clone());
    }

    /// The publisher does not wait any more.
    pub fn leave<W: Waiter>(&self, waiter: &Arc<W>) {
        self.stopped.lock().remove(&address(waiter));
    }
}

fn address<W>(waiter: &Arc<W>) -> usize {
    Arc::as_ptr(waiter).addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Count(AtomicU8);

    impl Waiter for Count {
        fn look_again(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_publisher_that_waits_again_waits_once() {
        let alarms = Alarms::default();
        alarms.set(Resource::Disk, true);
        let waiters = [(); 2].map(|()| Arc::new(Count::default()));
        for waiter in waiters.iter().chain(&waiters) {
            alarms.wait(waiter);
        }
        assert_eq!(alarms.stopped.lock().len(), 2);
        alarms.set(Resource::Disk, false);
        assert!(alarms.stopped.lock().is_empty());
    }

    #[test]
    fn publishers_wait_until_the_last_alarm_has_ended() {
        let alarms = Alarms::default();
        assert_eq!(alarms.reason(), None);
        alarms.set(Resource::Disk, true);
        assert_eq!(alarms.reason(), Some("low on disk"));
        alarms.set(Resource::Memory, true);
        assert_eq!(alarms.reason(), Some("low on memory & disk"));
        alarms.set(Resource::Disk, false);
        assert_eq!(alarms.reason(), Some("low on memory"));
        let (stays, goes) = (Arc::new(Count::default()), Arc::new(Count::default()));
        for waiter in [&stays, &stays, &goes] {
            alarms.wait(waiter);
        }
        alarms.leave(&goes);
        let names: Vec<_> = alarms.raised().map(Resource::name).collect();
        assert_eq!(names, ["memory"]);
        alarms.set(Resource::Memory, false);
        assert_eq!(alarms.reason(), None);
        let woken = [stays, goes].map(|count| count.0.load(Ordering::Relaxed));
        assert_eq!(woken, [1, 0]);
    }
}
