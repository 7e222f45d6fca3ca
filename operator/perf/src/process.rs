//! Clock, CPU and memory, as the kernel counts them.
//!
//! In: process ids. Out: nanoseconds, CPU seconds, KiB. Reads `/proc`; where a figure is missing there is `None`.
//! Does not know about brokers.

use std::fs;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds since the machine started. The same for all processes on it, so that two of them can measure one way.
#[must_use]
pub fn now() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// CPU seconds of this process, user and system.
#[must_use]
pub fn own_cpu() -> f64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime)) as f64 / 1e9
}

fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

/// The resources a process has used since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU seconds outside the kernel.
    pub user: f64,
    /// CPU seconds inside the kernel.
    pub system: f64,
    /// Memory that is resident now, KiB.
    pub rss: u64,
    /// Of that, what belongs to no file, KiB.
    pub anonymous: u64,
    /// The most that was ever resident, KiB.
    pub peak: u64,
    /// Octets that it caused to be written to storage.
    pub written: u64,
}

/// The resources a process of this machine has used; `None` if there is none with this id.
#[must_use]
pub fn usage(pid: u32) -> Option<Usage> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let (user, system) = cpu_of(&read("stat")?)?;
    let status = read("status")?;
    // Another user's /proc/PID/io cannot be read: then nothing is known of what it wrote.
    let written = read("io").and_then(|text| field(&text, "write_bytes:"));
    Some(Usage {
        user,
        system,
        rss: field(&status, "VmRSS:")?,
        anonymous: field(&status, "RssAnon:").unwrap_or_default(),
        peak: field(&status, "VmHWM:").unwrap_or_default(),
        written: written.unwrap_or_default(),
    })
}

/// User and system seconds from `/proc/PID/stat`: the 14th and 15th field, counted behind the name, which may hold
/// spaces.
fn cpu_of(stat: &str) -> Option<(f64, f64)> {
    let behind = stat.get(stat.rfind(')')? + 1..)?;
    let mut fields = behind.split_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / clock_ticks_per_second() as f64);
    Some((seconds()?, seconds()?))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// CPU seconds that all processes of the machine have used together.
#[must_use]
pub fn machine_cpu() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    busy(&text) / clock_ticks_per_second() as f64
}

/// The ticks of the first line that are neither idle nor waiting for a disk.
fn busy(stat: &str) -> f64 {
    let line = stat.lines().next().unwrap_or_default();
    let ticks = line.split_whitespace().skip(1).take(7).enumerate();
    ticks
        .filter(|(at, _)| !matches!(at, 3 | 4))
        .filter_map(|(_, ticks)| ticks.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_anything() {
        let ticks = clock_ticks_per_second() as f64;
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(cpu_of(stat), Some((250.0 / ticks, 50.0 / ticks)));
        assert_eq!(cpu_of("7 (a"), None);
    }

    #[test]
    fn idle_time_is_not_busy_time() {
        assert!((busy("cpu  1 2 4 100 200 8 16 32\ncpu0 1") - 31.0).abs() < f64::EPSILON);
        assert!(busy("").abs() < f64::EPSILON);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let own = usage(std::process::id()).expect("this process");
        assert!(own.rss > 100 && own.peak >= own.rss, "{own:?}");
        assert!(own_cpu() > 0.0 && machine_cpu() >= 0.0 && now() > 0);
        assert_eq!(usage(u32::MAX), None);
    }
}
