//! Those who wait for something that is short.

use std::collections::HashMap;
use std::sync::Arc;

/// A connection that does not go on, or whatever else waits.
pub trait Waiter: Send + Sync {
    /// It may be worth another look. Called under locks: nothing may wait here.
    fn look_again(&self);
}

/// Those who wait for one thing, by their addresses.
pub type Line = HashMap<usize, Arc<dyn Waiter>>;
