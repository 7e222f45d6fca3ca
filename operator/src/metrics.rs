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

use crate::object::{Kind, ObjectKey, Reason};

type Labels<const N: usize> = [(&'static str, &'static str); N];
/// Labels of a broker and others, of which some are names. A broker's namespace is not called `namespace`: that is the
/// operator's own pod's to Prometheus.
type BrokerLabels<const N: usize> = [(&'static str, String); N];

/// Cheap to clone: all clones count into the same place.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    reconciles: Family<BrokerLabels<4>, Counter>,
    broker_calls: Family<BrokerLabels<4>, Counter>,
    broker_call_duration: Family<Labels<1>, Histogram>,
    repairs: Family<BrokerLabels<3>, Counter>,
    emptied: Family<BrokerLabels<2>, Counter>,
    objects: Family<BrokerLabels<4>, Gauge>,
    left_behind: Family<Labels<1>, Counter>,
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
            "Requests to brokers by broker, operation and outcome (ok, refused, failed)",
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
        let emptied = Family::default();
        registry.register(
            "brokers_emptied",
            "Connections to a broker on which nothing stood any more of what had been declared: an empty disk",
            Family::clone(&emptied),
        );
        let objects = Family::default();
        registry.register(
            "objects",
            "Resources by broker, kind and whether they are Ready",
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
            emptied,
            objects,
            sync_duration,
            api_writes,
            leader,
        }))
    }

    /// The metrics of one broker.
    pub fn of(&self, broker: &ObjectKey) -> BrokerMetrics {
        BrokerMetrics {
            all: self.clone(),
            namespace: broker.namespace.clone(),
            name: broker.name.clone(),
        }
    }

    /// A deleted resource may have left something on a broker.
    pub fn left_behind(&self, kind: Kind) {
        self.0.left_behind.get_or_create(&[("kind", kind.as_str())]).inc();
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

/// Counters of one broker. Cheap to clone.
#[derive(Clone)]
pub struct BrokerMetrics {
    all: Metrics,
    namespace: String,
    name: String,
}

impl BrokerMetrics {
    /// The broker's labels, and others.
    fn labels<const N: usize, const M: usize>(&self, others: [(&'static str, &str); N]) -> BrokerLabels<M> {
        let own = [
            ("broker_namespace", self.namespace.as_str()),
            ("broker", self.name.as_str()),
        ];
        let mut all = own.into_iter().chain(others);
        std::array::from_fn(|_| {
            all.next()
                .map(|(key, value)| (key, value.to_owned()))
                .unwrap_or_default()
        })
    }

    /// A resource was reconciled with this outcome.
    pub fn reconciled(&self, kind: Kind, reason: Reason) {
        let labels = self.labels([("kind", kind.as_str()), ("reason", reason.as_str())]);
        self.all.0.reconciles.get_or_create(&labels).inc();
    }

    /// A broker was asked; `outcome` is `ok`, `refused` (an answer) or `failed` (no answer).
    pub fn call(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.calls(operation, outcome, 1);
        let durations = &self.all.0.broker_call_duration;
        durations
            .get_or_create(&[("operation", operation)])
            .observe(took.as_secs_f64());
    }

    /// Counts requests of a pipelined batch, whose single times are not known.
    pub fn calls(&self, operation: &'static str, outcome: &'static str, number: u64) {
        let labels = self.labels([("operation", operation), ("outcome", outcome)]);
        self.all.0.broker_calls.get_or_create(&labels).inc_by(number);
    }

    /// Something that was there before was missing on a broker, and was put back.
    pub fn repaired(&self, kind: Kind) {
        let labels = self.labels([("kind", kind.as_str())]);
        self.all.0.repairs.get_or_create(&labels).inc();
    }

    /// The broker had nothing left.
    pub fn emptied(&self) {
        self.all.0.emptied.get_or_create(&self.labels([])).inc();
    }

    /// The number of resources of a kind.
    pub fn objects(&self, kind: Kind, ready: usize, not_ready: usize) {
        for (label, number) in [("true", ready), ("false", not_ready)] {
            let labels = self.labels([("kind", kind.as_str()), ("ready", label)]);
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            self.all.0.objects.get_or_create(&labels).set(number);
        }
    }

    /// The broker is nobody's concern any more: gauges that nobody sets would stand for ever.
    pub fn forget(&self) {
        for kind in Kind::ALL {
            for label in ["true", "false"] {
                let labels = self.labels([("kind", kind.as_str()), ("ready", label)]);
                self.all.0.objects.remove(&labels);
            }
        }
    }

    /// One pass over the broker's resources took this long.
    pub fn synced(&self, took: Duration) {
        self.all.0.sync_duration.observe(took.as_secs_f64());
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
        let broker = metrics.of(&ObjectKey::new(Kind::Broker, "shop", "main"));
        broker.reconciled(Kind::Queue, Reason::Synced);
        broker.call("list", "ok", Duration::from_millis(3));
        broker.repaired(Kind::Binding);
        broker.emptied();
        broker.objects(Kind::Queue, 2, 1);
        broker.synced(Duration::from_millis(1));
        metrics.left_behind(Kind::Queue);
        metrics.api_write(ApiWrite::Status, true);
        metrics.leading(true);
        let text = metrics.text().expect("text");
        for line in [
            r#"leveret_operator_reconciles_total{broker_namespace="shop",broker="main",kind="Queue",reason="Synced"} 1"#,
            r#"leveret_operator_broker_calls_total{broker_namespace="shop",broker="main",operation="list",outcome="ok"} 1"#,
            r#"leveret_operator_broker_call_duration_seconds_count{operation="list"} 1"#,
            r#"leveret_operator_drift_repairs_total{broker_namespace="shop",broker="main",kind="Binding"} 1"#,
            r#"leveret_operator_brokers_emptied_total{broker_namespace="shop",broker="main"} 1"#,
            r#"leveret_operator_objects{broker_namespace="shop",broker="main",kind="Queue",ready="true"} 2"#,
            r#"leveret_operator_objects{broker_namespace="shop",broker="main",kind="Queue",ready="false"} 1"#,
            r#"leveret_operator_left_behind_total{kind="Queue"} 1"#,
            "leveret_operator_sync_duration_seconds_count 1",
            r#"leveret_operator_api_writes_total{what="status",outcome="ok"} 1"#,
            "leveret_operator_leader 1",
            "leveret_operator_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        broker.forget();
        assert!(!metrics.text().expect("text").contains("leveret_operator_objects{"));
    }
}
