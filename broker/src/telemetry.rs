//! Log lines to standard error, as text or JSON, and which of them.

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

/// A change of the filter of log lines while the broker runs.
pub type SetFilter = Box<dyn Fn(&str) -> anyhow::Result<()> + Send + Sync>;

/// Starts logging. Goes out: the way to another filter.
///
/// # Errors
/// The filter is not one.
pub fn start(filter: &str, json: bool) -> anyhow::Result<SetFilter> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = if json {
        lines.json().boxed()
    } else {
        lines
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .boxed()
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(Box::new(move |filter| Ok(handle.reload(parse(filter)?)?)))
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter).map_err(|error| {
        anyhow::anyhow!(
            "setting log: '{filter}' is not allowed; allowed is error, warn, info, debug, trace or a tracing filter \
             ({error})"
        )
    })
}
