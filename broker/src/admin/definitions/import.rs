//! Definitions, made: all of some documents or none.
//!
//! Comes in: documents. Goes out: what they have, when it is durable; or one message with every entry that can't be,
//! when nothing is left of the others. Users and permissions come last, in one batch of the log: whoever logs in sees
//! all of them or none. Does not know where documents come from.

use super::document::{Binding, Document, Exchange, Parameter, Queue, VirtualHost};
use super::objects;
use super::people::{self, People};
use super::steps::{Ended, Steps};
use crate::access::Actor;
use crate::access::permissions::Permissions;
use crate::admin::error::Result;
use crate::admin::http::blocking;
use crate::node::Node;
use crate::vhost::Vhost;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Documents, each with the file that it is from.
pub type Documents = Vec<(Option<String>, Document)>;

/// Makes what documents say, in all vhosts or in one, for `actor`.
///
/// # Errors
/// 400 with the entries that can't be: then nothing has changed.
pub async fn import(node: &Arc<Node>, mut documents: Documents, actor: Actor, vhost: Option<Arc<Vhost>>) -> Result<()> {
    people::hash(node, &mut documents).await?;
    // What one has made and may take back, another must not find there.
    let _one_after_the_other = node.importing.lock().await;
    let importing = node.clone();
    let ended = blocking(move || {
        let actor = Actor::new(&actor.user, Permissions::ALL)
            .with_tags(actor.tags)
            .unhurried();
        Ok(make(&importing, &documents, &actor, vhost.as_ref()))
    });
    let Ended { lsn, result } = ended.await?;
    lsn.inspect(|lsn| node.log.hurry(*lsn));
    node.wait_durable(lsn).await;
    result
}

fn make(node: &Node, documents: &Documents, actor: &Actor, vhost: Option<&Arc<Vhost>>) -> Ended {
    let mut steps = Steps::new(node, actor, vhost);
    let mut people = People::default();
    for (file, document) in documents {
        steps.from_file(file.as_deref());
        if vhost.is_none() {
            people.users(&mut steps, document);
            of_no_vhost(&mut steps, document);
        }
        of_vhosts(&mut steps, document);
        if vhost.is_none() {
            people.permissions(&mut steps, document);
        }
    }
    steps.from_file(None);
    if steps.are_good() {
        match people.put(node, actor) {
            Ok(lsn) => steps.wait_for(lsn),
            Err(failure) => steps.refuse(&format!("users and permissions: {failure}")),
        }
    }
    steps.end()
}

fn of_no_vhost(steps: &mut Steps<'_>, document: &Document) {
    let named = |vhost: &VirtualHost| format!("'{}'", vhost.name);
    steps.each("virtual host", &document.vhosts, named, objects::virtual_host);
    let named = |parameter: &Parameter| format!("'{}'", parameter.name);
    steps.each("global parameter", &document.global_parameters, named, objects::global);
}

fn of_vhosts(steps: &mut Steps<'_>, document: &Document) {
    let named = |exchange: &Exchange| format!("'{}'{}", exchange.name, within(exchange.vhost.as_deref()));
    steps.each("exchange", &document.exchanges, named, objects::exchange);
    let named = |policy: &Map<String, Value>| {
        let text = |name: &str| policy.get(name).and_then(Value::as_str);
        format!("'{}'{}", text("name").unwrap_or_default(), within(text("vhost")))
    };
    steps.each("policy", &document.policies, named, objects::policy);
    let named = |parameter: &Parameter| {
        let (component, name) = (&parameter.component, &parameter.name);
        format!(
            "'{name}' of component '{component}'{}",
            within(parameter.vhost.as_deref())
        )
    };
    steps.each("parameter", &document.parameters, named, objects::parameter);
    let named = |queue: &Queue| format!("'{}'{}", queue.name, within(queue.vhost.as_deref()));
    steps.each("queue", &document.queues, named, objects::queue);
    let named = |binding: &Binding| {
        let (source, destination) = (&binding.source, &binding.destination);
        format!("from '{source}' to '{destination}'{}", within(binding.vhost.as_deref()))
    };
    steps.each("binding", &document.bindings, named, objects::binding);
}

fn within(vhost: Option<&str>) -> String {
    vhost.map_or(String::new(), |vhost| format!(" in vhost '{vhost}'"))
}
