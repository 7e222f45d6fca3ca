//! The broker's answers on the wire, frame by frame.
//!
//! In: a broker. Out: one test for each rule of AMQP 0-9-1 and of RabbitMQ's dialect, reply codes and texts included.
//! All of it also holds for RabbitMQ 4.3 (`LEVERET_TEST_AMQP=HOST:PORT`, with transient queues permitted); where the
//! two differ on purpose the test says so.
//! Does not know about how the broker is built.

use std::net::SocketAddr;

use harness::http::Http;
use harness::{Broker, Client};

mod connection;

mod channel;

mod exchange;

mod exchange_binding;

mod topic;

mod headers;

mod queue;

mod queue_binding;

mod publish;

mod confirm;

mod transaction;

mod consume;

mod qos;

mod get;

mod direct_reply;

mod settle;

mod requeue;

mod malformed;

mod mutation;

/// The address of the broker that most tests share.
fn broker() -> SocketAddr {
    Broker::shared().amqp()
}

/// A connection to it with channel 1 open.
fn client() -> Client {
    Client::with_channel(broker())
}

/// True if the broker under test is RabbitMQ itself.
fn is_rabbitmq() -> bool {
    Broker::shared().is_external() && {
        let overview = Http::new(Broker::shared().http()).get("/api/overview");
        overview["product_name"] == "RabbitMQ"
    }
}
