//! Eight attackers do random acts beside a client with a normal load, in a container of 256 MiB.
//!
//! `LEVERET_SOAK_SECS` sets the time (default 6), `LEVERET_SOAK_P99_MS` the bound of the normal load's confirms
//! (default 1000, for a broker that isn't optimised), `LEVERET_SOAK_SEED` the choice of acts; `LEVERET_SOAK_ACTS` is a
//! part of the names of those that there are to be.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use harness::http::Http;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::bystander::Bystander;
use crate::small_broker;
use acts::{ACTS, Target};

/// The acts.
mod acts;

/// A client that doesn't listen.
mod attacker;

/// Attackers at a time.
const ATTACKERS: u64 = 8;
/// Memory that may stay when all attackers have gone, bytes: what an allocator keeps.
const KEPT: u64 = 64 << 20;

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} is a number: {text}"))
    })
}

#[test]
fn attackers_by_the_eight_leave_a_normal_load_alone() {
    let span = Duration::from_secs(setting("LEVERET_SOAK_SECS", 6));
    let seed = setting("LEVERET_SOAK_SEED", rand::rng().random());
    println!("LEVERET_SOAK_SEED={seed}");
    let Some((group, broker)) = small_broker(&["--segment-size", "4MiB"]) else {
        return;
    };
    let target = Target {
        amqp: broker.amqp(),
        http: broker.http(),
        metrics: broker.metrics(),
    };
    let idle = group.anonymous();
    let bystander = Bystander::start(target.amqp);
    let wanted = std::env::var("LEVERET_SOAK_ACTS").unwrap_or_default();
    let acts: Vec<_> = ACTS.iter().filter(|(name, _)| name.contains(&wanted)).collect();
    let done = Mutex::new(BTreeMap::<&str, [u32; 2]>::new());
    let until = Instant::now() + span;
    thread::scope(|scope| {
        for number in 0..ATTACKERS {
            let (done, acts) = (&done, &acts);
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(number));
            scope.spawn(move || {
                while Instant::now() < until {
                    let (name, act) = acts.choose(&mut random).expect("there are acts");
                    let result = act(target, &mut random);
                    let mut done = done.lock().expect("no attacker fails with the lock");
                    let counts = done.entry(name).or_default();
                    counts[usize::from(result.is_err())] += 1;
                }
            });
        }
    });
    println!("{} KiB more than idle", group.anonymous().saturating_sub(idle) >> 10);
    let seen = bystander.end();
    let done = done.into_inner().expect("no attacker fails with the lock");
    println!("{seen:?}\nacts by result, carried out and cut short: {done:#?}");
    assert_eq!(group.killed(), 0, "the kernel killed the broker");
    let bound = Duration::from_millis(setting("LEVERET_SOAK_P99_MS", 1000));
    assert!(seen.p99 < bound, "{seen:?}: above {bound:?}");
    let api = Http::new(target.http);
    harness::wait::until("what attackers made has gone", Duration::from_secs(60), || {
        let overview = api.get("/api/overview");
        let objects = &overview["object_totals"];
        objects["queues"] == 1 && objects["connections"] == 0
    });
    harness::wait::until("memory is given back", Duration::from_secs(60), || {
        group.anonymous() < idle + KEPT
    });
}
