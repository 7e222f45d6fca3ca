//! What the operator counts: all metric names, units and labels stand here.
//!
//! In: one call for each thing that happened. Out: the Prometheus text of `/metrics`.
//! Does not know about what is being counted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::object::{Kind, Reason};

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Cheap to clone: all clones count into the same place.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    reconciles: Family<Labels<2>, Counter>,
    broker_calls: Family<Labels<2>, Counter>,
    broker_call_duration: Family<Labels<1>, Histogram>,
    repairs: Family<Labels<1>, Counter>,
    left_behind: Family<Labels<1>, Counter>,
    objects: Family<Labels<2>, Gauge>,
    sync_duration: Histogram,
    api_writes: Family<Labels<2>, Counter>,
    leader: Gauge,
}

/// A request of the operator that changes something on the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiWrite {
    Finalizer,
    Status,
    Event,
    Lease,
    Object,
}

impl ApiWrite {
    fn as_str(self) -> &'static str {
        match self {
            ApiWrite::Finalizer => "finalizer",
            ApiWrite::Status => "status",
            ApiWrite::Event => "event",
            ApiWrite::Lease => "lease",
            ApiWrite::Object => "object",
        }
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("leveret_operator");
        let reconciles = Family::default();
        registry.register(
            "reconciles",
            "Outcomes of reconciling a resource, counted when the outcome changes or something was done",
            Family::clone(&reconciles),
        );
        let broker_calls = Family::default();
        registry.register(
            "broker_calls",
            "Requests to brokers by operation and outcome (ok, refused, failed)",
            Family::clone(&broker_calls),
        );
        let broker_call_duration: Family<Labels<1>, Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_25, 2.0, 16)));
        registry.register_with_unit(
            "broker_call_duration",
            "Time until the broker answered, by operation",
            Unit::Seconds,
            broker_call_duration.clone(),
        );
        let repairs = Family::default();
        registry.register(
            "drift_repairs",
            "Objects put back on a broker after another client had removed them",
            Family::clone(&repairs),
        );
        let left_behind = Family::default();
        registry.register(
            "left_behind",
            "Deleted resources that may have left something on a broker, by kind; events LeftBehind name it",
            Family::clone(&left_behind),
        );
        let objects = Family::default();
        registry.register(
            "objects",
            "Resources by kind and whether they are Ready",
            Family::clone(&objects),
        );
        let sync_duration = Histogram::new(exponential_buckets(0.000_25, 2.0, 18));
        registry.register_with_unit(
            "sync_duration",
            "Time of one pass over all resources of a broker",
            Unit::Seconds,
            sync_duration.clone(),
        );
        let api_writes = Family::default();
        registry.register(
            "api_writes",
            "Requests that change something on the Kubernetes API, by what they write and outcome (ok, failed)",
            Family::clone(&api_writes),
        );
        let leader = Gauge::default();
        registry.register("leader", "1 while this process reconciles", leader.clone());
        registry.register(
            "build",
            "Version of this program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self(Arc::new(Inner {
            registry,
            reconciles,
            broker_calls,
            broker_call_duration,
            repairs,
            left_behind,
            objects,
            sync_duration,
            api_writes,
            leader,
        }))
    }

    /// A resource was reconciled with this outcome.
    pub fn reconciled(&self, kind: Kind, reason: Reason) {
        let labels = [("kind", kind.as_str()), ("reason", reason.as_str())];
        self.0.reconciles.get_or_create(&labels).inc();
    }

    /// A broker was asked; `outcome` is `ok`, `refused` (an answer) or `failed` (no answer).
    pub fn broker_call(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.broker_calls(operation, outcome, 1);
        self.0
            .broker_call_duration
            .get_or_create(&[("operation", operation)])
            .observe(took.as_secs_f64());
    }

    /// Counts requests of a pipelined batch, whose single times are not known.
    pub fn broker_calls(&self, operation: &'static str, outcome: &'static str, number: u64) {
        let labels = [("operation", operation), ("outcome", outcome)];
        self.0.broker_calls.get_or_create(&labels).inc_by(number);
    }

    /// Something that was there before was missing on a broker, and was put back.
    pub fn repaired(&self, kind: Kind) {
        self.0.repairs.get_or_create(&[("kind", kind.as_str())]).inc();
    }

    /// A deleted resource may have left something on a broker.
    pub fn left_behind(&self, kind: Kind) {
        self.0.left_behind.get_or_create(&[("kind", kind.as_str())]).inc();
    }

    /// The number of resources of a kind.
    pub fn objects(&self, kind: Kind, ready: usize, not_ready: usize) {
        for (label, number) in [("true", ready), ("false", not_ready)] {
            let labels = [("kind", kind.as_str()), ("ready", label)];
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            self.0.objects.get_or_create(&labels).set(number);
        }
    }

    /// One pass over a broker's resources took this long.
    pub fn synced(&self, took: Duration) {
        self.0.sync_duration.observe(took.as_secs_f64());
    }

    /// Something was written, or could not be written, to the Kubernetes API.
    pub fn api_write(&self, what: ApiWrite, ok: bool) {
        let labels = [("what", what.as_str()), ("outcome", if ok { "ok" } else { "failed" })];
        self.0.api_writes.get_or_create(&labels).inc();
    }

    /// Sets whether this process reconciles.
    pub fn leading(&self, yes: bool) {
        self.0.leader.set(i64::from(yes));
    }

    /// All metrics as text.
    ///
    /// # Errors
    /// None in practice: writing to a `String` does not fail.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels() {
        let metrics = Metrics::new();
        metrics.reconciled(Kind::Queue, Reason::Synced);
        metrics.broker_call("list", "ok", Duration::from_millis(3));
        metrics.repaired(Kind::Binding);
        metrics.left_behind(Kind::Queue);
        metrics.objects(Kind::Queue, 2, 1);
        metrics.synced(Duration::from_millis(1));
        metrics.api_write(ApiWrite::Status, true);
        metrics.leading(true);
        let text = metrics.text().expect("text");
        for line in [
            r#"leveret_operator_reconciles_total{kind="Queue",reason="Synced"} 1"#,
            r#"leveret_operator_broker_calls_total{operation="list",outcome="ok"} 1"#,
            r#"leveret_operator_broker_call_duration_seconds_count{operation="list"} 1"#,
            r#"leveret_operator_drift_repairs_total{kind="Binding"} 1"#,
            r#"leveret_operator_left_behind_total{kind="Queue"} 1"#,
            r#"leveret_operator_objects{kind="Queue",ready="true"} 2"#,
            r#"leveret_operator_objects{kind="Queue",ready="false"} 1"#,
            "leveret_operator_sync_duration_seconds_count 1",
            r#"leveret_operator_api_writes_total{what="status",outcome="ok"} 1"#,
            "leveret_operator_leader 1",
            "leveret_operator_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
