//! Exchanges: the destinations of a message, by its key or its headers.
//!
//! Comes in: bindings, and a message's keys and properties. Goes out: the bound destinations.
//! Does not know about vhosts, messages or permissions.
//!
//! Messages see the routing table alone, which is looked up without the topology's lock.
//! A new type of exchange is a file with a `TYPE` here, and its line in `TYPES`.

/// By equal key.
pub mod direct;

/// To everything that is bound.
pub mod fanout;

/// By headers.
pub mod headers;

/// By a hash of the keys.
pub mod modulus_hash;

/// By chance.
pub mod random;

/// By words of the key.
pub mod topic;

/// By the beginning of the key.
pub mod prefix;

/// Bindings as messages see them, changed and looked up at the same time.
pub mod table;

/// A type of exchange: its name and its router.
pub mod router;

/// Destinations.
pub mod target;

/// Bindings as values.
pub mod binding;

/// Messages, counted.
pub mod traffic;

/// Values by key, in no order.
mod row;

/// Values by key, in order.
mod sorted;

use crate::policy::Applied;
use binding::Binding;
use leveret_amqp::{FieldValue, RawTable, ShortString};
pub use router::{OutOfSteps, Properties, Router, Routing, Steps, Type};
use std::collections::HashSet;
use std::sync::Arc;
use table::Change;
pub use table::RoutingTable;
pub use target::Target;
use traffic::Traffic;

/// The types that there are, by name.
pub static TYPES: &[&Type] = &[
    &direct::TYPE,
    &fanout::TYPE,
    &headers::TYPE,
    &topic::TYPE,
    &prefix::TYPE,
    &random::TYPE,
    &random::LOCAL,
    &modulus_hash::TYPE,
];

/// The type of this name. `None`: not one of this broker.
pub fn type_of(name: &[u8]) -> Option<&'static Type> {
    TYPES.iter().copied().find(|kind| kind.name.as_bytes() == name)
}

/// The argument that names the exchange of messages that lead nowhere.
pub const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

/// A declaration of an exchange.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name.
    pub name: ShortString,
    /// Its type.
    pub kind: &'static Type,
    /// Survives a restart.
    pub durable: bool,
    /// Goes when its last binding goes.
    pub auto_delete: bool,
    /// Clients can't publish to it.
    pub internal: bool,
    /// Arguments as declared.
    pub arguments: RawTable,
}

impl Definition {
    /// The exchange of messages that lead nowhere: the `alternate-exchange` argument.
    pub fn alternate(&self) -> Option<ShortString> {
        named(self.arguments.get(ALTERNATE_EXCHANGE).as_ref())
    }

    /// The type of the `alternate-exchange` argument, if it is one that names nothing.
    pub fn alternate_of_wrong_type(&self) -> Option<&'static str> {
        let value = self.arguments.get(ALTERNATE_EXCHANGE)?;
        value.as_bytes().is_none().then(|| value.type_name())
    }
}

/// The alternate exchange that is named in arguments, or in the definition of a policy: the key is the same.
fn named(value: Option<&FieldValue>) -> Option<ShortString> {
    ShortString::try_from(value?.as_str()?).ok()
}

/// An exchange with its bindings.
pub struct Exchange {
    /// Its declaration.
    pub definition: Definition,
    /// The exchange of messages that lead nowhere.
    pub alternate: Option<ShortString>,
    /// The policies that apply to it.
    pub policies: Option<Arc<Applied>>,
    table: Arc<RoutingTable>,
    /// Messages that clients publish to it.
    pub traffic: Arc<Traffic>,
    bindings: HashSet<Arc<Binding>>,
}

impl Exchange {
    /// An exchange without bindings.
    ///
    /// # Errors
    /// A text for the client (406), if its type can't be had with its arguments.
    pub fn new(definition: Definition) -> Result<Self, String> {
        let router = (definition.kind.router)(&definition.arguments)?;
        let (alternate, is_default) = (definition.alternate(), definition.name.is_empty());
        Ok(Self {
            table: Arc::new(RoutingTable::new(router, alternate.clone(), is_default)),
            alternate,
            definition,
            policies: None,
            traffic: Arc::default(),
            bindings: HashSet::new(),
        })
    }

    /// Has these policies apply from now on. Of an alternate exchange the argument counts, and the default exchange has
    /// none, as in RabbitMQ.
    pub fn apply(&mut self, policies: Option<Arc<Applied>>) {
        let of_policies = policies
            .as_ref()
            .and_then(|policies| named(policies.definition.get(ALTERNATE_EXCHANGE)));
        let of_policies = of_policies.filter(|_| !self.definition.name.is_empty());
        self.policies = policies;
        let alternate = self.definition.alternate().or(of_policies);
        if alternate != self.alternate {
            self.table.change(Change::Alternate(alternate.clone()));
            self.alternate = alternate;
        }
    }

    /// Its bindings, in no order.
    pub fn bindings(&self) -> &HashSet<Arc<Binding>> {
        &self.bindings
    }

    /// The table by which messages find their way: to be looked up without the topology's lock.
    pub fn table(&self) -> &Arc<RoutingTable> {
        &self.table
    }

    /// Looks at a binding before it is made.
    ///
    /// # Errors
    /// A text for the client (406).
    pub fn check(&self, binding: &Binding) -> Result<(), String> {
        (self.definition.kind.check)(binding)
    }

    /// Adds a binding. `None` if there is the same one already; else it, to be shared with whoever has it too.
    pub fn bind(&mut self, binding: Binding, target: Target) -> Option<Arc<Binding>> {
        if self.bindings.contains(&binding) {
            return None;
        }
        let binding = Arc::new(binding);
        self.table.change(Change::Bind(binding.clone(), target));
        self.bindings.insert(binding.clone());
        Some(binding)
    }

    /// Removes a binding. False if there is none like it.
    pub fn unbind(&mut self, binding: &Binding, target: &Target) -> bool {
        let Some(binding) = self.bindings.take(binding) else {
            return false;
        };
        self.table.change(Change::Unbind(binding, target.clone()));
        true
    }
}

#[cfg(test)]
mod tests;
