//! One pass over the resources of a broker: all steps, from what the source has to what is reported.
//!
//! In: the source's resources, the link. Out: operations on the broker, reports, and when the next pass is due.
//! Does not know about how the steps decide, nor about what makes a pass worth it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::apply::{Applied, Failure, Moved, Retry, apply};
use super::aside::{Aside, Times, Turn};
use super::away::Away;
use super::desired::{Desired, Item, Owned, Relevant, Standing, desired_among};
use super::difference::{Plan, Verdict, difference};
use super::finalizer::{Farewell, add_finalizers, remove_finalizers, summary};
use super::link::{Link, Up};
use super::memory::{Memories, Memory, unix_now};
use super::observe::Observed;
use super::parting::{Decision, Parting, asks_first};
use super::repair::Repairs;
use super::report::{left_behind, offline, recall, report, starting};
use super::shared::Shared;
use super::sockets::{self, Sockets};
use super::tell::{FIRST_ATTEMPT, Teller};
use super::troubles;
use crate::broker::{Client, Connector, Error, Event};
use crate::metrics::BrokerMetrics;
use crate::object::{ConditionStatus, EngineState, Object, ObjectKey, PAUSED, Reason, Snapshot, is_set};
use crate::resource::BrokerSpec;
use crate::source::{Source, SourceError};
use crate::topology::{Effect, Identity};

/// Until a write to the source is tried again.
const SOURCE_RETRY: Duration = Duration::from_secs(1);
/// Time in which finalizers are added before what has one is declared. Many resources come to life in rounds, the
/// statuses of one written during the next.
const ROUND: Duration = Duration::from_secs(1);
/// Until the messages of a broker that is to go are counted again.
const COUNT_AGAIN: Duration = Duration::from_secs(2);
/// Longest first attempt to connect before resources are told otherwise than by the operator before: this one, or the
/// broker, may be on a busy machine.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// Time that a Broker takes to go without a word about it.
const SOON: Duration = Duration::from_secs(2);

/// The state that passes over the resources of one broker have in common.
pub(super) struct Pass<S: Source, N: Connector> {
    key: ObjectKey,
    shared: Arc<Shared<S, N>>,
    relevant: Relevant,
    owned: Owned,
    memory: Memories,
    aside: Aside,
    tell: Teller<S, N>,
    sockets: Sockets,
    metrics: BrokerMetrics,
    wake: Option<Instant>,
    /// The Broker is being deleted: since when that is known, and how it stands.
    parts: Option<(Instant, Parting)>,
    /// Time since which the pod of a broker that the operator runs is not up, or is being replaced.
    pending_since: Option<Instant>,
    /// That has lasted: the resources say so too.
    starting: bool,
}

impl<S: Source, N: Connector> Pass<S, N> {
    pub(super) fn new(key: ObjectKey, shared: Arc<Shared<S, N>>) -> Self {
        Self {
            tell: Teller::new(key.clone(), Arc::clone(&shared)),
            metrics: shared.metrics.of(&key),
            key,
            shared,
            relevant: Relevant::new(),
            owned: Owned::new(),
            memory: Memories::new(),
            aside: Aside::default(),
            sockets: Sockets::default(),
            wake: None,
            parts: None,
            pending_since: None,
            starting: false,
        }
    }

    /// Queues and exchanges that the resources depend on.
    pub(super) fn relevant(&self) -> &Relevant {
        &self.relevant
    }

    /// Takes in an event; whether something that failed is worth another try now.
    pub(super) fn hear(&mut self, event: &Event) -> bool {
        troubles::hear(&mut self.memory, event)
    }

