//! Rights of a user at work, looked up: what its connection asks for again and again.
//!
//! Comes in: a right, and the object or routing key that it is needed for. Goes out: the answer as it is now: a change
//! of the user's rights holds from the next question on. Questions that a pattern had to answer are remembered until
//! then.

use super::permissions::{Kind, Names, Permissions, Resource, Right};
use super::rights::{Permission, Rights, TopicPermission, Topics};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

/// Answers that are remembered, at most.
const MOST: usize = 256;

/// The rights of a user, in the vhost that it works in.
pub struct Live {
    user: String,
    rights: Arc<Rights>,
    known: Mutex<Option<Known>>,
}

/// The rights in a vhost, as they were looked up.
struct Known {
    vhost: String,
    version: u64,
    permission: Option<(Arc<Permission>, Arc<Permissions>)>,
    /// By exchange, of those that were asked for.
    topics: HashMap<String, Option<FoundTopic>>,
    answers: HashMap<Question, bool>,
}

/// A topic permission; its patterns live as long as somebody has them.
type FoundTopic = (Arc<TopicPermission>, Arc<Topics>);

/// A right to an object.
type Question = (Right, Kind, Box<[u8]>);

impl Debug for Live {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "rights of {}", self.user)
    }
}

impl Live {
    /// The rights of a user.
    pub fn new(user: &str, rights: Arc<Rights>) -> Self {
        let known = Mutex::default();
        Self {
            user: user.to_owned(),
            rights,
            known,
        }
    }

    /// Grows with every change of them.
    #[inline]
    pub fn version(&self) -> u64 {
        self.rights.version()
    }

    /// True if a vhost may be entered.
    pub fn may_enter(&self, vhost: &str) -> bool {
        self.rights.may_enter(vhost)
    }

    /// True if a right extends to an object.
    pub fn allow(&self, right: Right, resource: &Resource<'_>) -> bool {
        let mut kept = self.known.lock();
        let known = self.known(&mut kept, resource.vhost);
        let Some((_, permissions)) = &known.permission else {
            return false;
        };
        let names = permissions.names(right);
        if !matches!(names, Names::Matching(_)) {
            return names.contains(resource.pattern_name());
        }
        let question: Question = (right, resource.kind, resource.pattern_name().into());
        if let Some(answer) = known.answers.get(&question) {
            return *answer;
        }
        let answer = names.contains(resource.pattern_name());
        if known.answers.len() >= MOST {
            known.answers.clear();
        }
        known.answers.insert(question, answer);
        answer
    }

    /// True if a right extends to a routing key of a topic exchange: to all of them where nothing was said.
    pub fn allow_topic(&self, right: Right, vhost: &str, exchange: &str, key: &[u8]) -> bool {
        let mut kept = self.known.lock();
        let topics = &mut self.known(&mut kept, vhost).topics;
        if topics.len() >= MOST {
            topics.clear();
        }
        let allows = |found: &Option<FoundTopic>| {
            let topics = found.as_ref().map(|(_, topics)| topics);
            topics.is_none_or(|topics| topics.names(right).contains(key))
        };
        if let Some(found) = topics.get(exchange) {
            return allows(found);
        }
        let found = self.rights.topic(vhost, exchange).map(|topic| {
            let compiled = topic.compiled(&self.user, vhost);
            (topic, compiled)
        });
        let allowed = allows(&found);
        topics.insert(exchange.to_owned(), found);
        allowed
    }

    fn known<'a>(&self, kept: &'a mut Option<Known>, vhost: &str) -> &'a mut Known {
        let version = self.rights.version();
        if !kept
            .as_ref()
            .is_some_and(|known| known.version == version && known.vhost == vhost)
        {
            *kept = Some(self.look(vhost, version));
        }
        kept.get_or_insert_with(|| self.look(vhost, version))
    }

    fn look(&self, vhost: &str, version: u64) -> Known {
        Known {
            vhost: vhost.to_owned(),
            version,
            permission: self.rights.permission(vhost).map(|permission| {
                let compiled = permission.compiled();
                (permission, compiled)
            }),
            topics: HashMap::new(),
            answers: HashMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(configure: &str) -> Option<Arc<Permission>> {
        Some(Arc::new(Permission::new([
            configure.into(),
            ".*".into(),
            String::new(),
        ])))
    }

    #[test]
    fn a_change_holds_from_the_next_question_on() {
        let rights = Arc::new(Rights::default());
        let live = Live::new("u", rights.clone());
        let may = |right, vhost, name: &str| {
            let (kind, name) = (Kind::Queue, name.as_bytes());
            live.allow(right, &Resource { vhost, kind, name })
        };
        assert!(!may(Right::Write, "/", "q") && !live.may_enter("/"));
        rights.change("/", |rights| rights.permission = permission("^a"));
        assert!(may(Right::Configure, "/", "a1") && may(Right::Configure, "/", "a1"));
        assert!(!may(Right::Configure, "/", "b") && may(Right::Write, "/", "b") && !may(Right::Read, "/", "b"));
        assert!(!may(Right::Write, "other", "b") && may(Right::Write, "/", "b"));
        rights.change("/", |rights| rights.permission = permission("^b"));
        assert!(!may(Right::Configure, "/", "a1") && may(Right::Configure, "/", "b"));
        for name in 0..3 * MOST {
            assert!(!may(Right::Configure, "/", &name.to_string()));
        }
        rights.clear();
        assert!(!may(Right::Write, "/", "b"));
    }

    #[test]
    fn keys_are_free_where_nothing_was_said() {
        let rights = Arc::new(Rights::default());
        let live = Live::new("u", rights.clone());
        let may = |right, key: &str| live.allow_topic(right, "/", "x", key.as_bytes());
        assert!(may(Right::Write, "a"));
        let topic = TopicPermission::new(["^{username}\\.".into(), ".*".into()]);
        rights.change("/", |rights| _ = rights.topics.insert("x".into(), Arc::new(topic)));
        assert!(!may(Right::Write, "a") && may(Right::Write, "u.a") && may(Right::Read, "a"));
        assert!(live.allow_topic(Right::Write, "/", "y", b"a"));
        rights.change("/", |rights| rights.topics.clear());
        assert!(may(Right::Write, "a"));
    }
}
