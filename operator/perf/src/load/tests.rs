use clap::Parser;

use super::*;
use crate::args::PerfArgs;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    perf: PerfArgs,
}

fn load(line: &str) -> Result<Load, String> {
    let words = std::iter::once("perf").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    Load::new(&cli.perf.load).map_err(|error| error.to_string())
}

#[test]
fn nothing_given_is_one_producer_and_one_consumer_on_a_queue_that_goes_away() {
    let load = load("").expect("a load");
    assert_eq!(
        (load.producers, load.consumers, load.sizes.as_slice()),
        (1, 1, [16].as_slice())
    );
    assert_eq!((load.window, load.ack_every, load.prefetch), (None, Some(1), 0));
    assert!(load.delete && load.declare && !load.persistent && load.time.is_none());
    assert!(
        load.queues
            .first()
            .is_some_and(|name| name.to_str_lossy().starts_with("leveret-perf-"))
    );
}

#[test]
fn the_short_names_are_those_of_perftest() {
    let line = "-x 2 -y 3 -s 16,1024 -f persistent -f mandatory -c 100 -q 500 -A 10 -z 1.5 -r 50 -C 7 -D 9 -u orders \
                -e shop -t topic -k a.b -i 2 -d mine -p -h amqp://a:b@c:1/d";
    let load = load(line).expect("a load");
    assert_eq!(
        (load.producers, load.consumers, load.sizes.as_slice()),
        (2, 3, [16, 1024].as_slice())
    );
    assert!(load.persistent && load.mandatory && !load.declare && !load.delete);
    assert_eq!((load.window, load.prefetch, load.ack_every), (Some(100), 500, Some(10)));
    assert_eq!((load.time, load.rate), (Some(Duration::from_millis(1500)), Some(50.0)));
    assert_eq!((load.publish, load.consume), (Some(7), Some(9)));
    assert_eq!(load.queues, [ShortString::from_static("orders")]);
    assert_eq!(
        load.exchange,
        Some((ShortString::from_static("shop"), "topic".to_owned()))
    );
    assert_eq!(
        (load.keys.len(), load.id.as_str(), load.address.vhost.as_str()),
        (1, "mine", "d")
    );
}

#[test]
fn a_pattern_names_many_queues() {
    let load = load("--queue-pattern q-%d --queue-pattern-from 9 --queue-pattern-to 11 -a").expect("a load");
    assert_eq!(load.queues, ["q-9", "q-10", "q-11"].map(ShortString::from_static));
    assert_eq!(load.ack_every, None);
    assert!(!load.delete, "what the user named stays");
}

#[test]
fn copies_follow_from_the_exchange() {
    let queues = "--queue-pattern q-%d --queue-pattern-to 10";
    for (exchange, copies) in [("", 1), ("-e x -t fanout", 10), ("-e x", 1), ("-e x -k all", 10)] {
        assert_eq!(
            load(&format!("{queues} {exchange}")).expect("a load").copies(),
            copies,
            "{exchange}"
        );
    }
}

#[test]
fn priorities_are_one_or_a_range() {
    let priorities = |line: &str| load(line).expect("a load").priorities;
    assert_eq!(priorities(""), [None]);
    assert_eq!(priorities("--message-properties priority=5"), [Some(5)]);
    assert_eq!(
        priorities("--message-properties priority=254-255"),
        [Some(254), Some(255)]
    );
}

#[test]
fn queue_arguments_have_types() {
    let load = load("--queue-args x-queue-type=quorum,x-max-length=10,x-single-active-consumer=true").expect("a load");
    assert_eq!(
        load.arguments.get("x-queue-type").and_then(FieldValue::as_str),
        Some("quorum")
    );
    assert_eq!(
        load.arguments.get("x-max-length").and_then(FieldValue::as_i64),
        Some(10)
    );
    assert_eq!(
        load.arguments
            .get("x-single-active-consumer")
            .and_then(FieldValue::as_bool),
        Some(true)
    );
}

#[test]
fn what_does_not_fit_is_named_with_its_value_and_a_way_out() {
    for (line, parts) in [
        (
            "--message-properties priority=9-5",
            ["--message-properties priority=9-5", "0 to 255"],
        ),
        ("-x 0 -y 0", ["--producers 0", "nothing to do"]),
        ("-x 99999", ["--producers 100000", "at most 60000"]),
        ("-s 999999999999", ["--size 999999999999", "134217728"]),
        ("-s ten", ["ten", "--size"]),
        ("-r 0", ["--rate 0", "leave it out for no limit"]),
        ("-r -1", ["--rate -1", "more than 0"]),
        ("-r NaN", ["--rate NaN", "more than 0"]),
        ("-c 0", ["--confirm 0", "leave it out for no confirms"]),
        ("-A 0", ["--multi-ack-every 0", "--autoack"]),
        ("-A 20 -q 10", ["--multi-ack-every 20", "--qos"]),
        ("-A 2 -a", ["--multi-ack-every", "cannot be used with"]),
        ("-C 0", ["--pmessages 0", "1 or more"]),
        ("-D 5 -y 0", ["--cmessages 5", "no consumer"]),
        ("-C 5 -x 0", ["--pmessages 5", "no producer"]),
        ("-C 5 --warmup 1", ["--warmup 1", "leave it out"]),
        ("-z -3", ["--time -3", "0 or more"]),
        (
            "--queue-pattern q --queue-pattern-to 3",
            ["--queue-pattern q", "%d exactly once"],
        ),
        (
            "--queue-pattern q%d-%s --queue-pattern-to 3",
            ["--queue-pattern q%d-%s", "%d exactly once"],
        ),
        ("--queue-pattern q-%d", ["--queue-pattern-to", "required"]),
        (
            "--queue-pattern q-%d --queue-pattern-from 4 --queue-pattern-to 3",
            ["--queue-pattern-from 4 to 3", "upwards"],
        ),
        ("--queue-args x-queue-type", ["--queue-args x-queue-type", "KEY=VALUE"]),
        ("-t fanout", ["--exchange", "required"]),
        ("-f durable", ["durable", "persistent, mandatory"]),
        ("-h amqps://broker/", ["--uri amqps://broker/", "no TLS"]),
        ("--batch-bytes 0", ["--batch-bytes 0", "one message per write"]),
        ("--threads 0", ["--threads 0", "1 to 64"]),
    ] {
        let error = load(line).expect_err(line);
        for part in parts {
            assert!(error.contains(part), "{line}: {error} does not say '{part}'");
        }
    }
    let long = load(&format!("-u {}", "q".repeat(256))).expect_err("too long");
    assert!(long.contains("at most 255 octets"), "{long}");
}
