//! Figures of queues, as RabbitMQ's objects have them.
//!
//! Comes in: sums and rates, of one queue or of many. Goes out: their fields. Does not know about requests.

use super::json::Object;
use crate::metrics::rates::QueueRates;
use crate::queue::totals::{Snapshot, Totals};

/// Messages waiting and unacknowledged, with the rates of their change.
pub fn depth(now: &Snapshot, rates: &QueueRates, o: &mut Object<'_>) {
    let (ready, unacked) = (now.ready as u64, now.unacked as u64);
    o.counted(
        "messages",
        "messages_details",
        now.messages() as u64,
        rates.ready + rates.unacked,
    );
    o.counted("messages_ready", "messages_ready_details", ready, rates.ready);
    o.counted(
        "messages_unacknowledged",
        "messages_unacknowledged_details",
        unacked,
        rates.unacked,
    );
}

/// Messages that left queues, with rates.
pub fn delivery_stats(totals: &Totals, rates: &QueueRates, o: &mut Object<'_>) {
    o.counted("deliver", "deliver_details", totals.delivered, rates.deliver);
    o.counted(
        "deliver_no_ack",
        "deliver_no_ack_details",
        totals.delivered_no_ack,
        rates.deliver_no_ack,
    );
    o.counted("get", "get_details", totals.got, rates.get);
    o.counted("get_no_ack", "get_no_ack_details", totals.got_no_ack, rates.get_no_ack);
    o.counted("get_empty", "get_empty_details", totals.get_empty, rates.get_empty);
    o.counted(
        "deliver_get",
        "deliver_get_details",
        totals.handed_out(),
        rates.deliver_get(),
    );
    o.counted("ack", "ack_details", totals.acked, rates.ack);
    o.counted("redeliver", "redeliver_details", totals.redelivered, rates.redeliver);
}
