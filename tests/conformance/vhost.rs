//! Virtual hosts: opened, apart from each other, limited, deleted.

use std::time::Duration;

use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::{Frame, table};
use harness::wait::until;
use harness::{Broker, Client, call};
use leveret_amqp::Method;
use leveret_amqp::method::*;
use serde_json::{Value, json};

use crate::{broker, is_rabbitmq};

const SOON: Duration = Duration::from_secs(15);

fn send(method: &str, path: &str, body: Value) -> u16 {
    let http = Http::new(Broker::shared().http());
    let answer = http.request(method, path, Some(&body).filter(|body| !body.is_null()));
    answer.status
}

/// A vhost that is deleted at the end of a test.
struct Vhost(String);

impl Vhost {
    fn new(body: Value) -> Vhost {
        let vhost = Vhost(unique("vhost"));
        assert_eq!(send("PUT", &vhost.path(), body), 201);
        vhost
    }

    fn path(&self) -> String {
        format!("/api/vhosts/{}", self.0)
    }

    fn limit(&self, name: &str, value: i64) {
        let path = format!("/api/vhost-limits/{}/{name}", self.0);
        assert_eq!(send("PUT", &path, json!({"value": value})), 204);
    }

    /// A connection with channel 1.
    fn client(&self) -> Client {
        let mut client = Client::connect_to(broker(), &self.0);
        client.open_channel(1);
        client
    }

    fn refused(&self, most: u64) {
        let text = format!(
            "NOT_ALLOWED - access to vhost '{}' refused for user 'guest': connection limit ({most}) is reached",
            self.0
        );
        Client::opening(broker(), &self.0).connection_error(530, &text);
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        let _ = send("DELETE", &self.path(), Value::Null);
    }
}

#[test]
fn names_in_one_vhost_are_not_those_of_another() {
    let (one, other) = (Vhost::new(json!({})), Vhost::new(json!({})));
    let (mut at_one, mut at_other) = (one.client(), other.client());
    for client in [&mut at_one, &mut at_other] {
        call!(client, 1, durable("q") => QueueDeclareOk);
        call!(client, 1, bind("q", "amq.topic", "#") => QueueBindOk);
    }
    at_one.publish(1, "amq.topic", "k", b"of one");
    at_other.publish(1, "", "q", b"of the other");
    let body = |client: &mut Client| {
        let mut got = None;
        until("a message", SOON, || {
            got = client.get(1, "q", true);
            got.is_some()
        });
        got.expect("a message").body
    };
    assert_eq!(body(&mut at_one), "of one");
    assert_eq!(body(&mut at_other), "of the other");
    assert!(at_one.get(1, "q", true).is_none());
    call!(at_other, 1, delete("q") => QueueDeleteOk);
    call!(at_one, 1, passive("q") => QueueDeclareOk);
    at_other.send(1, passive("q"));
    at_other.channel_error(1, 404, &format!("NOT_FOUND - no queue 'q' in vhost '{}'", other.0));
}

#[test]
fn connections_too_many_are_refused() {
    let vhost = Vhost::new(json!({}));
    vhost.limit("max-connections", 2);
    let (first, second) = (vhost.client(), vhost.client());
    vhost.refused(2);
    first.close();
    until("there is room again", SOON, || {
        let mut client = Client::opening(broker(), &vhost.0);
        matches!(client.frame(), Some(Frame::Method(0, Method::ConnectionOpenOk(_))))
    });
    vhost.limit("max-connections", 0);
    vhost.refused(0);
    vhost.limit("max-connections", -1);
    vhost.client().close();
    second.close();
}

#[test]
fn queues_too_many_are_refused() {
    let vhost = Vhost::new(json!({}));
    let mut client = vhost.client();
    call!(client, 1, durable("a") => QueueDeclareOk);
    vhost.limit("max-queues", 1);
    call!(client, 1, durable("a") => QueueDeclareOk);
    let text = |most: u8| {
        let vhost = &vhost.0;
        format!("PRECONDITION_FAILED - cannot declare queue 'b': queue limit in vhost '{vhost}' ({most}) is reached")
    };
    client.send(1, exclusive("b"));
    client.channel_error(1, 406, &text(1));
    client.open_channel(2);
    call!(client, 2, delete("a") => QueueDeleteOk);
    call!(client, 2, exclusive("b") => QueueDeclareOk);
    call!(client, 2, delete("b") => QueueDeleteOk);
    vhost.limit("max-queues", 0);
    client.send(2, durable("b"));
    client.channel_error(2, 406, &text(0));
}

