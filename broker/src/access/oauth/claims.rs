//! The user and the scopes in a token's claims, found where RabbitMQ's OAuth 2 plugin looks for them.
//!
//! Comes in: claims that are proved, and what to look for. Goes out: a name, scopes without their prefix, times. Pure.

use super::jwt::{Claims, Fault};
use super::terms::ResourceServer;
use crate::access::user::{LONGEST_NAME, MOST_TAGS, Tags};
use serde_json::Value;
use std::collections::BTreeSet;

/// Scopes of a token, at most (RabbitMQ's figure).
const MOST_SCOPES: usize = 2048;
/// The place of scopes in tokens of user-managed access (Keycloak and others).
const REQUESTING_PARTY: &str = "authorization.permissions.scopes";
/// The name of a user who isn't named (RabbitMQ's).
const UNKNOWN: &str = "unknown";
/// Seconds by which clocks may differ where a token is not valid yet. A token that has expired has expired.
const SKEW: u64 = 60;

/// The name of the user.
///
/// # Errors
/// It is empty or too long.
pub fn user(server: &ResourceServer, claims: &Claims) -> Result<String, Fault> {
    let mut named = server
        .user_claims
        .iter()
        .filter_map(|claim| claims.get(claim)?.as_str());
    let name = named.next().unwrap_or(UNKNOWN);
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME;
    fits.then(|| name.to_owned()).ok_or(Fault::NoUser)
}

/// The scopes that are for this broker, without their prefix.
///
/// # Errors
/// There are too many.
pub fn scopes(server: &ResourceServer, claims: &Claims) -> Result<Vec<String>, Fault> {
    let mut found = Found {
        server: &server.id,
        scopes: Vec::new(),
    };
    match claims.get("scope") {
        Some(Value::String(text)) => found.words(text),
        Some(Value::Array(list)) => found.list(list, false),
        _ => {}
    }
    for path in server
        .additional_scopes
        .iter()
        .map(String::as_str)
        .chain([REQUESTING_PARTY])
    {
        let path: Vec<&str> = path.split('.').filter(|name| !name.is_empty()).collect();
        found.in_map(claims, &path);
    }
    let mut scopes = found.scopes;
    let aliases = scopes.iter().filter_map(|scope| server.scope_aliases.get(scope));
    let aliased: Vec<String> = aliases.flatten().cloned().collect();
    scopes.extend(aliased);
    let own = scopes
        .iter()
        .filter_map(|scope| scope.strip_prefix(&server.scope_prefix));
    let own: BTreeSet<&str> = own.collect();
    if own.len() > MOST_SCOPES {
        return Err(Fault::ManyScopes);
    }
    Ok(own.into_iter().map(str::to_owned).collect())
}

/// The tags among scopes.
pub fn tags(scopes: &[String]) -> Tags {
    let tags = scopes.iter().filter_map(|scope| scope.strip_prefix("tag:"));
    let tags = tags.filter(|tag| !tag.is_empty() && tag.len() <= LONGEST_NAME);
    Tags(tags.take(MOST_TAGS).map(str::to_owned).collect())
}

/// The second at which a token that is valid now expires; `None` for never.
///
/// # Errors
/// It has expired, is not valid yet, or doesn't say when it expires where it has to.
pub fn expiry(server: &ResourceServer, claims: &Claims, now: u64) -> Result<Option<u64>, Fault> {
    let seconds = |value: &Value| value.as_f64().map(|seconds| seconds.max(0.0) as u64);
    // A time that is none is as good as none: nothing is accepted by it.
    let begin = claims.get("nbf").map(|begin| seconds(begin).unwrap_or(u64::MAX));
    if let Some(begin) = begin.filter(|begin| *begin > now + SKEW) {
        return Err(Fault::Early(begin, now));
    }
    match claims.get("exp") {
        None if server.require_exp => Err(Fault::NoExpiry),
        None => Ok(None),
        Some(end) => match seconds(end).ok_or(Fault::WrongExpiry)? {
            end if end <= now => Err(Fault::Expired(end, now)),
            end => Ok(Some(end)),
        },
    }
}

/// Scopes that were found.
struct Found<'a> {
    server: &'a str,
    scopes: Vec<String>,
}

