//! Imports that still run up: this list only gets shorter. It goes, with this file, when it is empty.

/// For each crate, who names a module that stands above it.
pub(crate) const KNOWN: &[(&str, &[(&str, &str)])] = &[
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
            // exchange
            ("exchange::direct", "exchange"),
            ("exchange::fanout", "exchange"),
            ("exchange::headers", "exchange"),
            ("exchange::topic", "exchange"),
        ],
    ),
    ("operator/src", &[]),
];
