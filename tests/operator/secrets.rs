//! Secrets that appear after the Brokers that refer to them: each is noticed when it appears, not at the minute's
//! retry.

use std::fs;
use std::time::{Duration, Instant};

use harness::api_server::api_server;
use harness::operator_process::Operator;
use serde_json::json;

use crate::{SOON, Stage, broker_manifests, stage};

/// The number that is tried, one after the other: any other change in the namespace would bring an overlooked one to
/// light.
fn rounds() -> usize {
    let given = std::env::var("LEVERET_SECRET_ROUNDS").ok();
    given.map_or(30, |rounds| rounds.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_noticed_when_it_appears() {
    let Some(stage) = stage("appears").await else { return };
    let mut taken = Vec::new();
    for round in 0..rounds() {
        taken.push(appear(&stage, round).await);
    }
    taken.sort();
    let at = |share: usize| taken[(taken.len() - 1) * share / 100];
    println!(
        "{} Secrets: median {:?}, 99 % {:?}, longest {:?}",
        taken.len(),
        at(50),
        at(99),
        at(100)
    );
}

/// A Broker without its Secret, then the Secret: after the Broker says that it is missing, or at some moment of the
/// attempts before that. Gives the time from the Secret to the connection.
async fn appear(stage: &Stage, round: usize) -> Duration {
    let name = format!("b{round}");
    let [secret, broker] = broker_manifests(&name, &stage.broker);
    stage.apply(&broker).await;
    if round.is_multiple_of(2) {
        let ready = stage.resources.says("Broker", &name, "does not exist", SOON).await;
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_str()),
            ("Unknown", "WaitingForBroker")
        );
    } else {
        let moment = u64::try_from(round * 7 % 100).expect("a small number");
        tokio::time::sleep(Duration::from_millis(moment)).await;
    }
    stage.apply(&secret).await;
    let appeared = Instant::now();
    stage.resources.becomes("Broker", &name, "True", "Synced", SOON).await;
    let taken = appeared.elapsed();
    stage.resources.delete("Broker", &name).await;
    taken
}

/// Resident memory of a process, KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("Linux says it");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}

/// Other people's Secrets are not even read, by an operator that meets them all at its start: 40 MB of them.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_no_broker_names_cost_nothing() {
    let Some(mut stage) = stage("others").await else { return };
    let Some(cluster) = api_server() else { return };
    stage.synced(&stage.queue("q")).await;
    let before = resident(stage.operator.pid());
    assert!(stage.operator.terminate(SOON).success());
    let payload = "x".repeat(200_000);
    for number in 0..200 {
        let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("other-{number}")},
            "stringData": {"payload": payload}});
        stage.apply(&other).await;
    }
    stage.operator = Operator::start(&cluster, &stage.namespace, &["--leader-election", "false"]);
    stage.synced(&stage.queue("after")).await;
    let after = resident(stage.operator.pid());
    println!("{before} KiB before, {after} KiB beside 40 MB of Secrets");
    assert!(
        after < before + 15 * 1024,
        "{before} KiB before, {after} KiB beside 40 MB of Secrets"
    );
}
