//! Hears of changes on a broker, by the topic exchange `amq.rabbitmq.event`.
//!
//! In: an AMQP connection to the default virtual host. Out: `Event`s, in order, the last of which is `Event::Lost`.
//! Where the broker has no such exchange (RabbitMQ without the plugin `rabbitmq_event_exchange`) only `Lost` comes.
//! Does not know about what is wanted, or what a change means for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::amqp::wire_error;
use super::client::{BindingEvent, Error, Event};
use crate::topology::Name;
use crate::topology::zero_mq_socket::COMPONENT;

/// The exchange in which brokers tell of their changes.
pub const EXCHANGE: &str = "amq.rabbitmq.event";
const KEYS: [&str; 25] = [
    "vhost.created",
    "vhost.updated",
    "vhost.deleted",
    // ZeroMQ sockets; and the limits of a virtual host: what is told of them as such doesn't name it.
    "parameter.set",
    "parameter.cleared",
    "user.created",
    "user.deleted",
    "user.password.changed",
    "user.password.cleared",
    "user.tags.set",
    "user.limits.set",
    "user.limits.cleared",
    "permission.created",
    "permission.deleted",
    "topic.permission.created",
    "topic.permission.deleted",
    "queue.created",
    "queue.deleted",
    "exchange.created",
    "exchange.deleted",
    "binding.created",
    "binding.deleted",
    "policy.set",
    "policy.cleared",
    "operator.policy.cleared",
];
/// The component of parameters by which brokers keep limits.
const VHOST_LIMITS: &str = "vhost-limits";
/// Most events that the broker sends ahead; the others wait in the queue on the broker.
const AHEAD: u16 = 1_000;
/// Longest time for a goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// Time that RabbitMQ is given to remove the files of a virtual host of which it has told already that it is gone: it
/// would remove those of a new one of the same name, too.
const AFTERMATH: Duration = Duration::from_secs(3);
/// Most events that wait for the pipeline in this process.
pub const WAITING: usize = 4_096;

/// Starts to listen. Whether there are events to come is the first part of the answer; the task ends with the
/// connection or when the receiver is dropped. `cleans_up_later`: the broker tells of a virtual host that it is gone
/// while it is still being removed; it may be found out meanwhile.
///
/// # Errors
/// [`Error::Unreachable`] when the connection breaks meanwhile, [`Error::Refused`] when the user may not listen.
pub async fn listen(
    connection: Connection,
    cleans_up_later: Arc<AtomicBool>,
) -> Result<(bool, mpsc::Receiver<Event>), Error> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let consumer = match subscribe(&connection).await {
        Ok(consumer) => Some(consumer),
        Err(Error::Refused { code: 403 | 404, text }) => {
            tracing::info!("no events from this broker ({text}): changes made by others are found by the next list");
            None
        }
        Err(error) => return Err(error),
    };
    let has_events = consumer.is_some();
    tokio::spawn(async move {
        let end = tokio::select! {
            why = pump(consumer, &sender, &cleans_up_later) => why,
            why = broken(&connection) => why,
            () = sender.closed() => {
                // Best effort: the broker notices a broken connection too.
                let _ = timeout(GOODBYE, connection.close(200, "bye".into())).await;
                return;
            }
        };
        // The receiver is gone if this fails.
        let _ = sender.send(Event::Lost(end)).await;
    });
    Ok((has_events, receiver))
}

async fn subscribe(connection: &Connection) -> Result<Consumer, Error> {
    subscribe_on(connection).await.map_err(|error| wire_error(&error))
}

