//! `leveret-operator`, the same executable as `leveret` under its other name: for a build that links nothing.

use std::process::ExitCode;

fn main() -> ExitCode {
    leveret_operator::program::main()
}
