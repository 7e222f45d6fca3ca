//! `leveret perf`: puts a load on any AMQP 0-9-1 broker and measures what becomes of it.
//!
//! In: flags. Out: rates, latencies, CPU and memory, as lines while it runs, and as a table or JSON at the end. Speaks
//! with the broker over a client of its own that encodes messages once and understands only what it must, so that the
//! machine is left to the broker. Does not know about resources, nor about any broker's code.
//!
//! The modules stand with those that use others above those that are used.

/// From start to end.
pub mod drive;

/// Small measurements: declarations, bindings, connections, restart.
pub mod measure;

/// The limits of the machine and the generator, without a broker.
pub mod limits;

/// An event loop with many connections.
pub mod worker;

/// Exchange, queues and connections of a load.
pub mod setup;

/// A connection with one of them.
pub mod link;

/// A producer's messages and confirms.
pub mod publisher;

/// A consumer's deliveries and acknowledgements.
pub mod consumer;

/// Messages, encoded once.
pub mod template;

/// A load, checked.
pub mod load;

/// Flags.
pub mod args;

/// A blocking connection, for what comes before and after.
pub mod client;

/// The URI of a broker.
pub mod address;

/// Patterns and keys for topic exchanges.
pub mod topic;

/// Figures, as table and JSON.
pub mod report;

/// Counters and histograms.
pub mod count;

/// CPU and memory from the kernel.
pub mod process;

/// Errors.
pub mod error;

use std::io::Write;

use args::{Measure, PerfArgs};
use error::Error;
use load::Load;

/// Runs what the flags say and prints the result.
///
/// # Errors
/// Flags that do not fit, a broker that refuses or goes away, counts that are not reached.
pub async fn run(args: &PerfArgs) -> Result<(), Error> {
    match &args.measure {
        None => run_load(&Load::new(&args.load)?).await,
        Some(Measure::Sink(limit)) => limits::sink(limit),
        Some(Measure::Tcp(limit)) => limits::tcp(limit),
        Some(Measure::Disk(limit)) => limits::disk(limit),
        Some(Measure::Declare(many)) => print(&measure::declare(many)?),
        Some(Measure::Delete(many)) => print(&measure::delete(many)?),
        Some(Measure::Bind(many)) => print(&measure::bind(many)?),
        Some(Measure::Conns(many)) => print(&measure::connections(many)?),
        Some(Measure::Depth(many)) => print(&measure::depth(many)?),
    }
}

async fn run_load(load: &Load) -> Result<(), Error> {
    let interrupted = async {
        // A system without signals is one where Ctrl-C is not pressed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let figures = drive::drive(load, interrupted, |line| {
        // The result must stand alone on stdout when a program reads it.
        let _ = if load.json {
            writeln!(std::io::stderr(), "{line}")
        } else {
            writeln!(std::io::stdout(), "{line}")
        };
    })
    .await?;
    if load.json {
        print(&figures)
    } else {
        show(&figures.to_string())
    }
}

fn print(value: &impl serde::Serialize) -> Result<(), Error> {
    let text = serde_json::to_string(value).map_err(|error| Error::Measure(error.to_string()))?;
    show(&format!("{text}\n"))
}

fn show(text: &str) -> Result<(), Error> {
    // Whoever reads it may have seen enough: a closed pipe is no failure.
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::System { what: "print", source }),
        _ => Ok(()),
    }
}
