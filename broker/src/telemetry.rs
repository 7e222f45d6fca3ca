//! Log lines to standard error, as text or JSON.

use tracing_subscriber::EnvFilter;

/// Starts logging.
///
/// # Errors
/// The filter is not one.
pub fn start(filter: &str, json: bool) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| anyhow::anyhow!("setting log: '{filter}' is not allowed; allowed is error, warn, info, debug, trace or a tracing filter ({error})"))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    if json {
        lines.json().init();
    } else {
        lines
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init();
    }
    Ok(())
}
