//! `/api/feature-flags`, `/api/deprecated-features`: what the versions of a cluster agree on, and what will go. A
//! node of RabbitMQ's version has all flags enabled, and tools ask for some by name; here nothing depends on them.
//!
//! Comes in: requests. Goes out: RabbitMQ's lists, as one of its nodes answers.

use super::error::{Failure, Result};
use super::http::ok;
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::state::Admin;
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, put};

/// Features.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/feature-flags", get(flags))
        .route("/api/feature-flags/{name}/enable", put(enable))
        .route("/api/deprecated-features", get(deprecated))
        .route("/api/deprecated-features/used", get(used))
}

/// A feature flag of RabbitMQ.
struct Flag {
    name: &'static str,
    /// `hard` or `soft` if nodes of this version can't be without it, or `none`.
    require_level: &'static str,
    about: &'static str,
}

const fn flag(name: &'static str, require_level: &'static str, about: &'static str) -> Flag {
    Flag {
        name,
        require_level,
        about,
    }
}

/// The flags of RabbitMQ 4.3.
static FLAGS: &[Flag] = &[
    flag(
        "classic_mirrored_queue_version",
        "hard",
        "Support setting version for classic mirrored queues",
    ),
    flag(
        "classic_queue_type_delivery_support",
        "hard",
        "Bug fix for classic queue deliveries using mixed versions",
    ),
    flag(
        "detailed_queues_endpoint",
        "soft",
        "Add a detailed queues HTTP API endpoint. Reduce number of metrics in the default endpoint.",
    ),
    flag(
        "direct_exchange_routing_v2",
        "hard",
        "v2 direct exchange routing implementation",
    ),
    flag(
        "drop_unroutable_metric",
        "hard",
        "Count unroutable publishes to be dropped in stats",
    ),
    flag(
        "empty_basic_get_metric",
        "hard",
        "Count AMQP `basic.get` on empty queues in stats",
    ),
    flag("feature_flags_v2", "hard", "Feature flags subsystem V2"),
    flag(
        "implicit_default_bindings",
        "hard",
        "Default bindings are now implicit, instead of being stored in the database",
    ),
    flag("khepri_db", "soft", "New Raft-based metadata store."),
    flag(
        "listener_records_in_ets",
        "hard",
        "Store listener records in ETS instead of Mnesia",
    ),
    flag("maintenance_mode_status", "hard", "Maintenance mode status"),
    flag("message_containers", "hard", "Message containers."),
    flag(
        "message_containers_deaths_v2",
        "soft",
        "Bug fix for dead letter cycle detection",
    ),
    flag("quorum_queue", "hard", "Support queues of type `quorum`"),
    flag(
        "quorum_queue_non_voters",
        "soft",
        "Allows new quorum queue members to be added as non voters initially.",
    ),
    flag("rabbit_exchange_type_local_random", "soft", "Local random exchange"),
    flag("rabbitmq_4.0.0", "soft", "Allows rolling upgrades from 3.13.x to 4.0.x"),
    flag("rabbitmq_4.1.0", "soft", "Allows rolling upgrades to 4.1.x"),
    flag("rabbitmq_4.2.0", "soft", "Allows rolling upgrades to 4.2.x"),
    flag("rabbitmq_4.3.0", "none", "Allows rolling upgrades to 4.3.x"),
    flag(
        "restart_streams",
        "hard",
        "Support for restarting streams with optional preferred next leader argument",
    ),
    flag("stream_filtering", "hard", "Support for stream filtering."),
    flag("stream_queue", "hard", "Support queues of type `stream`"),
    flag(
        "stream_sac_coordinator_unblock_group",
        "hard",
        "Bug fix to unblock a group of consumers in a super stream partition",
    ),
    flag(
        "stream_single_active_consumer",
        "hard",
        "Single active consumer for streams",
    ),
    flag(
        "stream_update_config_command",
        "hard",
        "A new internal command that is used to update streams as part of a policy.",
    ),
    flag(
        "tie_binding_to_dest_with_keep_while_cond",
        "none",
        "Use keep_while condition to tie a binding record lifetime to its destination record in Khepri",
    ),
    flag(
        "topic_binding_projection_v4",
        "none",
        "Enable the topic binding Khepri projection v4",
    ),
    flag(
        "topic_binding_projection_v5",
        "none",
        "Enable the topic binding Khepri projection v5",
    ),
    flag(
        "track_qq_members_uids",
        "none",
        "Track queue members UIDs in the metadata store",
    ),
    flag(
        "tracking_records_in_ets",
        "hard",
        "Store tracking records in ETS instead of Mnesia",
    ),
    flag(
        "user_limits",
        "hard",
        "Configure connection and channel limits for a user",
    ),
    flag(
        "virtual_host_metadata",
        "hard",
        "Virtual host metadata (description, tags, etc)",
    ),
];

