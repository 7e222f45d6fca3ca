//! Log lines to standard error, as text or JSON, and which of them.
//!
//! Comes in: events of all modules. Goes out: one line for each, whatever is in it: text of clients can't end a line,
//! nor colour or hide it, and can't flood the log.

/// Characters that would change how a line looks, written in another way.
mod escape;

/// Lines of one kind, so many a second.
mod pace;

use escape::{Escaping, Lines};
use pace::Pace;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

/// A change of the filter of log lines while the broker runs.
pub type SetFilter = Box<dyn Fn(&str) -> anyhow::Result<()> + Send + Sync>;

/// Starts logging. Goes out: the way to another filter.
///
/// # Errors
/// The filter is not one, or no thread can be started.
pub fn start(filter: &str, json: bool) -> anyhow::Result<SetFilter> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines = if json {
        fmt::layer()
            .json()
            .with_target(false)
            .with_writer(|| Lines::new(std::io::stderr()))
            .boxed()
    } else {
        fmt::layer()
            .with_target(false)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .fmt_fields(Escaping::default())
            .boxed()
    };
    let pace = Pace::default();
    let lines = lines.with_filter(pace.clone());
    tracing_subscriber::registry().with(filter).with(lines).init();
    pace.tell()?;
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
