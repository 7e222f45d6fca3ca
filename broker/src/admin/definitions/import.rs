//! Definitions, made: all of a document or none.
//!
//! Comes in: a document. Goes out: what it has and wasn't there; what was there stays as it is (RabbitMQ). Each entry
//! is carried out by the operation that a client would ask for, so each is checked as there; if one can't be, those
//! before it are undone, and the message names every one that can't.

use super::document::{Binding, Document, Exchange, Parameter, Queue, VirtualHost};
use crate::access::Actor;
use crate::access::permissions::Permissions;
use crate::admin::body::{Fields, short};
use crate::admin::error::Failure;
use crate::admin::{json, parameters, vhosts};
use crate::exchange::binding::{self, DestinationKind, Sorted};
use crate::node::Node;
use crate::parameters::{CLUSTER_ID, Key};
use crate::policy::{Class, Policy};
use crate::vhost::Vhost;
use crate::vhost::settings::{Limit, Limits, Settings};
use leveret_amqp::method::{ExchangeDeclare, QueueDeclare};
use leveret_amqp::{FieldTable, FieldValue, RawTable, ShortString};
use leveret_store::Lsn;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Entries that a message names at most.
const NAMED: usize = 100;
/// The component under which RabbitMQ keeps limits of vhosts.
const LIMITS: &str = "vhost-limits";

/// Makes what a document says, in all vhosts or in one. Gives the position of the log to wait for.
///
/// # Errors
/// 400 with the entries that can't be: then nothing has changed.
pub fn import(
    node: &Node,
    document: &Document,
    actor: &Actor,
    vhost: Option<&Arc<Vhost>>,
) -> Result<Option<Lsn>, Failure> {
    let actor = Actor::new(&actor.user, Permissions::ALL).with_tags(actor.tags.clone());
    let mut import = Import {
        node,
        actor: &actor,
        vhost,
        lsn: None,
        undo: Vec::new(),
        problems: Vec::new(),
        missing: BTreeSet::new(),
    };
    import.all(document);
    import.end()
}

type Undo<'a> = Box<dyn FnOnce() -> Result<(), Failure> + 'a>;

struct Import<'a> {
    node: &'a Node,
    actor: &'a Actor,
    /// The only one that it is about.
    vhost: Option<&'a Arc<Vhost>>,
    lsn: Option<Lsn>,
    /// Steps that take back those that have been taken, in their order.
    undo: Vec<Undo<'a>>,
    problems: Vec<String>,
    /// Vhosts that there aren't.
    missing: BTreeSet<String>,
}

impl<'a> Import<'a> {
    fn all(&mut self, document: &Document) {
        if self.vhost.is_none() {
            self.each(
                &document.vhosts,
                |vhost| format!("virtual host '{}'", vhost.name),
                Self::virtual_host,
            );
            self.users(document);
            let named = |parameter: &Parameter| format!("global parameter '{}'", parameter.name);
            self.each(&document.global_parameters, named, Self::global);
        }
        let named = |exchange: &Exchange| format!("exchange '{}'{}", exchange.name, within(&exchange.vhost));
        self.each(&document.exchanges, named, Self::exchange);
        self.each(&document.policies, name_of_policy, Self::policy);
        let named = |parameter: &Parameter| {
            let (component, name) = (&parameter.component, &parameter.name);
            format!(
                "parameter '{name}' of component '{component}'{}",
                within(&parameter.vhost)
            )
        };
        self.each(&document.parameters, named, Self::parameter);
        let named = |queue: &Queue| format!("queue '{}'{}", queue.name, within(&queue.vhost));
        self.each(&document.queues, named, Self::queue);
        let named = |binding: &Binding| {
            let (source, destination) = (&binding.source, &binding.destination);
            format!("binding from '{source}' to '{destination}'{}", within(&binding.vhost))
        };
        self.each(&document.bindings, named, Self::binding);
    }

    fn each<T>(&mut self, entries: &[T], name: impl Fn(&T) -> String, make: fn(&mut Self, &T) -> Result<(), Failure>) {
        for entry in entries {
            match make(self, entry) {
                Ok(()) | Err(Failure::NotFound) => {}
                Err(failure) => self.problems.push(format!("{}: {failure}", name(entry))),
            }
        }
    }

