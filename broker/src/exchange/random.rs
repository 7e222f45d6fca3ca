//! `x-random`: to one destination by chance, whatever the keys (RabbitMQ's plugin `rabbitmq_random_exchange`); and
//! `x-local-random`, which takes queues alone, without a key: on one node every queue is a local one.

use super::binding::{Binding, BindingId, DestinationKind};
use super::router::{OutOfSteps, Router, Routing, Steps, Type, any, plain};
use super::row::Row;
use super::target::Target;
use std::sync::Arc;

/// The type.
pub static TYPE: Type = Type {
    name: "x-random",
    description: "Randomly picks a binding (queue) to route via (to).",
    check: any,
    router: plain::<Random>,
};

/// The type for queues alone.
pub static LOCAL: Type = Type {
    name: "x-local-random",
    description: "Picks one random local binding (queue) to route via (to).",
    check: check_local,
    router: plain::<Random>,
};

fn check_local(binding: &Binding) -> Result<(), String> {
    let key = binding.routing_key.to_str_lossy();
    if !key.is_empty() {
        return Err(format!("Non empty binding '{key}' key not permitted"));
    }
    match binding.destination_kind {
        DestinationKind::Queue => Ok(()),
        DestinationKind::Exchange => Err("Destination not found".to_owned()),
    }
}

/// A destination for each binding: one that is bound twice gets twice as much.
#[derive(Default)]
struct Random(Row<BindingId, Target>);

impl Router for Random {
    fn by_key(&self) -> bool {
        false
    }

    fn bind(&mut self, binding: &Arc<Binding>, target: Target) {
        self.0.add(BindingId::of(binding), target);
    }

    fn unbind(&mut self, binding: &Arc<Binding>, _: &Target) {
        self.0.remove(&BindingId::of(binding));
    }

    fn route<'a>(
        &'a self,
        _: &Routing<'_>,
        _: &mut Steps,
        found: &mut dyn FnMut(&'a Target),
    ) -> Result<(), OutOfSteps> {
        if !self.0.is_empty()
            && let Some(target) = self.0.at(rand::random_range(0..self.0.len()))
        {
            found(target);
        }
        Ok(())
    }
}
