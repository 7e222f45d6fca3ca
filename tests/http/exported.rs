//! Definitions as they are exported, and loaded where they came from or elsewhere: users, permissions, what else has a
//! value.

use harness::http::Http;
use harness::requests::unique;
use serde_json::{Map, Value, json};

use crate::{Broker, http, is_rabbitmq, send, status};

/// Hashes made by RabbitMQ, with their algorithms and passwords.
const SHA256: (&str, &str, &str) = (
    "rabbit_password_hashing_sha256",
    "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR",
    "test12",
);
const SHA512: (&str, &str, &str) = (
    "rabbit_password_hashing_sha512",
    "IbQl/UKSgXR6QzmSQjdbEG4gGhMkMhLXle3tuR3J/V5TbWC9auYSprigyOy9cEgX/lT09f7YcrLGqFayo20+XI55UM0=",
    "geheim",
);

fn logs_in(user: &str, password: &str) -> bool {
    let http = Http::with_credentials(Broker::shared().http(), user, password);
    http.request("GET", "/api/whoami", None).status == 200
}

/// Rows of a list of a document that are about somebody or something.
fn rows(document: &Value, list: &str, key: &str, name: &str) -> Vec<Value> {
    let rows = document[list].as_array().into_iter().flatten();
    rows.filter(|row| row[key] == name).cloned().collect()
}

/// A document with what another has about a user.
fn of_user(document: &Value, name: &str) -> Value {
    let mut found = Map::new();
    for (list, key) in [
        ("users", "name"),
        ("permissions", "user"),
        ("topic_permissions", "user"),
    ] {
        found.insert(list.to_owned(), rows(document, list, key, name).into());
    }
    Value::Object(found)
}

fn import(document: &Value) {
    let answer = send("POST", "/api/definitions", document.clone());
    assert_eq!(answer.status, 204, "{}", answer.body);
}

#[test]
fn users_go_out_and_come_back_with_their_hashes_limits_and_permissions() {
    let all = json!({"configure": "^a", "write": "", "read": ".*"});
    let topic = json!({"exchange": "amq.topic", "write": "^{username}", "read": ".*"});
    for (algorithm, hash, password) in [SHA256, SHA512] {
        let name = unique("http-exported");
        let user = json!({"password_hash": hash, "hashing_algorithm": algorithm, "tags": "management,other",
            "limits": {"max-channels": 7}});
        assert_eq!(send("PUT", &format!("/api/users/{name}"), user).status, 201);
        assert_eq!(
            send("PUT", &format!("/api/permissions/%2F/{name}"), all.clone()).status,
            201
        );
        let path = format!("/api/topic-permissions/%2F/{name}");
        assert_eq!(send("PUT", &path, topic.clone()).status, 201);

        let document = of_user(&http().get("/api/definitions"), &name);
        let expected = json!({
            "users": [{"name": name, "password_hash": hash, "hashing_algorithm": algorithm,
                "tags": ["management", "other"], "limits": {"max-channels": 7}}],
            "permissions": [{"user": name, "vhost": "/", "configure": "^a", "write": "", "read": ".*"}],
            "topic_permissions": [{"user": name, "vhost": "/", "exchange": "amq.topic", "write": "^{username}",
                "read": ".*"}],
        });
        assert_eq!(document, expected);
        assert_eq!(status("DELETE", &format!("/api/users/{name}")), 204);
        assert!(!logs_in(&name, password));
        import(&document);
        assert!(logs_in(&name, password) && !logs_in(&name, "wrong"));
        assert_eq!(of_user(&http().get("/api/definitions"), &name), expected);

        // A user that is there becomes what the document says, and keeps the limits that it says nothing of.
        let other = json!({"users": [{"name": name, "password_hash": SHA256.1, "tags": ["monitoring"]}],
            "permissions": [{"user": name, "vhost": "/", "configure": "", "write": "", "read": ""}]});
        import(&other);
        let user = http().get(&format!("/api/users/{name}"));
        assert_eq!(user["tags"], json!(["monitoring"]));
        assert_eq!(user["limits"], json!({"max-channels": 7}));
        assert_eq!(http().get(&format!("/api/permissions/%2F/{name}"))["configure"], "");
        assert!(logs_in(&name, SHA256.2));
        assert_eq!(status("DELETE", &format!("/api/users/{name}")), 204);
    }
}

