//! `fanout`: to everything that is bound.

use super::binding::Binding;
use super::router::{OutOfSteps, Router, Routing, Steps, Type, any, plain};
use super::target::{Target, Targets};
use std::sync::Arc;

/// The type.
pub static TYPE: Type = Type {
    name: "fanout",
    description: "AMQP fanout exchange, as per the AMQP specification",
    check: any,
    router: plain::<Fanout>,
};

/// All destinations.
#[derive(Default)]
struct Fanout(Targets);

impl Router for Fanout {
    fn bind(&mut self, _: &Arc<Binding>, target: Target) {
        self.0.add(target);
    }

    fn unbind(&mut self, _: &Arc<Binding>, target: &Target) {
        self.0.remove(target);
    }

    fn route<'a>(
        &'a self,
        _: &Routing<'_>,
        steps: &mut Steps,
        found: &mut dyn FnMut(&'a Target),
    ) -> Result<(), OutOfSteps> {
        steps.take(self.0.len())?;
        self.0.iter().for_each(found);
        Ok(())
    }
}
