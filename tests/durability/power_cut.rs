//! The power goes: everything that was not synced is lost, and every write and sync from then on fails. The broker
//! stops at the first failure, and what it had promised before is there when the power is back.
//!
//! The file system of a small disk is shut down under the broker, as its own developers do in their tests.
//! `LEVERET_CRASH_ROUNDS` sets how often (default 3).

use std::path::Path;
use std::thread;
use std::time::Duration;

use harness::requests::durable;
use harness::volume::Volume;
use harness::{Broker, Client, call};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::kill_during_publish::rounds;
use crate::load;

#[test]
fn nothing_promised_is_lost_with_the_power() {
    let Some(volume) = Volume::on_disk(256) else { return };
    let settings = ["--segment-size", "4MiB", "--disk-free-limit", "32MiB"];
    let mut broker = Broker::start_on(|data: &Path| volume.link(data), &settings);
    load::declare(broker.amqp());
    let mut first = Client::with_channel(broker.amqp());
    call!(first, 1, durable("alarm clock") => QueueDeclareOk);
    drop(first);
    let mut confirmed = 0;
    for round in 0..rounds(3) {
        let span = Duration::from_millis(StdRng::seed_from_u64(round.into()).random_range(100..700));
        let address = broker.amqp();
        let mut last = Client::with_channel(address);
        let history = load::run_deaf_at_last(address, round, |deaf| {
            thread::sleep(span);
            // With the power the broker would be gone, too. As it isn't, it may take a sync for done that the file
            // system was about to do when it was shut down: ext4 doesn't tell of extents that could not be converted
            // any more.
            deaf();
            volume.cut();
            // Publishers whose windows were full have nothing more to send: without work for the log a broker does not
            // notice.
            let _ = last.try_publish_persistent(1, "", "alarm clock", b"still there?");
            let status = broker.exits(Duration::from_secs(20));
            let status = status.expect("a broker that can't sync stops");
            assert_eq!(status.code(), Some(1));
        });
        let log = broker.stderr();
        assert!(log.contains("the log has failed; the broker stops"), "{log}");
        volume.power_on();
        broker = broker.restart();
        let what = format!("round {round}, cut after {span:?}");
        let summary = load::check(broker.amqp(), &history, &what);
        println!("{what}: {summary:?}");
        confirmed += summary.confirmed;
    }
    assert!(confirmed > 0, "the publishers got confirms");
}
