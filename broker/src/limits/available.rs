//! Memory that this process may use: its control group's limit, or the machine's memory.
//!
//! Comes in: files of the kernel (proc(5), cgroups(7), both versions). Goes out: bytes.

use crate::files::read_small;
use std::path::{Path, PathBuf};

/// Folder in which control groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// Memory that is assumed if nothing is known, bytes.
const UNKNOWN: u64 = 1 << 30;

/// Memory that this process may use, bytes.
pub fn memory_limit() -> u64 {
    let groups = read_small("/proc/self/cgroup").unwrap_or_default();
    let limits = files(&groups).into_iter().filter_map(|path| number(&path));
    limits.chain(machine()).min().unwrap_or(UNKNOWN)
}

/// A number in a file. Without a limit version 2 says `max`, version 1 a number near 2^63.
fn number(path: &Path) -> Option<u64> {
    read_small(path.to_str()?)?.trim().parse().ok()
}

fn machine() -> Option<u64> {
    let text = read_small("/proc/meminfo")?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The files in which a limit may stand: those of the process's groups and of all groups above, since the lowest limit
/// counts. In a container its group is often the root of what is mounted, whatever the kernel calls it: the root is
/// always among them.
fn files(groups: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut add = |mount: &str, group: &str, names: &[&str]| {
        let root = Path::new(MOUNT).join(mount);
        let group = root.join(group.trim_start_matches('/'));
        let above = group.ancestors().take_while(|folder| folder.starts_with(&root));
        found.extend(above.flat_map(|folder| names.iter().map(move |name| folder.join(name))));
    };
    // At `memory.high` the kernel slows a process down until it hardly moves: that is a limit too.
    const SECOND: [&str; 2] = ["memory.max", "memory.high"];
    const FIRST: [&str; 1] = ["memory.limit_in_bytes"];
    add("", "", &SECOND);
    add("memory", "", &FIRST);
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        match (fields.next(), fields.next()) {
            (Some(""), Some(group)) => {
                add("", group, &SECOND);
                add("unified", group, &SECOND);
            }
            (Some(controllers), Some(group)) if controllers.split(',').any(|one| one == "memory") => {
                add("memory", group, &FIRST);
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(groups: &str, path: &str) -> bool {
        files(groups).contains(&Path::new(MOUNT).join(path))
    }

    #[test]
    fn the_groups_of_both_versions_and_those_above_are_asked() {
        let second = "0::/kubepods/pod1/broker\n";
        assert!(has(second, "kubepods/pod1/broker/memory.max"));
        assert!(has(second, "kubepods/memory.max") && has(second, "memory.high"));
        let first = "12:cpu,cpuacct:/a\n4:memory:/kubepods/broker\n0::/\n";
        assert!(has(first, "memory/kubepods/broker/memory.limit_in_bytes"));
        assert!(has(first, "memory/kubepods/memory.limit_in_bytes"));
        assert!(
            !files(first)
                .iter()
                .any(|path| path.ends_with("a/memory.limit_in_bytes"))
        );
        for unknown in ["", "nonsense", "1:"] {
            assert!(has(unknown, "memory.max") && has(unknown, "memory/memory.limit_in_bytes"));
        }
    }

    #[test]
    fn this_machine_has_a_limit() {
        assert!((1 << 20..1 << 50).contains(&memory_limit()), "{}", memory_limit());
    }
}
