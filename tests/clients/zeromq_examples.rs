//! The programs of `examples/zeromq`, as they stand there, beside `leveret dev` with their folder, in a network of
//! their own.

use std::path::PathBuf;
use std::process::Command;

use harness::place;
use harness::programs::{own_network, said};
use tempfile::TempDir;

use crate::tools;

/// Starts `leveret dev`, and waits until everything in the folder stands.
const START: &str = r#"
start() {
  "$LEVERET" dev examples/zeromq --plain --broker-bin "$BROKER" --data-dir "$HOME/data" > "$HOME/dev.log" 2>&1 &
  dev=$!
  until grep -q 'are Ready' "$HOME/dev.log"; do kill -0 $dev || { cat "$HOME/dev.log"; exit 1; }; sleep 0.1; done
}
end() { kill -INT $dev; wait $dev; }
start
"#;

/// The broker is killed while jobs are pushed; they must all be in the queue at the end, some of them twice perhaps.
const PUSH: &str = r#"
"$PYTHON" examples/zeromq/push.py 10000 > "$HOME/push.log" &
push=$!
until grep -q 'pushed 5001' "$HOME/push.log"; do kill -0 $push; sleep 0.05; done
kill -9 $(cat /proc/$dev/task/*/children)
wait $dev || true
start
wait $push
cat "$HOME/push.log"
grep -q 'connected again' "$HOME/push.log"
curl -fsSu guest:guest -H content-type:application/json http://127.0.0.1:15672/api/queues/%2F/jobs/get \
  -d '{"count": 1000000, "ackmode": "ack_requeue_false", "encoding": "auto"}' > "$HOME/jobs.json"
"$PYTHON" -c 'import json, sys
jobs = {job["payload"] for job in json.load(open(sys.argv[1]))}
lost = [n for n in range(10000) if f"job {n}" not in jobs]
print("lost", len(lost), lost[:5])' "$HOME/jobs.json"
end
"#;

const ASK: &str = r#"
node examples/zeromq/worker.js > "$HOME/worker.log" &
worker=$!
until grep -q working "$HOME/worker.log"; do kill -0 $worker; sleep 0.1; done
"$PYTHON" examples/zeromq/ask.py 6 7
kill $worker
end
"#;

const WATCH: &str = r#"
"$PYTHON" examples/zeromq/ticks.py > "$HOME/ticks.log" &
ticks=$!
"$PYTHON" examples/zeromq/watch.py EUR
kill $ticks
end
"#;

/// Runs a script; everything that it says.
fn run(python: &PathBuf, modules: Option<&PathBuf>, script: &str) -> Option<String> {
    let prefix = own_network()?;
    let home = TempDir::new().expect("a folder");
    let mut command = Command::new(prefix[0]);
    command
        .args(&prefix[1..])
        .args(["bash", "-euc", &format!("{START}{script}")]);
    command
        .current_dir(place::repository())
        .env("HOME", home.path())
        .env("PYTHON", python)
        .env("LEVERET", place::program("leveret", "LEVERET_BIN"))
        .env("BROKER", place::program("leveret-broker", "LEVERET_BROKER_BIN"));
    if let Some(modules) = modules {
        command.env("NODE_PATH", modules);
    }
    let output = command.output().expect("bash runs");
    assert!(output.status.success(), "{}", said(&output));
    Some(said(&output))
}

#[test]
fn pushed_jobs_outlive_a_broker_that_is_killed() {
    let Some(python) = tools::zeromq_python() else { return };
    let Some(said) = run(&python, None, PUSH) else { return };
    assert!(said.contains("lost 0 []"), "{said}");
}

#[test]
fn a_question_is_answered_by_a_worker_of_amqp() {
    let (Some(python), Some(modules)) = (tools::zeromq_python(), tools::node_modules()) else {
        return;
    };
    let Some(said) = run(&python, Some(&modules), ASK) else {
        return;
    };
    assert!(said.contains("answer 42"), "{said}");
}

#[test]
fn prices_come_to_those_who_want_them() {
    let Some(python) = tools::zeromq_python() else { return };
    let Some(said) = run(&python, None, WATCH) else { return };
    let lines = said.lines().filter(|line| line.starts_with("EUR/"));
    assert!(lines.count() == 5 && !said.contains("USD/JPY"), "{said}");
}
