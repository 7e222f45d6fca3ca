//! What attackers do in a soak, each act small enough to come again and again.
//!
//! In: addresses, chance. Out: harm attempted; all that lasts is removed at the end of the act.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::{short, table};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldTable, FieldValue, PROTOCOL_HEADER};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;

use super::attacker::Attacker;

/// Where the broker listens.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) amqp: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

/// An act.
pub(crate) type Act = fn(Target, &mut StdRng) -> io::Result<()>;

/// All acts by name.
pub(crate) const ACTS: &[(&str, Act)] = &[
    ("half a handshake", half_a_handshake),
    ("a wrong password", a_wrong_password),
    ("large client properties", large_client_properties),
    ("a chain of exchanges", a_chain_of_exchanges),
    ("a key with many #", many_hashes),
    ("many headers", many_headers),
    ("many keys in CC", many_keys),
    ("gets that nobody reads", unread_gets),
    ("large bodies to consumers that don't read", stalled_consumers),
    ("half a body", half_a_body),
    ("queues with large arguments", large_arguments),
    ("a consumer that takes all and dies", takes_all_and_dies),
    ("a circle of dead letters", dead_letter_circle),
    ("an expiry storm", expiry_storm),
    ("all priorities", all_priorities),
    ("a policy over many queues", policies),
    ("channels", channels),
    ("half a request", half_a_request),
    ("answers that nobody reads", unread_answers),
    ("regular expressions", regular_expressions),
];

/// A connection with an exclusive queue.
fn with_queue(target: Target, name: &str) -> io::Result<(Attacker, String)> {
    let mut attacker = Attacker::open(target.amqp)?;
    let queue = unique(name);
    attacker.say(
        1,
        QueueDeclare {
            no_wait: true,
            ..exclusive(&queue)
        },
    )?;
    Ok((attacker, queue))
}

fn half_a_handshake(target: Target, random: &mut StdRng) -> io::Result<()> {
    let mut all = Vec::new();
    for _ in 0..20 {
        let mut attacker = Attacker::raw(target.amqp)?;
        attacker.octets(&PROTOCOL_HEADER)?;
        // A start-ok that announces more than it brings.
        attacker.octets(&[1, 0, 0, 0, 0, 0x1f, 0xf0, 0, 10, 0, 11])?;
        attacker.octets(&vec![0; random.random_range(0..8000)])?;
        attacker.flush()?;
        all.push(attacker);
    }
    std::thread::sleep(Duration::from_millis(random.random_range(0..300)));
    Ok(())
}

fn a_wrong_password(target: Target, _: &mut StdRng) -> io::Result<()> {
    let mut attacker = Attacker::raw(target.amqp)?;
    attacker.octets(&PROTOCOL_HEADER)?;
    attacker.say(0, start_ok("PLAIN", b"\0soak\nforged line\0wrong"))?;
    attacker.listen(Duration::from_millis(200))?;
    Http::with_credentials(target.http, "soak", "wrong").try_request("GET", "/api/whoami", None)?;
    Ok(())
}

fn large_client_properties(target: Target, random: &mut StdRng) -> io::Result<()> {
    let mut attacker = Attacker::raw(target.amqp)?;
    attacker.octets(&PROTOCOL_HEADER)?;
    let mut hello = start_ok("PLAIN", b"\0guest\0guest");
    hello.client_properties = voids(random.random_range(100..20_000)).into();
    attacker.say(0, hello)?;
    attacker.listen(Duration::from_millis(100))
}

/// A table of as many fields, two octets each or little more.
fn voids(count: usize) -> FieldTable {
    FieldTable((0..count).map(|_| (short(""), FieldValue::Void)).collect())
}

fn a_chain_of_exchanges(target: Target, random: &mut StdRng) -> io::Result<()> {
    let mut attacker = Attacker::open(target.amqp)?;
    let length = random.random_range(10..500);
    let (name, queue) = (unique("chain"), unique("chain"));
    let link = |number: usize| format!("{name}.{number}");
    attacker.say(
        1,
        QueueDeclare {
            no_wait: true,
            ..exclusive(&queue)
        },
    )?;
    for number in (0..length).rev() {
        let declare = ExchangeDeclare {
            auto_delete: true,
            no_wait: true,
            ..exchange(&link(number), "fanout")
        };
        attacker.say(1, declare)?;
        if number + 1 == length {
            attacker.say(
                1,
                QueueBind {
                    no_wait: true,
                    ..bind(&queue, &link(number), "")
                },
            )?;
        } else {
            attacker.say(
                1,
                ExchangeBind {
                    no_wait: true,
                    ..bind_exchange(&link(number + 1), &link(number), "")
                },
            )?;
        }
    }
    for _ in 0..10 {
        attacker.publish(&link(0), "", &no_properties(), b"through")?;
    }
    // The last one goes with the queue, and takes the others with it.
    attacker.end()
}

