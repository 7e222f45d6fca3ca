//! The documents of a YAML text, each with the lines that it stands on.
//!
//! In: text. Out: values, the lines of keys, the entries of a list; or a fault with its line. A text is looked through
//! for its depth before it is loaded: the loader's time grows with the product of depth and size.
//! Does not know about files or resources.

use std::ops::Range;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, Span, StructureStyle};
use serde_json::Value;

use crate::resource::yaml::difference;

/// Deepest nesting of lists and maps: twice what the deepest field of a pod needs.
const MOST_LEVELS: usize = 64;
/// Brackets that a text may have which the first parser does not understand: the loader then says why, in its words.
const FEW_BRACKETS: usize = 1_000;
/// At the beginning of a text, some editors' sign that it is UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Something that is wrong with a text.
#[derive(Debug)]
pub(crate) struct Fault {
    /// In the file, from 1.
    pub(crate) line: usize,
    pub(crate) column: Option<usize>,
    pub(crate) message: String,
}

/// One document of a stream, and where it begins.
#[derive(Debug)]
pub(crate) struct Document {
    text: String,
    /// Line in the file of the document's first line, from 1.
    first_line: usize,
    /// Characters before it on that line.
    indent: usize,
}

/// An entry of a list, and where it stands in the text.
struct Entry {
    /// Counted from 0.
    line: usize,
    column: usize,
    /// Its octets, where its brackets say where it ends: several may stand on one line.
    within: Option<Range<usize>>,
}

impl Entry {
    fn begin(span: &Span, style: StructureStyle) -> Self {
        let start = span.start.byte_offset().filter(|_| style == StructureStyle::Flow);
        Self {
            line: span.start.line().saturating_sub(1),
            column: span.start.col(),
            within: start.map(|start| start..start),
        }
    }

    fn end(&mut self, span: &Span) {
        if let (Some(within), Some(end)) = (&mut self.within, span.end.byte_offset()) {
            within.end = end.max(within.start);
        }
    }
}

/// Documents end where a line begins with `---`: at the beginning of a line that means nothing else in YAML.
pub(crate) fn split(text: &str) -> Vec<Document> {
    let mut documents = vec![Document {
        text: String::new(),
        first_line: 1,
        indent: 0,
    }];
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start_matches(BYTE_ORDER_MARK);
        let marker = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']));
        let ends = line.trim_end() == "...";
        let kept = match marker {
            Some(rest) => {
                documents.push(Document {
                    text: String::new(),
                    first_line: index + 1,
                    indent: 0,
                });
                format!("   {rest}")
            }
            None if ends => String::new(),
            None => line.to_owned(),
        };
        if let Some(document) = documents.last_mut() {
            document.text.push_str(&kept);
            document.text.push('\n');
        }
    }
    documents
}

impl Document {
    /// Its value; `None` for one in which nothing stands.
    pub(crate) fn parse(&self) -> Result<Option<Value>, Fault> {
        self.check_depth()?;
        let parsed: Result<serde_yaml::Value, _> = serde_yaml::from_str(&self.text);
        match parsed {
            Ok(serde_yaml::Value::Null) => Ok(None),
            Ok(value) => serde_json::to_value(value)
                .map(Some)
                .map_err(|error| self.template().unwrap_or_else(|| self.fault(&error.to_string()))),
            Err(error) => Err(self.template().unwrap_or_else(|| self.syntax(&error))),
        }
    }

    /// Refuses what nests too deeply. The parser is asked event by event and left at the first that is too deep.
    fn check_depth(&self) -> Result<(), Fault> {
        let mut levels = 0_usize;
        for event in Parser::new_from_str(&self.text) {
            let (event, span) = match event {
                Ok(event) => event,
                // It looks ahead, and has a limit of its own.
                Err(error) if *error.kind() == ErrorKind::RecursionLimitExceeded => {
                    return Err(self.too_deep(error.marker()));
                }
                Err(_) if self.brackets() <= FEW_BRACKETS => return Ok(()),
                Err(error) => return Err(self.at(error.marker(), error.kind().to_string())),
            };
            match event {
                Event::SequenceStart(..) | Event::MappingStart(..) => levels += 1,
                Event::SequenceEnd | Event::MappingEnd => levels = levels.saturating_sub(1),
                _ => {}
            }
            if levels > MOST_LEVELS {
                return Err(self.too_deep(&span.start));
            }
        }
        Ok(())
    }

