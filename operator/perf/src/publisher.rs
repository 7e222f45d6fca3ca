//! A producer: what it may write now, and what has been confirmed.
//!
//! In: a socket that takes octets, confirms. Out: messages. Does not know about event loops.

use std::io::{self, ErrorKind, Write};
use std::ops::Range;

use super::count::{Counters, Counts, Latencies};
use super::process::now;
use super::template::Template;

/// Fixed rate: message n is due at `start + n * gap`, whatever became of the ones before.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Nanoseconds of the monotonic clock.
    pub start: u64,
    /// Nanoseconds between two messages.
    pub gap: f64,
}

impl Pace {
    /// When the message after `sent` others is due.
    fn due(&self, sent: u64) -> u64 {
        self.start.saturating_add((sent as f64 * self.gap) as u64)
    }

    /// Messages that are due by now.
    fn allowed(&self, now: u64) -> u64 {
        match now.checked_sub(self.start) {
            Some(passed) => (passed as f64 / self.gap) as u64 + 1,
            None => 0,
        }
    }
}

/// Messages that are not confirmed yet.
#[derive(Debug)]
struct Window {
    limit: u64,
    /// When the message with a tag was sent, ns, at the tag modulo the length; 0 once it is settled.
    sent: Vec<u64>,
    /// All tags below are settled.
    low: u64,
    open: u64,
}

impl Window {
    fn new(limit: usize) -> Window {
        // Wider than the limit, since confirms may come out of order and leave gaps.
        let length = (limit * 4).next_power_of_two().max(1024);
        Window {
            limit: limit as u64,
            sent: vec![0; length],
            low: 1,
            open: 0,
        }
    }

    fn slot(&mut self, tag: u64) -> &mut u64 {
        let mask = self.sent.len() as u64 - 1;
        &mut self.sent[(tag & mask) as usize]
    }

    /// Messages that may be sent before the next confirm; `next` is the next tag.
    fn room(&self, next: u64) -> u64 {
        let free = self.sent.len() as u64 - (next - self.low);
        (self.limit - self.open).min(free)
    }

    fn settle_one(&mut self, tag: u64, mut settled: impl FnMut(u64)) {
        let sent = std::mem::take(self.slot(tag));
        if sent != 0 {
            self.open -= 1;
            settled(sent);
        }
    }

    /// Settles a tag, or all up to it; `next` is the next tag to be given.
    fn settle(&mut self, tag: u64, multiple: bool, next: u64, mut settled: impl FnMut(u64)) {
        let from = if multiple { self.low } else { tag };
        for tag in from..=tag {
            self.settle_one(tag, &mut settled);
        }
        while self.low < next && *self.slot(self.low) == 0 {
            self.low += 1;
        }
    }
}

/// One connection's messages.
#[derive(Debug)]
pub struct Publisher {
    template: Template,
    /// Of the template, what has been begun to be written.
    pending: Range<usize>,
    window: Option<Window>,
    pub pace: Option<Pace>,
    /// Messages sent so far; the delivery tag of the last one.
    sent: u64,
    left: u64,
    pub blocked: bool,
}

impl Publisher {
    /// `count` messages of a template, at most `window` unconfirmed.
    #[must_use]
    pub fn new(template: Template, window: Option<usize>, pace: Option<Pace>, count: Option<u64>) -> Publisher {
        Publisher {
            template,
            pending: 0..0,
            window: window.map(Window::new),
            pace,
            sent: 0,
            left: count.unwrap_or(u64::MAX),
            blocked: false,
        }
    }

    /// Writes what may be written now. `true` if it waits for the socket.
    ///
    /// # Errors
    /// The socket's.
    pub fn pump(&mut self, socket: &mut impl Write, counters: &Counters) -> io::Result<bool> {
        loop {
            if !self.write(socket)? {
                return Ok(true);
            }
            if !self.take(counters) {
                return Ok(false);
            }
            if self.window.is_none() && self.pace.is_none() {
                // There is always more: let the loop come to its other connections between two writes.
                return self.write(socket).map(|_| self.left > 0 || !self.pending.is_empty());
            }
        }
    }

