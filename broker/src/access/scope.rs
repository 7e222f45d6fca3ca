//! Scopes of a token, and the objects that they extend to, as RabbitMQ's OAuth 2 plugin has them.
//!
//! Comes in: `read:VHOST/NAME` or `write:VHOST/NAME/KEY`, where `*` stands for anything and `%XX` for a character; the
//! claims that `{NAME}` stands for. Goes out: yes or no. Pure. Does not know where scopes come from.

use super::permissions::{Resource, Right};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The place of a vhost's name in a scope.
const VHOST: &str = "{vhost}";

/// All scopes of a token.
#[derive(Debug, Default)]
pub struct Scopes {
    fixed: Vec<Scope>,
    /// Those in which the name of the vhost stands.
    by_vhost: Vec<String>,
}

impl Scopes {
    /// Reads scopes; those that are none give no right. Of `claims` are the values that names in braces stand for.
    pub fn new(scopes: &[String], claims: &Map<String, Value>) -> Self {
        let mut all = Self::default();
        for scope in scopes.iter().filter_map(|scope| expanded(scope, claims)) {
            match scope.contains(VHOST) {
                true => all.by_vhost.push(scope),
                false => all.fixed.extend(Scope::parse(&scope)),
            }
        }
        all
    }

    /// True if a vhost may be entered: if there is any right in it.
    pub fn may_enter(&self, vhost: &str) -> bool {
        self.in_vhost(vhost).next().is_some()
    }

    /// True if a right extends to an object.
    pub fn allow(&self, right: Right, resource: &Resource<'_>) -> bool {
        self.in_vhost(resource.vhost)
            .any(|scope| scope.right == right && scope.name.matches(resource.pattern_name()))
    }

    /// True if a right extends to a routing key of a topic exchange: only by a scope that says so.
    pub fn allow_topic(&self, right: Right, vhost: &str, exchange: &[u8], key: &[u8]) -> bool {
        self.in_vhost(vhost).any(|scope| {
            let keys = scope.keys.as_ref();
            scope.right == right && scope.name.matches(exchange) && keys.is_some_and(|keys| keys.matches(key))
        })
    }

    fn in_vhost(&self, vhost: &str) -> impl Iterator<Item = Cow<'_, Scope>> {
        let named = self.by_vhost.iter().filter_map(move |scope| {
            let scope = scope.replace(VHOST, &literal(vhost));
            Scope::parse(&scope).map(Cow::Owned)
        });
        let all = self.fixed.iter().map(Cow::Borrowed).chain(named);
        all.filter(move |scope| scope.vhost.matches(vhost.as_bytes()))
    }
}

/// A scope with the values of claims where their names stand in braces; the vhost's stays. `None` for braces that
/// RabbitMQ can't read either. A value stands for itself there, whatever is in it.
fn expanded(scope: &str, claims: &Map<String, Value>) -> Option<String> {
    let (mut out, mut rest) = (String::new(), scope);
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let end = after.find(['{', '.', '*', '}']).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        match name {
            "vhost" => out.push_str(VHOST),
            name => out.push_str(&literal(claims.get(name).and_then(Value::as_str).unwrap_or(name))),
        }
        rest = match after.strip_prefix('}') {
            Some(after) => after,
            None if after.is_empty() => after,
            None => return None,
        };
    }
    out.push_str(rest);
    Some(out)
}

/// A text as a pattern that finds it alone.
fn literal(text: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_~".contains(&octet);
    text.bytes().fold(String::new(), |mut out, octet| {
        match plain(octet) {
            true => out.push(char::from(octet)),
            false => out.push_str(&format!("%{octet:02X}")),
        }
        out
    })
}

/// One scope.
#[derive(Clone, Debug)]
struct Scope {
    right: Right,
    vhost: Wildcard,
    name: Wildcard,
    /// Of a topic exchange.
    keys: Option<Wildcard>,
}

impl Scope {
    fn parse(text: &str) -> Option<Self> {
        let (right, patterns) = text.split_once(':')?;
        let right = Right::ALL.into_iter().find(|known| known.name() == right)?;
        let mut patterns = patterns.split('/').map(Wildcard::parse);
        let (vhost, name, keys) = (patterns.next()??, patterns.next()??, patterns.next());
        if patterns.next().is_some() {
            return None;
        }
        // A pattern of keys that can't be read finds none; the rest of the scope is as good as without it.
        let keys = keys.flatten();
        Some(Self {
            right,
            vhost,
            name,
            keys,
        })
    }
}

/// A pattern: texts in a fixed order, with anything between them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wildcard {
    first: Vec<u8>,
    rest: Vec<Vec<u8>>,
}

