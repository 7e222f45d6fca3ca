//! Values of settings: text to numbers, sizes, times, files, addresses.
//!
//! Comes in: a key and what was written. Goes out: the value, or an error with what is allowed. Does not know which
//! settings there are.

use super::error::Error;
use crate::limits::disk;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Values that a setting may have.
pub(super) trait Kind: Copy + Sync {
    /// The value.
    type Value;
    /// The placeholder of a value in help.
    const VALUE_NAME: &'static str;

    /// The allowed values in words.
    fn range(&self) -> String;

    /// The value in a text.
    ///
    /// # Errors
    /// The values that are allowed.
    fn parse(&self, key: &str, text: &str) -> Result<Self::Value, Error>;

    /// True if there may be several values.
    const REPEATABLE: bool = false;

    /// A value of the file as texts; `None` for what no such setting is.
    fn texts(value: &toml::Value) -> Option<Vec<String>> {
        texts(value)
    }
}

/// A value of the file as texts; `None` for what no setting is.
pub(super) fn texts(value: &toml::Value) -> Option<Vec<String>> {
    Some(match value {
        toml::Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned))
            .collect::<Option<_>>()?,
        value => vec![text(value)?],
    })
}

fn text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(on) => Some(on.to_string()),
        _ => None,
    }
}

/// A whole number from the one to the other.
#[derive(Clone, Copy)]
pub(super) struct Count(pub u64, pub u64);

impl Kind for Count {
    type Value = u64;
    const VALUE_NAME: &'static str = "COUNT";

    fn range(&self) -> String {
        format!("{} to {}", self.0, self.1)
    }

    fn parse(&self, key: &str, text: &str) -> Result<u64, Error> {
        let number = text.trim().parse().ok();
        number
            .filter(|number| (self.0..=self.1).contains(number))
            .ok_or_else(|| Error::value(key, text, &format!("a whole number from {}", self.range())))
    }
}

/// A number of things at most, or `infinity`, as RabbitMQ writes it.
#[derive(Clone, Copy)]
pub(super) struct Most;

impl Most {
    pub(super) const NUMBERS: Count = Count(1, u32::MAX as u64);
}

impl Kind for Most {
    type Value = Option<u64>;
    const VALUE_NAME: &'static str = "COUNT";

    fn range(&self) -> String {
        format!("{}, or infinity", Self::NUMBERS.range())
    }

    fn parse(&self, key: &str, text: &str) -> Result<Option<u64>, Error> {
        if text.trim() == "infinity" {
            return Ok(None);
        }
        let number = Self::NUMBERS.parse(key, text).map(Some);
        number.map_err(|_| Error::value(key, text, &format!("a whole number from {}", self.range())))
    }
}

/// `true` or `false`.
#[derive(Clone, Copy)]
pub(super) struct Switch;

impl Kind for Switch {
    type Value = bool;
    const VALUE_NAME: &'static str = "BOOL";

    fn range(&self) -> String {
        "true or false".to_owned()
    }

    fn parse(&self, key: &str, text: &str) -> Result<bool, Error> {
        text.trim().parse().map_err(|_| Error::value(key, text, &self.range()))
    }
}

/// Bytes from the one to the other: `64MiB`, `4 KiB`, `1000` (bytes), `10MB`.
#[derive(Clone, Copy)]
pub(super) struct Size(pub u64, pub u64);

/// Units of sizes, bytes.
pub(super) const SIZES: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl Kind for Size {
    type Value = u64;
    const VALUE_NAME: &'static str = "SIZE";

    fn range(&self) -> String {
        format!("{} to {}", shown_size(self.0), shown_size(self.1))
    }

    fn parse(&self, key: &str, text: &str) -> Result<u64, Error> {
        let (digits, unit) = split_unit(text);
        let factor = match unit {
            "" => Some(1),
            unit => SIZES.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor),
        };
        multiplied(digits, factor)
            .filter(|bytes| (self.0..=self.1).contains(bytes))
            .ok_or_else(|| {
                let range = self.range();
                let allowed = format!("a size with a unit (B, KiB, MiB, GiB, KB, MB, GB) from {range}");
                Error::value(key, text, &allowed)
            })
    }
}

/// With the largest binary unit that leaves a whole number.
fn shown_size(bytes: u64) -> String {
    let unit = SIZES
        .iter()
        .take(4)
        .rev()
        .find(|(_, factor)| bytes.is_multiple_of(*factor) && bytes >= *factor);
    unit.map_or_else(
        || format!("{bytes}B"),
        |(name, factor)| format!("{}{name}", bytes / factor),
    )
}

/// Milliseconds from the one to the other: `50ms`, `10s`, `5m`, `1h`.
#[derive(Clone, Copy)]
pub(super) struct Time(pub u64, pub u64);

