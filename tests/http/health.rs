//! Logins, health checks, probes and metrics.

use std::time::Duration;

use harness::http::Http;
use harness::requests::{durable, unique};
use harness::wait::until;
use harness::{Broker, Client};
use leveret_amqp::Method;
use serde_json::{Value, json};

use crate::{NOT_FOUND, has, http, is_rabbitmq, refused, send, status};

#[test]
fn only_who_knows_the_password_is_answered() {
    let address = Broker::shared().http();
    let nobody = Http::anonymous(address).request("GET", "/api/overview", None);
    assert_eq!(nobody.status, 401);
    let challenge = nobody.header("www-authenticate").expect("a challenge");
    assert!(challenge.starts_with("Basic realm="), "{challenge}");
    for (user, password) in [("guest", "wrong"), ("nobody", "guest"), ("", "")] {
        let answer = Http::with_credentials(address, user, password).request("GET", "/api/overview", None);
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (401, Some("not_authorized"))
        );
        let change = Http::with_credentials(address, user, password);
        assert_eq!(
            change.request("PUT", "/api/queues/%2F/never", Some(&json!({}))).status,
            401
        );
    }
    refused("GET", "/api/queues/%2F/never", Value::Null, NOT_FOUND);
    refused("GET", "/api/nothing", Value::Null, NOT_FOUND);
}

#[test]
fn health_checks_pass() {
    let checks = "alarms local-alarms node-is-quorum-critical virtual-hosts ready-to-serve-clients is-in-service \
                  below-node-connection-limit certificate-expiration/1/days protocol-listener/amqp protocol-listener/http";
    for check in checks.split_whitespace() {
        let answer = http().get(&format!("/api/health/checks/{check}"));
        assert_eq!(answer["status"], "ok", "{check}");
    }
    let port = Broker::shared().amqp().port();
    let answer = http().get(&format!("/api/health/checks/port-listener/{port}"));
    assert_eq!(answer, json!({"port": port, "status": "ok"}));
    for check in ["port-listener/1", "protocol-listener/odd"] {
        let answer = send("GET", &format!("/api/health/checks/{check}"), Value::Null);
        assert_eq!(answer.status, 503, "{check}");
        has(&answer.json(), &["status", "reason", "missing"]);
    }
    refused("GET", "/api/health/checks/nothing", Value::Null, NOT_FOUND);
}

