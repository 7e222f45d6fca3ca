//! `direct`: by equal key.

use super::binding::Binding;
use super::router::{OutOfSteps, Router, Routing, Steps, Type, any, plain};
use super::target::{Target, Targets};
use leveret_amqp::ShortString;
use std::collections::HashMap;
use std::sync::Arc;

/// The type.
pub static TYPE: Type = Type {
    name: "direct",
    description: "AMQP direct exchange, as per the AMQP specification",
    check: any,
    router: plain::<Direct>,
};

/// Destinations by key.
#[derive(Default)]
struct Direct(HashMap<ShortString, Targets>);

impl Router for Direct {
    fn bind(&mut self, binding: &Arc<Binding>, target: Target) {
        self.0.entry(binding.routing_key.clone()).or_default().add(target);
    }

    fn unbind(&mut self, binding: &Arc<Binding>, target: &Target) {
        let key = &binding.routing_key;
        let Some(targets) = self.0.get_mut(key) else { return };
        targets.remove(target);
        if targets.is_empty() {
            self.0.remove(key);
        }
    }

    fn route<'a>(
        &'a self,
        routing: &Routing<'_>,
        steps: &mut Steps,
        found: &mut dyn FnMut(&'a Target),
    ) -> Result<(), OutOfSteps> {
        for &key in routing.keys {
            steps.take(1)?;
            if let Some(targets) = self.0.get(key) {
                steps.take(targets.len())?;
                targets.iter().for_each(&mut *found);
            }
        }
        Ok(())
    }
}
