//! Field values as Erlang has them: its notation, which RabbitMQ's error texts and events show, and its equality.
//!
//! Comes in: values. Goes out: text, or whether they are equal. Pure.

use leveret_amqp::field::RawValue;
use leveret_amqp::{FieldValue, ShortString};
use std::fmt::Write;

/// A field as RabbitMQ keeps it: `{<<"x-foo">>,signedint,1}`.
pub fn field(name: &[u8], value: &FieldValue) -> String {
    format!("{{{},{},{}}}", binary(name), value.type_name(), term(value))
}

/// A value: `5`, `<<"text">>`, `[{signedint,1}]`.
pub fn term(value: &FieldValue) -> String {
    match value {
        FieldValue::Bool(value) => value.to_string(),
        FieldValue::Float(value) => float(f64::from(*value)),
        FieldValue::Double(value) => float(*value),
        FieldValue::Decimal { scale, value } => format!("{{{scale},{value}}}"),
        FieldValue::LongString(bytes) | FieldValue::ByteArray(bytes) => binary(bytes),
        FieldValue::Array(values) => {
            let item = |value: &FieldValue| format!("{{{},{}}}", value.type_name(), term(value));
            format!("[{}]", values.iter().map(item).collect::<Vec<_>>().join(","))
        }
        FieldValue::Table(table) => {
            let item = |(name, value): &(ShortString, FieldValue)| field(name, value);
            format!("[{}]", table.iter().map(item).collect::<Vec<_>>().join(","))
        }
        FieldValue::Timestamp(seconds) => seconds.to_string(),
        FieldValue::Void => "undefined".to_owned(),
        integer => integer.as_i64().unwrap_or_default().to_string(),
    }
}

/// A value without types, as RabbitMQ has those of JSON: `[1,#{<<"a">> => null}]`.
pub fn plain(value: &FieldValue) -> String {
    let list = |items: Vec<String>| items.join(",");
    match value {
        FieldValue::Array(values) => format!("[{}]", list(values.iter().map(plain).collect())),
        FieldValue::Table(table) => {
            let pair =
                |(name, value): &(ShortString, FieldValue)| format!("{} => {}", binary(name.as_bytes()), plain(value));
            format!("#{{{}}}", list(table.iter().map(pair).collect()))
        }
        FieldValue::Void => "null".to_owned(),
        other => term(other),
    }
}

/// Erlang has a decimal point in every float, also before an exponent.
fn float(value: f64) -> String {
    let text = format!("{value:?}");
    match text.split_once('e') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0e{exponent}"),
        _ => text,
    }
}

/// True if Erlang finds two values equal: integers of any width, floats of any width, octets of any kind.
pub fn equal(a: &FieldValue, b: &FieldValue) -> bool {
    use FieldValue::{ByteArray, LongString};
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        return a == b;
    }
    match (a, b) {
        (LongString(a) | ByteArray(a), LongString(b) | ByteArray(b)) => a == b,
        _ => match (as_f64(a), as_f64(b)) {
            (Some(a), Some(b)) => a.to_bits() == b.to_bits(),
            _ => a == b,
        },
    }
}

/// [`equal`] for an argument that is kept as octets, the usual ones without a copy.
pub fn equal_raw(a: RawValue<'_>, b: &FieldValue) -> bool {
    use FieldValue::{ByteArray, LongString};
    match (a.as_long_string(), b) {
        (Some(a), LongString(b) | ByteArray(b)) => a == b,
        (Some(_), _) => false,
        (None, b) => equal(&a.parse(), b),
    }
}

fn as_f64(value: &FieldValue) -> Option<f64> {
    match value {
        FieldValue::Float(value) => Some(f64::from(*value)),
        FieldValue::Double(value) => Some(*value),
        _ => None,
    }
}

/// Octets: `<<"text">>`.
pub fn binary(bytes: &[u8]) -> String {
    let mut out = String::from("<<\"");
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            // Writing to a string doesn't fail.
            _ => drop(write!(out, "\\x{{{byte:x}}}")),
        }
    }
    out + "\">>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::FieldTable;

    #[test]
    fn terms_within_terms_are_written_in_erlangs_notation() {
        let inner: FieldTable = [(ShortString::from_static("k"), FieldValue::Bool(true))]
            .into_iter()
            .collect();
        let value = FieldValue::Array(vec![FieldValue::Table(inner), FieldValue::Void]);
        assert_eq!(term(&value), "[{table,[{<<\"k\">>,bool,true}]},{void,undefined}]");
        assert_eq!(plain(&value), "[#{<<\"k\">> => true},null]");
        assert_eq!(term(&FieldValue::Double(1e22)), "1.0e22");
        assert_eq!(term(&FieldValue::Float(0.5)), "0.5");
        assert_eq!(binary(b"a\"\xff"), "<<\"a\\\"\\x{ff}\">>");
    }

    #[test]
    fn width_makes_no_difference_but_kind_does() {
        use FieldValue::{Bool, Double, Float, Int, Long, Short};
        assert!(equal(&Short(5), &Long(5)) && !equal(&Short(5), &Long(6)));
        assert!(equal(&Float(0.5), &Double(0.5)) && !equal(&Float(0.1), &Double(0.1)));
        assert!(!equal(&Int(1), &Double(1.0)) && !equal(&Int(1), &Bool(true)));
        assert!(equal(&FieldValue::from("a"), &FieldValue::ByteArray("a".into())));
        assert!(equal(&FieldValue::Void, &FieldValue::Void));
    }
}
