//! The broker's answers on the wire, frame by frame.
//!
//! In: a broker. Out: one test for each rule of AMQP 0-9-1 and of RabbitMQ's dialect, reply codes and texts included.
//! All of it also holds for RabbitMQ 4.3 (`LEVERET_TEST_AMQP=HOST:PORT`, with transient queues permitted); where the
//! two differ on purpose the test says so.
//! Does not know about how the broker is built.

use std::net::SocketAddr;
use std::time::Duration;

use harness::http::Http;
use harness::scripted_client::Content;
use harness::wait::until;
use harness::{Broker, Client};
use leveret_amqp::method::BasicGetOk;

/// From the protocol header to the close of a connection.
mod connection;

/// Virtual hosts: opened, apart from each other, limited, deleted.
mod vhost;

/// Tracing: copies of messages, for whoever looks.
mod trace;

/// Channels: opened, closed by either side, used when they are not open.
mod channel;

/// Exchanges: declared, compared, deleted; which names are the broker's own.
mod exchange;

/// Bindings from exchange to exchange.
mod exchange_binding;

/// Messages with several routing keys (CC, BCC), and those that no key leads anywhere (alternate exchanges).
mod keys;

/// Topic exchanges: which key matches which pattern.
mod topic;

/// Headers exchanges: which headers match which arguments.
mod headers;

/// Exchanges that send each message to one of their destinations, by chance or by a hash of its key.
mod random_exchange;

/// Exchanges of type `x-prefix`, which RabbitMQ doesn't have.
mod prefix_exchange;

/// Queues: declared, compared, purged, deleted; whose they are.
mod queue;

/// Arguments of queues: which values are refused, and which differences count when a queue is declared again.
mod queue_arguments;

/// Permissions: which right each method needs.
mod permissions;

/// Queues of type quorum.
mod quorum;

/// Consumers that have a message for too long.
mod consumer_timeout;

/// Pauses before a message is delivered again.
mod delayed_retry;

/// Failures of messages, and their limit.
mod delivery_limit;

/// The length limit of a queue: what is dropped, and what doesn't count.
mod queue_limit;

/// Queues with priorities.
mod priority;

/// Queues with one active consumer at a time.
mod single_active;

/// The lease of a queue: when it goes by itself.
mod lease;

/// Time to live of messages.
mod expiry;

/// Dead letters, and the history that they carry.
mod dead_letter;

/// Policies: what they change, and which value counts.
mod policy;

/// Bindings from exchange to queue.
mod queue_binding;

/// basic.publish: what is routed, returned, refused; bodies of all sizes; properties as they came.
mod publish;

/// Publisher confirms: every message is answered for once.
mod confirm;

/// tx.select, tx.commit, tx.rollback: what is held, what a commit does and in which order, what is refused.
mod transaction;

/// Consumers: tags, exclusivity, cancelling from either side, fairness.
mod consume;

/// basic.qos: how many deliveries may be out.
mod qos;

/// basic.get.
mod get;

/// Direct reply-to: requests and answers without a declared queue.
mod direct_reply;

/// ack, nack, reject: one or many, known or unknown.
mod settle;

/// Messages that come back to a queue: their place, and their redelivered flag.
mod requeue;

/// Octets that are no AMQP, or AMQP in the wrong order: a proper close, and a broker that goes on.
mod malformed;

/// A valid session with octets changed at random: whatever comes of it, the broker closes properly and serves on.
mod mutation;

/// The address of the broker that most tests share.
fn broker() -> SocketAddr {
    Broker::shared().amqp()
}

/// A connection to it with channel 1 open.
fn client() -> Client {
    Client::with_channel(broker())
}

/// The next message of a queue, to be acknowledged, once it is there.
fn next(client: &mut Client, queue: &str) -> Content<BasicGetOk> {
    let mut message = None;
    until(&format!("a message in {queue}"), Duration::from_secs(10), || {
        message = client.get(1, queue, false);
        message.is_some()
    });
    message.expect("a message")
}

/// True if the broker under test is RabbitMQ itself.
fn is_rabbitmq() -> bool {
    Broker::shared().is_external() && {
        let overview = Http::new(Broker::shared().http()).get("/api/overview");
        overview["product_name"] == "RabbitMQ"
    }
}
