//! Virtual hosts: put right when they are changed or deleted by hand, and not deleted with messages in them.

use std::time::Duration;

use harness::requests::*;
use harness::wait::until;
use harness::{Client, call};
use serde_json::{Value, json};

use crate::{SOON, Stage, stage};

impl Stage {
    /// A Vhost with a unique name, and a queue in it.
    async fn vhost_with_queue(&self, description: &str) {
        let vhost =
            json!({"name": self.name("v"), "description": description, "tags": ["a"], "limits": {"maxQueues": 7}});
        self.synced(&self.manifest("Vhost", "v", vhost)).await;
        self.synced(&self.manifest("Queue", "q", json!({"vhost": self.name("v")})))
            .await;
    }

    fn vhost(&self) -> Option<Value> {
        let answer = self
            .http()
            .request("GET", &format!("/api/vhosts/{}", self.name("v")), None);
        (answer.status == 200).then(|| answer.json())
    }

    fn has_queue_in_vhost(&self) -> bool {
        let path = format!("/api/queues/{}/q", self.name("v"));
        self.http().request("GET", &path, None).status == 200
    }

    /// The time in which a change by hand is put right: RabbitMQ tells of it by a plugin, or the next list shows it.
    fn soon_put_right(&self) -> Duration {
        Duration::from_secs(if self.broker.is_external() { 50 } else { 1 })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_host_that_is_deleted_by_hand_comes_back_with_what_was_in_it() {
    let Some(stage) = stage("vhost-drift").await else {
        return;
    };
    stage.vhost_with_queue("of the shop").await;
    for _ in 0..3 {
        let gone = stage
            .http()
            .request("DELETE", &format!("/api/vhosts/{}", stage.name("v")), None);
        assert_eq!(gone.status, 204);
        let took = until("the virtual host is back", SOON * 3, || stage.vhost().is_some());
        println!("the virtual host is back after {took:?}");
        assert!(took < stage.soon_put_right(), "{took:?}");
        until("the queue is back", SOON * 3, || stage.has_queue_in_vhost());
        assert_eq!(stage.vhost().expect("it is back")["description"], "of the shop");
        stage.resources.becomes("Vhost", "v", "True", "Synced", SOON).await;
        stage.resources.becomes("Queue", "q", "True", "Synced", SOON).await;
    }
    assert!(stage.tells("Vhost", "v", "DriftRepaired", "was gone").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_host_that_is_changed_by_hand_is_put_right() {
    let Some(stage) = stage("vhost-changed").await else {
        return;
    };
    stage.vhost_with_queue("of the shop").await;
    let other = json!({"description": "of nobody", "tags": "b"});
    let changed = stage
        .http()
        .request("PUT", &format!("/api/vhosts/{}", stage.name("v")), Some(&other));
    assert_eq!(changed.status, 204, "{changed:?}");
    let as_declared = || {
        let vhost = stage.vhost().unwrap_or_default();
        vhost["description"] == "of the shop" && vhost["tags"] == json!(["a"])
    };
    let took = until("the virtual host is as declared", SOON * 3, as_declared);
    println!("the virtual host is as declared after {took:?}");
    assert!(took < stage.soon_put_right(), "{took:?}");

    let path = format!("/api/vhost-limits/{}", stage.name("v"));
    let fewer = json!({"value": 1});
    let limited = stage.http().request("PUT", &format!("{path}/max-queues"), Some(&fewer));
    assert_eq!(limited.status, 204, "{limited:?}");
    let took = until("the limit is as declared", SOON * 3, || {
        stage.http().get(&path).pointer("/0/value/max-queues") == Some(&json!(7))
    });
    println!("the limit is as declared after {took:?}");
    assert!(took < stage.soon_put_right(), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_virtual_host_are_kept() {
    let Some(stage) = stage("vhost-limits").await else {
        return;
    };
    let vhost = |limits: Value| json!({"name": stage.name("v"), "limits": limits});
    let declared = vhost(json!({"maxQueues": 1, "maxConnections": 50}));
    stage.synced(&stage.manifest("Vhost", "v", declared)).await;
    let limits = || {
        let path = format!("/api/vhost-limits/{}", stage.name("v"));
        let rows = stage.http().request("GET", &path, None).json();
        rows[0]["value"].clone()
    };
    assert_eq!(limits(), json!({"max-queues": 1, "max-connections": 50}));

    let path = format!("/api/vhost-limits/{}/max-queues", stage.name("v"));
    let changed = stage.http().request("PUT", &path, Some(&json!({"value": 1_000})));
    assert_eq!(changed.status, 204, "{changed:?}");
    let took = until("the limit is as declared", SOON * 3, || limits()["max-queues"] == 1);
    assert!(took < stage.soon_put_right(), "{took:?}");

    let fewer = vhost(json!({"maxQueues": 2}));
    stage.synced(&stage.manifest("Vhost", "v", fewer)).await;
    until("one has gone and one is another", SOON, || {
        limits() == json!({"max-queues": 2})
    });
    let without = json!({"name": stage.name("v")});
    stage.synced(&stage.manifest("Vhost", "v", without)).await;
    until("there is none", SOON, || {
        limits().as_object().is_none_or(|limits| limits.is_empty())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_host_that_holds_messages_is_not_deleted() {
    let Some(stage) = stage("vhost-messages").await else {
        return;
    };
    stage.vhost_with_queue("").await;
    let vhost = stage.name("v");
    let mut client = Client::connect_to(stage.broker.amqp(), &vhost);
    client.open_channel(1);
    call!(client, 1, durable("by-hand") => QueueDeclareOk);
    for (queue, count) in [("by-hand", 2), ("q", 3)] {
        for _ in 0..count {
            client.publish_persistent(1, "", queue, b"precious");
        }
        until("they are there", SOON, || {
            call!(client, 1, passive(queue) => QueueDeclareOk).message_count == count
        });
    }

    stage.resources.delete("Vhost", "v").await;
    let words = format!("vhost '{vhost}' is not empty, it holds 5 messages: 3 in queue 'q', 2 in queue 'by-hand'");
    let said = stage.resources.says("Vhost", "v", &words, SOON).await;
    assert_eq!(
        (said.status.as_str(), said.reason.as_str()),
        ("False", "DeletionBlocked")
    );
    assert!(
        said.message
            .contains("set deletionPolicy to Delete or Retain, or empty it"),
        "{said:?}"
    );
    // Longer than a retry.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(client.get(1, "by-hand", true).expect("the message").body, "precious");

    let spec = json!({"name": vhost, "tags": ["a"], "deletionPolicy": "Delete"});
    stage.apply(&stage.manifest("Vhost", "v", spec)).await;
    stage.resources.goes("Vhost", "v", SOON).await;
    assert_eq!(stage.vhost(), None);
    // A queue in a virtual host that is gone holds up nothing.
    stage.resources.delete("Queue", "q").await;
    stage.resources.goes("Queue", "q", SOON).await;
}