    /// Words without quotes that not everybody reads the same, each with its place.
    pub(crate) fn ambiguous(&self) -> Vec<Fault> {
        let words = Parser::new_from_str(&self.text).map_while(Result::ok);
        let mut faults = Vec::new();
        for (event, span) in words {
            let Event::Scalar(word, ScalarStyle::Plain, _, None) = event else {
                continue;
            };
            if let Some((old, new)) = difference(&word) {
                let message = format!(
                    "{word} is {old} in YAML 1.1 (kubectl, Helm, Argo CD, Flux) and {new} in YAML 1.2: quote it"
                );
                faults.push(self.at(&span.start, message));
            }
        }
        faults
    }

    fn too_deep(&self, place: &Marker) -> Fault {
        self.at(place, format!("lists and maps are nested more than {MOST_LEVELS} deep"))
    }

    /// A fault at a place that the first parser gives.
    fn at(&self, place: &Marker, message: String) -> Fault {
        Fault {
            line: self.first_line + place.line().saturating_sub(1),
            column: Some(self.column(place.line(), place.col() + 1)),
            message,
        }
    }

    /// A column in the file, of one in the text.
    fn column(&self, line: usize, column: usize) -> usize {
        column + if line <= 1 { self.indent } else { 0 }
    }

    fn brackets(&self) -> usize {
        self.text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count()
    }

    /// The entries of its list `items`, each with its own lines, or its own part of a line; none where the text is not
    /// understood.
    pub(crate) fn items(&self) -> Vec<Document> {
        let mut entries: Vec<Entry> = Vec::new();
        let (mut levels, mut key) = (0_usize, false);
        let mut inside = false;
        for event in Parser::new_from_str(&self.text) {
            let Ok((event, span)) = event else { return Vec::new() };
            match event {
                Event::MappingStart(style, ..) | Event::SequenceStart(style, ..) => {
                    match levels {
                        1 => (inside, key) = (key, false),
                        2 if inside => entries.push(Entry::begin(&span, style)),
                        _ => {}
                    }
                    levels += 1;
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    levels = levels.saturating_sub(1);
                    if let (2, true, Some(entry)) = (levels, inside, entries.last_mut()) {
                        entry.end(&span);
                    }
                }
                Event::Scalar(text, ..) if levels == 1 => key = text == "items",
                Event::Scalar(..) | Event::Alias(..) if levels == 2 && inside => {
                    let mut entry = Entry::begin(&span, StructureStyle::Flow);
                    entry.end(&span);
                    entries.push(entry);
                }
                _ => {}
            }
        }
        let lines: Vec<&str> = self.text.lines().collect();
        let ends = entries.iter().skip(1).map(|entry| entry.line).chain([lines.len()]);
        let parts = entries.iter().zip(ends).map(|(entry, end)| {
            let within = entry.within.clone().and_then(|range| self.text.get(range));
            let indent = if within.is_some() { entry.column } else { 0 };
            let text = within.map_or_else(
                || {
                    let own = lines.get(entry.line..end.max(entry.line + 1));
                    own.unwrap_or_default().join("\n")
                },
                str::to_owned,
            );
            Document {
                text,
                first_line: self.first_line + entry.line,
                indent: indent + if entry.line == 0 { self.indent } else { 0 },
            }
        });
        parts.collect()
    }

    /// The line of the last of `keys`, looked for from key to key; for no keys, the first line with content.
    pub(crate) fn line_of(&self, keys: &[String]) -> usize {
        let mut lines = self.text.lines().enumerate();
        let first = self.text.lines().position(is_content).unwrap_or_default();
        let mut found = first;
        for key in keys.iter().filter(|key| !key.starts_with('[')) {
            // The key may stand on the line of the one before: `brokerRef: { name: main }`.
            let has_key = |line: &str| holds_key(line, key);
            if self.text.lines().nth(found).is_some_and(has_key) {
                continue;
            }
            match lines.by_ref().find(|(_, line)| has_key(line)) {
                Some((index, _)) => found = index,
                None => break,
            }
        }
        self.first_line + found
    }

