//! When publishers must wait: memory or disk space is short.
//!
//! Comes in: what queues hold, what the kernel says. Goes out: alarms. Does not know about connections but that they can be woken.

pub mod watch;

pub mod available;

pub mod disk;

pub mod memory;

pub mod alarms;

pub mod pause;

pub use alarms::Alarms;
pub use memory::Memory;
