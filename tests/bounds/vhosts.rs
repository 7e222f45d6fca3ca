//! Virtual hosts by the thousand, and one that is deleted with very much in it.

use std::time::{Duration, Instant};

use harness::http::Http;
use harness::requests::*;
use harness::wait::until;
use harness::{Broker, Client, call};
use leveret_amqp::method::*;
use serde_json::json;

use crate::bystander::Bystander;
use crate::many::all;
use crate::small_broker;

const SOON: Duration = Duration::from_secs(60);
/// Requests on a connection at a time.
const CLIENTS: usize = 8;

/// Makes vhosts with these numbers.
fn make(broker: &Broker, numbers: std::ops::Range<usize>) {
    let http = Http::new(broker.http());
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (http, numbers) = (&http, numbers.clone());
            scope.spawn(move || {
                for number in numbers.skip(client).step_by(CLIENTS) {
                    let answer = http.request("PUT", &format!("/api/vhosts/v{number}"), None);
                    assert_eq!(answer.status, 201, "{}", answer.body);
                }
            });
        }
    });
}

fn vhosts(broker: &Broker) -> usize {
    let page = Http::new(broker.http()).get("/api/vhosts?page=1&page_size=1&disable_stats=true");
    page["total_count"].as_u64().unwrap_or_default() as usize
}

/// An empty vhost is an entry of a table: thousands fit beside each other, are listed at once and are there after a
/// start.
#[test]
fn thousands_of_vhosts_take_little() {
    const VHOSTS: usize = 2_000;
    let Some((group, mut broker)) = small_broker(&[]) else {
        return;
    };
    let bystander = Bystander::start(broker.amqp());
    make(&broker, 0..VHOSTS);
    let before = group.anonymous();
    make(&broker, VHOSTS..2 * VHOSTS);
    let each = group.anonymous().saturating_sub(before) / VHOSTS as u64;
    println!("a vhost takes {each} bytes");
    assert!(each < 10 << 10, "{each} bytes");
    let http = Http::new(broker.http());
    let begin = Instant::now();
    let rows = http.get("/api/vhosts");
    println!("listed in {:?}", begin.elapsed());
    assert_eq!(rows.as_array().expect("rows").len(), 2 * VHOSTS + 1);
    assert!(begin.elapsed() < Duration::from_secs(5));
    let metrics = http.request("GET", "/metrics", None).body;
    let used = format!("leveret_limit_used{{limit=\"vhost_max\"}} {}\n", 2 * VHOSTS + 1);
    assert!(metrics.contains(&used), "{metrics}");
    let seen = bystander.end();
    println!("{seen:?}");
    assert!(seen.confirmed > 0);
    broker.terminate(SOON);
    let broker = broker.restart();
    assert_eq!(vhosts(&broker), 2 * VHOSTS + 1);
}

#[test]
fn vhosts_too_many_are_refused() {
    let broker = Broker::start_with(&["--vhost-max", "3"]);
    make(&broker, 0..2);
    let http = Http::new(broker.http());
    let answer = http.request("PUT", "/api/vhosts/more", None);
    let text = "cannot create vhost 'more': vhost limit of 3 is reached";
    assert_eq!((answer.status, &answer.json()["reason"]), (400, &json!(text)));
    assert_eq!(http.request("PUT", "/api/vhosts/v1", None).status, 204, "it is there");
    assert_eq!(http.request("DELETE", "/api/vhosts/v1", None).status, 204);
    make(&broker, 2..3);
}

/// All that a vhost has goes by in portions, while others are served; and gives its memory and disk space back.
#[test]
fn a_large_vhost_is_deleted_beside_others() {
    const QUEUES: u32 = 5_000;
    const MESSAGES: u64 = 100_000;
    let broker = Broker::start_with(&["--segment-size", "4MiB"]);
    let http = Http::new(broker.http());
    assert_eq!(http.request("PUT", "/api/vhosts/large", None).status, 201);
    let mut client = Client::connect_to(broker.amqp(), "large");
    client.open_channel(1);
    all(&mut client, (0..QUEUES).map(|number| durable(&format!("q{number}"))));
    all(
        &mut client,
        (0..QUEUES).map(|number| bind(&format!("q{number}"), "amq.topic", "k.#")),
    );
    call!(client, 1, durable("full") => QueueDeclareOk);
    call!(client, 1, TxSelect::default() => TxSelectOk);
    for _ in 0..MESSAGES / 10_000 {
        for _ in 0..10_000 {
            client.publish_persistent(1, "", "full", &[7; 64]);
        }
        call!(client, 1, TxCommit::default() => TxCommitOk);
    }
    let bystander = Bystander::start(broker.amqp());
    let begin = Instant::now();
    let answer = http.request("DELETE", "/api/vhosts/large", None);
    println!("deleted in {:?}", begin.elapsed());
    assert_eq!(answer.status, 204, "{}", answer.body);
    client.connection_error(320, "CONNECTION_FORCED - vhost 'large' is deleted");
    let seen = bystander.end();
    println!("{seen:?}");
    assert!(seen.confirmed > 0 && seen.slowest < Duration::from_secs(2), "{seen:?}");
    let used = || {
        let limits = &http.get("/api/nodes")[0]["limits"];
        [
            "cluster_queue_limit",
            "cluster_exchange_limit",
            "cluster_binding_limit",
            "vhost_max",
        ]
        .map(|name| limits[name]["used"].clone())
    };
    // The bystander's queue is durable.
    assert_eq!(used(), [1, 8, 0, 1]);
    until("the disk space is free", SOON, || {
        let folder = std::fs::read_dir(broker.data()).expect("a folder");
        folder
            .filter_map(|file| file.ok()?.metadata().ok())
            .map(|file| file.len())
            .sum::<u64>()
            < 24 << 20
    });
}