/// A feature that RabbitMQ will drop, or has dropped.
struct Deprecated {
    name: &'static str,
    phase: &'static str,
}

const fn feature(name: &'static str, phase: &'static str) -> Deprecated {
    Deprecated { name, phase }
}

/// The phase of a feature that may still be used.
const PERMITTED: &str = "permitted_by_default";
/// Queues that are neither durable nor exclusive: the only such feature that there is here.
const TRANSIENT_QUEUES: &str = "transient_nonexcl_queues";

/// The deprecated features of RabbitMQ 4.3.
static DEPRECATED: &[Deprecated] = &[
    feature("queue_master_locator", "denied_by_default"),
    feature("global_qos", "denied_by_default"),
    feature("amqp_filter_set_bug", "denied_by_default"),
    feature("amqp_address_v1", "denied_by_default"),
    feature("management_metrics_collection", "permitted_by_default"),
    feature("transient_nonexcl_queues", "permitted_by_default"),
    feature("classic_queue_mirroring", "removed"),
    feature("ram_node_type", "removed"),
];

async fn flags(_: Login) -> Response {
    ok(json::array(None, |list| {
        for flag in FLAGS {
            list.object(|o| {
                o.text("name", flag.name);
                o.text("desc", flag.about);
                o.text("doc_url", "");
                o.text("state", "enabled");
                o.text(
                    "stability",
                    if flag.require_level == "none" {
                        "stable"
                    } else {
                        "required"
                    },
                );
                o.text("require_level", flag.require_level);
                o.text("experiment_level", "supported");
                o.array("callbacks", |_| ());
                o.text("provided_by", "rabbit");
            });
        }
    }))
}

/// All are enabled already.
async fn enable(_: Login, Path(name): Path<String>) -> Result<StatusCode> {
    match FLAGS.iter().any(|flag| flag.name == name) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Failure::BadRequest("unsupported".into())),
    }
}

async fn deprecated(_: Login) -> Response {
    ok(json::array(None, |list| {
        for feature in DEPRECATED {
            list.object(|o| {
                describe(feature, o);
                o.text(
                    "state",
                    if feature.phase == PERMITTED {
                        "permitted"
                    } else {
                        "denied"
                    },
                );
            });
        }
    }))
}

async fn used(Login { admin, .. }: Login) -> Response {
    let transient = has_transient_queues(&admin);
    let used = |feature: &&Deprecated| transient && feature.name == TRANSIENT_QUEUES;
    ok(json::array(None, |list| {
        DEPRECATED
            .iter()
            .filter(used)
            .for_each(|feature| list.object(|o| describe(feature, o)));
    }))
}

fn has_transient_queues(admin: &Admin) -> bool {
    let vhosts = admin.node.vhosts();
    vhosts.iter().flat_map(|vhost| vhost.queues()).any(|queue| {
        let definition = &queue.definition;
        !definition.durable && definition.owner.is_none()
    })
}

fn describe(feature: &Deprecated, o: &mut Object<'_>) {
    o.text("name", feature.name);
    o.text("desc", "");
    o.text("deprecation_phase", feature.phase);
    o.text("doc_url", "");
    o.text("provided_by", "rabbit");
}
