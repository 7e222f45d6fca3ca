//! Policies as clients see them: what changes for queues and exchanges that are there, and which value counts.

use std::time::{Duration, Instant};

use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::{Content, table};
use harness::wait::until;
use harness::{Broker, Client, call};
use leveret_amqp::method::*;
use leveret_amqp::{FieldTable, Method};
use serde_json::{Value, json};

use crate::quorum::{quorum, quorum_with};
use crate::{client, is_rabbitmq};

const PATIENCE: Duration = Duration::from_secs(20);
/// A time to live, and one that is over then.
const TTL: i32 = 300;
const OVER: Duration = Duration::from_millis(800);

/// A policy for one name, until it is dropped.
struct Policy(String);

impl Policy {
    fn put(name: &str, definition: Value) -> Policy {
        Policy::put_as("policies", name, name, json!({"definition": definition}))
    }

    fn operator(name: &str, definition: Value) -> Policy {
        Policy::put_as("operator-policies", name, name, json!({"definition": definition}))
    }

    fn put_as(list: &str, policy: &str, name: &str, mut body: Value) -> Policy {
        body["pattern"] = json!(format!("^{name}$"));
        let path = format!("/api/{list}/%2F/{policy}");
        let answer = http().request("PUT", &path, Some(&body));
        assert!(matches!(answer.status, 201 | 204), "{}", answer.body);
        Policy(path)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let _ = http().try_request("DELETE", &self.0, None);
    }
}

fn http() -> Http {
    Http::new(Broker::shared().http())
}

fn queue(client: &mut Client, arguments: FieldTable) -> String {
    let queue = unique("governed");
    call!(client, 1, QueueDeclare { arguments: arguments.into(), ..exclusive(&queue) } => QueueDeclareOk);
    queue
}

fn publish_all(client: &mut Client, queue: &str, bodies: &[&str]) {
    for body in bodies {
        client.publish(1, "", queue, body.as_bytes());
    }
}

/// Waits until the broker has worked through what the client has sent: a policy comes by another connection, and could
/// overtake it.
fn worked_through(client: &mut Client) {
    call!(client, 1, prefetch(0) => BasicQosOk);
}

/// The bodies that are ready, taken out.
fn bodies(client: &mut Client, queue: &str) -> Vec<String> {
    let text = |message: Content<BasicGetOk>| String::from_utf8_lossy(&message.body).into_owned();
    std::iter::from_fn(|| client.get(1, queue, true).map(text)).collect()
}

fn count(client: &mut Client, queue: &str) -> u32 {
    call!(client, 1, passive(queue) => QueueDeclareOk).message_count
}

/// Publishes a message and rejects it.
fn reject(client: &mut Client, queue: &str, body: &str) {
    client.publish(1, "", queue, body.as_bytes());
    let delivery_tag = client.get(1, queue, false).expect("a message").method.delivery_tag;
    let requeue = false;
    client.send(1, BasicReject { delivery_tag, requeue });
    worked_through(client);
}

fn arrives(client: &mut Client, queue: &str, body: &str) {
    let mut found = Vec::new();
    until("a message", PATIENCE, || {
        found.extend(bodies(client, queue));
        !found.is_empty()
    });
    assert_eq!(found, [body]);
}

#[test]
fn a_time_to_live_is_for_messages_that_come_later() {
    let mut client = client();
    let queue = queue(&mut client, FieldTable::new());
    publish_all(&mut client, &queue, &["before"]);
    // A message that has been there and comes back is no new one.
    let tag = client.get(1, &queue, false).expect("a message").method.delivery_tag;
    let policy = Policy::put(&queue, json!({"message-ttl": TTL}));
    client.send(1, requeue(tag));
    publish_all(&mut client, &queue, &["during"]);
    worked_through(&mut client);
    drop(policy);
    publish_all(&mut client, &queue, &["after"]);
    std::thread::sleep(OVER);
    assert_eq!(bodies(&mut client, &queue), ["before", "after"]);
}

#[test]
fn a_limit_drops_the_oldest_at_once_and_ends_with_its_policy() {
    let mut client = client();
    let queue = queue(&mut client, FieldTable::new());
    publish_all(&mut client, &queue, &["a", "b", "c", "d"]);
    until("they are there", PATIENCE, || count(&mut client, &queue) == 4);
    let policy = Policy::put(&queue, json!({"max-length": 2}));
    assert_eq!(count(&mut client, &queue), 2);
    publish_all(&mut client, &queue, &["e"]);
    assert_eq!(bodies(&mut client, &queue), ["d", "e"]);
    let policy_again = Policy::put(&queue, json!({"max-length-bytes": 3}));
    publish_all(&mut client, &queue, &["12", "3", "45"]);
    assert_eq!(
        bodies(&mut client, &queue),
        ["3", "45"],
        "one policy took the other's place"
    );
    std::mem::forget(policy);
    drop(policy_again);
    publish_all(&mut client, &queue, &["a", "b", "c", "d"]);
    assert_eq!(bodies(&mut client, &queue), ["a", "b", "c", "d"]);
}

