//! As many objects as users may make: each comes and goes in the same time, whatever else there is.

use super::{Bench, actor, exchange, queue};
use crate::access::permissions::Right;
use crate::exchange::binding::{Binding, DestinationKind, Sorted};
use crate::growth::is_linear;
use leveret_amqp::ShortString;
use leveret_amqp::method::{ExchangeDeclare, QueueDeclare};

fn name(kind: &str, number: usize) -> ShortString {
    ShortString::truncated(&format!("{kind}{number}"))
}

/// So many auto-delete exchanges, each bound to the next.
fn chain(n: usize) -> Bench {
    let (bench, all) = (Bench::new(), actor(&Right::ALL));
    for number in 0..=n {
        let declare = ExchangeDeclare {
            exchange: name("c", number),
            auto_delete: true,
            ..exchange("c")
        };
        assert!(bench.vhost.declare_exchange(&declare, &all).is_ok());
    }
    for number in 0..n {
        let binding = Binding {
            source: name("c", number),
            destination_kind: DestinationKind::Exchange,
            destination: name("c", number + 1),
            routing_key: ShortString::new(),
            arguments: Sorted::default(),
        };
        assert!(bench.vhost.bind(binding, &all).is_ok());
    }
    bench
}

#[test]
fn queues_come_are_found_and_go_in_the_same_time_each() {
    let come_and_go = |bench: &mut Bench, n: usize| {
        let all = actor(&Right::ALL);
        for number in 0..n {
            let declare = QueueDeclare {
                queue: name("n", number),
                ..queue("n")
            };
            assert!(bench.vhost.declare_queue(&declare, &all).is_ok());
            assert!(bench.vhost.declare_queue(&declare, &all).is_ok(), "again");
        }
        for number in 0..n {
            let name = name("n", number);
            assert!(bench.vhost.delete_queue(&name, false, false, &all).is_ok());
        }
        assert_eq!(bench.vhost.topology().queues.len(), 1);
    };
    is_linear("queues", 1_000, |_| Bench::new(), come_and_go);
}

#[test]
fn an_exchange_goes_with_its_bindings_in_the_same_time_each() {
    let make = |n: usize| {
        let (bench, all) = (Bench::new(), actor(&Right::ALL));
        for number in 0..n {
            let binding = Binding {
                source: ShortString::from_static("x"),
                destination_kind: DestinationKind::Queue,
                destination: ShortString::from_static("q"),
                routing_key: name("k", number),
                arguments: Sorted::default(),
            };
            assert!(bench.vhost.bind(binding, &all).is_ok());
        }
        bench
    };
    let delete = |bench: &mut Bench, _| {
        let x = ShortString::from_static("x");
        assert!(bench.vhost.delete_exchange(&x, false, &actor(&Right::ALL)).is_ok());
        assert!(bench.vhost.topology().incoming.is_empty());
    };
    is_linear("bindings of an exchange", 1_000, make, delete);
}

#[test]
fn a_chain_of_exchanges_goes_in_the_same_time_each() {
    let delete = |bench: &mut Bench, n: usize| {
        let before = bench.vhost.topology().exchanges.len();
        let last = name("c", n);
        assert!(bench.vhost.delete_exchange(&last, false, &actor(&Right::ALL)).is_ok());
        assert_eq!(bench.vhost.topology().exchanges.len(), before - n - 1);
    };
    is_linear("a chain", 1_000, chain, delete);
}
