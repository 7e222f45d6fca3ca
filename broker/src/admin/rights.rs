//! Rights to endpoints: the one table that says who may ask what over HTTP, as RabbitMQ's management plugin has it.
//!
//! Comes in: method and route of a request, its vhost and who asks. Goes out: whether it may be asked, or RabbitMQ's
//! refusal. A route that isn't in the table is for administrators. Does not know what handlers do; which rows of a list
//! somebody sees is said by `state`.

use super::error::{Failure, Result};
use crate::access::Actor;
use axum::http::Method;

/// Those who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Anyone, with a login or without.
    Anyone,
    /// Anybody with a tag that the API knows. Lists show what the user may see.
    Tag,
    /// Users who may enter the vhost of the route, if it has one.
    Vhost,
    /// The same, or users who may see everything.
    Visible,
    /// Users who may set policies, and may enter the vhost of the route, if it has one.
    Policymaker,
    /// Users who may set policies.
    Parameters,
    /// Users who may see everything.
    Monitor,
    /// Users who may do everything.
    Administrator,
    /// The same, and the user of the route; to read, also users who may see everything.
    User,
}

use Needs::{Administrator, Anyone, Monitor, Parameters, Policymaker, Tag, User, Vhost, Visible};

/// Routes, as routers have them: who may read, and who may change. Each route has its line, and each line is a route.
const TABLE: [(Needs, Needs, &[&str]); 14] = [
    (
        Anyone,
        Anyone,
        &[
            "/",
            "/api",
            "/api/health/checks/below-node-connection-limit",
            "/api/health/checks/is-in-service",
            "/api/health/checks/reached-target-cluster-size",
            "/api/health/checks/ready-to-serve-clients",
            "/api/login",
            "/api/version",
            "/cli",
            "/livez",
            "/readyz",
        ],
    ),
    (
        Tag,
        Tag,
        &[
            "/api/channels",
            "/api/channels/{name}",
            "/api/connections",
            "/api/connections/username/{user}",
            "/api/connections/{name}",
            "/api/connections/{name}/channels",
            "/api/connections/{name}/sessions",
            "/api/extensions",
            "/api/health/checks/alarms",
            "/api/health/checks/certificate-expiration/{within}/{unit}",
            "/api/health/checks/local-alarms",
            "/api/health/checks/log-damage",
            "/api/health/checks/metadata-store/initialized",
            "/api/health/checks/metadata-store/initialized/with-data",
            "/api/health/checks/node-is-quorum-critical",
            "/api/health/checks/port-listener/{port}",
            "/api/health/checks/protocol-listener/{protocol}",
            "/api/health/checks/quorum-queues-without-elected-leaders/all-vhosts",
            "/api/health/checks/quorum-queues-without-elected-leaders/all-vhosts/pattern/{pattern}",
            "/api/health/checks/virtual-hosts",
            "/api/healthchecks/node",
            "/api/healthchecks/node/{node}",
            "/api/overview",
            "/api/whoami",
        ],
    ),
    (
        Tag,
        Administrator,
        &[
            "/api/cluster-name",
            "/api/deprecated-features",
            "/api/deprecated-features/used",
            "/api/feature-flags",
            "/api/feature-flags/{name}/enable",
            "/api/vhosts",
        ],
    ),
    (
        Vhost,
        Vhost,
        &[
            "/api/aliveness-test/{vhost}",
            "/api/bindings",
            "/api/bindings/{vhost}",
            "/api/bindings/{vhost}/e/{source}/{kind}/{destination}",
            "/api/bindings/{vhost}/e/{source}/{kind}/{destination}/{key}",
            "/api/exchanges",
            "/api/exchanges/{vhost}",
            "/api/exchanges/{vhost}/{name}",
            "/api/exchanges/{vhost}/{name}/bindings/destination",
            "/api/exchanges/{vhost}/{name}/bindings/source",
            "/api/exchanges/{vhost}/{name}/publish",
            "/api/queues",
            "/api/queues/detailed",
            "/api/queues/quorum/{vhost}/{name}/status",
            "/api/queues/{vhost}",
            "/api/queues/{vhost}/{name}",
            "/api/queues/{vhost}/{name}/bindings",
            "/api/queues/{vhost}/{name}/contents",
            "/api/queues/{vhost}/{name}/get",
            "/api/users/{user}/queues",
            "/api/vhosts/{vhost}/channels",
            "/api/vhosts/{vhost}/connections",
        ],
    ),
    (Vhost, Policymaker, &["/api/policies", "/api/policies/{vhost}"]),
    (
        Vhost,
        Administrator,
        &["/api/operator-policies", "/api/operator-policies/{vhost}"],
    ),
    (
        Visible,
        Visible,
        &[
            "/api/consumers",
            "/api/consumers/{vhost}",
            "/api/health/checks/quorum-queues-without-elected-leaders/vhost/{vhost}",
            "/api/health/checks/quorum-queues-without-elected-leaders/vhost/{vhost}/pattern/{pattern}",
            "/api/zeromq/sockets",
            "/api/zeromq/sockets/{vhost}",
        ],
    ),
    (
        Visible,
        Administrator,
        &[
            "/api/vhost-limits",
            "/api/vhost-limits/{vhost}",
            "/api/zeromq/sockets/{vhost}/{name}",
        ],
    ),
    (
        Policymaker,
        Policymaker,
        &[
            "/api/parameters",
            "/api/parameters/{component}",
            "/api/parameters/{component}/{vhost}",
            "/api/parameters/{component}/{vhost}/{name}",
            "/api/policies/{vhost}/{name}",
        ],
    ),
    (
        Parameters,
        Parameters,
        &["/api/global-parameters", "/api/global-parameters/{name}"],
    ),
    (
        Monitor,
        Policymaker,
        &[
            "/api/federation-links/vhost/{vhost}/{id}/{node}/restart",
            "/api/shovels/vhost/{vhost}/{name}",
            "/api/shovels/vhost/{vhost}/{name}/restart",
        ],
    ),
    (
        Monitor,
        Administrator,
        &[
            "/api/auth/attempts/{node}",
            "/api/auth/attempts/{node}/source",
            "/api/federation-links",
            "/api/federation-links/state/down",
            "/api/federation-links/{vhost}",
            "/api/federation-links/{vhost}/state/down",
            "/api/nodes",
            "/api/nodes/{name}",
            "/api/nodes/{name}/memory",
            "/api/nodes/{name}/memory/ets",
            "/api/nodes/{name}/memory/ets/{filter}",
            "/api/nodes/{name}/memory/ets/{filter}/relative",
            "/api/nodes/{name}/memory/relative",
            "/api/shovels",
            "/api/shovels/{vhost}",
            "/metrics",
            "/metrics/detailed",
            "/metrics/memory-breakdown",
            "/metrics/per-object",
        ],
    ),
    (User, Administrator, &["/api/user-limits/{user}"]),
    (
        Administrator,
        Administrator,
        &[
            "/api/all-configuration",
            "/api/auth/hash_password/{password}",
            "/api/config/effective",
            "/api/definitions",
            "/api/definitions/{vhost}",
            "/api/operator-policies/{vhost}/{name}",
            "/api/permissions",
            "/api/permissions/{vhost}/{user}",
            "/api/queues/quorum/replicas/on/{node}/grow",
            "/api/queues/quorum/replicas/on/{node}/shrink",
            "/api/queues/quorum/{vhost}/{name}/replicas/add",
            "/api/queues/quorum/{vhost}/{name}/replicas/delete",
            "/api/queues/{vhost}/{name}/actions",
            "/api/rebalance/queues",
            "/api/reset",
            "/api/reset/{node}",
            "/api/settings",
            "/api/topic-permissions",
            "/api/topic-permissions/{vhost}/{user}",
            "/api/topic-permissions/{vhost}/{user}/{exchange}",
            "/api/user-limits",
            "/api/user-limits/{user}/{limit}",
            "/api/users",
            "/api/users/bulk-delete",
            "/api/users/without-permissions",
            "/api/users/{user}",
            "/api/users/{user}/permissions",
            "/api/users/{user}/topic-permissions",
            "/api/vhost-limits/{vhost}/{name}",
            "/api/vhosts/{vhost}",
            "/api/vhosts/{vhost}/deletion/protection",
            "/api/vhosts/{vhost}/permissions",
            "/api/vhosts/{vhost}/start/{node}",
            "/api/vhosts/{vhost}/topic-permissions",
            "/api/zeromq/keys/{vhost}/{name}",
        ],
    ),
];

