//! What the loop of one broker says of its resources, and of the broker itself.
//!
//! In: reports on resources, the state of the link. Out: reports to the writer, only where something is new.
//! Does not know about how reports come about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::desired::{Desired, Item};
use super::link::{Link, Up};
use super::memory::{Memories, Memory};
use super::pace::Pace;
use super::report::{Connected, Counted, broker_report};
use super::shared::Shared;
use super::writer::Writer;
use crate::broker::{Backlogs, Client, Connector};
use crate::metrics::BrokerMetrics;
use crate::object::{ConditionStatus, Kind, Object, ObjectKey, QueueNumbers, Snapshot, StatusReport, Usage};
use crate::resource::BrokerSpec;
use crate::source::Source;
use crate::topology::Name;
use crate::topology::backlog::{Backlog, Outlook, span};

/// Longest time for a first attempt before resources are told that they wait.
pub(super) const FIRST_ATTEMPT: Duration = Duration::from_secs(1);

/// The reports of one loop, on their way to the source.
pub(super) struct Teller<S: Source, N: Connector> {
    key: ObjectKey,
    shared: Arc<Shared<S, N>>,
    writer: Writer,
    pace: Pace,
    metrics: BrokerMetrics,
    broker_last: Option<StatusReport>,
    /// The first time at which something must be said that was held back in the last pass.
    due: Option<Instant>,
}

impl<S: Source, N: Connector> Teller<S, N> {
    pub(super) fn new(key: ObjectKey, shared: Arc<Shared<S, N>>) -> Self {
        Self {
            writer: Writer::new(Arc::clone(&shared.source)),
            metrics: shared.metrics.of(&key),
            shared,
            pace: Pace::default(),
            key,
            broker_last: None,
            due: None,
        }
    }

    /// There is no `Broker` any more; the next one is another.
    pub(super) fn forget_broker(&mut self) {
        self.broker_last = None;
    }

    /// Passes on what differs from what was said before.
    pub(super) fn write(&mut self, reports: Vec<StatusReport>, memory: &mut Memories, link: &Link<N::Client>) {
        let mut news = Vec::new();
        let (patience, now) = (self.shared.settings.patience, Instant::now());
        let backlogs = link.up().map(|up| up.client.backlogs()).unwrap_or_default();
        for mut report in reports {
            let Some(memory) = memory.get_mut(&report.key) else {
                continue;
            };
            if let Some(due) = memory.holds_back(&report, patience, now) {
                self.due = Some(self.due.map_or(due, |first| first.min(due)));
                continue;
            }
            let quiet = StatusReport {
                did_something: false,
                ..report.clone()
            };
            if report.did_something || memory.last.as_ref() != Some(&quiet) {
                self.metrics.reconciled(report.key.kind, report.reason);
                memory.last = Some(quiet);
                // The first numbers go with a report that is written anyway.
                if report.key.kind == Kind::Queue && report.ready == ConditionStatus::True {
                    let told = memory.numbers.as_ref().is_some_and(QueueNumbers::is_told);
                    let first = match self.shared.settings.queue_numbers {
                        Some(_) if !told => Some(first_numbers(&backlogs, &report)),
                        None if told => Some(QueueNumbers::default()),
                        _ => None,
                    };
                    report.queue.clone_from(&first);
                    memory.numbers = first.or(memory.numbers.take());
                }
                news.push(report);
            }
        }
        self.writer.write(news);
    }

    /// Time at which more is to be said than was in this pass, if nothing changes.
    pub(super) fn take_due(&mut self) -> Option<Instant> {
        self.due.take()
    }

    /// Tells what waits in the queues: as of a list that was made anyway, only what has changed, and not all at once.
    /// The answer is when there is more to tell.
    pub(super) fn numbers(&mut self, desired: &Desired, memory: &mut Memories, up: &Up<N::Client>) -> Option<Instant> {
        let every = self.shared.settings.queue_numbers?;
        if up.observed.is_some() && self.pace.is_due(up.listed, every) {
            let backlogs = up.client.backlogs();
            let mut changed = BTreeMap::new();
            for item in desired.items.iter().filter(|item| item.key.kind == Kind::Queue) {
                let Some(memory) = memory.get(&item.key) else { continue };
                let Some(backlog) = memory.last.as_ref().and_then(|last| backlog(&backlogs, last)) else {
                    continue;
                };
                let numbers = numbers(backlog);
                if memory.numbers.as_ref().is_none_or(|told| numbers.is_news_after(told)) {
                    changed.insert(item.key.clone(), numbers);
                }
            }
            self.pace.take(up.listed, changed);
        }
        let mut reports = Vec::new();
        for (key, numbers) in self.pace.turn(Instant::now()) {
            let Some(memory) = memory.get_mut(&key) else {
                continue;
            };
            let Some(last) = memory.last.clone() else { continue };
            memory.numbers = Some(numbers.clone());
            reports.push(StatusReport {
                queue: Some(numbers),
                ..last
            });
        }
        self.writer.write(reports);
        self.pace.next()
    }

