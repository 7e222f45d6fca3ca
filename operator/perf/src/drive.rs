//! A load from start to end: the event loops run, this watches them.
//!
//! In: a load. Out: `Figures`, and a line now and then. Ends by time, by counts, or when it is interrupted.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::client::Client;
use super::count::{Counters, Counts, Latencies, Latest};
use super::error::Error;
use super::link::Link;
use super::load::Load;
use super::report::{Figures, Snapshot, Subject};
use super::setup;
use super::worker::Worker;

/// Time between two comparisons of the counts with what was wanted.
const LOOK: Duration = Duration::from_millis(2);

/// Time without a movement after which counts will not be reached any more.
const STALLED: Duration = Duration::from_secs(20);

/// The event loops, and what they count.
struct Running {
    counters: Arc<Counters>,
    latest: Vec<Arc<Latest>>,
    threads: Vec<thread::JoinHandle<()>>,
    reports: UnboundedReceiver<Result<(), Error>>,
}

/// Puts the load on the broker, until it is through or `interrupted`; `tell` gets the lines.
///
/// # Errors
/// The broker refuses something or goes away, or the counts cannot be reached.
pub async fn drive(
    load: &Load,
    interrupted: impl Future<Output = ()>,
    mut tell: impl FnMut(String),
) -> Result<Figures, Error> {
    setup::allow_many_connections();
    let mut control = Client::open(&load.address, "control connection")?;
    let product = control.product.clone();
    setup::declare(load, &mut control)?;
    let consumers = setup::consumers(load)?;
    let producers = setup::producers(load)?;
    let mut running = Running::start(spread(consumers, producers, load.threads))?;
    let subject = Subject {
        id: &load.id,
        product: &product,
        copies: load.copies(),
    };
    let result = running.watch(load, subject, interrupted, &mut tell).await;
    running.stop().await;
    // What was declared goes also when the run has failed; its error is the one that matters.
    match (result, setup::clean_up(load, &mut control)) {
        (Ok(_), Err(error)) => Err(error),
        (result, _) => {
            control.close();
            result
        }
    }
}

/// The connections that share a loop.
fn spread(consumers: Vec<Link>, producers: Vec<Link>, threads: usize) -> Vec<Vec<Link>> {
    if threads == 2 {
        return vec![producers, consumers];
    }
    let mut groups: Vec<Vec<Link>> = (0..threads).map(|_| Vec::new()).collect();
    for (number, link) in producers.into_iter().chain(consumers).enumerate() {
        groups[number % threads].push(link);
    }
    groups
}

impl Running {
    fn start(groups: Vec<Vec<Link>>) -> Result<Running, Error> {
        let (sender, reports) = unbounded_channel();
        let mut running = Running {
            counters: Arc::new(Counters::default()),
            latest: Vec::new(),
            threads: Vec::new(),
            reports,
        };
        for links in groups.into_iter().filter(|links| !links.is_empty()) {
            let latest = Arc::new(Latest::default());
            let worker = Worker::new(links, running.counters.clone(), latest.clone())?;
            running.latest.push(latest);
            let sender = sender.clone();
            running.threads.push(thread::spawn(move || {
                // The receiver is gone: then none needs to know.
                let _ = sender.send(worker.run());
            }));
        }
        Ok(running)
    }

    fn latencies(&self) -> Latencies {
        let mut all = Latencies::default();
        self.latest.iter().for_each(|latest| all.add(&latest.take()));
        all
    }

