//! Objects of documents: virtual hosts, parameters, policies, exchanges, queues, bindings.
//!
//! Comes in: an entry. Goes out: the object, unless it was there, and the way back. Each is made by the operation that
//! a client would ask for, so each is checked as there. What was there stays as it is, but for what has a value:
//! parameters, policies, settings of vhosts (RabbitMQ).

use super::document::{Binding, Exchange, Parameter, Queue, VirtualHost};
use super::export::is_own;
use super::steps::Steps;
use crate::admin::body::{Fields, short};
use crate::admin::error::{Failure, Result};
use crate::admin::{json, limits, parameters, vhosts};
use crate::exchange::binding::{self, DestinationKind, Sorted};
use crate::outbox::Wakes;
use crate::parameters::Key;
use crate::policy::{Class, Policy};
use crate::queue::consumers::cancelled;
use crate::vhost::Vhost;
use crate::vhost::settings::{Limit, Limits, Settings};
use crate::vhosts::Deletion;
use leveret_amqp::method::{ExchangeDeclare, QueueDeclare};
use leveret_amqp::{FieldTable, FieldValue, RawTable, ShortString};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The argument that names a queue's type.
const QUEUE_TYPE: &str = "x-queue-type";

/// A virtual host with its settings.
pub fn virtual_host(steps: &mut Steps<'_>, entry: &VirtualHost) -> Result<()> {
    let (node, actor) = (steps.node, steps.actor);
    if short(&entry.name)?.is_empty() {
        return Err(Failure::BadRequest("it has no name".into()));
    }
    let before = node.vhost(&entry.name).map(|vhost| Settings::clone(&vhost.settings()));
    let fields = Fields::new(entry.metadata.clone());
    let limits = limits_of(&entry.limits)?;
    let change = vhosts::change(&fields)?;
    let protected = fields
        .get("protected_from_deletion")
        .map(|_| fields.bool("protected_from_deletion"));
    let protected = protected.transpose()?;
    let put = node.hosts.put(&entry.name, actor, |settings| {
        if !entry.metadata.is_empty() {
            change(settings);
        }
        settings.protected = protected.or(settings.protected);
        settings.limits = limits.or(settings.limits);
    })?;
    steps.wait_for(Some(put.lsn));
    let name = entry.name.clone();
    steps.or_back(move || {
        let back = match before {
            Some(before) => Some(node.hosts.put(&name, actor, |settings| *settings = before)?.lsn),
            None => {
                node.hosts.protect(&name, false)?;
                match node.hosts.delete(&name, &node.connections, actor, |_| ())? {
                    Deletion::Done(lsn) => Some(lsn),
                    Deletion::Missing | Deletion::Protected => None,
                }
            }
        };
        Ok(back)
    });
    Ok(())
}

/// A global parameter, but for those that a cluster keeps for itself.
pub fn global(steps: &mut Steps<'_>, entry: &Parameter) -> Result<()> {
    if is_own(&entry.name) {
        return Ok(());
    }
    put(steps, Key::global(&entry.name), &entry.value)
}

fn put(steps: &mut Steps<'_>, key: Key, value: &Value) -> Result<()> {
    let parameters = &steps.node.parameters;
    let put = parameters.put(key.clone(), &value.to_string())?;
    steps.wait_for(Some(put.lsn));
    steps.or_back(move || match put.before {
        Some(before) => Ok(Some(parameters.put(key, &before)?.lsn)),
        None => Ok(parameters.delete(&key)?),
    });
    Ok(())
}

/// A parameter of a vhost: also its limits, or an operator policy.
pub fn parameter(steps: &mut Steps<'_>, entry: &Parameter) -> Result<()> {
    let vhost = steps.of(entry.vhost.as_deref())?;
    if entry.component == limits::PARAMETER.0 {
        return limit(steps, &vhost, &entry.value);
    }
    if entry.component == Class::Operator.name() {
        let fields = Map::from_iter([("value".to_owned(), entry.value.clone())]);
        let policy = parameters::operator_policy(&entry.name, &Fields::new(fields))?;
        return put_policy(steps, vhost, Class::Operator, policy);
    }
    parameters::check(&entry.component, &entry.name, &entry.value)?;
    let key = Key::of(&vhost.name, &entry.component, &entry.name);
    put(steps, key, &entry.value)
}

fn limit(steps: &mut Steps<'_>, vhost: &Vhost, value: &Value) -> Result<()> {
    let (node, actor, name) = (steps.node, steps.actor, vhost.name.clone());
    let (limits, before) = (limits_of(value)?, vhost.settings().limits);
    let put = node.hosts.put(&name, actor, |settings| settings.limits = limits)?;
    steps.wait_for(Some(put.lsn));
    steps.or_back(move || {
        let put = node.hosts.put(&name, actor, |settings| settings.limits = before)?;
        Ok(Some(put.lsn))
    });
    Ok(())
}

/// Limits of a vhost; nothing, and Erlang's empty list, are none.
fn limits_of(value: &Value) -> Result<Option<Limits>> {
    let table = table(value)?;
    let mut limits = Limits::default();
    for (name, value) in &table.0 {
        let name = name.to_str_lossy();
        let (Some(limit), Some(most)) = (Limit::of_name(&name), value.as_i64()) else {
            return Err(Failure::BadRequest(format!("'{name}' is no limit, or no number")));
        };
        limits = limits.with(limit, Some(most));
    }
    Ok((!table.0.is_empty()).then_some(limits))
}

