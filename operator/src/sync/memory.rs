//! What a loop remembers of each resource between two passes.
//!
//! In: outcomes. Out: when a failed step is due again, what was last reported.
//! Does not know about brokers or sources.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::Rng;
use tokio::time::Instant;

use super::apply::{Failure, Retry};
use crate::broker::Operation;
use crate::object::{ConditionStatus, Meta, ObjectKey, QueueNumbers, Reason, StatusReport};

/// The memory of all resources of a broker.
pub(super) type Memories = BTreeMap<ObjectKey, Memory>;

/// The memory of one resource.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) uid: String,
    /// The finalizer was taken away; the resource is about to vanish.
    pub(super) released: bool,
    /// Labels, annotations and generation of the last pass.
    touched: (u64, i64),
    pub(super) trouble: Option<Trouble>,
    pub(super) last: Option<StatusReport>,
    /// Its status was written by whoever was at work before, and for the spec that it has.
    pub(super) was_told: bool,
    /// Since when it waits for another resource, and has not said so.
    waits: Option<Instant>,
    /// The numbers of a queue that were last said.
    pub(super) numbers: Option<QueueNumbers>,
}

/// A step that failed, and when to try again.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) steps: Vec<Operation>,
    pub(super) failure: Failure,
    attempts: u32,
    pub(super) due: Instant,
    /// The same in Unix seconds, where it is not soon.
    later: Option<i64>,
}

impl Memory {
    /// Of a resource that was not known before.
    pub(super) fn new(meta: &Meta) -> Self {
        Self {
            uid: meta.uid.clone(),
            released: false,
            touched: (meta.touched, meta.generation),
            trouble: None,
            last: None,
            was_told: meta.status.looked_at == Some(meta.generation),
            waits: None,
            numbers: meta.status.queue.clone(),
        }
    }

    /// Something was said of it, by this operator or the one before.
    pub(super) fn is_told(&self) -> bool {
        self.last.is_some() || self.was_told
    }

    /// The time until which nothing need be said of a resource of which nothing was said yet: what it waits for may be
    /// applied in this moment, and one status is written in place of two.
    pub(super) fn holds_back(&mut self, report: &StatusReport, patience: Duration, now: Instant) -> Option<Instant> {
        let owns_nothing = report.name.is_none() && !report.did_something;
        if self.last.is_some() || !report.reason.awaits_another() || !owns_nothing {
            self.waits = None;
            return None;
        }
        let due = *self.waits.get_or_insert(now) + patience;
        (now < due).then_some(due)
    }

    /// Was last reported as Ready.
    pub(super) fn is_ready(&self) -> bool {
        self.last
            .as_ref()
            .is_some_and(|last| last.ready == ConditionStatus::True)
    }

    /// Looks at the resource: after somebody has touched it, what failed is tried again at once.
    pub(super) fn see(&mut self, meta: &Meta) {
        let touched = (meta.touched, meta.generation);
        if std::mem::replace(&mut self.touched, touched) == touched {
            return;
        }
        if let Some(trouble) = &mut self.trouble {
            trouble.due = Instant::now();
            trouble.attempts = 0;
        }
    }

    /// Unix seconds of the next attempt at what failed; `None` where it is soon.
    pub(super) fn next_try(&self) -> Option<i64> {
        self.trouble.as_ref()?.later
    }

    /// The failure that still stands: the same steps have failed, and it is not yet time to try again.
    pub(super) fn standing_failure(&self, steps: &[&Operation], now: Instant) -> Option<&Failure> {
        let trouble = self.trouble.as_ref()?;
        let same = trouble.steps.len() == steps.len() && trouble.steps.iter().zip(steps).all(|(old, new)| old == *new);
        (same && now < trouble.due).then_some(&trouble.failure)
    }

