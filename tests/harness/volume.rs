//! Small file systems of a test's own: to be filled up, and to be cut off as a power failure does.
//!
//! In: a size. Out: a mounted folder that goes with the handle. Needs root; without it there is none.
//! Does not know about what is stored there.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{place, reaper, skip};

/// A mounted file system.
#[derive(Debug)]
pub struct Volume {
    folder: TempDir,
    image: bool,
}

impl Volume {
    /// A file system of a size in MiB, in memory; `None`, and the reason printed, where nothing may be mounted.
    pub fn in_memory(mebibytes: u64) -> Option<Volume> {
        let volume = Volume::new(false)?;
        let size = format!("size={mebibytes}m,mode=755");
        volume.mount(&["-t", "tmpfs", "-o", &size, "tmpfs"]).then_some(volume)
    }

    /// An ext4 of a size in MiB on a loop device over a file, with a journal as real disks have it.
    pub fn on_disk(mebibytes: u64) -> Option<Volume> {
        let volume = Volume::new(true)?;
        let image = File::create(volume.image()).expect("a file");
        image.set_len(mebibytes << 20).expect("a sparse file");
        // No blocks are set aside for root, who runs this: full is full.
        let made = run("mkfs.ext4", &["-q", "-F", "-m", "0", &shown(&volume.image())]);
        (made && volume.mount_image()).then_some(volume)
    }

    fn new(image: bool) -> Option<Volume> {
        if !rustix::process::geteuid().is_root() {
            skip("REQUIRE_MOUNTS", "only root may mount file systems");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("leveret-volume-").tempdir();
        let folder = folder.expect("a temporary folder");
        fs::create_dir(folder.path().join("mounted")).expect("a new folder");
        Some(Volume { folder, image })
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Its mount point.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// Makes `link` a link to a folder on it: what a broker takes for its data directory.
    pub fn link(&self, link: &Path) {
        let data = self.path().join("data");
        fs::create_dir_all(&data).expect("a folder on the volume");
        symlink(data, link).expect("a link");
    }

    fn mount(&self, arguments: &[&str]) -> bool {
        let point = shown(&self.path());
        if !run("mount", &[arguments, &[&point]].concat()) {
            skip("REQUIRE_MOUNTS", "this machine doesn't let root mount a file system");
            return false;
        }
        reaper::mounted(&self.path(), self.folder.path());
        true
    }

    fn mount_image(&self) -> bool {
        self.mount(&["-t", "ext4", "-o", "loop", &shown(&self.image())])
    }

    fn unmount(&self) {
        if run("umount", &["-l", &shown(&self.path())]) {
            reaper::unmounted(&self.path());
        }
    }

    /// Free octets.
    pub fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path()).expect("it is mounted");
        found.f_bavail * found.f_frsize
    }

    /// Takes all but `left` octets, as another program on the same disk would.
    pub fn fill_but(&self, left: u64) {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.ballast())
            .expect("a file on it");
        let chunk = vec![1; 64 << 10];
        loop {
            let room = self.free().saturating_sub(left).min(chunk.len() as u64) as usize;
            // Without room for a block the file system still counts a few free octets.
            if room == 0 || file.write_all(&chunk[..room]).is_err() {
                return;
            }
        }
    }

    /// Gives back what [`Volume::fill_but`] took.
    pub fn clear(&self) {
        fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Cuts the power: nothing reaches the device from now on, what was not synced is lost, every write and sync fails.
    /// Only for a volume on disk.
    pub fn cut(&self) {
        assert!(self.image, "memory has no power to lose");
        // The file system's own switch for tests like this; without flushing its journal.
        let script = "import fcntl, os, struct, sys\n\
                      fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
        assert!(
            run("python3", &["-c", script, &shown(&self.path())]),
            "ext4 can be shut down"
        );
    }

    /// Mounts it again as after a power failure: the journal is played, what was in memory is gone.
    pub fn power_on(&self) {
        assert!(run("umount", &[&shown(&self.path())]), "it is not in use any more");
        assert!(self.mount_image(), "it was mounted before");
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn shown(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Runs a program from the system's folders, which an ordinary path may leave out.
fn run(program: &str, arguments: &[&str]) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PATH", path)
        .current_dir(place::repository());
    command.status().is_ok_and(|status| status.success())
}
