//! Objects that are being deleted: each goes within a bounded time, those that hold messages once these are taken.
//!
//! In: lists of the objects. Out: the longest time that a deletion took, or a panic that names what hangs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::stand::Stand;
use super::{BOUND, Soak};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// Until the end: takes messages out of queues that are held up by them, as a consumer would.
pub(super) async fn watch(soak: Arc<Soak>) -> Duration {
    let mut since: BTreeMap<String, Instant> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    while soak.goes_on() {
        let stand = Stand::now(&soak).await;
        let mut before = std::mem::take(&mut since);
        for found in stand
            .objects
            .iter()
            .filter(|found| found.is_leaving() && !found.is_kept())
        {
            let uid = found.object.metadata.uid.clone().expect("it has one");
            let seen = before.remove(&uid).unwrap_or_else(Instant::now);
            longest = longest.max(seen.elapsed());
            assert!(seen.elapsed() < BOUND, "it hangs: {}", found.told());
            since.insert(uid, seen);
        }
        stand.take_messages(&soak);
        tokio::time::sleep(PAUSE).await;
    }
    longest
}
