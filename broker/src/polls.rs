//! How long tasks keep a thread of the runtime. Only in a build with `RUSTFLAGS="--cfg tokio_unstable"`: tokio tells it
//! then.
//!
//! Comes in: a runtime. Goes out: a line in the log at the end, with how many turns took how long, by the clock and by
//! the processor time of their thread: where more threads want to run than there are cores, the clock counts the
//! others' time too. Nothing on a runtime's thread should take more than a millisecond: all others on it wait.

use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, HistogramConfiguration, LogHistogram, RuntimeMetrics};

/// Turns are counted by their length: at least this number of microseconds.
const LEAST: [u64; 6] = [0, 500, 1000, 2000, 4000, 16_000];

static BY_PROCESSOR: [AtomicU64; LEAST.len()] = [const { AtomicU64::new(0) }; LEAST.len()];

thread_local! {
    static BEGUN: Cell<u64> = const { Cell::new(0) };
}

/// Counts the turns of a runtime.
pub fn count(builder: &mut Builder) {
    builder
        .enable_metrics_poll_time_histogram()
        .metrics_poll_time_histogram_configuration(HistogramConfiguration::log(LogHistogram::default()))
        .on_before_task_poll(|_| BEGUN.set(processor_micros()))
        .on_after_task_poll(|_| {
            let took = processor_micros() - BEGUN.get();
            for (least, count) in LEAST.iter().zip(&BY_PROCESSOR) {
                if took >= *least {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
}

/// Processor time of this thread.
fn processor_micros() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// Logs the result: turns so far, and of them those that took at least 0.5, 1, 2, 4 and 16 ms.
pub fn tell(metrics: &RuntimeMetrics) {
    let longer_than = |least: Duration| -> u64 {
        let buckets = 0..metrics.poll_time_histogram_num_buckets();
        let long = buckets.filter(|&bucket| metrics.poll_time_histogram_bucket_range(bucket).start >= least);
        let counts = long.flat_map(|bucket| {
            (0..metrics.num_workers()).map(move |worker| metrics.poll_time_histogram_bucket_count(worker, bucket))
        });
        counts.sum()
    };
    let by_clock = LEAST.map(|micros| longer_than(Duration::from_micros(micros)));
    let by_processor = BY_PROCESSOR.each_ref().map(|count| count.load(Ordering::Relaxed));
    tracing::info!(
        ?by_clock,
        ?by_processor,
        "turns of the runtime's threads: all, and those of at least 0.5, 1, 2, 4 and 16 ms"
    );
}
