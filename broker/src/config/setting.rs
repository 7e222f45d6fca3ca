//! A setting: what is said of it once, for file, environment, flags, help and document.
//!
//! Comes in: its key, kind, default and meaning. Goes out: the names it goes by, its range in words, and from text its
//! value, or an error with what is allowed. Does not know which settings there are.

use super::error::Error;
use super::values::Kind;
use crate::protocol::Service;

/// A setting with values of one kind.
pub(super) struct Setting<K> {
    /// The key in the file.
    pub key: &'static str,
    /// The meaning, in the words of `--help`.
    pub about: &'static str,
    /// The value where none is given, as it would be written.
    pub default: Option<&'static str>,
    /// The default in words.
    pub default_words: &'static str,
    /// The kind of its values.
    pub kind: K,
    /// True if a change takes effect while the broker runs.
    pub live: bool,
}

impl<K: Kind> Setting<K> {
    /// A setting with a default, for the next start.
    pub(super) const fn new(key: &'static str, default: &'static str, kind: K, about: &'static str) -> Self {
        Self {
            key,
            about,
            default: Some(default),
            default_words: default,
            kind,
            live: false,
        }
    }

    /// A setting that has no value, or one that the broker works out, where none is given.
    pub(super) const fn optional(key: &'static str, default_words: &'static str, kind: K, about: &'static str) -> Self {
        Self {
            key,
            about,
            default: None,
            default_words,
            kind,
            live: false,
        }
    }

    /// The same with a default that words describe better than the value.
    pub(super) const fn described(self, default_words: &'static str) -> Self {
        Self { default_words, ..self }
    }

    /// The same for changes while the broker runs.
    pub(super) const fn live(self) -> Self {
        Self { live: true, ..self }
    }

    /// The value in a text.
    ///
    /// # Errors
    /// The values that are allowed.
    pub(super) fn parse(&self, text: &str) -> Result<K::Value, Error> {
        self.kind.parse(self.key, text)
    }
}

/// A setting of any kind, as file, environment, flags and document name it.
pub(super) trait Described: Sync {
    /// The key in the file.
    fn key(&self) -> &'static str;
    /// The meaning.
    fn about(&self) -> String;
    /// The default in words.
    fn default_words(&self) -> String;
    /// The allowed values in words.
    fn range(&self) -> String;
    /// The placeholder of a value.
    fn value_name(&self) -> &'static str;
    /// True if there may be several values.
    fn repeatable(&self) -> bool;
    /// A value of the file as texts; `None` for what no such setting is.
    fn texts(&self, value: &toml::Value) -> Option<Vec<String>>;
    /// True if a change takes effect while the broker runs.
    fn live(&self) -> bool {
        false
    }

    /// The flag, without its dashes.
    fn flag(&self) -> String {
        self.key().replace('_', "-")
    }

    /// The variable of the environment.
    fn variable(&self) -> String {
        format!("LEVERET_{}", self.key().to_uppercase())
    }

    /// A line of `--help`.
    fn help(&self) -> String {
        let (about, default, range) = (self.about(), self.default_words(), self.range());
        let repeatable = if self.repeatable() { ", repeatable" } else { "" };
        format!("{about}{repeatable} [default: {default}; {range}]")
    }
}

impl<K: Kind> Described for Setting<K> {
    fn key(&self) -> &'static str {
        self.key
    }

    fn about(&self) -> String {
        self.about.to_owned()
    }

    fn default_words(&self) -> String {
        self.default_words.to_owned()
    }

    fn range(&self) -> String {
        self.kind.range()
    }

    fn value_name(&self) -> &'static str {
        K::VALUE_NAME
    }

    fn repeatable(&self) -> bool {
        K::REPEATABLE
    }

    fn texts(&self, value: &toml::Value) -> Option<Vec<String>> {
        K::texts(value)
    }

    fn live(&self) -> bool {
        self.live
    }
}

/// The addresses of a service.
impl Described for Service {
    fn key(&self) -> &'static str {
        self.setting
    }

    fn about(&self) -> String {
        format!("Address of {}{}", self.clients, if self.tls { " over TLS" } else { "" })
    }

    fn default_words(&self) -> String {
        match self.tls {
            true => "none".to_owned(),
            false => format!("127.0.0.1:{0} and [::1]:{0}", self.port),
        }
    }

    fn range(&self) -> String {
        let also = if self.tls { "; needs tls_cert and tls_key" } else { "" };
        format!("address and port, 0 for any free one{also}")
    }

    fn value_name(&self) -> &'static str {
        "ADDR:PORT"
    }

    fn repeatable(&self) -> bool {
        true
    }

    fn texts(&self, value: &toml::Value) -> Option<Vec<String>> {
        super::values::texts(value)
    }
}
