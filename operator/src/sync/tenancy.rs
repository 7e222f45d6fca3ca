//! (pure) What a Broker lets the objects of one namespace ask for.
//!
//! In: the Broker, a namespace, and what an object reaches for. Out: a refusal that says which rule, which value and
//! what is allowed. Does not know about the kinds, which say themselves what they reach for, nor about owners.

use std::collections::BTreeMap;

use crate::object::{Kind, Object, ObjectKey, Snapshot};
use crate::resource::pattern::hold;
use crate::resource::{AllowedNamespaces, BrokerSpec, NamePattern, TenantRule, usual_kinds};
use crate::topology::{Target, Touch};

/// Most patterns that a message repeats.
const MOST_SHOWN: usize = 8;

/// A namespace that wants something of a Broker.
pub(super) struct Tenant<'a> {
    broker: &'a ObjectKey,
    namespace: &'a str,
    right: Right<'a>,
    /// The labels of the namespace decide, and are not known (yet).
    pub(super) is_doubtful: bool,
}

/// The rights of a namespace.
enum Right<'a> {
    Everything,
    /// The kinds that reach no further than their own names say.
    Usual,
    /// All that any of these rules lets in; with their places in the list.
    ByRules(Vec<(usize, &'a TenantRule)>),
    Nothing(String),
}

/// A rule by which an object comes in, where it has a limit for objects of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) rule: usize,
    pub(super) most: u32,
}

impl<'a> Tenant<'a> {
    /// A Broker that does not exist refuses nothing.
    pub(super) fn new(
        key: &'a ObjectKey,
        broker: Option<&'a Object<BrokerSpec>>,
        namespace: &'a str,
        snapshot: &Snapshot,
    ) -> Self {
        let labels = snapshot.namespaces.get(namespace);
        let allowed = broker.map(|broker| &broker.spec.allowed_namespaces);
        let right = match allowed {
            None => Right::Everything,
            Some(_) if namespace == key.namespace => Right::Everything,
            Some(allowed) => right(allowed, key, namespace, labels),
        };
        Self {
            broker: key,
            namespace,
            is_doubtful: labels.is_none() && allowed.is_some_and(AllowedNamespaces::asks_for_labels),
            right,
        }
    }

    /// It may ask for everything.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.right, Right::Everything)
    }

    /// Lets in an object that reaches for `touches`; the rules by which it comes in, unless there is one without limit.
    ///
    /// # Errors
    /// The reason why it may not.
    pub(super) fn admits(&self, kind: Kind, touches: impl FnOnce() -> Vec<Touch>) -> Result<Vec<Room>, String> {
        let rules = match &self.right {
            Right::Everything => return Ok(Vec::new()),
            Right::Usual if usual_kinds().contains(&kind) => return Ok(Vec::new()),
            Right::Usual => {
                return Err(format!(
                    "{} allows no {kind} from namespace {} without a rule that says so (its allowedNamespaces.rules)",
                    self.broker, self.namespace
                ));
            }
            Right::Nothing(message) => return Err(message.clone()),
            Right::ByRules(rules) => rules,
        };
        let touches = touches();
        let mut rooms = Vec::new();
        let mut refusals = Vec::new();
        for (place, rule) in rules {
            match (refusal(rule, kind, &touches), rule.max_objects.get(&kind)) {
                (None, None) => return Ok(Vec::new()),
                (None, Some(most)) => rooms.push(Room {
                    rule: *place,
                    most: *most,
                }),
                (Some(refusal), _) => refusals.push(format!("{refusal} (its allowedNamespaces.rules[{place}])")),
            }
        }
        if rooms.is_empty() {
            let (broker, namespace) = (self.broker, self.namespace);
            return Err(format!(
                "{broker} does not allow this from namespace {namespace}: {}",
                refusals.join("; ")
            ));
        }
        Ok(rooms)
    }

    /// The words for an object too many.
    pub(super) fn too_many(broker: &ObjectKey, key: &ObjectKey, rooms: &[Room]) -> String {
        let limits: Vec<String> = rooms
            .iter()
            .map(|room| format!("{} (its allowedNamespaces.rules[{}].maxObjects)", room.most, room.rule))
            .collect();
        format!(
            "{broker} does not allow this from namespace {}: objects of kind {} are limited to {}, and as many are older",
            key.namespace,
            key.kind,
            limits.join(" and ")
        )
    }
}

