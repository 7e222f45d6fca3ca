//! The routing table of an exchange: messages' ways are looked up in it without the topology's lock, by as many at a
//! time as there are.
//!
//! Comes in: changes, one at a time, from whoever has the topology locked; look-ups from anywhere. Goes out: one state
//! of the exchange for the whole of a look-up. Does not know about vhosts or messages.
//!
//! A change waits for nobody. One that comes during a look-up is kept, and made by whoever comes next: the next look-up
//! sees it in any case. So a look-up that takes long holds up the next ones in its exchange, once the exchange has
//! changed, and nothing else. Copies for look-ups would hold up not even those, but each binding would take more
//! memory, and each message a longer way through it.

use super::binding::Binding;
use super::router::{OutOfSteps, Router, Routing, Steps};
use super::target::Target;
use leveret_amqp::ShortString;
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The routing table of one exchange.
pub struct RoutingTable {
    by_key: bool,
    is_default: bool,
    state: RwLock<State>,
    /// Changes that came during a look-up, in their order.
    late: Mutex<Vec<Change>>,
    /// True while there are some.
    behind: AtomicBool,
}

/// The state of an exchange, as far as messages are concerned.
pub struct State {
    router: Box<dyn Router>,
    alternate: Option<ShortString>,
}

/// A change of an exchange that concerns messages.
pub(super) enum Change {
    /// A binding that is new.
    Bind(Arc<Binding>, Target),
    /// The very binding that was added.
    Unbind(Arc<Binding>, Target),
    /// Another alternate exchange, or none.
    Alternate(Option<ShortString>),
}

impl RoutingTable {
    /// A table without bindings.
    pub(super) fn new(router: Box<dyn Router>, alternate: Option<ShortString>, is_default: bool) -> Self {
        Self {
            by_key: router.by_key(),
            is_default,
            state: RwLock::new(State { router, alternate }),
            late: Mutex::default(),
            behind: AtomicBool::new(false),
        }
    }

    /// True if messages with the same key always go the same way.
    pub fn by_key(&self) -> bool {
        self.by_key
    }

    /// True for the default exchange: every queue is bound to it by its name, and the table has nothing of that.
    pub fn is_default(&self) -> bool {
        self.is_default
    }

    /// Makes a change, or has the next who comes make it if a look-up is under way. Never waits for a look-up. Call it
    /// from one thread at a time.
    pub(super) fn change(&self, change: Change) {
        if let Some(mut state) = self.state.try_write() {
            self.catch_up(&mut state);
            state.make(change);
            return;
        }
        self.late.lock().push(change);
        self.behind.store(true, Ordering::SeqCst);
        // The look-up may have ended meanwhile, without having seen that there is something to do.
        self.catch_up_if_idle();
    }

    /// Looks something up in one state: no change is made until `look` returns. Don't call it with the topology locked,
    /// nor within another look-up.
    pub fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        let state = match self.behind.load(Ordering::Acquire) {
            false => self.state.read(),
            true => self.caught_up(),
        };
        let found = look(&state);
        drop(state);
        if self.behind.load(Ordering::SeqCst) {
            self.catch_up_if_idle();
        }
        found
    }

    /// The state after all changes that have come, when the look-ups that are under way have ended.
    #[cold]
    fn caught_up(&self) -> RwLockReadGuard<'_, State> {
        let mut state = self.state.write();
        self.catch_up(&mut state);
        RwLockWriteGuard::downgrade(state)
    }

    #[cold]
    fn catch_up_if_idle(&self) {
        if let Some(mut state) = self.state.try_write() {
            self.catch_up(&mut state);
        }
    }

    /// Makes the changes that came late. They may be many: whoever comes with another one doesn't wait for it.
    fn catch_up(&self, state: &mut State) {
        if !self.behind.load(Ordering::Acquire) {
            return;
        }
        let late = {
            let mut late = self.late.lock();
            self.behind.store(false, Ordering::SeqCst);
            std::mem::take(&mut *late)
        };
        late.into_iter().for_each(|change| state.make(change));
    }
}

impl State {
    fn make(&mut self, change: Change) {
        match change {
            Change::Bind(binding, target) => self.router.bind(&binding, target),
            Change::Unbind(binding, target) => self.router.unbind(&binding, &target),
            Change::Alternate(alternate) => self.alternate = alternate,
        }
    }

    /// The exchange of messages that lead nowhere.
    pub fn alternate(&self) -> Option<&ShortString> {
        self.alternate.as_ref()
    }

    /// Calls `found` for each destination of a message; the same one may come more than once.
    ///
    /// # Errors
    /// The steps are used up.
    pub fn route<'a>(
        &'a self,
        routing: &Routing<'_>,
        steps: &mut Steps,
        found: &mut dyn FnMut(&'a Target),
    ) -> Result<(), OutOfSteps> {
        self.router.route(routing, steps, found)
    }
}

#[cfg(test)]
mod tests;
