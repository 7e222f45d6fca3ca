//! Settings as they were written: flags, environment, file.
//!
//! Comes in: arguments, variables, a TOML file. Goes out: texts by key; a flag goes before a variable, a variable
//! before the file. Does not know what the texts mean.

use super::error::Error;
use super::setting::{Described, Setting};
use super::table;
use super::values::Kind;
use crate::files;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The flag that names the settings file.
const CONFIG: &str = "config";

/// Settings as they were written, by key. All values are text here, and checked together.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// The settings file.
    pub config: Option<PathBuf>,
    mark: Option<String>,
    given: BTreeMap<&'static str, Vec<String>>,
}

impl Flags {
    /// The flags and the environment of this process. Ends it where they can't be understood, or ask for help.
    pub fn parse() -> Self {
        Self::from_matches(&command().get_matches())
    }

    fn from_matches(matches: &ArgMatches) -> Self {
        let texts = |key| matches.get_many::<String>(key).map(|texts| texts.cloned().collect());
        Self {
            config: matches.get_one(CONFIG).cloned(),
            mark: None,
            given: table::all()
                .filter_map(|setting| Some((setting.key(), texts(setting.key())?)))
                .collect(),
        }
    }

    /// These, and what the file that they name says besides. The file is read at every call.
    ///
    /// # Errors
    /// The file, or a key of it, that can't be used.
    pub fn with_file(&self) -> Result<Self, Error> {
        match self.read_file()? {
            Some(text) => self.with_text(&text),
            None => Ok(self.clone()),
        }
    }

    /// The text of the file that they name; `None` if they name none.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read_file(&self) -> Result<Option<String>, Error> {
        let Some(path) = &self.config else { return Ok(None) };
        let text = files::read_text(path).map_err(|error| Error::file(path, &error))?;
        Ok(Some(text))
    }

    /// These, and what the file with this text says besides.
    ///
    /// # Errors
    /// A key of it that can't be used.
    pub fn with_text(&self, text: &str) -> Result<Self, Error> {
        let mut filled = self.clone();
        let path = self.config.clone().unwrap_or_default();
        filled.mark = Some(files::mark(text));
        filled.fill(&path, text)?;
        Ok(filled)
    }

    /// The mark of the file's text that is in them.
    pub fn mark(&self) -> Option<&str> {
        self.mark.as_deref()
    }

    /// All settings with their values as they were written, or the default in words. Those that take effect while the
    /// broker runs are `self`'s, the others `started`'s.
    pub fn in_force(&self, started: &Self) -> Vec<(&'static str, Vec<String>)> {
        let value = |setting: &dyn Described| {
            let from = if setting.live() { self } else { started };
            match from.texts(setting.key()) {
                [] => vec![setting.default_words()],
                texts => texts.to_vec(),
            }
        };
        table::all().map(|setting| (setting.key(), value(setting))).collect()
    }

    /// Keys whose values are not written alike in `other`.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        table::all()
            .map(Described::key)
            .filter(|key| self.given.get(key) != other.given.get(key))
            .collect()
    }

    /// Takes from the file what neither flags nor environment say.
    pub(super) fn fill(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let table: toml::Table = text.parse().map_err(|error| Error::file(path, &error))?;
        for (key, value) in flat(table) {
            let wrong = |allowed: String| Error::Value {
                key: key.clone(),
                value: value.to_string(),
                allowed,
            };
            let setting = table::find(&key).ok_or_else(|| {
                let keys: Vec<&str> = table::all().map(Described::key).collect();
                let (path, keys) = (path.display(), keys.join(", "));
                wrong(format!("there is no such setting in {path}; there are {keys}"))
            })?;
            let texts = setting.texts(&value).ok_or_else(|| {
                wrong("a text, number or true/false, or a list of texts where the setting is a list".to_owned())
            })?;
            if !setting.repeatable() && texts.len() != 1 {
                return Err(wrong("one value, not a list".to_owned()));
            }
            if !texts.is_empty() {
                self.given.entry(setting.key()).or_insert(texts);
            }
        }
        Ok(())
    }

    /// The texts of a setting; none where it isn't given.
    pub(super) fn texts(&self, key: &str) -> &[String] {
        self.given.get(key).map_or(&[], Vec::as_slice)
    }

    /// The text of a setting that has one value.
    pub(super) fn text<K>(&self, setting: &Setting<K>) -> Option<&str> {
        self.texts(setting.key).first().map(String::as_str)
    }

    /// The value of a setting, if it is given or has a default.
    ///
    /// # Errors
    /// The values that are allowed.
    pub(super) fn optional<K: Kind>(&self, setting: &Setting<K>) -> Result<Option<K::Value>, Error> {
        let text = self.text(setting).or(setting.default);
        text.map(|text| setting.parse(text)).transpose()
    }

    /// The value of a setting that has a default.
    ///
    /// # Errors
    /// The values that are allowed.
    pub(super) fn read<K: Kind>(&self, setting: &Setting<K>) -> Result<K::Value, Error> {
        setting.parse(self.text(setting).or(setting.default).unwrap_or_default())
    }

    /// Gives a setting a value.
    #[cfg(test)]
    pub(super) fn set(&mut self, key: &'static str, text: &str) {
        self.given.insert(key, vec![text.to_owned()]);
    }
}

