//! Control groups of a test's own: a process with little memory, as in a container.
//!
//! In: a limit. Out: a group to start a process in, and what the kernel counted for it. Both versions of cgroups(7).
//! Needs root. Does not know about the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::skip;

/// A group with limited memory. Removed with the handle; its processes must have ended.
#[derive(Debug)]
pub struct ControlGroup {
    folder: PathBuf,
    second: bool,
}

impl ControlGroup {
    /// A group with a limit of memory in MiB, page cache included; `None`, and the reason printed, where there is
    /// none.
    pub fn with_memory(mebibytes: u64) -> Option<ControlGroup> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "leveret-test-{}-{}",
            process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let found = first()
            .map(|above| (above, false))
            .or_else(|| second().map(|above| (above, true)));
        let made = found.and_then(|(above, second)| {
            let folder = above.join(name);
            fs::create_dir(&folder).ok()?;
            let group = ControlGroup { folder, second };
            let limit = group
                .folder
                .join(if second { "memory.max" } else { "memory.limit_in_bytes" });
            fs::write(limit, (mebibytes << 20).to_string()).ok().map(|()| group)
        });
        if made.is_none() {
            skip(
                "REQUIRE_CGROUPS",
                "no control group with a memory limit can be made; that needs root",
            );
        }
        made
    }

    /// The command that starts a process inside the group.
    pub fn wrapper(&self) -> [String; 4] {
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.folder.display());
        ["sh".into(), "-c".into(), enter, "sh".into()]
    }

    /// Processes of the group that the kernel killed for memory.
    pub fn killed(&self) -> u64 {
        let file = if self.second {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        self.field(file, "oom_kill")
    }

    /// Memory that no file stands behind, octets: what can't be given up.
    pub fn anonymous(&self) -> u64 {
        self.field("memory.stat", if self.second { "anon" } else { "rss" })
    }

    /// Page cache, octets.
    pub fn cache(&self) -> u64 {
        self.field("memory.stat", if self.second { "file" } else { "cache" })
    }

    fn field(&self, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("{file} has {name}: {text}"))
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // The kernel needs a moment to see the end of the last process.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// This process's own group of version 1, below which others can be made.
fn first() -> Option<PathBuf> {
    let mount = Path::new("/sys/fs/cgroup/memory");
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.split_once(":memory:"))?.1;
    let group = mount.join(own.trim_start_matches('/'));
    let exists = |group: &PathBuf| group.join("memory.limit_in_bytes").is_file();
    [group, mount.to_path_buf()].into_iter().find(exists)
}

/// The root of version 2, if it lets groups below it have memory limits.
fn second() -> Option<PathBuf> {
    let mount = PathBuf::from("/sys/fs/cgroup");
    let controllers = fs::read_to_string(mount.join("cgroup.controllers")).ok()?;
    let has = controllers.split_whitespace().any(|one| one == "memory");
    has.then(|| fs::write(mount.join("cgroup.subtree_control"), "+memory").ok())??;
    Some(mount)
}
