//! Seats for HTTP connections: so many at a time, and whoever comes last always gets one.
//!
//! Comes in: connections as they come and go. Goes out: the one that must leave for the next: the oldest that isn't in
//! the middle of a request, or the oldest. So somebody who takes all seats and does nothing keeps nobody out, a kubelet
//! least. Does not know what is spoken.

use super::patience::{Stage, Stages};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Seats of one service.
pub struct Seats {
    most: usize,
    taken: Mutex<Taken>,
    ousted: AtomicU64,
}

#[derive(Default)]
struct Taken {
    next: u64,
    by_age: BTreeMap<u64, (Arc<Stages>, Arc<Notify>)>,
}

impl Seats {
    /// So many seats.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: Mutex::default(),
            ousted: AtomicU64::new(0),
        })
    }

    /// A seat for a connection that passes through these stages.
    pub fn take(self: &Arc<Self>, stages: Arc<Stages>) -> Seat {
        let leave = Arc::new(Notify::new());
        let mut taken = self.taken.lock();
        if taken.by_age.len() >= self.most {
            let spare = taken.by_age.iter().find(|(_, (stages, _))| stages.now() != Stage::Busy);
            let oldest = spare.or_else(|| taken.by_age.iter().next()).map(|(number, _)| *number);
            if let Some((_, leave)) = oldest.and_then(|number| taken.by_age.remove(&number)) {
                leave.notify_one();
                self.ousted.fetch_add(1, Ordering::Relaxed);
            }
        }
        taken.next += 1;
        let number = taken.next;
        taken.by_age.insert(number, (stages, leave.clone()));
        let seats = self.clone();
        Seat { seats, number, leave }
    }

    /// Connections that had to leave so far.
    pub fn ousted(&self) -> u64 {
        self.ousted.load(Ordering::Relaxed)
    }

    /// Seats that are taken.
    pub fn taken(&self) -> usize {
        self.taken.lock().by_age.len()
    }
}

/// A connection's seat, until it is dropped.
pub struct Seat {
    seats: Arc<Seats>,
    number: u64,
    leave: Arc<Notify>,
}

impl Seat {
    /// Returns when the connection must leave.
    pub async fn must_leave(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken.lock().by_age.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn the_oldest_that_can_be_spared_leaves() {
        let seats = Seats::new(3);
        let take = |stage| {
            let stages = Arc::new(Stages::default());
            stages.set(stage);
            seats.take(stages)
        };
        let leaves = async |seat: &Seat| timeout(Duration::from_millis(10), seat.must_leave()).await.is_ok();
        let (busy, idle, head) = (take(Stage::Busy), take(Stage::Idle), take(Stage::Head));
        let next = take(Stage::Busy);
        assert!(leaves(&idle).await && !leaves(&busy).await && !leaves(&head).await);
        drop(idle);
        let _another = take(Stage::Busy);
        assert!(leaves(&head).await && !leaves(&busy).await);
        drop(head);
        let _last = take(Stage::Busy);
        assert!(leaves(&busy).await && !leaves(&next).await, "all are busy");
        assert_eq!((seats.taken(), seats.ousted()), (3, 3));
    }
}
