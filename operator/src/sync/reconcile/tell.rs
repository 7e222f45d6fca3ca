//! What the loop of one broker says of its resources, and of the broker itself.
//!
//! In: reports on resources, the state of the link. Out: reports to the writer, only where something is new.
//! Does not know about how reports come about.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::{FIRST_ATTEMPT, Reconciler};
use crate::broker::backlog::{Backlog, Outlook, span};
use crate::broker::{Backlogs, Client, Connector};
use crate::object::{Kind, Object, QueueNumbers, StatusReport, Tri, World};
use crate::resource::BrokerSpec;
use crate::source::Source;
use crate::sync::desired::{Desired, Item, Standing, Thing};
use crate::sync::link::Link;
use crate::sync::report::{Connected, broker_report};
use crate::topology::Name;

impl<S: Source, N: Connector> Reconciler<S, N> {
    /// Passes on what differs from what was said before.
    pub(super) fn write(&mut self, reports: Vec<StatusReport>) {
        let mut news = Vec::new();
        let backlogs = match &self.link {
            Link::Up { client, .. } => client.backlogs(),
            _ => Arc::default(),
        };
        for mut report in reports {
            let Some(memory) = self.memory.get_mut(&report.key) else {
                continue;
            };
            let quiet = StatusReport {
                did_something: false,
                ..report.clone()
            };
            if report.did_something || memory.last.as_ref() != Some(&quiet) {
                self.shared.metrics.reconciled(report.key.kind, report.reason);
                memory.last = Some(quiet);
                // The first numbers go with a report that is written anyway.
                if report.key.kind == Kind::Queue && report.ready == Tri::True && memory.numbers.is_none() {
                    memory.numbers = Some(first_numbers(&backlogs, &report));
                    report.queue.clone_from(&memory.numbers);
                }
                news.push(report);
            }
        }
        self.writer.write(news);
    }

    /// Tells what waits in the queues: as of a list that was made anyway, only what has changed, and not all at once.
    pub(super) fn tell_numbers(&mut self, desired: &Desired) {
        let Link::Up { client, .. } = &self.link else { return };
        if self.observed.is_some() && self.pace.is_due(self.listed, self.shared.settings.resync) {
            let backlogs = client.backlogs();
            let mut changed = BTreeMap::new();
            for item in &desired.items {
                let Standing::Wanted(Thing::Queue(name, _)) = &item.standing else {
                    continue;
                };
                let (Some(memory), Some(backlog)) = (self.memory.get(&item.key), backlogs.get(name)) else {
                    continue;
                };
                let numbers = numbers(backlog);
                if memory.numbers.as_ref() != Some(&numbers) && self.is_ready(item) {
                    changed.insert(item.key.clone(), numbers);
                }
            }
            self.pace.take(self.listed, changed);
        }
        let mut reports = Vec::new();
        for (key, numbers) in self.pace.turn(Instant::now()) {
            let Some(memory) = self.memory.get_mut(&key) else {
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
        if let Some(next) = self.pace.next() {
            self.wake_at(next);
        }
    }

    pub(super) fn report_broker(&mut self, broker: &Object<BrokerSpec>, world: &World, desired: &Desired) {
        let in_grace = self.down_since.elapsed() < self.shared.settings.grace;
        let waits = !self.link.is_up() && (!self.attempted || (self.broker_last.is_some() && in_grace));
        if waits && self.down_since.elapsed() < self.shared.settings.grace.max(FIRST_ATTEMPT) {
            return;
        }
        let report = self.broker_status(broker, world, desired);
        if self.broker_last.as_ref() != Some(&report) {
            self.shared.metrics.reconciled(Kind::Broker, report.reason);
            self.broker_last = Some(report.clone());
            self.writer.write(vec![report]);
        }
    }

    fn broker_status(&self, broker: &Object<BrokerSpec>, world: &World, desired: &Desired) -> StatusReport {
        let not_ready = desired.items.iter().filter(|item| !self.is_ready(item)).count();
        let state = match &self.link {
            Link::Up { client, endpoint, .. } => Ok(Connected {
                version: &client.about().version,
                endpoint,
                usage: client.usage(),
            }),
            _ => Err(&self.away),
        };
        let engine = world.engines.get(&self.key).map(Arc::as_ref);
        broker_report(broker, state, engine, (desired.items.len(), not_ready))
    }

    fn is_ready(&self, item: &Item) -> bool {
        let last = self.memory.get(&item.key).and_then(|memory| memory.last.as_ref());
        last.is_some_and(|last| last.ready == Tri::True)
    }

    pub(super) fn count(&self, desired: &Desired) {
        let broker = self
            .broker_last
            .iter()
            .map(|last| (Kind::Broker, last.ready == Tri::True));
        let items = desired.items.iter().map(|item| (item.key.kind, self.is_ready(item)));
        self.shared.count(&self.key, broker.chain(items));
    }
}

/// A queue that was not there when the broker was listed is empty.
fn first_numbers(backlogs: &Backlogs, report: &StatusReport) -> QueueNumbers {
    let owned = report.vhost.as_ref().zip(report.name.as_ref());
    let backlog = owned.and_then(|(vhost, name)| backlogs.get(&Name::new(vhost, name)));
    numbers(&backlog.copied().unwrap_or_default())
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