impl Wildcard {
    /// Reads a pattern; `None` for a `%` without two digits.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('*').map(decoded);
        let first = parts.next()??;
        let rest = parts.collect::<Option<_>>()?;
        Some(Self { first, rest })
    }

    /// RabbitMQ's search: each text at the first place behind the one before, and never at a later one.
    fn matches(&self, subject: &[u8]) -> bool {
        let Some(mut left) = subject.strip_prefix(self.first.as_slice()) else {
            return false;
        };
        for (at, part) in self.rest.iter().enumerate() {
            if part.is_empty() {
                if at + 1 == self.rest.len() {
                    return true;
                }
                if left.is_empty() {
                    return false;
                }
                continue;
            }
            let Some(found) = memchr::memmem::find(left, part) else {
                return false;
            };
            left = left.get(found + part.len()..).unwrap_or_default();
        }
        left.is_empty()
    }
}

/// A text of a URL's query: `+` is a space.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        out.push(match octet {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(octets.next()?).to_digit(16);
                let value = digit()? << 4 | digit()?;
                u8::try_from(value).ok()?
            }
            octet => octet,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::permissions::Kind;
    use serde_json::json;

    fn matches(pattern: &str, subject: &str) -> bool {
        Wildcard::parse(pattern).is_some_and(|pattern| pattern.matches(subject.as_bytes()))
    }

    /// The cases of RabbitMQ's own suite (`wildcard_match_SUITE`), and what follows from its search.
    #[test]
    fn patterns_match_as_in_rabbitmq() {
        for (pattern, subject) in [
            ("value", "value"),
            ("", ""),
            ("*", ""),
            ("*", "foo"),
            ("val*", "value"),
            ("*ue", "value"),
            ("*alu*", "value"),
            ("v*e", "value"),
            ("v**e", "value"),
            ("v*", "v"),
            ("%2A", "*"),
            ("a%2fb", "a/b"),
            ("a+b", "a b"),
            ("pat*%2A", "pattern*"),
            ("%25*", "%x"),
        ] {
            assert!(matches(pattern, subject), "{pattern} {subject}");
        }
        for (pattern, subject) in [
            ("value", "values"),
            ("", "a"),
            ("val*", "va"),
            ("*lu", "value"),
            ("%2A", "a"),
            ("%", "%"),
            ("%2", "x"),
            ("%zz", "x"),
            ("a*b", "abcb"),
            ("v*v", "v"),
        ] {
            assert!(!matches(pattern, subject), "{pattern} {subject}");
        }
    }

    fn scopes(scopes: &[&str]) -> Scopes {
        let claims = json!({"sub": "a*b/c", "n": 5});
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Scopes::new(&scopes, claims.as_object().expect("a map"))
    }

    #[test]
    fn a_scope_extends_to_the_objects_that_it_names() {
        let of = scopes(&[
            "read:v*/q*",
            "write:%2F/x/key.*",
            "configure:bad",
            "tag:management",
            "read:a/b/c/d",
            "x",
        ]);
        let may = |right, vhost, name: &str| {
            let (kind, name) = (Kind::Queue, name.as_bytes());
            of.allow(right, &Resource { vhost, kind, name })
        };
        assert!(may(Right::Read, "v1", "q1") && !may(Right::Read, "v1", "x") && !may(Right::Read, "/", "q1"));
        assert!(!may(Right::Write, "v1", "q1") && !may(Right::Configure, "v1", "q1"));
        assert!(may(Right::Write, "/", "x"));
        assert!(of.may_enter("/") && of.may_enter("v2") && !of.may_enter("a"));
        let topic =
            |right, vhost, exchange: &str, key: &str| of.allow_topic(right, vhost, exchange.as_bytes(), key.as_bytes());
        assert!(topic(Right::Write, "/", "x", "key.1") && !topic(Right::Write, "/", "x", "other"));
        assert!(
            !topic(Right::Read, "v1", "q1", "key.1"),
            "without a pattern of keys, no key"
        );
    }

    #[test]
    fn names_in_braces_stand_for_the_vhost_and_for_claims() {
        let may = |scope: &str, vhost, name: &str| {
            let (kind, name) = (Kind::Queue, name.as_bytes());
            scopes(&[scope]).allow(Right::Read, &Resource { vhost, kind, name })
        };
        assert!(may("read:{vhost}/q-{vhost}-*", "v", "q-v-1") && !may("read:{vhost}/q-{vhost}-*", "v", "q-w-1"));
        assert!(may("read:{vhost}/*", "/", "q"));
        assert!(may("read:*/{sub}", "v", "a*b/c") && !may("read:*/{sub}", "v", "aXb/c"));
        assert!(may("read:*/{nothing}{n}", "v", "nothingn"));
        assert!(!may("read:*/{a.b}", "v", "a.b") && !may("read:*/{*}", "v", ""));
    }
}
