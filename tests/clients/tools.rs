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

/// zeromq.js, from the npm registry. The package has libzmq in it.
const ZEROMQ_JS: &str = "zeromq@6.8.0";

/// JeroMQ, from Maven Central.
const JEROMQ: &str = "0.6.0";

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
    installed(&MODULES, || modules(AMQPLIB))
}

/// The folder of node modules that has zeromq.js.
pub(crate) fn zeromq_js() -> Option<PathBuf> {
    static MODULES: Tool = Tool::new();
    installed(&MODULES, || modules(ZEROMQ_JS))
}

/// The folder of node modules that has a package.
fn modules(package: &str) -> Result<PathBuf, String> {
    run(Command::new("node").arg("--version"))?;
    let folder = place::cache().join(format!("node-{package}"));
    if !folder.join("done").exists() {
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        run(Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(&folder)
            .arg(package))?;
        done(&folder)?;
    }
    Ok(folder.join("node_modules"))
}

/// RabbitMQ's Java client.
const JAVA: Java = Java {
    cached: "java",
    version: JAVA_CLIENT,
    folder: "java",
};

/// The folder of RabbitMQ's Java client and what it needs.
pub(crate) fn java_libraries() -> Option<PathBuf> {
    static LIBRARIES: Tool = Tool::new();
    installed(&LIBRARIES, || JAVA.libraries())
}

/// The class path of the check program in Java.
pub(crate) fn java_classes() -> Option<String> {
    static CLASSES: Tool = Tool::new();
    installed(&CLASSES, || JAVA.classes()).map(class_path)
}

/// The class path of the check program with JeroMQ.
pub(crate) fn jeromq_classes() -> Option<String> {
    static CLASSES: Tool = Tool::new();
    let java = Java {
        cached: "jeromq",
        version: JEROMQ,
        folder: "zeromq/jeromq",
    };
    installed(&CLASSES, || java.classes()).map(class_path)
}

/// A client for Java with its check program: a `pom.xml` that names it, and a `Check.java`.
struct Java {
    /// The beginning of its folder in the cache.
    cached: &'static str,
    version: &'static str,
    /// The folder of `pom.xml` and `Check.java`.
    folder: &'static str,
}

impl Java {
    /// The folder of the client and what it needs.
    fn libraries(&self) -> Result<PathBuf, String> {
        let folder = place::cache().join(format!("{}-{}", self.cached, self.version));
        let libraries = folder.join("lib");
        if !folder.join("done").exists() {
            fs::create_dir_all(&libraries).map_err(|error| error.to_string())?;
            let mut maven = Command::new("mvn");
            maven
                .args(["--quiet", "--batch-mode", "--file"])
                .arg(file(self.folder).join("pom.xml"))
                .arg("dependency:copy-dependencies");
            maven
                .arg(format!("-Dclient.version={}", self.version))
                .arg(format!("-DoutputDirectory={}", libraries.display()));
            run(&mut maven)?;
            done(&folder)?;
        }
        Ok(libraries)
    }

    /// The folder of the compiled program, beside that of the client.
    fn classes(&self) -> Result<PathBuf, String> {
        let libraries = self.libraries()?;
        let classes = libraries.with_file_name("classes");
        let mut compile = Command::new("javac");
        compile
            .args(["-cp", &format!("{}/*", libraries.display()), "-d"])
            .arg(&classes)
            .arg(file(self.folder).join("Check.java"));
        run(&mut compile)?;
        Ok(classes)
    }
}

/// Compiled classes, and the libraries beside them.
fn class_path(classes: PathBuf) -> String {
    let libraries = classes.with_file_name("lib");
    format!("{}:{}/*", classes.display(), libraries.display())
}
