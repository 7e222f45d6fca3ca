//! Numbers of queues in the log: never used twice, also not by a queue after a restart.
//!
//! Comes in: what the log's table says was reserved. Goes out: numbers, and now and then a record that reserves more.

use leveret_store::{Batch, QueueId};
use parking_lot::Mutex;

/// Key of the reservation in the log's table. Must be kept stable.
pub const KEY: &[u8] = b"i";
/// Numbers reserved at a time: those that a crash leaves unused are lost, of which there are enough.
const BLOCK: u64 = 1024;

/// The source of queue numbers, for all vhosts.
pub struct QueueIds(Mutex<Range>);

struct Range {
    next: QueueId,
    reserved: QueueId,
}

impl QueueIds {
    /// Goes on behind the reservation that the table holds, if any.
    pub fn recovered(value: Option<&[u8]>) -> Self {
        let reserved = value
            .and_then(|value| value.try_into().ok())
            .map_or(1, QueueId::from_be_bytes);
        Self(Mutex::new(Range {
            next: reserved,
            reserved,
        }))
    }

    /// A number that was never used. May add a record that must be appended before or with the first one that uses it.
    pub fn take(&self, records: &mut Batch) -> QueueId {
        let mut range = self.0.lock();
        if range.next >= range.reserved {
            range.reserved = range.next + BLOCK;
            records.put(KEY, &range.reserved.to_be_bytes());
        }
        range.next += 1;
        range.next - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_taken_twice_across_restarts() {
        let mut records = Batch::default();
        let first = QueueIds::recovered(None);
        let taken: Vec<QueueId> = (0..1500).map(|_| first.take(&mut records)).collect();
        assert_eq!(taken, (1..1501).collect::<Vec<_>>());
        // The table holds the last reservation.
        let after = QueueIds::recovered(Some(&2049u64.to_be_bytes()));
        assert_eq!(after.take(&mut records), 2049);
        assert!(!records.is_empty());
    }
}
