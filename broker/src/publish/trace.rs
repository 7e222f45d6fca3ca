//! Copies of all messages that are published and delivered in a vhost, on its exchange `amq.rabbitmq.trace`, while its
//! tracing is on: RabbitMQ's firehose.
//!
//! Comes in: messages, with those who published or got them. Goes out: transient messages with the key
//! `publish.EXCHANGE` or `deliver.QUEUE`, whose headers tell of the message and whose body is its body; they are
//! enqueued at the end of the batch, without any lock held. Does not know who listens.

use crate::message::Message;
use crate::outbox::{Leftover, Work};
use crate::vhost::Vhost;
use crate::vhost::route::{Route, keys_of};
use crate::vhost::state::TRACE;
use leveret_amqp::{BasicProperties, FieldTable, FieldValue, ShortString};
use std::sync::Arc;

/// A client that publishes or gets messages.
#[derive(Clone, Copy)]
pub struct Party<'a> {
    /// The node that it is connected to.
    pub node: &'a str,
    /// The name of its connection.
    pub connection: &'a str,
    /// The number of its channel.
    pub channel: u16,
    /// Its user.
    pub user: &'a str,
}

/// A message was published and goes along `route`.
pub fn published(vhost: &Arc<Vhost>, party: Party<'_>, message: &Message, route: &Route, work: &mut Work) {
    let queues = route.queues.iter();
    let queues = queues.map(|queue| FieldValue::from(queue.name())).collect();
    let told = [("routed_queues", FieldValue::Array(queues))];
    leave(
        vhost,
        copy(vhost, party, ("publish", message.exchange()), message, told),
        work,
    );
}

/// A message was delivered from a queue.
pub fn delivered(
    vhost: &Arc<Vhost>,
    party: Party<'_>,
    queue: &ShortString,
    (message, redelivered): (&Message, bool),
    work: &mut Work,
) {
    let told = [("redelivered", FieldValue::Int(redelivered.into()))];
    leave(
        vhost,
        copy(vhost, party, ("deliver", queue.as_bytes()), message, told),
        work,
    );
}

/// The copy of a message, if it isn't one itself.
fn copy(
    vhost: &Vhost,
    party: Party<'_>,
    (what, of): (&str, &[u8]),
    message: &Message,
    told: [(&'static str, FieldValue); 1],
) -> Option<Message> {
    if message.exchange() == TRACE.as_bytes() {
        return None;
    }
    let keys = keys_of(message).iter().map(|key| text(key)).collect();
    let mut headers = vec![
        ("exchange_name", text(message.exchange())),
        ("routing_keys", FieldValue::Array(keys)),
        ("properties", properties(message).into()),
        ("node", party.node.into()),
        ("vhost", vhost.name.as_str().into()),
        ("connection", party.connection.into()),
        ("channel", FieldValue::Int(party.channel.into())),
        ("user", party.user.into()),
    ];
    headers.extend(told);
    let field = |(name, value)| (ShortString::from_static(name), value);
    let properties = BasicProperties {
        headers: Some(headers.into_iter().map(field).collect()),
        ..BasicProperties::default()
    };
    let key = [what.as_bytes(), b".", of].concat();
    Some(Message::new(
        TRACE.as_bytes(),
        &key,
        &properties.to_bytes(),
        message.body(),
    ))
}

fn text(bytes: &[u8]) -> FieldValue {
    FieldValue::LongString(bytes.to_vec().into())
}

/// The properties of a message as a table: numbers as such, all else as texts (RabbitMQ).
fn properties(message: &Message) -> FieldTable {
    let properties = BasicProperties::parse(message.properties()).unwrap_or_default();
    let number = |number: Option<u8>| number.map(|number| FieldValue::Int(number.into()));
    let text = |text: Option<ShortString>| text.map(|text| FieldValue::from(&text));
    let seconds = |seconds: u64| match i32::try_from(seconds) {
        Ok(seconds) => FieldValue::Int(seconds),
        Err(_) => FieldValue::Long(seconds.cast_signed()),
    };
    let all = [
        ("cluster_id", text(properties.cluster_id)),
        ("app_id", text(properties.app_id)),
        ("user_id", text(properties.user_id)),
        ("type", text(properties.kind)),
        ("timestamp", properties.timestamp.map(seconds)),
        ("message_id", text(properties.message_id)),
        ("expiration", text(properties.expiration)),
        ("reply_to", text(properties.reply_to)),
        ("correlation_id", text(properties.correlation_id)),
        ("priority", number(properties.priority)),
        ("delivery_mode", number(properties.delivery_mode)),
        ("headers", properties.headers.map(FieldValue::Table)),
        ("content_encoding", text(properties.content_encoding)),
        ("content_type", text(properties.content_type)),
    ];
    let known = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
    known
        .map(|(name, value)| (ShortString::from_static(name), value))
        .collect()
}

fn leave(vhost: &Arc<Vhost>, copy: Option<Message>, work: &mut Work) {
    if let Some(message) = copy {
        let vhost = vhost.clone();
        work.leave(Box::new(Copied { vhost, message }));
    }
}

/// A copy on its way to the exchange.
struct Copied {
    vhost: Arc<Vhost>,
    message: Message,
}

impl Leftover for Copied {
    fn finish(self: Box<Self>, work: &mut Work) {
        self.vhost.put(std::iter::once(self.message), work);
    }
}
