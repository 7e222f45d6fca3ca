//! (pure) How the broker is reached, measured and protected: Services, ServiceMonitor, NetworkPolicy, disruption
//! budget.
//!
//! In: a `Broker`. Out: objects. Does not know about the pod, apart from its labels and ports.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::child::{Child, ChildKind};
use super::config::{AMQP, AMQPS, HTTP, HTTPS, METRICS, is_plain};
use super::names;
use crate::object::Object;
use crate::resource::BrokerSpec;

/// Tells the headless Service from the one that clients use.
const HEADLESS_LABEL: &str = "leveret.dev/headless";

/// The port of metrics and health, which needs neither login nor certificate.
pub const HEALTH_PORT: (&str, u16) = ("metrics", METRICS);

/// The ports of the container that are open to others: name, number.
pub fn container_ports(spec: &BrokerSpec) -> Vec<(&'static str, u16)> {
    let plain: &[(&str, u16)] = if is_plain(spec) {
        &[("amqp", AMQP), ("http", HTTP)]
    } else {
        &[]
    };
    let tls: &[(&str, u16)] = if spec.tls.is_some() {
        &[("amqps", AMQPS), ("https", HTTPS)]
    } else {
        &[]
    };
    plain.iter().chain(tls).chain(&[HEALTH_PORT]).copied().collect()
}

/// Ports for ZeroMQ sockets, as a Service names them. They lead to the pod by their numbers: it knows nothing of them
/// when it starts, and is not replaced for them.
fn socket_ports<'a>(spec: &BrokerSpec, sockets: &'a BTreeSet<u16>) -> impl Iterator<Item = Value> + 'a {
    let taken = container_ports(spec);
    let free = sockets
        .iter()
        .filter(move |port| taken.iter().all(|(_, number)| number != *port));
    free.map(|port| json!({ "name": format!("zmq-{port}"), "port": port, "targetPort": port, "protocol": "TCP" }))
}

fn service_ports(spec: &BrokerSpec, sockets: &BTreeSet<u16>) -> Vec<Value> {
    let port = |(name, number): (&str, u16)| {
        let protocol = if number == METRICS { "http" } else { name };
        json!({ "name": name, "port": number, "targetPort": name, "protocol": "TCP", "appProtocol": protocol })
    };
    let own = container_ports(spec).into_iter().map(port);
    own.chain(socket_ports(spec, sockets)).collect()
}

/// The Service that clients use. `sockets`: the ports of ZeroMQ sockets.
pub fn client_service(broker: &Object<BrokerSpec>, sockets: &BTreeSet<u16>) -> Child {
    let key = &broker.meta.key;
    let wanted = broker.spec.service.clone().unwrap_or_default();
    let mut metadata = names::metadata(broker, &names::main(key));
    names::add_annotations(&mut metadata, &wanted.annotations);
    let spec = json!({ "spec": {
        "type": wanted.type_,
        "selector": names::selector(key),
        "ports": service_ports(&broker.spec, sockets),
    }});
    Child::new(ChildKind::Service, &names::main(key), metadata, spec)
}

/// The Service that gives the pod a name of its own, also while it is not ready.
pub fn headless_service(broker: &Object<BrokerSpec>, sockets: &BTreeSet<u16>) -> Child {
    let key = &broker.meta.key;
    let name = names::headless(key);
    let spec = json!({ "spec": {
        "clusterIP": "None",
        "publishNotReadyAddresses": true,
        "selector": names::selector(key),
        "ports": service_ports(&broker.spec, sockets),
    }});
    let mut metadata = names::metadata(broker, &name);
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        labels.insert(HEADLESS_LABEL.to_owned(), json!("true"));
    }
    Child::new(ChildKind::Service, &name, metadata, spec)
}

/// The disruption budget. A broker of one pod cannot be drained without an interruption, and a budget that forbids it
/// would block the node for ever; what it does is to let a pod go that does not work anyway.
pub fn disruption_budget(broker: &Object<BrokerSpec>) -> Child {
    let key = &broker.meta.key;
    let name = names::main(key);
    let spec = json!({ "spec": {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": { "matchLabels": names::selector(key) },
    }});
    Child::new(
        ChildKind::PodDisruptionBudget,
        &name,
        names::metadata(broker, &name),
        spec,
    )
}

/// The operator's own pods, as a NetworkPolicy selects them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorPods {
    pub namespace: String,
    /// Their label `app.kubernetes.io/instance`.
    pub instance: Option<String>,
}

impl OperatorPods {
    /// Labels alone would let in any pod of any namespace whose author gives it these labels; the namespace's name is a
    /// label that the API server sets.
    fn peer(&self) -> Value {
        let mut labels = json!({ "app.kubernetes.io/name": names::OPERATOR_APP });
        if let (Some(instance), Some(labels)) = (&self.instance, labels.as_object_mut()) {
            labels.insert("app.kubernetes.io/instance".to_owned(), json!(instance));
        }
        json!({
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": self.namespace } },
            "podSelector": { "matchLabels": labels },
        })
    }
}

/// The NetworkPolicy, on request. `operator`: its pods, which are let in too; `None` when it runs in none. `sockets`:
/// the ports of ZeroMQ sockets.
pub fn network_policy(
    broker: &Object<BrokerSpec>,
    operator: Option<&OperatorPods>,
    sockets: &BTreeSet<u16>,
) -> Option<Child> {
    let wanted = broker.spec.network_policy.as_ref()?;
    let key = &broker.meta.key;
    let name = names::main(key);
    let mut from = match wanted.from.as_slice() {
        [] => vec![json!({ "podSelector": {} })],
        some => some.to_vec(),
    };
    from.extend(operator.map(OperatorPods::peer));
    let own = container_ports(&broker.spec)
        .into_iter()
        .filter(|port| *port != HEALTH_PORT);
    let all = own.map(|(_, number)| number).chain(sockets.iter().copied());
    let ports: Vec<Value> = all.map(|number| json!({ "port": number, "protocol": "TCP" })).collect();
    // Who may measure need not be able to try passwords: from any pod, and to this port only.
    let metrics = json!({
        "from": [{ "namespaceSelector": {} }],
        "ports": [{ "port": METRICS, "protocol": "TCP" }],
    });
    let spec = json!({ "spec": {
        "podSelector": { "matchLabels": names::selector(key) },
        "policyTypes": ["Ingress"],
        "ingress": [{ "from": from, "ports": ports }, metrics],
    }});
    Some(Child::new(
        ChildKind::NetworkPolicy,
        &name,
        names::metadata(broker, &name),
        spec,
    ))
}

/// The ServiceMonitor of the Prometheus operator, for clusters that have its CRD.
pub fn service_monitor(broker: &Object<BrokerSpec>) -> Child {
    let key = &broker.meta.key;
    let name = names::main(key);
    let spec = json!({ "spec": {
        // Only one of the two Services, so that nothing is measured twice.
        "selector": {
            "matchLabels": names::selector(key),
            "matchExpressions": [{ "key": HEADLESS_LABEL, "operator": "DoesNotExist" }],
        },
        "endpoints": [{ "port": "metrics", "path": "/metrics" }],
    }});
    Child::new(ChildKind::ServiceMonitor, &name, names::metadata(broker, &name), spec)
}
