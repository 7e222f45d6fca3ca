//! Octets as Erlang prints them, because RabbitMQ's texts contain payloads printed so and clients' tests compare them.
//!
//! Comes in: octets. Goes out: what `~tp` and `~w` of Erlang's formatter make of them. Does not know about AMQP.

use std::fmt::{self, Write};

/// Octets after `<<` that fit a line of 80 columns, at most: the formatter's limit for printed characters, less `<<>>`.
const LINE_MAX: usize = 56;

/// Columns of a line that can be used for octets, before the text in front is taken off.
const COLUMNS: usize = 77;

/// As `~w` prints: always numbers, on one line.
pub(super) fn write_plain(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    out.write_str("<<")?;
    for (place, byte) in bytes.iter().enumerate() {
        if place > 0 {
            out.write_char(',')?;
        }
        write!(out, "{byte}")?;
    }
    out.write_str(">>")
}

/// As `~tp` prints after `column` characters of the line: text if everything is printable, as UTF-8 or else as
/// Latin-1; numbers if not, over as many lines as it takes.
pub(super) fn write_pretty(out: &mut impl Write, bytes: &[u8], column: usize) -> fmt::Result {
    if bytes.is_empty() {
        return out.write_str("<<>>");
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(is_printable) => {
            write_quoted(out, text.chars())?;
            out.write_str(if text.is_ascii() { ">>" } else { "/utf8>>" })
        }
        Err(_) if bytes.iter().all(|byte| is_printable(char::from(*byte))) => {
            write_quoted(out, bytes.iter().map(|byte| char::from(*byte)))?;
            out.write_str(">>")
        }
        _ => write_wrapped(out, bytes, column),
    }
}

const fn is_printable(character: char) -> bool {
    matches!(character,
        '\u{8}'..='\r' | '\u{1b}' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn write_quoted(out: &mut impl Write, characters: impl Iterator<Item = char>) -> fmt::Result {
    out.write_str("<<\"")?;
    for character in characters {
        match character {
            '\u{8}' => out.write_str("\\b")?,
            '\t' => out.write_str("\\t")?,
            '\n' => out.write_str("\\n")?,
            '\u{b}' => out.write_str("\\v")?,
            '\u{c}' => out.write_str("\\f")?,
            '\r' => out.write_str("\\r")?,
            '\u{1b}' => out.write_str("\\e")?,
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            other => out.write_char(other)?,
        }
    }
    out.write_char('"')
}

fn write_wrapped(out: &mut impl Write, bytes: &[u8], column: usize) -> fmt::Result {
    let line = COLUMNS.saturating_sub(column).clamp(8, LINE_MAX);
    let indent = column + 2;
    let mut left = line;
    out.write_str("<<")?;
    for (place, byte) in bytes.iter().enumerate() {
        let comma = if place + 1 == bytes.len() { "" } else { "," };
        let piece = format!("{byte}{comma}");
        if piece.len() > left {
            write!(out, "\n{:indent$}", "")?;
            left = line;
        }
        left = left.saturating_sub(piece.len());
        out.write_str(&piece)?;
    }
    out.write_str(">>")
}
