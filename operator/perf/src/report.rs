//! What a load came to: figures between two moments, as a table for people and as JSON for programs.
//!
//! In: counts, latencies, what the kernel has counted. Out: text. Does not print.

use std::fmt::{self, Write as _};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::count::{Counts, Latencies};
use super::process::{self, Usage};

/// Everything that is counted, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// Seconds of the clock.
    at: f64,
    counts: Counts,
    own_cpu: f64,
    machine_cpu: f64,
    broker: Option<Usage>,
}

impl Snapshot {
    /// Now; `pid` is the broker's, if it is on this machine.
    #[must_use]
    pub fn take(counts: Counts, pid: Option<u32>) -> Snapshot {
        Snapshot {
            at: process::now() as f64 / 1e9,
            counts,
            own_cpu: process::own_cpu(),
            machine_cpu: process::machine_cpu(),
            broker: pid.and_then(process::usage),
        }
    }

    /// Seconds since another one.
    #[must_use]
    pub fn since(&self, earlier: &Snapshot) -> f64 {
        self.at - earlier.at
    }
}

/// Messages of one kind.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Moved {
    pub total: u64,
    pub per_second: f64,
}

/// A latency's distribution, ms.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub count: u64,
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p75: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Spread {
    fn of(histogram: &Histogram<u64>) -> Option<Spread> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        (!histogram.is_empty()).then(|| Spread {
            count: histogram.len(),
            min: histogram.min() as f64 / 1e6,
            mean: histogram.mean() / 1e6,
            p50: at(0.5),
            p75: at(0.75),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1e6,
        })
    }
}

/// A process's share of the machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cpu {
    /// 1 is a whole core all the time.
    pub cores: f64,
    /// CPU seconds per million messages consumed, or published if none was consumed.
    pub seconds_per_million: Option<f64>,
}

/// The broker's process.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BrokerUse {
    #[serde(flatten)]
    pub cpu: Cpu,
    pub cores_user: f64,
    pub cores_system: f64,
    pub rss_kib: u64,
    pub anonymous_kib: u64,
    pub peak_kib: u64,
    pub written_bytes: u64,
}

/// The difference between two moments.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub id: String,
    /// Product and version.
    pub broker_product: String,
    pub seconds: f64,
    pub published: Moved,
    pub confirmed: Moved,
    pub consumed: Moved,
    pub nacked: u64,
    pub returned: u64,
    /// Published and not returned, times the queues that each message reaches, and not consumed. From the start of the
    /// run.
    pub backlog: u64,
    /// From sending to the broker until the consumer has it.
    pub deliver_ms: Option<Spread>,
    /// From sending to the broker until its confirm.
    pub confirm_ms: Option<Spread>,
    pub generator: Cpu,
    pub broker: Option<BrokerUse>,
    /// Cores that were busy with something else than broker and generator; without the broker's process id with either.
    pub other_cores: f64,
}

/// The facts that stay the same during a run.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub id: &'a str,
    pub product: &'a str,
    /// Queues that each message reaches.
    pub copies: u64,
}

impl Figures {
    #[must_use]
    pub fn between(a: &Snapshot, b: &Snapshot, subject: Subject<'_>, latencies: &Latencies) -> Figures {
        let seconds = b.since(a).max(1e-9);
        let moved = |count: fn(&Counts) -> u64| {
            let total = count(&b.counts) - count(&a.counts);
            let per_second = total as f64 / seconds;
            Moved { total, per_second }
        };
        let (published, consumed) = (moved(|counts| counts.published), moved(|counts| counts.consumed));
        let messages = if consumed.total > 0 {
            consumed.total
        } else {
            published.total
        };
        let cpu = |used: f64| Cpu {
            cores: used / seconds,
            seconds_per_million: (messages > 0).then(|| used / messages as f64 * 1e6),
        };
        let broker = b.broker.zip(a.broker).map(|(b, a)| {
            let (user, system) = (b.user - a.user, b.system - a.system);
            BrokerUse {
                cpu: cpu(user + system),
                cores_user: user / seconds,
                cores_system: system / seconds,
                rss_kib: b.rss,
                anonymous_kib: b.anonymous,
                peak_kib: b.peak,
                written_bytes: b.written.saturating_sub(a.written),
            }
        });
        let generator = cpu(b.own_cpu - a.own_cpu);
        let known = generator.cores + broker.map_or(0.0, |broker| broker.cpu.cores);
        Figures {
            id: subject.id.to_owned(),
            broker_product: subject.product.to_owned(),
            seconds,
            published,
            confirmed: moved(|counts| counts.confirmed),
            consumed,
            nacked: b.counts.nacked - a.counts.nacked,
            returned: b.counts.returned - a.counts.returned,
            backlog: (b.counts.published.saturating_sub(b.counts.returned) * subject.copies)
                .saturating_sub(b.counts.consumed),
            deliver_ms: Spread::of(&latencies.deliver),
            confirm_ms: Spread::of(&latencies.confirm),
            generator,
            broker,
            other_cores: (b.machine_cpu - a.machine_cpu) / seconds - known,
        }
    }

