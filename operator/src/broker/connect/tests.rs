//! Against a real broker, when there is one: `LEVERET_TEST_AMQP_URI`, `LEVERET_TEST_MANAGEMENT_URI` name it (user and
//! password `guest`), `LEVERET_TEST_CA` the PEM file to trust for amqps and https. Skipped otherwise.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::object::Via;
use crate::topology::{
    Arguments, BindingDefinition, Declared, End, ExchangeDefinition, Identity, Named, QueueDefinition,
};

fn connection() -> Option<Connection> {
    let (Ok(amqp_uri), Ok(management_uri)) = (
        std::env::var("LEVERET_TEST_AMQP_URI"),
        std::env::var("LEVERET_TEST_MANAGEMENT_URI"),
    ) else {
        eprintln!("skipped: LEVERET_TEST_AMQP_URI and LEVERET_TEST_MANAGEMENT_URI name no broker");
        return None;
    };
    let ca = std::env::var("LEVERET_TEST_CA")
        .ok()
        .map(|path| std::fs::read(path).expect("the CA file"));
    Some(Connection {
        amqp_uri,
        management_uri,
        user: "guest".to_owned(),
        password: "guest".to_owned(),
        ca,
        identity: None,
        via: Via::Address,
    })
}

async fn connect(connection: Connection) -> (Live, mpsc::Receiver<Event>) {
    Network::default()
        .connect("test", connection)
        .await
        .expect("a connection")
}

fn queue(name: &str, arguments: serde_json::Value) -> Operation {
    let arguments: Arguments = serde_json::from_value(arguments).expect("arguments");
    Operation::Declare(Declared::Queue(Named::new(
        Name::new("/", name),
        QueueDefinition::new(true, false, false, arguments),
    )))
}

fn orders(operations: impl IntoIterator<Item = Operation>) -> Vec<Order> {
    let order = |operation| Order::new(operation, &Topology::default());
    operations.into_iter().map(order).collect()
}

fn delete(name: &str) -> Operation {
    Operation::Remove {
        identity: Identity::Queue(Name::new("/", name)),
        if_free: true,
    }
}

