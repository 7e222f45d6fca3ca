//! How much waits in a queue, how fast it comes and goes, and when it will be empty.
//!
//! In: a row of `GET /api/queues`. Out: `Backlog`. Does not know about HTTP, resources, or how it is shown.

use std::time::Duration;

use serde::Deserialize;

/// The columns of `GET /api/queues` that [`Counters`] reads.
pub const COLUMNS: &str = "messages_ready,messages_unacknowledged,consumers,message_stats.publish_details.rate,\
                           message_stats.ack_details.rate,message_stats.deliver_no_ack_details.rate,\
                           message_stats.get_no_ack_details.rate";

/// The counters of one queue. Rates are messages per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Backlog {
    pub ready: u64,
    pub unacked: u64,
    pub consumers: u64,
    pub publish_rate: f64,
    /// Messages that leave the queue for good: acknowledged, or delivered without need of it.
    pub leave_rate: f64,
}

/// The future of a backlog when the rates stay as they are: Q(t) = Q(0) + (P - C) t.
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

/// Two units are enough to know when to come back.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => "< 1s".to_owned(),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// The counters in a row; a broker may leave out what it does not know yet.
#[derive(Default, Deserialize)]
pub struct Counters {
    messages_ready: Option<u64>,
    messages_unacknowledged: Option<u64>,
    consumers: Option<u64>,
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

impl Counters {
    /// The backlog; `None` when the broker says nothing of it.
    pub fn backlog(&self) -> Option<Backlog> {
        let rate = |details: &Option<Details>| details.as_ref().map_or(0.0, |details| details.rate);
        let stats = &self.message_stats;
        Some(Backlog {
            ready: self.messages_ready?,
            unacked: self.messages_unacknowledged.unwrap_or_default(),
            consumers: self.consumers.unwrap_or_default(),
            publish_rate: rate(&stats.publish_details),
            leave_rate: rate(&stats.ack_details)
                + rate(&stats.deliver_no_ack_details)
                + rate(&stats.get_no_ack_details),
        })
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
    fn spans() {
        for (seconds, text) in [
            (0, "< 1s"),
            (59, "59s"),
            (61, "1m01s"),
            (3_700, "1h01m"),
            (90_000, "1d01h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn rows_with_and_without_stats() {
        let counters = |row| serde_json::from_value::<Counters>(row).unwrap();
        assert_eq!(counters(json!({"vhost": "/", "name": "a"})).backlog(), None);
        let row = json!({"messages_ready": 3, "messages_unacknowledged": 1, "consumers": 2,
             "message_stats": {"publish_details": {"rate": 2.5}, "ack_details": {"rate": 1.0},
                               "deliver_no_ack_details": {"rate": 0.5}}});
        let backlog = counters(row).backlog().unwrap();
        assert_eq!(
            (
                backlog.messages(),
                backlog.consumers,
                backlog.publish_rate,
                backlog.leave_rate
            ),
            (4, 2, 2.5, 1.5)
        );
    }
}
