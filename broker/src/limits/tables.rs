//! Bounds of the tables that clients have the broker keep: their arguments, and their descriptions of themselves.
//!
//! Comes in: a table, as octets. Goes out: nothing, or by how much it is too large. Does not know what it says.

use crate::error::Error;
use leveret_amqp::RawTable;

/// Octets of a table of arguments, at most.
pub const ARGUMENTS: usize = 32 << 10;
/// Octets of a client's properties, at most.
pub const PROPERTIES: usize = 16 << 10;
/// Values of a table at any depth, at most.
pub const VALUES: usize = 1024;

/// A table that is too large to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// Of too many octets.
    #[error("take {octets} bytes; at most {most} are allowed")]
    Octets {
        /// Its octets.
        octets: usize,
        /// Octets that it may have.
        most: usize,
    },
    /// Of too many values.
    #[error("have {values} values; at most {VALUES} are allowed")]
    Values {
        /// Its values, at any depth.
        values: usize,
    },
    /// Of tables within tables that could not be read back.
    #[error("are nested too deep")]
    Deep,
}

impl TooLarge {
    /// The refusal of what has the table: `arguments take ...`.
    pub fn of(self, what: &str) -> Error {
        Error::Precondition(format!("{what} {self}").into())
    }
}

impl From<TooLarge> for Error {
    fn from(too_large: TooLarge) -> Self {
        too_large.of("arguments")
    }
}

/// Looks at a table before it is kept, or taken apart.
///
/// # Errors
/// It has more than `most` octets, more than [`VALUES`] values, or is too deep.
pub fn check(table: &RawTable, most: usize) -> Result<(), TooLarge> {
    let octets = table.octets().len();
    if octets > most {
        return Err(TooLarge::Octets { octets, most });
    }
    match table.count() {
        Ok(0..=VALUES) => Ok(()),
        Ok(values) => Err(TooLarge::Values { values }),
        Err(_) => Err(TooLarge::Deep),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::{FieldTable, FieldValue, ShortString};

    fn refusal(table: FieldTable) -> String {
        check(&table.into(), 1000).map_or_else(|wrong| Error::from(wrong).to_string(), |()| String::new())
    }

    #[test]
    fn size_number_and_depth_are_bounded() {
        let one = |value: FieldValue| FieldTable(vec![(ShortString::from_static("x"), value)]);
        assert_eq!(refusal(one("x".repeat(993).into())), "");
        let large = "arguments take 1001 bytes; at most 1000 are allowed";
        assert_eq!(refusal(one("x".repeat(994).into())), large);
        let voids = |count| one(FieldValue::Array(vec![FieldValue::Void; count]));
        let values = |table: FieldTable| check(&table.into(), usize::MAX);
        assert_eq!(values(voids(1023)), Ok(()));
        assert_eq!(values(voids(1024)), Err(TooLarge::Values { values: 1025 }));
        let deep = (0..70).fold(FieldTable::new(), |inner, _| one(FieldValue::Table(inner)));
        assert_eq!(refusal(deep), "arguments are nested too deep");
    }
}
