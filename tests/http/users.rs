//! Users over HTTP: names, passwords, tags and limits.

use std::time::{Duration, Instant};

use harness::Broker;
use harness::http::Http;
use harness::requests::unique;
use serde_json::{Value, json};

use crate::{NOT_FOUND, http, is_rabbitmq, refused, send, status};

/// Hashes that RabbitMQ 4.3.6 has made, with their passwords.
const SHA256: (&str, &str) = ("wb3Wz3/oSkuOpr3Nk5jjRpFVe5NJ/X4Zlp9qO5/8QfmjO/CZ", "abc");
const SHA512: (&str, &str) = (
    "IbQl/UKSgXR6QzmSQjdbEG4gGhMkMhLXle3tuR3J/V5TbWC9auYSprigyOy9cEgX/lT09f7YcrLGqFayo20+XI55UM0=",
    "geheim",
);

/// The API as another user.
fn by(user: &str, password: &str) -> Http {
    Http::with_credentials(Broker::shared().http(), user, password)
}

/// Status and reason of who asks who they are.
fn whoami(user: &str, password: &str) -> (u16, Value) {
    let answer = by(user, password).request("GET", "/api/whoami", None);
    (answer.status, answer.json()["reason"].clone())
}

#[test]
fn a_user_is_put_shown_changed_and_deleted() {
    let name = unique("http-user");
    let path = format!("/api/users/{name}");
    let body = json!({"password": "first", "tags": "administrator, other"});
    assert_eq!(send("PUT", &path, body.clone()).status, 201);
    assert_eq!(send("PUT", &path, body).status, 204);
    let user = http().get(&path);
    assert_eq!(user["tags"], json!(["administrator", "other"]));
    assert_eq!((&user["name"], &user["limits"]), (&json!(name), &json!({})));
    assert!(
        user["password_hash"].as_str().is_some_and(|hash| hash.len() > 40),
        "{user}"
    );
    assert!(http().get("/api/users").as_array().expect("users").contains(&user));
    let me = by(&name, "first").get("/api/whoami");
    let expected = json!({"name": name, "tags": ["administrator", "other"], "is_internal_user": true});
    assert_eq!(me, expected);
    assert_eq!(whoami(&name, "wrong"), (401, json!("Not_Authorized")));

    let body = json!({"password": "second", "tags": ["administrator"]});
    assert_eq!(send("PUT", &path, body).status, 204);
    assert_eq!(whoami(&name, "first").0, 401, "what was proved before is forgotten");
    assert_eq!(whoami(&name, "second").0, 200);
    assert_eq!(send("PUT", &path, json!({"tags": "administrator"})).status, 204);
    assert_eq!(http().get(&path)["password_hash"], "");
    assert_eq!((whoami(&name, "second").0, whoami(&name, "").0), (401, 401));

    assert_eq!(
        send("PUT", &path, json!({"password": "", "tags": "administrator"})).status,
        204
    );
    assert_eq!(whoami(&name, "").0, 401, "nobody logs in with an empty password");
    assert_eq!((status("DELETE", &path), status("DELETE", &path)), (204, 404));
    refused("GET", &path, Value::Null, NOT_FOUND);
    assert_eq!(whoami(&name, "second").0, 401);
}

#[test]
fn hashes_come_in_and_go_out_unchanged() {
    for (algorithm, (hash, password)) in [("sha256", SHA256), ("sha512", SHA512)] {
        let name = unique("http-hash");
        let algorithm = format!("rabbit_password_hashing_{algorithm}");
        let body = json!({"password_hash": hash, "hashing_algorithm": algorithm, "tags": "administrator"});
        assert_eq!(send("PUT", &format!("/api/users/{name}"), body).status, 201);
        assert_eq!(whoami(&name, password).0, 200, "{algorithm}");
        assert_eq!(whoami(&name, "wrong").0, 401, "{algorithm}");
        let user = http().get(&format!("/api/users/{name}"));
        assert_eq!(
            (&user["password_hash"], &user["hashing_algorithm"]),
            (&json!(hash), &json!(algorithm))
        );
        assert_eq!(status("DELETE", &format!("/api/users/{name}")), 204);
    }
    let name = unique("http-hash");
    let made = http().get("/api/auth/hash_password/a%20b")["ok"].clone();
    let body = json!({"password_hash": made, "tags": "administrator"});
    assert_eq!(send("PUT", &format!("/api/users/{name}"), body).status, 201);
    assert_eq!(whoami(&name, "a b").0, 200);
    // What is given out here comes in again.
    let body = json!({"password": "set here", "tags": "administrator"});
    assert_eq!(send("PUT", &format!("/api/users/{name}"), body).status, 204);
    let mut user = http().get(&format!("/api/users/{name}"));
    let copy = unique("http-hash");
    user["name"] = Value::Null;
    assert_eq!(send("PUT", &format!("/api/users/{copy}"), user).status, 201);
    assert_eq!((whoami(&copy, "set here").0, whoami(&copy, "set there").0), (200, 401));
    for name in [name, copy] {
        assert_eq!(status("DELETE", &format!("/api/users/{name}")), 204);
    }
}

