//! Small measurements of what is not a flow of messages: declarations, bindings, connections, a restart.
//!
//! In: how many. Out: how long it took, and what it cost the broker. Does not know about loads.

use std::thread::sleep;
use std::time::{Duration, Instant};

use leveret_amqp::{FieldTable, Method, ShortString};
use serde::Serialize;

use super::address::Address;
use super::args::Many;
use super::client::{self, Client, short};
use super::error::Error;
use super::{process, setup, topic};

/// Between two attempts to reach a broker that starts.
const PAUSE: Duration = Duration::from_millis(5);

/// The cost of many of one thing.
#[derive(Debug, Serialize)]
pub struct Cost {
    pub count: usize,
    pub seconds: f64,
    pub per_second: f64,
    /// CPU of the broker, microseconds each; 0 without `--pid`.
    pub broker_us: f64,
    /// Memory of the broker before and after, KiB.
    pub rss_before_kib: u64,
    pub rss_after_kib: u64,
    /// Memory for one more, KiB.
    pub kib_each: f64,
}

/// A queue that answers.
#[derive(Debug, Serialize)]
pub struct Depth {
    pub queue: String,
    pub messages: u32,
    /// Seconds until it answered.
    pub seconds: f64,
}

/// Does something, and tells what it cost. What it returns is kept until memory has been read.
fn cost<T>(many: &Many, work: impl FnOnce() -> Result<T, Error>) -> Result<Cost, Error> {
    let usage = || many.target.pid.and_then(process::usage).unwrap_or_default();
    let (before, start) = (usage(), Instant::now());
    let kept = work()?;
    let seconds = start.elapsed().as_secs_f64();
    let worked = usage();
    sleep(Duration::from_secs_f64(many.settle.clamp(0.0, 3600.0)));
    let after = usage();
    drop(kept);
    let count = many.count.max(1) as f64;
    Ok(Cost {
        count: many.count,
        seconds,
        per_second: count / seconds,
        broker_us: (worked.user + worked.system - before.user - before.system) / count * 1e6,
        rss_before_kib: before.rss,
        rss_after_kib: after.rss,
        kib_each: (after.rss as f64 - before.rss as f64) / count,
    })
}

fn open(many: &Many) -> Result<Client, Error> {
    Client::open(&Address::parse(&many.target.uri)?, "connection")
}

fn names(many: &Many) -> Result<Vec<ShortString>, Error> {
    (1..=many.count)
        .map(|number| short("--queue", &format!("{}-{number}", many.queue)))
        .collect()
}

/// One request after the other, or in flights.
fn ask(many: &Many, client: &mut Client, methods: impl Iterator<Item = Method>, answer: &str) -> Result<(), Error> {
    if many.pipelined {
        return client.ask_all(methods, answer);
    }
    let start = Instant::now();
    for (done, method) in methods.enumerate() {
        client.ask(method, answer)?;
        if start.elapsed().as_secs_f64() > many.patience {
            let (count, patience) = (many.count, many.patience);
            return Err(Error::Measure(format!(
                "only {} of {count} after {patience} s (--patience)",
                done + 1
            )));
        }
    }
    Ok(())
}

/// Declares queues.
///
/// # Errors
/// The broker refuses one.
pub fn declare(many: &Many) -> Result<Cost, Error> {
    let (mut client, names, none) = (open(many)?, names(many)?, FieldTable::new());
    let requests = names.iter().map(|name| client::declaration(name, many.durable, &none));
    cost(many, || ask(many, &mut client, requests, "queue.declare-ok"))
}

/// Deletes them.
///
/// # Errors
/// The broker refuses one.
pub fn delete(many: &Many) -> Result<Cost, Error> {
    let (mut client, names) = (open(many)?, names(many)?);
    cost(many, || {
        ask(many, &mut client, names.iter().map(client::removal), "queue.delete-ok")
    })
}

/// Binds one queue by many topic patterns.
///
/// # Errors
/// The broker refuses one.
pub fn bind(many: &Many) -> Result<Cost, Error> {
    let mut client = open(many)?;
    let (queue, exchange) = (
        short("--queue", &many.queue)?,
        short("--queue", &format!("{}-topics", many.queue))?,
    );
    client.declare_exchange(&exchange, "topic", many.durable)?;
    client.ask(
        client::declaration(&queue, many.durable, &FieldTable::new()),
        "queue.declare-ok",
    )?;
    let patterns: Vec<ShortString> = (0..many.count)
        .map(|number| short("bind", &topic::pattern(number)))
        .collect::<Result<_, _>>()?;
    let requests = patterns
        .iter()
        .map(|pattern| client::binding(&queue, &exchange, pattern));
    cost(many, || ask(many, &mut client, requests, "queue.bind-ok"))
}

/// Opens connections that do nothing.
///
/// # Errors
/// The broker refuses one.
pub fn connections(many: &Many) -> Result<Cost, Error> {
    setup::allow_many_connections();
    let mut open_ones = Vec::new();
    let cost = cost(many, || {
        for _ in 0..many.count {
            open_ones.push(open(many)?);
        }
        Ok(())
    });
    open_ones.into_iter().for_each(Client::close);
    cost
}

/// Waits until the broker answers for a queue.
///
/// # Errors
/// It does not, in time.
pub fn depth(many: &Many) -> Result<Depth, Error> {
    let (address, queue, start) = (
        Address::parse(&many.target.uri)?,
        short("--queue", &many.queue)?,
        Instant::now(),
    );
    loop {
        match Client::open(&address, "connection").and_then(|mut client| client.depth(&queue)) {
            Ok(messages) => {
                let seconds = start.elapsed().as_secs_f64();
                return Ok(Depth {
                    queue: many.queue.clone(),
                    messages,
                    seconds,
                });
            }
            Err(error) if start.elapsed().as_secs_f64() > many.patience => return Err(error),
            Err(_) => sleep(PAUSE),
        }
    }
}
