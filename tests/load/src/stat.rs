//! Clock, CPU and memory figures, and a log-linear histogram.
use std::fs;

pub fn now_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// CPU seconds of this process.
pub fn own_cpu() -> f64 {
    let mut r: libc::rusage = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut r) };
    let s = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    s(r.ru_utime) + s(r.ru_stime)
}

/// User and system CPU seconds of a process.
pub fn cpu(pid: u32) -> Option<(f64, f64)> {
    let s = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let f: Vec<&str> = s[s.rfind(')')? + 2..].split(' ').collect();
    Some((f[11].parse::<f64>().ok()? / 100.0, f[12].parse::<f64>().ok()? / 100.0))
}

/// (VmRSS, RssAnon, VmHWM) in KiB.
pub fn rss(pid: u32) -> Option<(u64, u64, u64)> {
    let s = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let get = |k: &str| {
        s.lines()
            .find(|l| l.starts_with(k))?
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    Some((get("VmRSS:")?, get("RssAnon:")?, get("VmHWM:")?))
}

/// Bytes the process caused to be written to storage.
pub fn write_bytes(pid: u32) -> Option<u64> {
    let s = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    s.lines()
        .find(|l| l.starts_with("write_bytes:"))?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// CPU seconds all processes of the machine used (user, nice, system, irq, softirq).
pub fn machine_cpu() -> f64 {
    let s = fs::read_to_string("/proc/stat").unwrap_or_default();
    let f: Vec<f64> = s
        .lines()
        .next()
        .unwrap_or("")
        .split_whitespace()
        .skip(1)
        .filter_map(|x| x.parse().ok())
        .collect();
    if f.len() < 7 {
        0.0
    } else {
        (f[0] + f[1] + f[2] + f[5] + f[6]) / 100.0
    }
}

const SUB: u32 = 7; // 128 steps per doubling: within 0.8 %
#[derive(Clone)]
pub struct Hist(Vec<u64>);
impl Hist {
    pub fn new() -> Hist {
        Hist(vec![0; 64 << SUB])
    }
    pub fn add(&mut self, v: u64) {
        let m = 63 - (v | 1 << SUB).leading_zeros();
        let e = m - SUB;
        let i = ((e as usize) << SUB) + (v >> e) as usize;
        self.0[i] += 1;
    }
    pub fn merge(&mut self, o: &Hist) {
        self.0.iter_mut().zip(&o.0).for_each(|(a, b)| *a += b);
    }
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }
    /// Microseconds at quantile q of values in nanoseconds.
    pub fn us(&self, q: f64) -> f64 {
        let want = ((self.count() as f64 * q).ceil() as u64).max(1);
        let mut n = 0;
        for (i, c) in self.0.iter().enumerate() {
            n += c;
            if n >= want {
                let e = (i >> SUB).saturating_sub(1) as u32;
                let v = (i - ((e as usize) << SUB)) as u64;
                return ((v << e) as f64 + (1u64 << e) as f64 / 2.0) / 1000.0;
            }
        }
        0.0
    }
}
