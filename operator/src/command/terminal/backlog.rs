//! Reads the counters of all queues, for the live view.
//!
//! In: `GET /api/queues`. Out: `Backlog` by queue. Does not know about resources or how it is shown.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::broker::Error;
use crate::broker::http::Management;
use crate::topology::backlog::{Backlog, COLUMNS, Counters};

/// Reads the counters of all queues, by virtual host and name.
///
/// # Errors
/// See [`Management::get`].
pub async fn read(management: &Management) -> Result<BTreeMap<(String, String), Backlog>, Error> {
    let path = format!("/api/queues?columns=vhost,name,{COLUMNS}");
    let rows: Vec<Row> = management.rows(&path).await?;
    Ok(rows.into_iter().map(Row::split).collect())
}

#[derive(Deserialize)]
struct Row {
    vhost: String,
    name: String,
    #[serde(flatten)]
    counters: Counters,
}

impl Row {
    fn split(self) -> ((String, String), Backlog) {
        let backlog = self.counters.backlog().unwrap_or_default();
        ((self.vhost, self.name), backlog)
    }
}
