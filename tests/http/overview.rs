//! The broker about itself: overview, nodes, vhosts, users, definitions.

use harness::Broker;
use harness::http::Http;
use harness::requests::unique;
use serde_json::{Value, json};

use crate::{NOT_FOUND, has, http, refused, send, status};

#[test]
fn the_overview_has_what_tools_insist_on() {
    let overview = http().get("/api/overview");
    has(
        &overview,
        &[
            "cluster_name",
            "node",
            "erlang_version",
            "erlang_full_version",
            "rabbitmq_version",
            "management_version",
            "product_name",
            "product_version",
            "statistics_db_event_queue",
            "churn_rates.connection_created",
            "churn_rates.connection_closed",
            "churn_rates.channel_created",
            "churn_rates.channel_closed",
            "churn_rates.queue_declared",
            "churn_rates.queue_created",
            "churn_rates.queue_deleted",
            "queue_totals",
            "object_totals.connections",
            "object_totals.channels",
            "object_totals.queues",
            "object_totals.exchanges",
            "object_totals.consumers",
            "message_stats",
            "exchange_types",
            "contexts",
        ],
    );
    let version = overview["rabbitmq_version"].as_str().expect("a version");
    let digits: Vec<&str> = version.split('.').take(2).collect();
    assert!(digits.join(".").parse::<f64>().expect("a number") >= 3.7, "{version}");
    let listeners = overview["listeners"].as_array().expect("listeners");
    for protocol in ["amqp", "http"] {
        let listener = listeners.iter().find(|listener| listener["protocol"] == protocol);
        has(listener.expect("a listener"), &["node", "port", "ip_address"]);
    }
    let columns = http().get("/api/overview?columns=node,object_totals.queues");
    let fields: Vec<&String> = columns.as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["node", "object_totals"]);
    assert_eq!(http().get("/api/cluster-name")["name"], overview["cluster_name"]);
}

#[test]
fn the_node_has_what_tools_insist_on() {
    let nodes = http().get("/api/nodes");
    let name = nodes[0]["name"].as_str().expect("a name").to_owned();
    let node = http().get(&format!("/api/nodes/{name}"));
    for node in [&nodes[0], &node] {
        has(
            node,
            &[
                "uptime",
                "run_queue",
                "processors",
                "os_pid",
                "fd_total",
                "fd_used",
                "proc_total",
            ],
        );
        has(
            node,
            &[
                "mem_used",
                "mem_limit",
                "mem_alarm",
                "disk_free",
                "disk_free_limit",
                "disk_free_alarm",
            ],
        );
        has(
            node,
            &[
                "rates_mode",
                "enabled_plugins",
                "being_drained",
                "rabbitmq_version",
                "applications",
            ],
        );
    }
    has(&http().get(&format!("/api/nodes/{name}/memory")), &["memory"]);
    refused("GET", "/api/nodes/nobody", Value::Null, NOT_FOUND);
}

#[test]
fn there_is_a_vhost_and_a_user_who_may_do_everything() {
    let vhosts = http().get("/api/vhosts");
    let mut vhosts = vhosts.as_array().expect("rows").iter();
    assert!(vhosts.any(|vhost| vhost["name"] == "/"));
    has(
        &http().get("/api/vhosts/%2F"),
        &["description", "tags", "default_queue_type", "metadata", "cluster_state"],
    );
    refused("GET", "/api/vhosts/nowhere", Value::Null, NOT_FOUND);
    let me = http().get("/api/whoami");
    assert_eq!((&me["name"], &me["tags"]), (&json!("guest"), &json!(["administrator"])));
    let everything = json!({"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"});
    for list in [
        "/api/permissions",
        "/api/users/guest/permissions",
        "/api/vhosts/%2F/permissions",
    ] {
        // Other tests make other vhosts.
        let rows = http().get(list);
        assert!(rows.as_array().expect("rows").contains(&everything), "{list}: {rows}");
    }
    assert_eq!(http().get("/api/permissions/%2F/guest"), everything);
    assert_eq!(http().get("/api/users")[0]["name"], "guest");
    has(&http().get("/api/users/guest"), &["tags", "password_hash", "limits"]);
    refused("GET", "/api/users/nobody", Value::Null, NOT_FOUND);
}

#[test]
fn lists_of_what_there_is_none_of_are_there() {
    for list in [
        "topic-permissions",
        "vhost-limits",
        "user-limits",
        "feature-flags",
        "deprecated-features",
        "deprecated-features/used",
        "extensions",
    ] {
        assert!(http().get(&format!("/api/{list}")).is_array(), "{list}");
    }
}

