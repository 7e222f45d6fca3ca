//! A day's life in an hour: three writers edit, delete and create objects at random on an API server, while brokers
//! restart and are killed, passwords change, and the operator is killed and restarted.
//!
//! At the end each broker has exactly what the objects say, every object is Ready or gone in bounded time, every
//! confirmed message of the queues that are kept is there, and the operator takes no more memory than before.
//! Brokers are processes that keep their data directories, with engine `External`: what a pod would add is the
//! kubelet's.
//!
//! `LEVERET_SOAK_SECS` sets the time (default 12), `LEVERET_SOAK_OBJECTS` their number (default 100),
//! `LEVERET_SOAK_SEED` the choice of everything; `make soak-cluster` is an hour with 500 objects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use harness::api_server::{OwnApiServer, Resources};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

use host::Host;
use objects::{BROKERS, Plan};
use stand::Stand;

/// The objects there are, and what may be written of each.
mod objects;

/// A broker with a password that changes.
mod host;

/// The objects as the API server has them, and what a broker must have by them.
mod stand;

/// Acts of writers.
mod writer;

/// Messages that must not be lost.
mod messages;

/// Objects that are being deleted: none of them hangs.
mod parting;

/// The operator: killed and restarted, then watched.
mod watched;

/// Writers at a time.
const WRITERS: usize = 3;
/// The bound for everything that is to happen by itself: troubles last some seconds each, and come one after the other.
const BOUND: Duration = Duration::from_secs(90);
/// Longer than any trouble: nothing is let go because a broker is away.
const DELETION_TIMEOUT: &str = "5m";

/// The parts that all tasks share.
struct Soak {
    resources: Resources,
    plan: Plan,
    hosts: Vec<Host>,
    seed: u64,
    begun: Instant,
    span: Duration,
}

impl Soak {
    fn goes_on(&self) -> bool {
        self.begun.elapsed() < self.span
    }

    /// Chance for one part, the same with the same seed.
    fn chance(&self, part: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_add(part))
    }

    /// Pauses around a share of the whole span, within bounds.
    async fn pause(&self, random: &mut StdRng, share: u32, bounds: [u64; 2]) {
        let [least, most] = bounds.map(Duration::from_millis);
        let middle = (self.span / share).clamp(least, most);
        let until = Instant::now() + middle.mul_f64(random.random_range(0.5..1.5));
        while self.goes_on() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} is a number: {text}"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_all_the_time_agrees_at_last() {
    let seed = setting("LEVERET_SOAK_SEED", rand::rng().random());
    println!("LEVERET_SOAK_SEED={seed}");
    let Some(plane) = OwnApiServer::start("soak") else {
        return;
    };
    let client = plane.cluster.client().await;
    let namespace = plane.cluster.namespace(&client, "soak").await;
    let objects = usize::try_from(setting("LEVERET_SOAK_OBJECTS", 100)).expect("it is small");
    let soak = Arc::new(Soak {
        resources: Resources::new(&client, &namespace),
        plan: Plan::of(objects),
        hosts: (0..BROKERS).map(Host::start).collect(),
        seed,
        begun: Instant::now(),
        span: Duration::from_secs(setting("LEVERET_SOAK_SECS", 12)),
    });
    let mut operator = watched::Watched::start(plane.cluster.clone(), namespace);
    begin(&soak).await;

    let soak = Arc::new(Soak {
        begun: Instant::now(),
        ..Arc::into_inner(soak).expect("nobody else has it yet")
    });
    let writers = (0..WRITERS).map(|number| tokio::spawn(writer::write(Arc::clone(&soak), number)));
    let senders = (0..BROKERS).map(|number| tokio::spawn(messages::send(Arc::clone(&soak), number)));
    let troubles = (0..BROKERS).map(|number| tokio::spawn(host::trouble(Arc::clone(&soak), number)));
    let partings = tokio::spawn(parting::watch(Arc::clone(&soak)));
    let watching = operator.keep(Arc::clone(&soak));
    let ((), acts, troubles, slowest, histories) = tokio::join!(
        watching,
        all(writers.collect()),
        all(troubles.collect()),
        joined(partings),
        all(senders.collect()),
    );
    println!("acts: {:?}", sum(acts));
    println!("troubles: {:?}; the operator: {operator}", sum(troubles));
    println!("the longest deletion took {slowest:?}");

    let told = Stand::settles(&soak).await;
    println!("all statuses were explained {told:?} after the last act");
    let agreed = Stand::is_mended(&soak).await;
    println!("all objects were Ready {agreed:?} after the last was mended, and brokers have exactly them");
    for (number, history) in histories.into_iter().enumerate() {
        let summary = messages::check(&soak, number, &history).await;
        println!("broker {number}: {summary:?}");
    }
    operator.judge();
    for host in &soak.hosts {
        assert!(!host.log().contains("panicked"), "{}", host.log());
    }
}

/// Everything there is, Ready, with messages in the queues that are kept.
async fn begin(soak: &Soak) {
    for (number, host) in soak.hosts.iter().enumerate() {
        for manifest in host.manifests(number) {
            let applied = soak.resources.apply(&manifest).await;
            applied.unwrap_or_else(|error| panic!("{manifest}: {error}"));
        }
    }
    let mut random = soak.chance(0);
    for slot in soak.plan.slots() {
        writer::apply(soak, &slot.manifest(&soak.plan, &mut random)).await;
    }
    let took = Stand::settles(soak).await;
    println!(
        "all of {} objects are there; settled in {took:?}",
        soak.plan.slots().len()
    );
    for number in 0..BROKERS {
        messages::first(soak, number).await;
    }
}

/// All results; the first panic ends the test at once.
async fn all<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    try_join_all(tasks).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn joined<T>(task: JoinHandle<T>) -> T {
    task.await.unwrap_or_else(|error| panic!("{error}"))
}

/// Numbers of the same name together.
fn sum(counts: Vec<BTreeMap<&'static str, u64>>) -> BTreeMap<&'static str, u64> {
    let mut sum = BTreeMap::new();
    for (name, count) in counts.into_iter().flatten() {
        *sum.entry(name).or_default() += count;
    }
    sum
}