    /// A fault of the document as a whole.
    fn fault(&self, message: &str) -> Fault {
        Fault {
            line: self.line_of(&[]),
            column: None,
            message: message.to_owned(),
        }
    }

    /// A syntax error with line and column in the file.
    fn syntax(&self, error: &serde_yaml::Error) -> Fault {
        let text = error.to_string();
        // The place stands in the text too, counted from the document's first line: it is said in front instead.
        let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
        match error.location() {
            Some(location) => Fault {
                line: self.first_line + location.line().saturating_sub(1),
                column: Some(self.column(location.line(), location.column())),
                message,
            },
            None => Fault {
                line: self.first_line,
                column: None,
                message,
            },
        }
    }

    /// The first expression of a template in a text that cannot be read: it is what has to be mended, wherever the
    /// parser gave up.
    fn template(&self) -> Option<Fault> {
        let lines = self.text.lines().enumerate();
        let mut content = lines.filter(|(_, line)| is_content(line));
        let (index, line) = content.find(|(_, line)| line.contains("{{"))?;
        let expression = line.split_once("{{").map_or("", |(_, rest)| rest);
        let expression = expression.split("}}").next().unwrap_or_default();
        let shown: String = expression.trim_matches('-').trim().chars().take(60).collect();
        Some(Fault {
            line: self.first_line + index,
            column: None,
            message: format!(
                "a template that has not been rendered: {{{{ {shown} }}}}; for a chart: helm template CHART | leveret lint -"
            ),
        })
    }
}

fn is_content(line: &str) -> bool {
    let line = line.trim();
    !(line.is_empty() || line.starts_with('#'))
}

fn holds_key(line: &str, key: &str) -> bool {
    let content = line.split(" #").next().unwrap_or_default();
    content.match_indices(key).any(|(at, _)| {
        let before = content.get(..at).and_then(|before| before.chars().next_back());
        let after = content.get(at + key.len()..).unwrap_or_default();
        let after = after.trim_start_matches(['"', '\'']);
        before.is_none_or(|c| " {,\"'-".contains(c)) && after.trim_start().starts_with(':')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Document {
        split(text).pop().expect("a document")
    }

    fn list(count: usize, between: &str, before: &str) -> String {
        let entry = |number: usize| format!("{before}{{kind: Queue, metadata: {{name: q{number}}}}}");
        let entries: Vec<String> = (0..count).map(entry).collect();
        entries.join(between)
    }

    #[test]
    fn the_entries_of_a_list_are_no_longer_than_the_list() {
        for count in [50, 100] {
            for text in [
                format!("items: [{}]\n", list(count, ", ", "")),
                format!("{{\"items\": [{}]}}\n", list(count, ",", "")),
                format!("items: [\n{}\n]\n", list(count, ",\n", "  ")),
                format!("items:\n{}\n", list(count, "\n", "- ")),
                format!("items:\n{}", "- kind: Queue\n  metadata: {name: q}\n".repeat(count)),
            ] {
                let parts = whole(&text).items();
                let octets: usize = parts.iter().map(|part| part.text.len()).sum();
                assert_eq!(parts.len(), count, "{text}");
                assert!(octets <= text.len(), "{octets} of {}: {text}", text.len());
                for part in &parts {
                    assert!(part.text.contains("Queue") && part.parse().is_ok(), "{}", part.text);
                }
            }
        }
    }

    #[test]
    fn the_place_of_a_word_is_that_in_the_file() {
        let text = "kind: List\nitems: [{a: 1}, 7, {b: no,\n c: {d: yes}}]\n";
        let parts = whole(text).items();
        let places: Vec<(usize, Option<usize>)> = parts
            .iter()
            .flat_map(Document::ambiguous)
            .map(|fault| (fault.line, fault.column))
            .collect();
        assert_eq!(parts.len(), 3, "one for each entry, whatever it is");
        assert_eq!(places, [(2, Some(24)), (3, Some(9))]);
        let broken = whole("items: [{a: {{ b }}}]\n");
        assert!(broken.items().len() <= 1);
    }
}
