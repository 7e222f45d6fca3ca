//! Attacks over HTTP: clients that send nothing, read nothing, ask for too much or come from a page of another site.
//!
//! In: a broker, often in a small container. Out: what each attack is answered, and that others are served meanwhile.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::http::Http;
use harness::requests::*;
use harness::{Broker, Client, call};
use leveret_amqp::method::*;
use serde_json::json;

use crate::bystander::Bystander;
use crate::small_broker;

const LOGIN: &str = "authorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n";
/// Queues whose lists are long.
const QUEUES: usize = 2000;
/// The longest time that an answer of a broker under attack may take here, built without optimisation.
const SOON: Duration = Duration::from_secs(5);

/// A connection on which this was said.
fn say(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the broker listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a socket");
    stream.write_all(text.as_bytes()).expect("a new connection");
    stream
}

/// Everything until the broker closes.
fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Many queues, quickly.
fn declare_queues(broker: &Broker, count: usize) {
    let mut client = Client::with_channel(broker.amqp());
    for number in 0..count {
        let name = format!("a-queue-with-a-name-of-some-length-{number:06}");
        client.send(
            1,
            QueueDeclare {
                no_wait: true,
                ..declare(&name)
            },
        );
    }
    call!(client, 1, declare("the-last") => QueueDeclareOk);
    client.close();
}

/// A probe, as a kubelet asks: a new connection, and an answer soon.
fn probe(address: SocketAddr) {
    let began = Instant::now();
    let answer = Http::anonymous(address).request("GET", "/livez", None);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn who_sends_half_a_request_is_cut_off_in_ten_seconds() {
    let broker = Broker::start();
    let bystander = Bystander::start(broker.amqp());
    let began = Instant::now();
    let ends = [
        // A head that drips.
        thread::spawn({
            let mut stream = say(broker.http(), "GET /api/overview HTTP/1.1\r\nx: ");
            move || {
                while stream.write_all(b"y").is_ok() && began.elapsed() < Duration::from_secs(20) {
                    thread::sleep(Duration::from_millis(500));
                }
                began.elapsed()
            }
        }),
        // Nothing at all, on either port.
        thread::spawn({
            let stream = say(broker.http(), "");
            move || (assert_eq!(rest(stream), ""), began.elapsed()).1
        }),
        thread::spawn({
            let stream = say(broker.metrics(), "");
            move || (assert_eq!(rest(stream), ""), began.elapsed()).1
        }),
        // A body that never comes.
        thread::spawn({
            let head = format!("PUT /api/queues/%2F/x HTTP/1.1\r\nhost: x\r\n{LOGIN}content-length: 10\r\n\r\n{{");
            let stream = say(broker.http(), &head);
            move || {
                let answer = rest(stream);
                assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
                began.elapsed()
            }
        }),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let took = end.join().expect("an attack").as_secs();
        assert!((9..16).contains(&took), "attack {number}: {took} s");
    }
    bystander.end();
}

#[test]
fn who_takes_all_connections_keeps_nobody_out() {
    let broker = Broker::start();
    let mut held: Vec<TcpStream> = Vec::new();
    for number in 0..1200 {
        held.push(say(broker.metrics(), ""));
        if number % 100 == 0 {
            probe(broker.metrics());
        }
    }
    // Idle between two requests, which is allowed for a minute.
    let request = format!("GET /api/whoami HTTP/1.1\r\nhost: x\r\n{LOGIN}\r\n");
    held.extend((0..1200).map(|_| say(broker.http(), &request)));
    probe(broker.http());
    probe(broker.metrics());
    let api = Http::new(broker.http());
    assert_eq!(api.get("/api/whoami")["name"], "guest");
    let metrics = Http::anonymous(broker.metrics()).request("GET", "/metrics", None).body;
    let line = |name: &str| {
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok())
    };
    let open = line("leveret_http_connections").expect("a figure");
    assert!(open <= 1100, "{open} connections");
    assert!(line("leveret_http_connections_ousted_total").expect("a figure") >= 1000);
}

