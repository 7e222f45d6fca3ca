//! Deliveries that a transaction will settle: put aside, then settled or released together.
//!
//! Comes in: delivery tags, and the end of the transaction. Goes out: what was meant, as for those that are settled at
//! once. Each is looked at once.
//! Does not know about transactions' other contents.

use super::deliver::{Deliveries, HELD, SETTLED, Settled, Taken, UnknownDeliveryTag};
use std::sync::atomic::Ordering;

impl Deliveries {
    /// Puts aside for [`Deliveries::settle_held`] what a client settles within a transaction; adds the tags to `held`.
    /// Prefetch limits count these messages as before.
    ///
    /// # Errors
    /// The tag isn't outstanding; nothing is put aside then.
    pub fn hold(&self, tag: u64, multiple: bool, held: &mut Vec<u64>) -> Result<(), UnknownDeliveryTag> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let before = held.len();
        let places = state.meant(tag, multiple)?;
        for at in places.clone() {
            if let Some(unacked) = state.unacked.get_mut(at).filter(|unacked| unacked.source < HELD) {
                unacked.source |= HELD;
                held.push(state.first_tag + at as u64);
            }
        }
        state.rare.get_or_insert_default();
        state.pass(&places);
        self.figures
            .in_transaction
            .fetch_add((held.len() - before) as u32, Ordering::Relaxed);
        Ok(())
    }

    /// Takes out what was put aside under these tags: the transaction is committed.
    pub fn settle_held(&self, tags: &[u64], settled: &mut Vec<Settled>) {
        let mut state = self.state.lock();
        let mut taken = Taken::default();
        for tag in tags {
            let at = tag.wrapping_sub(state.first_tag) as usize;
            taken += state.end(at, HELD, settled);
        }
        self.figures.in_transaction.fetch_sub(taken.all, Ordering::Relaxed);
        self.has_taken(&mut state, taken);
    }

    /// Has deliveries that were put aside under these tags settled again by anyone: the transaction is rolled back.
    pub fn release(&self, tags: &[u64]) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        for tag in tags {
            let at = tag.wrapping_sub(state.first_tag) as usize;
            if let Some(unacked) = state.unacked.get_mut(at).filter(|unacked| unacked.source != SETTLED) {
                unacked.source &= !HELD;
            }
        }
        if let Some(rare) = &mut state.rare {
            rare.passed = 0;
        }
        self.figures
            .in_transaction
            .fetch_sub(tags.len() as u32, Ordering::Relaxed);
    }
}
