//! Lines of one kind, so many a second: who can make the broker write a line can't fill a disk with them.
//!
//! Comes in: events. Goes out: those that are within the pace of the place that they come from; and from time to time a
//! line that says how many were left out. Lines of `debug` and `trace`, which somebody has asked for, all pass.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Lines of one kind at once, and lines a second after that.
const BURST: u32 = 200;
const A_SECOND: u32 = 20;
/// Time between two lines about those that were left out.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The pace of log lines.
#[derive(Clone, Default)]
pub(super) struct Pace(Arc<Counts>);

#[derive(Default)]
struct Counts {
    places: Mutex<HashMap<Identifier, Place>>,
    left_out: AtomicU64,
}

/// A line of the source that writes log lines.
struct Place {
    room: f64,
    at: Instant,
}

impl Place {
    fn takes(&mut self, now: Instant) -> bool {
        let grown = (now - self.at).as_secs_f64() * f64::from(A_SECOND);
        self.room = (self.room + grown).min(f64::from(BURST));
        self.at = now;
        let takes = self.room >= 1.0;
        if takes {
            self.room -= 1.0;
        }
        takes
    }
}

impl Pace {
    /// Tells, from a thread of its own, how many lines were left out.
    pub(super) fn tell(&self) -> io::Result<()> {
        let counts = self.0.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || {
            loop {
                std::thread::sleep(TELL_EVERY);
                let lines = counts.left_out.swap(0, Ordering::Relaxed);
                if lines > 0 {
                    tracing::warn!(lines, "log lines were left out: too many of one kind");
                }
            }
        })?;
        Ok(())
    }

    fn takes(&self, place: Identifier) -> bool {
        let now = Instant::now();
        let mut places = self.0.places.lock();
        let room = f64::from(BURST);
        let takes = places.entry(place).or_insert(Place { room, at: now }).takes(now);
        drop(places);
        if !takes {
            self.0.left_out.fetch_add(1, Ordering::Relaxed);
        }
        takes
    }
}

impl<S: Subscriber> Filter<S> for Pace {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        *metadata.level() > Level::INFO || self.takes(metadata.callsite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_writes_so_many_lines_a_second() {
        let now = Instant::now();
        let mut place = Place {
            room: f64::from(BURST),
            at: now,
        };
        let lines = |place: &mut Place, at: Duration| (0..1000).filter(|_| place.takes(now + at)).count() as u32;
        assert_eq!(lines(&mut place, Duration::ZERO), BURST);
        assert_eq!(lines(&mut place, Duration::from_secs(2)), 2 * A_SECOND);
        assert_eq!(lines(&mut place, Duration::from_secs(1000)), BURST);
    }
}
