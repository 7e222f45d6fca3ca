//! Waiting: a condition is asked again and again until it holds or its deadline passes.
//!
//! In: a question and a deadline. Out: its answer, or a panic that says what was awaited and for how long.
//! Does not know about what is asked.

use std::fmt::Debug;
use std::future::Future;
use std::thread;
use std::time::{Duration, Instant};

/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until the answer is `Ok`; panics with the last `Err` once `within` has passed. Returns the answer and how long
/// it took, which a test may bound more tightly than its patience.
pub fn eventually<T, E: Debug>(what: &str, within: Duration, mut ask: impl FnMut() -> Result<T, E>) -> (T, Duration) {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return (answer, start.elapsed()),
            Err(reason) if start.elapsed() >= within => panic!("not within {within:?}: {what}: {reason:?}"),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// [`eventually`] for a yes or no.
pub fn until(what: &str, within: Duration, mut ask: impl FnMut() -> bool) -> Duration {
    eventually(what, within, || if ask() { Ok(()) } else { Err("still no") }).1
}

/// [`eventually`] for a question that is asked asynchronously.
pub async fn eventually_async<T, E: Debug, F: Future<Output = Result<T, E>>>(
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> F,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return (answer, start.elapsed()),
            Err(reason) if start.elapsed() >= within => panic!("not within {within:?}: {what}: {reason:?}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
