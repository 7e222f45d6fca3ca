//! Users across `kill -9` at the moment they were answered for.

use harness::Broker;
use harness::http::Http;
use serde_json::{Value, json};

use crate::check::check;
use crate::small;

fn send(broker: &Broker, method: &str, path: &str, body: Value) -> u16 {
    let body = Some(&body).filter(|body| !body.is_null());
    Http::new(broker.http()).request(method, path, body).status
}

fn logs_in(broker: &Broker, user: &str, password: &str) -> bool {
    Http::with_credentials(broker.http(), user, password)
        .request("GET", "/api/whoami", None)
        .status
        == 200
}

#[test]
fn users_that_were_answered_for_are_there() {
    let mut broker = small();
    let body = json!({"password": "geheim", "tags": "administrator", "limits": {"max-channels": 7}});
    assert_eq!(send(&broker, "PUT", "/api/users/kept", body), 201);
    assert_eq!(
        send(&broker, "PUT", "/api/users/gone", json!({"password": "x", "tags": ""})),
        201
    );
    assert_eq!(send(&broker, "DELETE", "/api/users/gone", Value::Null), 204);
    let before = Http::new(broker.http()).get("/api/users");
    broker.kill();
    let found = check(&[&broker.data().display().to_string(), "--json"]);
    let report: Value = serde_json::from_slice(&found.stdout).expect("a report");
    assert_eq!((&report["users"], &report["unknown_entries"]), (&json!(2), &json!(0)));
    let mut broker = broker.restart();
    assert_eq!(Http::new(broker.http()).get("/api/users"), before);
    assert!(logs_in(&broker, "kept", "geheim") && !logs_in(&broker, "kept", "x"));

    // The first user isn't made a second time.
    let by_kept = Http::with_credentials(broker.http(), "kept", "geheim");
    assert_eq!(by_kept.request("DELETE", "/api/users/guest", None).status, 204);
    assert!(!logs_in(&broker, "guest", "guest"));
    broker.kill();
    let broker = broker.restart();
    assert!(logs_in(&broker, "kept", "geheim") && !logs_in(&broker, "guest", "guest"));
}
