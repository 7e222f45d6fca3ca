//! Go's client of the API, rabbit-hole, by its own tests: from the Go proxy, against a broker with standard settings.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::Broker;
use harness::broker_process::binary;
use harness::programs::{Tool, installed, own_network, run, said};

const MODULE: &str = "github.com/michaelklishin/rabbit-hole/v3";
const VERSION: &str = "v3.2.0";

/// Tests of theirs that fail here, and why.
const FAILING: [(&str, &str); 3] = [
    (
        "DELETE /topic-permissions/{vhost}/{user}/{exchange} [It] deletes one topic permissions",
        "of an exchange that doesn't exist: RabbitMQ 4.3 refuses that, too",
    ),
    (
        "GET /api/federation-links/{vhost} when there are links [It] returns the list of links",
        "nothing is federated",
    ),
    (
        "PUT /api/parameters/{component}/{vhost}/{name} when the parameter does not exist [It] creates the parameter",
        "it finds what the one before has left",
    ),
];

/// The preparations of their `before_build.sh`: users, a vhost, the cluster's name.
const PREPARED: &str = r#"
put users/policymaker '{"password":"policymaker","tags":"policymaker"}'
put permissions/%2F/policymaker '{"configure":".*","write":".*","read":".*"}'
put vhosts/rabbit%2Fhole '{}'
put permissions/rabbit%2Fhole/guest '{"configure":".*","write":".*","read":".*"}'
put cluster-name '{"name":"rabbitmq@localhost"}'
"#;

/// Their tests, compiled into a program.
fn tests() -> Option<PathBuf> {
    static PROGRAM: Tool = Tool::new();
    installed(&PROGRAM, || {
        let folder = harness::place::cache().join(format!("rabbit-hole-{VERSION}"));
        let program = folder.join("check");
        if !folder.join("done").exists() {
            std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
            let go = |arguments: &[&str], within: &Path| {
                let mut command = Command::new("go");
                command.args(arguments).current_dir(within).env("GOTOOLCHAIN", "local");
                command.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod -modcacherw");
                command
            };
            let sources = folder.join("sources");
            let _ = std::fs::remove_dir_all(&sources);
            let mut download = go(&["mod", "download", "-json", &format!("{MODULE}@{VERSION}")], &folder);
            let output = download.output().map_err(|error| error.to_string())?;
            let told: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|_| said(&output))?;
            let module = told["Dir"].as_str().ok_or_else(|| said(&output))?;
            run(Command::new("cp")
                .args(["-r", "--no-preserve=mode", module])
                .arg(&sources))?;
            let built = program.display().to_string();
            run(&mut go(&["test", "-c", "-o", &built, "."], &sources))?;
            harness::programs::done(&folder)?;
        }
        Ok(program)
    })
}

/// They know nothing but the standard ports: they and a broker get a network of their own.
#[test]
fn its_own_tests_pass() {
    if Broker::external().is_some() {
        return;
    }
    let (Some(tests), Some(prefix)) = (tests(), own_network()) else {
        return;
    };
    let data = tempfile::tempdir().expect("a temporary folder");
    let steps = r#"
        "$1" --data-dir "$2/data" >"$2/broker" 2>&1 &
        trap "kill $!" EXIT
        for try in $(seq 300); do grep -qx ready "$2/broker" && break; sleep 0.1; done
        put() { curl -sf -u guest:guest -X PUT -d "$2" "http://127.0.0.1:15672/api/$1" || exit 1; }
        eval "$4"
        cd "$2" && "$3" --ginkgo.no-color --ginkgo.succinct -test.timeout 300s"#;
    let output = Command::new(prefix[0])
        .args(&prefix[1..])
        .args(["bash", "-c", steps, "rabbit-hole"])
        .args([&binary(), data.path(), tests.as_path()])
        .arg(PREPARED)
        .output()
        .expect("bash runs");
    let text = said(&output);
    let summary = text.split("Summarizing").nth(1).unwrap_or_default();
    let failed: Vec<&str> = summary
        .lines()
        .filter(|line| line.contains("[FAIL]") || line.contains("[PANICKED!]"))
        .map(|line| line.split("client ").nth(1).unwrap_or(line).trim())
        .collect();
    let unknown: Vec<_> = failed
        .iter()
        .filter(|name| !FAILING.iter().any(|(known, _)| known == *name))
        .collect();
    assert!(text.contains(" Passed |") && unknown.is_empty(), "{unknown:?}: {text}");
}
