//! The ports of ZeroMQ sockets at a broker that the operator runs.

use super::*;

/// The ports of a Service or NetworkPolicy that are those of sockets.
fn of_sockets(ports: &Value) -> Vec<u64> {
    let all = ports.as_array().into_iter().flatten();
    let number = |port: &Value| port["port"].as_u64();
    all.filter_map(number)
        .filter(|number| (5555..=5560).contains(number))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_has_the_ports_of_sockets_and_the_pod_is_not_replaced() {
    let Some(bare) = bare("socket-ports").await else { return };
    bare.apply(&manifest("Broker", "main", json!({"networkPolicy": {}})))
        .await;
    let set = bare.finds::<StatefulSet>("main", |_| true).await;
    let socket = |name: &str, more: Value| {
        let mut spec = json!({"brokerRef": {"name": "main"}, "type": "pull", "port": 5555, "queue": "q",
            "user": "guest", "anywhere": true});
        for (field, value) in more.as_object().expect("fields") {
            spec[field] = value.clone();
        }
        manifest("ZeroMqSocket", name, spec)
    };
    for (name, more) in [
        ("one", json!({})),
        ("two", json!({"port": 5556})),
        ("inside", json!({"port": 5557, "address": "127.0.0.1"})),
    ] {
        bare.apply(&socket(name, more)).await;
    }
    let has = |wanted: &[u64], object: &Value, pointer: &str| {
        of_sockets(object.pointer(pointer).unwrap_or(&Value::Null)) == wanted
    };
    for name in ["main", "main-nodes"] {
        let service = bare
            .finds::<Service>(name, |service| has(&[5555, 5556], service, "/spec/ports"))
            .await;
        let names = service["spec"]["ports"].as_array().expect("ports");
        let names: Vec<String> = names.iter().map(|port| text(port, "/name")).collect();
        assert_eq!(names, ["amqp", "http", "metrics", "zmq-5555", "zmq-5556"]);
    }
    bare.finds::<NetworkPolicy>("main", |policy| has(&[5555, 5556], policy, "/spec/ingress/0/ports"))
        .await;
    bare.apply(&socket("two", json!({"port": 5560}))).await;
    bare.finds::<Service>("main", |service| has(&[5555, 5560], service, "/spec/ports"))
        .await;
    bare.resources.delete("ZeroMqSocket", "one").await;
    bare.finds::<Service>("main", |service| has(&[5560], service, "/spec/ports"))
        .await;
    bare.finds::<NetworkPolicy>("main", |policy| has(&[5560], policy, "/spec/ingress/0/ports"))
        .await;
    let after = bare.finds::<StatefulSet>("main", |_| true).await;
    let template = |set: &Value| set["spec"]["template"].clone();
    assert_eq!(template(&after), template(&set));
}
