//! A token that a user has logged in with, as long as it works: what it grants, and to when.
//!
//! Comes in: a right, and the object or routing key that it is needed for; a newer token of the same user. Goes out:
//! the answer as it is now. A newer token counts from the next question on. Does not know how tokens are verified.

use super::oauth::{Fault, Verified};
use super::permissions::{Kind, Resource, Right};
use super::scope::Scopes;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Answers that are remembered, at most.
const MOST: usize = 256;

/// A token at work.
pub struct Granted {
    now: RwLock<Arc<Verified>>,
    version: AtomicU64,
    answers: Mutex<Answers>,
}

/// Answers to questions about one vhost, by the version that they are of.
#[derive(Default)]
struct Answers {
    version: u64,
    vhost: String,
    known: HashMap<(Right, Kind, Box<[u8]>), bool>,
}

impl Debug for Granted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "token of {}", self.now.read().user)
    }
}

impl Granted {
    /// A token that has just been verified.
    pub fn new(token: Arc<Verified>) -> Self {
        Self {
            now: RwLock::new(token),
            version: AtomicU64::new(0),
            answers: Mutex::default(),
        }
    }

    /// Grows with every newer token.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The time until it doesn't work any more; `None` if it works for ever.
    pub fn left(&self) -> Option<Duration> {
        let end = UNIX_EPOCH + Duration::from_secs(self.now.read().expires?);
        Some(end.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// Puts a newer token in place of this one.
    ///
    /// # Errors
    /// It is of another user, or for another purpose.
    pub fn renew(&self, newer: Arc<Verified>) -> Result<(), Fault> {
        let mut now = self.now.write();
        if now.user != newer.user || now.server != newer.server {
            return Err(Fault::OtherUser);
        }
        *now = newer;
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// True if a vhost may be entered.
    pub fn may_enter(&self, vhost: &str) -> bool {
        self.scopes().may_enter(vhost)
    }

    /// True if a right extends to an object.
    pub fn allow(&self, right: Right, resource: &Resource<'_>) -> bool {
        let version = self.version();
        let mut answers = self.answers.lock();
        if answers.version != version || answers.vhost != resource.vhost || answers.known.len() >= MOST {
            *answers = Answers {
                version,
                vhost: resource.vhost.to_owned(),
                known: HashMap::new(),
            };
        }
        let question = (right, resource.kind, resource.pattern_name().into());
        *answers
            .known
            .entry(question)
            .or_insert_with(|| self.scopes().allow(right, resource))
    }

    /// True if a right extends to a routing key of a topic exchange.
    pub fn allow_topic(&self, right: Right, vhost: &str, exchange: &[u8], key: &[u8]) -> bool {
        self.scopes().allow_topic(right, vhost, exchange, key)
    }

    fn scopes(&self) -> Arc<Scopes> {
        self.now.read().scopes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::oauth::Authz;
    use crate::access::user::Tags;
    use serde_json::Map;

    fn token(user: &str, scope: &str, expires: Option<u64>) -> Arc<Verified> {
        Arc::new(Verified {
            user: user.into(),
            server: "rabbitmq".into(),
            authz: Authz::Scopes,
            tags: Tags::default(),
            scopes: Arc::new(Scopes::new(&[scope.into()], &Map::new())),
            expires,
        })
    }

    #[test]
    fn a_newer_token_counts_from_the_next_question_on() {
        let granted = Granted::new(token("u", "read:v/a*", None));
        let may = |name: &str| {
            let (vhost, kind, name) = ("v", Kind::Queue, name.as_bytes());
            granted.allow(Right::Read, &Resource { vhost, kind, name })
        };
        assert!(may("a1") && may("a1") && !may("b") && granted.left().is_none());
        let version = granted.version();
        assert!(granted.renew(token("w", "read:v/b*", None)).is_err());
        assert!(granted.renew(token("u", "read:v/b*", Some(5))).is_ok());
        assert!(!may("a1") && may("b") && granted.version() > version);
        assert_eq!(granted.left(), Some(Duration::ZERO));
        (0..3 * MOST).for_each(|number| assert!(!may(&number.to_string())));
    }
}