/// Each refusal closes a channel with others under way behind it; still each result belongs to its operation.
#[tokio::test]
async fn refusals_are_told_of_the_right_operation() {
    let Some(connection) = connection() else { return };
    let (client, _events) = connect(connection).await;
    let name = |index: usize| format!("leveret-test-refusal-{index}");
    let is_bad = |index: usize| index % 37 == 5 || index == 199;
    let operations: Vec<Operation> = (0..200)
        .map(|index| {
            queue(
                &name(index),
                if is_bad(index) {
                    json!({"x-max-length": "many"})
                } else {
                    json!({})
                },
            )
        })
        .collect();
    let results = client.execute(orders(operations)).await;
    for (index, result) in results.iter().enumerate() {
        match result {
            Ok(()) => assert!(!is_bad(index), "{index}"),
            Err(Error::Refused { code: 406, text }) => assert!(text.contains(&format!("'{}'", name(index))), "{text}"),
            Err(error) => panic!("{index}: {error}"),
        }
    }
    let listed = client.list().await.expect("a list");
    for index in 0..200 {
        assert_eq!(
            listed.queues.contains_key(&Name::new("/", name(index))),
            !is_bad(index),
            "{index}"
        );
    }
    let results = client.execute(orders((0..200).map(|index| delete(&name(index))))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    client.close().await;
}

#[tokio::test]
async fn what_is_declared_is_listed_and_told() {
    let Some(connection) = connection() else { return };
    let (client, mut events) = connect(connection).await;
    let exchange = Name::new("/", "leveret-test-x");
    let definition = ExchangeDefinition {
        kind: "headers".to_owned(),
        durable: true,
        ..ExchangeDefinition::default()
    };
    let binding = BindingDefinition {
        vhost: "/".to_owned(),
        source: exchange.name.clone(),
        end: End::Queue,
        destination: "leveret-test-q".to_owned(),
        routing_key: "a b/%+".to_owned(),
        arguments: serde_json::from_value(json!({"x-match": "all", "n": 5, "big": 5_000_000_000_i64, "t": {"f": 1.5}}))
            .expect("arguments"),
    };
    for operation in [
        Operation::Declare(Declared::Exchange(Named::new(exchange.clone(), definition.clone()))),
        queue("leveret-test-q", json!({})),
        Operation::Declare(Declared::Binding(binding.clone())),
    ] {
        assert_eq!(client.execute(orders([operation])).await, [Ok(())]);
    }
    let listed = client.list().await.expect("a list");
    assert_eq!(listed.exchanges.get(&exchange), Some(&definition));
    assert!(listed.queues.contains_key(&Name::new("/", "leveret-test-q")));
    assert!(listed.bindings.contains(&binding), "{:?}", listed.bindings);
    assert_eq!(
        client.message_count(&Name::new("/", "leveret-test-q")).await,
        Ok(Some(0))
    );
    assert_eq!(
        client.message_count(&Name::new("/", "leveret-test-none")).await,
        Ok(None)
    );
    for operation in [
        Operation::Remove {
            identity: Identity::Binding(binding),
            if_free: false,
        },
        delete("leveret-test-q"),
        Operation::Remove {
            identity: Identity::Exchange(exchange.clone()),
            if_free: true,
        },
    ] {
        assert_eq!(client.execute(orders([operation])).await, [Ok(())]);
    }
    if client.about().has_events {
        let gone = async {
            while let Some(event) = events.recv().await {
                if event == Event::ExchangeDeleted(exchange.clone()) {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(5), gone).await.expect("the event");
    }
    client.close().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_connection_is_told_apart() {
    let Some(good) = connection() else { return };
    let wrong_password = Connection {
        password: "wrong".to_owned(),
        ..good.clone()
    };
    let error = Network::default().connect("test", wrong_password).await.err();
    assert!(matches!(error, Some(Error::Credentials(_))), "{error:?}");
    let stranger = Connection {
        amqp_uri: "amqp://127.0.0.1:1".to_owned(),
        management_uri: "http://127.0.0.1:1".to_owned(),
        ..good.clone()
    };
    let error = Network::default().connect("test", stranger).await.err();
    assert!(matches!(error, Some(Error::Unreachable(_))), "{error:?}");
    let (client, _events) = connect(good).await;
    let elsewhere = Operation::Declare(Declared::Queue(Named::new(
        Name::new("leveret-test-nowhere", "q"),
        QueueDefinition::default(),
    )));
    let results = client.execute(orders([elsewhere])).await;
    assert!(matches!(results.as_slice(), [Err(Error::Vhost(_))]), "{results:?}");
    client.close().await;
}

/// RabbitMQ 4.3 deletes some queues on condition: for the others the operator counts the messages.
#[tokio::test]
async fn messages_are_counted_in_queues_of_every_type() {
    let Some(connection) = connection() else { return };
    let (client, _events) = connect(connection).await;
    let name = |type_: &str| Name::new("/", format!("leveret-test-count-{type_}"));
    let wire = client.amqp.connect("/").await.expect("a connection");
    let channel = wire.create_channel().await.expect("a channel");
    for type_ in ["classic", "quorum", "stream"] {
        let name = name(type_);
        let results = client
            .execute(orders([queue(&name.name, json!({"x-queue-type": type_}))]))
            .await;
        // A broker without such queues says so.
        if results.iter().any(Result::is_err) && type_ != "classic" {
            continue;
        }
        let properties = lapin::BasicProperties::default();
        let options = lapin::options::BasicPublishOptions::default();
        let published = channel.basic_publish("".into(), name.name.as_str().into(), options, b"x", properties);
        published.await.expect("sent").await.expect("published");
        let counted = async {
            while client.message_count(&name).await.ok() != Some(Some(1)) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(20), counted).await.expect(type_);
        let all = Operation::Remove {
            identity: Identity::Queue(name.clone()),
            if_free: false,
        };
        assert_eq!(client.execute(orders([all])).await, [Ok(())]);
        assert_eq!(client.message_count(&name).await, Ok(None), "{type_}");
    }
}
