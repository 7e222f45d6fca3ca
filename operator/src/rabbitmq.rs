//! Objects as RabbitMQ's own tools write them, as specs of resources.
//!
//! In: the spec of a manifest of its topology operator, a document of definitions, a state of Terraform's. Out:
//! `Translation`: kind and spec, with a remark for everything that neither says. Pure. Does not know about files, names
//! of resources, or brokers.
//! A field is carried over or remarked on: `Fields` tells what nobody has taken.

/// A document of definitions.
pub mod definitions;

/// A state of Terraform's.
pub mod terraform;

/// Manifests of the topology operator.
pub mod manifest;

/// Parts that all of them have.
mod common;

/// A table of which every field is accounted for.
mod fields;

/// Objects as resources ask for them, and what is not carried over.
mod translation;

pub use translation::{Owner, Part, Remark, Translation};
