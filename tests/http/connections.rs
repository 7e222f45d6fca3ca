//! Connections, channels and consumers over HTTP.

use harness::requests::{ack_up_to, consume, durable, prefetch, requeue, unique};
use harness::wait::eventually;
use leveret_amqp::Method;
use leveret_amqp::method::{TxCommit, TxRollback, TxSelect};
use serde_json::{Value, json};

use crate::{FIGURES, NOT_FOUND, client, has, http, refused, send, status};

/// A consumer on a queue of its own; what the API says of it, once it is there.
fn consumer(queue: &str) -> (harness::Client, Value) {
    let mut client = client();
    client.send(1, durable(queue));
    assert!(matches!(client.method(1), Method::QueueDeclareOk(_)));
    client.send(1, prefetch(7));
    assert!(matches!(client.method(1), Method::BasicQosOk(_)));
    client.send(1, consume(queue, "tag"));
    assert!(matches!(client.method(1), Method::BasicConsumeOk(_)));
    let (row, _) = eventually("the consumer is listed", FIGURES, || {
        let all = http().get("/api/consumers/%2F");
        let mine = all
            .as_array()
            .and_then(|rows| rows.iter().find(|row| row["queue"]["name"] == queue).cloned());
        mine.filter(|row| row["channel_details"]["connection_name"].is_string())
            .ok_or("not yet")
    });
    (client, row)
}

fn escaped(name: &str) -> String {
    name.replace(' ', "%20").replace('>', "%3E")
}

#[test]
fn consumer_channel_and_connection_know_each_other() {
    let queue = unique("http-consumer");
    let (client, row) = consumer(&queue);
    assert_eq!(
        (&row["consumer_tag"], &row["prefetch_count"]),
        (&json!("tag"), &json!(7))
    );
    assert_eq!((&row["ack_required"], &row["exclusive"]), (&json!(true), &json!(false)));
    has(
        &row,
        &[
            "active",
            "arguments",
            "consumer_timeout",
            "queue.vhost",
            "channel_details.number",
        ],
    );
    has(
        &row,
        &[
            "channel_details.peer_host",
            "channel_details.peer_port",
            "channel_details.user",
        ],
    );
    let details = &row["channel_details"];
    let text = |value: &Value| escaped(value.as_str().expect("a name"));
    let (connection, channel) = (text(&details["connection_name"]), text(&details["name"]));

    let (one, _) = eventually("the channel is shown", FIGURES, || {
        let answer = send("GET", &format!("/api/channels/{channel}"), Value::Null);
        let shown = (answer.status == 200).then(|| answer.json());
        shown
            .filter(|channel| channel["consumer_count"] == 1)
            .ok_or(answer.body)
    });
    assert_eq!(
        (&one["number"], &one["vhost"], &one["confirm"]),
        (&json!(1), &json!("/"), &json!(false))
    );
    has(
        &one,
        &[
            "state",
            "messages_unacknowledged",
            "messages_unconfirmed",
            "connection_details.name",
        ],
    );
    assert_eq!(one["consumer_details"][0]["consumer_tag"], "tag");
    let of_connection = http().get(&format!("/api/connections/{connection}/channels"));
    assert_eq!(of_connection[0]["name"], one["name"]);

    let one = http().get(&format!("/api/connections/{connection}"));
    assert_eq!(
        (&one["user"], &one["protocol"]),
        (&json!("guest"), &json!("AMQP 0-9-1"))
    );
    has(
        &one,
        &[
            "node",
            "state",
            "host",
            "port",
            "peer_host",
            "peer_port",
            "connected_at",
        ],
    );
    has(
        &one,
        &[
            "channel_max",
            "frame_max",
            "timeout",
            "client_properties",
            "recv_oct",
            "send_oct",
        ],
    );
    for list in [
        "/api/connections",
        "/api/vhosts/%2F/connections",
        "/api/connections/username/guest",
    ] {
        let rows = http().get(list);
        assert!(
            rows.as_array()
                .expect("rows")
                .iter()
                .any(|row| row["name"] == one["name"]),
            "{list}"
        );
    }
    let details = http().get(&format!("/api/queues/%2F/{queue}"));
    assert_eq!(details["consumer_details"][0]["consumer_tag"], "tag");
    client.close();
    assert_eq!(status("DELETE", &format!("/api/queues/%2F/{queue}")), 204);
}

#[test]
fn an_open_transaction_shows_on_its_channel() {
    let queue = unique("http-transaction");
    let (mut client, row) = consumer(&queue);
    let name = escaped(row["channel_details"]["name"].as_str().expect("a name"));
    for _ in 0..4 {
        client.publish(1, "", &queue, b"x");
        client.delivery(1);
    }
    let shows = |client: &mut harness::Client, end: Option<Method>, expected: [u64; 3]| {
        if let Some(end) = end {
            client.send(1, end);
            assert!(matches!(
                client.method(1),
                Method::TxCommitOk(_) | Method::TxRollbackOk(_)
            ));
        }
        let fields = ["messages_uncommitted", "acks_uncommitted", "messages_unacknowledged"];
        eventually("the transaction is shown", FIGURES, || {
            let one = http().get(&format!("/api/channels/{name}"));
            let found = fields.map(|field| one[field].as_u64().unwrap_or(u64::MAX));
            (one["transactional"] == true && found == expected)
                .then_some(())
                .ok_or(one)
        });
    };
    client.send(1, TxSelect::default());
    assert!(matches!(client.method(1), Method::TxSelectOk(_)));
    client.publish(1, "", "nowhere", b"x");
    client.send(1, ack_up_to(2));
    client.send(1, requeue(3));
    shows(&mut client, None, [1, 2, 1]);
    shows(&mut client, Some(TxRollback::default().into()), [0, 0, 4]);
    client.send(1, ack_up_to(2));
    shows(&mut client, Some(TxCommit::default().into()), [0, 0, 2]);
    client.close();
    assert_eq!(status("DELETE", &format!("/api/queues/%2F/{queue}")), 204);
}

#[test]
fn a_connection_is_closed_with_a_reason() {
    let queue = unique("http-consumer");
    let (mut client, row) = consumer(&queue);
    let name = escaped(row["channel_details"]["connection_name"].as_str().expect("a name"));
    assert_eq!(status("DELETE", &format!("/api/connections/{name}")), 204);
    client.connection_error(320, "CONNECTION_FORCED - Closed via management plugin");
    drop(client);
    harness::wait::until("the connection has gone", FIGURES, || {
        status("GET", &format!("/api/connections/{name}")) == 404
    });
    assert_eq!(status("DELETE", &format!("/api/queues/%2F/{queue}")), 204);
}

#[test]
fn what_is_not_there_is_not_found() {
    for path in [
        "/api/connections/nobody",
        "/api/channels/none",
        "/api/consumers/nowhere",
        "/api/vhosts/nowhere/channels",
    ] {
        refused("GET", path, Value::Null, NOT_FOUND);
    }
    refused("DELETE", "/api/connections/nobody", Value::Null, NOT_FOUND);
}