    /// Reports the broker itself, once there is a finding.
    pub(super) fn broker(
        &mut self,
        broker: &Object<BrokerSpec>,
        snapshot: &Snapshot,
        desired: &Desired,
        memory: &Memories,
        link: &Link<N::Client>,
        waits: Option<&str>,
    ) {
        let (down_for, grace) = (link.down_since().elapsed(), self.shared.settings.grace);
        let in_grace = down_for < grace;
        let undecided = !link.is_up() && (!link.was_attempted() || (self.broker_last.is_some() && in_grace));
        if undecided && waits.is_none() && down_for < grace.max(FIRST_ATTEMPT) {
            return;
        }
        let not_ready = desired.items.iter().filter(|item| !is_ready(memory, item)).count();
        let state = match link.up() {
            Some(up) => Ok(Connected {
                version: &up.client.about().version,
                endpoint: &up.endpoint,
                usage: self.usage(up),
                twin: self.shared.twins(&self.key).into_iter().next(),
            }),
            None => Err(link.away()),
        };
        let engine = snapshot.engines.get(&self.key).map(Arc::as_ref);
        let mut report = broker_report(
            broker,
            state,
            link.doubt(broker),
            engine,
            Counted {
                all: desired.items.len(),
                not_ready,
            },
            waits,
        );
        if let Some(facts) = &mut report.broker {
            facts.contender = snapshot.contenders.get(&self.key).cloned();
        }
        if self.broker_last.as_ref() != Some(&report) {
            self.metrics.reconciled(Kind::Broker, report.reason);
            self.broker_last = Some(report.clone());
            self.writer.write(vec![report]);
        }
    }

    /// The load of the broker, without what changes all the time where that is not wanted.
    fn usage(&self, up: &Up<N::Client>) -> Usage {
        let usage = up.client.usage();
        Usage {
            messages: usage.messages.filter(|_| self.shared.settings.queue_numbers.is_some()),
            ..usage
        }
    }

    /// Counts resources, ready and not.
    pub(super) fn count(&self, desired: &Desired, memory: &Memories) {
        let broker = self
            .broker_last
            .iter()
            .map(|last| (Kind::Broker, last.ready == ConditionStatus::True));
        let items = desired.items.iter().map(|item| (item.key.kind, is_ready(memory, item)));
        let mut numbers: BTreeMap<Kind, (usize, usize)> = BTreeMap::new();
        for (kind, ready) in broker.chain(items) {
            let number = numbers.entry(kind).or_default();
            *(if ready { &mut number.0 } else { &mut number.1 }) += 1;
        }
        for kind in Kind::ALL {
            let (ready, not_ready) = numbers.get(&kind).copied().unwrap_or_default();
            self.metrics.objects(kind, ready, not_ready);
        }
    }
}

fn is_ready(memory: &Memories, item: &Item) -> bool {
    memory.get(&item.key).is_some_and(Memory::is_ready)
}

/// A queue that was not there when the broker was listed is empty.
fn first_numbers(backlogs: &Backlogs, report: &StatusReport) -> QueueNumbers {
    numbers(&backlog(backlogs, report).copied().unwrap_or_default())
}

/// The backlog of the queue that a resource owns.
fn backlog<'a>(backlogs: &'a Backlogs, report: &StatusReport) -> Option<&'a Backlog> {
    let (vhost, name) = report.vhost.as_ref().zip(report.name.as_ref())?;
    backlogs.get(&Name::new(vhost, name))
}

fn numbers(backlog: &Backlog) -> QueueNumbers {
    QueueNumbers {
        messages: backlog.messages(),
        ready: backlog.ready,
        consumers: backlog.consumers,
        drain: match backlog.outlook() {
            Outlook::Drains(time) => span(time),
            Outlook::Grows => "grows".to_owned(),
            Outlook::Empty | Outlook::Steady => "-".to_owned(),
        },
    }
}