/// RabbitMQ takes any hash for any user, and then nobody is who it says: so it must not read these.
#[test]
fn users_whose_hash_rabbitmq_does_not_know_stand_beside_the_others() {
    if is_rabbitmq() {
        return;
    }
    let name = unique("http-exported");
    assert_eq!(
        send(
            "PUT",
            &format!("/api/users/{name}"),
            json!({"password": "geheim", "tags": "management"})
        )
        .status,
        201
    );
    let all = json!({"configure": "a", "write": "b", "read": "c"});
    assert_eq!(send("PUT", &format!("/api/permissions/%2F/{name}"), all).status, 201);
    let document = http().get("/api/definitions");
    let nothing = json!({"users": [], "permissions": [], "topic_permissions": []});
    assert_eq!(of_user(&document, &name), nothing);
    let beside = of_user(&document["leveret"], &name);
    assert_eq!(beside["users"][0]["hashing_algorithm"], "argon2id");
    assert_eq!(beside["permissions"][0]["write"], "b");
    assert!(
        !http().get("/api/definitions/%2F").to_string().contains(&name),
        "not of one vhost"
    );
    assert_eq!(status("DELETE", &format!("/api/users/{name}")), 204);
    import(&json!({"leveret": beside}));
    assert!(logs_in(&name, "geheim"));
    assert_eq!(of_user(&http().get("/api/definitions")["leveret"], &name), beside);
    assert_eq!(status("DELETE", &format!("/api/users/{name}")), 204);
}

#[test]
fn passwords_in_clear_text_are_taken_and_none_at_all() {
    let (clear, none) = (unique("http-exported"), unique("http-exported"));
    import(
        &json!({"users": [{"name": clear, "password": "offen", "tags": ["management"]},
        {"name": none, "password_hash": "", "tags": []}]}),
    );
    assert!(logs_in(&clear, "offen"));
    assert_eq!(http().get(&format!("/api/users/{none}"))["password_hash"], "");
    assert!(!logs_in(&none, ""));
    for name in [clear, none] {
        assert_eq!(status("DELETE", &format!("/api/users/{name}")), 204);
    }
}

