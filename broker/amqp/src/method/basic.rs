//! Basic: publishing, consuming and acknowledging. Class 60.
//!
//! Comes in: arguments as octets. Goes out: one struct a method. Does not know about the content that follows publish,
//! return, deliver and get-ok.

use crate::field::RawTable;
use crate::short_string::ShortString;

methods! {
    /// Limits unacknowledged deliveries.
    BasicQos(60, 10, "basic.qos") [] {
        /// Octets; only 0 is implemented.
        prefetch_size: u32,
        /// Messages in flight; 0 means no limit.
        prefetch_count: u16,
        /// For the channel rather than each new consumer (RabbitMQ).
        global: bool,
    } []

    /// The limit holds.
    BasicQosOk(60, 11, "basic.qos-ok") [] {} []

    /// Starts a consumer.
    BasicConsume(60, 20, "basic.consume") [u16] {
        /// The queue; empty means the last one declared on the channel.
        queue: ShortString,
        /// Empty lets the server choose one.
        consumer_tag: ShortString,
        /// Ignored by RabbitMQ.
        no_local: bool,
        /// Deliveries count as acknowledged.
        no_ack: bool,
        /// No other consumer on the queue.
        exclusive: bool,
        /// No reply is wanted.
        no_wait: bool,
        /// x-priority and the like.
        arguments: RawTable,
    } []

    /// It has started.
    BasicConsumeOk(60, 21, "basic.consume-ok") [] {
        /// Its tag.
        consumer_tag: ShortString,
    } []

    /// Ends a consumer; from the server: it has ended (RabbitMQ).
    BasicCancel(60, 30, "basic.cancel") [] {
        /// Its tag.
        consumer_tag: ShortString,
        /// No reply is wanted.
        no_wait: bool,
    } []

    /// It has ended.
    BasicCancelOk(60, 31, "basic.cancel-ok") [] {
        /// Its tag.
        consumer_tag: ShortString,
    } []

    /// Sends a message; content follows.
    BasicPublish(60, 40, "basic.publish") [u16] {
        /// The exchange; empty is the default one.
        exchange: ShortString,
        /// Routing key.
        routing_key: ShortString,
        /// Return it if no queue takes it.
        mandatory: bool,
        /// Not implemented by RabbitMQ.
        immediate: bool,
    } []

    /// Gives a mandatory message back; content follows.
    BasicReturn(60, 50, "basic.return") [] {
        /// 312 or 313.
        reply_code: u16,
        /// Its name.
        reply_text: ShortString,
        /// Where it was published.
        exchange: ShortString,
        /// With which key.
        routing_key: ShortString,
    } []

    /// A message for a consumer; content follows.
    BasicDeliver(60, 60, "basic.deliver") [] {
        /// The consumer.
        consumer_tag: ShortString,
        /// Number of the delivery on this channel, from 1.
        delivery_tag: u64,
        /// May have been delivered before.
        redelivered: bool,
        /// Where it was published.
        exchange: ShortString,
        /// With which key.
        routing_key: ShortString,
    } []

    /// Asks for one message.
    BasicGet(60, 70, "basic.get") [u16] {
        /// The queue; empty means the last one declared on the channel.
        queue: ShortString,
        /// The message counts as acknowledged.
        no_ack: bool,
    } []

    /// Here it is; content follows.
    BasicGetOk(60, 71, "basic.get-ok") [] {
        /// Number of the delivery on this channel, from 1.
        delivery_tag: u64,
        /// May have been delivered before.
        redelivered: bool,
        /// Where it was published.
        exchange: ShortString,
        /// With which key.
        routing_key: ShortString,
        /// Messages that are left.
        message_count: u32,
    } []

    /// There is none.
    BasicGetEmpty(60, 72, "basic.get-empty") [] {} [ShortString]

    /// Acknowledges deliveries; from the server: confirms publishes (RabbitMQ).
    BasicAck(60, 80, "basic.ack") [] {
        /// Number of the delivery on its channel, from 1; 0 means all so far.
        delivery_tag: u64,
        /// This one and all before it.
        multiple: bool,
    } []

    /// Refuses a delivery.
    BasicReject(60, 90, "basic.reject") [] {
        /// Number of the delivery on its channel, from 1.
        delivery_tag: u64,
        /// Back into the queue rather than dead.
        requeue: bool,
    } []

    /// Requeues what is unacknowledged, without a reply.
    BasicRecoverAsync(60, 100, "basic.recover-async") [] {
        /// Only true is implemented by RabbitMQ.
        requeue: bool,
    } []

    /// Requeues what is unacknowledged.
    BasicRecover(60, 110, "basic.recover") [] {
        /// Only true is implemented by RabbitMQ.
        requeue: bool,
    } []

    /// Done.
    BasicRecoverOk(60, 111, "basic.recover-ok") [] {} []

    /// Refuses deliveries; from the server: publishes that were not taken (RabbitMQ).
    BasicNack(60, 120, "basic.nack") [] {
        /// Number of the delivery on its channel, from 1; 0 means all so far.
        delivery_tag: u64,
        /// This one and all before it.
        multiple: bool,
        /// Back into the queue rather than dead.
        requeue: bool,
    } []
}
