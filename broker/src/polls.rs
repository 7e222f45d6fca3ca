//! How long tasks keep a thread of the runtime. Only in a build with `RUSTFLAGS="--cfg tokio_unstable"`: tokio counts it then.
//!
//! Comes in: a runtime. Goes out: a line in the log at the end, with how many turns took how long. Nothing on a runtime's thread should
//! take more than a millisecond: everybody else on it waits.

use std::time::Duration;
use tokio::runtime::{Builder, HistogramConfiguration, LogHistogram, RuntimeMetrics};

/// Has tokio count.
pub fn count(builder: &mut Builder) {
    builder
        .enable_metrics_poll_time_histogram()
        .metrics_poll_time_histogram_configuration(HistogramConfiguration::log(LogHistogram::default()));
}

/// Says what it came to: turns so far, and of them those that took at least 0.5, 1, 2, 4 and 16 ms.
pub fn tell(metrics: &RuntimeMetrics) {
    let longer_than = |least: Duration| -> u64 {
        let buckets = 0..metrics.poll_time_histogram_num_buckets();
        let long = buckets.filter(|&bucket| metrics.poll_time_histogram_bucket_range(bucket).start >= least);
        let counts = long.flat_map(|bucket| {
            (0..metrics.num_workers()).map(move |worker| metrics.poll_time_histogram_bucket_count(worker, bucket))
        });
        counts.sum()
    };
    let [all, half, one, two, four, sixteen] =
        [0, 500, 1000, 2000, 4000, 16_000].map(|micros| longer_than(Duration::from_micros(micros)));
    tracing::info!(
        all,
        half,
        one,
        two,
        four,
        sixteen,
        "turns of the runtime's threads, and those of so many ms"
    );
}
