//! Queues with everything that their arguments and policies can make of them: what is much is done in portions, and
//! other clients are served in between.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::{Frame, table};
use harness::wait::until;
use harness::{Broker, Client, call};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldTable, Method};
use serde_json::{Value, json};

use crate::bystander::{Bystander, Seen};
use crate::small_broker;

const SOON: Duration = Duration::from_secs(60);
/// Messages after which confirms are waited for.
const WINDOW: u64 = 2000;

/// The bound of a bystander's confirms: `LEVERET_BOUNDS_P99_MS`, or the one of a broker that isn't optimised, on a busy
/// machine.
fn served(bystander: Bystander, what: &str) -> Seen {
    let bound = std::env::var("LEVERET_BOUNDS_P99_MS")
        .ok()
        .and_then(|bound| bound.parse().ok());
    let bound = Duration::from_millis(bound.unwrap_or(1500));
    let seen = bystander.end();
    println!("{what}: {seen:?}");
    assert!(seen.confirmed > 0 && seen.p99 < bound, "{what}: {seen:?}");
    seen
}

/// A client with confirms.
fn publisher(broker: &Broker) -> Client {
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, ConfirmSelect { no_wait: false } => ConfirmSelectOk);
    client
}

fn declare_with(client: &mut Client, queue: &str, arguments: FieldTable) {
    call!(client, 1, QueueDeclare { arguments: arguments.into(), ..durable(queue) } => QueueDeclareOk);
}

/// Publishes `count` messages, on a connection of their own, and waits until all are confirmed.
fn fill(broker: &Broker, queue: &str, count: u64, of: impl Fn(u64) -> BasicProperties) {
    let mut client = publisher(broker);
    let mut confirms = Confirms::default();
    for from in (0..count).step_by(WINDOW as usize) {
        let to = (from + WINDOW).min(count);
        for number in from..to {
            client.publish_with(1, publish("", queue), &properties(&of(number)), b"x");
        }
        while confirms.up_to < to {
            match client.frame() {
                Some(Frame::Method(1, Method::BasicAck(ack))) => confirms.note(&ack),
                Some(Frame::Method(0, _)) => {}
                other => panic!("expected a confirm, got {other:?}"),
            }
        }
    }
    client.close();
}

/// Confirms, in whatever order they come.
#[derive(Default)]
struct Confirms {
    up_to: u64,
    beyond: BTreeSet<u64>,
}

impl Confirms {
    fn note(&mut self, ack: &BasicAck) {
        if ack.multiple {
            self.up_to = self.up_to.max(ack.delivery_tag);
        } else {
            self.beyond.insert(ack.delivery_tag);
        }
        while self.beyond.first().is_some_and(|tag| *tag <= self.up_to + 1) {
            self.up_to = self.up_to.max(self.beyond.pop_first().unwrap_or_default());
        }
    }
}

fn persistent() -> BasicProperties {
    BasicProperties {
        delivery_mode: Some(2),
        ..BasicProperties::default()
    }
}

fn messages(api: &Http, queue: &str) -> u64 {
    let queue = api.get(&format!("/api/queues/%2F/{queue}"));
    let waiting = |field: &str| queue[field].as_u64().unwrap_or_default();
    waiting("messages") + waiting("messages_delayed")
}

fn metric(api: &Http, name: &str) -> u64 {
    let text = api.request("GET", "/metrics", None).body;
    let line = text.lines().find(|line| line.starts_with(name));
    let value: Option<f64> = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name}")) as u64
}

fn policy(api: &Http, name: &str, pattern: &str, definition: Value) {
    let body = json!({"pattern": pattern, "apply-to": "queues", "definition": definition});
    let answer = api.request("PUT", &format!("/api/policies/%2F/{name}"), Some(&body));
    assert!((200..300).contains(&answer.status), "{answer:?}");
}

/// Tens of thousands of messages at 32 priorities whose time is over at the same moment, and become dead letters.
#[test]
fn an_expiry_storm_at_32_priorities_goes_by_in_turns() {
    const MESSAGES: u64 = 30_000;
    let Some((group, broker)) = small_broker(&[]) else {
        return;
    };
    let (mut client, api) = (Client::with_channel(broker.amqp()), Http::new(broker.http()));
    let (storm, graves) = (unique("storm"), unique("graves"));
    declare_with(&mut client, &graves, FieldTable::new());
    let arguments = table([
        ("x-max-priority", 31.into()),
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", graves.as_str().into()),
    ]);
    declare_with(&mut client, &storm, arguments);
    fill(&broker, &storm, MESSAGES, |number| BasicProperties {
        priority: Some((number % 32) as u8),
        ..persistent()
    });
    let bystander = Bystander::start(broker.amqp());
    // Two messages in three are over, wherever they lie.
    fill(&broker, &storm, MESSAGES, |number| BasicProperties {
        priority: Some((number % 32) as u8),
        expiration: Some(harness::scripted_client::short("1")),
        ..persistent()
    });
    until("all that expires is a dead letter", SOON, || {
        messages(&api, &graves) == MESSAGES
    });
    assert_eq!(messages(&api, &storm), MESSAGES);
    served(bystander, "expiry storm");
    assert_eq!(group.killed(), 0);
}

