//! Dashboards and alert rules, by the metrics that they ask for: RabbitMQ's overview (Grafana 10991), the cluster
//! operator's queue dashboard, and its rules. None of their queries is empty under load.

use std::collections::BTreeSet;

use harness::Broker;
use harness::http::Http;
use serde_json::Value;

use crate::http;
use crate::load::Load;

/// Metrics of the overview and of the rules, on `/metrics`; each is joined with `rabbitmq_identity_info`.
const OVERVIEW: &str = "
rabbitmq_build_info{rabbitmq_version,erlang_version}
rabbitmq_identity_info{rabbitmq_cluster,rabbitmq_node,rabbitmq_endpoint}
rabbitmq_erlang_uptime_seconds
rabbitmq_channels
rabbitmq_connections
rabbitmq_queues
rabbitmq_global_consumers
rabbitmq_global_publishers
rabbitmq_queue_messages_ready
rabbitmq_queue_messages_unacked
rabbitmq_disk_space_available_bytes
rabbitmq_disk_space_available_limit_bytes
rabbitmq_process_max_fds
rabbitmq_process_open_fds
rabbitmq_process_resident_memory_bytes
rabbitmq_resident_memory_limit_bytes
rabbitmq_alarms_memory_used_watermark
rabbitmq_alarms_free_disk_space_watermark
rabbitmq_alarms_file_descriptor_limit
rabbitmq_message_size_bytes_bucket{le=100.0}
rabbitmq_message_size_bytes_bucket{le=1000.0}
rabbitmq_message_size_bytes_bucket{le=10000.0}
rabbitmq_message_size_bytes_bucket{le=100000.0}
rabbitmq_message_size_bytes_bucket{le=1e+06}
rabbitmq_message_size_bytes_bucket{le=1e+07}
rabbitmq_message_size_bytes_bucket{le=5e+07}
rabbitmq_message_size_bytes_bucket{le=1e+08}
rabbitmq_message_size_bytes_bucket{le=+Inf}
rabbitmq_message_size_bytes_sum
rabbitmq_message_size_bytes_count
rabbitmq_channels_closed_total
rabbitmq_channels_opened_total
rabbitmq_connections_closed_total
rabbitmq_connections_opened_total
rabbitmq_queues_created_total
rabbitmq_queues_declared_total
rabbitmq_queues_deleted_total
rabbitmq_global_messages_acknowledged_total
rabbitmq_global_messages_confirmed_total
rabbitmq_global_messages_delivered_total
rabbitmq_global_messages_delivered_consume_auto_ack_total
rabbitmq_global_messages_delivered_consume_manual_ack_total
rabbitmq_global_messages_delivered_get_auto_ack_total
rabbitmq_global_messages_delivered_get_manual_ack_total
rabbitmq_global_messages_get_empty_total
rabbitmq_global_messages_received_total
rabbitmq_global_messages_received_confirm_total
rabbitmq_global_messages_redelivered_total
rabbitmq_global_messages_routed_total
rabbitmq_global_messages_unroutable_dropped_total
rabbitmq_global_messages_unroutable_returned_total
rabbitmq_channel_messages_unroutable_dropped_total
rabbitmq_channel_messages_unroutable_returned_total
";

/// Those of them that the load has made more than 0.
const MOVING: &str = "connections channels queues global_publishers global_consumers queue_messages_ready \
    queue_messages_unacked connections_opened_total channels_opened_total queues_created_total \
    global_messages_acknowledged_total global_messages_confirmed_total global_messages_delivered_total \
    global_messages_delivered_consume_manual_ack_total global_messages_delivered_get_auto_ack_total \
    global_messages_delivered_get_manual_ack_total global_messages_get_empty_total global_messages_received_total \
    global_messages_received_confirm_total global_messages_redelivered_total global_messages_routed_total \
    global_messages_unroutable_dropped_total global_messages_unroutable_returned_total message_size_bytes_count \
    message_size_bytes_sum";

/// Of the queue dashboard and the rules by object, as the operator's ServiceMonitor asks for them.
const QUEUES: &str = "
rabbitmq_detailed_queue_messages{queue,vhost}
rabbitmq_detailed_queue_consumers{queue,vhost}
rabbitmq_identity_info{rabbitmq_cluster,rabbitmq_node,rabbitmq_endpoint}
";

