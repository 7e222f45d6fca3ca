//! When `--once` is decided.

use serde_json::json;

use super::*;
use crate::object::{Kind, ObjectKey, Reason, StatusReport};
use crate::sync::desired::tests::snapshot;
use crate::sync::report::{Conditions, conditions};

fn shown(statuses: &[(&str, Reason, i64)]) -> Shown {
    let spec = || json!({"brokerRef": {"name": "main"}});
    let snapshot = snapshot(&[
        (Kind::Queue, "default", "a", 0, spec()),
        (Kind::Queue, "default", "b", 0, spec()),
    ]);
    let report = |(name, reason, generation): &(&str, Reason, i64)| {
        let key = ObjectKey::new(Kind::Queue, "default", *name);
        let Conditions {
            ready,
            reconciling,
            stalled,
        } = conditions(*reason);
        let report = StatusReport {
            generation: *generation,
            reconciling,
            stalled,
            message: "because".to_owned(),
            ..StatusReport::sample(key.clone(), ready, *reason)
        };
        (key, report)
    };
    Shown {
        snapshot: Arc::new(snapshot),
        statuses: statuses.iter().map(report).collect(),
        ..Shown::default()
    }
}

#[test]
fn decided_when_all_have_an_answer() {
    let judge = |statuses: &[(&str, Reason, i64)]| judge(&shown(statuses));
    assert_eq!(
        judge(&[("a", Reason::Synced, 1), ("b", Reason::Synced, 1)]),
        Judgement::Ready
    );
    assert_eq!(
        judge(&[("a", Reason::Synced, 1), ("b", Reason::Synced, 0)]),
        Judgement::NotYet("Queue default/b: not reconciled yet".to_owned()),
        "an answer about an older generation is none"
    );
    assert_eq!(
        judge(&[("a", Reason::Mismatch, 1), ("b", Reason::Synced, 1)]),
        Judgement::Never("Queue default/a: Mismatch: because".to_owned())
    );
    assert_eq!(
        judge(&[("a", Reason::Mismatch, 1), ("b", Reason::WaitingForVhost, 1)]),
        Judgement::NotYet("Queue default/a: Mismatch: because\nQueue default/b: WaitingForVhost: because".to_owned())
    );
}

#[test]
fn timeouts_have_a_range() {
    assert_eq!(once_timeout("90s"), Ok(Duration::from_secs(90)));
    for bad in ["0s", "2h", "soon", ""] {
        assert!(once_timeout(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_unspecified_address_is_reached_over_the_loopback() {
    let args = DevArgs {
        folder: PathBuf::new(),
        broker_bin: None,
        data_dir: None,
        amqp_listen: ([0, 0, 0, 0], 5672).into(),
        http_listen: "[::]:15672".parse().expect("an address"),
        once: false,
        timeout: Duration::from_secs(1),
        plain: false,
    };
    let connection = connection(&args);
    assert_eq!(connection.amqp_uri, "amqp://127.0.0.1:5672");
    assert_eq!(connection.management_uri, "http://[::1]:15672");
}