    fn end(self) -> Result<Option<Lsn>, Failure> {
        let prior = |vhost: &String| format!("Please create virtual host \"{vhost}\" prior to importing definitions.");
        let mut problems: Vec<String> = self.missing.iter().map(prior).collect();
        problems.extend(self.problems);
        if problems.is_empty() {
            return Ok(self.lsn);
        }
        for undo in self.undo.into_iter().rev() {
            if let Err(failure) = undo() {
                tracing::warn!(%failure, "an import of definitions is taken back, but for this");
            }
        }
        if problems.len() > NAMED {
            let more = problems.split_off(NAMED).len();
            problems.push(format!("and {more} more"));
        }
        Err(Failure::BadRequest(problems.join("; ")))
    }

    fn wait_for(&mut self, lsn: Option<Lsn>) {
        self.lsn = self.lsn.max(lsn);
    }

    /// The vhost of an entry. One that isn't there is noted, and the entry passed over.
    fn of(&mut self, name: &Option<String>) -> Result<Arc<Vhost>, Failure> {
        if let Some(vhost) = self.vhost {
            return Ok(vhost.clone());
        }
        let Some(name) = name else {
            return Err(Failure::BadRequest("it names no virtual host".into()));
        };
        self.node.vhost(name).ok_or_else(|| {
            self.missing.insert(name.clone());
            Failure::NotFound
        })
    }

    fn virtual_host(&mut self, entry: &VirtualHost) -> Result<(), Failure> {
        let (node, actor) = (self.node, self.actor);
        short(&entry.name)?;
        let before = node.vhost(&entry.name).map(|vhost| Settings::clone(&vhost.settings()));
        let fields = Fields::new(entry.metadata.clone());
        let limits = limits(&entry.limits)?;
        let change = vhosts::change(&fields)?;
        let put = node.hosts.put(&entry.name, actor, |settings| {
            if !entry.metadata.is_empty() {
                change(settings);
            }
            settings.limits = limits.or(settings.limits);
        })?;
        self.wait_for(Some(put.lsn));
        let name = entry.name.clone();
        self.undo.push(Box::new(move || {
            match before {
                Some(before) => _ = node.hosts.put(&name, actor, |settings| *settings = before)?,
                None => _ = node.hosts.delete(&name, &node.connections, actor, |_| ())?,
            }
            Ok(())
        }));
        Ok(())
    }

    /// Users and their permissions: those of users that there are stay as they are.
    fn users(&mut self, document: &Document) {
        let known = self.node.access.names();
        let users = document.users.iter().map(|user| &user.name);
        let unknown: BTreeSet<&String> = users.filter(|user| !known.contains(user)).collect();
        let users = document.permissions.iter().chain(&document.topic_permissions);
        for permission in users.filter(|permission| !known.contains(&permission.user)) {
            let (user, vhost) = (&permission.user, &permission.vhost);
            if !unknown.contains(user) {
                self.problems
                    .push(format!("permissions in vhost '{vhost}': there is no user '{user}'"));
            }
        }
        for user in unknown {
            self.problems.push(format!("user '{user}': users are not imported"));
        }
    }

    fn global(&mut self, entry: &Parameter) -> Result<(), Failure> {
        if entry.name == CLUSTER_ID {
            return Ok(());
        }
        self.put(Key::global(&entry.name), &entry.value)
    }

    fn put(&mut self, key: Key, value: &Value) -> Result<(), Failure> {
        let parameters = &self.node.parameters;
        let put = parameters.put(key.clone(), &value.to_string())?;
        self.wait_for(Some(put.lsn));
        self.undo.push(Box::new(move || {
            match put.before {
                Some(before) => _ = parameters.put(key, &before)?,
                None => _ = parameters.delete(&key)?,
            }
            Ok(())
        }));
        Ok(())
    }

    fn parameter(&mut self, entry: &Parameter) -> Result<(), Failure> {
        let vhost = self.of(&entry.vhost)?;
        if entry.component == LIMITS {
            return self.limit(&vhost, &entry.value);
        }
        if entry.component == Class::Operator.name() {
            let fields = Map::from_iter([("value".to_owned(), entry.value.clone())]);
            let policy = parameters::operator_policy(&entry.name, &Fields::new(fields))?;
            return self.put_policy(vhost, Class::Operator, policy);
        }
        parameters::check_component(&entry.component)?;
        self.put(Key::of(&vhost.name, &entry.component, &entry.name), &entry.value)
    }

