//! A vhost with a real log, asked for everything that needs a right by users who have some of them.

use super::Vhost;
use super::ids::QueueIds;
use super::route::NoRoute;
use super::routes::RouteCache;
use super::settings::Settings;
use super::shared::Shared;
use crate::access::Actor;
use crate::access::permissions::{Names, Permissions, Right};
use crate::error::{Error, Result};
use crate::exchange::binding::{Binding, DestinationKind, Sorted};
use crate::limits::Memory;
use crate::message::Message;
use leveret_amqp::method::{ExchangeDeclare, QueueDeclare};
use leveret_amqp::{FieldTable, FieldValue, ShortString};
use leveret_store::fs::RealFs;
use leveret_store::{Options, Store};
use std::sync::Arc;
use tempfile::TempDir;

/// Many bindings, queues and keys.
mod many;

/// A message on its way, and others.
mod beside;

/// Many objects that come and go.
mod objects;

struct Bench {
    vhost: Arc<Vhost>,
    _store: Store,
    _folder: TempDir,
}

impl Bench {
    /// A vhost with a queue `q` and exchanges `x` and `y`.
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let options = Options {
            segment_bytes: 1 << 20,
            ..Options::new(folder.path())
        };
        let (store, _) = Store::open(options, Arc::new(RealFs), Box::new(|_| {}), Box::new(|_| {})).expect("a log");
        let memory = Arc::new(Memory::new(u64::MAX));
        let ids = QueueIds::recovered(None);
        let shared = Shared::new(store.handle(), memory, ids, None, Arc::default());
        let vhost = Vhost::new("/".into(), Settings::default(), &shared);
        let all = actor(&Right::ALL);
        assert!(vhost.declare_queue(&queue("q"), &all).is_ok());
        for name in ["x", "y"] {
            assert!(vhost.declare_exchange(&exchange(name), &all).is_ok());
        }
        Self {
            vhost,
            _store: store,
            _folder: folder,
        }
    }
}

/// A user with these rights.
fn actor(rights: &[Right]) -> Actor {
    let names = |right| {
        if rights.contains(&right) {
            Names::All
        } else {
            Names::None
        }
    };
    let permissions = Permissions {
        configure: names(Right::Configure),
        write: names(Right::Write),
        read: names(Right::Read),
    };
    Actor::new("someone", permissions).on(1)
}

fn queue(name: &'static str) -> QueueDeclare {
    QueueDeclare {
        queue: ShortString::from_static(name),
        ..QueueDeclare::default()
    }
}

fn exchange(name: &'static str) -> ExchangeDeclare {
    ExchangeDeclare {
        exchange: ShortString::from_static(name),
        kind: ShortString::from_static("direct"),
        ..ExchangeDeclare::default()
    }
}

fn with_alternate() -> ExchangeDeclare {
    let argument = (ShortString::from_static("alternate-exchange"), FieldValue::from("y"));
    ExchangeDeclare {
        arguments: FieldTable(vec![argument]).into(),
        ..exchange("new")
    }
}

fn binding(destination_kind: DestinationKind, destination: &'static str) -> Binding {
    Binding {
        source: ShortString::from_static("x"),
        destination_kind,
        destination: ShortString::from_static(destination),
        routing_key: ShortString::new(),
        arguments: Sorted::default(),
    }
}

fn publish(vhost: &Vhost, actor: &Actor) -> Result<()> {
    let message = Message::new(b"x", b"", b"\0\0", b"");
    match RouteCache::default().route(vhost, Some(actor), &message) {
        Ok(_) => Ok(()),
        Err(NoRoute::Refused(error)) => Err(*error),
        Err(other) => panic!("{other:?}"),
    }
}

type Operation = fn(&Vhost, &Actor) -> Result<()>;

