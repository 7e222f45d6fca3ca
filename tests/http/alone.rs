//! What a node answers that is alone: of replicas, features, memory, and about itself.

use harness::requests::unique;
use serde_json::{Value, json};

use crate::{NOT_FOUND, has, http, is_rabbitmq, refused, send, status};

fn node() -> String {
    http().get("/api/overview")["node"].as_str().expect("a name").to_owned()
}

#[test]
fn memory_is_shown_by_use() {
    let path = format!("/api/nodes/{}/memory", node());
    let memory = &http().get(&path)["memory"];
    let uses = "connection_readers connection_writers connection_channels connection_other queue_procs plugins mgmt_db \
                other_proc metrics mnesia other_ets binary msg_index code atom other_system allocated_unused \
                reserved_unallocated metadata_store quorum_queue_procs stream_queue_procs quorum_ets";
    for name in uses.split_whitespace() {
        assert!(memory[name].is_u64(), "{name} in {memory}");
    }
    for name in ["erlang", "rss", "allocated"] {
        assert!(memory["total"][name].as_u64() > Some(0), "{name} in {memory}");
    }
    assert_eq!(memory["strategy"], "rss");
    let relative = &http().get(&format!("{path}/relative"))["memory"];
    assert_eq!((&relative["total"], relative["code"].is_u64()), (&json!(100), true));
    let ets = http().get(&format!("{path}/ets/no_such_table"));
    assert_eq!(ets, json!({"ets_tables_memory": "no_tables"}));
    has(&http().get(&format!("{path}/ets")), &["ets_tables_memory"]);
    for path in ["memory", "memory/relative", "memory/ets"] {
        refused("GET", &format!("/api/nodes/other@host/{path}"), Value::Null, NOT_FOUND);
    }
}

#[test]
fn the_node_has_what_charts_are_drawn_of() {
    let node = http().get(&format!("/api/nodes/{}", node()));
    let names = "mem_used disk_free fd_used sockets_used proc_used io_sync_count io_sync_avg_time io_write_bytes \
                 io_read_count connection_created connection_closed channel_created channel_closed queue_declared \
                 queue_created queue_deleted";
    for name in names.split_whitespace() {
        has(&node, &[name, &format!("{name}_details.rate")]);
    }
    assert!(node["proc_total"].as_u64() >= Some(1));
    has(
        &node,
        &[
            "erlang_version",
            "erlang_full_version",
            "crypto_lib_version",
            "contexts",
            "config_files",
        ],
    );
    let overview = http().get("/api/overview");
    has(
        &overview,
        &[
            "sample_retention_policies.global",
            "crypto_lib_version",
            "message_stats.disk_writes_details.rate",
        ],
    );
    assert_eq!(overview["is_op_policy_updating_enabled"], true);
    assert_eq!(http().get("/api/version"), overview["rabbitmq_version"]);
}

/// As NServiceBus asks at its start.
#[test]
fn features_are_enabled_as_those_of_rabbitmqs_version_are() {
    let flags = http().get("/api/feature-flags");
    for name in [
        "quorum_queue",
        "stream_queue",
        "khepri_db",
        "message_containers",
        "rabbitmq_4.3.0",
    ] {
        let flag = flags
            .as_array()
            .expect("flags")
            .iter()
            .find(|flag| flag["name"] == name);
        let flag = flag.expect("the flag");
        assert_eq!(flag["state"], "enabled", "{name}");
        has(flag, &["desc", "doc_url", "stability", "require_level", "provided_by"]);
    }
    let enable = |name: &str| {
        send(
            "PUT",
            &format!("/api/feature-flags/{name}/enable"),
            json!({"name": name}),
        )
        .status
    };
    assert_eq!(enable("quorum_queue"), 204);
    let unknown = (400, "bad_request", "unsupported");
    refused("PUT", "/api/feature-flags/no_such_flag/enable", json!({}), unknown);

    let deprecated = http().get("/api/deprecated-features");
    let state = |name: &str| {
        let rows = deprecated.as_array().expect("features");
        rows.iter()
            .find(|row| row["name"] == name)
            .map(|row| row["state"].clone())
    };
    assert_eq!(state("ram_node_type"), Some(json!("denied")));
    assert_eq!(state("management_metrics_collection"), Some(json!("permitted")));
    assert!(http().get("/api/deprecated-features/used").is_array());
}