#[test]
fn queues_without_a_type_are_of_the_vhosts() {
    let vhost = Vhost::new(json!({"default_queue_type": "quorum"}));
    let mut client = vhost.client();
    call!(client, 1, durable("lasts") => QueueDeclareOk);
    call!(client, 1, durable("lasts") => QueueDeclareOk);
    let typed = |queue: &str, of: &str| QueueDeclare {
        arguments: table([("x-queue-type", of.into())]),
        ..durable(queue)
    };
    call!(client, 1, typed("lasts", "quorum") => QueueDeclareOk);
    call!(client, 1, exclusive("exclusive") => QueueDeclareOk);
    call!(client, 1, QueueDeclare { auto_delete: true, ..durable("auto") } => QueueDeclareOk);
    call!(client, 1, typed("classic", "classic") => QueueDeclareOk);
    let type_of = |queue: &str| {
        let path = format!("/api/queues/{}/{queue}?disable_stats=true", vhost.0);
        Http::new(Broker::shared().http()).get(&path)["type"].clone()
    };
    for (queue, of) in [
        ("lasts", "quorum"),
        ("exclusive", "classic"),
        ("auto", "classic"),
        ("classic", "classic"),
    ] {
        assert_eq!(type_of(queue), of, "{queue}");
    }
    client.send(1, durable("classic"));
    let of_vhost = |queue: &str| format!("for queue '{queue}' in vhost '{}'", vhost.0);
    let inequivalent = |queue: &str, received: &str, current: &str| {
        let of = of_vhost(queue);
        format!(
            "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' {of}: received '{received}' but current is '{current}'"
        )
    };
    client.channel_error(1, 406, &inequivalent("classic", "quorum", "classic"));
    client.open_channel(2);
    client.send(
        2,
        QueueDeclare {
            arguments: table([("x-max-priority", 5.into())]),
            ..durable("other")
        },
    );
    let text = format!(
        "PRECONDITION_FAILED - invalid arg 'x-max-priority' {} of queue type rabbit_quorum_queue",
        of_vhost("other")
    );
    client.channel_error(2, 406, &text);
    client.open_channel(3);
    client.send(3, durable(""));
    let text = "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue";
    client.channel_error(3, 406, text);
    assert_eq!(
        send("PUT", &vhost.path(), json!({"default_queue_type": "classic"})),
        204
    );
    client.open_channel(4);
    client.send(4, durable("lasts"));
    client.channel_error(4, 406, &inequivalent("lasts", "classic", "quorum"));
}

/// RabbitMQ tells consumers first that their queues have gone; its text is another one if the vhost's processes ended
/// sooner than it was told.
#[test]
fn clients_of_a_deleted_vhost_are_closed() {
    let vhost = Vhost::new(json!({}));
    let (mut idle, mut consuming) = (Client::connect_to(broker(), &vhost.0), vhost.client());
    call!(consuming, 1, durable("q") => QueueDeclareOk);
    call!(consuming, 1, consume("q", "c") => BasicConsumeOk);
    assert_eq!(send("DELETE", &vhost.path(), Value::Null), 204);
    for client in [&mut idle, &mut consuming] {
        let close = loop {
            match client.frame() {
                Some(Frame::Method(0, Method::ConnectionClose(close))) => break close,
                Some(Frame::Method(1, Method::BasicCancel(_))) => {}
                other => panic!("expected the end, got {other:?}"),
            }
        };
        let text = close.reply_text.to_str_lossy().into_owned();
        let words = ["deleted", "down"].map(|end| format!("CONNECTION_FORCED - vhost '{}' is {end}", vhost.0));
        assert!(text == words[0] || is_rabbitmq() && text == words[1], "{text}");
        assert_eq!((close.reply_code, close.class_id, close.method_id), (320, 0, 0));
    }
    Client::opening(broker(), &vhost.0).connection_error(530, &format!("NOT_ALLOWED - vhost {} not found", vhost.0));
    // A new one of the name has nothing of it.
    assert_eq!(send("PUT", &vhost.path(), json!({})), 201);
    let mut client = vhost.client();
    client.send(1, passive("q"));
    client.channel_error(1, 404, &format!("NOT_FOUND - no queue 'q' in vhost '{}'", vhost.0));
}

/// On `/`, as RabbitMQ's event exchange has them, of all vhosts; and what happens in a vhost also on its own.
#[test]
fn what_happens_to_vhosts_is_told() {
    if is_rabbitmq() {
        return;
    }
    let mut main = Client::with_channel(broker());
    let queue = unique("events");
    call!(main, 1, exclusive(&queue) => QueueDeclareOk);
    for key in ["vhost.#", "queue.created", "parameter.#", "queue.deleted"] {
        call!(main, 1, bind(&queue, "amq.rabbitmq.event", key) => QueueBindOk);
    }
    let vhost = Vhost::new(json!({"description": "d", "tags": "a,b"}));
    let mut client = vhost.client();
    call!(client, 1, exclusive("own") => QueueDeclareOk);
    call!(client, 1, bind("own", "amq.rabbitmq.event", "queue.created") => QueueBindOk);
    call!(client, 1, durable("q") => QueueDeclareOk);
    until("an event", SOON, || client.get(1, "own", true).is_some());
    assert_eq!(send("PUT", &vhost.path(), json!({"description": "e"})), 204);
    vhost.limit("max-queues", 5);
    assert_eq!(send("DELETE", &vhost.path(), Value::Null), 204);
    let name = Some(vhost.0.clone());
    let mut told = Vec::new();
    until("all events", SOON, || {
        while let Some(event) = main.get(1, &queue, true) {
            let properties = leveret_amqp::BasicProperties::parse(&event.properties).expect("properties");
            let headers = properties.headers.expect("headers");
            let header = |name| headers.get(name).and_then(|value| value.as_str().map(str::to_owned));
            if header("vhost") == name || header("name") == name {
                told.push(event.method.routing_key.to_str_lossy().into_owned());
            }
        }
        told.last().is_some_and(|last| last == "vhost.deleted")
    });
    let (of_queues, of_vhost): (Vec<_>, Vec<_>) = told.into_iter().partition(|key| key.starts_with("queue."));
    assert_eq!(of_queues.iter().filter(|key| *key == "queue.created").count(), 2);
    assert_eq!(of_queues.iter().filter(|key| *key == "queue.deleted").count(), 2);
    let expected = [
        "vhost.created",
        "vhost.updated",
        "parameter.set",
        "vhost.limits.set",
        "parameter.cleared",
        "vhost.limits.cleared",
        "vhost.deleted",
    ];
    assert_eq!(of_vhost, expected);
}
