//! `headers`: by headers. `x-match` says whether all or any of a binding's arguments must be there (RabbitMQ's headers
//! exchange).

use super::binding::{Binding, BindingId};
use super::router::{OutOfSteps, Properties, Router, Routing, Steps, Type, plain};
use super::row::Row;
use super::target::Target;
use crate::erlang;
use leveret_amqp::RawTable;
use leveret_amqp::field::RawValue;
use std::sync::Arc;

/// The type.
pub static TYPE: Type = Type {
    name: "headers",
    description: "AMQP headers exchange, as per the AMQP specification",
    check,
    router: plain::<Headers>,
};

fn check(binding: &Binding) -> Result<(), String> {
    Match::parse(&binding.arguments).map(drop)
}

/// Destinations with the headers that they want.
#[derive(Default)]
struct Headers(Row<BindingId, Entry>);

struct Entry {
    binding: Arc<Binding>,
    mode: Match,
    target: Target,
}

/// Octets of a value that are compared in one step.
const STEP_OCTETS: usize = 64;

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
    fn parse(arguments: &RawTable) -> Result<Self, String> {
        let Some(value) = &arguments.get("x-match") else {
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

    fn holds(self, arguments: &RawTable, headers: &Properties<'_>, steps: &mut Steps) -> Result<bool, OutOfSteps> {
        let with_x = matches!(self, Self::AllWithX | Self::AnyWithX);
        let any = matches!(self, Self::Any | Self::AnyWithX);
        for (name, value) in arguments {
            steps.take(1)?;
            if name == b"x-match" || (name.starts_with(b"x-") && !with_x) {
                continue;
            }
            let there = match (headers.header(name), value) {
                (None, _) => false,
                (Some(_), value) if value.type_letter() == b'V' => true,
                (Some(found), value) => {
                    steps.take(weight(value))?;
                    erlang::equal_raw(value, found)
                }
            };
            if there == any {
                return Ok(any);
            }
        }
        Ok(!any)
    }
}

/// Steps that a comparison with a value takes, beside the first.
fn weight(value: RawValue<'_>) -> usize {
    value.octets().len() / STEP_OCTETS + value.within()
}

impl Router for Headers {
    fn by_key(&self) -> bool {
        false
    }

    fn bind(&mut self, binding: &Arc<Binding>, target: Target) {
        let entry = Entry {
            binding: binding.clone(),
            mode: Match::parse(&binding.arguments).unwrap_or(Match::All),
            target,
        };
        self.0.add(BindingId::of(binding), entry);
    }

    fn unbind(&mut self, binding: &Arc<Binding>, _: &Target) {
        self.0.remove(&BindingId::of(binding));
    }

    fn route<'a>(
        &'a self,
        routing: &Routing<'_>,
        steps: &mut Steps,
        found: &mut dyn FnMut(&'a Target),
    ) -> Result<(), OutOfSteps> {
        for (_, entry) in self.0.iter() {
            steps.take(1)?;
            if entry.mode.holds(&entry.binding.arguments, routing.properties, steps)? {
                found(&entry.target);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::{BasicProperties, FieldTable, FieldValue, ShortString};

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

    /// Property flags and list with these headers.
    fn list(headers: &FieldTable) -> Vec<u8> {
        let properties = BasicProperties {
            headers: Some(headers.clone()),
            ..BasicProperties::default()
        };
        properties.to_bytes().to_vec()
    }

    fn holds(arguments: &FieldTable, headers: &FieldTable) -> bool {
        let list = list(headers);
        let arguments = &RawTable::from(arguments);
        let mode = Match::parse(arguments).expect("x-match");
        mode.holds(arguments, &Properties::new(&list), &mut Steps::new(100))
            .expect("a few steps")
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
    fn of_headers_with_one_name_the_last_counts() {
        let twice = table(&[("a", text("1")), ("b", text("1")), ("a", text("2"))]);
        assert!(holds(&table(&[("a", text("2"))]), &twice) && !holds(&table(&[("a", text("1"))]), &twice));
    }

    /// Each argument is one look-up, however many headers there are; long values cost what they are.
    #[test]
    fn the_steps_grow_with_the_arguments_and_not_with_the_headers() {
        let names: Vec<_> = (0..2000).map(|n| ShortString::truncated(&format!("h{n}"))).collect();
        let field = |name: &ShortString| (name.clone(), FieldValue::Int(1));
        let steps = |arguments: usize, headers: usize| {
            let arguments: RawTable = names.iter().take(arguments).map(field).collect();
            let list = list(&names.iter().take(headers).map(field).collect());
            let mut steps = Steps::new(1_000_000);
            let holds = Match::All.holds(&arguments, &Properties::new(&list), &mut steps);
            assert_eq!(holds, Ok(true));
            1_000_000 - steps.left()
        };
        assert_eq!(
            (steps(1000, 1000), steps(1000, 2000), steps(2000, 2000)),
            (1000, 1000, 2000)
        );
        let weight = |value: FieldValue| {
            let table: RawTable = [(ShortString::new(), value)].into_iter().collect();
            table.find("").map(weight)
        };
        assert_eq!(weight("x".repeat(6400).into()), Some(100));
        let nested = FieldValue::Array(vec![FieldValue::Array(vec![FieldValue::Void; 3])]);
        assert_eq!(weight(nested), Some(4));
    }

    #[test]
    fn another_x_match_is_refused() {
        assert!(Match::parse(&table(&[("x-match", text("some"))]).into()).is_err());
        assert!(Match::parse(&table(&[("x-match", FieldValue::Int(1))]).into()).is_err());
    }
}
