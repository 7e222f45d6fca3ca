//! Events about vhosts themselves, in the shape of RabbitMQ's event exchange.
//!
//! Comes in: a vhost. Goes out: events. Does not know who is told.

use crate::events::Event;
use crate::vhost::Vhost;
use crate::vhost::settings::{Limits, Settings};
use leveret_amqp::FieldValue;

/// RabbitMQ keeps the limits of a vhost as a parameter.
const COMPONENT: (&str, &str) = ("component", "vhost-limits");
const NAME: (&str, &str) = ("name", "limits");

/// The exchanges of a new vhost.
pub(super) fn exchanges(vhost: &Vhost) -> Vec<Event> {
    let topology = vhost.topology();
    let exchanges = topology.exchanges.values();
    exchanges
        .map(|exchange| Event::exchange_created(&exchange.definition))
        .collect()
}

/// A new vhost.
pub(super) fn created(vhost: &Vhost) -> Event {
    Event::other("vhost.created", about(vhost))
}

/// Other settings.
pub(super) fn updated(vhost: &Vhost) -> Event {
    let mut about = about(vhost);
    about.push(("deletion_protection", vhost.settings().is_protected().into()));
    Event::other("vhost.updated", about)
}

/// The end of a vhost.
pub(super) fn deleted(name: &str) -> Event {
    Event::other("vhost.deleted", vec![("name", name.into())])
}

/// Other limits.
pub(super) fn limits_set(limits: &Limits) -> [Event; 2] {
    let value = limits.to_table().into();
    let mut told: Vec<_> = limits
        .all()
        .map(|(limit, value)| (limit.name(), value.into()))
        .collect();
    told.push(text(NAME));
    [
        Event::other("parameter.set", vec![text(COMPONENT), text(NAME), ("value", value)]),
        Event::other("vhost.limits.set", told),
    ]
}

/// The limits have gone with their vhost.
pub(super) fn limits_cleared() -> [Event; 2] {
    [
        Event::other("parameter.cleared", vec![text(COMPONENT), text(NAME)]),
        Event::other("vhost.limits.cleared", vec![text(NAME)]),
    ]
}

fn text((name, value): (&'static str, &str)) -> (&'static str, FieldValue) {
    (name, value.into())
}

fn about(vhost: &Vhost) -> Vec<(&'static str, FieldValue)> {
    let settings = vhost.settings();
    let tags = settings.tags.iter().map(|tag| tag.as_str().into()).collect();
    vec![
        ("default_queue_type", settings.queue_type_name().into()),
        ("description", settings.description.as_str().into()),
        ("metadata", metadata(&settings).into()),
        ("name", vhost.name.as_str().into()),
        ("protected_from_deletion", settings.is_protected().into()),
        ("tags", FieldValue::Array(tags)),
        ("tracing", settings.tracing.into()),
    ]
}

/// RabbitMQ's `metadata`, in Erlang's notation.
fn metadata(settings: &Settings) -> String {
    let (description, tags) = (&settings.description, settings.tags.join(","));
    let description = match description.is_empty() {
        true => String::new(),
        false => format!("\"{description}\""),
    };
    let queue_type = settings.queue_type_name();
    format!("#{{description => <<{description}>>,tags => [{tags}],default_queue_type => <<\"{queue_type}\">>}}")
}
