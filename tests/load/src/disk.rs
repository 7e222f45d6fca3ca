//! What the disk can do: appends into preallocated space with fdatasync, and sequential writes.
use crate::stat::{Hist, now_ns};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

pub fn disk(dir: &str, secs: f64) -> io::Result<()> {
    let path = format!("{dir}/load-disk.tmp");
    for (what, prealloc) in [
        ("into zero-filled space", 2),
        ("into fallocate'd space", 1),
        ("growing the file", 0),
    ] {
        for size in [4096usize, 65536, 1 << 20] {
            let f = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
            let cap = 512u64 << 20;
            if prealloc > 0 {
                unsafe { libc::posix_fallocate(f.as_raw_fd(), 0, cap as i64) };
            }
            if prealloc == 2 {
                let z = vec![0u8; 1 << 20];
                for i in 0..cap >> 20 {
                    f.write_all_at(&z, i << 20)?;
                }
            }
            f.sync_all()?;
            let (b, mut at, mut h) = (vec![1u8; size], 0u64, Hist::new());
            let t = now_ns();
            while ((now_ns() - t) as f64) < secs * 1e9 && at + (size as u64) < cap {
                let t = now_ns();
                f.write_all_at(&b, at)?;
                f.sync_data()?;
                h.add(now_ns() - t);
                at += size as u64;
            }
            let dt = (now_ns() - t) as f64 / 1e9;
            println!(
                "write {size} B + fdatasync {what}: p50 {:.0} us p99 {:.0} us p99.9 {:.0} us max {:.0} us, {:.0}/s, {:.1} MB/s",
                h.us(0.5),
                h.us(0.99),
                h.us(0.999),
                h.us(1.0),
                h.count() as f64 / dt,
                at as f64 / dt / 1e6
            );
        }
    }
    let f = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let (b, t) = (vec![1u8; 1 << 20], now_ns());
    for i in 0..4096u64 {
        f.write_all_at(&b, i << 20)?;
    }
    let dt = (now_ns() - t) as f64 / 1e9;
    f.sync_data()?;
    let all = (now_ns() - t) as f64 / 1e9;
    println!(
        "sequential 4 GiB in 1 MiB writes: {:.0} MB/s into the page cache, {:.0} MB/s with the final fdatasync",
        4294.97 / dt,
        4294.97 / all
    );
    std::fs::remove_file(&path)
}
