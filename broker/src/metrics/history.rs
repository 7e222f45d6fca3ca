//! History: figures of the broker, and of objects that somebody looks at, as they were at regular times.
//!
//! Comes in: figures at every sample. Goes out: charts of a stretch of time, as RabbitMQ has them. The broker's own
//! history is always kept, that of another object from the moment that somebody asks for it until nobody has for a
//! while, and only of so many objects. Does not know where figures come from.

use crate::limits::held::Held;
use leveret_store::QueueId;
use std::collections::{HashMap, VecDeque};

/// Objects whose history is kept, at most: a megabyte for each 60 of them.
const WATCHED: usize = 256;
/// The time after which nobody is taken to look at an object any more, milliseconds.
const FORGOTTEN: u64 = 600_000;

/// A thing that has a history.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Of {
    /// The broker, and its node.
    Broker,
    /// A vhost by name.
    Vhost(String),
    /// A queue.
    Queue(QueueId),
    /// An exchange, by the number of its traffic.
    Exchange(u64),
    /// A connection by its number.
    Connection(u64),
    /// A channel, by the number of its connection and its own.
    Channel(u64, u16),
}

/// Figures by name, in the order of their names.
pub type Figures = Vec<(&'static str, u64)>;

/// Kinds of figures: each has parameters of its own for the stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Messages waiting, and what comes and goes.
    Lengths,
    /// Messages that pass.
    Messages,
    /// Bytes of connections.
    Data,
    /// Figures of the machine.
    Node,
}

impl Kind {
    /// All of them, in the order of their ranges.
    pub const ALL: [Self; 4] = [Self::Lengths, Self::Messages, Self::Data, Self::Node];

    /// The begin of the names of its parameters.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Lengths => "lengths",
            Self::Messages => "msg_rates",
            Self::Data => "data_rates",
            Self::Node => "node_stats",
        }
    }

    /// The kind of a figure.
    fn of(name: &str) -> Self {
        const COMES_AND_GOES: [&str; 3] = ["connection_", "channel_", "queue_"];
        const MACHINE: [&str; 6] = ["io_", "mem_used", "fd_used", "sockets_used", "proc_used", "disk_free"];
        let begins = |begins: &[&str]| begins.iter().any(|begin| name.starts_with(begin));
        match name {
            "recv_oct" | "send_oct" => Self::Data,
            _ if name.starts_with("messages") || begins(&COMES_AND_GOES) => Self::Lengths,
            _ if begins(&MACHINE) => Self::Node,
            _ => Self::Messages,
        }
    }
}

/// A stretch of time up to now: its length and the time between samples, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its length.
    pub age: u64,
    /// The time between samples, not 0.
    pub step: u64,
}

/// The stretches that are asked for, by kind.
pub type Ranges = [Option<Range>; Kind::ALL.len()];

/// Samples of a figure, newest first: time in milliseconds since 1970, and value.
pub type Samples = Vec<(u64, u64)>;

