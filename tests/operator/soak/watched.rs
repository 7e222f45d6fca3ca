//! The operator of a soak: killed and ended again and again, then left alone and watched.
//!
//! In: time and chance. Out: the operator, still running, and the verdict over its memory, files and log.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use harness::api_server::ApiServer;
use harness::operator_process::Operator;
use harness::process::{descriptors, resident};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::{DELETION_TIMEOUT, Soak};

/// The share of the time in which it is killed; for the rest it lives on, so that growth shows.
const TROUBLED: f64 = 0.4;
/// Between two looks at its memory.
const LOOK: Duration = Duration::from_secs(2);
/// Looks without which growth says nothing.
const ENOUGH: usize = 150;
/// Growth that is none: an allocator's pages, KiB.
const NOISE: u64 = 8 << 10;
/// Open files more than before: connections that are made and closed at the moment of a look.
const MORE: usize = 16;

/// An operator, and what was seen of it.
pub(super) struct Watched {
    cluster: ApiServer,
    namespace: String,
    operator: Operator,
    killed: u32,
    ended: u32,
    /// Resident memory (KiB) and open files, of the last one's life.
    looks: Vec<(u64, usize)>,
}

impl Watched {
    pub(super) fn start(cluster: ApiServer, namespace: String) -> Watched {
        Watched {
            operator: run(&cluster, &namespace),
            cluster,
            namespace,
            killed: 0,
            ended: 0,
            looks: Vec::new(),
        }
    }

    /// Until the end.
    pub(super) async fn keep(&mut self, soak: Arc<Soak>) {
        let mut random = soak.chance(400);
        while soak.begun.elapsed() < soak.span.mul_f64(TROUBLED) {
            self.trouble(&soak, &mut random).await;
        }
        while soak.goes_on() {
            let pid = self.operator.pid();
            self.looks.push((resident(pid), descriptors(pid)));
            sleep(LOOK).await;
        }
    }

    async fn trouble(&mut self, soak: &Soak, random: &mut StdRng) {
        soak.pause(random, 10, [1000, 45_000]).await;
        if random.random_bool(0.6) {
            self.operator.kill();
            self.killed += 1;
        } else {
            let status = block_in_place(|| self.operator.terminate(Duration::from_secs(20)));
            assert!(status.success(), "{status}");
            self.ended += 1;
        }
        self.heard();
        sleep(Duration::from_millis(random.random_range(0..4000))).await;
        self.operator = block_in_place(|| run(&self.cluster, &self.namespace));
    }

    fn heard(&self) {
        let log = self.operator.log();
        assert!(!log.contains("panicked"), "{log}");
    }

    /// Panics if it grew, or said something that it shouldn't.
    pub(super) fn judge(&self) {
        self.heard();
        let third = self.looks.len() / 3;
        let most = |looks: &[(u64, usize)]| {
            let memory = looks.iter().map(|look| look.0).max().unwrap_or_default();
            (memory, looks.iter().map(|look| look.1).max().unwrap_or_default())
        };
        // The first third is for warming up.
        let (before, after) = (most(&self.looks[third..2 * third]), most(&self.looks[2 * third..]));
        println!("memory and open files, the most of the middle and of the last third: {before:?}, {after:?}");
        if self.looks.len() >= ENOUGH {
            assert!(
                after.0 <= before.0 + before.0 / 20 + NOISE,
                "memory grew: {:?}",
                self.looks
            );
            assert!(after.1 <= before.1 + MORE, "open files grew: {:?}", self.looks);
        }
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "killed {} times, ended {} times", self.killed, self.ended)
    }
}

fn run(cluster: &ApiServer, namespace: &str) -> Operator {
    let flags = ["--lease-namespace", "default", "--lease-duration", "10s"];
    Operator::start(
        cluster,
        namespace,
        &[&flags[..], &["--deletion-timeout", DELETION_TIMEOUT]].concat(),
    )
}
