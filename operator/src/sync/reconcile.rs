//! The loop of one broker: waits for something to happen, and takes the resources once through the steps.
//!
//! In: changes of the source, events of the broker, time. Out: operations on the broker, reports to the source.
//! Does not know about how the steps decide; they are modules of their own.

mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::apply::{Applied, Failure, Retry, apply};
use super::desired::{Desired, Standing, describe, desired, is_set};
use super::difference::{Owned, Plan, Verdict, difference};
use super::finalizer::{Farewell, add_finalizers, remove_finalizers};
use super::link::{Attempt, Failed, Link, News, POD_AWAY, connect, is_held, is_other, until};
use super::memory::{Memory, unix_now};
use super::observe::{Observed, Relevant, concerns};
use super::pace::Pace;
use super::report::{Away, offline, recall, report};
use super::writer::Writer;
use crate::broker::{Client, Connector, Error, Event, Operation};
use crate::object::{Connection, Object, ObjectKey, PAUSED, Reason, StatusReport, World};
use crate::resource::BrokerSpec;
use crate::source::Source;

/// How long a first attempt may take before resources are told that they wait.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);
/// Until a write to the source is tried again.
const SOURCE_RETRY: Duration = Duration::from_secs(1);

/// Keeps one broker in step.
pub(super) struct Reconciler<S: Source, N: Connector> {
    key: ObjectKey,
    shared: Arc<Shared<S, N>>,
    writer: Writer,
    link: Link<N::Client>,
    /// Why the link is not up, and since when.
    away: Away,
    down_since: Instant,
    /// An attempt to connect has been made, so that `away` is a finding and not a beginning.
    attempted: bool,
    /// The `Broker` that the link was made for: uid and generation.
    made_for: Option<(String, i64)>,
    /// The source has changed since the last pass.
    changed: bool,
    relevant: Relevant,
    observed: Option<Observed>,
    listed: Instant,
    owned: Owned,
    memory: BTreeMap<ObjectKey, Memory>,
    broker_last: Option<StatusReport>,
    pace: Pace,
    wake: Option<Instant>,
    /// What the last attempt was made with, when the broker did not let it in.
    refused: Option<Box<Connection>>,
    /// The source has changed since what was refused was last compared with what is there now.
    other: bool,
    /// The pod of a broker that the operator runs is up.
    pod_up: bool,
}

impl<S: Source, N: Connector> Reconciler<S, N> {
    pub(super) fn new(key: ObjectKey, shared: Arc<Shared<S, N>>) -> Self {
        let now = Instant::now();
        Self {
            key,
            writer: Writer::new(Arc::clone(&shared.source)),
            shared,
            link: Link::idle(),
            away: Away::Unreachable(Reason::WaitingForBroker, "connecting".to_owned()),
            down_since: now,
            attempted: false,
            made_for: None,
            changed: true,
            relevant: Relevant::new(),
            observed: None,
            listed: now,
            owned: Owned::new(),
            memory: BTreeMap::new(),
            broker_last: None,
            pace: Pace::default(),
            wake: None,
            refused: None,
            other: false,
            pod_up: false,
        }
    }

