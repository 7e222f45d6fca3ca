//! Cuts a list of JSON objects into its rows while it comes.
//!
//! In: octets. Out: one row after the other, each with what it will take in memory. No more is kept than one row and
//! what came with it. Does not know about what is in a row.

use std::ops::Range;

/// Longest row, in octets. Reading one takes a multiple of it for a moment.
const MOST_ROW: usize = 128 * 1024;
/// Memory of a row without arguments: names, flags and their place in a map.
const ROW: usize = 400;
/// Memory of an entry of a table in a row: its place in a map, and two texts.
const ENTRY: usize = 128;
/// A table in rows of queues of which nothing is kept.
const NOT_KEPT: &[u8] = b"\"message_stats\":";

/// The reason why an answer is no list of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is no JSON list of objects")]
    NotAList,
    #[error("one of its objects has more than {} KiB", MOST_ROW / 1024)]
    LongRow,
    #[error("it ends in the middle")]
    Unfinished,
}

/// The place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Before,
    Between,
    /// Within a row.
    Inside,
    After,
}

/// A list that is being read.
#[derive(Debug)]
pub(super) struct Rows {
    buffer: Vec<u8>,
    /// Octets of the buffer that have been looked at.
    seen: usize,
    /// The first octet of the buffer that is still needed.
    start: usize,
    place: Place,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// Entries of tables in the row.
    entries: usize,
    /// Within a table of which nothing is kept.
    aside: bool,
}

/// A row: where it stands in the buffer, and what it takes in memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    place: Range<usize>,
    pub(super) weight: usize,
}

impl Rows {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            seen: 0,
            start: 0,
            place: Place::Before,
            depth: 0,
            in_text: false,
            escaped: false,
            entries: 0,
            aside: false,
        }
    }

    /// Takes in the next octets. Rows that were found before are gone then.
    pub(super) fn feed(&mut self, octets: &[u8]) {
        // Only when half of it is done with: an answer that comes octet by octet must not cost a copy for each.
        if self.start * 2 >= self.buffer.len() {
            self.buffer.drain(..self.start);
            self.seen -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(octets);
    }

    /// The next row; `None` when more octets are needed, or none will come.
    ///
    /// # Errors
    /// See [`Fault`].
    pub(super) fn next(&mut self) -> Result<Option<Row>, Fault> {
        while let Some(octet) = self.buffer.get(self.seen).copied() {
            let done = match self.place {
                Place::Inside => self.inside(octet),
                _ => {
                    self.outside(octet)?;
                    false
                }
            };
            self.seen += 1;
            if self.place != Place::Inside && !done {
                self.start = self.seen;
            }
            if self.place == Place::Inside && self.seen - self.start > MOST_ROW {
                return Err(Fault::LongRow);
            }
            if done {
                let place = self.start..self.seen;
                let weight = ROW + place.len() + ENTRY * self.entries;
                self.start = self.seen;
                return Ok(Some(Row { place, weight }));
            }
        }
        Ok(None)
    }

    /// The octets of a row.
    pub(super) fn text(&self, row: &Row) -> &[u8] {
        self.buffer.get(row.place.clone()).unwrap_or_default()
    }

    /// True when the list has ended.
    ///
    /// # Errors
    /// [`Fault::Unfinished`].
    pub(super) fn finish(&self) -> Result<(), Fault> {
        match self.place {
            Place::After => Ok(()),
            _ => Err(Fault::Unfinished),
        }
    }

    fn outside(&mut self, octet: u8) -> Result<(), Fault> {
        self.place = match (self.place, octet) {
            (place, b' ' | b'\t' | b'\r' | b'\n') => place,
            (Place::Before, b'[') => Place::Between,
            (Place::Between, b',') => Place::Between,
            (Place::Between, b']') => Place::After,
            (Place::Between, b'{') => {
                self.start = self.seen;
                (self.depth, self.entries) = (1, 0);
                (self.in_text, self.escaped, self.aside) = (false, false, false);
                Place::Inside
            }
            _ => return Err(Fault::NotAList),
        };
        Ok(())
    }

    /// True with the last octet of a row.
    fn inside(&mut self, octet: u8) -> bool {
        if self.in_text {
            match octet {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
            return false;
        }
        match octet {
            b'"' => self.in_text = true,
            b'{' | b'[' => {
                if self.depth == 1 {
                    let before = self.buffer.get(self.start..self.seen).unwrap_or_default();
                    self.aside = before.ends_with(NOT_KEPT);
                }
                self.depth += 1;
                self.entries += usize::from(!self.aside);
            }
            b',' if self.depth > 1 => self.entries += usize::from(!self.aside),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.depth == 0 {
            self.place = Place::Between;
        }
        self.depth == 0
    }
}

impl Default for Rows {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of a text that comes in pieces of `size` octets, each with its weight beyond its length.
    fn rows(text: &str, size: usize) -> Result<Vec<(String, usize)>, Fault> {
        let mut rows = Rows::new();
        let mut found = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            rows.feed(piece);
            while let Some(row) = rows.next()? {
                let text = String::from_utf8_lossy(rows.text(&row)).into_owned();
                found.push((text.clone(), row.weight - text.len() - ROW));
            }
        }
        rows.finish().map(|()| found)
    }

    #[test]
    fn rows_come_whole_however_they_are_cut() {
        let text = r#" [ {"a":"}]\"{"} ,{"arguments":{"x":1,"y":[1,2]},"message_stats":{"a":{"b":1},"c":2}}, {} ] "#;
        let expected = [
            (r#"{"a":"}]\"{"}"#.to_owned(), 0),
            (
                r#"{"arguments":{"x":1,"y":[1,2]},"message_stats":{"a":{"b":1},"c":2}}"#.to_owned(),
                4 * ENTRY,
            ),
            ("{}".to_owned(), 0),
        ];
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(rows(text, size).as_deref(), Ok(&expected[..]), "{size}");
        }
        assert_eq!(rows("[]", 1), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_list_is_refused_before_it_is_kept() {
        for text in ["{}", "[1]", "[{}]x", "null", "\"", "[\"a\"]"] {
            assert_eq!(rows(text, 1), Err(Fault::NotAList), "{text}");
        }
        for text in ["", "[", "[{", "[{}", "[{},", "[{\"a"] {
            assert_eq!(rows(text, 1), Err(Fault::Unfinished), "{text}");
        }
        let long = format!("[{{\"a\":\"{}", "x".repeat(MOST_ROW));
        assert_eq!(rows(&long, 4096), Err(Fault::LongRow));
    }

    #[test]
    fn little_is_kept_of_a_long_list_that_comes_octet_by_octet() {
        let mut list = Rows::new();
        list.feed(b"[");
        for _ in 0..20_000 {
            for octet in b"{\"name\":\"queue\"}," {
                list.feed(&[*octet]);
                while list.next().expect("a list").is_some() {}
            }
        }
        assert!(list.buffer.capacity() < 1024, "{}", list.buffer.capacity());
    }
}
