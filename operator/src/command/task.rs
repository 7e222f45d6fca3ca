//! What the commands have in common: flags that know how to run.
//!
//! In: the parsed command line. Out: an exit code, and a line on stderr for each thing that went wrong.
//! Does not know about any command.

use std::io::Write;
use std::process::ExitCode;

use crate::runtime;
use crate::telemetry::{self, LogFormat};

/// The flags of a command.
pub(super) trait Run {
    /// Does what they say.
    fn run(self) -> anyhow::Result<ExitCode>;
}

/// The commands of a program, with a line for each: its help, its name, and the type of its flags.
macro_rules! commands {
    ($($(#[$about:meta])* $name:ident($flags:ty),)+) => {
        #[derive(clap::Subcommand)]
        enum Command {
            $($(#[$about])* $name($flags),)+
        }

        impl $crate::command::task::Run for Command {
            fn run(self) -> anyhow::Result<std::process::ExitCode> {
                match self {
                    $(Command::$name(flags) => flags.run(),)+
                }
            }
        }
    };
}

pub(super) use commands;

/// The exit code of `program`; what went wrong is printed.
pub(super) fn exit(program: &str, result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        for line in format!("{error:#}").lines() {
            eprintln!("{program}: {line}");
        }
        ExitCode::FAILURE
    })
}

/// Prints to stdout. A closed pipe is no failure: the reader may have seen enough.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Runs `work` with a thread for each core.
pub(super) fn on_a_runtime<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = runtime::start()?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(result)
}

/// Runs a task that ends by itself, with a log.
pub(super) fn once<T>(task: impl Future<Output = T>) -> anyhow::Result<T> {
    telemetry::init("info", LogFormat::Text)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(task))
}