#[test]
fn definitions_hold_what_was_declared() {
    let (queue, exchange) = (unique("http-definition"), unique("http-definition"));
    let (queue_path, exchange_path) = (
        format!("/api/queues/%2F/{queue}"),
        format!("/api/exchanges/%2F/{exchange}"),
    );
    assert_eq!(
        send("PUT", &queue_path, json!({"durable": true, "arguments": {"x-note": 1}})).status,
        201
    );
    assert_eq!(
        send("PUT", &exchange_path, json!({"type": "topic", "durable": true})).status,
        201
    );
    let bind = format!("/api/bindings/%2F/e/{exchange}/q/{queue}");
    assert_eq!(send("POST", &bind, json!({"routing_key": "k"})).status, 201);
    let all = http().get("/api/definitions");
    has(
        &all,
        &[
            "users",
            "vhosts",
            "permissions",
            "parameters",
            "policies",
            "topic_permissions",
            "global_parameters",
        ],
    );
    let find = |list: &str, field: &str, name: &str| {
        let rows = all[list].as_array().expect("rows");
        rows.iter()
            .find(|row| row[field] == json!(name))
            .cloned()
            .expect("a row")
    };
    let row = find("queues", "name", &queue);
    assert_eq!(
        (&row["vhost"], &row["durable"], &row["arguments"]["x-note"]),
        (&json!("/"), &json!(true), &json!(1))
    );
    assert_eq!(find("exchanges", "name", &exchange)["type"], "topic");
    let row = find("bindings", "source", &exchange);
    assert_eq!((&row["destination"], &row["routing_key"]), (&json!(queue), &json!("k")));
    assert!(
        all["exchanges"]
            .as_array()
            .expect("rows")
            .iter()
            .all(|row| row["name"] != "amq.topic")
    );
    let of_vhost = http().get("/api/definitions/%2F");
    has(&of_vhost, &["queues", "exchanges", "bindings"]);
    assert_eq!(
        (status("DELETE", &queue_path), status("DELETE", &exchange_path)),
        (204, 204)
    );
}

#[test]
fn definitions_come_as_a_file_that_locks_nobody_out() {
    let answer = http().request("GET", "/api/definitions?download=x.json", None);
    let disposition = answer.header("content-disposition").expect("a name");
    let named = ["attachment; filename=x.json", "attachment; filename=\"x.json\""];
    assert!(named.contains(&disposition), "{disposition}");
    let users = &answer.json()["users"];
    // Other tests make users without a password: it is true of them.
    let made_so = |user: &Value| user["name"].as_str().is_some_and(|name| name.starts_with("http-"));
    let without_hash = |user: &Value| user["password_hash"].as_str().is_none_or(str::is_empty) && !made_so(user);
    assert!(!users.as_array().expect("users").iter().any(without_hash), "{users}");
    // RabbitMQ would take it, and let nobody in.
    let unknown = |user: &Value| user["hashing_algorithm"] == "argon2id";
    assert!(!users.as_array().expect("users").iter().any(unknown), "{users}");
}

/// Some clients send a slash at the end of a path, and pages of everything.
#[test]
fn a_slash_at_the_end_is_none_and_users_have_pages() {
    assert_eq!(http().get("/api/users/guest/")["name"], "guest");
    assert!(http().get("/api/queues/%2F/?page=1")["items"].is_array());
    let page = http().get("/api/users?page=1&page_size=2");
    assert_eq!(
        (&page["items"][0]["name"], &page["page_size"]),
        (&json!("guest"), &json!(2))
    );
}

#[test]
fn logins_are_counted() {
    let node = http().get("/api/overview")["node"].as_str().expect("a name").to_owned();
    let path = format!("/api/auth/attempts/{node}");
    let count = |name: &str| {
        let rows = http().get(&path);
        let row = rows
            .as_array()
            .expect("rows")
            .iter()
            .find(|row| row["protocol"] == "http")
            .cloned();
        row.and_then(|row| row[name].as_u64()).expect("a count")
    };
    let (failed, succeeded) = (count("auth_attempts_failed"), count("auth_attempts_succeeded"));
    let wrong = Http::with_credentials(Broker::shared().http(), "guest", "wrong");
    assert_eq!(wrong.request("GET", "/api/whoami", None).status, 401);
    assert!(count("auth_attempts_failed") > failed && count("auth_attempts_succeeded") > succeeded);
    assert!(
        http().get(&format!("{path}/source")).is_array(),
        "empty where RabbitMQ doesn't track them"
    );
    for path in ["/api/auth/attempts/other@host", "/api/auth/attempts/other@host/source"] {
        refused("GET", path, Value::Null, NOT_FOUND);
    }
    assert_eq!(status("DELETE", &format!("{path}/source")), 204);
    assert_eq!(http().get(&format!("{path}/source"))[1], Value::Null);
}