#[test]
fn answers_that_are_not_read_take_little_memory() {
    let Some((group, broker)) = small_broker(&[]) else {
        return;
    };
    declare_queues(&broker, QUEUES);
    let bystander = Bystander::start(broker.amqp());
    let before = group.anonymous();
    let ask = |address, path: &str| say(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n{LOGIN}\r\n"));
    let mut unread: Vec<TcpStream> = Vec::new();
    for _ in 0..700 {
        unread.push(ask(broker.metrics(), "/metrics/per-object"));
        unread.push(ask(broker.http(), "/api/queues"));
        unread.push(ask(broker.http(), "/metrics/per-object"));
    }
    probe(broker.metrics());
    thread::sleep(Duration::from_secs(2));
    probe(broker.metrics());
    let grown = group.anonymous().saturating_sub(before) >> 20;
    assert!(grown < 80, "{grown} MiB more");
    // The sums are not behind the long answers.
    assert_eq!(
        Http::anonymous(broker.metrics())
            .request("GET", "/metrics", None)
            .status,
        200
    );
    bystander.end();
    drop(unread);
    assert_eq!(group.killed(), 0);
}

#[test]
fn many_large_bodies_take_little_memory() {
    let Some((group, broker)) = small_broker(&[]) else {
        return;
    };
    let body = json!({"properties": {}, "routing_key": "nowhere", "payload_encoding": "string",
        "payload": "x".repeat(6 << 20)})
    .to_string();
    let values = format!("{{\"arguments\": {{\"x\": [{}0]}}}}", "0,".repeat(3 << 20));
    let send = |path: &str, method: &str, body: &str| {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{LOGIN}content-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = say(broker.http(), &head);
        // A refusal may come before the end.
        let _ = stream.write_all(body.as_bytes());
        rest(stream)
    };
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let answer = send("/api/exchanges/%2F/amq.direct/publish", "POST", &body);
                let fine = ["HTTP/1.1 200 ", "HTTP/1.1 503 "]
                    .iter()
                    .any(|status| answer.starts_with(status));
                assert!(fine, "{}", answer.get(..200).unwrap_or(&answer));
            });
            scope.spawn(|| {
                let answer = send("/api/queues/%2F/values", "PUT", &values);
                let fine = ["HTTP/1.1 400 ", "HTTP/1.1 503 "]
                    .iter()
                    .any(|status| answer.starts_with(status));
                assert!(fine, "{}", answer.get(..200).unwrap_or(&answer));
            });
        }
    });
    probe(broker.metrics());
    assert_eq!(group.killed(), 0);
}

#[test]
fn a_body_too_large_is_refused_before_it_comes() {
    let broker = Broker::start();
    let head = format!("PUT /api/queues/%2F/x HTTP/1.1\r\nhost: x\r\n{LOGIN}content-length: 20000001\r\n\r\n");
    let began = Instant::now();
    let answer = rest(say(broker.http(), &head));
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"error\":\"payload_too_large\""),
        "{answer}"
    );
    assert!(began.elapsed() < SOON);
    // The same when it isn't announced.
    let mut stream = say(
        broker.http(),
        &format!("PUT /api/queues/%2F/x HTTP/1.1\r\nhost: x\r\n{LOGIN}transfer-encoding: chunked\r\n\r\n"),
    );
    let chunk = [b"100000\r\n".as_slice(), &[b' '; 1 << 20], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 64 && stream.write_all(&chunk).is_ok() {
        sent += 1;
    }
    assert!(sent < 40, "{sent} MiB were taken");
}

#[test]
fn a_get_of_everything_ends_at_a_size() {
    let Some((group, broker)) = small_broker(&[]) else {
        return;
    };
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, ConfirmSelect { no_wait: false } => ConfirmSelectOk);
    call!(client, 1, durable("long") => QueueDeclareOk);
    let body = vec![b'x'; 1 << 20];
    for _ in 0..50 {
        client.publish_persistent(1, "", "long", &body);
        harness::expect!(client, 1, BasicAck);
    }
    let bystander = Bystander::start(broker.amqp());
    let ask = json!({"count": 1_u64 << 40, "ackmode": "ack_requeue_true", "encoding": "base64"});
    let answer = Http::new(broker.http()).request("POST", "/api/queues/%2F/long/get", Some(&ask));
    assert_eq!(answer.status, 200);
    let count = answer.json().as_array().map(Vec::len);
    assert!(count.is_some_and(|count| (15..25).contains(&count)), "{count:?}");
    let seen = bystander.end();
    assert!(seen.slowest < SOON, "{seen:?}");
    assert_eq!(group.killed(), 0);
}

