//! Objects as resources ask for them, and remarks on everything that is not carried over.
//!
//! In: nothing. Out: the vocabulary of all translators. Does not know about any of them.

use serde_json::{Map, Value};

use crate::resource::Kind;

/// An object as a resource asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Translation {
    pub kind: Kind,
    pub spec: Map<String, Value>,
    /// Everything that the spec does not say.
    pub remarks: Vec<Remark>,
    /// The user whose resource this is a part of; `None` for a resource of its own.
    pub of: Option<Owner>,
}

impl Translation {
    /// A resource of its own.
    pub(super) fn new(kind: Kind, spec: Map<String, Value>, remarks: Vec<Remark>) -> Self {
        Self {
            kind,
            spec,
            remarks,
            of: None,
        }
    }
}

/// The user that permissions are for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// By its name on the broker.
    User(String),
    /// By the name of its resource, in the same namespace.
    Resource(String),
}

/// Something that is not carried over, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Keys from the table to the field; none for all of it.
    pub field: Vec<String>,
    pub why: String,
}

impl Remark {
    /// On an object as a whole.
    pub(super) fn whole(why: impl Into<String>) -> Self {
        Self {
            field: Vec::new(),
            why: why.into(),
        }
    }
}

/// An object among many in one document.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The place in the document, as in `queues[3]`.
    pub place: String,
    /// The object as a person calls it, as in `queue 'invoices'`.
    pub what: String,
    /// `None`: every broker has it without being told.
    pub translated: Option<Result<Translation, Remark>>,
}
