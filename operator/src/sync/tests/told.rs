//! What users are told, and when: drift, refusals, differences, numbers.

use super::*;
use crate::object::{EngineState, OBSERVE};
use crate::topology::ExchangeDefinition;

fn warnings(stage: &Stage, words: &str) -> usize {
    let warnings = stage.shelf.warnings.lock();
    warnings.iter().filter(|warning| warning.contains(words)).count()
}

fn exchange(name: &str, kind: &str) -> Declared {
    let definition = ExchangeDefinition {
        kind: kind.to_owned(),
        durable: true,
        ..ExchangeDefinition::default()
    };
    Declared::Exchange(Named::new(Name::new("/", name), definition))
}

#[tokio::test]
async fn drift_is_told_with_the_messages_that_are_lost() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    stage
        .fake
        .with(URI, |broker| broker.by_hand(&delete_invoices()))
        .expect("deleted");
    stage
        .until("it is told", |stage| {
            warnings(stage, "queue 'invoices' was gone from the broker") == 1
        })
        .await;
    stage.until_synced(&all_orders()).await;
    assert_eq!(
        warnings(&stage, "the binding of exchange 'orders'"),
        1,
        "it went with its queue"
    );
}

#[tokio::test]
async fn a_broker_that_comes_back_with_nothing_is_told_of_once() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    stage.fake.with(URI, |broker| broker.restart_empty());
    stage
        .until("it is told", |stage| {
            warnings(stage, "Broker shop/main: nothing stood on the broker any more") == 1
        })
        .await;
    stage.until_synced(&all_orders()).await;
    assert_eq!(stage.shelf.warnings.lock().len(), 1, "and nothing of each object");
}

#[tokio::test]
async fn a_queue_that_goes_by_itself_comes_back_without_a_word() {
    let mut snapshot = orders();
    let meta = snapshot.meta(&queue("invoices")).cloned().expect("the queue");
    add(&mut snapshot, meta, to_main(json!({"expires": "5s"})));
    let stage = Stage::start(snapshot);
    stage.until_synced(&all_orders()).await;
    stage
        .fake
        .with(URI, |broker| broker.by_hand(&delete_invoices()))
        .expect("expired");
    let declared = |stage: &Stage| stage.fake.with(URI, |broker| broker.topology.queues.len());
    stage.until("it is back", |stage| declared(stage) == 1).await;
    stage.until_synced(&all_orders()).await;
    assert_eq!(warnings(&stage, "queue 'invoices' was gone"), 0);
}

#[tokio::test]
async fn what_is_refused_is_tried_again_within_seconds_and_when_it_is_touched() {
    let fake = Fake::default();
    let refuse = |broker: &mut crate::broker::fake::Broker| {
        let answer = (403, "ACCESS_REFUSED - no".to_owned());
        broker.refusals.insert("invoices".to_owned(), answer);
    };
    fake.with(URI, refuse);
    let stage = Stage::start_with(orders(), fake, Settings::default());
    let refused = |stage: &Stage| stage.reason(&queue("invoices")) == Some(Reason::NotAllowed);
    stage.until("it is refused", refused).await;
    stage.fake.with(URI, |broker| broker.refusals.clear());
    let granted = Instant::now();
    stage.until_synced(&all_orders()).await;
    assert!(granted.elapsed() < Duration::from_secs(4), "{:?}", granted.elapsed());

    let attempts = |stage: &Stage| {
        let of_queue = |operation: &&Operation| operation.identity() == Identity::Queue(Name::new("/", "invoices"));
        stage
            .fake
            .with(URI, |broker| broker.operations.iter().filter(of_queue).count())
    };
    let before = attempts(&stage);
    stage.fake.with(URI, refuse);
    stage
        .fake
        .with(URI, |broker| broker.by_hand(&delete_invoices()))
        .expect("deleted");
    stage
        .until("the second attempt", |stage| attempts(stage) == before + 2)
        .await;
    stage.fake.with(URI, |broker| broker.refusals.clear());
    let touched = Instant::now();
    stage.change(|snapshot| {
        let object = snapshot.any_mut(&queue("invoices")).expect("the queue");
        object.meta_mut().touched = 7;
    });
    stage.until_synced(&all_orders()).await;
    assert!(touched.elapsed() < Duration::from_secs(1), "{:?}", touched.elapsed());
}

