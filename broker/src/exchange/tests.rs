//! As many bindings as users may make, of every type of exchange.

use super::binding::{Binding, DestinationKind};
use super::*;
use crate::growth::is_linear;
use leveret_amqp::FieldValue;

fn exchange(kind: &'static Type) -> Exchange {
    Exchange::new(Definition {
        name: ShortString::from_static("x"),
        kind,
        durable: false,
        auto_delete: false,
        internal: false,
        arguments: RawTable::new(),
    })
    .expect("it takes no arguments")
}

/// A binding to one of many destinations, or one of many to the same.
fn binding(number: usize, one_destination: bool) -> Binding {
    let many = ShortString::truncated(&format!("n{number}"));
    let one = ShortString::from_static("one");
    let (destination, key) = if one_destination { (one, many) } else { (many, one) };
    Binding {
        source: ShortString::from_static("x"),
        destination_kind: DestinationKind::Exchange,
        destination,
        routing_key: key.clone(),
        arguments: [(key, FieldValue::Void)].into_iter().collect(),
    }
}

#[test]
fn a_binding_is_made_and_removed_in_the_same_time_however_many_there_are() {
    for (kind, one_destination) in TYPES.iter().flat_map(|kind| [(*kind, false), (*kind, true)]) {
        let make = |n| {
            let bindings: Vec<Binding> = (0..n).map(|number| binding(number, one_destination)).collect();
            (exchange(kind), bindings)
        };
        let bind_and_unbind = |(exchange, bindings): &mut (Exchange, Vec<Binding>), n| {
            for binding in bindings.iter() {
                let target = Target::Exchange(binding.destination.clone());
                assert!(exchange.bind(binding.clone(), target).is_some());
            }
            assert_eq!(exchange.bindings().len(), n);
            for binding in bindings.iter() {
                let target = Target::Exchange(binding.destination.clone());
                assert!(exchange.unbind(binding, &target));
            }
        };
        is_linear(kind.name, 2_000, make, bind_and_unbind);
    }
}

/// As many times as there are bindings, one is made while a message is on its way, and the next message sees it.
#[test]
fn a_binding_made_beside_a_message_takes_the_same_time_however_many_there_are() {
    for (kind, one_destination) in TYPES.iter().flat_map(|kind| [(*kind, false), (*kind, true)]) {
        let make = |n| {
            let bindings: Vec<Binding> = (0..n).map(|number| binding(number, one_destination)).collect();
            (exchange(kind), bindings)
        };
        let bind_and_unbind = |(exchange, bindings): &mut (Exchange, Vec<Binding>), _| {
            let table = exchange.table().clone();
            for binding in bindings.iter() {
                let target = Target::Exchange(binding.destination.clone());
                table.look(|_| assert!(exchange.bind(binding.clone(), target).is_some()));
            }
            table.look(|_| {
                for binding in bindings.iter() {
                    let target = Target::Exchange(binding.destination.clone());
                    assert!(exchange.unbind(binding, &target));
                }
            });
            assert!(exchange.bindings().is_empty());
        };
        is_linear(kind.name, 2_000, make, bind_and_unbind);
    }
}

/// The steps of a message at an exchange with so many bindings, by so many keys.
fn steps(kind: &'static Type, bindings: usize, keys: usize) -> usize {
    let mut exchange = exchange(kind);
    for number in 0..bindings {
        let binding = binding(number, number % 2 == 0);
        let target = Target::Exchange(binding.destination.clone());
        exchange.bind(binding, target);
    }
    let keys: Vec<String> = (0..keys).map(|key| format!("n{key}")).collect();
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
    let routing = Routing {
        keys: &keys,
        properties: &Properties::default(),
    };
    let mut steps = Steps::new(usize::MAX);
    let routed = exchange
        .table()
        .look(|state| state.route(&routing, &mut steps, &mut |_| {}));
    assert_eq!(routed, Ok(()));
    usize::MAX - steps.left()
}

#[test]
fn the_steps_of_a_message_grow_with_its_keys_and_with_what_is_bound() {
    for kind in TYPES {
        let (n, more_bindings, more_keys) = (steps(kind, 500, 50), steps(kind, 1000, 50), steps(kind, 500, 100));
        assert!(more_bindings <= 2 * n + 8 && more_keys <= 2 * n + 8, "{}", kind.name);
    }
}
