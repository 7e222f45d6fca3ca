//! `x-modulus-hash`: to one of the destinations, the same one for the same keys as long as the bindings stay. Binding
//! keys count for nothing.

use super::binding::{Binding, BindingId, DestinationKind};
use super::router::{OutOfSteps, Router, Routing, Steps, Type, any, plain};
use super::sorted::Sorted;
use super::target::Target;
use leveret_amqp::ShortString;
use std::sync::Arc;

/// The type.
pub static TYPE: Type = Type {
    name: "x-modulus-hash",
    description: "Modulus Hashing Exchange",
    check: any,
    router: plain::<ModulusHash>,
};

/// Kind and name of a destination. One that is bound twice gets twice as much.
type Name = (DestinationKind, ShortString, BindingId);

/// A destination for each binding, in the order of their names: a restart changes no message's way.
#[derive(Default)]
struct ModulusHash(Sorted<Name, Target>);

fn name(binding: &Arc<Binding>) -> Name {
    let id = BindingId::of(binding);
    (binding.destination_kind, binding.destination.clone(), id)
}

/// FNV-1a: the same in every version and on every machine.
fn hash(keys: &[&[u8]]) -> u64 {
    let octets = keys.iter().flat_map(|key| key.iter().chain(&[0xff]));
    octets.fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Router for ModulusHash {
    fn bind(&mut self, binding: &Arc<Binding>, target: Target) {
        self.0.add(name(binding), target);
    }

    fn unbind(&mut self, binding: &Arc<Binding>, _: &Target) {
        self.0.remove(&name(binding));
    }

    fn route<'a>(
        &'a self,
        routing: &Routing<'_>,
        steps: &mut Steps,
        found: &mut dyn FnMut(&'a Target),
    ) -> Result<(), OutOfSteps> {
        steps.take(routing.keys.len() + self.0.pieces())?;
        let hash = hash(routing.keys);
        let at = (hash ^ (hash >> 32)).checked_rem(self.0.len() as u64);
        if let Some(target) = at.and_then(|at| self.0.at(at as usize)) {
            found(target);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Properties;

    fn binding(queue: &str) -> Arc<Binding> {
        Arc::new(Binding {
            source: ShortString::from_static("x"),
            destination_kind: DestinationKind::Exchange,
            destination: ShortString::truncated(queue),
            routing_key: ShortString::new(),
            arguments: [].into_iter().collect(),
        })
    }

    fn ways(exchange: &ModulusHash) -> Vec<String> {
        let properties = Properties::default();
        let mut ways = Vec::new();
        for number in 0..300_u32 {
            let keys: [&[u8]; 1] = [&number.to_be_bytes()];
            let routing = Routing {
                keys: &keys,
                properties: &properties,
            };
            let routed = exchange.route(&routing, &mut Steps::new(3), &mut |target| {
                if let Target::Exchange(name) = target {
                    ways.push(name.to_str_lossy().into_owned());
                }
            });
            assert_eq!(routed, Ok(()));
        }
        ways
    }

    #[test]
    fn the_order_of_bindings_makes_no_difference_and_all_destinations_get_some() {
        let bindings = ["a", "b", "c"].map(binding);
        let made = |order: [usize; 3]| {
            let mut exchange = ModulusHash::default();
            for binding in order.map(|at| &bindings[at]) {
                exchange.bind(binding, Target::Exchange(binding.destination.clone()));
            }
            exchange
        };
        assert!(ways(&ModulusHash::default()).is_empty());
        let (mut one, two) = (made([0, 1, 2]), made([2, 0, 1]));
        let expected = ways(&one);
        assert_eq!((expected.len(), ways(&two)), (300, expected.clone()));
        for name in ["a", "b", "c"] {
            let count = expected.iter().filter(|way| *way == name).count();
            assert!((60..140).contains(&count), "{name}: {count}");
        }
        let target = Target::Exchange(ShortString::from_static("b"));
        one.unbind(&bindings[1], &target);
        assert!(!ways(&one).contains(&"b".to_owned()));
    }
}
