//! Where things are: the built programs, the repository, the cache outside the clone.
//!
//! In: the environment and the test's own path. Out: paths.
//! Does not know about what is done with them.

use std::env;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the repository")
        .to_path_buf()
}

/// The folder where test tools are kept between runs: `LEVERET_TEST_CACHE`, by default `~/.cache/leveret-test`.
pub fn cache() -> PathBuf {
    env::var_os("LEVERET_TEST_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        let home = env::var_os("HOME").map(PathBuf::from).expect("HOME is set");
        home.join(".cache/leveret-test")
    })
}

/// A program of this workspace: what `variable` names, or the binary next to the test's own. Panics when it was not
/// built, since a test of a program that is not there says nothing.
pub fn program(name: &str, variable: &str) -> PathBuf {
    if let Some(path) = env::var_os(variable) {
        return PathBuf::from(path);
    }
    let test = env::current_exe().expect("the test's own path");
    let built = test
        .ancestors()
        .skip(1)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    built.unwrap_or_else(|| {
        panic!(
            "{name} is not built beside {}: run `cargo build --workspace --bins --examples`, or set {variable}",
            test.display()
        )
    })
}
