//! One pass over the resources of a broker: all steps, from what the source has to what is reported.
//!
//! In: the source's resources, the link. Out: operations on the broker, reports, and when the next pass is due.
//! Does not know about how the steps decide, nor about what makes a pass worth it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::apply::{Applied, Failure, Moved, Retry, apply};
use super::away::Away;
use super::desired::{Desired, Relevant, Standing, desired};
use super::difference::{Owned, Plan, Verdict, difference};
use super::finalizer::{Farewell, add_finalizers, remove_finalizers};
use super::link::{Link, Up};
use super::memory::{Memory, unix_now};
use super::observe::Observed;
use super::report::{offline, recall, report};
use super::shared::Shared;
use super::tell::{FIRST_ATTEMPT, Teller};
use crate::broker::{Client, Connector, Error, Operation};
use crate::object::{ObjectKey, Reason, Snapshot};
use crate::resource::BrokerSpec;
use crate::source::Source;
use crate::topology::Effect;

/// Until a write to the source is tried again.
const SOURCE_RETRY: Duration = Duration::from_secs(1);

/// The state that passes over the resources of one broker have in common.
pub(super) struct Pass<S: Source, N: Connector> {
    key: ObjectKey,
    shared: Arc<Shared<S, N>>,
    relevant: Relevant,
    owned: Owned,
    memory: BTreeMap<ObjectKey, Memory>,
    tell: Teller<S, N>,
    wake: Option<Instant>,
}

impl<S: Source, N: Connector> Pass<S, N> {
    pub(super) fn new(key: ObjectKey, shared: Arc<Shared<S, N>>) -> Self {
        Self {
            tell: Teller::new(key.clone(), Arc::clone(&shared)),
            key,
            shared,
            relevant: Relevant::new(),
            owned: Owned::new(),
            memory: BTreeMap::new(),
            wake: None,
        }
    }

    /// Queues and exchanges that the resources depend on.
    pub(super) fn relevant(&self) -> &Relevant {
        &self.relevant
    }

    /// All steps once; the answer is when the next pass is due. `changed`: the source has changed since the last one.
    /// Cancelling it loses nothing that the next pass does not find out again.
    pub(super) async fn run(&mut self, link: &mut Link<N::Client>, changed: bool) -> Option<Instant> {
        self.wake = None;
        let snapshot = self.shared.source.snapshot();
        let broker = snapshot.get::<BrokerSpec>(&self.key);
        let mut desired = desired(&snapshot, &self.key);
        self.remember(&snapshot, &mut desired);
        let mended = link.is_mended(self.shared.source.as_ref(), changed, broker).await;
        match broker {
            Some(broker) => {
                let engine = snapshot.engines.get(&self.key).map(Arc::as_ref);
                let due = link.tend(&self.shared, broker, engine, mended);
                self.wake_by(due);
            }
            None => {
                self.tell.forget_broker();
                let leaving = desired.lose_broker(&Away::NoBroker.explain(&self.key));
                link.lose_broker(leaving);
            }
        }
        if changed {
            self.relevant = desired.relevant();
        }
        if link.is_up() {
            self.reconcile(link, &desired).await;
        }
        if let Some(up) = link.up() {
            let next = self.tell.numbers(&desired, &mut self.memory, up);
            self.wake_by(next);
        } else {
            self.go_without(link, &desired).await;
        }
        if let Some(broker) = broker {
            self.tell.broker(broker, &snapshot, &desired, &self.memory, link);
        }
        self.tell.count(&desired, &self.memory);
        let resync = link.up().map(|up| up.listed + self.resync(up));
        self.wake_by(resync);
        self.wake
    }

    /// Between two complete lists.
    fn resync(&self, up: &Up<N::Client>) -> Duration {
        self.shared.settings.between_lists(up.client.about().has_events)
    }

    /// Recalls what resources own that were not known before, forgets those that are gone, and leaves those alone that
    /// are only waiting to vanish.
    fn remember(&mut self, snapshot: &Snapshot, desired: &mut Desired) {
        for item in &desired.items {
            let leaving = matches!(item.standing, Standing::Leaving { .. });
            let known = self
                .memory
                .get(&item.key)
                .is_some_and(|memory| memory.uid == item.uid && (leaving || !memory.released));
            if let (false, Some(meta)) = (known, snapshot.meta(&item.key)) {
                self.memory.insert(item.key.clone(), Memory::new(meta));
                self.owned.insert(item.key.clone(), recall(meta));
            }
        }
        let here: BTreeSet<&ObjectKey> = desired.items.iter().map(|item| &item.key).collect();
        self.memory.retain(|key, _| here.contains(key));
        self.owned.retain(|key, _| here.contains(key));
        let memory = &self.memory;
        desired
            .items
            .retain(|item| !memory.get(&item.key).is_some_and(|memory| memory.released));
    }