/// On a port of their own, as RabbitMQ has them; where another broker has that, the tests don't know.
#[test]
fn metrics_have_rabbitmqs_names() {
    if Broker::external().is_some() {
        return;
    }
    let queue = unique("http-metrics");
    let path = format!("/api/queues/%2F/{queue}");
    assert_eq!(send("PUT", &path, json!({})).status, 201);
    let anonymous = Http::anonymous(Broker::shared().metrics());
    let read = |path: &str| {
        let answer = anonymous.request("GET", path, None);
        assert_eq!(answer.status, 200, "{path}");
        answer.body
    };
    let all = read("/metrics");
    for name in "build_info identity_info erlang_uptime_seconds queue_messages_ready queue_messages_unacked connections channels \
                 queues consumers connections_opened_total connections_closed_total channels_opened_total channels_closed_total \
                 queues_declared_total queues_created_total queues_deleted_total process_resident_memory_bytes \
                 resident_memory_limit_bytes disk_space_available_bytes disk_space_available_limit_bytes process_open_fds \
                 process_max_fds global_publishers global_consumers global_messages_received_total \
                 global_messages_received_confirm_total global_messages_routed_total global_messages_confirmed_total \
                 global_messages_unroutable_dropped_total global_messages_unroutable_returned_total \
                 global_messages_delivered_total global_messages_delivered_consume_auto_ack_total \
                 global_messages_delivered_consume_manual_ack_total global_messages_delivered_get_auto_ack_total \
                 global_messages_delivered_get_manual_ack_total global_messages_redelivered_total \
                 global_messages_acknowledged_total global_messages_get_empty_total \
                 global_messages_dead_lettered_maxlen_total global_messages_dead_lettered_expired_total \
                 global_messages_dead_lettered_rejected_total auth_attempts_total auth_attempts_succeeded_total \
                 auth_attempts_failed_total"
        .split_whitespace()
    {
        let found = |line: &str| line.starts_with(&format!("rabbitmq_{name}{{")) || line.starts_with(&format!("rabbitmq_{name} "));
        assert!(all.lines().any(found), "{name}");
    }
    let sample = format!("rabbitmq_detailed_queue_messages{{vhost=\"/\",queue=\"{queue}\"}} 0");
    let one = read(&format!(
        "/metrics/detailed?family=queue_coarse_metrics&vhost=%2F&queue=%5E{queue}%24"
    ));
    assert!(one.lines().any(|line| line == sample), "{one}");
    let per_object = read("/metrics/per-object");
    assert!(per_object.contains(&format!("leveret_queue_publish_rate{{vhost=\"/\",queue=\"{queue}\"}}")));
    // As the cluster operator's ServiceMonitor asks; families that there aren't are passed over.
    let several = read("/metrics/detailed?family=queue_coarse_metrics&family=queue_metrics&family=odd");
    assert!(several.lines().any(|line| line == sample), "{several}");
    let none = read("/metrics/detailed");
    assert!(!none.contains("queue_messages"), "{none}");
    let consumers = read("/metrics/detailed?family=queue_consumer_count");
    assert!(consumers.contains("rabbitmq_detailed_queue_consumers{") && !consumers.contains("messages_ready"));
    let logins = read("/metrics/detailed?family=auth_attempt_detailed_metrics");
    let label = "remote_address=\"127.0.0.1\",username=\"guest\",protocol=\"http\"";
    assert!(logins.contains(label), "{logins}");
    let wrong = anonymous.request("GET", "/metrics/detailed?family=queue_coarse_metrics&queue=(", None);
    assert_eq!(wrong.status, 400);
    assert_eq!(status("DELETE", &path), 204);
}

/// Leveret's own: on the port of metrics there is nothing else but probes, and on that of the API metrics need a login.
#[test]
fn the_port_of_metrics_is_good_for_nothing_else() {
    if Broker::external().is_some() {
        return;
    }
    let broker = Broker::shared();
    for user in [Http::anonymous(broker.metrics()), Http::new(broker.metrics())] {
        for (method, path) in [
            ("GET", "/api/overview"),
            ("PUT", "/api/queues/%2F/x"),
            ("GET", "/"),
            ("POST", "/livez"),
        ] {
            let status = user.request(method, path, None).status;
            assert!(matches!(status, 404 | 405), "{method} {path}: {status}");
        }
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(user.request("GET", path, None).status, 200, "{path}");
        }
    }
    for path in ["/metrics", "/metrics/per-object", "/metrics/detailed"] {
        assert_eq!(
            Http::anonymous(broker.http()).request("GET", path, None).status,
            401,
            "{path}"
        );
        assert_eq!(http().request("GET", path, None).status, 200, "{path}");
    }
}

/// Leveret's own: probes without a login, and what is answered over HTTP is on disk.
#[test]
fn the_probes_tell_a_start_from_an_end() {
    if Broker::external().is_some() {
        return;
    }
    let mut broker = Broker::start();
    let probe = |broker: &Broker, path: &str| Http::anonymous(broker.http()).request("GET", path, None).status;
    assert_eq!((probe(&broker, "/livez"), probe(&broker, "/readyz")), (200, 200));
    let api = Http::new(broker.http());
    let answer = api.request("PUT", "/api/queues/%2F/kept", Some(&json!({"durable": true})));
    assert_eq!(answer.status, 201);
    broker.kill();
    let mut broker = broker.restart();
    let api = Http::new(broker.http());
    assert_eq!(api.get("/api/queues/%2F/kept")["durable"], true);
    let mut client = Client::with_channel(broker.amqp());
    client.send(1, durable("kept"));
    assert!(matches!(client.method(1), Method::QueueDeclareOk(_)));
    broker.ask_to_end();
    // A client that doesn't answer connection.close keeps the broker draining.
    let within = Duration::from_secs(4);
    until("the broker is not ready any more", within, || {
        probe(&broker, "/readyz") == 503
    });
    assert_eq!(probe(&broker, "/livez"), 200);
    assert_eq!(api.request("GET", "/api/health/checks/is-in-service", None).status, 503);
    drop(client);
    assert!(broker.terminate(Duration::from_secs(30)).success());
}