    async fn watch(
        &mut self,
        load: &Load,
        subject: Subject<'_>,
        interrupted: impl Future<Output = ()>,
        tell: &mut impl FnMut(String),
    ) -> Result<Figures, Error> {
        let mut interrupted = pin!(interrupted);
        let start = Instant::now();
        let measured_from = start + load.warmup;
        let end = load.time.map(|time| measured_from + time);
        let mut look = interval(LOOK);
        let mut lines = interval(load.interval.unwrap_or(Duration::MAX / 4));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        lines.reset();
        let (mut first, mut last) = (Snapshot::take(Counts::default(), load.pid), None);
        let (mut latencies, mut warm) = (Latencies::default(), load.warmup.is_zero());
        let mut progress = Progress::new(load);
        loop {
            tokio::select! {
                () = &mut interrupted => break,
                Some(Err(error)) = self.reports.recv() => return Err(error),
                _ = look.tick() => {
                    let counts = self.counters.read();
                    if !warm && Instant::now() >= measured_from {
                        warm = true;
                        first = Snapshot::take(counts, load.pid);
                        drop(self.latencies());
                    }
                    if end.is_some_and(|end| Instant::now() >= end) {
                        progress.check_at_the_end(counts)?;
                        break;
                    }
                    if progress.is_complete(counts)? {
                        break;
                    }
                }
                _ = lines.tick(), if load.interval.is_some() => {
                    let now = Snapshot::take(self.counters.read(), load.pid);
                    let recent = self.latencies();
                    let figures = Figures::between(&last.unwrap_or(first), &now, subject, &recent);
                    tell(figures.line(start.elapsed(), self.counters.blocked.load(Relaxed)));
                    last = Some(now);
                    if warm {
                        latencies.add(&recent);
                    }
                }
            }
        }
        latencies.add(&self.latencies());
        let end = Snapshot::take(self.counters.read(), load.pid);
        Ok(Figures::between(&first, &end, subject, &latencies))
    }

    async fn stop(&mut self) {
        self.counters.stop.store(true, Relaxed);
        while self.reports.recv().await.is_some() {}
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The progress of a load with counts.
struct Progress {
    /// Messages to publish and to consume altogether, where there are counts.
    publish: Option<u64>,
    consume: Option<u64>,
    confirms: bool,
    last: Counts,
    moved: Instant,
}

impl Progress {
    fn new(load: &Load) -> Progress {
        let publish = load.publish.map(|count| count * load.producers as u64);
        let consume = load.consume.map(|count| count * load.consumers as u64);
        // Without a count of their own consumers take all that is published.
        let all = publish
            .filter(|_| load.consumers > 0)
            .map(|count| count * load.copies());
        Progress {
            publish,
            consume: consume.or(all),
            confirms: load.window.is_some(),
            last: Counts::default(),
            moved: Instant::now(),
        }
    }

    fn is_complete(&mut self, counts: Counts) -> Result<bool, Error> {
        if self.publish.is_none() && self.consume.is_none() {
            return Ok(false);
        }
        if self.reached(counts) {
            return Ok(true);
        }
        let sum = |counts: Counts| counts.published + counts.confirmed + counts.nacked + counts.consumed;
        if sum(counts) != sum(self.last) {
            (self.last, self.moved) = (counts, Instant::now());
        } else if self.moved.elapsed() > STALLED {
            return Err(self.missed(counts, "and nothing has moved for 20 s"));
        }
        Ok(false)
    }

    fn reached(&self, counts: Counts) -> bool {
        let settled = if self.confirms {
            counts.confirmed + counts.nacked
        } else {
            counts.published
        };
        self.publish.is_none_or(|count| settled >= count) && self.consume.is_none_or(|count| counts.consumed >= count)
    }

    /// Time is up: then counts that were asked for must have been reached.
    fn check_at_the_end(&self, counts: Counts) -> Result<(), Error> {
        if self.reached(counts) {
            Ok(())
        } else {
            Err(self.missed(counts, "when --time was up"))
        }
    }

    fn missed(&self, counts: Counts, when: &str) -> Error {
        let of = |wanted: Option<u64>| wanted.map_or_else(String::new, |count| format!(" of {count}"));
        Error::Count(format!(
            "published {}{} (confirmed {}), consumed {}{} {when}",
            counts.published,
            of(self.publish),
            counts.confirmed,
            counts.consumed,
            of(self.consume)
        ))
    }
}
