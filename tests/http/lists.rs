//! Pages, filters, order and columns of lists.

use harness::requests::unique;
use serde_json::{Value, json};

use crate::{http, refused, send, status};

/// Five queues of the test's own, by names in order.
fn queues() -> (String, Vec<String>) {
    let prefix = unique("http-list");
    let names: Vec<String> = (0..5).map(|number| format!("{prefix}-{number}")).collect();
    for name in names.iter().rev() {
        assert_eq!(send("PUT", &format!("/api/queues/%2F/{name}"), json!({})).status, 201);
    }
    (prefix, names)
}

fn drop_all(names: &[String]) {
    for name in names {
        assert_eq!(status("DELETE", &format!("/api/queues/%2F/{name}")), 204);
    }
}

fn names(rows: &Value) -> Vec<String> {
    let name = |row: &Value| row["name"].as_str().unwrap_or_default().to_owned();
    rows.as_array().expect("rows").iter().map(name).collect()
}

#[test]
fn a_page_is_a_part_of_what_the_filter_leaves() {
    let (prefix, all) = queues();
    let list = |query: &str| http().get(&format!("/api/queues/%2F?{query}"));
    let page = list(&format!("page=2&page_size=2&name={prefix}&columns=name"));
    assert_eq!(page["items"], json!([{"name": all[2]}, {"name": all[3]}]));
    for (field, value) in [
        ("filtered_count", 5),
        ("item_count", 2),
        ("page", 2),
        ("page_count", 3),
        ("page_size", 2),
    ] {
        assert_eq!(page[field], value, "{field}");
    }
    assert!(page["total_count"].as_u64().expect("a number") >= 5);
    // As KEDA asks.
    let page = list(&format!(
        "page=1&use_regex=true&pagination=false&name=%5E{prefix}-%5B12%5D%24&page_size=100"
    ));
    assert_eq!(names(&page["items"]), all[1..3]);
    let page = list(&format!(
        "page=1&name={prefix}&sort=name&sort_reverse=true&columns=name"
    ));
    let reversed: Vec<String> = all.iter().rev().cloned().collect();
    assert_eq!(names(&page["items"]), reversed);
    let rows = list("columns=name,message_stats.publish&disable_stats=true");
    assert!(names(&rows).iter().filter(|name| name.starts_with(&prefix)).eq(&all));
    drop_all(&all);
}

#[test]
fn impossible_pages_are_refused() {
    let out = http().request("GET", "/api/exchanges?page=9&page_size=500", None);
    assert_eq!((out.status, &out.json()["error"]), (400, &json!("page_out_of_range")));
    let error = "invalid_pagination_parameters";
    let text = "Invalid pagination parameters: page number 1, page size 2000";
    refused(
        "GET",
        "/api/queues?page=1&page_size=2000",
        Value::Null,
        (400, error, text),
    );
}

#[test]
fn declared_is_shown_without_figures() {
    let (prefix, all) = queues();
    let rows = http().get("/api/queues?disable_stats=true");
    let row = rows
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["name"] == json!(all[0]))
        .expect("a row");
    assert_eq!((&row["durable"], row.get("messages")), (&json!(false), None));
    let rows = http().get(&format!(
        "/api/queues?disable_stats=true&enable_queue_totals=true&page=1&name={prefix}"
    ));
    assert_eq!(rows["items"][0]["messages"], 0);
    drop_all(&all);
}
