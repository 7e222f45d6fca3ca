//! `headers`: by headers. `x-match` says whether all or any of a binding's arguments must be there (RabbitMQ's headers
//! exchange).

use super::binding::{Binding, Sorted};
use super::router::{Router, Routing, Type, plain};
use super::target::Target;
use crate::erlang;
use leveret_amqp::{FieldTable, FieldValue};

/// The type.
pub static TYPE: Type = Type {
    name: "headers",
    description: "AMQP headers exchange, as per the AMQP specification",
    router: plain::<Headers>,
};

/// Destinations with the headers that they want.
#[derive(Default)]
struct Headers(Vec<Entry>);

struct Entry {
    arguments: Sorted,
    mode: Match,
    target: Target,
}

/// The meaning of `x-match`. The `-with-x` forms also compare headers whose names begin with `x-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    /// Every argument; the default.
    All,
    /// At least one.
    Any,
    /// Every argument, `x-` ones too.
    AllWithX,
    /// At least one, `x-` ones too.
    AnyWithX,
}

impl Match {
    /// Reads `x-match`.
    ///
    /// # Errors
    /// The value, as RabbitMQ shows it in `Invalid x-match field value`.
    fn parse(arguments: &FieldTable) -> Result<Self, String> {
        let Some(value) = arguments.get("x-match") else {
            return Ok(Self::All);
        };
        match value.as_str() {
            Some("all") => Ok(Self::All),
            Some("any") => Ok(Self::Any),
            Some("all-with-x") => Ok(Self::AllWithX),
            Some("any-with-x") => Ok(Self::AnyWithX),
            _ if value.as_bytes().is_some() => Err(format!(
                "Invalid x-match field value {}; expected all, any, all-with-x, or any-with-x",
                erlang::term(value)
            )),
            _ => Err(format!(
                "Invalid x-match field type {} (value {}); expected longstr",
                value.type_name(),
                erlang::term(value)
            )),
        }
    }

    fn holds(self, arguments: &FieldTable, headers: &FieldTable) -> bool {
        let with_x = matches!(self, Self::AllWithX | Self::AnyWithX);
        let mut wanted = arguments.iter().filter(|(name, _)| {
            let name = name.as_bytes();
            name != b"x-match" && (with_x || !name.starts_with(b"x-"))
        });
        let there = |(name, value): &(leveret_amqp::ShortString, FieldValue)| {
            headers.iter().any(|(header, found)| {
                header == name && (matches!(value, FieldValue::Void) || erlang::equal(value, found))
            })
        };
        match self {
            Self::All | Self::AllWithX => wanted.all(there),
            Self::Any | Self::AnyWithX => wanted.any(there),
        }
    }
}

impl Router for Headers {
    fn by_key(&self) -> bool {
        false
    }

    fn check(&self, binding: &Binding) -> Result<(), String> {
        Match::parse(&binding.arguments).map(drop)
    }

    fn bind(&mut self, binding: &Binding, target: Target) {
        self.0.push(Entry {
            arguments: binding.arguments.clone(),
            mode: Match::parse(&binding.arguments).unwrap_or(Match::All),
            target,
        });
    }

    fn unbind(&mut self, binding: &Binding, target: &Target) {
        let same = |entry: &Entry| entry.target == *target && entry.arguments == binding.arguments;
        if let Some(at) = self.0.iter().position(same) {
            self.0.remove(at);
        }
    }

    fn route<'a>(&'a self, routing: &Routing<'_>, found: &mut dyn FnMut(&'a Target)) {
        let headers = routing.properties.headers();
        self.0
            .iter()
            .filter(|entry| entry.mode.holds(&entry.arguments, headers))
            .for_each(|entry| found(&entry.target));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::ShortString;

    fn table(fields: &[(&'static str, FieldValue)]) -> FieldTable {
        FieldTable(
            fields
                .iter()
                .map(|(name, value)| (ShortString::from_static(name), value.clone()))
                .collect(),
        )
    }

    fn text(value: &'static str) -> FieldValue {
        FieldValue::LongString(value.into())
    }

    fn holds(arguments: &FieldTable, headers: &FieldTable) -> bool {
        Match::parse(arguments).expect("x-match").holds(arguments, headers)
    }

    #[test]
    fn all_is_the_default_and_void_asks_for_presence() {
        let arguments = table(&[
            ("format", text("pdf")),
            ("size", FieldValue::Int(3)),
            ("any", FieldValue::Void),
        ]);
        let headers = table(&[
            ("size", FieldValue::Long(3)),
            ("format", text("pdf")),
            ("any", FieldValue::Bool(true)),
        ]);
        assert!(holds(&arguments, &headers));
        assert!(!holds(&arguments, &table(&[("format", text("pdf"))])));
        assert!(holds(&table(&[]), &headers));
    }

    #[test]
    fn any_wants_one_and_x_headers_count_only_when_asked_for() {
        let headers = table(&[("x-a", text("1"))]);
        assert!(!holds(
            &table(&[("x-match", text("any")), ("x-a", text("1"))]),
            &headers
        ));
        assert!(holds(
            &table(&[("x-match", text("any-with-x")), ("x-a", text("1"))]),
            &headers
        ));
        assert!(!holds(&table(&[("x-match", text("any"))]), &headers));
        assert!(!holds(
            &table(&[("x-match", text("all-with-x")), ("x-a", text("2"))]),
            &headers
        ));
    }

    #[test]
    fn another_x_match_is_refused() {
        assert!(Match::parse(&table(&[("x-match", text("some"))])).is_err());
        assert!(Match::parse(&table(&[("x-match", FieldValue::Int(1))])).is_err());
    }
}
