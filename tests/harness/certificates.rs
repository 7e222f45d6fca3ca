//! Keys and certificates, by the `openssl` of the machine.
//!
//! In: a folder, and the words of a command. Out: files in the folder. Does not know what they are for.

use std::path::Path;
use std::process::Command;

/// Runs `openssl` with these arguments, which have no spaces in them.
pub fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output();
    let output = output.expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
