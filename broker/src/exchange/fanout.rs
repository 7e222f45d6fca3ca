//! Routing to everything that is bound.

use super::{Target, Targets};

/// Bindings of a fanout exchange.
#[derive(Default)]
pub struct Fanout(Targets);

impl Fanout {
    pub(super) fn bind(&mut self, target: Target) {
        self.0.add(target);
    }

    pub(super) fn unbind(&mut self, target: &Target) {
        self.0.remove(target);
    }

    pub(super) fn route<'a>(&'a self, found: &mut dyn FnMut(&'a Target)) {
        self.0.iter().for_each(found);
    }
}
