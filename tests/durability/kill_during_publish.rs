//! `kill -9` while eight publishers wait for confirms and a consumer acknowledges: again and again, on the same files.
//!
//! `LEVERET_CRASH_ROUNDS` sets how often (default 10).

use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{load, small};

/// Acknowledgements are synced within 50 ms: one round's must be on disk before the next ends.
const LEAST: u64 = 150;

pub(crate) fn rounds(default: u32) -> u32 {
    let rounds = std::env::var("LEVERET_CRASH_ROUNDS");
    rounds.map_or(default, |rounds| {
        rounds.parse().expect("LEVERET_CRASH_ROUNDS is a number")
    })
}

#[test]
fn no_confirmed_message_is_lost() {
    let mut broker = small();
    load::declare(broker.amqp());
    let (mut confirmed, mut slowest) = (0, Duration::ZERO);
    for round in 0..rounds(10) {
        let mut random = StdRng::seed_from_u64(round.into());
        let span = Duration::from_millis(random.random_range(LEAST..700));
        let address = broker.amqp();
        let history = load::run(address, round, || {
            thread::sleep(span);
            broker.kill();
        });
        let start = Instant::now();
        broker = broker.restart();
        slowest = slowest.max(start.elapsed());
        let what = format!("round {round}, killed after {span:?}");
        let summary = load::check(broker.amqp(), &history, &what);
        confirmed += summary.confirmed;
        println!("{what}: {summary:?}");
    }
    let rounds = rounds(10);
    println!("{rounds} rounds, {confirmed} confirmed messages, none lost; slowest start {slowest:?}");
    assert!(confirmed > 0, "the publishers got confirms");
}