fn right<'a>(
    allowed: &'a AllowedNamespaces,
    key: &ObjectKey,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Right<'a> {
    if !allowed.allows(&key.namespace, namespace, labels) {
        return Right::Nothing(format!(
            "{key} does not allow objects from namespace {namespace} (its allowedNamespaces)"
        ));
    }
    if allowed.rules.is_empty() {
        return Right::Usual;
    }
    let rules = allowed.rules.iter().enumerate();
    let rules: Vec<_> = rules.filter(|(_, rule)| rule.is_for(namespace, labels)).collect();
    if rules.is_empty() {
        return Right::Nothing(format!(
            "{key} does not allow objects from namespace {namespace}: none of its allowedNamespaces.rules is for it"
        ));
    }
    Right::ByRules(rules)
}

/// The first thing that a rule does not let an object reach for.
fn refusal(rule: &TenantRule, kind: Kind, touches: &[Touch]) -> Option<String> {
    let kind = kind.governed_by();
    if !rule.kinds.contains(&kind) {
        let kinds: Vec<&str> = rule.kinds.iter().map(|kind| kind.as_str()).collect();
        return Some(format!("kind {kind} is not one of {}", kinds.join(", ")));
    }
    touches.iter().find_map(|touch| match touch {
        Touch::Vhost(vhost) => {
            let within = rule.vhosts.iter().any(|pattern| pattern.matches(vhost));
            (!within).then(|| format!("vhost '{vhost}' is not one of {}", shown(&rule.vhosts)))
        }
        Touch::Name(target) => nameless(target, rule.names_for(target.kind), &[]),
        Touch::Source(target) => nameless(target, rule.names_for(target.kind), &rule.sources),
        Touch::Matching { regex, kinds } => kinds
            .iter()
            .find_map(|kind| beyond(rule.names_for(*kind), *kind, regex)),
        Touch::Tag(tag) => (!rule.gives(tag)).then(|| match rule.user_tags.as_slice() {
            [] => format!("tag '{tag}' is given, and there are no userTags"),
            tags => format!("tag '{tag}' is not one of {}", tags.join(", ")),
        }),
    })
}

/// An object whose name is none of those that a rule has; without any, every name is.
fn nameless(target: &Target, names: &[NamePattern], more: &[NamePattern]) -> Option<String> {
    let mut all = names.iter().chain(more);
    let within = names.is_empty() || all.any(|pattern| pattern.matches(&target.name.name));
    (!within).then(|| {
        let (word, name) = (target.kind.word(), &target.name.name);
        format!("{word} '{name}' is not one of {}", shown(&[names, more].concat()))
    })
}

/// A regular expression that may match names beyond those that a rule has.
fn beyond(names: &[NamePattern], kind: Kind, regex: &str) -> Option<String> {
    let within = names.is_empty() || hold(names, regex);
    (!within).then(|| {
        format!(
            "the pattern '{regex}' may match other {} than {}: begin it with ^ and one of these, and use no | but as in \
             ^(a|b)$",
            kind.plural(),
            shown(names)
        )
    })
}

/// Patterns in a message.
fn shown(patterns: &[NamePattern]) -> String {
    let texts: Vec<String> = patterns.iter().take(MOST_SHOWN).map(ToString::to_string).collect();
    match patterns.len().checked_sub(MOST_SHOWN) {
        None | Some(0) => texts.join(", "),
        Some(more) => format!("{} and {more} more", texts.join(", ")),
    }
}
