//! Figures of queues, as RabbitMQ's objects have them.
//!
//! Comes in: sums and rates, of one queue or of many. Goes out: their fields. Does not know about requests.

use super::json::Object;
use crate::metrics::rates::{Name, PUBLISHED, QueueRates};
use crate::queue::totals::{Snapshot, Totals};

/// Counters with their rates.
pub fn counted<const N: usize>(names: &[Name; N], counts: [u64; N], rates: [f64; N], o: &mut Object<'_>) {
    for ((name, details), (count, rate)) in names.iter().zip(counts.into_iter().zip(rates)) {
        o.counted(name, details, count, rate);
    }
}

/// Messages that clients published, with rates.
pub fn publish_stats(counts: [u64; 4], rates: [f64; 4], o: &mut Object<'_>) {
    counted(&PUBLISHED, counts, rates, o);
}

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