    /// Notes that `steps` have failed.
    pub(super) fn fail(&mut self, steps: Vec<Operation>, failure: Failure, now: Instant) {
        let attempts = match &self.trouble {
            Some(trouble) if trouble.steps == steps => trouble.attempts.saturating_add(1),
            _ => 0,
        };
        let pause = pause(&failure, attempts);
        let seconds = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX);
        self.trouble = Some(Trouble {
            due: now + pause,
            later: (pause >= SOON).then(|| unix_now().saturating_add(seconds)),
            steps,
            failure,
            attempts,
        });
    }
}

/// A pause of which nothing is said.
const SOON: Duration = Duration::from_secs(10);

/// Back-off: from a second or two to a limit, doubling. A user waits for a deletion that only a consumer can end, or
/// for a virtual host, so these have a low limit; a permission or a plugin may be granted a moment after it was
/// refused.
fn pause(failure: &Failure, attempts: u32) -> Duration {
    let limit = match (failure.retry, failure.reason) {
        (Retry::Rarely, _) => return backoff(Duration::from_secs(2), Duration::from_secs(300), attempts),
        (Retry::Soon, Reason::DeletionBlocked) => 4,
        (Retry::Soon, Reason::WaitingForVhost) => 8,
        (Retry::Soon, _) => 32,
    };
    backoff(Duration::from_secs(1), Duration::from_secs(limit), attempts)
}

/// `first`, doubled for each attempt, at most `limit`, give or take a fifth so that many do not come at once.
pub(super) fn backoff(first: Duration, limit: Duration, attempts: u32) -> Duration {
    jitter(first.saturating_mul(2_u32.saturating_pow(attempts.min(16))).min(limit))
}

/// Now, in Unix seconds, as Kubernetes counts the age of a deletion.
pub(super) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

fn jitter(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.8..=1.2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Declared, Name, Named, QueueDefinition};

    #[test]
    fn backoff_grows_to_its_limit() {
        let (first, limit) = (Duration::from_secs(1), Duration::from_secs(8));
        for (attempts, seconds) in [(0, 1.0), (1, 2.0), (3, 8.0), (4, 8.0), (1_000, 8.0)] {
            let pause = backoff(first, limit, attempts).as_secs_f64();
            assert!((seconds * 0.8..=seconds * 1.2).contains(&pause), "{attempts}: {pause}");
        }
    }

    #[test]
    fn a_failure_stands_until_it_is_due_or_something_else_is_wanted() {
        let operation = |name: &str| {
            Operation::Declare(Declared::Queue(Named::new(
                Name::new("/", name),
                QueueDefinition::default(),
            )))
        };
        let mut memory = Memory {
            uid: String::new(),
            released: false,
            touched: (0, 1),
            trouble: None,
            last: None,
            was_told: false,
            waits: None,
            numbers: None,
        };
        let failure = Failure {
            reason: Reason::InvalidArgument,
            message: "no".to_owned(),
            retry: Retry::Rarely,
        };
        let now = Instant::now();
        memory.fail(vec![operation("a")], failure.clone(), now);
        let soon = now + Duration::from_secs(1);
        assert_eq!(memory.standing_failure(&[&operation("a")], soon), Some(&failure));
        assert_eq!(memory.standing_failure(&[&operation("b")], soon), None);
        let later = now + Duration::from_secs(3);
        assert_eq!(memory.standing_failure(&[&operation("a")], later), None);
        assert_eq!(memory.next_try(), None, "it is soon");
        for _ in 0..10 {
            memory.fail(vec![operation("a")], failure.clone(), now);
        }
        let minutes = now + Duration::from_secs(200);
        assert_eq!(memory.standing_failure(&[&operation("a")], minutes), Some(&failure));
        let next = memory.next_try().expect("it is said when") - unix_now();
        assert!((235..=365).contains(&next), "{next}");
        memory.see(&touched(7));
        assert_eq!(memory.standing_failure(&[&operation("a")], Instant::now()), None);
    }

    fn touched(touched: u64) -> Meta {
        Meta {
            key: crate::object::ObjectKey::new(crate::object::Kind::Queue, "shop", "a"),
            uid: String::new(),
            generation: 1,
            created: 0,
            deleting: None,
            annotations: Default::default(),
            touched,
            finalized: true,
            status: Default::default(),
        }
    }
}
