//! Keeps AMQP brokers in step with Vhost, Exchange, Queue and Binding resources.
//!
//! A resource's way: a source reads it, the one sync loop of its broker takes it through the steps and asks the broker
//! for what is missing, and its status goes back to the source. A module names only modules that stand below it here.

/// One executable: `leveret-operator` or `leveret`, by the name it is called by.
pub mod program;

/// The commands of both.
pub mod command;

/// Several operators, of which one reconciles.
pub mod leader;

/// HTTP for machines: metrics and health.
pub mod serve;

/// The pipeline: one loop for each broker, from the resources to the broker and back.
pub mod sync;

/// The brokers that the operator runs itself, kept as declared.
pub mod keep;

/// The origin of resources and the destination of their status: a cluster, or a folder.
pub mod source;

/// The pipeline's broker: lists by HTTP, operations by AMQP or HTTP, events.
pub mod broker;

/// The objects made for a broker that the operator runs itself: manifests, names, pods.
pub mod engine;

/// The objects on a broker: a file for each kind, and what is put together from them.
pub mod topology;

/// Metrics.
pub mod metrics;

/// Resources as plain values, and the statuses that go back to them.
pub mod object;

/// Objects as RabbitMQ's own tools write them.
pub mod rabbitmq;

/// The custom resources a user writes: types, CRDs, rules.
pub mod resource;

/// The log.
pub mod telemetry;

/// The runtime that everything asynchronous runs on.
pub mod runtime;