#[test]
fn costly_patterns_are_in_nobodys_way() {
    let broker = Broker::start();
    declare_queues(&broker, 200);
    let stop = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let storm = |address: SocketAddr, path: &'static str| {
            let stop = &stop;
            scope.spawn(move || {
                let mut asked = 0;
                while !stop.load(Ordering::Relaxed) {
                    let status = Http::new(address).request("GET", path, None).status;
                    assert!(matches!(status, 200 | 400 | 503), "{status}");
                    asked += 1;
                }
                asked
            })
        };
        let detailed = "/metrics/detailed?family=queue_coarse_metrics&queue=a%7B1000%7D%7B100%7D";
        let named = "/api/queues?page=1&use_regex=true&name=(a%7B1000%7D)%7B1000%7D";
        let back = "/api/queues?page=1&use_regex=true&name=%5E(%3F%3D(-%7C%5Cw)*%24)((%5Cw%7C-)%2B)%2B%5C1zz";
        let storms = [
            storm(broker.metrics(), detailed),
            storm(broker.metrics(), detailed),
            storm(broker.http(), named),
            storm(broker.http(), back),
        ];
        let mut times: Vec<Duration> = (0..40)
            .map(|_| {
                let began = Instant::now();
                Client::connect(broker.amqp()).close();
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        stop.store(true, Ordering::Relaxed);
        assert!(times[20] < Duration::from_millis(50), "handshakes: {times:?}");
        storms.map(|storm| storm.join().expect("a storm"))
    });
    assert!(asked.iter().all(|asked| *asked > 0), "{asked:?}");
}

#[test]
fn a_head_too_large_is_refused() {
    let broker = Broker::start();
    let head = format!(
        "GET /api/whoami HTTP/1.1\r\nhost: x\r\n{LOGIN}x: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let answer = rest(say(broker.http(), &head));
    assert!(
        answer.starts_with("HTTP/1.1 414 ") || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
    probe(broker.http());
}

/// A request with these headers besides; its status.
fn status(address: SocketAddr, method: &str, path: &str, headers: &str) -> io::Result<u16> {
    let body = "{}";
    let text = format!(
        "{method} {path} HTTP/1.1\r\n{LOGIN}connection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = rest(say(address, &text));
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other(answer))
}

#[test]
fn a_page_of_another_site_can_do_nothing() {
    let broker = Broker::start();
    let put = |headers: &str| status(broker.http(), "PUT", "/api/queues/%2F/q", headers).expect("an answer");
    let host = "host: localhost\r\n";
    assert_eq!(put(&format!("{host}sec-fetch-site: cross-site\r\n")), 403);
    assert_eq!(put(&format!("{host}origin: https://evil.example\r\n")), 403);
    assert_eq!(
        put("host: evil.example\r\n"),
        403,
        "a name that was turned to this machine"
    );
    let own = format!("{host}sec-fetch-site: same-origin\r\n");
    assert_eq!(put(&format!("{own}content-type: text/plain\r\n")), 415);
    assert_eq!(put(&format!("{own}content-type: application/json\r\n")), 201);
    let whoami = |headers: &str| status(broker.http(), "GET", "/api/whoami", headers).expect("an answer");
    assert_eq!((whoami("host: rebound.example\r\n"), whoami(host)), (403, 200));
    for (address, path) in [
        (broker.http(), "/api/whoami"),
        (broker.http(), "/nothing"),
        (broker.metrics(), "/metrics"),
        (broker.metrics(), "/livez"),
    ] {
        let answer = Http::anonymous(address).request("GET", path, None);
        for (name, value) in [
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
    }
}
