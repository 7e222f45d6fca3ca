//! JSON as the HTTP API writes and reads it: straight into pieces, without a tree in between, because lists are long.
//!
//! Comes in: fields, field tables; for reading, parsed JSON. Goes out: bytes, of a long array piece by piece; field
//! tables. A `Columns` leaves out what the client didn't ask for. Pure. Does not know about queues or HTTP.

use crate::metrics::history::{Charts, Samples};
use crate::pieces::Pieces;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use leveret_amqp::{FieldTable, FieldValue, ShortString};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::sync::Arc;

/// Tables and arrays within tables, at most: as many as a client of AMQP may send.
const MAX_DEPTH: usize = 32;

/// The fields of an object that a client wants to see: `columns=name,message_stats.publish`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Columns(BTreeMap<String, Columns>);

/// A path of columns that names objects within objects, deeper than any answer has them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the column '{column}' and so on is nested more than {MOST_NAMES} levels deep")]
pub struct TooDeep {
    column: String,
}

/// Names in the path of a column, at most: twice what answers have.
const MOST_NAMES: usize = 8;

impl Columns {
    /// Reads the list; `None` if it names nothing, which means everything.
    ///
    /// # Errors
    /// [`TooDeep`].
    pub fn parse(list: &str) -> Result<Option<Self>, TooDeep> {
        let mut columns = Self::default();
        for path in list.split(',').filter(|path| !path.is_empty()) {
            check_path(path)?;
            let mut at = &mut columns;
            for name in path.split('.') {
                at = at.0.entry(name.to_owned()).or_default();
            }
        }
        Ok((!columns.0.is_empty()).then_some(columns))
    }
}

/// Looks at the path of a column.
fn check_path(path: &str) -> Result<(), TooDeep> {
    if path.split('.').nth(MOST_NAMES).is_none() {
        return Ok(());
    }
    Err(TooDeep {
        column: path.chars().take(60).collect(),
    })
}

/// A short document that is an object.
pub fn object(columns: Option<&Columns>, write: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut out = Pieces::whole();
    put_object(&mut out, columns, write);
    out.into_rest()
}