    /// One line, for every second.
    #[must_use]
    pub fn line(&self, at: Duration, blocked: u64) -> String {
        let mut line = format!("{} {:>6.1} s", self.id, at.as_secs_f64());
        for (what, moved) in [
            ("published", self.published),
            ("confirmed", self.confirmed),
            ("consumed", self.consumed),
        ] {
            if moved.total > 0 || what == "published" {
                let _ = write!(line, "  {what} {:>9}/s", thousands(moved.per_second));
            }
        }
        for (what, spread) in [("deliver", self.deliver_ms), ("confirm", self.confirm_ms)] {
            if let Some(spread) = spread {
                let _ = write!(line, "  {what} p50 {} p99 {} ms", short(spread.p50), short(spread.p99));
            }
        }
        if let Some(broker) = self.broker {
            let _ = write!(line, "  broker {:.2} cores", broker.cpu.cores);
        }
        if blocked > 0 {
            let _ = write!(line, "  BLOCKED {blocked}");
        }
        line
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {:.1} s, {}", self.id, self.seconds, self.broker_product)?;
        writeln!(f, "{:<16}{:>14}{:>16}", "", "messages/s", "messages")?;
        for (what, moved) in [
            ("published", self.published),
            ("confirmed", self.confirmed),
            ("consumed", self.consumed),
        ] {
            writeln!(
                f,
                "{what:<16}{:>14}{:>16}",
                thousands(moved.per_second),
                thousands(moved.total as f64)
            )?;
        }
        for (what, count) in [
            ("refused (nack)", self.nacked),
            ("returned", self.returned),
            ("backlog", self.backlog),
        ] {
            if count > 0 {
                writeln!(f, "{what:<16}{:>30}", thousands(count as f64))?;
            }
        }
        if self.deliver_ms.is_some() || self.confirm_ms.is_some() {
            let heads = ["p50", "p75", "p95", "p99", "p99.9", "max"];
            writeln!(
                f,
                "{:<16}{}",
                "latency, ms",
                heads.map(|head| format!("{head:>10}")).concat()
            )?;
        }
        for (what, spread) in [("deliver", self.deliver_ms), ("confirm", self.confirm_ms)] {
            if let Some(s) = spread {
                let values = [s.p50, s.p75, s.p95, s.p99, s.p999, s.max];
                writeln!(
                    f,
                    "{what:<16}{}",
                    values.map(|value| format!("{:>10}", short(value))).concat()
                )?;
            }
        }
        writeln!(f, "{:<16}{:>14}{:>16}", "CPU", "cores", "s per million")?;
        let mut row = |what: &str, cpu: Cpu| {
            let per_million = cpu
                .seconds_per_million
                .map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
            writeln!(f, "{what:<16}{:>14.2}{per_million:>16}", cpu.cores)
        };
        row("this generator", self.generator)?;
        if let Some(broker) = self.broker {
            row("broker", broker.cpu)?;
        }
        let rest = if self.broker.is_some() { "others" } else { "all others" };
        writeln!(f, "{rest:<16}{:>14.2}", self.other_cores.max(0.0))?;
        if let Some(broker) = self.broker {
            let mib = |kib: u64| kib as f64 / 1024.0;
            let (rss, anonymous) = (mib(broker.rss_kib), mib(broker.anonymous_kib));
            let written = broker.written_bytes as f64 / 1e6;
            writeln!(
                f,
                "broker memory {rss:.1} MiB ({anonymous:.1} MiB not of files), {written:.1} MB written to disk"
            )?;
        }
        Ok(())
    }
}

/// With a comma for every thousand.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Three digits that tell something.
fn short(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let usage = |user, rss| {
            Some(Usage {
                user,
                rss,
                ..Usage::default()
            })
        };
        let a = Snapshot {
            at: 10.0,
            own_cpu: 1.0,
            machine_cpu: 5.0,
            broker: usage(2.0, 1),
            ..Snapshot::default()
        };
        let counts = Counts {
            published: 2_000_000,
            consumed: 1_500_000,
            ..Counts::default()
        };
        let b = Snapshot {
            at: 12.0,
            counts,
            own_cpu: 1.5,
            machine_cpu: 9.0,
            broker: usage(5.0, 2048),
        };
        let mut latencies = Latencies::default();
        latencies.delivered(1_500_000, 99);
        latencies.delivered(20_000_000, 1);
        let subject = Subject {
            id: "run",
            product: "Some 1.0",
            copies: 1,
        };
        Figures::between(&a, &b, subject, &latencies)
    }

    #[test]
    fn figures_are_those_of_the_span() {
        let figures = figures();
        assert!((figures.published.per_second - 1e6).abs() < 1.0);
        assert_eq!((figures.backlog, figures.confirmed.total), (500_000, 0));
        let broker = figures.broker.expect("a broker");
        assert!(
            (broker.cpu.cores - 1.5).abs() < 1e-9
                && (broker.cpu.seconds_per_million.expect("messages") - 2.0).abs() < 1e-9
        );
        assert!((figures.other_cores - 0.25).abs() < 1e-9);
        let spread = figures.deliver_ms.expect("latencies");
        assert!((spread.p50 - 1.5).abs() < 0.01 && (spread.max - 20.0).abs() < 0.05 && figures.confirm_ms.is_none());
    }

    #[test]
    fn people_and_programs_can_read_them() {
        let table = figures().to_string();
        for part in [
            "run, 2.0 s, Some 1.0",
            "1,000,000",
            "2,000,000",
            "backlog",
            "500,000",
            "1.50",
            "broker memory 2.0 MiB",
        ] {
            assert!(table.contains(part), "no '{part}' in\n{table}");
        }
        let line = figures().line(Duration::from_secs(3), 2);
        assert!(
            line.contains("    3.0 s  published 1,000,000/s  consumed") && line.ends_with("BLOCKED 2"),
            "{line}"
        );
        let json: serde_json::Value = serde_json::to_value(figures()).expect("JSON");
        assert_eq!(json["consumed"]["total"], 1_500_000);
        assert_eq!(json["broker"]["rss_kib"], 2048);
        assert!(json["confirm_ms"].is_null() && json["deliver_ms"]["p999"].is_f64());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, 999.4, 1000.0, 1_234_567.0].map(thousands),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([0.123, 12.34, 123.4].map(short), ["0.12", "12.3", "123"]);
    }
}
