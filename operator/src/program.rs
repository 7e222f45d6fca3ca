//! One executable, two programs: it is told apart by the name that it is called by.
//!
//! In: the first word of the command line. Out: the exit code of the program of that name. Does not know about flags.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use crate::command::{leveret, operator};

/// musl's own allocator asks the system for most blocks and has one lock: with it, reading ten thousand resources takes
/// twice as long.
#[global_allocator]
static ALLOCATOR: leveret_alloc::MiMalloc = leveret_alloc::MiMalloc;

/// Called by this name, by a link for instance, it is the operator.
const OPERATOR: &str = "leveret-operator";

/// Runs the operator if it is called `leveret-operator`, and the command line `leveret` under every other name:
/// `kubectl-leveret`, or what a user has renamed it to.
pub fn main() -> ExitCode {
    // Several libraries speak TLS; all must use the same provider.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("leveret: a TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    if is_operator(std::env::args_os().next()) {
        operator::main()
    } else {
        leveret::main()
    }
}

/// By the file's name alone: a shell gives the word that was typed, a container its whole path.
fn is_operator(called: Option<OsString>) -> bool {
    called.is_some_and(|called| Path::new(&called).file_name().is_some_and(|name| name == OPERATOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_decides() {
        for called in ["leveret-operator", "/leveret-operator", "./bin/leveret-operator"] {
            assert!(is_operator(Some(called.into())), "{called}");
        }
        let others = [
            "leveret",
            "/leveret",
            "kubectl-leveret",
            "leveret-operator/leveret",
            "lev",
            "",
            "/",
        ];
        for called in others {
            assert!(!is_operator(Some(called.into())), "{called}");
        }
        assert!(!is_operator(None));
    }
}
