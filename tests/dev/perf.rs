//! `leveret perf` against the built broker: what it counts is what happened.

use std::process::{Command, Output, Stdio};

use harness::broker_process::Broker;
use harness::place;
use serde_json::Value;

use crate::text;

fn perf(line: &str) -> Output {
    let mut command = Command::new(place::program("leveret", "LEVERET_BIN"));
    command.arg("perf").args(line.split_whitespace()).stdin(Stdio::null());
    command.output().expect("leveret runs")
}

/// The JSON that a run on a broker ends with.
fn figures(broker: &Broker, line: &str) -> Value {
    let output = perf(&format!("--json -i 0 -h amqp://{} {line}", broker.amqp()));
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)))
}

fn total(figures: &Value, what: &str) -> u64 {
    figures[what]["total"]
        .as_u64()
        .unwrap_or_else(|| panic!("no {what} in {figures}"))
}

/// Messages that wait in a queue.
fn depth(broker: &Broker, queue: &str) -> u64 {
    let output = perf(&format!("depth -u {queue} -h amqp://{} --patience 1", broker.amqp()));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let depth: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    depth["messages"].as_u64().expect("a number")
}

#[test]
fn every_message_of_a_count_is_confirmed_consumed_and_acknowledged() {
    let broker = Broker::start();
    let line = "-x 3 -y 2 -C 1001 -s 1,100,5000 -f persistent -c 50 -q 100 -A 7 -u counted";
    let run = figures(&broker, line);
    assert_eq!(
        ["published", "confirmed", "consumed"].map(|what| total(&run, what)),
        [3003; 3],
        "{run}"
    );
    assert_eq!((run["nacked"].as_u64(), run["backlog"].as_u64()), (Some(0), Some(0)));
    assert_eq!(run["confirm_ms"]["count"], 3003);
    // A body of one octet has no room for the time.
    assert_eq!(run["deliver_ms"]["count"], 3 * (334 + 333));
    let (p50, p99) = (&run["confirm_ms"]["p50"], &run["confirm_ms"]["p99"]);
    assert!(p50.as_f64().expect("ms") > 0.0 && p50.as_f64() <= p99.as_f64(), "{run}");
    assert_eq!(
        run["broker_product"].as_str().map(|name| name.starts_with("Leveret")),
        Some(true),
        "{run}"
    );
    assert_eq!(
        depth(&broker, "counted"),
        0,
        "the last messages have been acknowledged, too"
    );
}

#[test]
fn a_fan_out_and_a_backlog_are_counted() {
    let broker = Broker::start();
    let line = "-e all -t fanout --queue-pattern fan-%d --queue-pattern-to 4 -y 4 -a -C 500 --delete";
    let fan = figures(&broker, line);
    assert_eq!(
        (total(&fan, "published"), total(&fan, "consumed")),
        (500, 2000),
        "{fan}"
    );
    let filled = figures(&broker, "-y 0 -C 300 -c 10 -u backlog");
    assert_eq!(
        (total(&filled, "confirmed"), filled["backlog"].as_u64()),
        (300, Some(300))
    );
    assert_eq!(depth(&broker, "backlog"), 300);
    let drained = figures(&broker, "-x 0 -D 100 -y 2 -q 10 -A 5 -u backlog");
    assert_eq!(total(&drained, "consumed"), 200);
    assert_eq!(depth(&broker, "backlog"), 100);
    let unroutable = figures(&broker, "-y 0 -C 20 -c 5 -f mandatory -k nowhere -u backlog");
    assert_eq!(
        (unroutable["returned"].as_u64(), total(&unroutable, "confirmed")),
        (Some(20), 20)
    );
}

#[test]
fn a_rate_is_kept_and_told_every_second() {
    let broker = Broker::start();
    let rate = "-x 4 -r 250 -z 2 --warmup 0.5 -c 100 -f persistent -i 0.5";
    let output = perf(&format!("{rate} --pid {} -h amqp://{}", broker.pid(), broker.amqp()));
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said} {}", text(&output.stderr));
    let lines: Vec<&str> = said.lines().filter(|line| line.contains(" published ")).collect();
    assert!(lines.len() >= 4, "{said}");
    for part in ["messages/s", "latency, ms", "p99.9", "this generator", "broker memory"] {
        assert!(said.contains(part), "no '{part}' in\n{said}");
    }
    let row = said.lines().find(|line| line.starts_with("published")).expect("a row");
    let per_second = row.split_whitespace().nth(1).expect("a rate").replace(',', "");
    let per_second: f64 = per_second.parse().expect("a number");
    assert!((900.0..=1100.0).contains(&per_second), "{row}");
}

#[test]
fn what_the_broker_refuses_is_told_in_its_words() {
    let broker = Broker::start();
    let address = broker.amqp();
    for (line, words) in [
        (format!("-h amqp://guest:wrong@{address} -z 1"), "ACCESS_REFUSED"),
        (format!("-h amqp://{address}/nowhere -z 1"), "NOT_ALLOWED"),
        (
            format!("-h amqp://{address} -p -u nowhere -x 0 -z 5"),
            "no queue 'nowhere'",
        ),
        (format!("-h amqp://{address} -e here -t strange -z 1"), "strange"),
    ] {
        let output = perf(&line);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        assert!(said.contains(words), "{line}: {said}");
    }
    let nobody = perf("-h amqp://127.0.0.1:1 -z 1");
    assert!(
        text(&nobody.stderr).contains("cannot connect to 127.0.0.1:1"),
        "{}",
        text(&nobody.stderr)
    );
    let late = perf(&format!("-h amqp://{address} -r 10 -C 1000 -z 1"));
    assert!(text(&late.stderr).contains("of 1000"), "{}", text(&late.stderr));
}

#[test]
fn small_measurements_measure() {
    let broker = Broker::start();
    let at = format!("-h amqp://{} --settle 0", broker.amqp());
    for line in ["declare 50 --durable", "delete 50 --pipelined", "bind 50", "conns 20"] {
        let output = perf(&format!("{line} {at}"));
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        let cost: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(cost["per_second"].as_f64().expect("a rate") > 1.0, "{line}: {cost}");
    }
}
