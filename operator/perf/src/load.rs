//! What a load is made of, checked as a whole.
//!
//! In: flags. Out: `Load`, which can be carried out, or the flag that does not fit. Does not connect.

use std::time::Duration;

use leveret_amqp::{FieldTable, FieldValue, ShortString};

use super::address::Address;
use super::args::{Flag, LoadArgs};
use super::client::short;
use super::error::Error;
use super::topic;

/// RabbitMQ's limit for a message, octets.
const LARGEST: usize = 128 << 20;

/// Ports of an address are the limit for its connections.
const MOST_CONNECTIONS: usize = 60_000;

/// Confirms that are remembered, per producer.
const LARGEST_WINDOW: usize = 1 << 24;

/// A load, ready to be put on a broker.
#[derive(Clone, Debug)]
pub struct Load {
    pub address: Address,
    pub pid: Option<u32>,
    pub id: String,
    pub producers: usize,
    pub consumers: usize,
    pub sizes: Vec<usize>,
    /// Of messages, in turn, at least one.
    pub priorities: Vec<Option<u8>>,
    pub persistent: bool,
    pub mandatory: bool,
    /// Messages unconfirmed at a time; `None` for no confirms.
    pub window: Option<usize>,
    pub prefetch: u16,
    /// Messages per acknowledgement; `None` for auto-ack.
    pub ack_every: Option<u64>,
    pub time: Option<Duration>,
    pub warmup: Duration,
    /// Messages a second of each producer.
    pub rate: Option<f64>,
    /// Messages of each producer.
    pub publish: Option<u64>,
    /// Messages of each consumer.
    pub consume: Option<u64>,
    pub queues: Vec<ShortString>,
    pub arguments: FieldTable,
    /// Name and type.
    pub exchange: Option<(ShortString, String)>,
    /// Routing keys that are used in turn; none for the names of the queues.
    pub keys: Vec<ShortString>,
    pub declare: bool,
    pub delete: bool,
    /// Octets of a write, at most.
    pub batch: usize,
    pub interval: Option<Duration>,
    pub json: bool,
    pub threads: usize,
}

impl Load {
    /// Checks the flags.
    ///
    /// # Errors
    /// The first flag that does not fit, its value, and what would.
    pub fn new(args: &LoadArgs) -> Result<Load, Error> {
        check_numbers(args)?;
        let seconds = |flag, value: f64| {
            Duration::try_from_secs_f64(value)
                .map_err(|_| Error::flag(flag, value, "give a number of seconds, 0 or more"))
        };
        let temporary = args.queue.is_none() && args.queue_pattern.is_none();
        let topic = (0..args.topic_keys).map(topic::key);
        let keys = args.routing_key.iter().cloned().chain(topic);
        Ok(Load {
            address: Address::parse(&args.target.uri)?,
            pid: args.target.pid,
            id: args.id.clone(),
            producers: args.producers,
            consumers: args.consumers,
            sizes: args.size.clone(),
            priorities: priorities(args.message_properties.as_deref())?,
            persistent: args.flags.contains(&Flag::Persistent),
            mandatory: args.flags.contains(&Flag::Mandatory),
            window: args.confirm,
            prefetch: args.qos,
            ack_every: (!args.autoack).then_some(args.multi_ack_every),
            time: args.time.map(|value| seconds("--time", value)).transpose()?,
            warmup: seconds("--warmup", args.warmup)?,
            rate: args.rate,
            publish: args.pmessages,
            consume: args.cmessages,
            queues: queues(args)?,
            arguments: arguments(&args.queue_args)?,
            exchange: exchange(args)?,
            keys: keys.map(|key| short("--routing-key", &key)).collect::<Result<_, _>>()?,
            declare: !args.predeclared,
            delete: args.delete || (temporary && !args.predeclared),
            batch: args.batch_bytes,
            interval: Some(seconds("--interval", args.interval)?).filter(|interval| !interval.is_zero()),
            json: args.json,
            threads: args.threads,
        })
    }

    /// Queues that each message reaches.
    #[must_use]
    pub fn copies(&self) -> u64 {
        let all = self.queues.len() as u64;
        match &self.exchange {
            Some((_, kind)) if kind == "fanout" => all,
            // Every queue is bound by the one key.
            Some(_) if self.keys.len() == 1 && self.declare => all,
            _ => 1,
        }
    }
}

