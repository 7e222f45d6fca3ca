//! The policies of a queue, and the values that count under them.
//!
//! Comes in: policies, the values of the queue's arguments. Goes out: values. Pure. Does not know which policies match.

use super::arguments::Values;
use crate::policy::Applied;
use std::sync::Arc;

/// The policies that a queue is under.
#[derive(Debug)]
pub struct Policies {
    /// The policies.
    pub applied: Arc<Applied>,
    /// The values that count, of them and of the queue's arguments.
    pub values: Values,
}

impl Policies {
    /// Those of a queue that was declared with these values.
    pub fn new(applied: Arc<Applied>, declared: &Values) -> Self {
        let values = declared.under(&applied.definition);
        Self { applied, values }
    }
}
