//! The lease of a queue with `x-expires`: how long it may be unused, and when it was used.
//!
//! Pure: times come in, and go out. Does not know about queues, or what a use is.

use crate::clock::Millis;

/// A lease.
#[derive(Debug)]
pub struct Lease {
    /// Milliseconds that the queue may be unused.
    length: Millis,
    used_at: Millis,
    /// When the clock will call for it.
    called_at: Option<Millis>,
}

impl Lease {
    /// A lease that begins now.
    pub fn new(length: Millis, now: Millis) -> Self {
        Self {
            length,
            used_at: now,
            called_at: None,
        }
    }

    /// The lease of a queue that may be unused for so long, from now on.
    pub fn of(length: Option<Millis>, now: Millis) -> Option<Box<Self>> {
        length.map(|length| Box::new(Self::new(length, now)))
    }

    /// The lease begins again.
    pub fn renew(&mut self, now: Millis) {
        self.used_at = now;
    }

    /// The time when it is over.
    pub fn end(&self) -> Millis {
        self.used_at.saturating_add(self.length)
    }

    /// The time for which the clock must be asked to call; `None` if it will call already.
    pub fn to_call(&mut self) -> Option<Millis> {
        if self.called_at.is_some() {
            return None;
        }
        self.called_at = Some(self.end());
        self.called_at
    }

    /// The clock has called. True if it was for this.
    pub fn called(&mut self, now: Millis) -> bool {
        self.called_at.take_if(|at| *at <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_is_ahead_however_often_it_is_renewed() {
        let mut lease = Lease::new(100, 1000);
        assert_eq!(lease.to_call(), Some(1100));
        lease.renew(1050);
        assert_eq!((lease.to_call(), lease.end()), (None, 1150));
        assert!(!lease.called(1099), "a call for something else");
        assert!(lease.called(1101));
        assert_eq!(lease.to_call(), Some(1150));
    }
}
