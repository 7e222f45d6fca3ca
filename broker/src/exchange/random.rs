//! `x-random`: to one destination by chance, whatever the keys (RabbitMQ's plugin `rabbitmq_random_exchange`); and
//! `x-local-random`, which takes queues alone, without a key: on one node every queue is a local one.

use super::binding::{Binding, DestinationKind};
use super::router::{Router, Routing, Type, plain};
use super::target::Target;

/// The type.
pub static TYPE: Type = Type {
    name: "x-random",
    description: "Randomly picks a binding (queue) to route via (to).",
    router: plain::<Random>,
};

/// The type for queues alone.
pub static LOCAL: Type = Type {
    name: "x-local-random",
    description: "Picks one random local binding (queue) to route via (to).",
    router: plain::<Local>,
};

/// A destination for each binding: one that is bound twice gets twice as much.
#[derive(Default)]
struct Random(Vec<Target>);

impl Router for Random {
    fn by_key(&self) -> bool {
        false
    }

    fn bind(&mut self, _: &Binding, target: Target) {
        self.0.push(target);
    }

    fn unbind(&mut self, _: &Binding, target: &Target) {
        if let Some(at) = self.0.iter().position(|bound| bound == target) {
            self.0.swap_remove(at);
        }
    }

    fn route<'a>(&'a self, _: &Routing<'_>, found: &mut dyn FnMut(&'a Target)) {
        if self.0.is_empty() {
            return;
        }
        if let Some(target) = self.0.get(rand::random_range(0..self.0.len())) {
            found(target);
        }
    }
}

#[derive(Default)]
struct Local(Random);

impl Router for Local {
    fn by_key(&self) -> bool {
        self.0.by_key()
    }

    fn check(&self, binding: &Binding) -> Result<(), String> {
        let key = binding.routing_key.to_str_lossy();
        if !key.is_empty() {
            return Err(format!("Non empty binding '{key}' key not permitted"));
        }
        match binding.destination_kind {
            DestinationKind::Queue => Ok(()),
            DestinationKind::Exchange => Err("Destination not found".to_owned()),
        }
    }

    fn bind(&mut self, binding: &Binding, target: Target) {
        self.0.bind(binding, target);
    }

    fn unbind(&mut self, binding: &Binding, target: &Target) {
        self.0.unbind(binding, target);
    }

    fn route<'a>(&'a self, routing: &Routing<'_>, found: &mut dyn FnMut(&'a Target)) {
        self.0.route(routing, found);
    }
}
