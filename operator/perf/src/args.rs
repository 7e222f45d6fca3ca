//! The flags of `leveret perf`, named as RabbitMQ PerfTest names them where they mean the same.
//!
//! In: the command line. Out: `PerfArgs`; `load` checks how they fit together. Does not know about AMQP.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

#[derive(Clone, Debug, Args)]
#[command(
    disable_help_flag = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct PerfArgs {
    #[command(flatten)]
    pub load: LoadArgs,

    #[command(subcommand)]
    pub measure: Option<Measure>,

    /// Print help
    #[arg(long, action = ArgAction::Help)]
    pub help: Option<bool>,
}

/// The broker that is measured.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// The broker: amqp://USER:PASSWORD@HOST:PORT/VHOST. Others may see flags: prefer the environment for passwords
    #[arg(
        short = 'h',
        long,
        value_name = "URI",
        env = "LEVERET_PERF_URI",
        hide_env_values = true,
        default_value = "amqp://guest:guest@127.0.0.1:5672/"
    )]
    pub uri: String,

    /// Process id of the broker on this machine: adds its CPU time and memory
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
}

#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    #[command(flatten)]
    pub target: Target,

    /// Connections that publish
    #[arg(short = 'x', long, value_name = "N", default_value_t = 1)]
    pub producers: usize,

    /// Connections that consume
    #[arg(short = 'y', long, value_name = "N", default_value_t = 1)]
    pub consumers: usize,

    /// Octets of a body; several, separated by commas, are used in turn. Latency needs at least 8
    #[arg(
        short = 's',
        long,
        value_name = "OCTETS",
        value_delimiter = ',',
        default_value = "16"
    )]
    pub size: Vec<usize>,

    /// Properties of messages: priority=5, or priority=0-9 for several that are used in turn
    #[arg(long, value_name = "KEY=VALUE")]
    pub message_properties: Option<String>,

    /// persistent: messages that survive a restart, and durable queues; mandatory: return what no queue takes.
    /// Repeatable
    #[arg(short = 'f', long = "flag", value_name = "FLAG")]
    pub flags: Vec<Flag>,

    /// Publisher confirms: most messages that may be unconfirmed per producer
    #[arg(short = 'c', long, value_name = "N")]
    pub confirm: Option<usize>,

    /// Prefetch: most messages that may be unacknowledged per consumer; 0 for no limit
    #[arg(short = 'q', long, value_name = "N", default_value_t = 0)]
    pub qos: u16,

    /// Messages per acknowledgement
    #[arg(short = 'A', long, value_name = "N", conflicts_with = "autoack", default_value_t = 1)]
    pub multi_ack_every: u64,

    /// Messages count as acknowledged when they are sent
    #[arg(short = 'a', long)]
    pub autoack: bool,

    /// Seconds to measure; without it, until the counts are reached or Ctrl-C
    #[arg(short = 'z', long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub time: Option<f64>,

    /// Seconds of warm-up before that, not counted
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub warmup: f64,

    /// Messages a second of each producer; without it, as fast as possible
    #[arg(short = 'r', long, value_name = "PER_SECOND", allow_negative_numbers = true)]
    pub rate: Option<f64>,

    /// Messages that each producer publishes
    #[arg(short = 'C', long, value_name = "N")]
    pub pmessages: Option<u64>,

    /// Messages that each consumer takes
    #[arg(short = 'D', long, value_name = "N")]
    pub cmessages: Option<u64>,

    /// The queue; without it, one that is deleted at the end
    #[arg(short = 'u', long, value_name = "NAME", conflicts_with = "queue_pattern")]
    pub queue: Option<String>,

    /// Many queues, like orders-%d: %d stands for the numbers from --queue-pattern-from to --queue-pattern-to
    #[arg(long, value_name = "PATTERN", requires = "queue_pattern_to")]
    pub queue_pattern: Option<String>,

    #[arg(long, value_name = "N", default_value_t = 1)]
    pub queue_pattern_from: u64,

    #[arg(long, value_name = "N", requires = "queue_pattern")]
    pub queue_pattern_to: Option<u64>,

    /// Arguments of the queues, like x-queue-type=quorum,x-max-length=1000
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    pub queue_args: Vec<String>,

    /// Publish to this exchange, with all queues bound to it; without it, straight to the queues
    #[arg(short = 'e', long, value_name = "NAME")]
    pub exchange: Option<String>,

    /// Type of that exchange [default: direct]
    #[arg(short = 't', long = "type", value_name = "TYPE", requires = "exchange")]
    pub kind: Option<String>,

    /// Routing key of messages and bindings; without it, the name of the queue
    #[arg(short = 'k', long, value_name = "KEY")]
    pub routing_key: Option<String>,

    /// Declare nothing: exchange, queues and bindings exist already
    #[arg(short = 'p', long)]
    pub predeclared: bool,

    /// Delete the exchange and the queues at the end, with what is in them
    #[arg(long, conflicts_with = "predeclared")]
    pub delete: bool,

    /// Most octets that are written at once; 1 for one message per write, as most clients do
    #[arg(long, value_name = "OCTETS", default_value_t = 65_536)]
    pub batch_bytes: usize,

    /// Seconds between lines of progress; 0 for none
    #[arg(short = 'i', long, value_name = "SECONDS", default_value_t = 1.0)]
    pub interval: f64,

    /// Name of this run, in the lines and in the JSON
    #[arg(short = 'd', long, value_name = "NAME", default_value = "perf")]
    pub id: String,

    /// Print the result as JSON on stdout, and the lines on stderr
    #[arg(long)]
    pub json: bool,

    /// Event loops: with two, one for the producers and one for the consumers
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub threads: usize,

    /// Publish with keys that match the first N patterns of `leveret perf bind`
    #[arg(
        long,
        value_name = "N",
        hide = true,
        default_value_t = 0,
        conflicts_with = "routing_key"
    )]
    pub topic_keys: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flag {
    Persistent,
    Mandatory,
}

