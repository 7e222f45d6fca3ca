//! Tables that clients have the broker keep: arguments of what they declare, and what they say of themselves.
//!
//! In: tables of very many values, very many tables. Out: memory of about the octets that were sent, refusals with the
//! numbers, and starts that need no more than the broker before.

use std::fs;
use std::time::Duration;

use harness::control_group::ControlGroup;
use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::{Frame, short};
use harness::wait::until;
use harness::{Broker, Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{FieldTable, FieldValue, Method, RawTable, ShortString};

use crate::bystander::Bystander;

const SOON: Duration = Duration::from_secs(20);
const MIB: u64 = 1 << 20;

/// Fields of two octets.
fn voids(count: usize) -> RawTable {
    let field = || (ShortString::new(), FieldValue::Void);
    std::iter::repeat_with(field).take(count).collect()
}

/// A field of very many octets.
fn long(octets: usize) -> RawTable {
    [(short("x-long"), "x".repeat(octets).into())].into_iter().collect()
}

/// Memory of a broker that no file stands behind, bytes.
fn resident(broker: &Broker) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).expect("a process");
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("a number") * 1024
}

/// A metric of the broker.
fn metric(broker: &Broker, name: &str) -> u64 {
    let answer = Http::new(broker.http()).request("GET", "/metrics", None);
    let line = answer.body.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
    value.unwrap_or_else(|| panic!("{name} in {}", answer.body))
}

#[test]
fn tables_of_very_many_values_are_refused_wherever_they_are_kept() {
    let broker = Broker::start();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable("q") => QueueDeclareOk);
    let many = "PRECONDITION_FAILED - arguments have 1025 values; at most 1024 are allowed";
    let large = "PRECONDITION_FAILED - arguments take 32769 bytes; at most 32768 are allowed";
    // One name of six octets, its length, a letter and a length of four.
    for (table, text) in [(voids(1025), many), (long(32_769 - 12), large)] {
        let arguments = || table.clone();
        let methods: [Method; 7] = [
            QueueDeclare {
                arguments: arguments(),
                ..durable("new")
            }
            .into(),
            QueueDeclare {
                arguments: arguments(),
                ..durable("q")
            }
            .into(),
            ExchangeDeclare {
                arguments: arguments(),
                ..exchange("new", "direct")
            }
            .into(),
            QueueBind {
                arguments: arguments(),
                ..bind("q", "amq.direct", "k")
            }
            .into(),
            QueueUnbind {
                arguments: arguments(),
                ..unbind("q", "amq.direct", "k")
            }
            .into(),
            ExchangeBind {
                arguments: arguments(),
                ..bind_exchange("amq.topic", "amq.direct", "k")
            }
            .into(),
            BasicConsume {
                arguments: arguments(),
                ..consume("q", "new")
            }
            .into(),
        ];
        for method in methods {
            client.send(1, method);
            client.channel_error(1, 406, text);
            client.open_channel(1);
        }
    }
    call!(client, 1, QueueDeclare { arguments: voids(1024), ..durable("just right") } => QueueDeclareOk);
    call!(client, 1, QueueDeclare { arguments: long(32_768 - 12), ..durable("just so") } => QueueDeclareOk);
}

#[test]
fn what_clients_say_of_themselves_takes_what_they_sent() {
    let broker = Broker::start_with(&["--initial-frame-max", "128KiB"]);
    let hello = |properties: RawTable| {
        let mut client = Client::raw(broker.amqp());
        client.start();
        client.send(
            0,
            ConnectionStartOk {
                client_properties: properties,
                ..start_ok("PLAIN", b"\0guest\0guest")
            },
        );
        client
    };
    let text = "NOT_ALLOWED - client properties take 16385 bytes; at most 16384 are allowed";
    hello(long(16_385 - 12)).connection_error(530, text);
    let text = "NOT_ALLOWED - client properties have 8000 values; at most 1024 are allowed";
    hello(voids(8000)).connection_error(530, text);

    let before = resident(&broker);
    let talkative: Vec<Client> = std::iter::repeat_with(|| {
        let mut client = hello(voids(1024));
        let ConnectionTune {
            channel_max, frame_max, ..
        } = expect!(client, 0, ConnectionTune);
        client.send(
            0,
            ConnectionTuneOk {
                channel_max,
                frame_max,
                heartbeat: 0,
            },
        );
        client.open("/");
        client
    })
    .take(200)
    .collect();
    let each = resident(&broker).saturating_sub(before) / talkative.len() as u64;
    // As values they took 74 KB each.
    assert!(each < 40_000, "{each} bytes for each connection");
    assert!(metric(&broker, "leveret_held_bytes{use=\"tables\"}") >= 200 * 2048);
    drop(talkative);
    until("they have gone", SOON, || {
        metric(&broker, "leveret_held_bytes{use=\"tables\"}") < 30_000
    });
}

