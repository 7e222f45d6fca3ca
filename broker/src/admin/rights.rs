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

use Needs::{Administrator, Monitor, Parameters, Policymaker, Tag, User, Vhost, Visible};

/// Routes with their first differing parts, longer ones first: who may read, and who may change.
const TABLE: [(&str, Needs, Needs); 50] = [
    ("/api/aliveness-test/", Vhost, Vhost),
    ("/api/auth/attempts/", Monitor, Administrator),
    ("/api/auth/hash_password/", Administrator, Administrator),
    ("/api/auth", Tag, Tag),
    ("/api/bindings", Vhost, Vhost),
    ("/api/channels", Tag, Tag),
    ("/api/cluster-name", Tag, Administrator),
    ("/api/connections", Tag, Tag),
    ("/api/consumers", Visible, Visible),
    ("/api/definitions", Administrator, Administrator),
    ("/api/deprecated-features", Tag, Administrator),
    ("/api/exchanges", Vhost, Vhost),
    ("/api/extensions", Tag, Tag),
    ("/api/feature-flags", Tag, Administrator),
    ("/api/federation-links", Monitor, Administrator),
    ("/api/global-parameters", Parameters, Parameters),
    ("/api/health/checks/", Tag, Tag),
    ("/api/healthchecks/", Tag, Tag),
    ("/api/login", Tag, Tag),
    ("/api/nodes", Monitor, Administrator),
    ("/api/operator-policies/{vhost}/{name}", Administrator, Administrator),
    ("/api/operator-policies", Vhost, Administrator),
    ("/api/overview", Tag, Tag),
    ("/api/parameters", Policymaker, Policymaker),
    ("/api/permissions", Administrator, Administrator),
    ("/api/policies/{vhost}/{name}", Policymaker, Policymaker),
    ("/api/policies", Vhost, Policymaker),
    (
        "/api/queues/quorum/{vhost}/{queue}/replicas",
        Administrator,
        Administrator,
    ),
    ("/api/queues/quorum/replicas", Administrator, Administrator),
    ("/api/queues/{vhost}/{queue}/actions", Administrator, Administrator),
    ("/api/queues", Vhost, Vhost),
    ("/api/rebalance/queues", Administrator, Administrator),
    ("/api/shovels", Monitor, Administrator),
    ("/api/stream", Vhost, Vhost),
    ("/api/topic-permissions", Administrator, Administrator),
    ("/api/user-limits/{user}", User, Administrator),
    ("/api/user-limits", Administrator, Administrator),
    ("/api/users/{user}/queues", Vhost, Vhost),
    ("/api/users", Administrator, Administrator),
    ("/api/version", Tag, Tag),
    ("/api/vhost-limits/{vhost}/{name}", Administrator, Administrator),
    ("/api/vhost-limits", Visible, Administrator),
    ("/api/vhosts/{vhost}/channels", Vhost, Vhost),
    ("/api/vhosts/{vhost}/connections", Vhost, Vhost),
    ("/api/vhosts/", Administrator, Administrator),
    ("/api/vhosts", Tag, Administrator),
    ("/api/whoami", Tag, Tag),
    ("/metrics/detailed", Monitor, Monitor),
    ("/metrics/per-object", Monitor, Monitor),
    ("/metrics", Monitor, Monitor),
];

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
pub fn check(asked: &Asked<'_>, actor: &Actor) -> Result<()> {
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
    match needs(asked.method, asked.route) {
        Tag => Ok(()),
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

fn needs(method: &Method, route: &str) -> Needs {
    let row = TABLE.iter().find(|(path, ..)| is_below(path, route));
    let (read, change) = row.map_or((Administrator, Administrator), |(_, read, change)| (*read, *change));
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => read,
        _ => change,
    }
}

/// True if a route is the path or below it.
fn is_below(path: &str, route: &str) -> bool {
    let rest = route.strip_prefix(path);
    rest.is_some_and(|rest| path.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
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
        check(&asked, &actor).map_err(|failure| format!("{} {failure}", failure.status().as_u16()))
    }

    #[test]
    fn each_tag_may_ask_for_what_rabbitmq_lets_it() {
        let (get, put) = (Method::GET, Method::PUT);
        let refused = |text: &str| Err(format!("401 {text}"));
        for (method, route, tag, expected) in [
            (&get, "/api/overview", "management", Ok(())),
            (&get, "/api/overview", "other", refused("Not management user")),
            (&get, "/api/nodes", "management", refused("Not monitor user")),
            (&get, "/api/nodes/{node}", "monitoring", Ok(())),
            (&get, "/api/users", "monitoring", refused("Not administrator user")),
            (&get, "/api/users", "administrator", Ok(())),
            (&get, "/api/queues/{vhost}/{queue}", "policymaker", Ok(())),
            (&put, "/api/queues/{vhost}/{queue}", "management", Ok(())),
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
            "/api/exchanges/{vhost}/{exchange}",
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
    fn the_first_row_that_fits_is_the_one_that_counts() {
        for (at, (path, ..)) in TABLE.iter().enumerate() {
            let found = TABLE
                .iter()
                .position(|(other, ..)| is_below(other, path.trim_end_matches('/')) || is_below(other, path));
            assert_eq!(found, Some(at), "{path} is below another row");
        }
    }
}
