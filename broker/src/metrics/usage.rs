//! What this process takes of the machine.
//!
//! Comes in: what the kernel says. Goes out: bytes and counts. Does not know about the broker.

use crate::files::read_small;
use std::path::Path;

/// Resources of the machine that this process takes.
pub struct Usage {
    /// Memory, bytes.
    pub resident_bytes: u64,
    /// Open files and sockets.
    pub fd_used: u64,
    /// Most of them.
    pub fd_limit: u64,
    /// Threads.
    pub threads: u64,
    /// Room left where the data is, bytes.
    pub disk_free_bytes: u64,
}

impl Usage {
    /// As the kernel says; what it doesn't say is 0.
    pub fn now(data_dir: &Path) -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let disk = rustix::fs::statvfs(data_dir);
        let status = read_small("/proc/self/status").unwrap_or_default();
        let told = |name| number(&status, name).unwrap_or_default();
        Self {
            // In KiB, whatever the page size.
            resident_bytes: told("VmRSS:") * 1024,
            threads: told("Threads:"),
            fd_used: open_files(),
            fd_limit: limit.current.unwrap_or_default(),
            disk_free_bytes: disk.map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        }
    }
}

/// Kernels since 6.2 tell the number as the folder's size; before, the names are counted.
fn open_files() -> u64 {
    const OPEN: &str = "/proc/self/fd";
    match std::fs::metadata(OPEN).map_or(0, |folder| folder.len()) {
        0 => std::fs::read_dir(OPEN).map_or(0, |entries| entries.count() as u64),
        told => told,
    }
}

/// A number of `/proc/self/status`, proc(5).
fn number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