/// A thousand full queues, each with the next for its dead letters: every message goes from one to the next, and its
/// history grows with each.
#[test]
fn a_circle_of_a_thousand_full_queues_ends() {
    const QUEUES: usize = 1000;
    const MESSAGES: u64 = 30;
    let Some((group, broker)) = small_broker(&[]) else {
        return;
    };
    let (mut client, api) = (Client::with_channel(broker.amqp()), Http::new(broker.http()));
    let name = |number: usize| format!("circle-{}", number % QUEUES);
    for number in 0..QUEUES {
        let next = name(number + 1);
        let arguments = table([
            ("x-max-length", 0.into()),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", next.as_str().into()),
        ]);
        let queue = name(number);
        client.send(
            1,
            QueueDeclare {
                arguments,
                no_wait: true,
                ..declare(&queue)
            },
        );
    }
    call!(client, 1, passive(&name(QUEUES - 1)) => QueueDeclareOk);
    let bystander = Bystander::start(broker.amqp());
    fill(&broker, &name(0), MESSAGES, |_| BasicProperties::default());
    until("all have come to their ends", SOON, || {
        metric(&api, "leveret_dead_letters_lost_total") == MESSAGES
    });
    assert_eq!(messages(&api, &name(500)), 0);
    served(bystander, "circle");
    assert_eq!(group.killed(), 0);
    until("nothing is held for them", SOON, || {
        metric(&api, "leveret_messages_memory_bytes") < 1 << 20
    });
}

/// One policy over thousands of queues, which makes tens of thousands of dead letters of one of them.
#[test]
fn a_policy_over_thousands_of_queues_is_applied_in_portions() {
    const QUEUES: usize = 3000;
    const MESSAGES: u64 = 40_000;
    let Some((group, broker)) = small_broker(&[]) else {
        return;
    };
    let (mut client, api) = (Client::with_channel(broker.amqp()), Http::new(broker.http()));
    for number in 0..QUEUES {
        let queue = format!("many-{number}");
        client.send(
            1,
            QueueDeclare {
                no_wait: true,
                ..declare(&queue)
            },
        );
    }
    let graves = unique("graves");
    declare_with(&mut client, &graves, FieldTable::new());
    declare_with(&mut client, "many-long", FieldTable::new());
    fill(&broker, "many-long", MESSAGES, |_| persistent());
    let bystander = Bystander::start(broker.amqp());
    let definition = json!({"max-length": 5, "dead-letter-exchange": "", "dead-letter-routing-key": graves});
    policy(&api, "short", "^many-", definition);
    until("what is beyond the limit is a dead letter", SOON, || {
        messages(&api, &graves) == MESSAGES - 5
    });
    assert_eq!(api.get("/api/queues/%2F/many-7")["policy"], "short");
    let answer = api.request("DELETE", "/api/policies/%2F/short", None);
    assert_eq!(answer.status, 204);
    served(bystander, "policy");
    assert_eq!(group.killed(), 0);
}

/// A message that waits for another attempt lies in memory: as many as there are, they must count.
#[test]
fn messages_that_wait_for_another_attempt_count_as_memory() {
    const MESSAGES: u64 = 20_000;
    let broker = Broker::start_with(&[]);
    let (mut client, api) = (Client::with_channel(broker.amqp()), Http::new(broker.http()));
    let queue = unique("paused");
    let arguments = table([
        ("x-delayed-retry-type", "all".into()),
        ("x-delayed-retry-min", 3_600_000.into()),
    ]);
    declare_with(&mut client, &queue, arguments);
    fill(&broker, &queue, MESSAGES, |_| persistent());
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    let last = (0..MESSAGES).map(|_| client.delivery(1).method.delivery_tag).last();
    client.send(
        1,
        BasicNack {
            delivery_tag: last.unwrap_or_default(),
            multiple: true,
            requeue: true,
        },
    );
    until("all wait", SOON, || {
        api.get(&format!("/api/queues/%2F/{queue}"))["messages_delayed"] == MESSAGES
    });
    assert!(metric(&api, "leveret_messages_memory_bytes") >= MESSAGES * 250);
    call!(client, 1, purge(&queue) => QueuePurgeOk);
    assert_eq!(metric(&api, "leveret_messages_memory_bytes"), 0);
}