#[test]
fn a_full_queue_refuses_messages_by_a_policy() {
    let mut client = client();
    let queue = queue(&mut client, FieldTable::new());
    let _policy = Policy::put(&queue, json!({"max-length": 1, "overflow": "reject-publish"}));
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    publish_all(&mut client, &queue, &["a"]);
    assert!(matches!(client.method(1), Method::BasicAck(_)));
    publish_all(&mut client, &queue, &["b"]);
    assert!(matches!(client.method(1), Method::BasicNack(_)));
    assert_eq!(bodies(&mut client, &queue), ["a"]);
}

#[test]
fn a_limit_that_comes_with_refusal_drops_nothing() {
    let mut client = client();
    let queue = queue(&mut client, FieldTable::new());
    publish_all(&mut client, &queue, &["a", "b", "c"]);
    until("they are there", PATIENCE, || count(&mut client, &queue) == 3);
    let _policy = Policy::put(&queue, json!({"max-length": 1, "overflow": "reject-publish"}));
    publish_all(&mut client, &queue, &["d"]);
    // RabbitMQ sets the limit first, and drops what is beyond it before it refuses.
    let expected: &[&str] = if is_rabbitmq() { &["c"] } else { &["a", "b", "c"] };
    assert_eq!(bodies(&mut client, &queue), expected);
}

#[test]
fn the_smallest_limit_counts() {
    let mut client = client();
    let limit = |most: i32| table([("x-max-length", most.into())]);
    for (argument, policy, operator) in [(2, 3, 4), (4, 2, 3), (3, 4, 2)] {
        let queue = queue(&mut client, limit(argument));
        let _policy = Policy::put(&queue, json!({"max-length": policy}));
        let _operator = Policy::operator(&queue, json!({"max-length": operator}));
        publish_all(&mut client, &queue, &["a", "b", "c", "d", "e"]);
        assert_eq!(
            bodies(&mut client, &queue),
            ["d", "e"],
            "{argument}, {policy}, {operator}"
        );
    }
}

#[test]
fn of_overflow_the_argument_counts_and_then_the_operators() {
    let mut client = client();
    for (argument, expected) in [(None, "a"), (Some("drop-head"), "b")] {
        let argument = argument.map(|argument: &str| table([("x-overflow", argument.into())]));
        let queue = queue(&mut client, argument.unwrap_or_default());
        let _policy = Policy::put(&queue, json!({"max-length": 1, "overflow": "drop-head"}));
        let _operator = Policy::operator(&queue, json!({"overflow": "reject-publish"}));
        publish_all(&mut client, &queue, &["a", "b"]);
        assert_eq!(bodies(&mut client, &queue), [expected]);
    }
}

