//! The log: text for people or JSON for collectors, on stderr.
//!
//! In: filter and format. Out: a global subscriber. Does not know about what is logged.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// Libraries that log as an error every answer that is not the one hoped for; those who asked say more about it.
const LOUD: [&str; 2] = ["kube_client", "lapin"];

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "log filter '{filter}' cannot be used: {why}; allowed is a level or a list like info,leveret_operator=debug"
    )]
    Filter { filter: String, why: String },
    #[error("the log is set up already")]
    Twice,
}

/// Sets up the log of this process.
///
/// # Errors
/// The filter is none, or this is the second call.
pub fn init(filter: &str, format: LogFormat) -> Result<(), Error> {
    let wrong = |why: String| Error::Filter {
        filter: filter.to_owned(),
        why,
    };
    let mut parsed = EnvFilter::try_new(filter).map_err(|error| wrong(error.to_string()))?;
    for library in LOUD.into_iter().filter(|library| !filter.contains(library)) {
        let quiet = format!("{library}=off").parse();
        parsed = parsed.add_directive(quiet.map_err(|error| wrong(format!("{error}")))?);
    }
    let log = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr);
    let result = match format {
        LogFormat::Text => log.with_ansi(false).with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    result.map_err(|_| Error::Twice)
}