    /// Runs until `shutdown`; leaves the broker as it is.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut changed = self.shared.source.changed();
        loop {
            changed.mark_unchanged();
            let started = Instant::now();
            tokio::select! {
                () = self.pass() => self.shared.metrics.synced(started.elapsed()),
                () = shutdown.cancelled() => break,
            }
            let mut worth_it = false;
            while !worth_it {
                let wake = self.wake;
                worth_it = tokio::select! {
                    () = shutdown.cancelled() => break,
                    news = self.link.news() => self.take(news),
                    result = changed.changed() => {
                        if result.is_err() {
                            break;
                        }
                        self.changed = true;
                        true
                    }
                    () = until(wake) => true,
                };
            }
            if shutdown.is_cancelled() || changed.has_changed().is_err() {
                break;
            }
            sleep(self.shared.settings.debounce).await;
            while let Some(event) = self.link.more() {
                self.hear(&event);
            }
        }
        if let Link::Up { client, .. } = &self.link {
            client.close().await;
        }
        self.shared.count(&self.key, std::iter::empty());
    }

    /// Takes in news of the link; whether a pass is worth it.
    fn take(&mut self, news: News<N::Client>) -> bool {
        match news {
            News::Event(event) => self.hear(&event),
            News::Attempted(attempt) => {
                self.attempted_to_connect(attempt);
                true
            }
        }
    }

    fn hear(&mut self, event: &Event) -> bool {
        if let Event::Lost(text) = event {
            self.lose(Away::Unreachable(Reason::WaitingForBroker, text.clone()));
            return true;
        }
        let news = self.observed.as_mut().is_some_and(|observed| observed.hear(event));
        news && concerns(event, &self.relevant)
    }

    fn attempted_to_connect(&mut self, attempt: Attempt<N::Client>) {
        self.attempted = true;
        match attempt {
            Ok((client, events, endpoint)) => {
                tracing::info!(broker = %self.key, endpoint = endpoint.amqp, version = client.about().version, "connected");
                self.observed = None;
                self.memory.values_mut().for_each(|memory| memory.trouble = None);
                self.link = Link::Up {
                    client,
                    events,
                    endpoint,
                };
            }
            Err(Failed { away, with }) => {
                self.refused = with;
                let attempts = match &self.link {
                    Link::Connecting { attempts, .. } => *attempts,
                    _ => 0,
                };
                if self.away != away {
                    tracing::warn!("{}", away.explain(&self.key));
                }
                self.link = Link::failed(attempts, &away);
                self.away = away;
            }
        }
    }

    fn lose(&mut self, away: Away) {
        tracing::warn!("{}", away.explain(&self.key));
        self.link = Link::failed(0, &away);
        self.away = away;
        self.down_since = Instant::now();
        self.observed = None;
    }

    /// All steps once. Cancelling it loses nothing that the next pass does not find out again.
    async fn pass(&mut self) {
        self.wake = None;
        let world = self.shared.source.world();
        let broker = world.brokers.get(&self.key).cloned();
        let mut desired = desired(&world, &self.key);
        self.remember(&world, &mut desired);
        let mended = self.is_mended(broker.as_ref()).await;
        self.tend_link(broker.as_ref(), &world, mended, &mut desired);
        if std::mem::take(&mut self.changed) {
            self.relevant = desired.relevant();
        }
        if self.link.is_up() {
            self.reconcile(&desired).await;
        }
        self.tell_numbers(&desired);
        if !self.link.is_up() {
            self.go_without(&desired).await;
        }
        if let Some(broker) = &broker {
            self.report_broker(broker, &world, &desired);
        }
        self.count(&desired);
        if let Some(resync) = self.resync() {
            self.wake_at(self.listed + resync);
        }
    }

    /// Between two complete lists; `None` while the broker is away.
    fn resync(&self) -> Option<Duration> {
        let Link::Up { client, .. } = &self.link else {
            return None;
        };
        let settings = &self.shared.settings;
        Some(match client.about().has_events {
            true => settings.resync,
            false => settings.resync_without_events,
        })
    }

    /// Recalls what resources own that were not known before, forgets those that are gone, and leaves those alone that
    /// are only waiting to vanish.
    fn remember(&mut self, world: &World, desired: &mut Desired) {
        for item in &desired.items {
            let leaving = matches!(item.standing, Standing::Leaving { .. });
            let known = self
                .memory
                .get(&item.key)
                .is_some_and(|memory| memory.uid == item.uid && (leaving || !memory.released));
            if let (false, Some(meta)) = (known, world.meta(&item.key)) {
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

    /// Whether the source has changed in a way that may let us in where we were not let in before. A login that was
    /// refused is tried again only with another password: the source changes all the time.
    async fn is_mended(&mut self, broker: Option<&Arc<Object<BrokerSpec>>>) -> bool {
        self.other |= self.changed;
        let (Link::Down { .. }, Some(broker)) = (&self.link, broker) else {
            return false;
        };
        match self.away {
            Away::NoBroker | Away::Unusable(..) => std::mem::take(&mut self.other),
            Away::Unreachable(Reason::NotAllowed, _) => {
                std::mem::take(&mut self.other)
                    && is_other(self.shared.source.as_ref(), broker, self.refused.as_deref()).await
            }
            Away::Unreachable(..) => false,
        }
    }

    /// Connects when it is time, and starts anew when the `Broker` has changed. A connection outlives its `Broker` as
    /// long as something has to be cleaned up.
    fn tend_link(
        &mut self,
        broker: Option<&Arc<Object<BrokerSpec>>>,
        world: &World,
        mended: bool,
        desired: &mut Desired,
    ) {
        let Some(broker) = broker else {
            self.away = Away::NoBroker;
            self.made_for = None;
            self.broker_last = None;
            let leaving = desired.lose_broker(&self.away.explain(&self.key));
            if !(self.link.is_up() && leaving) {
                self.link = Link::idle();
            }
            return;
        };
        let identity = (broker.meta.uid.clone(), broker.meta.generation);
        if self.made_for.as_ref() != Some(&identity) {
            let first = self.made_for.replace(identity).is_none();
            if first {
                self.away = Away::Unreachable(Reason::WaitingForBroker, "connecting".to_owned());
                self.attempted = false;
            }
            self.down_since = Instant::now();
            self.observed = None;
            self.link = Link::idle();
        }
        let engine = world.engines.get(&self.key);
        let pod_up = engine.is_some_and(|engine| engine.pending.is_none());
        let came_up = !std::mem::replace(&mut self.pod_up, pod_up) && pod_up;
        if came_up && matches!(self.link, Link::Connecting { .. }) {
            // An attempt that began before may hang: there was nobody to refuse it.
            self.link = Link::idle();
        }
        let Link::Down { attempts, due } = self.link else {
            return;
        };
        if is_set(&broker.meta.annotations, PAUSED) {
            return;
        }
        let (mended, due) = if is_held(broker, engine.map(Arc::as_ref)) {
            self.attempted = true; // that the pod is not up is a finding, too
            (false, due.max(self.down_since + POD_AWAY))
        } else {
            (mended, due)
        };
        if mended || came_up || due <= Instant::now() {
            // What changes while the attempt is under way may come too late for it.
            self.other = false;
            self.link = Link::Connecting {
                attempts,
                task: tokio::spawn(connect(Arc::clone(&self.shared), Arc::clone(broker))),
            };
        } else {
            self.wake_at(due);
        }
    }

    /// Observe, difference, apply, report.
    async fn reconcile(&mut self, desired: &Desired) {
        if let Err(error) = self.observe().await {
            self.lose(Away::from(error));
            return;
        }
        let Some(observed) = &self.observed else { return };
        let mut plan = difference(desired, &observed.topology, &self.owned);
        let mut failed = self.hold_back(&mut plan);
        self.finalize(desired, &mut plan, &mut failed).await;
        self.count_repairs(&plan);
        let (Link::Up { client, .. }, Some(observed)) = (&self.link, &mut self.observed) else {
            return;
        };
        let applied = apply(client, &plan, observed, &self.shared.metrics).await;
        let doubtful = observed.is_doubted();
        self.absorb(desired, &plan, applied, failed).await;
        if doubtful {
            self.wake_at(Instant::now());
        }
    }

    /// Lists the broker when nothing is known, something is in doubt, or it is time.
    async fn observe(&mut self) -> Result<(), Error> {
        let (Link::Up { client, .. }, Some(resync)) = (&self.link, self.resync()) else {
            return Ok(());
        };
        let fresh = matches!(&self.observed, Some(observed) if !observed.needs_list(&self.relevant));
        if fresh && self.listed.elapsed() < resync {
            return Ok(());
        }
        let started = Instant::now();
        let listed = client.list().await;
        let outcome = listed.as_ref().map_or_else(Error::outcome, |_| "ok");
        self.shared.metrics.broker_call("list", outcome, started.elapsed());
        self.observed = Some(Observed::listed(listed?));
        self.listed = Instant::now();
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

    fn count_repairs(&self, plan: &Plan) {
        for step in plan.steps.iter().filter(|step| step.creates()) {
            let (identity, _) = step.operation.effect();
            if self.owned.get(&step.key).is_some_and(|owned| owned.contains(&identity)) {
                tracing::info!("{}: {} was gone, putting it back", step.key, describe(&identity));
                self.shared.metrics.repaired(step.key.kind);
            }
        }
    }

    /// Takes in how a plan came out, reports, and lets go what may go.
    async fn absorb(
        &mut self,
        desired: &Desired,
        plan: &Plan,
        applied: Applied,
        mut failed: BTreeMap<ObjectKey, Failure>,
    ) {
        for (key, identity, gained) in applied.moved {
            let owned = self.owned.entry(key).or_default();
            if gained {
                owned.insert(identity);
            } else {
                owned.remove(&identity);
            }
        }
        if let Some(text) = applied.lost {
            self.lose(Away::Unreachable(Reason::WaitingForBroker, text));
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
        self.write(reports);
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

    /// What there is to say and do while the broker is away.
    async fn go_without(&mut self, desired: &Desired) {
        let settled = self.attempted || self.away == Away::NoBroker;
        if !settled && self.down_since.elapsed() < FIRST_ATTEMPT {
            self.wake_at(self.down_since + FIRST_ATTEMPT);
            return;
        }
        let patience = i64::try_from(self.shared.settings.deletion_timeout.as_secs()).unwrap_or(i64::MAX);
        let now = unix_now();
        let in_grace = self.down_since.elapsed() < self.shared.settings.grace && self.away != Away::NoBroker;
        let nothing = BTreeSet::new();
        let mut reports = Vec::new();
        let mut released = Vec::new();
        let mut deadlines = Vec::new();
        for item in &desired.items {
            let owned = self.owned.get(&item.key).unwrap_or(&nothing);
            let (verdict, deadline) = offline(item, owned, &self.away, &self.key, now, patience);
            deadlines.extend(deadline);
            let said = self.memory.get(&item.key).is_some_and(|memory| memory.last.is_some());
            match verdict {
                Verdict::Released(text) if settled => released.push(Farewell::new(item, text)),
                Verdict::Not(Reason::WaitingForBroker, _) if said && in_grace => {}
                Verdict::Disowned(..) => reports.extend(report(item, &verdict, None, &nothing, false)),
                verdict => reports.extend(report(item, &verdict, None, owned, false)),
            }
        }
        self.write(reports);
        self.release(released).await;
        if in_grace {
            self.wake_at(self.down_since + self.shared.settings.grace);
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
}
