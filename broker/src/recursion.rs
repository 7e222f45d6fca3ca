//! Recursion over what users make: none whose depth they choose.
//!
//! Comes in: the longest chains and deepest nests that there may be. Goes out: nothing; a function that calls itself
//! for each link would end the process, on a stack an eighth of what a worker has.

use crate::access::Actor;
use crate::access::permissions::Permissions;
use crate::admin::json::Columns;
use crate::exchange::binding::{Binding, DestinationKind, Sorted};
use crate::limits::Memory;
use crate::message::Message;
use crate::pattern::Pattern;
use crate::vhost::Vhost;
use crate::vhost::ids::QueueIds;
use crate::vhost::route::NoRoute;
use crate::vhost::settings::Settings;
use crate::vhost::shared::Shared;
use leveret_amqp::method::{ExchangeDeclare, QueueDeclare};
use leveret_amqp::{FieldTable, FieldValue, ShortString};
use leveret_store::fs::RealFs;
use leveret_store::{Options, Store};
use std::sync::Arc;

const STACK: usize = 256 << 10;
/// Half of what a worker has, for the engine of patterns: its depth is bounded, but unoptimized it takes much for each.
const ENGINE_STACK: usize = 1 << 20;
/// Links of a chain.
const LONG: usize = 100_000;

/// Runs `work` on a thread with a small stack.
fn on_a_stack_of(bytes: usize, work: fn()) {
    let thread = std::thread::Builder::new().stack_size(bytes).spawn(work);
    assert!(thread.expect("a thread").join().is_ok());
}

fn name(number: usize) -> ShortString {
    ShortString::truncated(&number.to_string())
}

fn actor() -> Actor {
    Actor::new("someone", Permissions::ALL).on(1)
}

/// A chain of auto-delete exchanges, each bound to the next by `next`, and for other keys each the alternate of the one
/// before; a queue is bound to the last by both.
fn chain(vhost: &Vhost) {
    let actor = actor();
    for number in 0..LONG {
        let alternate = FieldValue::LongString(name(number + 1).into_bytes());
        let declare = ExchangeDeclare {
            exchange: name(number),
            kind: ShortString::from_static("topic"),
            auto_delete: true,
            arguments: FieldTable(vec![(ShortString::from_static("alternate-exchange"), alternate)]).into(),
            ..ExchangeDeclare::default()
        };
        assert!(vhost.declare_exchange(&declare, &actor).is_ok());
    }
    let declare = QueueDeclare {
        queue: ShortString::from_static("q"),
        ..QueueDeclare::default()
    };
    assert!(vhost.declare_queue(&declare, &actor).is_ok());
    for number in 0..LONG {
        let last = number + 1 == LONG;
        let keys: &[&str] = if last { &["next", "other"] } else { &["next"] };
        for key in keys {
            let binding = Binding {
                source: name(number),
                destination_kind: if last {
                    DestinationKind::Queue
                } else {
                    DestinationKind::Exchange
                },
                destination: if last {
                    ShortString::from_static("q")
                } else {
                    name(number + 1)
                },
                routing_key: ShortString::from_static(key),
                arguments: Sorted::default(),
            };
            assert!(vhost.bind(binding, &actor).is_ok());
        }
    }
}

#[test]
fn chains_of_exchanges_are_passed_and_ended_in_a_loop() {
    on_a_stack_of(STACK, || {
        let folder = tempfile::tempdir().expect("a folder");
        let opened = Store::open(
            Options::new(folder.path()),
            Arc::new(RealFs),
            Box::new(|_| {}),
            Box::new(|_| {}),
        );
        let (store, _) = opened.expect("a log");
        let (memory, ids) = (Arc::new(Memory::new(u64::MAX)), QueueIds::recovered(None));
        let shared = Shared::new(store.handle(), memory, ids, None, Arc::default());
        let vhost = Vhost::new("/".into(), Settings::default(), &shared);
        let before = vhost.topology().exchanges.len();
        chain(&vhost);
        for key in ["next", "other"] {
            let message = Message::new(b"0", key.as_bytes(), b"\0\0", b"");
            match vhost.route(&message, Some(&actor())) {
                Ok(route) => assert_eq!(route.queues.len(), 1, "{key}"),
                Err(NoRoute::Refused(error)) => panic!("{error}"),
                Err(other) => panic!("{other:?}"),
            }
        }
        let queue = ShortString::from_static("q");
        assert!(vhost.delete_queue(&queue, false, false, &actor()).is_ok());
        assert_eq!(
            vhost.topology().exchanges.len(),
            before,
            "each has gone with its last binding"
        );
        assert!(vhost.topology().incoming.is_empty());
    });
}

#[test]
fn deep_paths_and_tables_need_no_deep_stack() {
    on_a_stack_of(STACK, || {
        assert!(Columns::parse(&vec!["a"; LONG].join(".")).is_err());
        let many: Vec<String> = (0..LONG).map(|column| format!("a.b.c.{column}")).collect();
        drop(Columns::parse(&many.join(",")).expect("none is deep"));
        // As deep as the codec reads: read, written, compared, shown and dropped.
        let mut nested = FieldTable::new();
        for _ in 1..leveret_amqp::field::MAX_DEPTH {
            let inner = FieldValue::Array(vec![FieldValue::Table(nested)]);
            nested = FieldTable(vec![(ShortString::from_static("a"), inner)]);
            let mut octets = Vec::new();
            nested.encode(&mut octets);
            if FieldTable::parse(&octets).is_err() {
                break;
            }
        }
        let value = FieldValue::Table(nested);
        assert!(crate::erlang::equal(&value, &value) && !crate::erlang::term(&value).is_empty());
        assert!(!crate::erlang::plain(&value).is_empty());
    });
}

#[test]
fn a_pattern_as_deep_as_may_be_is_compiled() {
    on_a_stack_of(ENGINE_STACK, || {
        let nested = |open: &str, levels| open.repeat(levels) + "a" + &")".repeat(levels);
        for deep in [
            nested("(", 16),
            nested("(?:a|", 16),
            nested("(?=", 16),
            nested("(?<!", 16),
            nested("((?:", 500),
            "a?".repeat(500),
            "[".repeat(1_000),
        ] {
            let pattern = Pattern::parse(&deep);
            let _ = pattern.map(|pattern| pattern.matches(&[b'a'; 255]));
        }
    });
}
