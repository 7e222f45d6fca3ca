//! Patterns and keys of a topic exchange: the trie finds what the definition of a match finds, each pattern once,
//! before and after one of them is unbound, and in no more steps than it has nodes times words.
#![no_main]

use leveret_amqp::{FieldTable, ShortString};
use leveret_broker::exchange::binding::{Binding, DestinationKind, Sorted};
use leveret_broker::exchange::{Definition, Exchange, Properties, Routing, Steps, Target, topic};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;

/// Words of patterns and keys; the last octet of three bits ends one.
const WORDS: [&str; 7] = ["a", "b", "", "*", "#", "ab", "c"];
/// Words in a pattern or key, and patterns and keys, at most.
const LONG: usize = 10;
const MANY: usize = 12;

/// Octets to dotted keys, several words long.
fn keys(octets: &[u8]) -> Vec<String> {
    octets
        .split(|octet| octet % 8 == 7)
        .map(|key| {
            let words: Vec<&str> = key.iter().take(LONG).map(|octet| WORDS[usize::from(octet % 8)]).collect();
            words.join(".")
        })
        .take(2 * MANY)
        .collect()
}

fn words(key: &str) -> Vec<&str> {
    if key.is_empty() { Vec::new() } else { key.split('.').collect() }
}

/// The definition of a match, word by word.
fn matches(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, None) => true,
        (Some((&"#", rest)), _) => {
            matches(rest, key) || key.split_first().is_some_and(|(_, key)| matches(pattern, key))
        }
        (Some((&"*", rest)), Some((_, key))) => matches(rest, key),
        (Some((word, rest)), Some((first, key))) => word == first && matches(rest, key),
        _ => false,
    }
}

fn binding(pattern: &str) -> (Binding, Target) {
    let name = ShortString::truncated(pattern);
    let binding = Binding {
        source: ShortString::from_static("x"),
        destination_kind: DestinationKind::Exchange,
        destination: name.clone(),
        routing_key: name.clone(),
        arguments: Sorted::default(),
    };
    (binding, Target::Exchange(name))
}

fn compare(exchange: &Exchange, patterns: &BTreeSet<String>, nodes: usize, key: &str) {
    let mut found = Vec::new();
    let properties = Properties::default();
    let routing = Routing {
        keys: &[key.as_bytes()],
        properties: &properties,
    };
    let most = nodes * (words(key).len() + 1) + patterns.len();
    let mut note = |target: &Target| {
        if let Target::Exchange(name) = target {
            found.push(name.to_str_lossy().into_owned());
        }
    };
    let routed = exchange
        .table()
        .look(|state| state.route(&routing, &mut Steps::new(most), &mut note));
    assert_eq!(routed, Ok(()), "{key} in {most} steps");
    found.sort();
    let key = words(key);
    let expected: Vec<_> = patterns.iter().filter(|pattern| matches(&words(pattern), &key)).collect();
    assert!(found.iter().eq(expected), "{found:?}");
}

fuzz_target!(|octets: &[u8]| {
    let (first, second) = octets.split_at(octets.len() / 2);
    let mut patterns: BTreeSet<String> = keys(first).into_iter().collect();
    let keys = keys(second);
    let mut exchange = Exchange::new(Definition {
        name: ShortString::from_static("x"),
        kind: &topic::TYPE,
        durable: false,
        auto_delete: false,
        internal: false,
        arguments: FieldTable::new().into(),
    })
    .expect("a topic exchange takes any arguments");
    let nodes = 1 + patterns.iter().map(|pattern| words(pattern).len()).sum::<usize>();
    for pattern in &patterns {
        let (binding, target) = binding(pattern);
        assert!(exchange.bind(binding, target).is_some());
    }
    keys.iter().for_each(|key| compare(&exchange, &patterns, nodes, key));
    if let Some(gone) = patterns.pop_first() {
        let (binding, target) = binding(&gone);
        assert!(exchange.unbind(&binding, &target));
    }
    keys.iter().for_each(|key| compare(&exchange, &patterns, nodes, key));
});