/// Units of times, milliseconds.
pub(super) const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

impl Kind for Time {
    type Value = Duration;
    const VALUE_NAME: &'static str = "TIME";

    fn range(&self) -> String {
        format!("{} to {}", shown_time(self.0), shown_time(self.1))
    }

    fn parse(&self, key: &str, text: &str) -> Result<Duration, Error> {
        let (digits, unit) = split_unit(text);
        let factor = TIMES.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        multiplied(digits, factor)
            .filter(|millis| (self.0..=self.1).contains(millis))
            .map(Duration::from_millis)
            .ok_or_else(|| {
                let allowed = format!("a time with a unit (ms, s, m, h) from {}", self.range());
                Error::value(key, text, &allowed)
            })
    }
}

fn shown_time(millis: u64) -> String {
    if millis.is_multiple_of(1000) {
        format!("{}s", millis / 1000)
    } else {
        format!("{millis}ms")
    }
}

/// Bytes of memory, or a share of what there is.
#[derive(Clone, Copy)]
pub(super) struct Watermark;

impl Watermark {
    pub(super) const SIZES: Size = Size(16 << 20, 16 << 40);
    pub(super) const PERCENT: Count = Count(1, 90);
}

impl Kind for Watermark {
    type Value = u64;
    const VALUE_NAME: &'static str = "SIZE|PERCENT";

    fn range(&self) -> String {
        "1% to 90%, or 16MiB to 16TiB".to_owned()
    }

    fn parse(&self, key: &str, text: &str) -> Result<u64, Error> {
        let Some(percent) = text.trim().strip_suffix('%') else {
            return Self::SIZES.parse(key, text);
        };
        let percent = Self::PERCENT.parse(key, percent).map_err(|_| {
            let allowed = "1% to 90% of the memory limit, or a size from 16MiB to 16TiB";
            Error::value(key, text, allowed)
        })?;
        Ok(crate::limits::available::memory_limit() / 100 * percent)
    }
}

/// Bytes of free disk space; the least depends on the size of a segment.
#[derive(Clone, Copy)]
pub(super) struct DiskLimit;

impl DiskLimit {
    /// The sizes that are allowed with segments of a size, bytes.
    pub(super) fn with_segments(segment_bytes: u64) -> Size {
        Size(disk::least_limit(segment_bytes), 16 << 40)
    }
}

impl Kind for DiskLimit {
    type Value = u64;
    const VALUE_NAME: &'static str = "SIZE";

    fn range(&self) -> String {
        "three segments to 16TiB".to_owned()
    }

    fn parse(&self, key: &str, text: &str) -> Result<u64, Error> {
        Self::with_segments(0).parse(key, text)
    }
}

/// A folder.
#[derive(Clone, Copy)]
pub(super) struct Folder;

impl Kind for Folder {
    type Value = PathBuf;
    const VALUE_NAME: &'static str = "DIR";

    fn range(&self) -> String {
        "a folder; made if it isn't there".to_owned()
    }

    fn parse(&self, _key: &str, text: &str) -> Result<PathBuf, Error> {
        Ok(text.into())
    }
}

/// A document, or a folder of documents.
#[derive(Clone, Copy)]
pub(super) struct Document;

impl Kind for Document {
    type Value = PathBuf;
    const VALUE_NAME: &'static str = "PATH";

    fn range(&self) -> String {
        "a file in JSON, or a folder of such files".to_owned()
    }

    fn parse(&self, _key: &str, text: &str) -> Result<PathBuf, Error> {
        Ok(text.into())
    }
}

/// A file of certificates or keys.
#[derive(Clone, Copy)]
pub(super) struct PemFile;

impl Kind for PemFile {
    type Value = PathBuf;
    const VALUE_NAME: &'static str = "FILE";

    fn range(&self) -> String {
        "PEM file, read again when it changes".to_owned()
    }

    fn parse(&self, _key: &str, text: &str) -> Result<PathBuf, Error> {
        Ok(text.into())
    }
}

/// A file with one line, as a mounted Secret has them.
#[derive(Clone, Copy)]
pub(super) struct LineFile;

impl Kind for LineFile {
    type Value = PathBuf;
    const VALUE_NAME: &'static str = "FILE";

    fn range(&self) -> String {
        "file with one line".to_owned()
    }

    fn parse(&self, _key: &str, text: &str) -> Result<PathBuf, Error> {
        Ok(text.into())
    }
}

/// A filter of log lines. What it means is known to the log alone.
#[derive(Clone, Copy)]
pub(super) struct Filter;

impl Kind for Filter {
    type Value = String;
    const VALUE_NAME: &'static str = "FILTER";

