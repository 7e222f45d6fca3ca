//! `x-random`: to one destination by chance, whatever the keys (RabbitMQ's plugin `rabbitmq_random_exchange`).

use super::binding::Binding;
use super::router::{Router, Routing, Type, plain};
use super::target::Target;

/// The type.
pub static TYPE: Type = Type {
    name: "x-random",
    description: "Randomly picks a binding (queue) to route via (to).",
    router: plain::<Random>,
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
