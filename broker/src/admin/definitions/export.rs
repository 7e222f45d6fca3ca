//! Everything that was declared, as one document that RabbitMQ and this broker can load.
//!
//! Comes in: the node and the vhosts that it is about. Goes out: RabbitMQ's definitions. Does not know who asks.
//!
//! RabbitMQ can't check an Argon2id hash, takes it all the same, and locks out whoever it is for, be it a user that it
//! had before. So the users with such hashes, and their permissions, stand beside the rest, where only this broker
//! looks. The administrator that files name is in no document: its password is in the file, and nowhere else.

use crate::access::proof::Account;
use crate::admin::json::{Array, Object};
use crate::admin::state::Admin;
use crate::admin::{limits, parameters, permissions, policies, users, vhosts};
use crate::exchange::binding::Binding;
use crate::parameters::{CLUSTER_ID, IMPORTED, Key};
use crate::policy::Class;
use crate::product::{PRODUCT, RABBITMQ_VERSION, VERSION};
use crate::vhost::Vhost;
use std::sync::Arc;

/// The definitions of all vhosts, and of what belongs to none.
pub fn cluster(admin: &Admin, vhosts: &[Arc<Vhost>], o: &mut Object<'_>) {
    let name = admin.node.cluster_name();
    about("cluster", &format!("Definitions of cluster '{name}'"), o);
    o.text("original_cluster_name", &name);
    let (known, beside) = accounts(admin);
    people(&known, o);
    if !beside.is_empty() {
        o.object("leveret", |o| {
            o.text("explanation", "Users whose passwords RabbitMQ can't check");
            people(&beside, o);
        });
    }
    o.array("vhosts", |list| {
        vhosts.iter().for_each(|vhost| list.object(|o| describe(vhost, o)));
    });
    global_parameters(admin, o);
    policies_of(admin, vhosts, true, o);
    topology(vhosts, true, o);
}

/// The definitions of one vhost, for another one of any name.
pub fn of_vhost(admin: &Admin, vhost: &Arc<Vhost>, o: &mut Object<'_>) {
    let (name, settings) = (&vhost.name, vhost.settings());
    about(
        "single_virtual_host",
        &format!("Definitions of virtual host '{name}'"),
        o,
    );
    o.text("original_vhost_name", name);
    o.text("description", &settings.description);
    o.object("limits", |o| limits::describe(&settings, o));
    o.object("metadata", |o| vhosts::metadata(&settings, o));
    let only = std::slice::from_ref(vhost);
    policies_of(admin, only, false, o);
    topology(only, false, o);
}

fn about(format: &str, explanation: &str, o: &mut Object<'_>) {
    o.text("rabbitmq_definition_format", format);
    o.text("explanation", explanation);
    o.text("rabbit_version", RABBITMQ_VERSION);
    o.text("rabbitmq_version", RABBITMQ_VERSION);
    o.text("product_name", PRODUCT);
    o.text("product_version", VERSION);
}

type Accounts = Vec<Arc<Account>>;

/// The users whose passwords RabbitMQ can check, and the others.
fn accounts(admin: &Admin) -> (Accounts, Accounts) {
    let access = &admin.node.access;
    let administrator = access.administrator();
    let mut accounts = access.directory.list();
    accounts.retain(|account| administrator.as_ref() != Some(&account.user.name));
    accounts
        .into_iter()
        .partition(|account| account.user.hash.is_known_to_rabbitmq())
}

/// Users with their permissions.
fn people(accounts: &[Arc<Account>], o: &mut Object<'_>) {
    o.array("users", |list| {
        for account in accounts {
            list.object(|o| users::describe(&account.user, o));
        }
    });
    let rows = permissions::of_accounts(accounts);
    o.array("permissions", |list| permissions::list(&rows, list));
    o.array("topic_permissions", |list| permissions::list_topics(&rows, list));
}

fn describe(vhost: &Vhost, o: &mut Object<'_>) {
    let settings = vhost.settings();
    o.text("name", &vhost.name);
    o.object("limits", |o| limits::describe(&settings, o));
    o.object("metadata", |o| vhosts::metadata(&settings, o));
}

/// Global parameters, but for those by which a cluster knows itself: no other is to have them.
fn global_parameters(admin: &Admin, o: &mut Object<'_>) {
    let known = |key: &Key| key.vhost.is_none() && !is_own(&key.name);
    o.array("global_parameters", |list| {
        for (key, value) in admin.node.parameters.list(known) {
            list.object(|o| parameters::describe_global(&key, &value, o));
        }
    });
}