/// Small measurements, for `make bench`.
#[derive(Clone, Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum Measure {
    /// Declare N queues
    #[command(hide = true)]
    Declare(Many),
    /// Delete them
    #[command(hide = true)]
    Delete(Many),
    /// Bind a queue to the topic exchange NAME-topics by N patterns with * and #
    #[command(hide = true)]
    Bind(Many),
    /// Open N connections with a channel each, and let them idle
    #[command(hide = true)]
    Conns(Many),
    /// Wait until a queue answers, and tell its depth
    #[command(hide = true)]
    Depth(Many),
    /// A broker that does nothing: what the generator itself can do
    #[command(hide = true)]
    Sink(Limit),
    /// Throughput of loopback TCP
    #[command(hide = true)]
    Tcp(Limit),
    /// Throughput of the disk
    #[command(hide = true)]
    Disk(Limit),
}

#[derive(Clone, Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Many {
    #[command(flatten)]
    pub target: Target,

    /// Number of them
    #[arg(value_name = "N", default_value_t = 1000)]
    pub count: usize,

    /// Queues are NAME-1 to NAME-N
    #[arg(short = 'u', long, value_name = "NAME", default_value = "bench")]
    pub queue: String,

    /// Durable queues
    #[arg(long)]
    pub durable: bool,

    /// Send the next request without waiting for the answer to the last one
    #[arg(long)]
    pub pipelined: bool,

    /// Seconds until memory is read
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub settle: f64,

    /// Seconds that it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0)]
    pub patience: f64,
}

#[derive(Clone, Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Limit {
    #[arg(long, value_name = "PORT", default_value_t = 5672)]
    pub port: u16,

    /// Octets of a delivered body
    #[arg(short = 's', long, value_name = "OCTETS", default_value_t = 16)]
    pub size: usize,

    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,

    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    pub secs: f64,
}
