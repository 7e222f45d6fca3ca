//! ZeroMQ sockets: made after all else, put right, told of when the broker cannot open them, removed.

use serde_json::json;

use super::stage::Stage;
use super::{URI, key, orders, snapshot, to_main};
use crate::broker::Operation;
use crate::object::{Kind, ObjectKey, Reason, Snapshot};
use crate::resource::ZeroMqSocketSpec;
use crate::source::Source;
use crate::topology::named::Definition as _;
use crate::topology::user::UserDefinition;
use crate::topology::{Declared, Identity, Name, Named, ZeroMqSocketDefinition};

fn shop() -> Snapshot {
    let mut all = orders();
    let spec = to_main(json!({"type": "pull", "port": 5555, "queue": "invoices", "user": "till"}));
    let more = snapshot(&[(Kind::ZeroMqSocket, "shop", "in", 0, spec)]);
    more.objects().for_each(|object| all.insert(object.clone()));
    all
}

fn socket() -> ObjectKey {
    key(Kind::ZeroMqSocket, "in")
}

fn name() -> Name {
    Name::new("/", "in")
}

fn found(stage: &Stage) -> Option<ZeroMqSocketDefinition> {
    stage
        .fake
        .with(URI, |broker| broker.topology.zeromqsockets.get(&name()).cloned())
}

fn by_hand(stage: &Stage, operation: &Operation) {
    stage
        .fake
        .with(URI, |broker| broker.by_hand(operation))
        .expect("it can be done");
}

fn till() -> Operation {
    let user = Named::new(Name::new("", "till"), UserDefinition::default());
    Operation::Declare(Declared::User(user))
}

fn gone() -> Operation {
    Operation::Remove {
        identity: Identity::ZeroMqSocket(name()),
        if_free: false,
    }
}

fn address(stage: &Stage) -> Option<String> {
    let statuses = stage.shelf.statuses.lock();
    statuses.get(&socket())?.socket.as_ref()?.address.clone()
}

#[tokio::test]
async fn a_socket_comes_last_and_waits_for_its_user() {
    let stage = Stage::start(shop());
    stage
        .until("it waits", |stage| {
            stage.reason(&socket()) == Some(Reason::WaitingForUser)
        })
        .await;
    assert_eq!(stage.message(&socket()), "user 'till' does not exist");
    assert_eq!(found(&stage), None);
    by_hand(&stage, &till());
    stage.until_synced(&[socket()]).await;
    assert_eq!(address(&stage).as_deref(), Some("tcp://*:5555"));
    let labels = stage.fake.with(URI, |broker| {
        let operations = broker.operations.iter();
        operations.map(|operation| operation.label()).collect::<Vec<_>>()
    });
    assert_eq!(labels.last(), Some(&"put_zeromq_socket"), "{labels:?}");
    assert_eq!(labels.len(), 4, "one declare each: {labels:?}");
}

#[tokio::test]
async fn a_socket_that_is_changed_or_deleted_by_hand_is_put_right() {
    let stage = Stage::start(shop());
    by_hand(&stage, &till());
    stage.until_synced(&[socket()]).await;
    let whole = found(&stage).expect("the socket");
    let edited = json!({"brokerRef": {"name": "main"}, "type": "push", "port": 5557, "queue": "q", "user": "till"});
    let edited = serde_json::from_value(edited).expect("a spec");
    let edited = Named::new(name(), ZeroMqSocketDefinition::wanted(&edited).expect("a definition"));
    for change in [gone(), Operation::Declare(Declared::ZeroMqSocket(edited))] {
        by_hand(&stage, &change);
        stage
            .until("put right", |stage| found(stage).as_ref() == Some(&whole))
            .await;
    }
    stage.change(|snapshot| {
        let object = snapshot.get_mut::<ZeroMqSocketSpec>(&socket()).expect("the socket");
        object.spec.port = 5556;
        object.meta.generation += 1;
    });
    stage
        .until("moved", |stage| address(stage).as_deref() == Some("tcp://*:5556"))
        .await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_until_it_is_free() {
    let stage = Stage::start(shop());
    stage.fake.with(URI, |broker| broker.taken.insert(5555));
    by_hand(&stage, &till());
    stage
        .until("refused", |stage| stage.reason(&socket()) == Some(Reason::BrokerError))
        .await;
    assert_eq!(
        stage.message(&socket()),
        "the broker cannot listen at tcp://*:5555: Address already in use (os error 98); it goes on trying"
    );
    assert_eq!(address(&stage), None);
    let operations = stage.fake.with(URI, |broker| broker.operations.len());
    stage.fake.with(URI, |broker| broker.taken.clear());
    stage.until_synced(&[socket()]).await;
    assert_eq!(
        stage.fake.with(URI, |broker| broker.operations.len()),
        operations,
        "nothing is done again"
    );
}

#[tokio::test]
async fn a_broker_without_zeromq_is_asked_rarely() {
    let stage = Stage::start(shop());
    by_hand(&stage, &till());
    stage.fake.with(URI, |broker| {
        let text = "Validation failed\n\ncomponent zeromq-socket not found\n";
        broker.refusals.insert("in".to_owned(), (400, text.to_owned()));
    });
    stage
        .until("refused", |stage| {
            stage.reason(&socket()) == Some(Reason::InvalidArgument)
        })
        .await;
    assert_eq!(
        stage.message(&socket()),
        "this broker does not speak ZeroMQ's protocol: it answered 400 Validation failed  component zeromq-socket not \
         found"
    );
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let tried = stage.fake.with(URI, |broker| {
        let operations = broker.operations.iter();
        operations
            .filter(|operation| operation.label() == "put_zeromq_socket")
            .count()
    });
    assert!(tried <= 2, "{tried}");
}

#[tokio::test]
async fn a_socket_goes_with_its_resource() {
    let stage = Stage::start(shop());
    by_hand(&stage, &till());
    stage.until_synced(&[socket()]).await;
    stage.delete(&socket(), super::now(), None);
    stage
        .until("gone", |stage| {
            stage.shelf.snapshot().of(Kind::ZeroMqSocket).next().is_none()
        })
        .await;
    assert_eq!(found(&stage), None);
    assert!(stage.fake.with(URI, |broker| broker.operations.contains(&gone())));
}
