//! Bounds: what a peer sends and what users make can't take the broker down, nor slow its other clients.
//!
//! In: a broker, often in a control group of 256 MiB. Out: one test for each attack, with a bound of memory, time or
//! the answer, and a bystander who must go on working meanwhile.

use harness::Broker;
use harness::control_group::ControlGroup;

/// A client beside an attack.
mod bystander;

/// Random attacks for a while.
mod soak;

/// Clients that have not logged in.
mod before_login;

/// Tables that the broker keeps.
mod tables;

/// Clients that don't read.
mod outbox;

/// Messages that don't come whole.
mod bodies;

/// Alarms.
mod alarms;

/// Requests by the thousand.
mod many;

/// Numbers and sizes.
mod limits;

/// Chains and nests.
mod recursion;

/// Messages whose way is long.
mod routing;

/// Topologies that are long.
mod growth;

/// File descriptors.
mod descriptors;

/// Queues, as arguments and policies make them.
mod queues;

/// Connections and queues that do nothing.
mod idle;

/// Files of the log, and what others put beside them.
mod data_directory;
/// Definitions.
mod definitions;

/// Clients of HTTP.
mod http;

/// Logins.
mod logins;

/// Virtual hosts.
mod vhosts;

/// Peers of ZeroMQ's sockets.
mod zeromq;

/// The container's memory limit, MiB.
const GROUP: u64 = 256;

/// A broker in a container of [`GROUP`] MiB; `None`, and the reason printed, where there can be none.
#[allow(dead_code, reason = "used by attacks on memory")]
fn small_broker(extra: &[&str]) -> Option<(ControlGroup, Broker)> {
    let group = ControlGroup::with_memory(GROUP)?;
    let wrapper = group.wrapper();
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let broker = Broker::start_through(&wrapper, |_| {}, extra);
    Some((group, broker))
}

#[test]
fn a_bystander_is_served_in_a_small_container() {
    let Some((group, broker)) = small_broker(&[]) else {
        return;
    };
    let bystander = bystander::Bystander::start(broker.amqp());
    std::thread::sleep(std::time::Duration::from_millis(300));
    let seen = bystander.end();
    assert!(seen.confirmed > 3 && seen.p99 <= seen.slowest, "{seen:?}");
    assert_eq!(group.killed(), 0);
}
