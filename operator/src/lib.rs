//! Keeps AMQP brokers in step with Queue, Exchange and Binding resources.
//!
//! The modules stand in the order of a resource's way: it comes from a source, is reconciled by the one sync loop of its
//! broker, and its status goes back to the source.

/// One executable: `leveret-operator` or `leveret`, by the name it is called by.
pub mod program;

/// `leveret`: its commands.
pub mod cli;

/// `leveret-operator`: its commands.
pub mod operate;

/// What everything asynchronous runs on.
pub mod runtime;

/// Flags and environment.
pub mod args;

/// `leveret-operator run`: puts the parts together.
pub mod run;

/// `leveret-operator crd --apply`, `retire`: before an upgrade, and before it goes.
pub mod install;

/// `leveret dev`: a broker of one's own for a folder of manifests.
pub mod dev;

/// A live broker by its address, looked at once.
pub mod live;

/// `leveret plan`: what applying a folder would change.
pub mod plan;

/// `leveret export`: what stands on a broker as YAML.
pub mod export;

/// `leveret lint`: what is wrong with a folder, without a broker.
pub mod lint;

/// `leveret perf`: a load on any broker, measured.
pub mod perf;

/// The custom resources a user writes: types, CRDs, rules.
pub mod resource;

/// Resources as plain values, and the statuses that go back to them.
pub mod object;

/// Where resources come from and where their status goes.
pub mod source;

/// The brokers that the operator runs itself.
pub mod engine;

/// From a Broker and its Secrets to a connection.
pub mod dereference;

/// Plain types for what stands on a broker.
pub mod topology;

/// The pipeline: one loop for each broker.
pub mod sync;

/// What the pipeline asks of a broker: lists by HTTP, operations by AMQP, events.
pub mod broker;

/// From what came of a resource to its status.
pub mod status;

/// The state of `leveret dev` in the terminal.
pub mod terminal;

/// Which of several operators reconciles.
pub mod leader;

/// HTTP for machines: metrics and health.
pub mod serve;

/// What the operator counts.
pub mod metrics;

/// The log.
pub mod telemetry;
