//! The clients' tool chains: installed once from their registries into the cache outside the clone.
//!
//! In: names and versions. Out: programs that run, or why there are none.
//! Does not know about brokers.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use harness::place;
use harness::programs::{Tool, done, installed, run};

use crate::file;

/// pika, from PyPI.
const PIKA: &str = "pika==1.4.4";

/// pyzmq, from PyPI; its wheel has libzmq inside.
const PYZMQ: &str = "pyzmq==27.3.0";

/// Celery, from PyPI, and what of its needs speaks AMQP.
const CELERY: &str = "celery==5.7.0";
const CELERY_NEEDS: [&str; 2] = ["kombu==5.7.0", "amqp==5.4.2"];

/// amqplib, from the npm registry.
const AMQPLIB: &str = "amqplib@2.3.1";

/// RabbitMQ's Java client, from Maven Central.
const JAVA_CLIENT: &str = "5.27.0";

/// A Python that has pika.
pub(crate) fn python() -> Option<PathBuf> {
    static PYTHON: Tool = Tool::new();
    installed(&PYTHON, || environment(PIKA, &[]))
}

/// A Python that has pyzmq.
pub(crate) fn zeromq_python() -> Option<PathBuf> {
    static PYTHON: Tool = Tool::new();
    installed(&PYTHON, || environment(PYZMQ, &[]))
}

/// A Python that has Celery.
pub(crate) fn celery() -> Option<PathBuf> {
    static PYTHON: Tool = Tool::new();
    installed(&PYTHON, || environment(CELERY, &CELERY_NEEDS))
}

/// The Python of a virtual environment that has a package, and those that it needs.
fn environment(package: &str, needs: &[&str]) -> Result<PathBuf, String> {
    let folder = place::cache().join(format!("python-{package}"));
    let python = folder.join("bin/python3");
    if !folder.join("done").exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let mut install = Command::new(&python);
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            package,
        ]);
        run(install.args(needs))?;
        done(&folder)?;
    }
    Ok(python)
}

/// The folder of node modules that has amqplib.
pub(crate) fn node_modules() -> Option<PathBuf> {
    static MODULES: Tool = Tool::new();
    installed(&MODULES, || {
        run(Command::new("node").arg("--version"))?;
        let folder = place::cache().join(format!("node-{AMQPLIB}"));
        if !folder.join("done").exists() {
            fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
            run(Command::new("npm")
                .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
                .arg(&folder)
                .arg(AMQPLIB))?;
            done(&folder)?;
        }
        Ok(folder.join("node_modules"))
    })
}

/// The folder of RabbitMQ's Java client and what it needs.
pub(crate) fn java_libraries() -> Option<PathBuf> {
    static LIBRARIES: Tool = Tool::new();
    installed(&LIBRARIES, || {
        let folder = place::cache().join(format!("java-{JAVA_CLIENT}"));
        let libraries = folder.join("lib");
        if !folder.join("done").exists() {
            fs::create_dir_all(&libraries).map_err(|error| error.to_string())?;
            let mut maven = Command::new("mvn");
            maven
                .args(["--quiet", "--batch-mode", "--file"])
                .arg(file("java/pom.xml"))
                .arg("dependency:copy-dependencies");
            maven
                .arg(format!("-Dclient.version={JAVA_CLIENT}"))
                .arg(format!("-DoutputDirectory={}", libraries.display()));
            run(&mut maven)?;
            done(&folder)?;
        }
        Ok(libraries)
    })
}

/// The class path of the check program in Java.
pub(crate) fn java_classes() -> Option<String> {
    static CLASSES: Tool = Tool::new();
    let libraries = java_libraries()?;
    let classes = installed(&CLASSES, || {
        let classes = libraries.with_file_name("classes");
        let mut compile = Command::new("javac");
        compile
            .args(["-cp", &format!("{}/*", libraries.display()), "-d"])
            .arg(&classes)
            .arg(file("java/Check.java"));
        run(&mut compile)?;
        Ok(classes)
    })?;
    Some(format!("{}:{}/*", classes.display(), libraries.display()))
}