#[test]
fn frames_before_the_login_are_small() {
    let broker = Broker::start();
    let mut client = Client::raw(broker.amqp());
    client.start();
    client.send(
        0,
        ConnectionStartOk {
            client_properties: long(9000),
            ..start_ok("PLAIN", b"\0guest\0guest")
        },
    );
    match client.frame() {
        None => {}
        Some(Frame::Method(0, Method::ConnectionClose(close))) => assert_eq!(close.reply_code, 501),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Declares durable queues of 30 KB until one is refused; how many there are, and the text.
fn fill(broker: &Broker) -> (usize, String) {
    let mut client = Client::with_channel(broker.amqp());
    for portion in 0.. {
        assert!(portion < 500, "never refused");
        for number in 0..20 {
            let name = format!("large-{portion}-{number}");
            client.send(
                1,
                QueueDeclare {
                    arguments: long(30_000),
                    no_wait: true,
                    ..durable(&name)
                },
            );
        }
        // Its answer comes when the log has all of them: nobody has waited for the others.
        client.send(1, durable(&format!("last-{portion}")));
        match client.method(1) {
            Method::QueueDeclareOk(_) => {}
            Method::ChannelClose(close) => {
                assert_eq!(close.reply_code, 406);
                return (portion * 20, close.reply_text.to_str_lossy().into_owned());
            }
            other => panic!("expected an answer, got {other:?}"),
        }
    }
    unreachable!("the loop returns")
}

#[test]
fn durable_declarations_are_refused_in_time_and_a_start_needs_no_more() {
    let Some(group) = ControlGroup::with_memory(96) else {
        return;
    };
    let wrapper = group.wrapper();
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let mut broker = Broker::start_through(&wrapper, |_| {}, &[]);
    let bystander = Bystander::start(broker.amqp());
    let (queues, text) = fill(&broker);
    assert!(
        text.contains("declarations take") && text.contains("at most 25165824 are for them"),
        "{text}"
    );
    assert!(queues >= 300, "{queues}");
    bystander.end();
    let before = resident(&broker);
    // After a kill the log is read, after an end a checkpoint.
    broker.kill();
    let mut broker = broker.restart();
    let after = resident(&broker);
    assert!(
        after < before + 16 * MIB,
        "{before} bytes before, {after} after the start"
    );
    assert_eq!(group.killed(), 0);
    // Deletions always go through, and then there is room.
    let mut client = Client::with_channel(broker.amqp());
    for number in 0..20 {
        call!(client, 1, delete(&format!("large-0-{number}")) => QueueDeleteOk);
    }
    call!(client, 1, QueueDeclare { arguments: long(30_000), ..durable("again") } => QueueDeclareOk);
    broker.terminate(SOON);
    let broker = broker.restart();
    assert_eq!(group.killed(), 0);
    let topology = metric(&broker, "rabbitmq_queues ");
    assert!(topology >= queues as u64 - 20, "{topology} queues of {queues}");
}

#[test]
fn an_event_of_large_arguments_fits_any_frame() {
    let broker = Broker::start();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, exclusive("events") => QueueDeclareOk);
    call!(client, 1, bind("events", "amq.rabbitmq.event", "queue.created") => QueueBindOk);
    // In Erlang's notation each of these octets takes five.
    let arguments = [(short("x-odd"), FieldValue::LongString(vec![1; 30_000].into()))];
    let few = [(short("x-foo"), FieldValue::Int(1))];
    let arguments: RawTable = few.into_iter().chain(arguments).collect();
    call!(client, 1, QueueDeclare { arguments, ..exclusive("odd") } => QueueDeclareOk);
    let event = client.get(1, "events", true).expect("an event");
    let properties = leveret_amqp::BasicProperties::parse(&event.properties).expect("properties");
    let headers = properties.headers.expect("headers");
    let told = FieldTable::get(&headers, "arguments")
        .and_then(FieldValue::as_array)
        .expect("a list");
    let texts: Vec<_> = told.iter().filter_map(FieldValue::as_str).collect();
    assert_eq!(texts, ["{<<\"x-foo\">>,signedint,1}", "..."]);
}

#[test]
fn tables_over_http_are_bounded_before_they_are_parsed() {
    let Some((group, broker)) = crate::small_broker(&[]) else {
        return;
    };
    let http = Http::new(broker.http());
    // As values of JSON these eighteen megabytes took a gigabyte.
    let many = serde_json::json!({"arguments": {"x": vec![1; 9_000_000]}});
    let bystander = Bystander::start(broker.amqp());
    let answer = http.request("PUT", "/api/queues/%2F/many", Some(&many));
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains("too many values"), "{}", answer.body);
    let large = serde_json::json!({"arguments": {"x": "x".repeat(19 << 20)}});
    for path in [
        "/api/queues/%2F/large",
        "/api/exchanges/%2F/large",
        "/api/bindings/%2F/e/amq.topic/e/amq.direct",
    ] {
        let method = if path.contains("bindings") { "POST" } else { "PUT" };
        let answer = http.request(method, path, Some(&large));
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.body.contains("at most 32768 are allowed"), "{}", answer.body);
    }
    let policy = serde_json::json!({"pattern": "", "definition": {"dead-letter-exchange": "x".repeat(19 << 20)}});
    let answer = http.request("PUT", "/api/policies/%2F/large", Some(&policy));
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains("values of a policy take"), "{}", answer.body);
    bystander.end();
    assert_eq!(group.killed(), 0);
}

#[test]
fn arguments_of_consumers_and_headers_bindings_take_what_was_sent() {
    let broker = Broker::start();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, exclusive("q") => QueueDeclareOk);
    let tables = || metric(&broker, "leveret_held_bytes{use=\"tables\"}");
    let (before, counted) = (resident(&broker), tables());
    for number in 0..200 {
        let tag = format!("c{number}");
        call!(client, 1, BasicConsume { arguments: voids(1024), ..consume("q", &tag) } => BasicConsumeOk);
        call!(client, 1, QueueBind { arguments: voids(1023), ..bind("q", "amq.headers", &tag) } => QueueBindOk);
    }
    let each = resident(&broker).saturating_sub(before) / 200;
    // As values they took 74 KB, and the binding's three times that.
    assert!(each < 40_000, "{each} bytes for each consumer and binding");
    assert!(tables() - counted >= 200 * 4096);
    call!(client, 1, delete("q") => QueueDeleteOk);
    until("what they took is given back", SOON, || tables() < counted);
}