fn many_hashes(target: Target, random: &mut StdRng) -> io::Result<()> {
    let (mut attacker, queue) = with_queue(target, "hashes")?;
    let pattern = format!("{}b", "#.a.".repeat(random.random_range(1..12)));
    attacker.say(
        1,
        QueueBind {
            no_wait: true,
            ..bind(&queue, "amq.topic", &pattern)
        },
    )?;
    let key = ["a"; 120].join(".");
    for _ in 0..10 {
        attacker.publish("amq.topic", &key, &no_properties(), b"")?;
    }
    attacker.end()
}

fn many_headers(target: Target, random: &mut StdRng) -> io::Result<()> {
    let (mut attacker, queue) = with_queue(target, "headers")?;
    let fields = |count: usize, last: i32| {
        let named = |number: usize| (short(&format!("h{number}")), FieldValue::from(number as i32));
        let mut table = FieldTable((0..count).map(named).collect());
        table.0.push((short("last"), last.into()));
        table
    };
    let count = random.random_range(10..400);
    for last in 0..50 {
        let binding = QueueBind {
            no_wait: true,
            arguments: fields(count, last).into(),
            ..bind(&queue, "amq.headers", "")
        };
        attacker.say(1, binding)?;
    }
    for _ in 0..5 {
        attacker.publish("amq.headers", "", &headers(fields(count, 50)), b"")?;
    }
    attacker.end()
}

fn many_keys(target: Target, random: &mut StdRng) -> io::Result<()> {
    let (mut attacker, queue) = with_queue(target, "cc")?;
    let count = random.random_range(10..3_000);
    let keys = (0..count).map(|number| FieldValue::from(format!("{queue}{}", number % 7).as_str()));
    let cc = headers(table([("CC", FieldValue::Array(keys.collect()))]));
    for _ in 0..3 {
        attacker.publish("", &queue, &cc, b"")?;
    }
    attacker.end()
}

fn unread_gets(target: Target, random: &mut StdRng) -> io::Result<()> {
    let (mut attacker, queue) = with_queue(target, "gets")?;
    let body = vec![1; 1 << random.random_range(4..17)];
    for _ in 0..100 {
        attacker.publish("", &queue, &no_properties(), &body)?;
    }
    for _ in 0..5_000 {
        attacker.say(1, get(&queue))?;
    }
    attacker.flush()?;
    std::thread::sleep(Duration::from_millis(200));
    Ok(())
}

fn stalled_consumers(target: Target, random: &mut StdRng) -> io::Result<()> {
    let name = unique("stalled");
    let mut consumers = Vec::new();
    let mut publisher = Attacker::open(target.amqp)?;
    publisher.say(
        1,
        ExchangeDeclare {
            auto_delete: true,
            no_wait: true,
            ..exchange(&name, "fanout")
        },
    )?;
    publisher.flush()?;
    for number in 0..10 {
        let mut consumer = Attacker::open(target.amqp)?;
        let queue = format!("{name}.{number}");
        consumer.say(
            1,
            QueueDeclare {
                no_wait: true,
                ..exclusive(&queue)
            },
        )?;
        consumer.say(
            1,
            QueueBind {
                no_wait: true,
                ..bind(&queue, &name, "")
            },
        )?;
        consumer.say(
            1,
            BasicConsume {
                no_wait: true,
                ..consume(&queue, "c")
            },
        )?;
        consumer.flush()?;
        consumers.push(consumer);
    }
    std::thread::sleep(Duration::from_millis(50));
    let body = vec![1; random.random_range(1..4) << 20];
    publisher.publish(&name, "", &no_properties(), &body)?;
    publisher.flush()?;
    std::thread::sleep(Duration::from_millis(200));
    drop(consumers);
    publisher.end()
}

fn half_a_body(target: Target, random: &mut StdRng) -> io::Result<()> {
    let mut attacker = Attacker::open(target.amqp)?;
    attacker.publish_most("nowhere", &vec![1; random.random_range(1..8) << 20])?;
    std::thread::sleep(Duration::from_millis(random.random_range(0..500)));
    Ok(())
}

fn large_arguments(target: Target, random: &mut StdRng) -> io::Result<()> {
    let mut attacker = Attacker::open(target.amqp)?;
    let name = unique("arguments");
    for number in 0..50 {
        let queue = format!("{name}.{number}");
        let arguments = voids(random.random_range(0..2_000));
        attacker.say(
            1,
            QueueDeclare {
                no_wait: true,
                arguments: arguments.into(),
                ..exclusive(&queue)
            },
        )?;
    }
    attacker.end()
}

fn takes_all_and_dies(target: Target, random: &mut StdRng) -> io::Result<()> {
    let mut attacker = Attacker::open(target.amqp)?;
    let queue = unique("all");
    attacker.say(
        1,
        QueueDeclare {
            no_wait: true,
            ..declare(&queue)
        },
    )?;
    for _ in 0..random.random_range(100..20_000) {
        attacker.publish("", &queue, &no_properties(), b"small")?;
    }
    attacker.say(
        1,
        BasicConsume {
            no_wait: true,
            ..consume(&queue, "c")
        },
    )?;
    attacker.listen(Duration::from_millis(300))?;
    drop(attacker);
    let mut after = Attacker::open(target.amqp)?;
    after.say(
        1,
        QueueDelete {
            no_wait: true,
            ..delete(&queue)
        },
    )?;
    after.end()
}