#[test]
fn the_only_replica_of_a_queue_stays_where_it_is() {
    let (classic, quorum) = (unique("http-replica"), unique("http-replica"));
    let queue = |name: &str| format!("/api/queues/%2F/{name}");
    assert_eq!(send("PUT", &queue(&classic), json!({"durable": true})).status, 201);
    let body = json!({"durable": true, "arguments": {"x-queue-type": "quorum"}});
    assert_eq!(send("PUT", &queue(&quorum), body).status, 201);
    let of = |name: &str, what: &str| format!("/api/queues/quorum/%2F/{name}/{what}");
    let status_of = &http().get(&of(&quorum, "status"))[0];
    assert_eq!(status_of["Node Name"], json!(node()));
    assert_eq!(
        (&status_of["Raft State"], &status_of["Membership"]),
        (&json!("leader"), &json!("voter"))
    );
    let unsupported = send("GET", &of(&classic, "status"), Value::Null);
    assert_eq!(unsupported.status, 503);
    assert_eq!(
        unsupported.json(),
        json!({"status": "failed", "reason": "classic_queue_not_supported"})
    );
    refused("GET", &of("no-such-queue", "status"), Value::Null, NOT_FOUND);

    let (add, delete) = ("replicas/add", "replicas/delete");
    let refusal = (503, "service_unavailable", "classic_queue_not_supported");
    refused("POST", &of(&classic, add), json!({"node": node()}), refusal);
    assert_eq!(send("POST", &of(&quorum, add), json!({"node": node()})).status, 204);
    let other = (400, "bad_request", "Node is not a cluster member");
    refused("POST", &of(&quorum, add), json!({"node": "other@host"}), other);
    refused("DELETE", &of(&quorum, delete), json!({"node": "other@host"}), other);
    refused(
        "POST",
        &of(&quorum, add),
        json!({}),
        (400, "bad_request", "[{key_missing,node}]"),
    );
    let last = (503, "service_unavailable", "last_node");
    refused("DELETE", &of(&quorum, delete), json!({"node": node()}), last);
    assert_eq!(send("POST", "/api/rebalance/queues", json!({})).status, 204);
    for name in [&classic, &quorum] {
        assert_eq!(status("DELETE", &queue(name)), 204);
    }
}

#[test]
fn a_node_is_well_by_old_and_new_checks() {
    let fine = json!({"status": "ok"});
    let leaders = "/api/health/checks/quorum-queues-without-elected-leaders";
    for path in [
        "all-vhosts",
        "all-vhosts/pattern/.*",
        "vhost/%2F",
        "vhost/%2F/pattern/x",
    ] {
        assert_eq!(http().get(&format!("{leaders}/{path}")), fine, "{path}");
    }
    assert_eq!(http().get("/api/healthchecks/node"), fine);
    assert_eq!(http().get(&format!("/api/healthchecks/node/{}", node())), fine);
    refused("GET", "/api/healthchecks/node/other@host", Value::Null, NOT_FOUND);
    let several = send("GET", "/api/health/checks/protocol-listener/amqp,mqtt", Value::Null);
    assert_eq!((several.status, &several.json()["missing"]), (503, &json!(["mqtt"])));
    let none = send("GET", "/api/health/checks/port-listener/99999", Value::Null);
    assert_eq!((none.status, &none.json()["missing"]), (503, &json!(99_999)));
}

/// A browser asks before it sends a request of a page from elsewhere; without a password.
#[test]
fn the_methods_of_a_path_are_told() {
    let asked =
        harness::http::Http::anonymous(harness::Broker::shared().http()).request("OPTIONS", "/api/overview", None);
    assert_eq!(asked.status, 200);
    let allowed = asked.header("allow").expect("methods").to_owned();
    assert!(
        ["GET", "HEAD", "OPTIONS"].iter().all(|method| allowed.contains(method)),
        "{allowed}"
    );
}

/// RabbitMQ gives no pages of these, whatever is asked.
#[test]
fn bindings_and_consumers_come_whole() {
    for list in [
        "/api/bindings",
        "/api/bindings/%2F",
        "/api/consumers",
        "/api/consumers/%2F",
    ] {
        assert!(http().get(&format!("{list}?page=1&page_size=2")).is_array(), "{list}");
    }
    // A vhost that is new is not protected.
    if is_rabbitmq() {
        assert_eq!(http().get("/api/vhosts/%2F")["protected_from_deletion"], false);
    }
}
