//! Clients that have not logged in, and the memory that all of them together may have.
//!
//! Comes in: connections that begin, the sizes of their buffers. Goes out: the end of the oldest ones, when there is
//! more than their share: strangers can have no more memory than that, and who logs in is done long before it is the
//! oldest.
//! Does not know about sockets or the handshake.

use super::held::{Held, Holding};
use super::memory::Memory;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Memory of a connection that has not logged in, beside its buffer; and of one over TLS, bytes.
const PLAIN: u64 = 2 * 1024;
const TLS: u64 = 32 * 1024;

/// All clients that have not logged in.
pub struct Logins {
    memory: Arc<Memory>,
    state: Mutex<State>,
    /// Those that had to go.
    evicted: AtomicU64,
}

#[derive(Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, Open>,
    bytes: u64,
}

struct Open {
    bytes: u64,
    end: Arc<Notify>,
}

impl Logins {
    /// None yet.
    pub fn new(memory: Arc<Memory>) -> Self {
        Self {
            memory,
            state: Mutex::default(),
            evicted: AtomicU64::new(0),
        }
    }

    /// One more, until the value that is returned is dropped.
    pub fn enter(self: &Arc<Self>, tls: bool) -> Login {
        let base = if tls { TLS } else { PLAIN };
        let end = Arc::new(Notify::new());
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        let open = Open {
            bytes: base,
            end: end.clone(),
        };
        state.bytes += base;
        state.open.insert(number, open);
        self.keep_to_share(&mut state);
        drop(state);
        Login {
            held: self.memory.hold(Holding::Logins, base),
            logins: self.clone(),
            number,
            base,
            end,
        }
    }

    /// Ends the oldest ones beyond the share of all.
    fn keep_to_share(&self, state: &mut State) {
        while state.bytes > self.memory.share()
            && state.open.len() > 1
            && let Some((_, oldest)) = state.open.pop_first()
        {
            state.bytes -= oldest.bytes;
            oldest.end.notify_one();
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Clients that had to go before they had logged in, since there were too many.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Clients that have not logged in.
    pub fn open(&self) -> usize {
        self.state.lock().open.len()
    }
}

/// A client that has not logged in.
pub struct Login {
    logins: Arc<Logins>,
    number: u64,
    base: u64,
    held: Held,
    end: Arc<Notify>,
}

impl Login {
    /// The size of its buffer from now on, bytes.
    pub fn buffers(&mut self, bytes: usize) {
        let bytes = self.base + bytes as u64;
        if bytes == self.held.bytes() {
            return;
        }
        self.held.set(bytes);
        let state = &mut *self.logins.state.lock();
        if let Some(open) = state.open.get_mut(&self.number) {
            state.bytes = state.bytes - open.bytes + bytes;
            open.bytes = bytes;
        }
        self.logins.keep_to_share(state);
    }

    /// Notified when it has to go for others.
    pub fn end(&self) -> Arc<Notify> {
        self.end.clone()
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let state = &mut *self.logins.state.lock();
        if let Some(open) = state.open.remove(&self.number) {
            state.bytes -= open.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_to_go(login: &Login) -> bool {
        let end = login.end();
        let mut notified = std::pin::pin!(end.notified());
        notified.as_mut().enable()
    }

    #[test]
    fn the_oldest_go_where_there_are_too_many() {
        let memory = Arc::new(Memory::new(10 * PLAIN * 4));
        let logins = Arc::new(Logins::new(memory.clone()));
        let mut some: Vec<Login> = (0..10).map(|_| logins.enter(false)).collect();
        assert_eq!((logins.open(), logins.evicted()), (10, 0));
        let eleventh = logins.enter(false);
        assert!(has_to_go(&some[0]) && !has_to_go(&some[1]));
        assert_eq!((logins.open(), logins.evicted()), (10, 1));
        some[5].buffers(3 * PLAIN as usize);
        let gone: Vec<bool> = some.iter().skip(1).map(has_to_go).collect();
        assert_eq!(gone.iter().filter(|gone| **gone).count(), 3, "{gone:?}");
        assert!(gone[..3].iter().all(|gone| *gone));
        drop(some);
        drop(eleventh);
        assert_eq!((logins.open(), memory.held(Holding::Logins)), (0, 0));
        let alone = logins.enter(false);
        assert!(!has_to_go(&alone), "one may always log in");
    }
}