/// RabbitMQ stops at the first of them; what it says of each is in the comments of the broker's code.
#[test]
fn users_that_cannot_be_are_named_and_nobody_is_changed() {
    if is_rabbitmq() {
        return;
    }
    let (there, new, vhost) = (
        unique("http-exported"),
        unique("http-exported"),
        unique("http-exported"),
    );
    let user = |name: &str, algorithm: &str| json!({"name": name, "password_hash": SHA256.1, "hashing_algorithm": algorithm, "tags": ["management"]});
    let path = format!("/api/users/{there}");
    let before = json!({"password_hash": SHA256.1, "tags": "other"});
    assert_eq!(send("PUT", &path, before).status, 201);
    let permission = |user: &str, vhost: &str, read: &str| json!({"user": user, "vhost": vhost, "configure": "", "write": "", "read": read});
    let document = json!({
        "users": [user(&there, SHA512.0), user(&new, SHA256.0), user("old", "rabbit_password_hashing_md5"),
            {"name": "untagged", "password_hash": SHA256.1},
            {"name": "both", "password_hash": SHA256.1, "password": "secret-text", "tags": []},
            {"name": "odd", "password_hash": "secret text", "tags": []}],
        "vhosts": [{"name": vhost}],
        "exchanges": [{"name": format!("amq.{there}"), "vhost": "/", "type": "topic"}],
        "permissions": [permission(&new, &vhost, ".*"), permission("nobody", "/", ""), permission(&there, "/", "("),
            permission(&there, "nowhere", ""), {"user": there, "vhost": "/", "configure": "", "write": ""}],
        "topic_permissions": [{"user": new, "vhost": vhost, "exchange": "no-such", "write": "", "read": ""}],
    });
    let answer = send("POST", "/api/definitions", document);
    assert_eq!(answer.status, 400);
    let reason = answer.json()["reason"].as_str().expect("a reason").to_owned();
    let topic = format!("topic permission of user '{new}' in vhost '{vhost}' for exchange 'no-such': no_such_exchange");
    let pattern = format!("permission of user '{there}' in vhost '/': invalid_regexp");
    let missing = format!("permission of user '{there}' in vhost '/': [{{key_missing,read}}]");
    for named in [
        "user 'old': hashing_algorithm 'rabbit_password_hashing_md5' is not supported",
        "user 'untagged': tags_not_present",
        "user 'both': both_password_and_password_hash_are_provided",
        "user 'odd': password_hash: not_base64",
        "permission of user 'nobody' in vhost '/': there is no such user",
        "Please create virtual host \"nowhere\" prior to importing definitions.",
        &topic,
        &pattern,
        &missing,
    ] {
        assert!(reason.contains(named), "{named} in {reason}");
    }
    assert!(!reason.contains("secret"), "{reason}");
    assert_eq!(http().get(&path)["tags"], json!(["other"]));
    assert!(logs_in_is_unchanged(&there));
    assert_eq!(status("GET", &format!("/api/users/{new}")), 404);
    assert_eq!(status("GET", &format!("/api/vhosts/{vhost}")), 404);
    assert_eq!(status("GET", &format!("/api/exchanges/%2F/amq.{there}")), 404);
    assert_eq!(status("DELETE", &path), 204);

    // What RabbitMQ made before 3.6, and doesn't say so.
    let old = json!({"rabbit_version": "3.5.7", "users": [{"name": new, "password_hash": SHA256.1, "tags": ""}]});
    let answer = send("POST", "/api/definitions", old);
    let text = format!("user '{new}': the hash was made with MD5, which is not supported: give it a new password");
    assert_eq!((answer.status, &answer.json()["reason"]), (400, &json!(text)));
}

/// An object that one document has made and takes back isn't there for another.
#[test]
fn documents_that_come_at_the_same_time_are_loaded_one_after_the_other() {
    if is_rabbitmq() {
        return;
    }
    let name = unique("http-exported");
    let queue = json!({"name": name, "vhost": "/", "durable": true});
    let good = json!({"queues": [queue]});
    let bad = json!({"queues": [queue, {"name": name, "vhost": "no-such"}]});
    for _ in 0..10 {
        std::thread::scope(|scope| {
            for document in [&bad, &good, &bad, &good, &bad] {
                scope.spawn(move || {
                    let answer = send("POST", "/api/definitions", document.clone());
                    assert_eq!(
                        answer.status == 204,
                        document["queues"].as_array().map(Vec::len) == Some(1)
                    );
                });
            }
        });
        assert_eq!(status("DELETE", &format!("/api/queues/%2F/{name}")), 204);
    }
}

/// Its hash is that of SHA-256 still.
fn logs_in_is_unchanged(name: &str) -> bool {
    http().get(&format!("/api/users/{name}"))["hashing_algorithm"] == SHA256.0
}

