//! A declaration of what exists already: it must say the same, or is refused with 406 `inequivalent arg`.
//!
//! Comes in: a property or an argument as declared, and as it is. Goes out: nothing, or the error. Pure.

use crate::erlang;
use crate::error::{Error, Inequivalent, Result};
use leveret_amqp::{FieldValue, ShortString};
use std::fmt::Display;

/// A queue or exchange that exists.
pub(super) struct Existing<'a> {
    /// `queue` or `exchange`.
    pub kind: &'static str,
    /// Its name.
    pub name: &'a ShortString,
    /// Its vhost.
    pub vhost: &'a str,
}

impl Existing<'_> {
    /// Compares a property.
    ///
    /// # Errors
    /// 406 if it differs.
    pub(super) fn property<T: PartialEq + Display>(&self, name: &str, received: T, current: T) -> Result<()> {
        if received == current {
            return Ok(());
        }
        Err(self.inequivalent(name, format!("'{received}'"), format!("'{current}'")))
    }

    /// Compares an argument.
    ///
    /// # Errors
    /// 406 if it differs.
    pub(super) fn argument(
        &self,
        name: &str,
        received: Option<&FieldValue>,
        current: Option<&FieldValue>,
    ) -> Result<()> {
        match (received, current) {
            (None, None) => Ok(()),
            (Some(received), Some(current)) if erlang::equal(received, current) => Ok(()),
            _ => Err(self.argument_differs(name, received, current)),
        }
    }

    /// The error for an argument that differs.
    pub(super) fn argument_differs(
        &self,
        name: &str,
        received: Option<&FieldValue>,
        current: Option<&FieldValue>,
    ) -> Error {
        let (received, current) = match (received, current) {
            (Some(received), Some(current)) => (quoted(received), quoted(current)),
            (received, current) => (described(received), described(current)),
        };
        self.inequivalent(name, received, current)
    }

    fn inequivalent(&self, arg: &str, received: String, current: String) -> Error {
        Error::Inequivalent(Box::new(Inequivalent {
            arg: arg.to_owned(),
            kind: self.kind,
            name: self.name.to_str_lossy().into_owned(),
            vhost: self.vhost.to_owned(),
            received,
            current,
        }))
    }
}

/// A value where the other one is missing: RabbitMQ says its type then.
fn described(value: Option<&FieldValue>) -> String {
    value.map_or_else(
        || "none".to_owned(),
        |value| format!("the value {} of type '{}'", quoted(value), value.type_name()),
    )
}

fn quoted(value: &FieldValue) -> String {
    match value {
        FieldValue::LongString(bytes) | FieldValue::ByteArray(bytes) => format!("'{}'", String::from_utf8_lossy(bytes)),
        other => format!("'{}'", erlang::term(other)),
    }
}
