//! `leveret`, unless it is called `leveret-operator`: one executable, see `program`.

use std::process::ExitCode;

fn main() -> ExitCode {
    leveret_operator::program::main()
}
