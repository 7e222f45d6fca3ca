//! The policies that apply to one object: a policy, an operator policy, or both, and what they say together.
//!
//! Pure. Many objects share one of these.

use super::keys;
use super::rule::{Class, Policy};
use leveret_amqp::FieldTable;
use std::sync::Arc;

/// The policies of an object; at least one of them.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The policy.
    pub policy: Option<Arc<Policy>>,
    /// The operator policy.
    pub operator: Option<Arc<Policy>>,
    /// Both definitions, merged.
    pub definition: FieldTable,
}

impl Applied {
    /// Both policies together; `None` if there is neither.
    pub fn new(policy: Option<Arc<Policy>>, operator: Option<Arc<Policy>>) -> Option<Self> {
        let definition = match (&policy, &operator) {
            (None, None) => return None,
            (Some(one), None) | (None, Some(one)) => one.definition.clone(),
            (Some(policy), Some(operator)) => keys::merge(&policy.definition, &operator.definition),
        };
        Some(Self {
            policy,
            operator,
            definition,
        })
    }

    /// That of a class.
    pub fn of(&self, class: Class) -> Option<&Arc<Policy>> {
        match class {
            Class::User => self.policy.as_ref(),
            Class::Operator => self.operator.as_ref(),
        }
    }
}

/// Two that are made of the same policies are the same.
impl PartialEq for Applied {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Option<Arc<Policy>>, b: &Option<Arc<Policy>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        same(&self.policy, &other.policy) && same(&self.operator, &other.operator)
    }
}
