//! Routing by equal key.

use super::{Target, Targets};
use leveret_amqp::ShortString;
use std::collections::HashMap;

/// Bindings of a direct exchange.
#[derive(Default)]
pub struct Direct(HashMap<ShortString, Targets>);

impl Direct {
    pub(super) fn bind(&mut self, key: &[u8], target: Target) {
        if let Ok(key) = ShortString::try_from(key) {
            self.0.entry(key).or_default().add(target);
        }
    }

    pub(super) fn unbind(&mut self, key: &[u8], target: &Target) {
        let Some(targets) = self.0.get_mut(key) else { return };
        targets.remove(target);
        if targets.is_empty() {
            self.0.remove(key);
        }
    }

    pub(super) fn route<'a>(&'a self, key: &[u8], found: &mut dyn FnMut(&'a Target)) {
        self.0.get(key).into_iter().flat_map(Targets::iter).for_each(found);
    }
}