    fn limit(&mut self, vhost: &Vhost, value: &Value) -> Result<(), Failure> {
        let (node, actor, name) = (self.node, self.actor, vhost.name.clone());
        let (limits, before) = (limits(value)?, vhost.settings().limits);
        let put = node.hosts.put(&name, actor, |settings| settings.limits = limits)?;
        self.wait_for(Some(put.lsn));
        self.undo.push(Box::new(move || {
            node.hosts.put(&name, actor, |settings| settings.limits = before)?;
            Ok(())
        }));
        Ok(())
    }

    fn policy(&mut self, entry: &Map<String, Value>) -> Result<(), Failure> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let vhost = self.of(&text("vhost").map(str::to_owned))?;
        let name = text("name").unwrap_or_default();
        let fields = Fields::new(entry.clone());
        fields.require(&["name", "pattern", "definition"])?;
        short(name)?;
        let policy = Policy::parse(Class::User, name, &fields.all()?).map_err(Failure::BadRequest)?;
        self.put_policy(vhost, Class::User, policy)
    }

    fn put_policy(&mut self, vhost: Arc<Vhost>, class: Class, policy: Policy) -> Result<(), Failure> {
        let (actor, name) = (self.actor, policy.name.clone());
        let before = vhost.topology().policies.get(class, &name).cloned();
        let put = vhost.put_policy(class, policy, actor)?;
        self.wait_for(put.change.lsn);
        self.undo.push(Box::new(move || {
            match before {
                Some(before) => _ = vhost.put_policy(class, Policy::clone(&before), actor)?,
                None => _ = vhost.delete_policy(class, &name, actor)?,
            }
            Ok(())
        }));
        Ok(())
    }

    /// Exchanges of any name: RabbitMQ exports some of its own, too.
    fn exchange(&mut self, entry: &Exchange) -> Result<(), Failure> {
        let (vhost, actor) = (self.of(&entry.vhost)?, self.actor);
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
        self.wait_for(change.lsn);
        self.undo.push(Box::new(move || {
            let _ = vhost.delete_exchange(&name, false, actor)?;
            Ok(())
        }));
        Ok(())
    }

    fn queue(&mut self, entry: &Queue) -> Result<(), Failure> {
        let (vhost, actor) = (self.of(&entry.vhost)?, self.actor);
        let name = short(&entry.name)?;
        if name.is_empty() {
            return Err(Failure::BadRequest("it has no name".into()));
        }
        if vhost.topology().queues.contains_key(&name) {
            return Ok(());
        }
        let mut arguments = table(&entry.arguments)?;
        let kind = entry.kind.as_deref().filter(|kind| *kind != "classic");
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
        self.wait_for(change.lsn);
        self.undo.push(Box::new(move || {
            let _ = vhost.delete_queue(&name, false, false, actor)?;
            Ok(())
        }));
        Ok(())
    }

    fn binding(&mut self, entry: &Binding) -> Result<(), Failure> {
        let (vhost, actor) = (self.of(&entry.vhost)?, self.actor);
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
        let change = vhost.bind(binding.clone(), actor)?;
        if !change.changed {
            return Ok(());
        }
        self.wait_for(change.lsn);
        self.undo.push(Box::new(move || {
            let _ = vhost.unbind(&binding, actor)?;
            Ok(())
        }));
        Ok(())
    }
}

/// The argument that names a queue's type.
const QUEUE_TYPE: &str = "x-queue-type";

fn within(vhost: &Option<String>) -> String {
    vhost
        .as_ref()
        .map_or(String::new(), |vhost| format!(" in vhost '{vhost}'"))
}

fn name_of_policy(entry: &Map<String, Value>) -> String {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
    format!(
        "policy '{}'{}",
        text("name").unwrap_or_default(),
        within(&text("vhost"))
    )
}

fn table(value: &Value) -> Result<FieldTable, Failure> {
    Ok(json::table(Some(value))?)
}

/// Limits of a vhost; nothing, and Erlang's empty list, are none.
fn limits(value: &Value) -> Result<Option<Limits>, Failure> {
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