/// A policy of users.
pub fn policy(steps: &mut Steps<'_>, entry: &Map<String, Value>) -> Result<()> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let vhost = steps.of(text("vhost"))?;
    let name = text("name").unwrap_or_default();
    let fields = Fields::new(entry.clone());
    fields.require(&["name", "pattern", "definition"])?;
    short(name)?;
    let policy = Policy::parse(Class::User, name, &fields.all()?).map_err(Failure::BadRequest)?;
    put_policy(steps, vhost, Class::User, policy)
}

fn put_policy(steps: &mut Steps<'_>, vhost: Arc<Vhost>, class: Class, policy: Policy) -> Result<()> {
    let (actor, name) = (steps.actor, policy.name.clone());
    let before = vhost.topology().policies.get(class, &name).cloned();
    let put = vhost.put_policy(class, policy, actor)?;
    steps.wait_for(put.change.lsn);
    steps.or_back(move || {
        let back = match before {
            Some(before) => Some(vhost.put_policy(class, Policy::clone(&before), actor)?.change),
            None => vhost.delete_policy(class, &name, actor)?,
        };
        Ok(back.and_then(|change| change.lsn))
    });
    Ok(())
}

/// An exchange of any name: RabbitMQ exports some of its own, too.
pub fn exchange(steps: &mut Steps<'_>, entry: &Exchange) -> Result<()> {
    let (vhost, actor) = (steps.of(entry.vhost.as_deref())?, steps.actor);
    let name = short(&entry.name)?;
    if vhost.topology().exchanges.contains_key(&name) {
        return Ok(());
    }
    let declare = ExchangeDeclare {
        exchange: name.clone(),
        kind: short(&entry.kind)?,
        durable: entry.durable,
        auto_delete: entry.auto_delete,
        internal: entry.internal,
        arguments: table(&entry.arguments)?.into(),
        ..ExchangeDeclare::default()
    };
    let change = vhost.import_exchange(&declare, actor)?;
    steps.wait_for(change.lsn);
    steps.or_back(move || Ok(vhost.delete_imported_exchange(&name, actor)?.lsn));
    Ok(())
}

/// A queue of any name.
pub fn queue(steps: &mut Steps<'_>, entry: &Queue) -> Result<()> {
    let (vhost, actor) = (steps.of(entry.vhost.as_deref())?, steps.actor);
    let name = short(&entry.name)?;
    if name.is_empty() {
        return Err(Failure::BadRequest("it has no name".into()));
    }
    if vhost.topology().queues.contains_key(&name) {
        return Ok(());
    }
    let mut arguments = table(&entry.arguments)?;
    let usual = vhost.settings().queue_type_name();
    let kind = entry.kind.as_deref().filter(|kind| *kind != usual);
    if let (Some(kind), None) = (kind, arguments.get(QUEUE_TYPE)) {
        let pair = (ShortString::from_static(QUEUE_TYPE), FieldValue::from(kind));
        arguments.0.push(pair);
    }
    let declare = QueueDeclare {
        queue: name.clone(),
        durable: entry.durable,
        auto_delete: entry.auto_delete,
        arguments: arguments.into(),
        ..QueueDeclare::default()
    };
    let (_, change) = vhost.import_queue(&declare, actor)?;
    steps.wait_for(change.lsn);
    steps.or_back(move || {
        let deleted = vhost.delete_queue(&name, false, false, actor)?;
        cancelled(&deleted.consumers, &mut Wakes::default());
        Ok(deleted.change.lsn)
    });
    Ok(())
}

/// The begin of names that a broker gives to queues of its clients. Nobody else can give one.
const SERVER_NAMED: &[u8] = b"amq.gen-";

/// A binding. One to a queue that the broker had named, and that isn't there, is passed over: RabbitMQ exports those of
/// exclusive queues, without the queues, and then can't load its own file.
pub fn binding(steps: &mut Steps<'_>, entry: &Binding) -> Result<()> {
    let (vhost, actor) = (steps.of(entry.vhost.as_deref())?, steps.actor);
    let destination_kind = match entry.destination_type.as_str() {
        "queue" => DestinationKind::Queue,
        "exchange" => DestinationKind::Exchange,
        other => return Err(Failure::BadRequest(format!("it leads to a '{other}'"))),
    };
    let arguments = RawTable::from(table(&entry.arguments)?);
    let binding = binding::Binding {
        source: short(&entry.source)?,
        destination_kind,
        destination: short(&entry.destination)?,
        routing_key: short(&entry.routing_key)?,
        arguments: Sorted::try_from(arguments).map_err(crate::error::Error::from)?,
    };
    let queue = &binding.destination;
    let to_queue = destination_kind == DestinationKind::Queue && queue.as_bytes().starts_with(SERVER_NAMED);
    if to_queue && !vhost.topology().queues.contains_key(queue) {
        steps.passed_over += 1;
        return Ok(());
    }
    let change = vhost.bind(binding.clone(), actor)?;
    if !change.changed {
        return Ok(());
    }
    steps.wait_for(change.lsn);
    steps.or_back(move || Ok(vhost.unbind(&binding, actor)?.lsn));
    Ok(())
}

fn table(value: &Value) -> Result<FieldTable> {
    Ok(json::table(Some(value))?)
}