fn check_numbers(args: &LoadArgs) -> Result<(), Error> {
    let wrong = |flag, value: &dyn ToString, problem: &str| Err(Error::flag(flag, value.to_string(), problem));
    let connections = args.producers.saturating_add(args.consumers);
    match args {
        _ if connections == 0 => wrong(
            "--producers",
            &0,
            "with --consumers 0 there is nothing to do; give one of them",
        ),
        _ if connections > MOST_CONNECTIONS => wrong(
            "--producers",
            &connections,
            "with the consumers these are too many connections; at most 60000",
        ),
        LoadArgs { size, .. } if size.iter().any(|size| *size > LARGEST) => {
            let most = size.iter().max().copied().unwrap_or_default();
            wrong("--size", &most, "brokers take at most 134217728 octets")
        }
        LoadArgs { rate: Some(rate), .. } if !(rate.is_finite() && *rate > 0.0 && *rate <= 1e9) => wrong(
            "--rate",
            rate,
            "give messages a second, more than 0, at most 1000000000; leave it out for no limit",
        ),
        LoadArgs {
            confirm: Some(window), ..
        } if !(1..=LARGEST_WINDOW).contains(window) => wrong(
            "--confirm",
            window,
            "give 1 to 16777216 unconfirmed messages; leave it out for no confirms",
        ),
        LoadArgs { multi_ack_every: 0, .. } => wrong("--multi-ack-every", &0, "give 1 or more, or --autoack"),
        LoadArgs {
            multi_ack_every, qos, ..
        } if *qos > 0 && !args.autoack && *multi_ack_every > u64::from(*qos) => {
            let problem = "must not be more than --qos, or the broker waits for acknowledgements that never come";
            wrong("--multi-ack-every", multi_ack_every, problem)
        }
        LoadArgs { pmessages: Some(0), .. } => wrong("--pmessages", &0, "give 1 or more"),
        LoadArgs { cmessages: Some(0), .. } => wrong("--cmessages", &0, "give 1 or more"),
        LoadArgs {
            pmessages: Some(count),
            producers: 0,
            ..
        } => wrong("--pmessages", count, "there is no producer"),
        LoadArgs {
            cmessages: Some(count),
            consumers: 0,
            ..
        } => wrong("--cmessages", count, "there is no consumer"),
        LoadArgs { warmup, .. } if *warmup > 0.0 && (args.pmessages.is_some() || args.cmessages.is_some()) => wrong(
            "--warmup",
            warmup,
            "all messages count with --pmessages and --cmessages; leave it out",
        ),
        LoadArgs { batch_bytes: 0, .. } => wrong("--batch-bytes", &0, "give 1 (one message per write) or more"),
        LoadArgs { threads, .. } if !(1..=64).contains(threads) => wrong("--threads", threads, "give 1 to 64"),
        _ => Ok(()),
    }
}

/// The names of the queues.
fn queues(args: &LoadArgs) -> Result<Vec<ShortString>, Error> {
    let Some(pattern) = &args.queue_pattern else {
        let own = format!("leveret-perf-{}", std::process::id());
        return Ok(vec![short("--queue", args.queue.as_deref().unwrap_or(&own))?]);
    };
    let wrong = |problem: &str| Err(Error::flag("--queue-pattern", pattern, problem));
    if pattern.matches("%d").count() != 1 || pattern.matches('%').count() != 1 {
        return wrong("needs %d exactly once, where the number goes, like orders-%d");
    }
    let (from, to) = (args.queue_pattern_from, args.queue_pattern_to.unwrap_or_default());
    if from > to || to - from >= 1_000_000 {
        let range = format!("{from} to {to}");
        return Err(Error::flag(
            "--queue-pattern-from",
            range,
            "give a range upwards, of at most 1000000 queues",
        ));
    }
    (from..=to)
        .map(|number| short("--queue-pattern", &pattern.replace("%d", &number.to_string())))
        .collect()
}

fn exchange(args: &LoadArgs) -> Result<Option<(ShortString, String)>, Error> {
    match args.exchange.as_deref() {
        None | Some("") => Ok(None),
        Some(name) => {
            let kind = args.kind.clone().unwrap_or_else(|| "direct".to_owned());
            Ok(Some((short("--exchange", name)?, kind)))
        }
    }
}

/// Queue arguments: numbers and true/false become that, everything else is a string.
fn arguments(pairs: &[String]) -> Result<FieldTable, Error> {
    let field = |pair: &String| {
        let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Error::flag(
                "--queue-args",
                pair,
                "give KEY=VALUE, like x-queue-type=quorum",
            ));
        };
        let value = match (value.parse::<i64>(), value.parse::<bool>()) {
            (Ok(number), _) => FieldValue::from(number),
            (_, Ok(flag)) => FieldValue::from(flag),
            _ => FieldValue::from(value),
        };
        Ok((short("--queue-args", key)?, value))
    };
    pairs.iter().map(field).collect()
}

/// The priorities among the properties of messages; one that is none if none is given.
fn priorities(properties: Option<&str>) -> Result<Vec<Option<u8>>, Error> {
    let Some(properties) = properties else {
        return Ok(vec![None]);
    };
    let read = || {
        let range = properties.strip_prefix("priority=")?;
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u8>().ok()?, last.parse().ok()?);
        (first <= last).then(|| (first..=last).map(Some).collect())
    };
    let problem = "give priority=N, or priority=N-M for several in turn, from 0 to 255";
    read().ok_or_else(|| Error::flag("--message-properties", properties, problem))
}

#[cfg(test)]
mod tests;
