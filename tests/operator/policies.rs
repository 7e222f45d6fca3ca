//! Policies and operator policies: applied, edited, put right, refused, removed.
//!
//! All of it holds on RabbitMQ 4.3, too (`LEVERET_TEST_AMQP=HOST:PORT`), where changes by hand are noticed by the next
//! list unless its plugin for events is on.

use std::time::Duration;

use harness::wait::until;
use serde_json::{Value, json};

use crate::{SOON, Stage, stage};

/// The time until a change by hand has been put right.
const NOTICED: Duration = Duration::from_secs(50);

/// The kinds, with their lists in the management API.
const KINDS: [(&str, &str); 2] = [("Policy", "policies"), ("OperatorPolicy", "operator-policies")];

impl Stage {
    /// A policy of either kind with a unique name, for the queue `q`.
    fn policy(&self, kind: &str, length: u32) -> Value {
        let spec = json!({
            "name": self.name("p"),
            "pattern": format!("^{}$", self.name("q")),
            "applyTo": "queues",
            "priority": 3,
            "definition": {"max-length": length},
        });
        self.manifest(kind, "p", spec)
    }

    fn path(&self, list: &str) -> String {
        format!("/api/{list}/%2F/{}", self.name("p"))
    }

    /// The most messages that a policy on the broker lets a queue have; `None` without the policy.
    fn length(&self, list: &str) -> Option<u64> {
        let answer = self.http().request("GET", &self.path(list), None);
        let policy: Value = serde_json::from_str(&answer.body).ok()?;
        policy["definition"]["max-length"].as_u64()
    }

    /// Time until a change by hand is put right: events tell of it, or the next list does.
    fn promise(&self) -> Duration {
        if self.broker.is_external() {
            NOTICED
        } else {
            Duration::from_secs(1)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_made_changed_put_right_and_removed() {
    let Some(stage) = stage("policies").await else { return };
    stage.synced(&stage.queue("q")).await;
    for (number, (kind, list)) in (5..).zip(KINDS) {
        stage.synced(&stage.policy(kind, number)).await;
        assert_eq!(stage.length(list), Some(number.into()));
        stage.synced(&stage.policy(kind, number + 10)).await;
        until("the edit is on the broker", SOON, || {
            stage.length(list) == Some(u64::from(number) + 10)
        });
    }
    // One of the same name in each class: they are two.
    assert_eq!(KINDS.map(|(_, list)| stage.length(list)), [Some(15), Some(16)]);
    until("the queue has both", SOON, || {
        let queue = stage.http().get(&format!("/api/queues/%2F/{}", stage.name("q")));
        let name = json!(stage.name("p"));
        queue["policy"] == name && queue["operator_policy"] == name
    });
    for (kind, list) in KINDS {
        let before = stage.length(list);
        assert_eq!(stage.http().request("DELETE", &stage.path(list), None).status, 204);
        let took = until("the policy is back", NOTICED, || stage.length(list) == before);
        assert!(took < stage.promise(), "{kind} after {took:?}");
        let other = json!({"pattern": "^nothing$", "definition": {"max-length": 1}, "apply-to": "queues"});
        let changed = stage.http().request("PUT", &stage.path(list), Some(&other));
        assert_eq!(changed.status, 204, "{changed:?}");
        let took = until("the policy is as declared", NOTICED, || stage.length(list) == before);
        assert!(took < stage.promise(), "{kind} after {took:?}");
        stage.resources.becomes(kind, "p", "True", "Synced", SOON).await;
    }
    for (kind, list) in KINDS {
        stage.resources.delete(kind, "p").await;
        stage.resources.goes(kind, "p", SOON).await;
        assert_eq!(stage.length(list), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_the_broker_refuses_says_why() {
    let Some(stage) = stage("policy-refused").await else {
        return;
    };
    let mut policy = stage.policy("Policy", 5);
    policy["spec"]["definition"] = json!({"max-lenght": 5});
    stage.apply(&policy).await;
    let message = stage
        .resources
        .becomes("Policy", "p", "False", "InvalidArgument", SOON)
        .await;
    assert!(message.contains("max-lenght"), "{}", message);
    stage.synced(&stage.policy("Policy", 5)).await;
    let mut policy = stage.policy("Policy", 5);
    (policy["metadata"]["name"], policy["spec"]["vhost"]) = (json!("nowhere"), json!(stage.name("nowhere")));
    stage.apply(&policy).await;
    let message = stage
        .resources
        .becomes("Policy", "nowhere", "Unknown", "WaitingForVhost", SOON)
        .await;
    assert!(message.contains(&stage.name("nowhere")), "{}", message);
}