    /// Writes the rest of what was taken; `false` if the socket takes no more.
    fn write(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        while !self.pending.is_empty() {
            match socket.write(self.template.octets(self.pending.clone())) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.pending.start += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Takes the next messages; `false` if there is none to send now.
    fn take(&mut self, counters: &Counters) -> bool {
        let now = now();
        let mut most = self.left;
        if let Some(window) = &self.window {
            most = most.min(window.room(self.sent + 1));
        }
        if let Some(pace) = self.pace {
            most = most.min(pace.allowed(now).saturating_sub(self.sent));
        }
        if most == 0 {
            return false;
        }
        let (window, pace, sent) = (&mut self.window, self.pace, &mut self.sent);
        let (taken, range) = self.template.take(most, || {
            // At a fixed rate a message counts from when it was due: a broker that stalls doesn't get to hide it.
            let stamp = pace.map_or(now, |pace| pace.due(*sent)).max(1);
            *sent += 1;
            if let Some(window) = window {
                *window.slot(*sent) = stamp;
                window.open += 1;
            }
            stamp
        });
        self.pending = range;
        self.left -= taken;
        counters.add(Counts {
            published: taken,
            ..Counts::default()
        });
        true
    }

    /// When there will be something to send, ns of the clock; `None` if that is up to the socket or to a confirm.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        let pace = self.pace?;
        let open = self.window.as_ref().is_none_or(|window| window.room(self.sent + 1) > 0);
        (self.pending.is_empty() && self.left > 0 && open).then(|| pace.due(self.sent))
    }

    /// Takes a confirm. `None` if it is for a message that was never sent.
    pub fn settle(&mut self, tag: u64, multiple: bool, at: u64, latencies: &mut Latencies) -> Option<u64> {
        // Tag 0 with multiple means all (basic.ack).
        let tag = if tag == 0 && multiple { self.sent } else { tag };
        let next = self.sent + 1;
        let window = self.window.as_mut().filter(|_| tag < next)?;
        let mut settled = 0;
        if tag >= window.low {
            window.settle(tag, multiple, next, |sent| {
                settled += 1;
                latencies.confirmed(at.saturating_sub(sent));
            });
        }
        Some(settled)
    }

    /// True if a frame has been begun and not been ended: nothing else may be written then.
    #[must_use]
    pub fn is_mid_write(&self) -> bool {
        !self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use leveret_amqp::ShortString;

    use super::*;
    use crate::template::Form;

    /// Takes this number of octets, then no more.
    struct Socket(usize);

    impl Write for Socket {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let taken = octets.len().min(self.0);
            self.0 -= taken;
            if taken == 0 {
                Err(ErrorKind::WouldBlock.into())
            } else {
                Ok(taken)
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn publisher(window: Option<usize>, pace: Option<Pace>, count: Option<u64>) -> Publisher {
        let form = Form {
            exchange: &ShortString::new(),
            keys: &[ShortString::from_static("q")],
            sizes: &[16],
            priorities: &[None],
            persistent: false,
            mandatory: false,
            frame_max: 4096,
            batch: 4096,
        };
        Publisher::new(Template::new(&form).expect("a template"), window, pace, count)
    }

    #[test]
    fn a_window_holds_until_confirms_come() {
        let (counters, mut latencies) = (Counters::default(), Latencies::default());
        let mut producer = publisher(Some(10), None, None);
        let waits = producer.pump(&mut Socket(usize::MAX), &counters).expect("written");
        assert!(!waits);
        assert_eq!(counters.read().published, 10);
        // Out of order, then cumulative: each message counts once.
        assert_eq!(producer.settle(4, false, now(), &mut latencies), Some(1));
        assert_eq!(producer.settle(4, false, now(), &mut latencies), Some(0));
        assert_eq!(producer.settle(6, true, now(), &mut latencies), Some(5));
        producer.pump(&mut Socket(usize::MAX), &counters).expect("written");
        assert_eq!(counters.read().published, 16);
        assert_eq!(
            producer.settle(17, true, now(), &mut latencies),
            None,
            "17 was never sent"
        );
        assert_eq!(producer.settle(0, true, now(), &mut latencies), Some(10));
        assert_eq!(latencies.confirm.len(), 16);
    }

    #[test]
    fn a_full_socket_is_waited_for_and_a_count_is_kept() {
        let counters = Counters::default();
        let mut producer = publisher(Some(1_000_000), None, Some(500));
        assert!(producer.pump(&mut Socket(100), &counters).expect("written"));
        assert!(producer.is_mid_write());
        while producer.pump(&mut Socket(5_000), &counters).expect("written") {}
        assert_eq!((counters.read().published, producer.is_mid_write()), (500, false));
    }

    #[test]
    fn a_rate_lets_through_what_is_due() {
        let counters = Counters::default();
        let pace = Pace {
            start: now() - 1_000_000_000,
            gap: 1e8,
        };
        let mut producer = publisher(None, Some(pace), None);
        producer.pump(&mut Socket(usize::MAX), &counters).expect("written");
        assert_eq!(counters.read().published, 11);
        assert_eq!(producer.due(), Some(pace.start + 1_100_000_000));
        let mut later = publisher(
            None,
            Some(Pace {
                start: now() + 1_000_000_000,
                gap: 1.0,
            }),
            None,
        );
        later.pump(&mut Socket(usize::MAX), &counters).expect("written");
        assert_eq!(counters.read().published, 11);
    }
}
