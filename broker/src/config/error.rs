//! A setting that can't be used, in one line.

use std::path::{Path, PathBuf};

/// A setting that can't be used: key, value and what is allowed, in one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value.
    #[error("setting {key}: '{value}' is not allowed; {allowed}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// The values that are allowed.
        allowed: String,
    },
    /// A required setting isn't there.
    #[error(
        "setting data_dir is missing; name a folder with --data-dir DIR, LEVERET_DATA_DIR or data_dir in the settings \
         file"
    )]
    NoDataDir,
    /// The file can't be read.
    #[error("settings file {}: {reason}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The reason, with line and column where there is one.
        reason: String,
    },
}

impl Error {
    /// A value that isn't allowed, and what is.
    pub fn value(key: &str, value: &str, allowed: &str) -> Self {
        Self::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            allowed: format!("allowed is {allowed}"),
        }
    }

    /// A file that can't be read.
    pub fn file(path: &Path, error: &dyn std::fmt::Display) -> Self {
        let text = error.to_string();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Self::File {
            path: path.to_owned(),
            reason: lines.collect::<Vec<_>>().join(" "),
        }
    }
}