    /// Observe, difference, apply, report.
    async fn reconcile(&mut self, link: &mut Link<N::Client>, desired: &Desired) {
        let Some(up) = link.up_mut() else { return };
        if let Err(error) = self.observe(up).await {
            link.lose(Away::from(error));
            return;
        }
        let Some(observed) = &mut up.observed else { return };
        let mut plan = difference(desired, &observed.topology, &self.owned);
        let mut failed = self.hold_back(&mut plan);
        self.finalize(desired, &mut plan, &mut failed).await;
        self.count_repairs(&plan, observed);
        let applied = apply(&up.client, &plan, observed, &self.shared.metrics).await;
        let doubtful = observed.is_doubted();
        self.absorb(link, desired, &plan, applied, failed).await;
        if doubtful {
            self.wake_at(Instant::now());
        }
    }

    /// Lists the broker when nothing is known, something is in doubt, or it is time.
    async fn observe(&self, up: &mut Up<N::Client>) -> Result<(), Error> {
        let fresh = matches!(&up.observed, Some(observed) if !observed.needs_list(&self.relevant));
        if fresh && up.listed.elapsed() < self.resync(up) {
            return Ok(());
        }
        let started = Instant::now();
        let listed = up.client.list().await;
        let outcome = listed.as_ref().map_or_else(Error::outcome, |_| "ok");
        self.shared.metrics.broker_call("list", outcome, started.elapsed());
        up.observed = Some(Observed::listed(listed?));
        up.listed = Instant::now();
        Ok(())
    }

    /// Takes the steps out of the plan that have failed before and are not due again, with their failures.
    fn hold_back(&mut self, plan: &mut Plan) -> BTreeMap<ObjectKey, Failure> {
        let mut steps: BTreeMap<&ObjectKey, Vec<&Operation>> = BTreeMap::new();
        for step in &plan.steps {
            steps.entry(&step.key).or_default().push(&step.operation);
        }
        let now = Instant::now();
        let mut failed = BTreeMap::new();
        for (key, memory) in &mut self.memory {
            match steps.get(key) {
                None => memory.trouble = None,
                Some(steps) => {
                    if let Some(failure) = memory.standing_failure(steps, now) {
                        failed.insert(key.clone(), failure.clone());
                    }
                }
            }
        }
        plan.steps.retain(|step| !failed.contains_key(&step.key));
        failed
    }

    /// Nothing is created, or taken over, for a resource without finalizer.
    async fn finalize(&mut self, desired: &Desired, plan: &mut Plan, failed: &mut BTreeMap<ObjectKey, Failure>) {
        let bare = desired.items.iter().filter(|item| {
            let memory = self.memory.get(&item.key);
            let synced = matches!(plan.verdicts.get(&item.key), Some(Verdict::Synced(_)));
            synced
                && !failed.contains_key(&item.key)
                && !item.finalized
                && !memory.is_some_and(|memory| memory.finalized)
        });
        let bare: Vec<ObjectKey> = bare.map(|item| item.key.clone()).collect();
        for (key, result) in add_finalizers(Arc::clone(&self.shared.source), bare).await {
            match result {
                Ok(()) => {
                    if let Some(memory) = self.memory.get_mut(&key) {
                        memory.finalized = true;
                    }
                }
                Err(error) => {
                    tracing::warn!("{key}: cannot add the finalizer: {error}");
                    let failure = Failure {
                        reason: Reason::BrokerError,
                        message: format!("cannot add the finalizer, so nothing is declared: {error}"),
                        retry: Retry::Soon,
                    };
                    failed.insert(key, failure);
                    self.wake_at(Instant::now() + SOURCE_RETRY);
                }
            }
        }
        plan.steps.retain(|step| !failed.contains_key(&step.key));
    }

    fn count_repairs(&self, plan: &Plan, observed: &Observed) {
        for step in plan.steps.iter().filter(|step| step.creates()) {
            let identity = step.operation.identity();
            let owns = self.owned.get(&step.key).is_some_and(|owned| owned.contains(&identity));
            if owns && !observed.topology.contains(&identity) {
                tracing::info!("{}: {identity} was gone, putting it back", step.key);
                self.shared.metrics.repaired(step.key.kind);
            }
        }
    }