#[tokio::test]
async fn always_takes_over_whatever_stands() {
    let fake = Fake::default();
    let stands = Operation::Declare(exchange("orders", "fanout"));
    fake.with(URI, |broker| broker.by_hand(&stands)).expect("declared");
    let mut snapshot = orders();
    let key = key(Kind::Exchange, "orders");
    let meta = snapshot.meta(&key).cloned().expect("the exchange");
    add(
        &mut snapshot,
        meta,
        to_main(json!({"type": "topic", "adoptionPolicy": "Always"})),
    );
    let stage = Stage::start_with(snapshot, fake, Settings::default());
    stage
        .until("it is taken over", |stage| {
            stage.reason(&key) == Some(Reason::Immutable)
        })
        .await;
    assert!(
        stage
            .message(&key)
            .contains("type is fanout on the broker, wanted topic"),
        "{}",
        stage.message(&key)
    );
    let name = stage
        .shelf
        .statuses
        .lock()
        .get(&key)
        .and_then(|status| status.name.clone());
    assert_eq!(name.as_deref(), Some("orders"), "it is owned");
    stage.delete(&key, now(), None);
    let gone = |stage: &Stage| {
        let name = Name::new("/", "orders");
        stage
            .fake
            .with(URI, |broker| !broker.topology.exchanges.contains_key(&name))
    };
    stage.until("it goes with its resource", gone).await;
}

#[tokio::test]
async fn what_is_observed_is_compared_and_left_alone() {
    let mut snapshot = orders();
    let main = snapshot.any_mut(&key(Kind::Broker, "main")).expect("the Broker");
    main.meta_mut()
        .annotations
        .insert(OBSERVE.to_owned(), "true".to_owned());
    let fake = Fake::default();
    let stands = Operation::Declare(exchange("orders", "topic"));
    fake.with(URI, |broker| broker.by_hand(&stands)).expect("declared");
    let stage = Stage::start_with(snapshot, fake, Settings::default());
    let (exchange, queue) = (key(Kind::Exchange, "orders"), queue("invoices"));
    stage
        .until("it is as declared", |stage| {
            stage.reason(&exchange) == Some(Reason::Observed)
        })
        .await;
    stage
        .until("it is missing", |stage| stage.reason(&queue) == Some(Reason::Mismatch))
        .await;
    assert!(
        stage.message(&queue).contains("does not stand on the broker"),
        "{}",
        stage.message(&queue)
    );
    assert!(
        stage.fake.with(URI, |broker| broker.operations.is_empty()),
        "nothing was done"
    );
    let by_hand = Operation::Declare(Declared::Queue(Named::new(
        Name::new("/", "invoices"),
        QueueDefinition::new(false, false, false, Default::default()),
    )));
    stage
        .fake
        .with(URI, |broker| broker.by_hand(&by_hand))
        .expect("declared");
    stage
        .until("the difference is told", |stage| {
            stage.message(&queue).contains("durable is false")
        })
        .await;
    stage.delete(&exchange, now(), None);
    stage.until("it goes", |stage| stage.reason(&exchange).is_none()).await;
    assert!(
        stage.fake.with(URI, |broker| broker.operations.is_empty()),
        "and stays on the broker"
    );
}

#[tokio::test]
async fn two_brokers_for_one_broker_share_its_objects() {
    let stage = Stage::start(snapshot(&[
        (Kind::Broker, "shop", "main", 0, broker(URI)),
        (Kind::Broker, "other", "main", 0, broker(URI)),
        (Kind::Queue, "shop", "same", 1, to_main(json!({}))),
        (Kind::Queue, "other", "same", 2, to_main(json!({}))),
    ]));
    let (first, second) = (queue("same"), ObjectKey::new(Kind::Queue, "other", "same"));
    stage
        .until("one has it", |stage| stage.reason(&second) == Some(Reason::Conflict))
        .await;
    stage.until_synced(std::slice::from_ref(&first)).await;
    let message = stage.message(&second);
    assert_eq!(
        message,
        "queue 'same' belongs to Queue shop/same, which is older; Broker shop/main leads to the same broker"
    );
    let main = key(Kind::Broker, "main");
    stage
        .until("the Broker says so", |stage| {
            stage.message(&main).contains("Broker other/main leads to the same")
        })
        .await;
    stage.delete(&first, now(), None);
    stage.until_synced(std::slice::from_ref(&second)).await;
    let removed = |stage: &Stage| {
        let is_removal = |operation: &&Operation| !operation.declares();
        stage
            .fake
            .with(URI, |broker| broker.operations.iter().filter(is_removal).count())
    };
    assert_eq!(removed(&stage), 0, "the other one had it by then");
    stage.change(|snapshot| assert!(snapshot.remove(&main)));
    stage.delete(&second, now(), None);
    stage
        .until("it goes with the last one", |stage| removed(stage) == 1)
        .await;
}

