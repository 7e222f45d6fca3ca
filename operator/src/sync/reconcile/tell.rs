//! What the loop of one broker says of its resources, and of the broker itself.
//!
//! In: reports on resources, the state of the link. Out: reports to the writer, only where something is new.
//! Does not know about how reports come about.

use std::sync::Arc;

use super::{FIRST_ATTEMPT, Reconciler};
use crate::broker::{Client, Connector};
use crate::resource::BrokerSpec;
use crate::source::{Kind, Object, Source, StatusReport, Tri, World};
use crate::sync::desired::{Desired, Item};
use crate::sync::link::Link;
use crate::sync::report::{Connected, broker_report};

impl<S: Source, N: Connector> Reconciler<S, N> {
    /// Passes on what differs from what was said before.
    pub(super) fn write(&mut self, reports: Vec<StatusReport>) {
        let mut news = Vec::new();
        for report in reports {
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
                news.push(report);
            }
        }
        self.writer.write(news);
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