impl Found<'_> {
    fn words(&mut self, text: &str) {
        let words = text.split(' ').filter(|word| !word.is_empty());
        self.scopes.extend(words.map(str::to_owned));
    }

    /// Texts of a list; in a list of maps each of them may have several words.
    fn list(&mut self, list: &[Value], words: bool) {
        for text in list.iter().filter_map(Value::as_str) {
            match words {
                true => self.words(text),
                false => self.scopes.push(text.to_owned()),
            }
        }
    }

    /// The value of a claim.
    fn value(&mut self, value: &Value, words: bool) {
        match value {
            Value::String(text) => self.words(text),
            Value::Array(list) => self.list(list, words),
            Value::Object(map) => {
                let mut own = Found {
                    server: self.server,
                    scopes: Vec::new(),
                };
                match map.get(self.server) {
                    Some(Value::String(text)) => own.words(text),
                    Some(Value::Array(list)) => own.list(list, false),
                    _ => {}
                }
                let server = self.server;
                let own = own.scopes.into_iter().map(|scope| format!("{server}.{scope}"));
                self.scopes.extend(own);
            }
            _ => {}
        }
    }

    /// The value at the end of a path. A list of maps on the way stands for each of them.
    fn in_map(&mut self, map: &Claims, path: &[&str]) {
        let Some((name, rest)) = path.split_first() else { return };
        match map.get(*name) {
            None => {}
            Some(value) if rest.is_empty() => self.value(value, false),
            Some(Value::Object(map)) => self.in_map(map, rest),
            Some(Value::Array(list)) => self.in_list(list, rest),
            Some(_) => {}
        }
    }

    fn in_list(&mut self, list: &[Value], path: &[&str]) {
        let Some((name, rest)) = path.split_first() else { return };
        for value in list.iter().filter_map(|map| map.get(*name)) {
            match value {
                Value::Object(map) if !rest.is_empty() => self.in_map(map, rest),
                Value::Array(list) if !rest.is_empty() => self.in_list(list, rest),
                value if rest.is_empty() => self.value(value, true),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::oauth::terms::Authz;
    use serde_json::json;

    fn server() -> ResourceServer {
        let aliases = [
            (
                "admin".to_owned(),
                vec!["rabbitmq.tag:administrator".to_owned(), "rabbitmq.read:*/*".to_owned()],
            ),
            ("other".to_owned(), vec!["elsewhere.read:*/*".to_owned()]),
        ];
        ResourceServer {
            id: "rabbitmq".into(),
            scope_prefix: "rabbitmq.".into(),
            additional_scopes: vec!["roles".into(), "a.b".into()],
            scope_aliases: aliases.into(),
            verify_aud: true,
            require_exp: true,
            user_claims: vec!["user".into(), "sub".into()],
            authz: Authz::Scopes,
            issuer: 0,
        }
    }

    fn found(claims: Value) -> String {
        let scopes = scopes(&server(), claims.as_object().expect("a map"));
        scopes.expect("not too many").join(" ")
    }

    #[test]
    fn scopes_are_found_where_rabbitmq_looks_for_them() {
        assert_eq!(found(json!({"scope": "rabbitmq.b  x.a rabbitmq.a rabbitmq.a"})), "a b");
        assert_eq!(found(json!({"scope": ["rabbitmq.b", 5, "rabbitmq.a c"]})), "a c b");
        assert_eq!(found(json!({"scope": 5})), "");
        assert_eq!(found(json!({"roles": "rabbitmq.a", "scope": ["rabbitmq.b"]})), "a b");
        assert_eq!(found(json!({"roles": {"rabbitmq": ["a", "b"], "other": ["c"]}})), "a b");
        assert_eq!(found(json!({"roles": {"rabbitmq": "a b"}})), "a b");
        assert_eq!(found(json!({"a": {"b": ["rabbitmq.x"]}})), "x");
        assert_eq!(
            found(json!({"a": [{"b": "rabbitmq.x rabbitmq.y"}, 5, {"b": ["rabbitmq.z"]}]})),
            "x y z"
        );
        assert_eq!(found(json!({"a": [[{"b": "rabbitmq.x"}]]})), "");
        let uma =
            json!({"authorization": {"permissions": [{"scopes": ["rabbitmq.read:*/*"], "rsid": "1"}, {"rsid": "2"}]}});
        assert_eq!(found(uma), "read:*/*");
        assert_eq!(found(json!({"scope": "admin other"})), "read:*/* tag:administrator");
        assert_eq!(
            tags(&["tag:administrator".into(), "read:*/*".into(), "tag:".into()]),
            Tags::administrator()
        );
        let many: Vec<String> = (0..=MOST_SCOPES).map(|number| format!("rabbitmq.{number}")).collect();
        let claims = json!({"scope": many});
        assert_eq!(
            scopes(&server(), claims.as_object().expect("a map")),
            Err(Fault::ManyScopes)
        );
    }

    #[test]
    fn the_user_is_in_the_first_claim_that_there_is() {
        let user = |claims: Value| user(&server(), claims.as_object().expect("a map"));
        assert_eq!(user(json!({"sub": "s", "user": "u"})), Ok("u".into()));
        assert_eq!(user(json!({"sub": "s", "user": 5})), Ok("s".into()));
        assert_eq!(user(json!({})), Ok("unknown".into()));
        for wrong in [String::new(), "x".repeat(256)] {
            assert_eq!(user(json!({"sub": wrong})), Err(Fault::NoUser));
        }
    }

    #[test]
    fn a_token_is_valid_from_the_one_time_to_the_other() {
        let expiry = |claims: Value| expiry(&server(), claims.as_object().expect("a map"), 1000);
        assert_eq!(expiry(json!({"exp": 1001})), Ok(Some(1001)));
        assert_eq!(expiry(json!({"exp": 1001.9})), Ok(Some(1001)));
        assert_eq!(expiry(json!({"exp": 1000})), Err(Fault::Expired(1000, 1000)));
        assert_eq!(expiry(json!({"exp": -5})), Err(Fault::Expired(0, 1000)));
        assert_eq!(expiry(json!({"exp": "1001"})), Err(Fault::WrongExpiry));
        assert_eq!(expiry(json!({})), Err(Fault::NoExpiry));
        assert_eq!(expiry(json!({"exp": 2000, "nbf": 1060})), Ok(Some(2000)));
        assert_eq!(expiry(json!({"exp": 2000, "nbf": 1061})), Err(Fault::Early(1061, 1000)));
        assert_eq!(
            expiry(json!({"exp": 2000, "nbf": "x"})),
            Err(Fault::Early(u64::MAX, 1000))
        );
        let lasting = ResourceServer {
            require_exp: false,
            ..server()
        };
        assert_eq!(super::expiry(&lasting, &Claims::new(), 1000), Ok(None));
    }
}
