//! A topic exchange with patterns that all have a wildcard, and a key for each of them.

use leveret_amqp::{RawTable, ShortString};
use leveret_broker::exchange::binding::{Binding, DestinationKind, Sorted};
use leveret_broker::exchange::{Definition, Exchange, Properties, Routing, Steps, Target, topic};

/// The exchange, with so many bindings to as many destinations.
pub(crate) fn exchange(patterns: usize) -> Exchange {
    let mut exchange = Exchange::new(Definition {
        name: ShortString::from_static("topics"),
        kind: &topic::TYPE,
        durable: false,
        auto_delete: false,
        internal: false,
        arguments: RawTable::new(),
    })
    .expect("a topic exchange takes any arguments");
    for number in 0..patterns {
        let name = ShortString::truncated(&format!("to-{number}"));
        let binding = Binding {
            source: ShortString::from_static("topics"),
            destination: name.clone(),
            destination_kind: DestinationKind::Exchange,
            routing_key: ShortString::truncated(&pattern(number)),
            arguments: Sorted::default(),
        };
        assert!(exchange.bind(binding, Target::Exchange(name)).is_some());
    }
    exchange
}

fn pattern(number: usize) -> String {
    let (a, b) = (number % 100, number / 100);
    match number % 4 {
        0 => format!("s{a}.*.k{b}"),
        1 => format!("s{a}.k{b}.#"),
        2 => format!("*.s{a}.k{b}"),
        _ => format!("s{a}.#.k{b}"),
    }
}

/// A key for each pattern.
pub(crate) fn keys(patterns: usize) -> Vec<String> {
    let key = |number: usize| {
        let (a, b) = (number % 100, number / 100);
        match number % 4 {
            0 => format!("s{a}.any.k{b}"),
            1 => format!("s{a}.k{b}.more.words"),
            2 => format!("any.s{a}.k{b}"),
            _ => format!("s{a}.two.words.k{b}"),
        }
    };
    (0..patterns).map(key).collect()
}

/// Destinations of a message with this key.
pub(crate) fn matches(exchange: &Exchange, key: &str) -> usize {
    let mut found = 0;
    let properties = Properties::default();
    let routing = Routing {
        keys: &[key.as_bytes()],
        properties: &properties,
    };
    let mut steps = Steps::new(usize::MAX);
    let routed = exchange
        .table()
        .look(|state| state.route(&routing, &mut steps, &mut |_| found += 1));
    assert!(routed.is_ok());
    found
}