fn dead_letter_circle(target: Target, random: &mut StdRng) -> io::Result<()> {
    let mut attacker = Attacker::open(target.amqp)?;
    let name = unique("circle");
    let size = random.random_range(2..50);
    for number in 0..size {
        let arguments = table([
            ("x-dead-letter-exchange", "".into()),
            (
                "x-dead-letter-routing-key",
                format!("{name}.{}", (number + 1) % size).as_str().into(),
            ),
            ("x-message-ttl", FieldValue::from(1)),
        ]);
        let queue = format!("{name}.{number}");
        attacker.say(
            1,
            QueueDeclare {
                no_wait: true,
                arguments,
                ..exclusive(&queue)
            },
        )?;
    }
    for _ in 0..200 {
        attacker.publish("", &format!("{name}.0"), &no_properties(), b"round and round")?;
    }
    attacker.listen(Duration::from_millis(300))?;
    attacker.end()
}

fn expiry_storm(target: Target, random: &mut StdRng) -> io::Result<()> {
    let (mut attacker, queue) = with_queue(target, "expiry")?;
    for _ in 0..5_000 {
        let after = random.random_range(0..300).to_string();
        let expires = BasicProperties {
            expiration: Some(short(&after)),
            ..BasicProperties::default()
        };
        attacker.publish("", &queue, &properties(&expires), b"soon gone")?;
    }
    attacker.listen(Duration::from_millis(300))?;
    attacker.end()
}

fn all_priorities(target: Target, random: &mut StdRng) -> io::Result<()> {
    let mut attacker = Attacker::open(target.amqp)?;
    let queue = unique("priorities");
    let arguments = table([("x-max-priority", 255.into())]);
    attacker.say(
        1,
        QueueDeclare {
            no_wait: true,
            arguments,
            ..exclusive(&queue)
        },
    )?;
    for _ in 0..5_000 {
        let level = BasicProperties {
            priority: Some(random.random()),
            ..BasicProperties::default()
        };
        attacker.publish("", &queue, &properties(&level), b"level")?;
    }
    attacker.say(
        1,
        BasicConsume {
            no_wait: true,
            ..consume(&queue, "c")
        },
    )?;
    attacker.listen(Duration::from_millis(100))?;
    attacker.end()
}

fn policies(target: Target, random: &mut StdRng) -> io::Result<()> {
    let mut attacker = Attacker::open(target.amqp)?;
    let name = unique("policy");
    for number in 0..random.random_range(10..500) {
        let queue = format!("{name}.{number}");
        attacker.say(
            1,
            QueueDeclare {
                no_wait: true,
                ..exclusive(&queue)
            },
        )?;
    }
    attacker.flush()?;
    let (api, path) = (Http::new(target.http), format!("/api/policies/%2F/{name}"));
    let policy = json!({ "pattern": format!("^(a|{name})+\\.([0-9]+)+$"), "definition": { "max-length": 5 } });
    api.try_request("PUT", &path, Some(&policy))?;
    api.try_request("DELETE", &path, None)?;
    attacker.end()
}

fn channels(target: Target, _: &mut StdRng) -> io::Result<()> {
    let mut attacker = Attacker::open(target.amqp)?;
    for _ in 0..5 {
        for number in 2..500 {
            attacker.say(number, ChannelOpen::default())?;
        }
        for number in 2..500 {
            attacker.say(number, ChannelClose::default())?;
        }
    }
    attacker.end()
}

/// A request that is written and not read.
fn write(address: SocketAddr, text: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(text.as_bytes())?;
    Ok(stream)
}

fn half_a_request(target: Target, random: &mut StdRng) -> io::Result<()> {
    let mut all = Vec::new();
    for _ in 0..20 {
        let head = "GET /api/overview HTTP/1.1\r\nhost: localhost\r\nx-slow";
        let body = "POST /api/definitions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n{";
        all.push(write(target.http, head)?);
        all.push(write(target.http, body)?);
        all.push(write(target.metrics, head)?);
    }
    std::thread::sleep(Duration::from_millis(random.random_range(0..500)));
    Ok(())
}

fn unread_answers(target: Target, random: &mut StdRng) -> io::Result<()> {
    let mut all = Vec::new();
    // guest:guest
    let list = "GET /api/queues HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n\r\n";
    for _ in 0..20 {
        let scrape = "GET /metrics/per-object HTTP/1.1\r\nhost: localhost\r\n\r\n";
        all.push(write(target.metrics, scrape)?);
        all.push(write(target.http, list)?);
    }
    std::thread::sleep(Duration::from_millis(random.random_range(0..500)));
    Ok(())
}

fn regular_expressions(target: Target, _: &mut StdRng) -> io::Result<()> {
    for pattern in ["a{1000}{100}", "(a%2B)%2B%24", "(%3F%3D.*a)(.*)*b"] {
        let request = format!(
            "GET /metrics/detailed?family=queue_coarse_metrics&queue={pattern} HTTP/1.1\r\nhost: localhost\r\n\
             connection: close\r\n\r\n"
        );
        let mut stream = write(target.metrics, &request)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
    }
    Ok(())
}