/// The command line, from the table.
fn command() -> Command {
    let config = Arg::new(CONFIG)
        .long("config")
        .env("LEVERET_CONFIG")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Settings file in TOML; keys are the flags' names with underscores");
    Command::new("leveret-broker")
        .version(env!("CARGO_PKG_VERSION"))
        .about("An AMQP 0-9-1 message broker with a durable, synced log")
        .after_help(
            "leveret-broker check DIR reads and verifies a data directory offline; see leveret-broker check --help",
        )
        .arg(config)
        .args(table::all().map(arg))
}

/// A flag. Its names are made once and stay for as long as the process runs: `clap` takes no others.
fn arg(setting: &'static dyn Described) -> Arg {
    let (flag, variable): (&'static str, &'static str) = (setting.flag().leak(), setting.variable().leak());
    let arg = Arg::new(setting.key())
        .long(flag)
        .env(variable)
        .value_name(setting.value_name())
        .help(setting.help());
    if setting.repeatable() {
        arg.action(ArgAction::Append).value_delimiter(',')
    } else {
        arg
    }
}

/// Keys with their values. A dot in a key, as RabbitMQ has it in some of its settings, is an underscore here; what is
/// below a setting is its value.
fn flat(table: toml::Table) -> BTreeMap<String, toml::Value> {
    let mut found = BTreeMap::new();
    let mut left: Vec<(String, toml::Value)> = table.into_iter().collect();
    while let Some((key, value)) = left.pop() {
        match value {
            toml::Value::Table(inner) if !inner.is_empty() && table::find(&key).is_none() => {
                left.extend(inner.into_iter().map(|(name, value)| (format!("{key}_{name}"), value)));
            }
            value => _ = found.insert(key, value),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_names_every_setting() {
        command().debug_assert();
        let help = command().render_long_help().to_string();
        for setting in table::all() {
            let (flag, variable) = (setting.flag(), setting.variable());
            assert!(help.contains(&format!("--{flag} <")), "{flag}");
            assert!(help.contains(&format!("[env: {variable}=")), "{variable}");
        }
    }

    #[test]
    fn flags_that_may_be_repeated_are_gathered() {
        let line = "leveret-broker --amqp-listen 0.0.0.0:1,0.0.0.0:2 --amqp-listen 0.0.0.0:3 --heartbeat 5s --config x";
        let matches = command().try_get_matches_from(line.split(' ')).expect("a command line");
        let flags = Flags::from_matches(&matches);
        assert_eq!(flags.texts("amqp_listen"), ["0.0.0.0:1", "0.0.0.0:2", "0.0.0.0:3"]);
        assert_eq!(flags.texts("heartbeat"), ["5s"]);
        assert_eq!(flags.texts("threads"), [""; 0]);
        assert_eq!(flags.config, Some(PathBuf::from("x")));
    }
}
