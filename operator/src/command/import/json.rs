//! JSON from strangers: what stands twice in an object, or nests too deeply, is refused rather than read somehow.
//!
//! In: text. Out: a value, or what is wrong. Does not know about what the value means.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting: as in manifests.
const MOST_LEVELS: usize = 64;

/// Reads a text.
///
/// # Errors
/// It is no JSON, or not the same to everybody; with line and column.
pub(super) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Level(MOST_LEVELS).deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// A value with so many levels in it at most.
#[derive(Clone, Copy)]
struct Level(usize);

impl Level {
    fn below<E: Error>(self) -> Result<Level, E> {
        match self.0.checked_sub(1) {
            Some(levels) => Ok(Level(levels)),
            None => Err(E::custom(format!(
                "lists and objects are nested more than {MOST_LEVELS} deep"
            ))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("is no number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(below)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(below)?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("\"{key}\" stands there twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_as_they_stand() {
        let text = r#" {"a": [1, -2, 1.5, true, null, "x", 18446744073709551615], "b": {}} "#;
        let value = json!({"a": [1, -2, 1.5, true, null, "x", u64::MAX], "b": {}});
        assert_eq!(parse(text).expect("JSON"), value);
    }

    #[test]
    fn what_not_everybody_reads_alike_is_refused() {
        for (text, why) in [
            (r#"{"a": 1, "a": 2}"#, "\"a\" stands there twice"),
            (r#"{"a": {"b": 1, "b": 1}}"#, "\"b\" stands there twice"),
            ("{} {}", "trailing characters"),
            (&"[".repeat(100_000), "more than 64 deep"),
            ("{", "EOF"),
        ] {
            let error = parse(text).expect_err(why).to_string();
            assert!(error.contains(why) && error.contains("line 1"), "{error}");
        }
        let deepest = format!("{}{}", "[".repeat(64), "]".repeat(64));
        assert!(parse(&deepest).is_ok());
    }
}