/// A short document that is an array.
pub fn array(columns: Option<&Columns>, write: impl FnOnce(&mut Array<'_>)) -> Vec<u8> {
    let mut out = Pieces::whole();
    put_array(&mut out, columns, write);
    out.into_rest()
}

/// Writes an object.
pub fn put_object(out: &mut Pieces, columns: Option<&Columns>, write: impl FnOnce(&mut Object<'_>)) {
    put_charted(out, columns, None, write);
}

fn put_charted(
    out: &mut Pieces,
    columns: Option<&Columns>,
    charts: Option<Arc<Charts>>,
    write: impl FnOnce(&mut Object<'_>),
) {
    out.push(b'{');
    write(&mut Object {
        out,
        columns,
        charts,
        first: true,
    });
    out.push(b'}');
}

/// Writes an array; after each of its values a piece may go.
pub fn put_array(out: &mut Pieces, columns: Option<&Columns>, write: impl FnOnce(&mut Array<'_>)) {
    out.push(b'[');
    write(&mut Array {
        out,
        columns,
        first: true,
    });
    out.push(b']');
}

/// An object that is being written.
pub struct Object<'a> {
    out: &'a mut Pieces,
    columns: Option<&'a Columns>,
    charts: Option<Arc<Charts>>,
    first: bool,
}

impl<'a> Object<'a> {
    /// Starts a field; `None` if the client doesn't want it, else what it wants of it.
    fn start(&mut self, name: &str) -> Option<Option<&'a Columns>> {
        let inner = match self.columns {
            None => None,
            Some(columns) => Some(columns.0.get(name)?).filter(|inner| !inner.0.is_empty()),
        };
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        put_text(self.out, name);
        self.out.push(b':');
        Some(inner)
    }

    /// True if the field will be written: for values that are costly to find out.
    pub fn wants(&self, name: &str) -> bool {
        self.columns.is_none_or(|columns| columns.0.contains_key(name))
    }

    /// A text.
    pub fn text(&mut self, name: &str, value: &str) {
        if self.start(name).is_some() {
            put_text(self.out, value);
        }
    }

    /// A name; bytes that aren't UTF-8 show as U+FFFD.
    pub fn name(&mut self, name: &str, value: &ShortString) {
        if self.start(name).is_some() {
            put_text(self.out, &value.to_str_lossy());
        }
    }

    /// A whole number.
    pub fn number(&mut self, name: &str, value: u64) {
        if self.start(name).is_some() {
            put_display(self.out, value);
        }
    }

    /// A whole number that may be negative.
    pub fn integer(&mut self, name: &str, value: i64) {
        if self.start(name).is_some() {
            put_display(self.out, value);
        }
    }

    /// A number with a fraction; null if it isn't a number.
    pub fn float(&mut self, name: &str, value: f64) {
        if self.start(name).is_some() {
            put_float(self.out, value);
        }
    }

    /// True or false.
    pub fn bool(&mut self, name: &str, value: bool) {
        if self.start(name).is_some() {
            put_display(self.out, value);
        }
    }

    /// A value that is JSON already.
    pub fn json(&mut self, name: &str, value: &str) {
        if self.start(name).is_some() {
            self.out.put(value.as_bytes());
        }
    }

    /// Null.
    pub fn null(&mut self, name: &str) {
        if self.start(name).is_some() {
            self.out.put(b"null");
        }
    }

    /// A field table.
    pub fn table(&mut self, name: &str, value: &FieldTable) {
        if self.start(name).is_some() {
            put_table(self.out, value);
        }
    }

    /// An object within.
    pub fn object(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        if let Some(inner) = self.start(name) {
            put_charted(self.out, inner, self.charts.clone(), write);
        }
    }

    /// An array within.
    pub fn array(&mut self, name: &str, write: impl FnOnce(&mut Array<'_>)) {
        if let Some(inner) = self.start(name) {
            put_array(self.out, inner, write);
        }
    }

    /// Counters from here on come with charts, those within objects too.
    pub fn chart(&mut self, charts: Charts) {
        self.charts = Some(Arc::new(charts));
    }

    /// A counter and its rate per second, as RabbitMQ has them: `publish` and `publish_details: {rate}`; with its
    /// history, if that was asked for.
    pub fn counted(&mut self, name: &str, details: &str, value: u64, rate: f64) {
        self.number(name, value);
        let charts = self.charts.clone();
        self.object(details, |details| {
            details.float("rate", rate);
            if let Some(samples) = charts.as_ref().and_then(|charts| charts.get(name)) {
                details.samples(samples);
            }
        });
    }

    fn samples(&mut self, samples: &Samples) {
        self.array("samples", |list| {
            for (timestamp, sample) in samples {
                list.object(|o| {
                    o.number("sample", *sample);
                    o.number("timestamp", *timestamp);
                });
            }
        });
        if let [(newest, last), .., (oldest, first)] = samples.as_slice() {
            let seconds = newest.saturating_sub(*oldest) as f64 / 1000.0;
            let sum: f64 = samples.iter().map(|(_, sample)| *sample as f64).sum();
            self.float("avg_rate", (*last as f64 - *first as f64) / seconds);
            self.float("avg", sum / samples.len() as f64);
        }
    }
}

/// An array that is being written.
pub struct Array<'a> {
    out: &'a mut Pieces,
    columns: Option<&'a Columns>,
    first: bool,
}

impl Array<'_> {
    fn start(&mut self) {
        self.out.pause();
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
    }

    /// True if nobody reads on: the rest may be left out.
    pub fn is_closed(&self) -> bool {
        self.out.is_closed()
    }

    /// An object.
    pub fn object(&mut self, write: impl FnOnce(&mut Object<'_>)) {
        self.start();
        put_object(self.out, self.columns, write);
    }

    /// A text.
    pub fn text(&mut self, value: &str) {
        self.start();
        put_text(self.out, value);
    }

    /// A whole number.
    pub fn number(&mut self, value: u64) {
        self.start();
        put_display(self.out, value);
    }
}

fn put_display(out: &mut Pieces, value: impl std::fmt::Display) {
    // Writing to a vector doesn't fail.
    let _ = write!(out, "{value}");
}

fn put_float(out: &mut Pieces, value: f64) {
    if !value.is_finite() {
        out.put(b"null");
    } else if value == 0.0 {
        out.put(b"0.0");
    } else {
        let _ = write!(out, "{value:?}");
    }
}

/// Writes a JSON string.
pub fn put_text(out: &mut Pieces, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest
        .iter()
        .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        let (plain, from) = rest.split_at(at);
        out.put(plain);
        let Some((&byte, behind)) = from.split_first() else {
            break;
        };
        match byte {
            b'"' | b'\\' => out.put(&[b'\\', byte]),
            b'\n' => out.put(b"\\n"),
            b'\r' => out.put(b"\\r"),
            b'\t' => out.put(b"\\t"),
            _ => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
        rest = behind;
    }
    out.put(rest);
    out.push(b'"');
}

/// Appends a field table as an object. Of fields with the same name only the first, which is the one that counts, is
/// written.
fn put_table(out: &mut Pieces, table: &FieldTable) {
    out.push(b'{');
    let mut seen = HashSet::new();
    for (name, value) in table {
        if !seen.is_empty() && seen.contains(name) {
            continue;
        }
        if !seen.is_empty() {
            out.push(b',');
        }
        put_text(out, &name.to_str_lossy());
        out.push(b':');
        put_value(out, value);
        seen.insert(name);
    }
    out.push(b'}');
}

fn put_value(out: &mut Pieces, value: &FieldValue) {
    match value {
        FieldValue::Bool(value) => put_display(out, value),
        FieldValue::Float(value) => put_float(out, f64::from(*value)),
        FieldValue::Double(value) => put_float(out, *value),
        FieldValue::Decimal { scale, value } => {
            put_float(out, f64::from(*value) / 10f64.powi(i32::from(*scale)));
        }
        FieldValue::LongString(bytes) | FieldValue::ByteArray(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => put_text(out, text),
            // RabbitMQ's words.
            Err(_) => put_text(out, &format!("Not UTF-8, base64 is: {}", STANDARD.encode(bytes))),
        },
        FieldValue::Array(values) => {
            out.push(b'[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                put_value(out, value);
            }
            out.push(b']');
        }
        FieldValue::Table(table) => put_table(out, table),
        FieldValue::Timestamp(seconds) => put_display(out, seconds),
        // RabbitMQ's word: it refuses to load null.
        FieldValue::Void => put_text(out, "undefined"),
        integer => put_display(out, integer.as_i64().unwrap_or_default()),
    }
}

/// The reason why a JSON value can't be a field table.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// It isn't an object.
    #[error("'{0}' is not an object")]
    NotAnObject(String),
    /// AMQP has no integers beyond 64 bits with sign.
    #[error("the number {0} has no AMQP type: at most 9223372036854775807")]
    TooLarge(String),
    /// A field's name is longer than AMQP allows.
    #[error("the name '{0}' is longer than 255 bytes")]
    LongName(String),
    /// Too many objects and arrays within each other.
    #[error("nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
}

/// An object as a field table, with the types that RabbitMQ chooses: whole numbers are `long`, others `double`, text
/// `longstr`. Nothing and null are an empty table; so is an empty array, which is how Erlang programs write one.
///
/// # Errors
/// [`TableError`]
pub fn table(value: Option<&Value>) -> Result<FieldTable, TableError> {
    match value {
        None | Some(Value::Null) => Ok(FieldTable::new()),
        Some(Value::Array(values)) if values.is_empty() => Ok(FieldTable::new()),
        Some(Value::Object(fields)) => table_of(fields),
        Some(other) => Err(TableError::NotAnObject(other.to_string())),
    }
}

/// The fields of an object as a field table.
///
/// # Errors
/// [`TableError`]
pub fn table_of(fields: &Map<String, Value>) -> Result<FieldTable, TableError> {
    nested(fields, MAX_DEPTH)
}

fn nested(fields: &Map<String, Value>, depth: usize) -> Result<FieldTable, TableError> {
    let pair = |(name, value): (&String, &Value)| {
        let key = ShortString::try_from(name.as_str()).map_err(|_| TableError::LongName(name.clone()))?;
        Ok((key, field(value, depth)?))
    };
    fields.iter().map(pair).collect()
}

fn field(value: &Value, depth: usize) -> Result<FieldValue, TableError> {
    let depth = depth.checked_sub(1).ok_or(TableError::TooDeep)?;
    Ok(match value {
        Value::Null => FieldValue::Void,
        Value::Bool(value) => FieldValue::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), ..) => FieldValue::Long(value),
            (None, None, Some(value)) => FieldValue::Double(value),
            _ => return Err(TableError::TooLarge(number.to_string())),
        },
        Value::String(text) => FieldValue::from(text.as_str()),
        Value::Array(values) => {
            let values: Result<Vec<_>, _> = values.iter().map(|value| field(value, depth)).collect();
            FieldValue::Array(values?)
        }
        Value::Object(fields) => FieldValue::Table(nested(fields, depth)?),
    })
}

/// A part of a URL as RabbitMQ quotes it in `properties_key`: a blank is `+`, all but letters, digits and `.-_` is
/// `%XX`.
pub fn quoted(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The reverse of [`quoted`]; what isn't quoted stays as it is.
pub fn unquoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let code = (byte == b'%').then(|| behind.get(..2)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (byte, code) {
            (_, Some(code)) => {
                out.push(code);
                rest = behind.get(2..).unwrap_or_default();
            }
            (b'+', None) => out.push(b' '),
            (byte, None) => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests;