#[test]
fn limits_and_settings_of_vhosts_go_out_and_come_back() {
    let name = unique("http-exported");
    let path = format!("/api/vhosts/{name}");
    let settings = json!({"description": "ours", "tags": "a,b", "default_queue_type": "quorum"});
    assert_eq!(send("PUT", &path, settings).status, 201);
    let limit = format!("/api/vhost-limits/{name}/max-queues");
    assert_eq!(send("PUT", &limit, json!({"value": 10})).status, 204);
    assert_eq!(status("POST", &format!("{path}/deletion/protection")), 204);
    let find = || {
        let document = http().get("/api/definitions");
        let found = json!({"vhosts": rows(&document, "vhosts", "name", &name),
            "parameters": rows(&document, "parameters", "vhost", &name)});
        (document, found)
    };
    let (document, found) = find();
    let expected = json!({
        "vhosts": [{"name": name, "limits": {"max-queues": 10}, "metadata": {"description": "ours", "tags": ["a", "b"],
            "default_queue_type": "quorum", "protected_from_deletion": true}}],
        "parameters": [{"vhost": name, "component": "vhost-limits", "name": "limits", "value": {"max-queues": 10}}],
    });
    assert_eq!(found, expected);
    assert!(
        document["explanation"]
            .as_str()
            .is_some_and(|text| text.starts_with("Definitions of cluster '"))
    );
    let one = http().get(&format!("/api/definitions/{name}"));
    assert_eq!(
        one["parameters"],
        json!([{"component": "vhost-limits", "name": "limits", "value": {"max-queues": 10}}])
    );
    assert_eq!(
        (&one["description"], &one["original_vhost_name"], &one["limits"]),
        (&json!("ours"), &json!(name), &json!({"max-queues": 10}))
    );
    assert_eq!(one["explanation"], format!("Definitions of virtual host '{name}'"));
    for list in [
        "users",
        "permissions",
        "topic_permissions",
        "vhosts",
        "global_parameters",
    ] {
        assert!(one.get(list).is_none(), "{list}");
    }

    assert_eq!(status("DELETE", &path), 412);
    assert_eq!(status("DELETE", &format!("{path}/deletion/protection")), 204);
    assert_eq!(status("DELETE", &path), 204);
    import(&expected);
    assert_eq!(find().1, expected);
    assert_eq!(status("DELETE", &path), 412);
    assert_eq!(status("DELETE", &format!("{path}/deletion/protection")), 204);
    assert_eq!(status("DELETE", &path), 204);
}

/// Lists of a document, and what names a row of each.
const LISTS: [(&str, &[&str]); 10] = [
    ("users", &["name"]),
    ("vhosts", &["name"]),
    ("permissions", &["user", "vhost"]),
    ("topic_permissions", &["user", "vhost", "exchange"]),
    ("global_parameters", &["name"]),
    ("parameters", &["component", "vhost", "name"]),
    ("policies", &["vhost", "name"]),
    ("queues", &["vhost", "name"]),
    ("exchanges", &["vhost", "name"]),
    ("bindings", &["vhost", "source", "destination", "routing_key"]),
];

/// A row without what only one of the brokers says.
fn common(row: &Value) -> Value {
    let mut row = row.clone();
    if let Some(row) = row.as_object_mut() {
        row.remove("internal");
    }
    if let Some(arguments) = row["arguments"].as_object_mut() {
        arguments.remove("x-queue-type");
    }
    row
}

/// Each broker takes what the other has exported.
#[test]
fn files_of_both_brokers_are_loaded_by_both() {
    let broker = Broker::external().unwrap_or_else(Broker::start);
    let http = Http::new(broker.http());
    for file in ["rabbitmq.json", "leveret.json"] {
        let path = harness::place::repository().join("tests/http/definitions").join(file);
        let text = std::fs::read_to_string(path).expect("a file");
        let document: Value = serde_json::from_str(&text).expect("JSON");
        let answer = http.request("POST", "/api/definitions", Some(&document));
        assert_eq!(answer.status, 204, "{file}: {}", answer.body);
        let there = http.get("/api/definitions");
        for (list, keys) in LISTS {
            let rows = document[list].as_array().expect("rows").iter();
            // RabbitMQ's own exchange, which it exports and doesn't load.
            for row in rows.filter(|row| list != "exchanges" || row["name"] != "amq.rabbitmq.log") {
                let same = |other: &&Value| keys.iter().all(|key| row[*key] == other[*key]);
                let found = there[list].as_array().expect("rows").iter().find(same);
                let found = found.unwrap_or_else(|| panic!("{file}: {list}: {row}"));
                assert_eq!(common(found), common(row), "{file}: {list}");
            }
        }
        for (list, path) in [("vhosts", "vhosts"), ("users", "users")] {
            let rows = document[list].as_array().expect("rows").iter();
            for name in rows
                .filter_map(|row| row["name"].as_str())
                .filter(|name| !["/", "guest"].contains(name))
            {
                assert_eq!(
                    http.request("DELETE", &format!("/api/{path}/{name}"), None).status,
                    204,
                    "{name}"
                );
            }
        }
    }
}
