//! What an object reaches for on a broker, beyond what it is.
//!
//! In: nothing. Out: `Touch`, which each kind says of its objects. Does not know about who may reach for what.

use super::name::Target;
use crate::object::Kind;

/// One thing that an object reaches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    /// It is, stands in, or gives rights in this virtual host.
    Vhost(String),
    /// It is called so, or leads to what is called so.
    Name(Target),
    /// It takes messages from this exchange.
    Source(Target),
    /// It takes hold of all objects of some kinds whose names match this regular expression.
    Matching { regex: String, kinds: &'static [Kind] },
    /// It gives this tag.
    Tag(String),
}