    /// All steps once; the answer is when the next pass is due. `changed`: the source has changed since the last one.
    /// Cancelling it loses nothing that the next pass does not find out again.
    pub(super) async fn run(&mut self, link: &mut Link<N::Client>, changed: bool) -> Option<Instant> {
        self.wake = None;
        let snapshot = self.shared.source.snapshot();
        let broker = snapshot.get::<BrokerSpec>(&self.key);
        let mut desired = desired_among(&snapshot, &self.key, &self.shared.twins(&self.key), &self.owned);
        self.remember(&snapshot, &mut desired);
        if let Some(outlook) = snapshot.beyond(&self.key) {
            let times = Times {
                at: Instant::now(),
                now: unix_now(),
                patience: self.patience(),
            };
            let turn = self.aside.turn(&self.key, outlook, &snapshot, &desired, times);
            return self.stand_aside(turn, link).await;
        }
        let mended = link.is_mended(self.shared.source.as_ref(), changed, broker).await;
        match broker {
            Some(broker) => {
                self.look_at_broker(broker, &snapshot, link);
                self.hold_broker(broker, &desired).await;
                let engine = snapshot.engines.get(&self.key).map(Arc::as_ref);
                let due = link.tend(&self.shared, broker, engine, mended);
                self.wake_by(due);
                if let Some(up) = link.up() {
                    self.shared.twins.meet(&self.key, up.marks());
                    desired.reserve(&up.user);
                }
                self.note_pending(engine);
                let due = link.follow_credentials(&self.shared, broker, changed).await;
                self.wake_by(due);
                let due = link.follow_settings(engine).await;
                self.wake_by(due);
            }
            None => {
                self.shared.twins.forget(&self.key);
                self.tell.forget_broker();
                self.parts = None;
                desired.lose_broker(&Away::NoBroker.explain(&self.key));
                link.lose_broker();
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
            let waits = self.let_broker_go(broker, &snapshot, &desired, link).await;
            self.tell
                .broker(broker, &snapshot, &desired, &self.memory, link, waits.as_deref());
        }
        self.tell.count(&desired, &self.memory);
        let held = self.tell.take_due();
        self.wake_by(held);
        let resync = link.up().map(|up| up.listed + self.resync(up));
        self.wake_by(resync);
        self.wake
    }

    /// The broker is another operator's.
    async fn stand_aside(&mut self, turn: Turn, link: &Link<N::Client>) -> Option<Instant> {
        self.tell.write(turn.reports, &mut self.memory, link);
        self.release(turn.farewells).await;
        self.wake_by(turn.wake);
        self.wake
    }

    /// Notes whether the pod is up. A short while is no news: the broker may answer all the time.
    fn note_pending(&mut self, engine: Option<&EngineState>) {
        self.starting = false;
        if engine.is_none_or(|engine| engine.pending.is_none()) {
            self.pending_since = None;
            return;
        }
        let since = *self.pending_since.get_or_insert_with(Instant::now);
        let due = since + self.shared.settings.grace;
        self.starting = due <= Instant::now();
        if !self.starting {
            self.wake_at(due);
        }
    }

    /// Between two complete lists.
    fn resync(&self, up: &Up<N::Client>) -> Duration {
        let usual = self.shared.settings.between_lists(up.client.about().has_events);
        match &self.parts {
            // What it holds was counted before it was to go: anew, and at once.
            Some((since, parting)) if parting.must_count() && up.listed < *since => Duration::ZERO,
            Some((_, parting)) if parting.must_count() => usual.min(COUNT_AGAIN),
            _ => usual,
        }
    }

    /// Recalls what resources own that were not known before, forgets those that are gone, and leaves those alone that
    /// are only waiting to vanish.
    fn remember(&mut self, snapshot: &Snapshot, desired: &mut Desired) {
        for item in &desired.items {
            let leaving = matches!(item.standing, Standing::Leaving { .. });
            let Some(meta) = snapshot.meta(&item.key) else { continue };
            match self.memory.get_mut(&item.key) {
                Some(memory) if memory.uid == item.uid && (leaving || !memory.released) => memory.see(meta),
                _ => {
                    self.memory.insert(item.key.clone(), Memory::new(meta));
                    self.owned.insert(item.key.clone(), recall(meta));
                }
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
        let first = up.observed.is_none();
        if let Err(error) = self.observe(up).await {
            link.lose(Away::from(error));
            return;
        }
        if self.tells_of_changes_now(up) {
            let text = "it tells of its changes now, so it is connected to anew".to_owned();
            link.lose(Away::Unreachable(Reason::WaitingForBroker, text));
            return self.wake_at(Instant::now());
        }
        link.was_listed();
        let Some(up) = link.up_mut() else { return };
        let Some(observed) = &mut up.observed else { return };
        let mut plan = difference(desired, &observed.topology, &self.owned);
        let mut failed = troubles::hold_back(&mut self.memory, &mut plan);
        self.finalize(desired, &mut plan, &mut failed).await;
        let repairs = Repairs::of(&plan, &observed.topology, &self.owned, first);
        let applied = apply(&up.client, &plan, observed, &self.metrics).await;
        let all_failed = [&failed, &applied.failed];
        let due = self.sockets.look(&up.client, observed, &plan, all_failed).await;
        self.wake_by(due);
        self.tell_repairs(repairs, &applied).await;
        let again = observed.is_doubted() || applied.again;
        self.absorb(link, desired, &plan, applied, failed).await;
        if again {
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
        self.metrics.call("list", outcome, started.elapsed());
        up.observed = Some(Observed::listed(listed?));
        up.listed = Instant::now();
        Ok(())
    }

    /// True when a broker that did not tell of its changes at first has the exchange for that meanwhile.
    fn tells_of_changes_now(&self, up: &mut Up<N::Client>) -> bool {
        let has = up.observed.as_ref().is_some_and(Observed::has_events);
        let had = up.had_events.replace(has).unwrap_or(has);
        has && !had && !up.client.about().has_events
    }

    /// Nothing is created, or taken over, for a resource without finalizer. Those that have no turn in this round are
    /// left out of the plan; what others need comes first.
    async fn finalize(&mut self, desired: &Desired, plan: &mut Plan, failed: &mut BTreeMap<ObjectKey, Failure>) {
        let comes = |item: &&Item| {
            let verdict = plan.verdicts.get(&item.key);
            let gets = matches!(verdict, Some(Verdict::Synced(_) | Verdict::Kept(..)));
            (gets && !failed.contains_key(&item.key)) || self.owns(item)
        };
        let bare = desired.items.iter().filter(|item| !item.finalized).filter(comes);
        let bare = plan.in_order(bare.map(|item| item.key.clone()));
        let (refused, left) = self.add_finalizers(bare).await;
        plan.leave_out(&left);
        for (key, error) in refused {
            let failure = Failure {
                reason: Reason::BrokerError,
                message: format!("cannot add the finalizer, so nothing is declared: {error}"),
                retry: Retry::Soon,
            };
            failed.entry(key).or_insert(failure);
        }
        plan.steps.retain(|step| !failed.contains_key(&step.key));
    }

    /// Stays, and owns something on the broker.
    fn owns(&self, item: &Item) -> bool {
        let stays = !matches!(item.standing, Standing::Leaving { .. } | Standing::Paused);
        stays && self.owned.get(&item.key).is_some_and(|owned| !owned.is_empty())
    }

    /// Adds finalizers for a while; those that could not be added are tried again soon, those without a turn at once.
    async fn add_finalizers(&mut self, bare: Vec<ObjectKey>) -> (Vec<(ObjectKey, SourceError)>, BTreeSet<ObjectKey>) {
        let mut failed = Vec::new();
        let source = Arc::clone(&self.shared.source);
        let (results, left) = add_finalizers(source, bare, Instant::now() + ROUND).await;
        if !left.is_empty() {
            self.wake_at(Instant::now());
        }
        for (key, result) in results {
            if let Err(error) = result {
                tracing::warn!("{key}: cannot add the finalizer: {error}");
                self.wake_at(Instant::now() + SOURCE_RETRY);
                failed.push((key, error));
            } else if self.owned.get(&key).is_some_and(|owned| !owned.is_empty()) {
                tracing::warn!("{key}: its finalizer had been taken away, and is put back");
            }
        }
        (failed, left)
    }

    /// Counts and tells what was put back.
    async fn tell_repairs(&self, repairs: Repairs, applied: &Applied) {
        let repairs = repairs.done(applied.moved.iter().map(|moved| (&moved.key, &moved.effect)));
        repairs.kinds().for_each(|kind| self.metrics.repaired(kind));
        if repairs.is_emptied() {
            self.metrics.emptied();
        }
        let numbers = self.memory.iter();
        let numbers = numbers
            .filter_map(|(key, memory)| Some((key, memory.numbers.as_ref()?)))
            .collect();
        for notice in repairs.notices(&self.key, &numbers) {
            tracing::info!("{}: {}", notice.about, notice.text);
            self.shared.source.warn(&notice.about, notice.reason, notice.text).await;
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
            if let (Identity::Vhost(name), true) = (&identity, stands) {
                troubles::vhost_came(&mut self.memory, &name.name);
            }
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
        troubles::note(&mut self.memory, &self.owned, plan, applied.failed, &mut failed);
        let over = self.over();
        let observed = link.up().and_then(|up| up.observed.as_ref());
        let (mut reports, mut released) = (Vec::new(), Vec::new());
        for item in &desired.items {
            let Some(verdict) = plan.verdicts.get(&item.key) else {
                continue;
            };
            let failure = failed.get(&item.key);
            let owned = self.owned.entry(item.key.clone()).or_default();
            match (verdict, failure, &item.standing) {
                (Verdict::Synced(identity) | Verdict::Kept(identity, ..), None, _) => {
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
                (Verdict::Released(_), Some(failure), _) if over.is_some() => {
                    let why = format!("{}; {}", over.clone().unwrap_or_default(), failure.message);
                    released.push(Farewell::new(item, Some(left_behind(owned, &why))));
                    continue;
                }
                _ => {}
            }
            let did_something = applied.touched.contains(&item.key);
            let mut report = report(item, verdict, failure, owned, did_something);
            if let Some(report) = &mut report {
                if failure.is_some() {
                    report.next_try = self.memory.get(&item.key).and_then(Memory::next_try);
                }
                sockets::tell(report, verdict, observed.filter(|_| failure.is_none()));
                if self.starting && report.ready == ConditionStatus::True {
                    starting(report, &self.key);
                }
            }
            reports.extend(report);
        }
        self.tell.write(reports, &mut self.memory, link);
        self.release(released).await;
        self.wake_by(troubles::due(&self.memory));
    }

    /// The work and the reports while the broker is away.
    async fn go_without(&mut self, link: &Link<N::Client>, desired: &Desired) {
        let settled = link.was_attempted() || *link.away() == Away::NoBroker;
        if !settled && link.down_since().elapsed() < FIRST_ATTEMPT {
            self.wake_at(link.down_since() + FIRST_ATTEMPT);
            return;
        }
        let patience = self.patience();
        let now = unix_now();
        // While nothing has been found out, what the operator before has said stands a little longer.
        let grace = self.shared.settings.grace;
        let grace = if settled { grace } else { grace.max(FIRST_WORD) };
        let in_grace = link.down_since().elapsed() < grace && *link.away() != Away::NoBroker;
        let bare = desired.items.iter().filter(|item| !item.finalized && self.owns(item));
        let bare: Vec<ObjectKey> = bare.map(|item| item.key.clone()).collect();
        self.add_finalizers(bare).await;
        let over = self.over();
        let nothing = BTreeSet::new();
        let mut reports = Vec::new();
        let mut released = Vec::new();
        let mut deadlines = Vec::new();
        for item in &desired.items {
            let owned = self.owned.get(&item.key).unwrap_or(&nothing);
            let (verdict, deadline) = match (offline(item, owned, link.away(), &self.key, now, patience), &over) {
                ((Verdict::Not(..), Some(_)), Some(why)) => (Verdict::Released(Some(left_behind(owned, why))), None),
                (found, _) => found,
            };
            deadlines.extend(deadline);
            let said = self.memory.get(&item.key).is_some_and(Memory::is_told);
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
            self.wake_at(link.down_since() + grace);
        }
        if let Some(deadline) = deadlines.into_iter().min() {
            let seconds = u64::try_from(deadline.saturating_sub(now)).unwrap_or_default().max(1);
            self.wake_at(Instant::now() + Duration::from_secs(seconds));
        }
    }

    /// Longest wait of a deletion, in seconds.
    fn patience(&self) -> i64 {
        i64::try_from(self.shared.settings.deletion_timeout.as_secs()).unwrap_or(i64::MAX)
    }

    /// The reason why nothing that is being deleted waits for the broker any longer.
    fn over(&self) -> Option<String> {
        self.parts.as_ref().and_then(|(_, parting)| parting.is_over(unix_now()))
    }

    /// Finds out how a Broker stands that is being deleted.
    fn look_at_broker(&mut self, broker: &Object<BrokerSpec>, snapshot: &Snapshot, link: &Link<N::Client>) {
        let since = self.parts.take().map_or_else(Instant::now, |(since, _)| since);
        let counted = link.up().filter(|up| up.listed >= since).and_then(Up::messages);
        let engine = snapshot.engines.get(&self.key).map(Arc::as_ref);
        self.parts =
            Parting::new(broker, engine, link.is_up(), counted, self.patience()).map(|parting| (since, parting));
    }

    /// Puts the finalizer on a Broker that others refer to, or that must ask before it goes.
    async fn hold_broker(&mut self, broker: &Object<BrokerSpec>, desired: &Desired) {
        let needed = !desired.items.is_empty() || asks_first(broker);
        let hands_off = is_set(&broker.meta.annotations, PAUSED) || broker.meta.deleting.is_some();
        if broker.meta.finalized || !needed || hands_off {
            return;
        }
        if let Err(error) = self.shared.source.ensure_finalizer(&self.key).await {
            tracing::warn!("{}: cannot add the finalizer: {error}", self.key);
            self.wake_at(Instant::now() + SOURCE_RETRY);
        }
    }

    /// Lets a Broker go that is being deleted, after everything that refers to it; else the answer is what it waits
    /// for.
    async fn let_broker_go(
        &mut self,
        broker: &Object<BrokerSpec>,
        snapshot: &Snapshot,
        desired: &Desired,
        link: &Link<N::Client>,
    ) -> Option<String> {
        self.look_at_broker(broker, snapshot, link);
        let (since, parting) = self.parts.as_ref().filter(|_| broker.meta.finalized)?;
        let here = |item: &&Item| !self.memory.get(&item.key).is_some_and(|memory| memory.released);
        let referring: Vec<&Item> = desired.items.iter().filter(here).collect();
        let leaving = |item: &&&Item| matches!(item.standing, Standing::Leaving { .. });
        let (now, known_for) = (unix_now(), since.elapsed());
        let (waits, until) = match parting.decide(referring.len(), referring.iter().filter(leaving).count(), now) {
            Decision::Go => {
                if let Err(error) = self.shared.source.remove_finalizer(&self.key).await {
                    tracing::warn!("{}: cannot remove the finalizer: {error}", self.key);
                    self.wake_at(Instant::now() + SOURCE_RETRY);
                }
                return None;
            }
            Decision::Wait(waits, until) => (waits, until),
        };
        if let Some(until) = until {
            let seconds = u64::try_from(until.saturating_sub(now)).unwrap_or_default().max(1);
            self.wake_at(Instant::now() + Duration::from_secs(seconds));
        }
        if known_for < SOON {
            self.wake_at(Instant::now() + SOON.saturating_sub(known_for));
            return None;
        }
        Some(waits)
    }

    /// Takes the finalizers off.
    async fn release(&mut self, farewells: Vec<Farewell>) {
        let left: BTreeMap<ObjectKey, String> = farewells.iter().filter_map(Farewell::left).collect();
        self.tell_of(&left).await;
        for (key, result) in remove_finalizers(Arc::clone(&self.shared.source), farewells).await {
            match result {
                Ok(()) => {
                    self.owned.remove(&key);
                    if let Some(memory) = self.memory.get_mut(&key) {
                        memory.released = true;
                    }
                    if left.contains_key(&key) {
                        self.shared.metrics.left_behind(key.kind);
                    }
                }
                Err(error) => {
                    tracing::warn!("{key}: cannot remove the finalizer: {error}");
                    self.wake_at(Instant::now() + SOURCE_RETRY);
                }
            }
        }
    }

    /// Tells what may stay on the broker where it stays to be found: the resources go, and their events may go with the
    /// namespace. It is told before they are let go, since the pass may end in between: rather twice than never.
    async fn tell_of(&self, left: &BTreeMap<ObjectKey, String>) {
        if left.is_empty() {
            return;
        }
        let source = &self.shared.source;
        let text = summary(&self.key, left);
        if source.snapshot().contains(&self.key) {
            source.warn(&self.key, "LeftBehind", text.clone()).await;
        }
        source.announce("LeftBehind", text).await;
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
