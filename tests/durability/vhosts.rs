//! Virtual hosts across `kill -9`, in the midst of their creation and deletion.

use std::thread;
use std::time::{Duration, Instant};

use harness::http::Http;
use harness::requests::*;
use harness::{Broker, Client, call, expect};
use leveret_amqp::method::*;
use serde_json::{Value, json};

use crate::check::check;
use crate::small;

fn send(broker: &Broker, method: &str, path: &str, body: Value) {
    let body = Some(&body).filter(|body| !body.is_null());
    let answer = Http::new(broker.http()).request(method, path, body);
    assert!(matches!(answer.status, 201 | 204), "{method} {path}: {}", answer.body);
}

fn names(broker: &Broker) -> Vec<String> {
    let rows = Http::new(broker.http()).get("/api/vhosts?columns=name");
    let name = |row: &Value| row["name"].as_str().unwrap_or_default().to_owned();
    rows.as_array().expect("rows").iter().map(name).collect()
}

/// A durable queue with confirmed messages in a vhost.
fn fill(broker: &Broker, vhost: &str, queue: &str, messages: u64) {
    let mut client = Client::connect_to(broker.amqp(), vhost);
    client.open_channel(1);
    call!(client, 1, durable(queue) => QueueDeclareOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    for _ in 0..messages {
        client.publish_persistent(1, "", queue, b"kept");
    }
    while messages > 0 && expect!(client, 1, BasicAck).delivery_tag < messages {}
    client.close();
}

fn count(broker: &Broker, vhost: &str, queue: &str) -> u32 {
    let mut client = Client::connect_to(broker.amqp(), vhost);
    client.open_channel(1);
    let count = call!(client, 1, passive(queue) => QueueDeclareOk).message_count;
    client.close();
    count
}

#[test]
fn what_was_answered_for_is_there_and_what_was_deleted_is_not() {
    let mut broker = small();
    for vhost in ["kept", "gone"] {
        send(
            &broker,
            "PUT",
            &format!("/api/vhosts/{vhost}"),
            json!({"tags": "t", "description": vhost}),
        );
        fill(&broker, vhost, "q", 10);
    }
    send(&broker, "PUT", "/api/vhost-limits/kept/max-queues", json!({"value": 7}));
    send(&broker, "POST", "/api/vhosts/kept/deletion/protection", Value::Null);
    send(&broker, "DELETE", "/api/vhosts/%2F", Value::Null);
    let shown = |broker: &Broker| Http::new(broker.http()).get("/api/vhosts/kept?disable_stats=true");
    let before = shown(&broker);
    send(&broker, "DELETE", "/api/vhosts/gone", Value::Null);
    broker.kill();
    let mut broker = broker.restart();
    assert_eq!(names(&broker), ["kept"]);
    assert_eq!(shown(&broker), before);
    let limits = Http::new(broker.http()).get("/api/vhost-limits");
    assert_eq!(limits, json!([{"vhost": "kept", "value": {"max-queues": 7}}]));
    assert_eq!(count(&broker, "kept", "q"), 10);
    // One of the name has nothing of the one before.
    send(&broker, "PUT", "/api/vhosts/gone", json!({}));
    let queues = Http::new(broker.http()).get("/api/queues/gone");
    assert_eq!(queues, json!([]));
    broker.kill();
    let output = check(&[broker.data().to_str().expect("a path"), "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["vhosts"], &report["unknown_entries"]), (&json!(2), &json!(0)));
}

/// Whenever it is killed: either the vhost is there with all that it had, or nothing of it is.
#[test]
fn a_deletion_that_is_killed_is_all_or_nothing() {
    const QUEUES: u32 = 400;
    for after in [0, 1, 3, 8, 20, 60] {
        let mut broker = small();
        send(&broker, "PUT", "/api/vhosts/doomed", json!({}));
        send(&broker, "PUT", "/api/vhosts/other", json!({}));
        let mut client = Client::connect_to(broker.amqp(), "doomed");
        client.open_channel(1);
        for number in 0..QUEUES {
            client.send(
                1,
                QueueDeclare {
                    no_wait: true,
                    ..durable(&format!("q{number}"))
                },
            );
            client.send(
                1,
                QueueBind {
                    no_wait: true,
                    ..bind(&format!("q{number}"), "amq.topic", "k.#")
                },
            );
        }
        call!(client, 1, durable("last") => QueueDeclareOk);
        fill(&broker, "doomed", "full", 200);
        fill(&broker, "other", "full", 200);
        let address = broker.http();
        let deletion = thread::spawn(move || {
            let answer = Http::new(address).try_request("DELETE", "/api/vhosts/doomed", None);
            answer.is_ok_and(|answer| answer.status == 204)
        });
        let until = Instant::now() + Duration::from_millis(after);
        while Instant::now() < until && !deletion.is_finished() {
            thread::sleep(Duration::from_micros(200));
        }
        broker.kill();
        let answered = deletion.join().expect("a thread");
        let broker = broker.restart();
        let there = names(&broker).contains(&"doomed".to_owned());
        println!("killed after {after} ms: answered {answered}, there {there}");
        assert!(!(answered && there), "what was answered for holds");
        if there {
            let queues = Http::new(broker.http()).get("/api/queues/doomed?columns=name");
            assert_eq!(queues.as_array().expect("rows").len() as u32, QUEUES + 2);
            assert_eq!(count(&broker, "doomed", "full"), 200);
        } else {
            send(&broker, "PUT", "/api/vhosts/doomed", json!({}));
            let http = Http::new(broker.http());
            assert_eq!(http.get("/api/queues/doomed"), json!([]));
            assert_eq!(http.get("/api/bindings/doomed"), json!([]));
        }
        assert_eq!(count(&broker, "other", "full"), 200, "others have all that was theirs");
    }
}

/// Vhosts are made one after the other until the end: those that were answered for are there, and at most one more.
#[test]
fn creations_that_are_killed_are_whole() {
    let mut broker = small();
    let address = broker.http();
    let making = thread::spawn(move || {
        let http = Http::new(address);
        let make = |number: u32| http.try_request("PUT", &format!("/api/vhosts/v{number:04}"), None);
        (0..)
            .take_while(|number| make(*number).is_ok_and(|answer| answer.status == 201))
            .count()
    });
    thread::sleep(Duration::from_millis(300));
    broker.kill();
    let made = making.join().expect("a thread");
    let broker = broker.restart();
    let there = names(&broker);
    println!("{made} were answered for");
    assert!(
        made > 0 && (made + 1..=made + 2).contains(&there.len()),
        "{made}: {}",
        there.len()
    );
    for vhost in there.iter().filter(|name| *name != "/") {
        let exchanges = Http::new(broker.http()).get(&format!("/api/exchanges/{vhost}"));
        assert_eq!(exchanges.as_array().expect("rows").len(), 8, "{vhost}");
    }
}
