//! The rate at which the log takes messages: `cargo run --release -p leveret-store --example append -- [DIRECTORY
//! [SECONDS]]`.
//!
//! Each row: 1 KiB messages, a number of them per batch; appended without waiting (bounded by pending bytes), or waited
//! for one by one; kept, or settled with the next batch, so that segments are recycled as in a broker whose consumers
//! keep up. What was kept is read back: in runs, as a queue is drained, and one by one over many small segments, as
//! seldom as messages lie in the order of a queue.

use leveret_store::fs::RealFs;
use leveret_store::{Backlog, Batch, Destination, Handle, Live, Location, Options, Owner, Store, Urgency};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIZE: usize = 1024;
const PENDING: u64 = 64 << 20;

/// An owner of nothing.
struct Nothing;

impl Owner for Nothing {
    fn live(&self, _: u64, _: u64, _: Option<u64>) -> Option<Live> {
        None
    }

    fn relocate(&self, _: u64, _: u64, _: Option<u64>, _: Location) -> bool {
        false
    }

    fn capture(&self, _: &mut dyn FnMut(u64, Backlog)) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().unwrap_or_else(|| "store-bench".to_owned()));
    let seconds = arguments.next().map_or(Ok(3), |seconds| seconds.parse())?;
    read_back(&directory)?;
    println!("encode only: {:.0} ns per message of {SIZE} B", encode_only());
    for settle in [false, true] {
        for per_batch in [1, 100, 1000] {
            for wait in [false, true] {
                run(&directory, per_batch, wait, settle, Duration::from_secs(seconds))?;
                std::fs::remove_dir_all(&directory)?;
            }
        }
    }
    Ok(())
}

fn encode_only() -> f64 {
    let body = vec![7; SIZE];
    let mut batch = Batch::new();
    let rounds = 10_000;
    let begun = Instant::now();
    for round in 0..rounds {
        batch.clear();
        for id in 0..100 {
            batch.publish(round * 100 + id, &[Destination::unstamped(1)], &[&body]);
        }
    }
    begun.elapsed().as_nanos() as f64 / (rounds * 100) as f64
}

fn run(
    directory: &PathBuf,
    per_batch: u64,
    wait: bool,
    settle: bool,
    time: Duration,
) -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::new(directory);
    let (store, _) = Store::open(
        options,
        Arc::new(RealFs),
        Box::new(|_| {}),
        Box::new(|error| eprintln!("{error}")),
    )?;
    store.start_reclaim(Arc::new(Nothing));
    let handle = store.handle();
    let body = vec![7; SIZE];
    let mut batch = Batch::new();
    let mut settled = Vec::new();
    let mut messages = 0;
    let mut appending = Duration::ZERO;
    let begun = Instant::now();
    while begun.elapsed() < time {
        let before = Instant::now();
        if settle && !settled.is_empty() {
            batch.settle(1, &settled);
            settled.clear();
        }
        let first = handle.next_ids(per_batch);
        let mut places = Vec::with_capacity(per_batch as usize);
        for id in first..first + per_batch {
            places.push((id, batch.publish(id, &[Destination::unstamped(1)], &[&body])));
        }
        let appended = handle.append(&mut batch, Urgency::Now)?;
        appending += before.elapsed();
        settled.extend(places.into_iter().map(|(id, place)| (id, appended.location(place))));
        messages += per_batch;
        wait_for(&handle, wait, appended.lsn);
    }
    while handle.pending_bytes() > 0 {
        std::thread::sleep(Duration::from_micros(50));
    }
    let seconds = begun.elapsed().as_secs_f64();
    let stats = handle.stats();
    println!(
        "{per_batch:>5} per batch, {}, {}: {:>9.0} msg/s, {:>6.0} ns to append one, {:>6.0} syncs/s of {:.0} us, {} segments recycled, {} MiB on disk",
        if wait { "waiting   " } else { "pipelining" },
        if settle { "settled" } else { "kept   " },
        messages as f64 / seconds,
        appending.as_nanos() as f64 / messages as f64,
        stats.syncs as f64 / seconds,
        stats.sync_time.as_micros() as f64 / stats.syncs.max(1) as f64,
        stats.reclaimed_segments,
        stats.disk_bytes >> 20,
    );
    store.close()?;
    if !settle && !wait {
        let options = Options::new(directory);
        let (_store, recovered) = Store::open(options, Arc::new(RealFs), Box::new(|_| {}), Box::new(|_| {}))?;
        let found = recovered.queues.get(&1).map_or(0, Backlog::count);
        println!("        {found} messages recovered in {:?}", recovered.report.duration);
    }
    Ok(())
}

/// A thousand segments of 256 KiB, read in order and across.
fn read_back(directory: &PathBuf) -> Result<(), Box<dyn std::error::Error>> {
    const MESSAGES: u64 = 250_000;
    let options = Options {
        segment_bytes: 256 << 10,
        ..Options::new(directory)
    };
    let (store, _) = Store::open(
        options,
        Arc::new(RealFs),
        Box::new(|_| {}),
        Box::new(|error| eprintln!("{error}")),
    )?;
    let handle = store.handle();
    let body = vec![7; SIZE];
    let (mut batch, mut places) = (Batch::new(), Vec::new());
    let first = handle.next_ids(MESSAGES);
    for run in 0..MESSAGES / 100 {
        let of_run: Vec<_> = (0..100)
            .map(|at| batch.publish(first + run * 100 + at, &[Destination::unstamped(1)], &[&body]))
            .collect();
        let appended = handle.append(&mut batch, Urgency::Now)?;
        places.extend(of_run.into_iter().map(|place| appended.location(place)));
        wait_for(&handle, false, appended.lsn);
    }
    while handle.pending_bytes() > 0 {
        std::thread::sleep(Duration::from_micros(50));
    }
    let open = std::fs::read_dir("/proc/self/fd")?.count();
    let begun = Instant::now();
    for run in places.chunks(100) {
        let payloads = handle.read_run(run);
        assert!(payloads.iter().all(Result::is_ok));
    }
    let in_order = MESSAGES as f64 / begun.elapsed().as_secs_f64();
    // Each from another segment than the one before.
    let across = (0..MESSAGES).map(|at| (at * 7919 % MESSAGES) as usize);
    let begun = Instant::now();
    for place in across.filter_map(|at| places.get(at)) {
        handle.read(*place)?;
    }
    let across = MESSAGES as f64 / begun.elapsed().as_secs_f64();
    let segments = handle.stats().segments;
    println!(
        "read back from {segments} segments, {open} files open: {in_order:.0} msg/s in runs, {across:.0} msg/s across"
    );
    store.close()?;
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

fn wait_for(handle: &Handle, each: bool, lsn: leveret_store::Lsn) {
    while each && handle.durable() < lsn {
        std::thread::yield_now();
    }
    while handle.pending_bytes() > PENDING {
        std::thread::sleep(Duration::from_micros(50));
    }
}