#[test]
fn what_is_no_user_is_refused() {
    let path = format!("/api/users/{}", unique("http-no-user"));
    let wrong = |body: Value, reason: &str| refused("PUT", &path, body, (400, "bad_request", reason));
    wrong(json!({"password": "x"}), "tags_not_present");
    let both = json!({"password": "x", "password_hash": SHA256.0, "tags": ""});
    wrong(both, "both_password_and_password_hash_are_provided");
    assert_eq!(
        send("POST", "/api/users/bulk-delete", json!({})).json()["reason"],
        "[{key_missing,users}]"
    );
    if is_rabbitmq() {
        // It answers 500 to the rest, or repeats the hash.
        return;
    }
    wrong(json!({"password_hash": "!!!", "tags": ""}), "password_hash: not_base64");
    wrong(json!({"password": 5, "tags": ""}), "password: not_string");
    wrong(
        json!({"password": "x", "tags": 5}),
        "tags: not a text or a list of texts",
    );
    let tags: Vec<String> = (0..33).map(|tag| tag.to_string()).collect();
    wrong(
        json!({"password": "x", "tags": tags}),
        "A user can have at most 32 tags (received 33)",
    );
    let answer = send(
        "PUT",
        &path,
        json!({"password_hash": "AAAA", "hashing_algorithm": "md5", "tags": ""}),
    );
    assert_eq!(answer.status, 400, "{}", answer.body);
    refused("GET", &path, Value::Null, NOT_FOUND);
}

#[test]
fn users_are_listed_in_pages_and_deleted_together() {
    let names = [unique("http-many"), unique("http-many"), unique("http-many")];
    for name in &names {
        assert_eq!(
            send("PUT", &format!("/api/users/{name}"), json!({"tags": ""})).status,
            201
        );
    }
    let filter = names[0].rsplit_once('-').map_or("", |(begin, _)| begin).to_owned();
    let page = http().get(&format!("/api/users?page=1&page_size=2&name={filter}"));
    assert_eq!((&page["item_count"], &page["page_size"]), (&json!(2), &json!(2)));
    let without = http().get("/api/users/without-permissions");
    for name in &names {
        assert!(
            without
                .as_array()
                .expect("users")
                .iter()
                .any(|user| user["name"] == *name)
        );
    }
    let body = json!({"users": [names[0], names[1], "nobody-of-this-name"]});
    assert_eq!(send("POST", "/api/users/bulk-delete", body).status, 204);
    let left = names
        .each_ref()
        .map(|name| status("GET", &format!("/api/users/{name}")));
    assert_eq!(left, [404, 404, 200]);
    assert_eq!(status("DELETE", &format!("/api/users/{}", names[2])), 204);
}

#[test]
fn limits_of_a_user_are_set_and_cleared() {
    let name = unique("http-limits");
    let body = json!({"password": "x", "tags": "", "limits": {"max-connections": 3}});
    assert_eq!(send("PUT", &format!("/api/users/{name}"), body).status, 201);
    let path = format!("/api/user-limits/{name}");
    assert_eq!(
        http().get(&path),
        json!([{"user": name, "value": {"max-connections": 3}}])
    );
    assert_eq!(
        send("PUT", &format!("{path}/max-channels"), json!({"value": -1})).status,
        204
    );
    assert_eq!(
        send(
            "PUT",
            &format!("/api/users/{name}"),
            json!({"password": "y", "tags": ""})
        )
        .status,
        204
    );
    let both = json!({"max-channels": -1, "max-connections": 3});
    assert_eq!(http().get(&format!("/api/users/{name}"))["limits"], both, "limits stay");
    assert!(
        http()
            .get("/api/user-limits")
            .as_array()
            .expect("limits")
            .contains(&json!({"user": name, "value": both}))
    );
    let wrong = |limit: &str, body: Value, reason: &str| {
        refused("PUT", &format!("{path}/{limit}"), body, (400, "bad_request", reason));
    };
    wrong(
        "foo",
        json!({"value": 2}),
        "Unrecognised terms [{<<\"foo\">>,2}] in user-limits",
    );
    let text = "max-channels should be a number, actually was <<\"x\">>";
    wrong("max-channels", json!({"value": "x"}), text);
    wrong("max-channels", json!({}), "[{key_missing,value}]");
    assert_eq!(status("DELETE", &format!("{path}/max-connections")), 204);
    assert_eq!(status("DELETE", &format!("{path}/max-channels")), 204);
    assert_eq!(http().get(&path), json!([]));
    assert_eq!(status("DELETE", &format!("/api/users/{name}")), 204);
    refused("GET", &path, Value::Null, NOT_FOUND);
}

#[test]
fn a_failed_login_takes_as_long_for_a_name_that_is_no_users() {
    if Broker::shared().is_external() {
        return;
    }
    let broker = Broker::start();
    let (http, api) = (broker.http(), Http::new(broker.http()));
    let body = json!({"password": "geheim", "tags": "administrator"});
    assert_eq!(api.request("PUT", "/api/users/slow", Some(&body)).status, 201);
    let fails = |user: &str| {
        let begin = Instant::now();
        let api = Http::with_credentials(http, user, "wrong");
        assert_eq!(api.request("GET", "/api/whoami", None).status, 401);
        begin.elapsed()
    };
    // Hashed slowly, hashed as RabbitMQ does, and not there at all: the shortest of several times, on a busy machine.
    let names = ["slow", "guest", "nobody"];
    let shortest = (0..8).fold([Duration::MAX; 3], |shortest, _| {
        let times = names.map(fails);
        [0, 1, 2].map(|at| shortest[at].min(times[at]))
    });
    for (name, time) in names.iter().zip(shortest) {
        assert!(time * 8 > shortest[0], "{name}: {time:?} of {shortest:?}");
    }
}
