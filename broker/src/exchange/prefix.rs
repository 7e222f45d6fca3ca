//! `x-prefix`: by the beginning of the key, as ZeroMQ's subscriptions mean it. A binding key is octets, without words
//! or wildcards; an empty one is for every message.
//!
//! The prefixes of a message's key are looked up one by one, of those lengths alone that some binding key has: the cost
//! of a message grows with the length of its key, not with the number of bindings.

use super::binding::Binding;
use super::router::{OutOfSteps, Router, Routing, Steps, Type, any, plain};
use super::target::{Target, Targets};
use leveret_amqp::ShortString;
use std::collections::HashMap;
use std::sync::Arc;

/// The type.
pub static TYPE: Type = Type {
    name: "x-prefix",
    description: "Prefixes of the routing key, as in subscriptions of ZeroMQ",
    check: any,
    router: plain::<Prefix>,
};

/// Destinations by prefix.
#[derive(Default)]
struct Prefix {
    targets: HashMap<ShortString, Targets, foldhash::fast::RandomState>,
    /// The lengths that prefixes have, ascending: at most 256.
    lengths: Vec<Length>,
}

/// A length that some prefixes have.
struct Length {
    octets: usize,
    prefixes: usize,
}

impl Prefix {
    /// The place of a length among the others.
    ///
    /// # Errors
    /// No prefix has it: the place where it belongs.
    fn place(&self, octets: usize) -> Result<usize, usize> {
        self.lengths.binary_search_by_key(&octets, |length| length.octets)
    }

    fn add(&mut self, prefix: &ShortString, target: Target) {
        if let Some(targets) = self.targets.get_mut(prefix) {
            return targets.add(target);
        }
        self.targets.entry(prefix.clone()).or_default().add(target);
        let octets = prefix.len();
        match self.place(octets) {
            Err(place) => self.lengths.insert(place, Length { octets, prefixes: 1 }),
            Ok(place) => {
                if let Some(length) = self.lengths.get_mut(place) {
                    length.prefixes += 1;
                }
            }
        }
    }

    fn remove(&mut self, prefix: &ShortString, target: &Target) {
        let Some(targets) = self.targets.get_mut(prefix) else {
            return;
        };
        targets.remove(target);
        if !targets.is_empty() {
            return;
        }
        self.targets.remove(prefix);
        if let Ok(place) = self.place(prefix.len())
            && let Some(length) = self.lengths.get_mut(place)
        {
            length.prefixes -= 1;
            if length.prefixes == 0 {
                self.lengths.remove(place);
            }
        }
    }

    fn find<'a>(&'a self, key: &[u8], steps: &mut Steps, found: &mut dyn FnMut(&'a Target)) -> Result<(), OutOfSteps> {
        steps.take(1 + self.lengths.len())?;
        for length in &self.lengths {
            let Some(prefix) = key.get(..length.octets) else { break };
            if let Some(targets) = self.targets.get(prefix) {
                steps.take(targets.len())?;
                targets.iter().for_each(&mut *found);
            }
        }
        Ok(())
    }
}

impl Router for Prefix {
    fn bind(&mut self, binding: &Arc<Binding>, target: Target) {
        self.add(&binding.routing_key, target);
    }

    fn unbind(&mut self, binding: &Arc<Binding>, target: &Target) {
        self.remove(&binding.routing_key, target);
    }

    fn route<'a>(
        &'a self,
        routing: &Routing<'_>,
        steps: &mut Steps,
        found: &mut dyn FnMut(&'a Target),
    ) -> Result<(), OutOfSteps> {
        for key in routing.keys {
            self.find(key, steps, found)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert, prop_assert_eq, proptest};

    fn short(bytes: &[u8]) -> ShortString {
        ShortString::try_from(bytes).expect("short")
    }

    fn found(prefix: &Prefix, key: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let routed = prefix.find(key, &mut Steps::new(usize::MAX), &mut |target| {
            if let Target::Exchange(name) = target {
                found.push(name.as_bytes().to_vec());
            }
        });
        assert_eq!(routed, Ok(()));
        found.sort();
        found
    }

    #[test]
    fn a_message_takes_as_many_steps_as_there_are_lengths_and_what_it_finds() {
        let mut prefix = Prefix::default();
        for number in 10_000..30_000 {
            prefix.add(
                &short(format!("stock.{number}").as_bytes()),
                Target::Exchange(short(b"x")),
            );
        }
        prefix.add(&short(b""), Target::Exchange(short(b"all")));
        prefix.add(&short(&[b'z'; 255]), Target::Exchange(short(b"long")));
        let mut steps = Steps::new(100);
        assert_eq!(prefix.find(b"stock.12345.bid", &mut steps, &mut |_| {}), Ok(()));
        // The key, three lengths, and two destinations.
        assert_eq!(steps.left(), 94);
        let mut few = Steps::new(5);
        assert_eq!(prefix.find(b"stock.12345", &mut few, &mut |_| {}), Err(OutOfSteps));
    }

    proptest! {
        #[test]
        fn a_key_finds_what_it_begins_with(
            mut prefixes in proptest::collection::vec(proptest::collection::vec(0..3_u8, 0..6), 1..40),
            keys in proptest::collection::vec(proptest::collection::vec(0..3_u8, 0..8), 1..12),
            removed in 0..1000_usize,
        ) {
            let mut prefix = Prefix::default();
            // Each target stands once, however many bindings lead to it.
            for bytes in &prefixes {
                prefix.add(&short(bytes), Target::Exchange(short(bytes)));
            }
            let gone = prefixes.remove(removed % prefixes.len());
            prefix.remove(&short(&gone), &Target::Exchange(short(&gone)));
            let mut distinct = prefixes.clone();
            distinct.sort();
            distinct.dedup();
            for key in &keys {
                let expected: Vec<_> = distinct.iter().filter(|bytes| key.starts_with(bytes)).cloned().collect();
                prop_assert_eq!(found(&prefix, key), expected, "key {:?}", key);
            }
            for bytes in &prefixes {
                prefix.remove(&short(bytes), &Target::Exchange(short(bytes)));
            }
            prop_assert!(prefix.targets.is_empty() && prefix.lengths.is_empty(), "nothing is left");
        }
    }
}