    fn range(&self) -> String {
        "error, warn, info, debug, trace, or a tracing filter".to_owned()
    }

    fn parse(&self, _key: &str, text: &str) -> Result<String, Error> {
        Ok(text.to_owned())
    }
}

/// One of some words.
#[derive(Clone, Copy)]
pub(super) struct OneOf(pub &'static [&'static str]);

impl Kind for OneOf {
    type Value = &'static str;
    const VALUE_NAME: &'static str = "WORD";

    fn range(&self) -> String {
        self.0.join(" or ")
    }

    fn parse(&self, key: &str, text: &str) -> Result<&'static str, Error> {
        let word = self.0.iter().copied().find(|word| *word == text);
        word.ok_or_else(|| Error::value(key, text, &self.range()))
    }
}

/// Some of some words. In the file they are a list, or have numbers, as RabbitMQ writes them.
#[derive(Clone, Copy)]
pub(super) struct AnyOf(pub &'static [&'static str]);

impl Kind for AnyOf {
    type Value = &'static str;
    const VALUE_NAME: &'static str = "WORD";
    const REPEATABLE: bool = true;

    fn range(&self) -> String {
        self.0.join(", ")
    }

    fn parse(&self, key: &str, text: &str) -> Result<&'static str, Error> {
        let word = self.0.iter().copied().find(|word| *word == text.trim());
        word.ok_or_else(|| Error::value(key, text, &self.range()))
    }

    fn texts(value: &toml::Value) -> Option<Vec<String>> {
        let Some(table) = value.as_table() else {
            return texts(value);
        };
        let numbered = table
            .iter()
            .map(|(number, value)| Some((number.parse::<u32>().ok()?, value.as_str()?.to_owned())));
        let mut numbered: Vec<_> = numbered.collect::<Option<_>>()?;
        numbered.sort_unstable();
        Some(numbered.into_iter().map(|(_, word)| word).collect())
    }
}

/// Settings below a setting: in the file a table, elsewhere `NAME=VALUE`.
#[derive(Clone, Copy)]
pub(super) struct Tree;

impl Tree {
    fn flatten(path: &mut Vec<String>, value: &toml::Value, lines: &mut Vec<String>) -> Option<()> {
        let below: Vec<(String, &toml::Value)> = match value {
            toml::Value::Table(table) => table.iter().map(|(name, value)| (name.clone(), value)).collect(),
            // As if they had numbers.
            toml::Value::Array(values) => (1..).map(|number: usize| number.to_string()).zip(values).collect(),
            value => {
                lines.push(format!("{}={}", joined(path), text(value)?));
                return Some(());
            }
        };
        for (name, value) in below {
            path.push(name);
            Self::flatten(path, value, lines)?;
            path.pop();
        }
        Some(())
    }
}

/// A name with these parts, in quotes where there is a dot in one.
pub(super) fn joined(parts: &[String]) -> String {
    let plain = |part: &String| part.chars().all(|c| c.is_ascii_alphanumeric() || "_-*".contains(c));
    let part = |part: &String| match plain(part) {
        true => part.clone(),
        false => format!("\"{part}\""),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(".")
}

impl Kind for Tree {
    type Value = String;
    const VALUE_NAME: &'static str = "NAME=VALUE";
    const REPEATABLE: bool = true;

    fn range(&self) -> String {
        "settings below it, see below".to_owned()
    }

    fn parse(&self, _key: &str, text: &str) -> Result<String, Error> {
        Ok(text.to_owned())
    }

    fn texts(value: &toml::Value) -> Option<Vec<String>> {
        let mut lines = Vec::new();
        match value {
            toml::Value::Table(_) => Self::flatten(&mut Vec::new(), value, &mut lines)?,
            value => lines = texts(value)?,
        }
        Some(lines)
    }
}

/// The addresses of a service with this usual port.
pub(super) fn addresses(key: &str, texts: &[String], port: u16) -> Result<Vec<SocketAddr>, Error> {
    let parse = |text: &String| {
        let allowed = format!("an address and port, e.g. 127.0.0.1:{port}, 0.0.0.0:{port} or [::1]:{port}");
        text.trim().parse().map_err(|_| Error::value(key, text, &allowed))
    };
    texts.iter().map(parse).collect()
}

/// Both loopbacks, for a service that no address is given for.
pub(super) fn default_addresses(port: u16) -> Vec<SocketAddr> {
    vec![
        SocketAddr::from(([127, 0, 0, 1], port)),
        SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)),
    ]
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits);
    (digits, unit.trim())
}

fn multiplied(digits: &str, factor: Option<u64>) -> Option<u64> {
    digits.parse::<u64>().ok()?.checked_mul(factor?)
}
