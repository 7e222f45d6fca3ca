//! How much waits in each queue, how fast it comes and goes, and when it will be empty.
//!
//! In: `GET /api/queues`. Out: [`Backlog`] by queue. Does not know about resources or how it is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::broker::Error;
use crate::broker::http::Management;

const PATH: &str = "/api/queues?columns=vhost,name,messages_ready,messages_unacknowledged,consumers,\
                    message_stats.publish_details.rate,message_stats.ack_details.rate,\
                    message_stats.deliver_no_ack_details.rate,message_stats.get_no_ack_details.rate";

/// The counters of one queue. Rates are messages per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Backlog {
    pub ready: u64,
    pub unacked: u64,
    pub consumers: u64,
    pub publish_rate: f64,
    /// What leaves the queue for good: acknowledged, or delivered without need of it.
    pub leave_rate: f64,
}

/// What becomes of a backlog when the rates stay as they are: Q(t) = Q(0) + (P - C) t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outlook {
    Empty,
    Drains(Duration),
    Steady,
    Grows,
}

impl Backlog {
    pub fn messages(&self) -> u64 {
        self.ready + self.unacked
    }

    pub fn outlook(&self) -> Outlook {
        /// Below this many messages per second it is neither growing nor draining.
        const STILL: f64 = 0.05;
        let balance = self.leave_rate - self.publish_rate;
        match self.messages() {
            0 => Outlook::Empty,
            messages if balance > STILL => {
                let seconds = messages as f64 / balance;
                Duration::try_from_secs_f64(seconds).map_or(Outlook::Steady, Outlook::Drains)
            }
            _ if balance < -STILL => Outlook::Grows,
            _ => Outlook::Steady,
        }
    }
}

/// Reads the counters of all queues, by virtual host and name.
///
/// # Errors
/// See [`Management::get`].
pub async fn read(management: &Management) -> Result<BTreeMap<(String, String), Backlog>, Error> {
    let rows: Vec<Row> = management.get(PATH).await?;
    Ok(rows.into_iter().map(Row::split).collect())
}

#[derive(Deserialize)]
struct Row {
    vhost: String,
    name: String,
    #[serde(default)]
    messages_ready: u64,
    #[serde(default)]
    messages_unacknowledged: u64,
    #[serde(default)]
    consumers: u64,
    #[serde(default)]
    message_stats: Stats,
}

#[derive(Default, Deserialize)]
struct Stats {
    publish_details: Option<Details>,
    ack_details: Option<Details>,
    deliver_no_ack_details: Option<Details>,
    get_no_ack_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    rate: f64,
}

impl Row {
    fn split(self) -> ((String, String), Backlog) {
        let rate = |details: &Option<Details>| details.as_ref().map_or(0.0, |details| details.rate);
        let stats = &self.message_stats;
        let backlog = Backlog {
            ready: self.messages_ready,
            unacked: self.messages_unacknowledged,
            consumers: self.consumers,
            publish_rate: rate(&stats.publish_details),
            leave_rate: rate(&stats.ack_details)
                + rate(&stats.deliver_no_ack_details)
                + rate(&stats.get_no_ack_details),
        };
        ((self.vhost, self.name), backlog)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn outlook() {
        let backlog = |ready, publish_rate, leave_rate| Backlog {
            ready,
            publish_rate,
            leave_rate,
            ..Backlog::default()
        };
        assert_eq!(backlog(0, 5.0, 0.0).outlook(), Outlook::Empty);
        assert_eq!(
            backlog(100, 5.0, 15.0).outlook(),
            Outlook::Drains(Duration::from_secs(10))
        );
        assert_eq!(backlog(100, 5.0, 5.0).outlook(), Outlook::Steady);
        assert_eq!(backlog(100, 5.0, 0.0).outlook(), Outlook::Grows);
    }

    #[test]
    fn rows_with_and_without_stats() {
        let rows: Vec<Row> = serde_json::from_value(json!([
            {"vhost": "/", "name": "a"},
            {"vhost": "/", "name": "b", "messages_ready": 3, "messages_unacknowledged": 1, "consumers": 2,
             "message_stats": {"publish_details": {"rate": 2.5}, "ack_details": {"rate": 1.0},
                               "deliver_no_ack_details": {"rate": 0.5}}}
        ]))
        .unwrap();
        let read: BTreeMap<_, _> = rows.into_iter().map(Row::split).collect();
        assert_eq!(read[&("/".to_owned(), "a".to_owned())], Backlog::default());
        let b = read[&("/".to_owned(), "b".to_owned())];
        assert_eq!(
            (b.messages(), b.consumers, b.publish_rate, b.leave_rate),
            (4, 2, 2.5, 1.5)
        );
    }
}