/// RabbitMQ's groups of families, with one that each has.
const GROUPS: &str = "
connection_churn_metrics rabbitmq_detailed_connections_opened_total
node_coarse_metrics rabbitmq_detailed_process_open_fds
node_metrics rabbitmq_detailed_process_max_fds
node_persister_metrics rabbitmq_detailed_io_sync_ops_total
auth_attempt_metrics rabbitmq_detailed_auth_attempts_total
auth_attempt_detailed_metrics rabbitmq_detailed_auth_attempts_detailed_total
queue_coarse_metrics rabbitmq_detailed_queue_messages_ready
queue_consumer_count rabbitmq_detailed_queue_consumers
queue_metrics rabbitmq_detailed_queue_messages_bytes
queue_delivery_metrics rabbitmq_detailed_queue_messages_acked_total
channel_metrics rabbitmq_detailed_channel_consumers
channel_exchange_metrics rabbitmq_detailed_channel_messages_published_total
channel_queue_metrics rabbitmq_detailed_channel_messages_delivered_ack_total
connection_coarse_metrics rabbitmq_detailed_connection_incoming_bytes_total
connection_metrics rabbitmq_detailed_connection_channels
exchange_metrics rabbitmq_detailed_exchange_messages_published_total
vhost_status rabbitmq_cluster_vhost_status
exchange_bindings rabbitmq_cluster_exchange_bindings
exchange_names rabbitmq_cluster_exchange_name
";

/// Where metrics are: without a password on a port of their own, where that is known; else on that of the API.
fn scrape(path: &str) -> String {
    let api = match Broker::external() {
        None => Http::anonymous(Broker::shared().metrics()),
        Some(_) => http(),
    };
    let answer = api.request("GET", path, None);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body
}

/// True if a line is a sample of a metric with these labels, as names or `name=value`.
fn is_sample(line: &str, wanted: &str) -> bool {
    let (name, labels) = wanted.split_once('{').unwrap_or((wanted, "}"));
    let Some(rest) = line.strip_prefix(name) else {
        return false;
    };
    let labels = labels
        .trim_end_matches('}')
        .split(',')
        .filter(|label| !label.is_empty());
    let has = |label: &str| match label.split_once('=') {
        Some((name, value)) => rest.contains(&format!("{name}=\"{value}\"")),
        None => rest.contains(&format!("{label}=\"")),
    };
    (rest.starts_with('{') || rest.starts_with(' ')) && labels.into_iter().all(has)
}

fn missing<'a>(text: &str, wanted: &'a str) -> Vec<&'a str> {
    let wanted = wanted.lines().filter(|line| !line.is_empty());
    wanted
        .filter(|wanted| !text.lines().any(|line| is_sample(line, wanted)))
        .collect()
}

fn values(text: &str, name: &str) -> Vec<f64> {
    let samples = text.lines().filter(|line| is_sample(line, name));
    samples
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect()
}

#[test]
fn no_query_of_the_overview_is_empty_under_load() {
    let load = Load::start();
    let all = scrape("/metrics");
    assert_eq!(missing(&all, OVERVIEW), [""; 0]);
    for name in MOVING.split_whitespace() {
        let values = values(&all, &format!("rabbitmq_{name}"));
        assert!(values.iter().any(|value| *value > 0.0), "{name}: {values:?}");
    }
    load.end();
}

#[test]
fn no_query_about_queues_is_empty_under_load() {
    let load = Load::start();
    let asked = scrape("/metrics/detailed?family=queue_coarse_metrics&family=queue_metrics");
    assert_eq!(missing(&asked, QUEUES), [""; 0]);
    let of = format!("{{vhost=/,queue={}}}", load.queue);
    assert_eq!(values(&asked, &format!("rabbitmq_detailed_queue_consumers{of}")), [1.0]);
    assert!(values(&asked, &format!("rabbitmq_detailed_queue_messages{of}"))[0] > 0.0);
    load.end();
}

#[test]
fn each_group_of_families_comes_alone() {
    let load = Load::start();
    for line in GROUPS.lines().filter(|line| !line.is_empty()) {
        let (group, family) = line.split_once(' ').expect("a group and a family");
        let answer = scrape(&format!("/metrics/detailed?family={group}"));
        assert!(
            answer.lines().any(|line| is_sample(line, family)),
            "{family} in {answer}"
        );
        let others = GROUPS.lines().filter_map(|line| line.split_once(' '));
        let of_queues = |group: &str| group.starts_with("queue_");
        for (other, foreign) in others.filter(|(other, _)| *other != group && !(of_queues(other) && of_queues(group))) {
            assert!(
                !answer.lines().any(|line| is_sample(line, foreign)),
                "{group} has {other}'s"
            );
        }
    }
    load.end();
}

