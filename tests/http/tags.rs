//! Tags of users: who may ask for what over HTTP, and what lists show.

use harness::http::{Answer, Http};
use harness::requests::{exclusive, unique};
use harness::wait::until;
use harness::{Broker, call};
use serde_json::{Value, json};

use crate::{FIGURES, client, http, send, status};

/// The answers of RabbitMQ 4.3.6: method and path, and for each of the tags a status for a user who may enter `/` and
/// for one who may not. `NODE`, `USER` (of the one who asks), `GUEST` and `NAME` stand for names.
const ANSWERS: &str = "
GET /api/overview 401 401 200 200 200 200 200 200 200 200
GET /api/cluster-name 401 401 200 200 200 200 200 200 200 200
GET /api/nodes 401 401 401 401 401 401 200 200 200 200
GET /api/nodes/NODE 401 401 401 401 401 401 200 200 200 200
GET /api/nodes/NODE/memory 401 401 401 401 401 401 200 200 200 200
GET /api/extensions 401 401 200 200 200 200 200 200 200 200
GET /api/definitions 401 401 401 401 401 401 401 401 200 200
GET /api/definitions/%2F 401 401 401 401 401 401 401 401 200 200
GET /api/connections 401 401 200 200 200 200 200 200 200 200
GET /api/vhosts/%2F/connections 401 401 200 404 200 404 200 404 200 200
GET /api/channels 401 401 200 200 200 200 200 200 200 200
GET /api/vhosts/%2F/channels 401 401 200 404 200 404 200 404 200 200
GET /api/consumers 401 401 200 200 200 200 200 200 200 200
GET /api/consumers/%2F 401 401 200 404 200 404 200 200 200 200
GET /api/exchanges 401 401 200 200 200 200 200 200 200 200
GET /api/exchanges/%2F 401 401 200 404 200 404 200 404 200 200
GET /api/exchanges/%2F/amq.topic 401 401 200 404 200 404 200 404 200 200
GET /api/exchanges/%2F/amq.topic/bindings/source 401 401 200 404 200 404 200 404 200 200
GET /api/queues 401 401 200 200 200 200 200 200 200 200
GET /api/queues/%2F 401 401 200 404 200 404 200 404 200 200
GET /api/queues/%2F/NAME 401 401 200 404 200 404 200 404 200 200
GET /api/queues/%2F/NAME/bindings 401 401 200 404 200 404 200 404 200 200
PUT /api/queues/%2F/NAME 401 401 204 404 204 404 204 404 204 401
GET /api/bindings 401 401 200 200 200 200 200 200 200 200
GET /api/bindings/%2F 401 401 200 404 200 404 200 404 200 200
GET /api/vhosts 401 401 200 200 200 200 200 200 200 200
GET /api/vhosts/%2F 401 401 401 401 401 401 401 401 200 200
GET /api/vhosts/%2F/permissions 401 401 401 401 401 401 401 401 200 200
GET /api/vhosts/%2F/topic-permissions 401 401 401 401 401 401 401 401 200 200
GET /api/users 401 401 401 401 401 401 401 401 200 200
GET /api/users/without-permissions 401 401 401 401 401 401 401 401 200 200
GET /api/users/guest 401 401 401 401 401 401 401 401 200 200
GET /api/users/guest/permissions 401 401 401 401 401 401 401 401 200 200
PUT /api/users/NAME 401 401 401 401 401 401 401 401 201 204
GET /api/user-limits 401 401 401 401 401 401 401 401 200 200
GET /api/user-limits/guest 401 401 401 401 401 401 200 200 200 200
GET /api/user-limits/USER 401 401 200 200 200 200 200 200 200 200
PUT /api/user-limits/NAME/max-channels 401 401 401 401 401 401 401 401 204 204
GET /api/whoami 401 401 200 200 200 200 200 200 200 200
GET /api/permissions 401 401 401 401 401 401 401 401 200 200
GET /api/permissions/%2F/guest 401 401 401 401 401 401 401 401 200 200
PUT /api/permissions/%2F/NAME 401 401 401 401 401 401 401 401 201 204
GET /api/topic-permissions 401 401 401 401 401 401 401 401 200 200
GET /api/parameters 401 401 401 401 200 200 401 401 200 200
GET /api/parameters/operator_policy 401 401 401 401 200 200 401 401 200 200
GET /api/global-parameters 401 401 401 401 200 200 401 401 200 200
GET /api/policies 401 401 200 200 200 200 200 200 200 200
GET /api/policies/%2F 401 401 200 404 200 404 200 404 200 200
GET /api/policies/%2F/NAME 401 401 401 401 200 404 401 401 200 200
PUT /api/policies/%2F/NAME 401 401 401 401 204 404 401 401 204 204
GET /api/operator-policies 401 401 200 200 200 200 200 200 200 200
GET /api/operator-policies/%2F 401 401 200 404 200 404 200 404 200 200
GET /api/operator-policies/%2F/NAME 401 401 401 401 401 401 401 401 200 200
GET /api/vhost-limits 401 401 200 200 200 200 200 200 200 200
GET /api/feature-flags 401 401 200 200 200 200 200 200 200 200
GET /api/deprecated-features 401 401 200 200 200 200 200 200 200 200
GET /api/health/checks/alarms 401 401 200 200 200 200 200 200 200 200
GET /api/health/checks/virtual-hosts 401 401 200 200 200 200 200 200 200 200
GET /api/auth/attempts/NODE 401 401 401 401 401 401 200 200 200 200
GET /api/auth/hash_password/x 401 401 401 401 401 401 401 401 200 200
DELETE /api/auth/attempts/NODE 401 401 401 401 401 401 401 401 204 204
";
const TAGS: [&str; 5] = ["none", "management", "policymaker", "monitoring", "administrator"];