/// The vhosts of which a list shows what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All.
    All,
    /// Those that the user may enter.
    Entered,
}

/// A request, as far as rights are concerned.
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its route, as the router has it: `/api/vhosts/{vhost}`.
    pub route: &'a str,
    /// The vhost in it, if that exists.
    pub vhost: Option<&'a str>,
    /// The user in it.
    pub user: Option<&'a str>,
}

/// Refuses a request that the user may not make.
///
/// # Errors
/// 401 with RabbitMQ's words; 404 for a vhost that the user may not enter.
pub fn check(asked: &Asked<'_>, actor: &Actor) -> Result<Seen> {
    let needs = needs(asked.method, asked.route);
    refuse(needs, asked, actor)?;
    let tags = &actor.tags;
    Ok(match needs {
        // As in RabbitMQ: where one must enter a vhost to see what is in it, who may see everything must, too.
        Vhost | Policymaker if !tags.is_administrator() => Seen::Entered,
        _ if tags.is_monitor() => Seen::All,
        _ => Seen::Entered,
    })
}

fn refuse(needs: Needs, asked: &Asked<'_>, actor: &Actor) -> Result<()> {
    let tags = &actor.tags;
    let refused = |text: &str| Err(Failure::Refused(text.to_owned()));
    if !tags.is_management() {
        return refused("Not management user");
    }
    if tags.is_administrator() {
        return Ok(());
    }
    let enters = || asked.vhost.is_none_or(|vhost| actor.may_enter(vhost));
    let hidden = || Err(Failure::Missing("Not Found".to_owned()));
    match needs {
        Anyone | Tag => Ok(()),
        Vhost if enters() => Ok(()),
        Visible if enters() || tags.is_monitor() => Ok(()),
        Vhost | Visible => hidden(),
        Policymaker if tags.is_policymaker() && enters() => Ok(()),
        Policymaker if tags.is_policymaker() => hidden(),
        Parameters if tags.is_policymaker() => Ok(()),
        Policymaker | Parameters => refused("User not authorised to access object"),
        Monitor if tags.is_monitor() => Ok(()),
        Monitor => refused("Not monitor user"),
        User if tags.is_monitor() || asked.user == Some(actor.user.as_str()) => Ok(()),
        User => refused("User not authorised to access object"),
        Administrator => refused("Not administrator user"),
    }
}

