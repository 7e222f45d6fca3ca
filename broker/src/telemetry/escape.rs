//! Characters that would change how a log line looks, written in another way.
//!
//! Comes in: text that may be anybody's. Goes out: the same in one line, with control characters (line ends, escape
//! sequences) and those that turn the direction of writing as `\u{..}`, or as JSON has them. Pure.

use std::fmt::{self, Write as _};
use std::io;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

/// True for characters that end a line, start a sequence for terminals, or turn the direction of writing.
fn is_odd(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A writer that writes odd characters in another way.
struct Plain<'a>(&'a mut dyn fmt::Write);

impl fmt::Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_odd) {
            let (plain, behind) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut characters = behind.chars();
            match characters.next() {
                Some('\n') => self.0.write_str("\\n")?,
                Some('\r') => self.0.write_str("\\r")?,
                Some('\t') => self.0.write_str("\\t")?,
                Some(other) => write!(self.0, "{}", other.escape_unicode())?,
                None => {}
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Message and fields of a line of text. Without colours, which are escape sequences, too.
#[derive(Default)]
pub(super) struct Escaping(DefaultFields);

impl<'w> FormatFields<'w> for Escaping {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        self.0.format_fields(Writer::new(&mut Plain(&mut writer)), fields)
    }
}

/// Whole lines of JSON, which has escaped what it must: the rest of the odd characters can only stand in its texts.
pub(super) struct Lines<W>(W);

impl<W: io::Write> Lines<W> {
    /// Lines to a writer.
    pub(super) fn new(writer: W) -> Self {
        Self(writer)
    }
}

impl<W: io::Write> io::Write for Lines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) if text.contains(|character| character != '\n' && is_odd(character)) => {
                self.0.write_all(json(text).as_bytes())?;
            }
            _ => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if character != '\n' && is_odd(character) {
            // None of them is beyond the first 65,536. Writing to a string doesn't fail.
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;
    use tracing_subscriber::fmt;

    /// A forged line, colours, a bell, a character that turns the direction, DEL and a C1 control.
    const NASTY: &str = "x\n2026-01-01 INFO all is well\r\x1b[31mred\x07\u{202e}\u{7f}\u{9b}2J\u{2028}";

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).expect("text")
        }
    }

    fn events() {
        tracing::info!(name = NASTY, shown = %NASTY, debug = ?NASTY, "a message with {NASTY}");
        let span = tracing::info_span!("of", client = %NASTY);
        span.in_scope(|| tracing::warn!("inside"));
    }

    fn only_lines(text: &str) {
        assert_eq!(text.lines().count(), 2, "{text}");
        let odd: Vec<char> = text.chars().filter(|c| *c != '\n' && is_odd(*c)).collect();
        assert_eq!(odd, [], "{text}");
        assert!(text.contains("all is well"), "nothing is lost");
    }

    #[test]
    fn an_event_is_one_line_of_text() {
        let sink = Sink::default();
        let writer = sink.clone();
        let lines = fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .fmt_fields(Escaping::default());
        tracing::subscriber::with_default(lines.finish(), events);
        only_lines(&sink.text());
        assert!(sink.text().contains("\\n2026-01-01 INFO"), "{}", sink.text());
        assert!(sink.text().contains("\\u{1b}[31m"), "{}", sink.text());
    }

    #[test]
    fn an_event_is_one_line_of_json() {
        let sink = Sink::default();
        let writer = sink.clone();
        let lines = fmt().json().with_writer(move || Lines::new(writer.clone()));
        tracing::subscriber::with_default(lines.finish(), events);
        let text = sink.text();
        only_lines(&text);
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            if let Some(name) = value["fields"].get("name") {
                assert_eq!(name, NASTY, "it means the same");
            }
        }
    }
}