/// A user with a tag who may enter `/`, or may not.
struct Somebody {
    name: String,
    api: Http,
}

impl Somebody {
    fn new(tag: &str, enters: bool) -> Self {
        let name = unique(&format!("tag-{tag}"));
        let body = json!({"password": "geheim", "tags": tag});
        assert_eq!(send("PUT", &format!("/api/users/{name}"), body).status, 201);
        if enters {
            let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
            assert_eq!(send("PUT", &format!("/api/permissions/%2F/{name}"), all).status, 201);
        }
        let api = Http::with_credentials(Broker::shared().http(), &name, "geheim");
        Self { name, api }
    }

    fn asks(&self, method: &str, path: &str, body: Value) -> Answer {
        self.api
            .request(method, path, Some(&body).filter(|body| !body.is_null()))
    }

    fn delete(&self) {
        assert_eq!(status("DELETE", &format!("/api/users/{}", self.name)), 204);
    }
}

/// The body of a request to this path.
fn body(method: &str, path: &str) -> Value {
    match path.split('/').nth(2) {
        _ if method != "PUT" => Value::Null,
        Some("users") => json!({"password": "x", "tags": ""}),
        Some("permissions") => json!({"configure": "", "write": "", "read": ""}),
        Some("policies" | "operator-policies") => json!({"pattern": "nothing", "definition": {"max-length": 1}}),
        Some("user-limits") => json!({"value": 5}),
        _ => json!({}),
    }
}

/// RabbitMQ's words for those who may not ask.
const REFUSALS: [&str; 5] = [
    "Not management user",
    "Not monitor user",
    "Not administrator user",
    "User not authorised to access object",
    "Not Found",
];

#[test]
fn each_endpoint_is_for_the_tags_that_rabbitmq_lets_ask() {
    let name = unique("tag-name");
    for list in ["queues", "policies", "operator-policies"] {
        let path = format!("/api/{list}/%2F/{name}");
        assert_eq!(send("PUT", &path, body("PUT", &path)).status, 201);
    }
    let of_limits = format!("/api/users/{name}");
    assert_eq!(send("PUT", &of_limits, body("PUT", &of_limits)).status, 201);
    let node = http().get("/api/overview")["node"].as_str().expect("a name").to_owned();
    let somebodies: Vec<Somebody> = TAGS
        .iter()
        .flat_map(|tag| [Somebody::new(tag, true), Somebody::new(tag, false)])
        .collect();
    let mut wrong = Vec::new();
    for row in ANSWERS.lines().filter(|row| !row.is_empty()) {
        let mut words = row.split(' ');
        let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
        for (somebody, expected) in somebodies.iter().zip(words) {
            let path = path
                .replace("NODE", &node)
                .replace("USER", &somebody.name)
                .replace("NAME", &name);
            let answer = somebody.asks(method, &path, body(method, &path));
            // Made by the first of two, or there before.
            let made = matches!((expected, answer.status), ("201" | "204", 201 | 204));
            if !made && answer.status.to_string() != expected {
                wrong.push(format!(
                    "{method} {path} of {}: {} for {expected}",
                    somebody.name, answer.status
                ));
            }
            if matches!(answer.status, 401 | 404) && !somebody.name.contains("administrator") {
                let reason = answer.json()["reason"].clone();
                let known = reason.as_str().is_some_and(|reason| REFUSALS.contains(&reason));
                assert!(known, "{method} {path} of {}: {reason}", somebody.name);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    somebodies.iter().for_each(Somebody::delete);
    for list in ["queues", "policies", "operator-policies"] {
        assert_eq!(status("DELETE", &format!("/api/{list}/%2F/{name}")), 204);
    }
    assert_eq!(status("DELETE", &of_limits), 204);
}

#[test]
fn lists_show_what_the_user_may_see() {
    let name = unique("tag-seen");
    assert_eq!(send("PUT", &format!("/api/queues/%2F/{name}"), json!({})).status, 201);
    let (inside, outside) = (Somebody::new("management", true), Somebody::new("management", false));
    let monitor = Somebody::new("monitoring", false);
    let sees = |somebody: &Somebody, list: &str, of: &str| {
        let rows = somebody.api.get(list);
        rows.as_array().expect("rows").iter().any(|row| row["name"] == of)
    };
    for (list, of) in [
        ("/api/queues", name.as_str()),
        ("/api/vhosts", "/"),
        ("/api/exchanges", "amq.topic"),
    ] {
        let seen = [&inside, &outside, &monitor].map(|somebody| sees(somebody, list, of));
        assert_eq!(seen, [true, false, true], "{list}");
    }
    let mut client = client();
    call!(client, 1, exclusive(&unique("tag-open")) => QueueDeclareOk);
    let others = |somebody: &Somebody| {
        let rows = somebody.api.get("/api/connections");
        rows.as_array().expect("rows").iter().any(|row| row["user"] == "guest")
    };
    until("guest's connection is shown", FIGURES, || others(&monitor));
    assert!(!others(&inside));
    let refused = inside.asks("DELETE", "/api/connections/username/guest", Value::Null);
    assert_eq!(refused.status, 401, "{}", refused.body);
    client.close();
    for somebody in [inside, outside, monitor] {
        somebody.delete();
    }
    assert_eq!(status("DELETE", &format!("/api/queues/%2F/{name}")), 204);
}
