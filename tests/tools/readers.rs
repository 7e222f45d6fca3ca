//! Programs that only read, by the requests that they make: KEDA's scaler, Celery's Flower, exporters for Prometheus,
//! Telegraf. Their sources say which fields they insist on.

use harness::wait::eventually;
use serde_json::{Value, json};

use crate::load::Load;
use crate::{FIGURES, http, status};

fn number(value: &Value, path: &str) -> Option<f64> {
    path.split('.').try_fold(value, |value, name| value.get(name))?.as_f64()
}

/// Numbers that must be there.
fn insists(value: &Value, paths: &str) {
    let missing = missing(value, paths);
    assert!(missing.is_none(), "no {missing:?} in {value}");
}

fn missing<'a>(value: &Value, paths: &'a str) -> Option<&'a str> {
    paths.split_whitespace().find(|path| number(value, path).is_none())
}

/// An object with numbers that must be there, once they are: RabbitMQ's are up to five seconds old.
fn shown(object: impl Fn() -> Value, paths: &str) -> Value {
    let (found, _) = eventually("all figures are shown", FIGURES, || {
        let value = object();
        match missing(&value, paths) {
            None => Ok(value),
            Some(path) => Err((path.to_owned(), value)),
        }
    });
    found
}

/// A queue as a list has it.
fn listed(path: &str, name: &str) -> Value {
    let queues = http().get(path);
    let rows = queues.as_array().expect("rows");
    rows.iter()
        .find(|row| row["name"] == json!(name))
        .cloned()
        .unwrap_or_default()
}

/// A queue by name, or all that a pattern matches, on one page.
#[test]
fn keda_reads_lengths_and_rates() {
    let load = Load::start();
    let fields = "messages messages_unacknowledged message_stats.publish_details.rate \
                  message_stats.deliver_get_details.rate";
    let path = format!("/api/queues/%2F/{}", load.queue);
    shown(|| http().get(&path), fields);
    let pattern = format!("%5E{}%24", load.queue);
    let page = |name: &str| {
        let query = format!("page=1&use_regex=true&pagination=false&name={name}&page_size=100");
        http().get(&format!("/api/queues/%2F?{query}"))
    };
    let found = page(&pattern);
    insists(&found, "filtered_count item_count page_count total_count");
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(found["items"][0]["name"], json!(load.queue));
    insists(&found["items"][0], fields);
    let none = page("%5Etools-no-such-queue%24");
    assert_eq!((&none["items"], &none["page_count"]), (&json!([]), &json!(0)));
    assert_eq!(status("GET", "/api/queues/%2F/tools-no-such-queue", &Value::Null), 404);
    load.end();
}

/// A list of queues, of which Flower looks at those that its workers have.
#[test]
fn flower_reads_queues() {
    let load = Load::start();
    let fields = "messages messages_ready messages_unacknowledged consumers";
    shown(|| listed("/api/queues/%2F", &load.queue), fields);
    load.end();
}

/// kbudde's exporter with all that it can look at, and Telegraf's input: any status but 200 is an error to them.
#[test]
fn exporters_read_everything() {
    let load = Load::start();
    let overview = shown(
        || http().get("/api/overview"),
        "object_totals.channels object_totals.connections object_totals.consumers object_totals.queues \
         object_totals.exchanges queue_totals.messages queue_totals.messages_ready \
         queue_totals.messages_unacknowledged message_stats.publish message_stats.publish_details.rate \
         message_stats.ack message_stats.deliver message_stats.deliver_get message_stats.return_unroutable",
    );
    let node = &http().get("/api/nodes")[0];
    insists(
        node,
        "disk_free disk_free_limit fd_total fd_used mem_limit mem_used proc_total proc_used run_queue sockets_total \
         sockets_used uptime mem_used_details.rate io_read_avg_time io_read_avg_time_details.rate \
         io_read_bytes io_write_avg_time io_write_bytes",
    );
    assert!(node["running"] == true && node["partitions"].is_array(), "{node}");
    assert!(node["mem_alarm"].is_boolean() && node["disk_free_alarm"].is_boolean());
    let name = node["name"].as_str().expect("a name");
    let memory = http().get(&format!("/api/nodes/{name}/memory"));
    insists(
        &memory,
        "memory.connection_readers memory.connection_writers memory.queue_procs memory.plugins memory.other_proc \
         memory.metrics memory.mgmt_db memory.mnesia memory.other_ets memory.binary memory.msg_index memory.code \
         memory.atom memory.other_system memory.allocated_unused memory.reserved_unallocated memory.total.erlang \
         memory.total.rss memory.total.allocated",
    );
    let queue = shown(
        || listed("/api/queues", &load.queue),
        "messages messages_ready messages_unacknowledged messages_persistent message_bytes message_bytes_ready \
         message_bytes_unacknowledged message_bytes_persistent memory consumers consumer_utilisation",
    );
    assert!(queue["durable"] == true && queue["state"] == "running" && queue["node"] == node["name"]);
    // RabbitMQ has the last two with plugins.
    let lists = [
        "exchanges",
        "connections",
        "channels",
        "vhosts",
        "shovels",
        "federation-links",
    ];
    let there = if overview["product_name"] == "RabbitMQ" { 4 } else { 6 };
    for list in lists.iter().take(there) {
        assert!(http().get(&format!("/api/{list}")).is_array(), "{list}");
    }
    assert_eq!(http().get("/api/aliveness-test/%2F"), json!({"status": "ok"}));
    let whoami = http().get("/api/whoami");
    assert_eq!(whoami["tags"], json!(["administrator"]));
    load.end();
}