/// Charts of an object's figures.
#[derive(Debug, Default)]
pub struct Charts(Vec<(&'static str, Samples)>);

impl Charts {
    /// The samples of a figure.
    pub fn get(&self, name: &str) -> Option<&Samples> {
        self.0.iter().find(|(of, _)| *of == name).map(|(_, samples)| samples)
    }
}

/// The times between samples that are kept, and how many: what RabbitMQ keeps.
type Retention = &'static [(u64, usize)];

/// Of the broker: ten minutes, an hour, eight hours, a day.
const LONG: Retention = &[(5_000, 121), (60_000, 61), (600_000, 49), (1_800_000, 49)];
/// Of everything else: ten minutes.
const SHORT: Retention = &[(5_000, 121)];

/// Everything that is remembered.
#[derive(Default)]
pub struct History {
    broker: Option<Series>,
    watched: HashMap<Of, Series>,
    held: Option<Held>,
}

impl History {
    /// Adds figures of all objects that are watched, as `figures` has them; `at` is in milliseconds since 1970. An
    /// object without figures is gone.
    pub fn note(&mut self, at: u64, figures: impl Fn(&Of) -> Option<Figures>) {
        if let Some(now) = figures(&Of::Broker) {
            self.broker.get_or_insert_with(|| Series::new(LONG, at)).note(at, &now);
        }
        self.watched.retain(|of, series| {
            let now = figures(of).filter(|_| at.saturating_sub(series.asked) < FORGOTTEN);
            now.inspect(|now| series.note(at, now)).is_some()
        });
        self.count();
    }

    /// The memory that it takes is counted by this from now on.
    pub fn count_by(&mut self, held: impl FnOnce() -> Held) {
        self.held.get_or_insert_with(held);
    }

    /// Charts of an object, which is watched from now on; one of a list only if there is room. `first` has its figures
    /// at the last sample, with its time.
    pub fn charts(
        &mut self,
        (of, is_listed): (&Of, bool),
        ranges: &Ranges,
        at: u64,
        first: impl FnOnce() -> Option<(u64, Figures)>,
    ) -> Charts {
        let known = match of {
            Of::Broker => self.broker.as_mut(),
            of => self.watched.get_mut(of),
        };
        if let Some(series) = known {
            series.asked = at;
            return series.charts(ranges, at);
        }
        let Some((sampled, figures)) = first().filter(|_| *of != Of::Broker) else {
            return Charts::default();
        };
        let mut series = Series::new(SHORT, at);
        series.note(sampled, &figures);
        let charts = series.charts(ranges, at);
        if !is_listed {
            self.make_room();
        }
        if self.watched.len() < WATCHED {
            self.watched.insert(of.clone(), series);
            self.count();
        }
        charts
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.broker = None;
        self.watched.clear();
        self.count();
    }

    /// Forgets the object that was asked for the longest time ago, if there are too many.
    fn make_room(&mut self) {
        if self.watched.len() < WATCHED {
            return;
        }
        let oldest = self.watched.iter().min_by_key(|(_, series)| series.asked);
        if let Some(oldest) = oldest.map(|(of, _)| of.clone()) {
            self.watched.remove(&oldest);
        }
    }

    fn count(&mut self) {
        let bytes = self.broker.iter().chain(self.watched.values()).map(Series::bytes).sum();
        if let Some(held) = &mut self.held {
            held.set(bytes);
        }
    }
}

/// The history of one object.
struct Series {
    names: Vec<&'static str>,
    rings: Vec<Ring>,
    asked: u64,
}

/// Samples at regular times: of each its time, and behind it the figures.
struct Ring {
    every: u64,
    most: usize,
    rows: VecDeque<Box<[u64]>>,
}

impl Series {
    fn new(retention: Retention, asked: u64) -> Self {
        let ring = |(every, most): &(u64, usize)| Ring {
            every: *every,
            most: *most,
            rows: VecDeque::new(),
        };
        Self {
            names: Vec::new(),
            rings: retention.iter().map(ring).collect(),
            asked,
        }
    }

    fn note(&mut self, at: u64, figures: &Figures) {
        if self.names.is_empty() {
            self.names = figures.iter().map(|(name, _)| *name).collect();
        }
        let row = || {
            std::iter::once(at)
                .chain(figures.iter().map(|(_, figure)| *figure))
                .collect()
        };
        for ring in &mut self.rings {
            // Samples come about every five seconds: the first of each interval counts.
            let last = ring.rows.back().and_then(|row| row.first());
            if last.is_some_and(|last| last / ring.every >= at / ring.every) {
                continue;
            }
            if ring.rows.len() == ring.most {
                ring.rows.pop_front();
            }
            ring.rows.push_back(row());
        }
    }

    fn charts(&self, ranges: &Ranges, at: u64) -> Charts {
        let mut charts = Vec::new();
        for (place, name) in self.names.iter().enumerate() {
            let kind = Kind::of(name);
            let range = Kind::ALL.iter().zip(ranges).find(|(of, _)| **of == kind);
            if let Some((_, Some(range))) = range {
                // As in RabbitMQ, the newest of lengths is that of the time to come, and of what is counted that of the
                // time that has passed.
                let at = match kind {
                    Kind::Lengths => at.saturating_add((range.step.saturating_mul(1000)).saturating_sub(1)),
                    _ => at,
                };
                charts.push((*name, self.samples(place + 1, *range, at)));
            }
        }
        Charts(charts)
    }

    /// The figure at a place of each row: at times of the range the value of the last sample before.
    fn samples(&self, place: usize, range: Range, at: u64) -> Samples {
        let (age, step) = (range.age.saturating_mul(1000), range.step.saturating_mul(1000).max(1));
        let spans = |ring: &&Ring| ring.every * ring.most as u64 > age;
        let Some(ring) = self.rings.iter().find(spans).or(self.rings.last()) else {
            return Samples::new();
        };
        let last = at / step * step;
        let mut samples = Samples::new();
        for back in 0..=age / step {
            let Some(time) = last.checked_sub(back * step) else {
                break;
            };
            let until = ring
                .rows
                .partition_point(|row| row.first().is_some_and(|at| *at <= time));
            let Some(row) = until.checked_sub(1).and_then(|before| ring.rows.get(before)) else {
                break;
            };
            samples.push((time, row.get(place).copied().unwrap_or_default()));
        }
        samples
    }

    fn bytes(&self) -> u64 {
        let rows: usize = self.rings.iter().map(|ring| ring.rows.len()).sum();
        (rows * (self.names.len() + 3) * size_of::<u64>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Holding;
    use crate::limits::held::Counts;
    use std::sync::Arc;

    fn history(samples: u64) -> History {
        let mut history = History::default();
        for sample in 1..=samples {
            history.note(sample * 5_000, |_| {
                Some(vec![("publish", sample * 10), ("messages", 7)])
            });
        }
        history
    }

    fn asks(age: u64, step: u64) -> Ranges {
        let mut ranges = Ranges::default();
        ranges[1] = Some(Range { age, step });
        ranges
    }

    #[test]
    fn a_chart_has_samples_at_regular_times_newest_first() {
        let charts = history(20).charts((&Of::Broker, false), &asks(60, 20), 103_000, || None);
        let expected: Samples = vec![(100_000, 200), (80_000, 160), (60_000, 120), (40_000, 80)];
        assert_eq!(charts.get("publish"), Some(&expected));
        assert_eq!(charts.get("messages"), None, "of lengths nobody asked");
        let mut lengths = Ranges::default();
        lengths[0] = Some(Range { age: 5, step: 5 });
        let charts = history(20).charts((&Of::Broker, false), &lengths, 103_000, || None);
        assert_eq!(charts.get("messages"), Some(&vec![(105_000, 7), (100_000, 7)]));
        let short = history(2).charts((&Of::Broker, false), &asks(60, 5), 12_000, || None);
        assert_eq!(
            short.get("publish"),
            Some(&vec![(10_000, 20), (5_000, 10)]),
            "no more than there is"
        );
    }

    #[test]
    fn a_day_is_remembered_in_coarse_steps_and_nothing_grows() {
        let mut history = history(20_000);
        let at = 20_000 * 5_000;
        let charts = history.charts((&Of::Broker, false), &asks(86_400, 1_800), at, || None);
        let day = charts.get("publish").expect("samples");
        assert_eq!(day.len(), 49);
        assert!(day.windows(2).all(|pair| pair[0].1 > pair[1].1), "{day:?}");
        let fine = history.charts((&Of::Broker, false), &asks(600, 5), at, || None);
        assert_eq!(fine.get("publish").map(Vec::len), Some(121));
        let series = history.broker.expect("the broker's");
        assert_eq!(series.bytes(), (121 + 61 + 49 + 49) * 5 * 8);
    }

    #[test]
    fn objects_are_watched_while_somebody_asks_and_so_many() {
        let mut history = History::default();
        let first = || Some((5_000, vec![("publish", 1)]));
        for id in 0..WATCHED as u64 + 10 {
            let charts = history.charts((&Of::Connection(id), false), &asks(60, 5), 6_000 + id, first);
            assert_eq!(charts.get("publish"), Some(&vec![(5_000, 1)]));
        }
        assert_eq!(history.watched.len(), WATCHED);
        assert!(
            !history.watched.contains_key(&Of::Connection(9)),
            "the one asked for longest ago went"
        );
        let listed = history.charts((&Of::Connection(9), true), &asks(60, 5), 7_000, first);
        assert_eq!(
            listed.get("publish"),
            Some(&vec![(5_000, 1)]),
            "what there is no room for is shown as it is"
        );
        assert!(!history.watched.contains_key(&Of::Connection(9)));
        history.note(10_000, |of| (*of != Of::Connection(20)).then(|| vec![("publish", 2)]));
        assert!(!history.watched.contains_key(&Of::Connection(20)), "it is gone");
        assert_eq!(history.watched.len(), WATCHED - 1);
        let again = history.charts((&Of::Connection(30), false), &asks(60, 5), 10_000, || None);
        assert_eq!(again.get("publish"), Some(&vec![(10_000, 2), (5_000, 1)]));
        history.note(6_000 + FORGOTTEN + 300, |_| Some(vec![("publish", 3)]));
        assert_eq!(history.watched.len(), 1, "only what was asked for since");
    }

    #[test]
    fn what_is_remembered_counts_as_memory() {
        let counts = Arc::new(Counts::default());
        let mut history = history(200);
        history.count_by(|| counts.hold(Holding::History, 0));
        history.note(2_000_000, |_| Some(vec![("publish", 1), ("messages", 7)]));
        let broker = counts.held(Holding::History);
        assert!(broker > 121 * 5 * 8, "{broker}");
        let first = || Some((2_000_000, vec![("publish", 1)]));
        history.charts((&Of::Connection(1), false), &asks(60, 5), 2_000_000, first);
        assert!(counts.held(Holding::History) > broker);
        history.clear();
        assert_eq!(counts.held(Holding::History), 0);
    }
}