async fn subscribe_on(connection: &Connection) -> Result<Consumer, lapin::Error> {
    let channel: Channel = connection.create_channel().await?;
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel.queue_declare("".into(), options, FieldTable::default()).await?;
    for key in KEYS {
        channel
            .queue_bind(
                queue.name().clone(),
                EXCHANGE.into(),
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
    }
    channel.basic_qos(AHEAD, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions {
        exclusive: true,
        ..BasicConsumeOptions::default()
    };
    channel
        .basic_consume(queue.name().clone(), "".into(), options, FieldTable::default())
        .await
}

/// Ends with the reason why no more events come; never when there is no consumer.
async fn pump(consumer: Option<Consumer>, sender: &mpsc::Sender<Event>, cleans_up_later: &AtomicBool) -> String {
    let Some(mut consumer) = consumer else {
        return std::future::pending().await;
    };
    loop {
        let delivery = match consumer.next().await {
            None => return "the event consumer was cancelled".to_owned(),
            Some(Err(error)) => return error.to_string(),
            Some(Ok(delivery)) => delivery,
        };
        let headers = delivery.properties.headers().as_ref();
        let event = headers.and_then(|headers| read(delivery.routing_key.as_str(), headers));
        // The limits of a virtual host go before it does.
        let parting = matches!(delivery.routing_key.as_str(), "vhost.deleted" | "parameter.cleared");
        let told = match event {
            Some(event) if parting && cleans_up_later.load(Ordering::Relaxed) => {
                tokio::spawn(tell_later(event, sender.clone()));
                Ok(())
            }
            Some(event) => sender.send(event).await,
            None => Ok(()),
        };
        if told.is_err() {
            return "the receiver is gone".to_owned();
        }
        if let Err(error) = delivery.ack(BasicAckOptions::default()).await {
            return error.to_string();
        }
    }
}

async fn tell_later(event: Event, sender: mpsc::Sender<Event>) {
    tokio::select! {
        () = sleep(AFTERMATH) => {}
        () = sender.closed() => return,
    }
    // The receiver is gone if this fails.
    let _ = sender.send(event).await;
}

/// Ends with the reason why the connection broke.
async fn broken(connection: &Connection) -> String {
    let mut events = std::pin::pin!(connection.events_listener());
    while let Some(event) = events.next().await {
        if let lapin::Event::Error(error) = event {
            return match wire_error(&error) {
                Error::Refused { code, text } => format!("{code} {text}"),
                error => error.to_string(),
            };
        }
    }
    "the connection was closed".to_owned()
}

/// An event as RabbitMQ writes it: everything stands in the headers, the body is empty.
fn read(key: &str, headers: &FieldTable) -> Option<Event> {
    let name = || Some(Name::new(text(headers, "vhost")?, text(headers, "name")?));
    // It stands in no virtual host itself.
    let outside = |header: &str| Some(Name::new("", text(headers, header)?));
    let rights = |right: &str| text(headers, right);
    let binding = || {
        Some(BindingEvent {
            vhost: text(headers, "vhost")?,
            source: text(headers, "source_name")?,
            destination: text(headers, "destination_name")?,
            to_queue: text(headers, "destination_kind")? == "queue",
            routing_key: text(headers, "routing_key")?,
            has_arguments: has_entries(headers, "arguments"),
        })
    };
    Some(match key {
        "vhost.created" => Event::VhostCreated(outside("name")?),
        "vhost.updated" => Event::VhostUpdated(outside("name")?),
        "vhost.deleted" => Event::VhostDeleted(outside("name")?),
        "parameter.set" | "parameter.cleared" if text(headers, "component")? == VHOST_LIMITS => {
            Event::VhostUpdated(outside("vhost")?)
        }
        "parameter.set" if text(headers, "component")? == COMPONENT => Event::ZeroMqSocketSet(name()?),
        "parameter.cleared" if text(headers, "component")? == COMPONENT => Event::ZeroMqSocketCleared(name()?),
        "user.created" => Event::UserCreated(outside("name")?),
        "user.deleted" => Event::UserDeleted(outside("name")?),
        "user.password.changed" | "user.password.cleared" => Event::UserSet(outside("name")?),
        "user.limits.set" | "user.limits.cleared" => Event::UserSet(outside("username")?),
        "user.tags.set" => match texts(headers, "tags") {
            Some(tags) => Event::UserTagged(outside("name")?, tags),
            None => Event::UserSet(outside("name")?),
        },
        "permission.created" => {
            let given = [rights("configure")?, rights("write")?, rights("read")?];
            Event::Permitted(outside("user")?, text(headers, "vhost")?, Some(given))
        }
        "permission.deleted" => Event::Permitted(outside("user")?, text(headers, "vhost")?, None),
        "topic.permission.created" => {
            let place = (text(headers, "vhost")?, text(headers, "exchange")?);
            Event::TopicPermitted(outside("user")?, place, [rights("write")?, rights("read")?])
        }
        "topic.permission.deleted" => Event::TopicForbidden(outside("user")?, text(headers, "vhost")?),
        "queue.created" => Event::QueueCreated(name()?),
        "queue.deleted" => Event::QueueDeleted(name()?),
        "exchange.created" => Event::ExchangeCreated(name()?),
        "exchange.deleted" => Event::ExchangeDeleted(name()?),
        "binding.created" => Event::BindingCreated(binding()?),
        "binding.deleted" => Event::BindingDeleted(binding()?),
        "policy.set" => Event::PolicySet(name()?),
        "policy.cleared" => Event::PolicyCleared(name()?),
        "operator.policy.cleared" => Event::OperatorPolicyCleared(name()?),
        _ => return None,
    })
}

fn text(headers: &FieldTable, name: &str) -> Option<String> {
    match headers.inner().get(name)? {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// A list of texts; `None` if it is anything else.
fn texts(headers: &FieldTable, name: &str) -> Option<BTreeSet<String>> {
    let AMQPValue::FieldArray(items) = headers.inner().get(name)? else {
        return None;
    };
    let text = |item: &AMQPValue| match item {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    };
    items.as_slice().iter().map(text).collect()
}

/// Brokers write arguments as a list of texts or as a table.
fn has_entries(headers: &FieldTable, name: &str) -> bool {
    match headers.inner().get(name) {
        Some(AMQPValue::FieldArray(items)) => !items.as_slice().is_empty(),
        Some(AMQPValue::FieldTable(table)) => !table.inner().is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldArray;

    use super::*;

    fn headers(entries: &[(&str, &str)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in entries {
            table.insert((*name).into(), AMQPValue::LongString((*value).into()));
        }
        table
    }

    #[test]
    fn events_as_rabbitmq_writes_them() {
        let queue = headers(&[("vhost", "/"), ("name", "invoices"), ("type", "rabbit_classic_queue")]);
        assert_eq!(
            read("queue.deleted", &queue),
            Some(Event::QueueDeleted(Name::new("/", "invoices")))
        );
        assert_eq!(read("queue.purged", &queue), None);
        assert_eq!(read("queue.created", &headers(&[("vhost", "/")])), None, "no name");

        let vhost = headers(&[("name", "shop"), ("description", "of the shop"), ("tracing", "false")]);
        assert_eq!(
            read("vhost.deleted", &vhost),
            Some(Event::VhostDeleted(Name::new("", "shop")))
        );
        let mut tags = headers(&[("name", "till")]);
        assert_eq!(
            read("user.tags.set", &tags),
            Some(Event::UserSet(Name::new("", "till"))),
            "tags that cannot be read"
        );
        let tag = AMQPValue::LongString("management".into());
        tags.insert("tags".into(), AMQPValue::FieldArray(FieldArray::from(vec![tag])));
        let tagged = Event::UserTagged(Name::new("", "till"), BTreeSet::from(["management".to_owned()]));
        assert_eq!(read("user.tags.set", &tags), Some(tagged));
        let given = [
            ("user", "till"),
            ("vhost", "shop"),
            ("configure", ""),
            ("write", "a"),
            ("read", "b"),
        ];
        let rights = ["", "a", "b"].map(str::to_owned);
        assert_eq!(
            read("permission.created", &headers(&given)),
            Some(Event::Permitted(Name::new("", "till"), "shop".to_owned(), Some(rights)))
        );

        let limits = headers(&[("vhost", "shop"), ("component", "vhost-limits"), ("name", "limits")]);
        for key in ["parameter.set", "parameter.cleared"] {
            assert_eq!(read(key, &limits), Some(Event::VhostUpdated(Name::new("", "shop"))));
        }
        let socket = headers(&[("vhost", "shop"), ("component", "zeromq-socket"), ("name", "in")]);
        let name = Name::new("shop", "in");
        let events = [Event::ZeroMqSocketSet(name.clone()), Event::ZeroMqSocketCleared(name)];
        for (key, event) in ["parameter.set", "parameter.cleared"].into_iter().zip(events) {
            assert_eq!(read(key, &socket), Some(event));
        }
        let shovel = headers(&[("vhost", "shop"), ("component", "shovel"), ("name", "s")]);
        assert_eq!(read("parameter.set", &shovel), None);

        let mut binding = headers(&[
            ("vhost", "/"),
            ("source_name", "orders"),
            ("source_kind", "exchange"),
            ("destination_name", "invoices"),
            ("destination_kind", "queue"),
            ("routing_key", "order.#"),
        ]);
        binding.insert("arguments".into(), AMQPValue::FieldArray(FieldArray::default()));
        let Some(Event::BindingDeleted(event)) = read("binding.deleted", &binding) else {
            panic!("not read");
        };
        assert!(event.to_queue && !event.has_arguments);
        assert_eq!(
            (event.source.as_str(), event.routing_key.as_str()),
            ("orders", "order.#")
        );
    }
}