/// As the ServiceMonitor of RabbitMQ's operator asks, and as its dashboards do.
#[test]
fn metrics_come_by_family() {
    if is_rabbitmq() {
        return;
    }
    let queue = unique("http-metrics");
    assert_eq!(
        send("PUT", &format!("/api/queues/%2F/{queue}"), json!({"durable": true})).status,
        201
    );
    let ask = |path: &str| http().request("GET", path, None);
    let families = "family=queue_coarse_metrics&family=queue_metrics&family=no_such_family&family=vhost_status";
    let answer = ask(&format!("/metrics/detailed?{families}&vhost=%2F&queue=%5E{queue}%24"));
    assert_eq!(answer.status, 200);
    let labels = format!("{{vhost=\"/\",queue=\"{queue}\"}}");
    for name in [
        "queue_messages_ready",
        "queue_messages_bytes",
        "queue_consumers",
        "queue_consumer_utilisation",
    ] {
        assert!(
            answer.body.contains(&format!("rabbitmq_detailed_{name}{labels} 0\n")),
            "{name} in {}",
            answer.body
        );
    }
    assert!(
        answer.body.contains("rabbitmq_cluster_vhost_status{vhost=\"/\"} 1\n"),
        "{}",
        answer.body
    );
    // What there is none of has no figures: there is no Raft log, stream or Erlang process here.
    let nothing =
        ask("/metrics/detailed?family=ra_metrics&family=stream_consumer_metrics&family=channel_process_metrics");
    let figures = |body: &str| {
        body.lines()
            .filter(|line| line.starts_with("rabbitmq_detailed_"))
            .count()
    };
    assert_eq!((nothing.status, figures(&nothing.body)), (200, 0), "{}", nothing.body);
    let families = "family=exchange_bindings&family=exchange_names&family=channel_metrics&family=connection_metrics";
    let answer = ask(&format!("/metrics/detailed?{families}"));
    let topic = "{vhost=\"/\",exchange=\"amq.topic\",type=\"topic\"}";
    assert!(
        answer
            .body
            .contains(&format!("rabbitmq_cluster_exchange_name{topic} 1\n")),
        "{}",
        answer.body
    );
    assert!(!answer.body.contains("queue_messages"), "{}", answer.body);
    let per_object = ask("/metrics/per-object").body;
    for name in [
        "rabbitmq_queue_messages_published_total",
        "rabbitmq_queue_info",
        "rabbitmq_queue_messages_acked_total",
    ] {
        assert!(
            per_object.contains(&format!("{name}{{vhost=\"/\",queue=\"{queue}\"")),
            "{name}"
        );
    }
    let all = ask("/metrics").body;
    for name in [
        "rabbitmq_message_size_bytes_bucket{protocol=\"amqp091\",le=\"100.0\"}",
        "rabbitmq_message_size_bytes_bucket{protocol=\"amqp091\",le=\"+Inf\"}",
        "rabbitmq_message_size_bytes_count{protocol=\"amqp091\"}",
        "rabbitmq_message_size_bytes_sum{protocol=\"amqp091\"}",
        "rabbitmq_channel_messages_unroutable_dropped_total",
        "rabbitmq_connection_incoming_bytes_total",
    ] {
        assert!(all.lines().any(|line| line.starts_with(name)), "{name}");
    }
    assert_eq!(status("DELETE", &format!("/api/queues/%2F/{queue}")), 204);
}
