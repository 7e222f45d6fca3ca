//! What all tasks of this source share: the client, the cache, and what keeps writes in order.
//!
//! In: a client. Out: `Shared`. Does not know about what is read or written.

use std::collections::HashMap;
use std::sync::Once;

use kube::Client;
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::{Semaphore, watch};

use super::cache::Cache;
use super::events::Events;
use super::operator::Operator;
use super::secrets::Secrets;
use crate::metrics::Metrics;
use crate::object::{ObjectKey, StatusReport};

/// Requests that write at the same time. More would only queue up in the API server.
pub(super) const WRITERS: usize = 32;
/// Locks that keep the writes of one object in order; objects share them by hash.
const TURNS: usize = 256;

/// The parts that all tasks of this source share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) operator: Operator,
    pub(super) metrics: Metrics,
    pub(super) cache: Mutex<Cache>,
    pub(super) changed: watch::Sender<u64>,
    pub(super) secrets: Secrets,
    pub(super) events: Events,
    pub(super) namespaces: Once,
    /// Told once that another operator is at work on the same resources.
    pub(super) contested: Once,
    /// Unix seconds since which this process runs.
    pub(super) start: i64,
    pub(super) writers: Semaphore,
    pub(super) turns: Vec<tokio::sync::Mutex<()>>,
    /// The newest report of each object that is being written; older ones give up.
    pub(super) tickets: Mutex<HashMap<ObjectKey, Ticket>>,
}

impl Shared {
    pub(super) fn start(client: Client, namespaces: &[String], operator: Operator, metrics: Metrics) -> Self {
        let changed = watch::Sender::new(0);
        Self {
            secrets: Secrets::new(client.clone(), changed.clone()),
            events: Events::start(client.clone(), operator.instance.clone(), metrics.clone()),
            client,
            metrics,
            cache: Mutex::new(Cache::of(operator.to_string(), namespaces)),
            operator,
            changed,
            namespaces: Once::new(),
            contested: Once::new(),
            start: OffsetDateTime::now_utc().unix_timestamp(),
            writers: Semaphore::new(WRITERS),
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::new(())).collect(),
            tickets: Mutex::default(),
        }
    }

    pub(super) fn bump(&self) {
        self.changed.send_modify(|number| *number += 1);
    }
}

/// The newest report of an object, until it is written.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    pub(super) number: u64,
    report: Option<StatusReport>,
}

impl Ticket {
    /// Takes the place of the report before, which may not have been written.
    pub(super) fn succeed(&mut self, report: &mut StatusReport) -> u64 {
        if let Some(old) = self.report.take() {
            report.supersede(old);
        }
        self.number += 1;
        self.report = Some(report.clone());
        self.number
    }
}