#[test]
fn of_overflow_in_a_quorum_queue_the_policy_counts() {
    let mut client = client();
    let queue = unique("governed");
    call!(client, 1, quorum_with(&queue, "x-overflow", "drop-head") => QueueDeclareOk);
    let _policy = Policy::put(&queue, json!({"max-length": 1, "overflow": "reject-publish"}));
    publish_all(&mut client, &queue, &["first"]);
    until("it is there", PATIENCE, || count(&mut client, &queue) == 1);
    publish_all(&mut client, &queue, &["a", "b", "c", "d"]);
    assert_eq!(client.get(1, &queue, true).expect("a message").body, "first");
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn of_policies_the_one_with_the_highest_priority_counts() {
    let mut client = client();
    let queue = queue(&mut client, FieldTable::new());
    let put = |suffix: &str, priority: i32, most: i32| {
        let body = json!({"definition": {"max-length": most}, "priority": priority});
        Policy::put_as("policies", &format!("{queue}-{suffix}"), &queue, body)
    };
    let _others = [put("z", 0, 2), put("low", -1, 4)];
    publish_all(&mut client, &queue, &["a", "b", "c", "d", "e"]);
    assert_eq!(bodies(&mut client, &queue), ["d", "e"]);
    let highest = put("y", 5, 3);
    publish_all(&mut client, &queue, &["a", "b", "c", "d", "e"]);
    assert_eq!(bodies(&mut client, &queue), ["c", "d", "e"]);
    drop(highest);
    publish_all(&mut client, &queue, &["a", "b", "c"]);
    assert_eq!(bodies(&mut client, &queue), ["b", "c"]);
}

#[test]
fn dead_letters_go_where_the_policy_says() {
    let mut client = client();
    let dead = queue(&mut client, FieldTable::new());
    let dying = queue(&mut client, FieldTable::new());
    let definition = json!({"dead-letter-exchange": "", "dead-letter-routing-key": dead});
    let policy = Policy::put(&dying, definition.clone());
    reject(&mut client, &dying, "with");
    arrives(&mut client, &dead, "with");
    drop(policy);
    reject(&mut client, &dying, "without");
    let _policy = Policy::put(&dying, definition);
    reject(&mut client, &dying, "again");
    arrives(&mut client, &dead, "again");
}

#[test]
fn of_a_dead_letter_exchange_the_argument_counts() {
    let mut client = client();
    let dead = queue(&mut client, FieldTable::new());
    let dying = queue(&mut client, table([("x-dead-letter-exchange", "".into())]));
    let definition = json!({"dead-letter-exchange": "amq.fanout", "dead-letter-routing-key": dead});
    let _policy = Policy::put(&dying, definition);
    reject(&mut client, &dying, "to the queue of the policy's key");
    arrives(&mut client, &dead, "to the queue of the policy's key");
}

#[test]
fn unroutable_messages_go_where_the_policy_says() {
    let mut client = client();
    let (found, alternate) = (queue(&mut client, FieldTable::new()), unique("alternate"));
    call!(client, 1, exchange(&alternate, "fanout") => ExchangeDeclareOk);
    call!(client, 1, bind(&found, &alternate, "") => QueueBindOk);
    let (plain, own) = (unique("plain"), unique("own"));
    call!(client, 1, exchange(&plain, "direct") => ExchangeDeclareOk);
    let arguments = table([("alternate-exchange", "amq.direct".into())]);
    call!(client, 1, ExchangeDeclare { arguments, ..exchange(&own, "direct") } => ExchangeDeclareOk);
    client.publish(1, &plain, "nowhere", b"before");
    worked_through(&mut client);
    let policies = [&plain, &own].map(|name| Policy::put(name, json!({"alternate-exchange": alternate})));
    client.publish(1, &own, "nowhere", b"by the argument");
    client.publish(1, &plain, "nowhere", b"with");
    arrives(&mut client, &found, "with");
    client.publish_with(1, mandatory(&plain, "nowhere"), &no_properties(), b"mandatory");
    arrives(&mut client, &found, "mandatory");
    drop(policies);
    client.publish(1, &plain, "nowhere", b"after");
    client.publish(1, "", &found, b"last");
    assert_eq!(bodies(&mut client, &found), ["last"]);
    for name in [&plain, &own, &alternate] {
        call!(client, 1, delete_exchange(name) => ExchangeDeleteOk);
    }
}

#[test]
fn the_default_exchange_has_no_alternate() {
    let mut client = client();
    let (found, alternate) = (queue(&mut client, FieldTable::new()), unique("alternate"));
    call!(client, 1, exchange(&alternate, "fanout") => ExchangeDeclareOk);
    call!(client, 1, bind(&found, &alternate, "") => QueueBindOk);
    let definition = json!({"alternate-exchange": alternate});
    let body = json!({"definition": definition, "apply-to": "exchanges"});
    // Only the default exchange has an empty name.
    let _policy = Policy::put_as("policies", &alternate, "", body);
    client.publish(1, "", &unique("nowhere"), b"lost");
    client.publish(1, "", &found, b"last");
    assert_eq!(bodies(&mut client, &found), ["last"]);
    call!(client, 1, delete_exchange(&alternate) => ExchangeDeleteOk);
}

#[test]
fn a_lease_begins_with_its_policy() {
    let mut client = client();
    let queue = queue(&mut client, FieldTable::new());
    let gone = |client: &mut Client| {
        client.publish_with(1, mandatory("", &queue), &no_properties(), b"");
        client.send(1, passive_exchange("amq.direct"));
        let returned = matches!(client.method(1), Method::BasicReturn(_));
        if returned {
            client.frame().expect("the message's header");
            harness::expect!(client, 1, ExchangeDeclareOk);
        }
        returned
    };
    let policy = Policy::put(&queue, json!({"expires": 500}));
    assert!(!gone(&mut client));
    drop(policy);
    std::thread::sleep(Duration::from_secs(1));
    assert!(!gone(&mut client), "the policy is gone, and the lease with it");
    let _policy = Policy::put(&queue, json!({"expires": 500}));
    assert!(!gone(&mut client));
    until("the queue is gone", PATIENCE, || gone(&mut client));
}

#[test]
fn a_queue_that_is_declared_later_is_under_the_policy_and_declared_as_before() {
    let mut client = client();
    let queue = unique("governed");
    let _policy = Policy::put(&queue, json!({"max-length": 1, "message-ttl": 60000}));
    for _ in 0..2 {
        call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    }
    publish_all(&mut client, &queue, &["a", "b"]);
    assert_eq!(bodies(&mut client, &queue), ["b"]);
    let arguments = table([("x-max-length", 1.into())]);
    client.send(
        1,
        QueueDeclare {
            arguments,
            ..exclusive(&queue)
        },
    );
    let text = format!(
        "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue '{queue}' in vhost '/': received the value '1' of \
         type 'signedint' but current is none"
    );
    client.channel_error(1, 406, &text);
}

/// Has a queue's message fail until it is gone; the number of times.
fn failures(client: &mut Client, queue: &str) -> usize {
    client.publish(1, "", queue, b"poison");
    let mut failures = 0;
    loop {
        let mut message = None;
        until("the message or none", PATIENCE, || {
            message = client.get(1, queue, false);
            message.is_some() || failures > 0
        });
        let Some(message) = message else { return failures };
        let (delivery_tag, requeue) = (message.method.delivery_tag, true);
        client.send(1, BasicReject { delivery_tag, requeue });
        failures += 1;
    }
}

#[test]
fn a_quorum_queue_has_the_limit_of_its_policy() {
    let mut client = client();
    let queue = unique("governed");
    call!(client, 1, quorum(&queue) => QueueDeclareOk);
    let policy = Policy::put(&queue, json!({"delivery-limit": 2, "max-length": 3}));
    let shown = || {
        let queue = http().get(&format!("/api/queues/%2F/{queue}"));
        (queue["policy"].clone(), queue["delivery_limit"].clone())
    };
    until("the limit is shown", PATIENCE, || shown() == (json!(queue), json!(2)));
    assert_eq!(failures(&mut client, &queue), 3);
    let _operator = Policy::operator(&queue, json!({"delivery-limit": 1}));
    until("the limit is shown", PATIENCE, || shown().1 == json!(1));
    assert_eq!(failures(&mut client, &queue), 2);
    drop(policy);
    publish_all(&mut client, &queue, &["a", "b", "c", "d"]);
    until("there is no other limit", PATIENCE, || count(&mut client, &queue) == 4);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

/// A RabbitMQ's classic queues have no such limit; the policy is for nothing there.
#[test]
fn a_classic_queue_has_it_if_the_policy_is_for_classic_queues() {
    if is_rabbitmq() {
        return;
    }
    let mut client = client();
    let queue = queue(&mut client, FieldTable::new());
    let body = json!({"definition": {"delivery-limit": 2}, "apply-to": "classic_queues"});
    let _policy = Policy::put_as("policies", &queue, &queue, body);
    assert_eq!(failures(&mut client, &queue), 3);
}

#[test]
fn a_consumer_timeout_is_for_consumers_that_come_later() {
    let mut client = client();
    let queue = unique("governed");
    call!(client, 1, quorum(&queue) => QueueDeclareOk);
    for channel in [2, 3] {
        client.open_channel(channel);
    }
    publish_all(&mut client, &queue, &["a", "b"]);
    for channel in [2, 3] {
        call!(client, channel, prefetch(1) => BasicQosOk);
    }
    call!(client, 2, consume(&queue, "before") => BasicConsumeOk);
    client.delivery(2);
    let _policy = Policy::put(&queue, json!({"consumer-timeout": 500}));
    client.quiet(Duration::from_millis(1200));
    call!(client, 3, consume(&queue, "after") => BasicConsumeOk);
    client.delivery(3);
    let cancel = harness::expect!(client, 3, BasicCancel);
    assert_eq!(cancel.consumer_tag.as_bytes(), b"after");
    let mut other = crate::client();
    call!(other, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn messages_that_come_back_wait_by_a_policy() {
    let mut client = client();
    let queue = unique("governed");
    call!(client, 1, quorum_with(&queue, "x-delayed-retry-min", 60_000) => QueueDeclareOk);
    let policy = json!({"delayed-retry-type": "all", "delayed-retry-min": 600, "delayed-retry-max": 600});
    let policy = Policy::put(&queue, policy);
    client.publish(1, "", &queue, b"again");
    let mut message = None;
    let mut arrives = |client: &mut Client| {
        let begin = Instant::now();
        until("the message", PATIENCE, || {
            message = client.get(1, &queue, false);
            message.is_some()
        });
        let tag = message.take().expect("a message").method.delivery_tag;
        client.send(1, requeue(tag));
        begin.elapsed()
    };
    arrives(&mut client);
    assert!(arrives(&mut client) >= Duration::from_millis(550), "the smaller pause");
    drop(policy);
    // The pause that has begun is not cut short; the next one would be.
    arrives(&mut client);
    assert!(arrives(&mut client) < Duration::from_millis(550), "no policy, no pause");
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}
