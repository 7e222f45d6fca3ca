//! The reaper: a shell that outlives the test and ends what the test left behind.
//!
//! In: process ids, folders and mounts, as they come and go. Out: nothing while the test lives; when the test's end of
//! the pipe closes, by whatever way the test ended, the processes are killed, the mounts undone and the folders
//! removed. Does not know about what the processes are.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Keeps what it is told on standard input and acts on its end.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
declare -A folder mount
while read -r word pid path; do
  case $word in
    add) folder[$pid]=$path;; gone) unset "folder[$pid]";;
    mounted) mount[$pid]=$path;; unmounted) unset "mount[$pid]";;
  esac
done
for pid in "${!folder[@]}"; do
  kill -KILL "$pid" 2>/dev/null
  [ -n "${folder[$pid]}" ] && rm -rf "${folder[$pid]}"
done
for point in "${!mount[@]}"; do
  umount -l "$point" 2>/dev/null && rm -rf "${mount[$point]}"
done
"#;

static REAPER: OnceLock<Mutex<ChildStdin>> = OnceLock::new();

/// `pid` is a child of this test; it and `folder` (if any) go when the test does.
pub fn add(pid: u32, folder: Option<&Path>) {
    tell(&format!(
        "add {pid} {}\n",
        folder.map(|path| path.display().to_string()).unwrap_or_default()
    ));
}

/// `pid` has been waited for, so its number may soon be another process's.
pub fn gone(pid: u32) {
    tell(&format!("gone {pid}\n"));
}

/// Something is mounted at `point`; that is undone, and `folder` removed, when the test goes.
pub fn mounted(point: &Path, folder: &Path) {
    tell(&format!("mounted {} {}\n", point.display(), folder.display()));
}

/// It is not mounted any more.
pub fn unmounted(point: &Path) {
    tell(&format!("unmounted {}\n", point.display()));
}

#[expect(
    clippy::zombie_processes,
    reason = "the shell outlives this process: no process can wait for it"
)]
fn tell(line: &str) {
    let pipe = REAPER.get_or_init(|| {
        let mut command = Command::new("bash");
        command
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut shell = command.spawn().expect("bash runs");
        Mutex::new(shell.stdin.take().expect("its standard input is a pipe"))
    });
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    pipe.write_all(line.as_bytes()).expect("the reaper listens");
}
