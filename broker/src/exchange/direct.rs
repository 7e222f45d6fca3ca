//! `direct`: by equal key.

use super::binding::Binding;
use super::router::{Router, Routing, Type, plain};
use super::target::{Target, Targets};
use leveret_amqp::ShortString;
use std::collections::HashMap;

/// The type.
pub static TYPE: Type = Type {
    name: "direct",
    description: "AMQP direct exchange, as per the AMQP specification",
    router: plain::<Direct>,
};

/// Destinations by key.
#[derive(Default)]
struct Direct(HashMap<ShortString, Targets>);

impl Router for Direct {
    fn bind(&mut self, binding: &Binding, target: Target) {
        self.0.entry(binding.routing_key.clone()).or_default().add(target);
    }

    fn unbind(&mut self, binding: &Binding, target: &Target) {
        let key = &binding.routing_key;
        let Some(targets) = self.0.get_mut(key) else { return };
        targets.remove(target);
        if targets.is_empty() {
            self.0.remove(key);
        }
    }

    fn route<'a>(&'a self, routing: &Routing<'_>, found: &mut dyn FnMut(&'a Target)) {
        for &key in routing.keys {
            self.0
                .get(key)
                .into_iter()
                .flat_map(Targets::iter)
                .for_each(&mut *found);
        }
    }
}
