//! Imports that still run up: this list only gets shorter. It goes, with this file, when it is empty.

/// For each crate, who names a module that stands above it.
pub(crate) const KNOWN: &[(&str, &[(&str, &str)])] = &[
    (
        "broker/amqp/src",
        &[
            // field
            ("field::compare", "field"),
            ("field::read", "field"),
        ],
    ),
    (
        "broker/store/src",
        &[
            // backlog
            ("backlog", "crate"),
            // batch
            ("batch", "crate"),
            // check
            ("check", "crate"),
            // checkpoint
            ("checkpoint", "crate"),
            ("checkpoint::codec", "checkpoint"),
            ("checkpoint::codec", "crate"),
            ("checkpoint::take", "checkpoint"),
            ("checkpoint::take", "crate"),
            // fs
            ("fs::dry", "fs"),
            // index
            ("index", "crate"),
            // ledger
            ("ledger", "crate"),
            // options
            ("options", "shared"),
            // owner
            ("owner", "crate"),
            // page
            ("page", "crate"),
            // reader
            ("reader", "crate"),
            // reclaim
            ("reclaim", "crate"),
            ("reclaim::evacuate", "crate"),
            ("reclaim::evacuate", "reclaim"),
            ("reclaim::relocate", "crate"),
            ("reclaim::retire", "crate"),
            ("reclaim::retire", "reclaim"),
            // record
            ("record", "crate"),
            // recovered
            ("recovered", "crate"),
            // recovery
            ("recovery", "checkpoint"),
            ("recovery", "crate"),
            ("recovery::apply", "recovery"),
            ("recovery::identity", "recovery"),
            ("recovery::quarantine", "recovery"),
            // shared
            ("shared", "crate"),
            // store
            ("store", "crate"),
            // stored
            ("stored", "crate"),
        ],
    ),
    (
        "broker/src",
        &[
            // access
            ("access::users", "access"),
            // admin
            ("admin::bindings", "admin"),
            ("admin::channels", "admin"),
            ("admin::connections", "admin"),
            ("admin::consumers", "admin"),
            ("admin::definitions", "admin"),
            ("admin::exchanges", "admin"),
            ("admin::health", "admin"),
            ("admin::messages", "admin"),
            ("admin::nodes", "admin"),
            ("admin::overview", "admin"),
            ("admin::queues", "admin"),
            ("admin::scrape", "admin"),
            ("admin::users", "admin"),
            ("admin::vhosts", "admin"),
            // config
            ("config::values", "config"),
            // exchange
            ("exchange::direct", "exchange"),
            ("exchange::fanout", "exchange"),
            ("exchange::headers", "exchange"),
            ("exchange::topic", "exchange"),
        ],
    ),
    (
        "operator/src",
        &[
            // broker
            ("broker::amqp", "broker"),
            ("broker::connect", "broker"),
            ("broker::events", "broker"),
            ("broker::http", "broker"),
            // engine
            ("engine::config", "engine"),
            ("engine::network", "engine"),
            ("engine::secret", "engine"),
            ("engine::statefulset", "engine"),
            // resource
            ("resource::admission", "resource"),
            // source
            ("source::folder", "source"),
            ("source::kubernetes", "source"),
            ("source::kubernetes::write", "source"),
        ],
    ),
];