#[tokio::test]
async fn a_plugin_for_events_that_comes_later_is_noticed() {
    let fake = Fake::default();
    fake.with(URI, |broker| broker.silent_events = true);
    let settings = Settings {
        resync_without_events: Duration::from_millis(50),
        ..Settings::default()
    };
    let stage = Stage::start_with(orders(), fake, settings);
    stage.until_synced(&all_orders()).await;
    let attempts = |stage: &Stage| stage.fake.with(URI, |broker| broker.attempts);
    let lists = |stage: &Stage| stage.fake.with(URI, |broker| broker.lists);
    stage
        .until("it is listed again and again", |stage| lists(stage) > 3)
        .await;
    assert_eq!(attempts(&stage), 1);
    stage.fake.with(URI, |broker| broker.silent_events = false);
    let events = Operation::Declare(exchange("amq.rabbitmq.event", "topic"));
    stage
        .fake
        .with(URI, |broker| broker.by_hand(&events))
        .expect("declared");
    stage
        .until("it is connected to anew", |stage| attempts(stage) == 2)
        .await;
    stage.until_synced(&all_orders()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(attempts(&stage), 2);
}

#[tokio::test]
async fn objects_are_not_ready_while_their_broker_is_starting() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    let set = |pending| {
        let state = EngineState {
            generation: 1,
            pending,
            ..EngineState::default()
        };
        move |snapshot: &mut Snapshot| drop(snapshot.engines.insert(key(Kind::Broker, "main"), state.into()))
    };
    stage.change(set(Some((Reason::Starting, "pod main-0: is ending".to_owned()))));
    stage
        .until("they say so", |stage| {
            stage.reason(&queue("invoices")) == Some(Reason::WaitingForBroker)
        })
        .await;
    assert_eq!(
        stage.message(&queue("invoices")),
        "Broker shop/main is starting; its status says why"
    );
    stage.change(set(None));
    stage.until_synced(&all_orders()).await;
}

#[tokio::test]
async fn numbers_that_are_not_wanted_are_not_told() {
    let mut snapshot = orders();
    let object = snapshot.any_mut(&queue("invoices")).expect("the queue");
    object.meta_mut().status.queue = Some(crate::object::QueueNumbers {
        messages: 9,
        drain: "-".to_owned(),
        ..Default::default()
    });
    let settings = Settings {
        resync: Duration::from_millis(50),
        queue_numbers: None,
        ..Settings::default()
    };
    let stage = Stage::start_with(snapshot, Fake::default(), settings);
    stage.until_synced(&all_orders()).await;
    let writes = stage.shelf.writes.load(Ordering::SeqCst);
    stage
        .fake
        .with(URI, |broker| broker.messages.insert(Name::new("/", "invoices"), 7));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let told = stage
        .shelf
        .statuses
        .lock()
        .get(&queue("invoices"))
        .and_then(|status| status.queue.clone());
    assert_eq!(told, Some(Default::default()), "what was there is taken away");
    assert_eq!(stage.shelf.writes.load(Ordering::SeqCst), writes);
}

#[tokio::test]
async fn numbers_of_queues_follow_with_the_list_and_only_when_they_change() {
    let settings = Settings {
        resync: Duration::from_millis(100),
        queue_numbers: Some(Duration::from_millis(100)),
        ..Settings::default()
    };
    let stage = Stage::start_with(orders(), Fake::default(), settings);
    stage.until_synced(&all_orders()).await;
    let messages = |stage: &Stage| {
        let statuses = stage.shelf.statuses.lock();
        let numbers = statuses.get(&queue("invoices")).and_then(|status| status.queue.clone());
        numbers.map(|numbers| (numbers.messages, numbers.drain))
    };
    let says = |count| Some((count, "-".to_owned()));
    assert_eq!(messages(&stage), says(0), "with the first report");
    let name = Name::new("/", "invoices");
    stage.fake.with(URI, |broker| broker.messages.insert(name, 7));
    stage.until("seven", |stage| messages(stage) == says(7)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let writes = stage.shelf.writes.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(stage.shelf.writes.load(Ordering::SeqCst), writes, "nothing has changed");
}
