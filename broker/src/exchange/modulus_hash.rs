//! `x-modulus-hash`: to one of the destinations, the same one for the same keys as long as the bindings stay. Binding
//! keys count for nothing.

use super::binding::{Binding, DestinationKind};
use super::router::{Router, Routing, Type, plain};
use super::target::Target;
use leveret_amqp::ShortString;

/// The type.
pub static TYPE: Type = Type {
    name: "x-modulus-hash",
    description: "Modulus Hashing Exchange",
    router: plain::<ModulusHash>,
};

/// Kind and name of a destination.
type Name = (DestinationKind, ShortString);

/// A destination for each binding, in the order of their names: a restart changes no message's way.
#[derive(Default)]
struct ModulusHash(Vec<(Name, Target)>);

fn name(binding: &Binding) -> Name {
    (binding.destination_kind, binding.destination.clone())
}

/// FNV-1a: the same in every version and on every machine.
fn hash(keys: &[&[u8]]) -> u64 {
    let octets = keys.iter().flat_map(|key| key.iter().chain(&[0xff]));
    octets.fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Router for ModulusHash {
    fn bind(&mut self, binding: &Binding, target: Target) {
        let name = name(binding);
        let at = self.0.partition_point(|(other, _)| *other <= name);
        self.0.insert(at, (name, target));
    }

    fn unbind(&mut self, binding: &Binding, _: &Target) {
        let name = name(binding);
        if let Some(at) = self.0.iter().position(|(other, _)| *other == name) {
            self.0.remove(at);
        }
    }

    fn route<'a>(&'a self, routing: &Routing<'_>, found: &mut dyn FnMut(&'a Target)) {
        let hash = hash(routing.keys);
        let at = (hash ^ (hash >> 32)).checked_rem(self.0.len() as u64);
        if let Some((_, target)) = at.and_then(|at| self.0.get(at as usize)) {
            found(target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Properties;

    fn binding(queue: &str) -> Binding {
        Binding {
            source: ShortString::from_static("x"),
            destination_kind: DestinationKind::Exchange,
            destination: ShortString::truncated(queue),
            routing_key: ShortString::new(),
            arguments: [].into_iter().collect(),
        }
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
            exchange.route(&routing, &mut |target| {
                if let Target::Exchange(name) = target {
                    ways.push(name.to_str_lossy().into_owned());
                }
            });
        }
        ways
    }

    #[test]
    fn the_order_of_bindings_makes_no_difference_and_all_destinations_get_some() {
        let made = |names: [&str; 3]| {
            let mut exchange = ModulusHash::default();
            for name in names {
                exchange.bind(&binding(name), Target::Exchange(ShortString::truncated(name)));
            }
            exchange
        };
        assert!(ways(&ModulusHash::default()).is_empty());
        let (mut one, two) = (made(["a", "b", "c"]), made(["c", "a", "b"]));
        let expected = ways(&one);
        assert_eq!((expected.len(), ways(&two)), (300, expected.clone()));
        for name in ["a", "b", "c"] {
            let count = expected.iter().filter(|way| *way == name).count();
            assert!((60..140).contains(&count), "{name}: {count}");
        }
        let target = Target::Exchange(ShortString::from_static("b"));
        one.unbind(&binding("b"), &target);
        assert!(!ways(&one).contains(&"b".to_owned()));
    }
}