/// True for a global parameter that a cluster keeps for itself.
pub fn is_own(name: &str) -> bool {
    name == CLUSTER_ID || name == IMPORTED
}

/// Policies; operator policies and limits are parameters, as they are in RabbitMQ.
fn policies_of(admin: &Admin, vhosts: &[Arc<Vhost>], with_vhost: bool, o: &mut Object<'_>) {
    o.array("parameters", |list| {
        for vhost in vhosts.iter().filter(|vhost| vhost.settings().limits.is_some()) {
            list.object(|o| {
                o.object("value", |o| limits::describe(&vhost.settings(), o));
                if with_vhost {
                    o.text("vhost", &vhost.name);
                }
                let (component, name) = limits::PARAMETER;
                o.text("component", component);
                o.text("name", name);
            });
        }
        for (vhost, policy) in policies::rows(Class::Operator, vhosts) {
            let vhost = with_vhost.then_some(vhost.name.as_str());
            list.object(|o| parameters::describe(vhost, &policy, o));
        }
        for (key, value) in admin.node.parameters.list(|key| key.vhost.is_some()) {
            if vhosts.iter().any(|vhost| key.vhost.as_deref() == Some(&vhost.name)) {
                list.object(|o| parameters::describe_kept(&key, &value, with_vhost, o));
            }
        }
    });
    o.array("policies", |list| {
        for (vhost, policy) in policies::rows(Class::User, vhosts) {
            list.object(|o| {
                if with_vhost {
                    o.text("vhost", &vhost.name);
                }
                o.text("name", &policy.name);
                policies::says(&policy, o);
            });
        }
    });
}

/// Objects that a client has declared and that outlive it: without predeclared exchanges, the default exchange's
/// bindings and exclusive queues.
fn topology(vhosts: &[Arc<Vhost>], with_vhost: bool, o: &mut Object<'_>) {
    let place = |vhost: &Vhost, o: &mut Object<'_>| {
        if with_vhost {
            o.text("vhost", &vhost.name);
        }
    };
    o.array("queues", |list| {
        for vhost in vhosts {
            let mut queues = vhost.queues();
            queues.retain(|queue| queue.definition.owner.is_none());
            queues.sort_by(|a, b| a.name().cmp(b.name()));
            for queue in queues {
                list.object(|o| {
                    o.name("name", queue.name());
                    place(vhost, o);
                    o.text("type", queue.definition.arguments.values.queue_type().name());
                    o.bool("durable", queue.definition.durable);
                    o.bool("auto_delete", queue.definition.auto_delete);
                    o.table("arguments", &queue.definition.arguments.declared.to_table());
                });
            }
        }
    });
    o.array("exchanges", |list| {
        for vhost in vhosts {
            let topology = vhost.topology();
            let mut exchanges: Vec<_> = topology.exchanges.values().map(|x| x.definition.clone()).collect();
            drop(topology);
            exchanges.retain(|x| !x.name.is_empty() && !x.name.as_bytes().starts_with(b"amq."));
            exchanges.sort_by(|a, b| a.name.cmp(&b.name));
            for exchange in exchanges {
                list.object(|o| {
                    o.name("name", &exchange.name);
                    place(vhost, o);
                    o.text("type", exchange.kind.name);
                    o.bool("durable", exchange.durable);
                    o.bool("auto_delete", exchange.auto_delete);
                    o.bool("internal", exchange.internal);
                    o.table("arguments", &exchange.arguments.to_table());
                });
            }
        }
    });
    o.array("bindings", |list| {
        for vhost in vhosts {
            bindings(vhost, list, &place);
        }
    });
}

fn bindings(vhost: &Vhost, list: &mut Array<'_>, place: &impl Fn(&Vhost, &mut Object<'_>)) {
    let topology = vhost.topology();
    let exclusive = |binding: &&Arc<Binding>| {
        let queue = topology.queues.get(&binding.destination);
        queue.is_some_and(|queue| queue.definition.owner.is_some())
    };
    let all = topology.incoming.values().flatten();
    let mut bindings: Vec<Arc<Binding>> = all.filter(|binding| !exclusive(binding)).cloned().collect();
    drop(topology);
    bindings
        .sort_by(|a, b| (&a.source, &a.destination, &a.routing_key).cmp(&(&b.source, &b.destination, &b.routing_key)));
    for binding in bindings {
        list.object(|o| {
            o.name("source", &binding.source);
            place(vhost, o);
            o.name("destination", &binding.destination);
            o.text("destination_type", binding.destination_kind.name());
            o.name("routing_key", &binding.routing_key);
            o.table("arguments", &binding.arguments.to_table());
        });
    }
}