/// A consumer that gives everything back turns a backlog on disk into messages that wait in memory: that ends at the
/// mark, until there is room again.
#[test]
fn a_consumer_that_gives_everything_back_fills_no_memory() {
    const MESSAGES: u64 = 110_000;
    let broker = Broker::start_with(&["--memory-watermark", "16MiB"]);
    let (mut client, api) = (Client::with_channel(broker.amqp()), Http::new(broker.http()));
    let queue = unique("given-back");
    let arguments = table([
        ("x-delayed-retry-type", "all".into()),
        ("x-delayed-retry-min", 3_600_000.into()),
    ]);
    declare_with(&mut client, &queue, arguments);
    fill(&broker, &queue, MESSAGES, |_| persistent());
    // Memory that another queue takes, until it is purged.
    let other = unique("other");
    declare_with(&mut client, &other, FieldTable::new());
    (0..60).for_each(|_| client.publish(1, "", &other, &[7; 100 << 10]));
    until("the other queue has its messages", SOON, || {
        messages(&api, &other) == 60
    });
    call!(client, 1, prefetch(1000) => BasicQosOk);
    client.send(1, consume(&queue, "c"));
    let delivered = give_back_all(&mut client);
    let waiting = api.get(&format!("/api/queues/%2F/{queue}"))["messages_delayed"].as_u64();
    let held = metric(&api, "leveret_messages_memory_bytes");
    println!("{delivered} delivered, {waiting:?} wait, {held} bytes");
    assert!(
        waiting.is_some_and(|waiting| (5_000..80_000).contains(&waiting)),
        "{waiting:?}"
    );
    assert!(held < 20 << 20, "{held} bytes");
    assert_eq!(api.get("/api/nodes")[0]["mem_alarm"], true);
    // With room for more it goes on where it was.
    client.send(1, purge(&other));
    assert!(give_back_all(&mut client) >= 1000);
    call!(client, 1, purge(&queue) => QueuePurgeOk);
    until("the alarm is over", SOON, || {
        api.get("/api/nodes")[0]["mem_alarm"] == false
    });
}

/// Gives back whatever is delivered, a thousand at a time, until nothing comes any more. The number of deliveries.
fn give_back_all(client: &mut Client) -> u64 {
    let mut delivered = 0;
    while let Ok(Some(frame)) = client.any_frame(Duration::from_secs(2)) {
        let Frame::Method(1, Method::BasicDeliver(deliver)) = frame else {
            continue;
        };
        delivered += 1;
        if deliver.delivery_tag % 1000 == 0 {
            let all = BasicNack {
                delivery_tag: deliver.delivery_tag,
                multiple: true,
                requeue: true,
            };
            client.send(1, all);
        }
    }
    delivered
}

/// A backlog lies on disk: twice as many messages take no more memory, and a start takes them over in as little.
/// `LEVERET_BOUNDS_BACKLOG` sets the number.
#[test]
fn a_backlog_of_tiny_messages_takes_no_memory_for_each() {
    let Some((group, mut broker)) = small_broker(&[]) else {
        return;
    };
    let count = std::env::var("LEVERET_BOUNDS_BACKLOG")
        .ok()
        .and_then(|count| count.parse().ok());
    let count: u64 = count.unwrap_or(80_000);
    let mut client = Client::with_channel(broker.amqp());
    let queue = unique("backlog");
    declare_with(&mut client, &queue, FieldTable::new());
    fill(&broker, &queue, count, |_| persistent());
    let once = group.anonymous();
    fill(&broker, &queue, count, |_| persistent());
    let twice = group.anonymous();
    broker.kill();
    let broker = broker.restart();
    let restarted = group.anonymous();
    println!("backlog of {count}: {once} bytes, twice {twice}, restarted {restarted}");
    assert_eq!(messages(&Http::new(broker.http()), &queue), 2 * count);
    // In memory, a message takes some 200 bytes.
    assert!(twice < once + count * 50 + (4 << 20), "{once} bytes, then {twice}");
    assert!(
        restarted < twice + (32 << 20),
        "{restarted} bytes after a start, {twice} before"
    );
    assert_eq!(group.killed(), 0);
}

/// RabbitMQ calls a queue empty whose messages are all with consumers, and deletes them with it.
#[test]
fn a_queue_is_deleted_only_if_nobody_has_a_message_of_it() {
    let broker = Broker::start();
    let (mut client, api) = (Client::with_channel(broker.amqp()), Http::new(broker.http()));
    let queue = unique("idle");
    declare_with(&mut client, &queue, FieldTable::new());
    fill(&broker, &queue, 3, |_| persistent());
    let path = format!("/api/queues/%2F/{queue}?if-empty=true&if-idle=true");
    let refused = |ready: u32, unacked: u32| {
        let answer = api.request("DELETE", &path, None);
        let text = format!("queue '{queue}' in vhost '/' not empty: {ready} ready, {unacked} unacknowledged");
        assert_eq!((answer.status, &answer.json()["reason"]), (400, &Value::from(text)));
    };
    refused(3, 0);
    let got: Vec<_> = (0..3).filter_map(|_| client.get(1, &queue, false)).collect();
    refused(0, 3);
    for message in &got {
        client.send(1, ack(message.method.delivery_tag));
    }
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    until("nobody has a message", SOON, || messages(&api, &queue) == 0);
    let used = api.request("DELETE", &format!("{path}&if-unused=true"), None);
    assert!(used.status == 400 && used.body.contains("in use"), "{used:?}");
    call!(client, 1, cancel("c") => BasicCancelOk);
    assert_eq!(api.request("DELETE", &path, None).status, 204);
    assert_eq!(api.request("DELETE", &path, None).status, 404);
}