/// Every operation that needs rights, with those that it needs (RabbitMQ's "how permissions work").
const OPERATIONS: [(&str, &[Right], Operation); 13] = [
    ("declare an exchange", &[Right::Configure], |vhost, actor| {
        vhost.declare_exchange(&exchange("new"), actor).map(drop)
    }),
    ("declare one with an alternate", &Right::ALL, |vhost, actor| {
        vhost.declare_exchange(&with_alternate(), actor).map(drop)
    }),
    ("delete an exchange", &[Right::Configure], |vhost, actor| {
        vhost
            .delete_exchange(&ShortString::from_static("x"), false, actor)
            .map(drop)
    }),
    ("declare a queue", &[Right::Configure], |vhost, actor| {
        vhost.declare_queue(&queue("new"), actor).map(drop)
    }),
    ("declare a queue that is there", &[Right::Configure], |vhost, actor| {
        vhost.declare_queue(&queue("q"), actor).map(drop)
    }),
    ("declare a queue without a name", &[Right::Configure], |vhost, actor| {
        vhost.declare_queue(&queue(""), actor).map(drop)
    }),
    ("delete a queue", &[Right::Configure], |vhost, actor| {
        let name = ShortString::from_static("q");
        vhost.delete_queue(&name, false, false, actor).map(drop)
    }),
    ("bind a queue", &[Right::Write, Right::Read], |vhost, actor| {
        vhost.bind(binding(DestinationKind::Queue, "q"), actor).map(drop)
    }),
    ("unbind a queue", &[Right::Write, Right::Read], |vhost, actor| {
        vhost.unbind(&binding(DestinationKind::Queue, "q"), actor).map(drop)
    }),
    ("bind an exchange", &[Right::Write, Right::Read], |vhost, actor| {
        vhost.bind(binding(DestinationKind::Exchange, "y"), actor).map(drop)
    }),
    ("unbind an exchange", &[Right::Write, Right::Read], |vhost, actor| {
        vhost.unbind(&binding(DestinationKind::Exchange, "y"), actor).map(drop)
    }),
    ("consume, get or purge", &[Right::Read], |vhost, actor| {
        vhost.queue(&ShortString::from_static("q"), actor).map(drop)
    }),
    ("publish", &[Right::Write], publish),
];

#[test]
fn every_operation_asks_for_its_rights_and_no_other() {
    for (what, needed, operation) in OPERATIONS {
        let allowed = operation(&Bench::new().vhost, &actor(needed));
        assert!(allowed.is_ok(), "{what} with {needed:?}: {allowed:?}");
        for missing in needed {
            let others: Vec<Right> = Right::ALL.into_iter().filter(|right| right != missing).collect();
            let refused = operation(&Bench::new().vhost, &actor(&others));
            let right = missing.name();
            assert!(
                matches!(&refused, Err(Error::AccessRefused(text)) if text.starts_with(right)),
                "{what} without {right}: {refused:?}"
            );
        }
    }
}

#[test]
fn any_right_is_enough_to_ask_whether_something_is_there() {
    let bench = Bench::new();
    let (passive, ask) = (
        QueueDeclare {
            passive: true,
            ..queue("q")
        },
        ExchangeDeclare {
            passive: true,
            ..exchange("x")
        },
    );
    for right in Right::ALL {
        assert!(bench.vhost.declare_queue(&passive, &actor(&[right])).is_ok());
        assert!(bench.vhost.declare_exchange(&ask, &actor(&[right])).is_ok());
    }
    assert!(bench.vhost.declare_queue(&passive, &actor(&[])).is_err());
    assert!(bench.vhost.declare_exchange(&ask, &actor(&[])).is_err());
}

/// A subscriber has a right to its exchange, and to no queue: the one that it gets is made for it, and is its own.
#[test]
fn the_queue_of_a_subscriber_needs_no_right_and_belongs_to_it() {
    let Bench { vhost, .. } = &Bench::new();
    let (reader, other) = (actor(&[Right::Read]), actor(&Right::ALL).on(2));
    let queue = vhost.declare_subscriber_queue(&reader, 3).expect("a queue");
    assert_eq!(queue.definition.owner, Some(1));
    let binding = |key| Binding {
        source: ShortString::from_static("x"),
        destination_kind: DestinationKind::Queue,
        destination: queue.name().clone(),
        routing_key: ShortString::from_static(key),
        arguments: Sorted::default(),
    };
    assert!(vhost.bind(binding("a"), &reader).is_ok());
    assert!(matches!(vhost.bind(binding("b"), &other), Err(Error::Locked { .. })));
    assert!(vhost.unbind(&binding("a"), &reader).is_ok());
    assert!(vhost.bind(binding("a"), &actor(&[Right::Write])).is_err());
}
