//! Policies of a vhost with a real log: on what there is, on what comes later, and after a restart.

use super::super::Vhost;
use super::super::ids::{self, QueueIds};
use super::super::restore::restore;
use super::super::routes::RouteCache;
use super::super::shared::Shared;
use crate::access::Actor;
use crate::access::permissions::Permissions;
use crate::limits::Memory;
use crate::message::Message;
use crate::outbox::Work;
use crate::policy::{Class, Policy};
use crate::queue::Queue;
use crate::queue::entry::{Entry, NOWHERE};
use leveret_amqp::method::{ExchangeDeclare, QueueDeclare};
use leveret_amqp::{FieldTable, FieldValue, ShortString};
use leveret_store::fs::RealFs;
use leveret_store::{Options, Store};
use std::sync::Arc;
use tempfile::TempDir;

struct Bench {
    vhost: Arc<Vhost>,
    store: Option<Store>,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let (store, vhost) = open(&folder);
        let store = Some(store);
        Self { vhost, store, folder }
    }

    fn restart(&mut self) {
        self.store = None;
        let (store, vhost) = open(&self.folder);
        (self.store, self.vhost) = (Some(store), vhost);
    }

    fn declare(&self, name: &'static str) -> Arc<Queue> {
        let declare = QueueDeclare {
            queue: ShortString::from_static(name),
            durable: true,
            ..QueueDeclare::default()
        };
        self.vhost.declare_queue(&declare, &actor()).expect("a queue").0
    }

    fn put(&self, class: Class, name: &str, priority: i64, definition: &[(&'static str, FieldValue)]) -> bool {
        let definition = FieldValue::Table(table(definition));
        let pattern = "^q|^x".into();
        let fields = table(&[
            ("pattern", pattern),
            ("definition", definition),
            ("priority", priority.into()),
        ]);
        let policy = Policy::parse(class, name, &fields).expect("a policy");
        self.vhost
            .put_policy(class, policy, &actor())
            .expect("an open log")
            .created
    }

    fn of(&self, queue: &'static str) -> Option<(String, String, FieldTable)> {
        let queue = self.vhost.topology().queues.get(queue.as_bytes()).cloned();
        said(&queue.expect("a queue"))
    }

    fn alternate(&self, exchange: &str) -> Option<ShortString> {
        self.vhost
            .topology()
            .exchanges
            .get(exchange.as_bytes())?
            .alternate
            .clone()
    }
}

/// A queue's policy, operator policy and effective definition.
fn said(queue: &Queue) -> Option<(String, String, FieldTable)> {
    let applied = queue.policies()?;
    let name = |policy: &Option<Arc<Policy>>| policy.as_ref().map_or(String::new(), |policy| policy.name.clone());
    Some((
        name(&applied.policy),
        name(&applied.operator),
        applied.definition.clone(),
    ))
}

fn open(folder: &TempDir) -> (Store, Arc<Vhost>) {
    let options = Options::new(folder.path());
    let opened = Store::open(options, Arc::new(RealFs), Box::new(|_| {}), Box::new(|_| {}));
    let (store, recovered) = opened.expect("a log");
    let ids = recovered.table.get(ids::KEY).map(|value| value.as_ref());
    let memory = Arc::new(Memory::new(u64::MAX));
    let shared = Shared::new(store.handle(), memory, QueueIds::recovered(ids), None, Arc::default());
    let table = recovered.table.iter();
    let restored = restore(&shared, table.map(|(key, value)| (&**key, &**value)));
    let vhost = restored.expect("an open log").swap_remove(0);
    (store, vhost)
}

fn actor() -> Actor {
    Actor::new("guest", Permissions::ALL)
}

fn table(fields: &[(&'static str, FieldValue)]) -> FieldTable {
    let pair = |(name, value): &(&'static str, FieldValue)| (ShortString::from_static(name), value.clone());
    fields.iter().map(pair).collect()
}

fn found(policy: &str, operator: &str, definition: &[(&'static str, FieldValue)]) -> (String, String, FieldTable) {
    (policy.into(), operator.into(), table(definition))
}

#[test]
fn a_policy_is_for_queues_there_and_queues_to_come_and_outlives_the_broker() {
    let mut bench = Bench::new();
    bench.declare("q1");
    bench.declare("other");
    let length = [("max-length", FieldValue::Long(3))];
    assert!(bench.put(Class::User, "p", 0, &length));
    let ttl = [("message-ttl", FieldValue::Long(500))];
    assert!(bench.put(Class::Operator, "o", 0, &ttl));
    let both = found("p", "o", &[length[0].clone(), ttl[0].clone()]);
    bench.declare("q2");
    for _ in 0..2 {
        assert_eq!(
            [bench.of("q1"), bench.of("q2")],
            [Some(both.clone()), Some(both.clone())]
        );
        assert_eq!(bench.of("other"), None);
        bench.restart();
    }
    assert!(!bench.put(Class::User, "p", 1, &length), "there is one of that name");
    assert!(
        bench
            .vhost
            .delete_policy(Class::User, "p", &actor())
            .expect("an open log")
            .is_some()
    );
    assert!(
        bench
            .vhost
            .delete_policy(Class::User, "p", &actor())
            .expect("an open log")
            .is_none()
    );
    for _ in 0..2 {
        assert_eq!(bench.of("q1"), Some(found("", "o", &ttl)));
        bench.restart();
    }
}

#[test]
fn an_alternate_exchange_is_the_policys_unless_an_argument_names_one() {
    let mut bench = Bench::new();
    for (name, arguments) in [("x1", vec![]), ("x2", vec![("alternate-exchange", "own".into())])] {
        let declare = ExchangeDeclare {
            exchange: ShortString::from_static(name),
            kind: ShortString::from_static("direct"),
            durable: true,
            arguments: table(&arguments).into(),
            ..ExchangeDeclare::default()
        };
        assert!(bench.vhost.declare_exchange(&declare, &actor()).is_ok());
    }
    assert!(bench.put(Class::User, "p", 0, &[("alternate-exchange", "amq.fanout".into())]));
    for _ in 0..2 {
        assert_eq!(bench.alternate("x1"), Some(ShortString::from_static("amq.fanout")));
        assert_eq!(bench.alternate("x2"), Some(ShortString::from_static("own")));
        assert_eq!([bench.alternate("amq.direct"), bench.alternate("")], [None, None]);
        bench.restart();
    }
    assert!(
        bench
            .vhost
            .delete_policy(Class::User, "p", &actor())
            .expect("an open log")
            .is_some()
    );
    assert_eq!(bench.alternate("x1"), None);
}

#[test]
fn a_limit_counts_at_once_and_a_time_to_live_from_the_next_message_on() {
    let bench = Bench::new();
    let queue = bench.declare("q");
    let mut work = Work::default();
    let message = || Message::new(b"", b"q", b"\0\0", b"body");
    let mut entries = (1..=5).map(|id| Entry::new(id, NOWHERE, message())).collect();
    queue.enqueue(&mut entries, &mut work);
    let mut cache = RouteCache::default();
    let mut timed = || {
        cache
            .route(&bench.vhost, Some(&actor()), &message())
            .expect("a route")
            .stamped
    };
    assert!(!timed());
    bench.put(
        Class::User,
        "p",
        0,
        &[("max-length", 2.into()), ("message-ttl", 500.into())],
    );
    assert_eq!((queue.counts().0, queue.deadline(None, 1000)), (2, Some(1501)));
    assert!(timed(), "routes are looked up again");
    assert!(bench.vhost.delete_policy(Class::User, "p", &actor()).is_ok());
    assert_eq!(queue.deadline(None, 1000), None);
    assert!(!timed());
}

#[test]
fn queues_that_are_declared_amid_changes_end_under_the_last_one() {
    let mut bench = Bench::new();
    let declare = |thread: usize| {
        for number in 0..150 {
            let declare = QueueDeclare {
                queue: ShortString::truncated(&format!("q-{thread}-{number}")),
                durable: true,
                ..QueueDeclare::default()
            };
            assert!(bench.vhost.declare_queue(&declare, &actor()).is_ok());
        }
    };
    let change = |class: Class| {
        for most in 1..40 {
            bench.put(class, "p", most % 3, &[("max-length", FieldValue::Long(most))]);
            if most % 5 == 0 {
                assert!(bench.vhost.delete_policy(class, "p", &actor()).is_ok());
            }
        }
    };
    let (declare, change) = (&declare, &change);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            scope.spawn(move || declare(thread));
        }
        for class in Class::ALL {
            scope.spawn(move || change(class));
        }
    });
    let expected = found("p", "p", &[("max-length", FieldValue::Long(39))]);
    for _ in 0..2 {
        let queues: Vec<Arc<Queue>> = bench.vhost.topology().queues.values().cloned().collect();
        assert_eq!(queues.len(), 450);
        for queue in queues {
            assert_eq!(said(&queue), Some(expected.clone()), "{:?}", queue.name());
        }
        bench.restart();
    }
}
