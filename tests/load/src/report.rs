//! What a run came to: two snapshots of all counters, the figures between them, a line for people and one for programs.
use crate::run::Opts;
use crate::stat::{self, Hist, now_ns};
use std::io::{self, Write};

/// All counters at one moment.
pub struct Snapshot {
    seconds: f64,
    /// Published, confirmed, consumed, nacked messages; write calls of publishers.
    counts: [u64; 5],
    own_cpu: f64,
    broker_cpu: (f64, f64),
    machine_cpu: f64,
    disk: u64,
}

impl Snapshot {
    pub fn take(counts: [u64; 5], pid: Option<u32>) -> Snapshot {
        Snapshot {
            seconds: now_ns() as f64 / 1e9,
            counts,
            own_cpu: stat::own_cpu(),
            broker_cpu: pid.and_then(stat::cpu).unwrap_or((0.0, 0.0)),
            machine_cpu: stat::machine_cpu(),
            disk: pid.and_then(stat::write_bytes).unwrap_or(0),
        }
    }
}

/// The figures between two snapshots. CPU per million is per million consumed, or published when none is consumed.
pub struct Figures {
    seconds: f64,
    published: f64,
    confirmed: f64,
    consumed: f64,
    writes: f64,
    nacked: u64,
    backlog: u64,
    user: f64,
    system: f64,
    broker_cores: f64,
    broker_per_million: f64,
    own_cores: f64,
    own_per_million: f64,
    other_cores: f64,
    rss: (u64, u64, u64),
    disk_mb: f64,
    /// Microseconds at p50, p99, p99.9 and the most.
    deliver: [f64; 4],
    confirm: [f64; 4],
}

impl Figures {
    pub fn between(a: &Snapshot, b: &Snapshot, o: &Opts, fan: u64, [deliver, confirm]: [&Hist; 2]) -> Figures {
        let seconds = b.seconds - a.seconds;
        let moved = |i: usize| (b.counts[i] - a.counts[i]) as f64;
        let (user, system) = (b.broker_cpu.0 - a.broker_cpu.0, b.broker_cpu.1 - a.broker_cpu.1);
        let own = b.own_cpu - a.own_cpu;
        let base = if moved(2) > 0.0 { moved(2) } else { moved(0) };
        let per_million = |cpu: f64| if base > 0.0 { cpu / base * 1e6 } else { 0.0 };
        let latency = |h: &Hist| [0.5, 0.99, 0.999, 1.0].map(|q| if h.count() > 0 { h.us(q) } else { 0.0 });
        let due = b.counts[0] * fan;
        Figures {
            seconds,
            published: moved(0) / seconds,
            confirmed: moved(1) / seconds,
            consumed: moved(2) / seconds,
            writes: moved(4) / seconds,
            nacked: b.counts[3],
            backlog: due - b.counts[2].min(due),
            user,
            system,
            broker_cores: (user + system) / seconds,
            broker_per_million: per_million(user + system),
            own_cores: own / seconds,
            own_per_million: per_million(own),
            other_cores: (b.machine_cpu - a.machine_cpu - user - system - own) / seconds,
            rss: o.pid.and_then(stat::rss).unwrap_or((0, 0, 0)),
            disk_mb: (b.disk - a.disk) as f64 / 1e6,
            deliver: latency(deliver),
            confirm: latency(confirm),
        }
    }

    pub fn print(&self, label: &str) {
        println!(
            "{label:<28} pub {:>9.0}/s conf {:>9.0}/s cons {:>9.0}/s | broker cpu {:.2}u+{:.2}s = {:.2} cores, {:.2} s/M | \
             load {:.2} cores, {:.2} s/M | other {:.2} cores | backlog {} nack {} | rss {} MiB (anon {}) | wr {:.0} MB",
            self.published,
            self.confirmed,
            self.consumed,
            self.user,
            self.system,
            self.broker_cores,
            self.broker_per_million,
            self.own_cores,
            self.own_per_million,
            self.other_cores,
            self.backlog,
            self.nacked,
            self.rss.0 / 1024,
            self.rss.1 / 1024,
            self.disk_mb,
        );
        let text = |l: &[f64; 4]| format!("{:.0}/{:.0}/{:.0}/{:.0}", l[0], l[1], l[2], l[3]);
        println!(
            "{:<28} latency us p50/p99/p99.9/max: publish-deliver {}  publish-confirm {}  writes/s {:.0}  {:.2} s",
            "",
            text(&self.deliver),
            text(&self.confirm),
            self.writes,
            self.seconds
        );
    }

    /// Appends one line of JSON to a file.
    pub fn append(&self, label: &str, file: &str) -> io::Result<()> {
        let fields = [
            ("secs", self.seconds),
            ("pub", self.published),
            ("conf", self.confirmed),
            ("cons", self.consumed),
            ("cpu_user", self.user),
            ("cpu_sys", self.system),
            ("cpu_per_m", self.broker_per_million),
            ("gen_per_m", self.own_per_million),
            ("gen_cores", self.own_cores),
            ("broker_cores", self.broker_cores),
            ("other_cores", self.other_cores),
            ("backlog", self.backlog as f64),
            ("rss_kib", self.rss.0 as f64),
            ("anon_kib", self.rss.1 as f64),
            ("hwm_kib", self.rss.2 as f64),
            ("write_mb", self.disk_mb),
        ];
        let fields: String = fields
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value:.4},"))
            .collect();
        let line = format!(
            "{{\"label\":\"{label}\",{fields}\"dl\":{:?},\"cf\":{:?}}}",
            self.deliver, self.confirm
        );
        let mut out = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
        writeln!(out, "{line}")
    }
}