/// Each family once, and no sample twice: Prometheus drops what has one that is twice.
#[test]
fn what_is_scraped_is_well_formed() {
    let load = Load::start();
    let groups: Vec<String> = GROUPS
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(group, _)| format!("family={group}"))
        .collect();
    let detailed = format!("/metrics/detailed?{}", groups.join("&"));
    for path in [
        "/metrics",
        "/metrics/per-object",
        "/metrics/memory-breakdown",
        &detailed,
    ] {
        let text = scrape(path);
        let (mut families, mut samples) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(family) => {
                    let name = family.split(' ').next().expect("a name");
                    assert!(families.insert(name.to_owned()), "{path}: {name} begins twice");
                }
                None if line.starts_with('#') => {}
                None => {
                    let (sample, value) = line.rsplit_once(' ').expect("a value");
                    assert!(samples.insert(sample.to_owned()), "{path}: {sample} is there twice");
                    assert!(value.parse::<f64>().is_ok(), "{path}: {line}");
                }
            }
        }
        assert!(samples.len() > 20, "{path}: {text}");
    }
    let per_object = scrape("/metrics/per-object");
    let wanted = "
rabbitmq_queue_messages{queue,vhost}
rabbitmq_queue_info{queue,vhost,queue_type}
rabbitmq_channel_messages_published_total{channel}
rabbitmq_connection_incoming_bytes_total{connection}
rabbitmq_exchange_messages_published_total{exchange,vhost}
rabbitmq_global_messages_received_total{protocol}
rabbitmq_process_open_fds
rabbitmq_connections
rabbitmq_message_size_bytes_count
";
    assert_eq!(missing(&per_object, wanted), [""; 0]);
    let memory = scrape("/metrics/memory-breakdown");
    for of in [
        "client_connection_reader",
        "classic_queue_erlang_process",
        "other_system",
        "binary_heap",
    ] {
        assert!(
            !values(&memory, &format!("rabbitmq_memory_{of}_bytes")).is_empty(),
            "{of}"
        );
    }
    load.end();
}

/// The samples that charts of RabbitMQ's own console are drawn of.
#[test]
fn history_comes_with_what_is_asked_for() {
    let load = Load::start();
    let range = "lengths_age=60&lengths_incr=5&msg_rates_age=60&msg_rates_incr=5&data_rates_age=60&data_rates_incr=5\
                 &node_stats_age=60&node_stats_incr=5";
    let node = http().get("/api/overview")["node"].as_str().expect("a name").to_owned();
    let charted = |path: &str, field: &str, least: usize| {
        let (found, _) = harness::wait::eventually(field, crate::FIGURES * 2, || {
            let answer = http().get(&format!("{path}?{range}"));
            let details = field.split('.').try_fold(&answer, |value, name| value.get(name));
            let samples = details.and_then(|details| details["samples"].as_array().cloned());
            let enough = samples.filter(|samples| samples.len() >= least);
            enough.ok_or_else(|| details.cloned().unwrap_or(Value::Null))
        });
        for pair in found.windows(2) {
            let time = |sample: &Value| sample["timestamp"].as_u64().expect("a time");
            assert_eq!(time(&pair[0]) - time(&pair[1]), 5_000, "{path} {field}: {found:?}");
        }
    };
    let queue = format!("/api/queues/%2F/{}", load.queue);
    charted(&queue, "messages_details", 1);
    charted("/api/overview", "message_stats.publish_details", 2);
    charted("/api/overview", "queue_totals.messages_ready_details", 2);
    charted("/api/overview", "churn_rates.connection_created_details", 2);
    charted(&format!("/api/nodes/{node}"), "mem_used_details", 2);
    charted("/api/vhosts/%2F", "message_stats.publish_details", 1);
    charted("/api/exchanges/%2F/amq.default", "message_stats.publish_in_details", 1);
    charted(&queue, "message_stats.publish_details", 2);
    let details = &http().get(&format!("{queue}?{range}"))["message_stats"]["publish_details"];
    assert!(
        details["avg"].is_number() && details["avg_rate"].is_number(),
        "{details}"
    );
    let connection = http().get("/api/connections")[0]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    let escaped = connection.replace(' ', "%20").replace('>', "%3E");
    charted(&format!("/api/connections/{escaped}"), "recv_oct_details", 1);
    charted(
        &format!("/api/channels/{escaped}%20(1)"),
        "message_stats.publish_details",
        1,
    );
    assert!(
        http().get(&queue)["messages_details"].get("samples").is_none(),
        "only if asked for"
    );
    let wrong = http().request("GET", &format!("{queue}?lengths_age=60&lengths_incr=0"), None);
    let reason = "Invalid range parameters: age 60, incr 0";
    assert_eq!((wrong.status, wrong.json()["reason"].as_str()), (400, Some(reason)));
    load.end();
}