/// Rights to a route; one that isn't in the table is for administrators.
fn needs(method: &Method, route: &str) -> Needs {
    let line = TABLE.iter().find(|(_, _, routes)| routes.contains(&route));
    let (read, change) = line.map_or((Administrator, Administrator), |(read, change, _)| (*read, *change));
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => read,
        _ => change,
    }
}

/// The routes of the table.
#[cfg(test)]
pub fn routes() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flat_map(|(_, _, routes)| routes.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::permissions::Permissions;
    use crate::access::user::Tags;

    fn asked(method: &Method, route: &str, tag: &str, enters: bool) -> std::result::Result<(), String> {
        let permissions = if enters { Permissions::ALL } else { Permissions::NONE };
        let actor = Actor::new("u", permissions).with_tags(Tags(vec![tag.to_owned()]));
        let asked = Asked {
            method,
            route,
            vhost: Some("/").filter(|_| route.contains("{vhost}")),
            user: Some("u").filter(|_| route.contains("{user}")),
        };
        check(&asked, &actor)
            .map(drop)
            .map_err(|failure| format!("{} {failure}", failure.status().as_u16()))
    }

    #[test]
    fn each_tag_may_ask_for_what_rabbitmq_lets_it() {
        let (get, put) = (Method::GET, Method::PUT);
        let refused = |text: &str| Err(format!("401 {text}"));
        for (method, route, tag, expected) in [
            (&get, "/api/overview", "management", Ok(())),
            (&get, "/api/overview", "other", refused("Not management user")),
            (&get, "/api/nodes", "management", refused("Not monitor user")),
            (&get, "/api/nodes/{name}", "monitoring", Ok(())),
            (&get, "/api/users", "monitoring", refused("Not administrator user")),
            (&get, "/api/users", "administrator", Ok(())),
            (&get, "/api/queues/{vhost}/{name}", "policymaker", Ok(())),
            (&put, "/api/queues/{vhost}/{name}", "management", Ok(())),
            (&put, "/api/policies/{vhost}/{name}", "policymaker", Ok(())),
            (&get, "/api/policies/{vhost}", "management", Ok(())),
            (
                &put,
                "/api/policies/{vhost}/{name}",
                "management",
                refused("User not authorised to access object"),
            ),
            (
                &put,
                "/api/operator-policies/{vhost}/{name}",
                "policymaker",
                refused("Not administrator user"),
            ),
            (&get, "/api/vhosts", "management", Ok(())),
            (
                &get,
                "/api/vhosts/{vhost}",
                "management",
                refused("Not administrator user"),
            ),
            (
                &put,
                "/api/vhosts/{vhost}",
                "monitoring",
                refused("Not administrator user"),
            ),
            (&get, "/api/user-limits/{user}", "management", Ok(())),
            (
                &put,
                "/api/user-limits/{user}/{limit}",
                "management",
                refused("Not administrator user"),
            ),
            (&put, "/api/global-parameters/{name}", "policymaker", Ok(())),
            (
                &get,
                "/api/something-new",
                "monitoring",
                refused("Not administrator user"),
            ),
            (&get, "/metrics", "management", refused("Not monitor user")),
        ] {
            assert_eq!(asked(method, route, tag, true), expected, "{method} {route} {tag}");
        }
    }

    #[test]
    fn a_vhost_that_may_not_be_entered_is_not_there() {
        let hidden = Err("404 Not Found".to_owned());
        for route in [
            "/api/queues/{vhost}",
            "/api/exchanges/{vhost}/{name}",
            "/api/vhosts/{vhost}/channels",
        ] {
            for tag in ["management", "monitoring", "policymaker"] {
                assert_eq!(asked(&Method::GET, route, tag, false), hidden, "{route} {tag}");
            }
            assert_eq!(asked(&Method::GET, route, "administrator", false), Ok(()));
        }
        assert_eq!(asked(&Method::GET, "/api/queues", "management", false), Ok(()));
        assert_eq!(
            asked(&Method::GET, "/api/vhost-limits/{vhost}", "monitoring", false),
            Ok(())
        );
        assert_eq!(
            asked(&Method::GET, "/api/vhost-limits/{vhost}", "management", false),
            hidden
        );
    }

    #[test]
    fn monitors_are_shown_what_is_there_and_not_what_is_in_it() {
        let seen = |route: &str, tag: &str| {
            let actor = Actor::new("u", Permissions::NONE).with_tags(Tags(vec![tag.to_owned()]));
            let asked = Asked {
                method: &Method::GET,
                route,
                vhost: None,
                user: None,
            };
            check(&asked, &actor).ok()
        };
        for (route, monitoring, management) in [
            ("/api/queues", Seen::Entered, Seen::Entered),
            ("/api/policies", Seen::Entered, Seen::Entered),
            ("/api/vhosts", Seen::All, Seen::Entered),
            ("/api/overview", Seen::All, Seen::Entered),
        ] {
            let all = ["monitoring", "management", "administrator"].map(|tag| seen(route, tag));
            assert_eq!(all, [Some(monitoring), Some(management), Some(Seen::All)], "{route}");
        }
    }

    #[test]
    fn a_route_has_one_line() {
        let mut seen = std::collections::HashSet::new();
        for route in routes() {
            assert!(seen.insert(route), "{route} has two");
        }
    }
}
