//! A client as a pod: it finds the broker as an application does, by the Secret, or logs in with the token of its
//! service account; and says in its log what was confirmed.
//!
//! In: a queue. Out: the numbers of confirmed messages, and the longest time without one. Does not know about what
//! takes the broker away.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::wait::eventually;
use serde_json::{Value, json};

use crate::node::{NAMESPACE, Node, SOON};

pub(crate) struct ClientPod<'a> {
    node: &'a Node,
    name: &'static str,
}

impl ClientPod<'_> {
    pub(crate) fn start<'a>(node: &'a Node, queue: &str) -> ClientPod<'a> {
        let uri = json!({"secretKeyRef": {"name": "main-admin", "key": "uri"}});
        let environment = json!([{"name": "AMQP_URI", "valueFrom": uri}, {"name": "QUEUE", "value": queue}]);
        Self::run(node, "client", environment, json!({}))
    }

    /// One without any password: a User names its service account, and that is all.
    pub(crate) fn start_with_token<'a>(node: &'a Node, queue: &str) -> ClientPod<'a> {
        let name = "till";
        let (own, host) = (format!("^({queue}|amq.default)$"), format!("main.{NAMESPACE}.svc"));
        let rights = json!([{"configure": "", "write": own, "read": ""}]);
        let broker = json!({"name": "main"});
        let of = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "leveret.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let account = json!({"name": name, "namespace": NAMESPACE});
        let manifests = [
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}),
            of("Queue", queue, json!({"brokerRef": broker})),
            of(
                "User",
                name,
                json!({"brokerRef": broker, "serviceAccount": account, "permissions": rights}),
            ),
        ];
        node.tools.apply(NAMESPACE, &manifests, &[]);
        let environment = json!([
            {"name": "TOKEN_FILE", "value": "/tokens/leveret"},
            {"name": "AMQP_HOST", "value": host},
            {"name": "QUEUE", "value": queue},
        ]);
        let token = json!({"serviceAccountToken": {"path": "leveret", "audience": host}});
        let further = json!({"serviceAccountName": name,
            "volumes": [{"name": "tokens", "projected": {"sources": [token]}}]});
        Self::run(node, name, environment, further)
    }

    fn run<'a>(node: &'a Node, name: &'static str, environment: Value, further: Value) -> ClientPod<'a> {
        let mut spec = json!({
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532},
            "containers": [{"name": "client", "image": "kcp.local/e2e-client:1", "imagePullPolicy": "Never",
                "env": environment}],
        });
        if further.get("volumes").is_some() {
            spec["containers"][0]["volumeMounts"] = json!([{"name": "tokens", "mountPath": "/tokens"}]);
        }
        let all = spec.as_object_mut().expect("a map");
        all.extend(further.as_object().cloned().unwrap_or_default());
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        node.tools.apply(NAMESPACE, &[pod], &[]);
        let pod = ClientPod { node, name };
        pod.confirms_more(0);
        pod
    }

    /// Milliseconds and number of each confirmed message.
    fn confirmed(&self) -> Vec<(u64, u64)> {
        let said = self.node.tools.kubectl(&["-n", NAMESPACE, "logs", self.name], "");
        let lines = said.stdout.lines().filter_map(|line| line.split_once(' '));
        lines
            .filter_map(|(at, number)| Some((at.parse().ok()?, number.parse().ok()?)))
            .collect()
    }

    /// When the last one was, in milliseconds of the pod.
    pub(crate) fn last(&self) -> u64 {
        self.confirmed().last().map_or(0, |(at, _)| *at)
    }

    /// Waits until messages are confirmed that were not before.
    pub(crate) fn confirms_more(&self, from: u64) {
        eventually("the client in the cluster goes on", SOON, || {
            let more = self.confirmed().iter().filter(|(at, _)| *at > from).count();
            if more > 20 {
                return Ok(());
            }
            Err(self
                .node
                .tools
                .kubectl(&["-n", NAMESPACE, "logs", "--tail=5", self.name], "")
                .all)
        });
    }

    /// The longest time between two confirms since then.
    pub(crate) fn longest_pause(&self, from: u64) -> Duration {
        let at: Vec<u64> = self
            .confirmed()
            .iter()
            .map(|(at, _)| *at)
            .filter(|at| *at >= from)
            .collect();
        let pauses = at.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
        Duration::from_millis(pauses.max().unwrap_or_default())
    }

    /// Ends it; what was confirmed. Its log stays for that, which a deleted pod's would not.
    pub(crate) fn stop(self) -> BTreeSet<u64> {
        self.node.kill_container(self.name);
        self.node.kubectl(&[
            "wait",
            &format!("pod/{}", self.name),
            "--for=jsonpath={.status.phase}=Failed",
            "--timeout=30s",
        ]);
        self.confirmed().into_iter().map(|(_, number)| number).collect()
    }
}