    /// Takes in how a plan came out, reports, and lets go what may go.
    async fn absorb(
        &mut self,
        link: &mut Link<N::Client>,
        desired: &Desired,
        plan: &Plan,
        applied: Applied,
        mut failed: BTreeMap<ObjectKey, Failure>,
    ) {
        for Moved { key, effect } in applied.moved {
            let Effect { identity, stands } = effect;
            let owned = self.owned.entry(key).or_default();
            if stands {
                owned.insert(identity);
            } else {
                owned.remove(&identity);
            }
        }
        if let Some(text) = applied.lost {
            link.lose(Away::Unreachable(Reason::WaitingForBroker, text));
            return;
        }
        self.note_failures(plan, applied.failed, &mut failed);
        let mut reports = Vec::new();
        let mut released = Vec::new();
        for item in &desired.items {
            let Some(verdict) = plan.verdicts.get(&item.key) else {
                continue;
            };
            let failure = failed.get(&item.key);
            let owned = self.owned.entry(item.key.clone()).or_default();
            match (verdict, failure, &item.standing) {
                (Verdict::Synced(identity), None, _) => {
                    owned.insert(identity.clone());
                }
                (Verdict::Disowned(..), ..) => owned.clear(),
                (Verdict::Released(text), None, _) => {
                    released.push(Farewell::new(item, text.clone()));
                    continue;
                }
                (Verdict::Released(_), Some(failure), Standing::Leaving { forced: true, .. }) => {
                    let text = format!("let go by annotation: {}", failure.message);
                    released.push(Farewell::new(item, Some(text)));
                    continue;
                }
                _ => {}
            }
            let did_something = applied.touched.contains(&item.key);
            reports.extend(report(item, verdict, failure, owned, did_something));
        }
        self.tell.write(reports, &mut self.memory, link);
        self.release(released).await;
        let due = self
            .memory
            .values()
            .filter_map(|memory| memory.trouble.as_ref())
            .map(|trouble| trouble.due)
            .min();
        if let Some(due) = due {
            self.wake_at(due);
        }
    }

    /// New failures go into memory, so that they are not repeated hot. What waits for an end of a binding does not need
    /// that: it is no step again until the end is there.
    fn note_failures(
        &mut self,
        plan: &Plan,
        new: BTreeMap<ObjectKey, Failure>,
        failed: &mut BTreeMap<ObjectKey, Failure>,
    ) {
        let now = Instant::now();
        let mut steps: BTreeMap<&ObjectKey, Vec<Operation>> = BTreeMap::new();
        for step in plan.steps.iter().filter(|step| new.contains_key(&step.key)) {
            steps.entry(&step.key).or_default().push(step.operation.clone());
        }
        for (key, mut failure) in new {
            if failure.reason == Reason::Mismatch && self.owned.get(&key).is_some_and(|owned| !owned.is_empty()) {
                failure.reason = Reason::Immutable;
            }
            let waits = matches!(failure.reason, Reason::WaitingForSource | Reason::WaitingForDestination);
            if let (Some(memory), false) = (self.memory.get_mut(&key), waits) {
                memory.fail(steps.remove(&key).unwrap_or_default(), failure.clone(), now);
            }
            failed.insert(key, failure);
        }
    }

    /// The work and the reports while the broker is away.
    async fn go_without(&mut self, link: &Link<N::Client>, desired: &Desired) {
        let settled = link.was_attempted() || *link.away() == Away::NoBroker;
        if !settled && link.down_since().elapsed() < FIRST_ATTEMPT {
            self.wake_at(link.down_since() + FIRST_ATTEMPT);
            return;
        }
        let patience = i64::try_from(self.shared.settings.deletion_timeout.as_secs()).unwrap_or(i64::MAX);
        let now = unix_now();
        let in_grace = link.down_since().elapsed() < self.shared.settings.grace && *link.away() != Away::NoBroker;
        let nothing = BTreeSet::new();
        let mut reports = Vec::new();
        let mut released = Vec::new();
        let mut deadlines = Vec::new();
        for item in &desired.items {
            let owned = self.owned.get(&item.key).unwrap_or(&nothing);
            let (verdict, deadline) = offline(item, owned, link.away(), &self.key, now, patience);
            deadlines.extend(deadline);
            let said = self.memory.get(&item.key).is_some_and(|memory| memory.last.is_some());
            match verdict {
                Verdict::Released(text) if settled => released.push(Farewell::new(item, text)),
                Verdict::Not(Reason::WaitingForBroker, _) if said && in_grace => {}
                Verdict::Disowned(..) => reports.extend(report(item, &verdict, None, &nothing, false)),
                verdict => reports.extend(report(item, &verdict, None, owned, false)),
            }
        }
        self.tell.write(reports, &mut self.memory, link);
        self.release(released).await;
        if in_grace {
            self.wake_at(link.down_since() + self.shared.settings.grace);
        }
        if let Some(deadline) = deadlines.into_iter().min() {
            let seconds = u64::try_from(deadline.saturating_sub(now)).unwrap_or_default().max(1);
            self.wake_at(Instant::now() + Duration::from_secs(seconds));
        }
    }

    /// Takes the finalizers off.
    async fn release(&mut self, farewells: Vec<Farewell>) {
        for (key, result) in remove_finalizers(Arc::clone(&self.shared.source), farewells).await {
            match result {
                Ok(()) => {
                    self.owned.remove(&key);
                    if let Some(memory) = self.memory.get_mut(&key) {
                        memory.released = true;
                    }
                }
                Err(error) => {
                    tracing::warn!("{key}: cannot remove the finalizer: {error}");
                    self.wake_at(Instant::now() + SOURCE_RETRY);
                }
            }
        }
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn wake_by(&mut self, at: Option<Instant>) {
        if let Some(at) = at {
            self.wake_at(at);
        }
    }
}
