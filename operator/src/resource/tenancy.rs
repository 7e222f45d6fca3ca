//! The part of `Broker` that says which namespaces may use it, and what each may ask for.
//!
//! In: the manifest. Out: `AllowedNamespaces` with its rules. Does not know about the objects that ask: they are held
//! against a rule by the pipeline.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::common::Rule;
use super::list::Kind;
use super::pattern::NamePattern;
use super::schema::{object, rules};
use super::selector::LabelSelector;

/// The namespaces from which objects may refer to a Broker, and what each may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[SELECTOR, OTHERS])))]
pub struct AllowedNamespaces {
    /// Same (the Broker's own), All, or Selector.
    #[serde(default)]
    pub from: NamespacesFrom,
    /// With from Selector: labels of the namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Rights of other namespaces than the Broker's own. With rules, a namespace needs one that is for it, and an
    /// object one that lets it in; without any, all that come in may have Queues, Exchanges and Bindings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub rules: Vec<TenantRule>,
}

const SELECTOR: Rule = (
    "(self.from == 'Selector') == has(self.selector)",
    "allowedNamespaces: from Selector and selector go together",
);
const OTHERS: Rule = (
    "!has(self.rules) || size(self.rules) == 0 || self.from != 'Same'",
    "allowedNamespaces.rules are for other namespaces than the Broker's own: they need from All or Selector",
);

/// Which namespaces are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NamespacesFrom {
    #[default]
    Same,
    All,
    Selector,
}

/// Rights of some namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[WHOSE, USER_NAMES])))]
pub struct TenantRule {
    /// Names of the namespaces; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub namespaces: Vec<NamePattern>,
    /// Instead of namespaces: their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Virtual hosts that objects may stand in, or give rights in; and, with kind Vhost, that may be made. `*` stands
    /// for any characters.
    #[schemars(length(min = 1, max = 64))]
    pub vhosts: Vec<NamePattern>,
    /// Kinds that may be used.
    #[serde(default = "usual_kinds")]
    #[schemars(schema_with = "kinds_schema")]
    pub kinds: Vec<Kind>,
    /// Names on the broker that objects may have, and lead to: both ends of a Binding, exchanges that arguments name,
    /// what the pattern of a Policy matches. Default: any. `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub names: Vec<NamePattern>,
    /// By kind, in place of names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "names_schema")]
    pub names_of: BTreeMap<Kind, Vec<NamePattern>>,
    /// With names: further exchanges that Bindings may lead from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub sources: Vec<NamePattern>,
    /// Tags that users may have. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub user_tags: Vec<String>,
    /// By kind, the most objects that each of the namespaces may have by this rule. Default: without limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "most_schema")]
    pub max_objects: BTreeMap<Kind, u32>,
}

const WHOSE: Rule = (
    "has(self.namespaces) != has(self.selector)",
    "a rule is for namespaces, or for those that a selector selects: give one of the two",
);
const USER_NAMES: Rule = (
    "!has(self.kinds) || !self.kinds.exists(kind, kind == 'User') || has(self.names) || (has(self.namesOf) && has(self.namesOf.User))",
    "users are the same in all virtual hosts: a rule for kind User says what they may be called, by names or namesOf.User",
);

/// Kinds that stand in a virtual host and reach no further than their own name says.
const USUAL: [Kind; 3] = [Kind::Exchange, Kind::Queue, Kind::Binding];

/// The kinds that a namespace may use where nothing else is said.
pub fn usual_kinds() -> Vec<Kind> {
    USUAL.to_vec()
}

impl AllowedNamespaces {
    /// True if an object in `namespace`, which has `labels` (`None`: no such namespace), may refer to a Broker in
    /// `broker_namespace`.
    pub fn allows(&self, broker_namespace: &str, namespace: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        if namespace == broker_namespace {
            return true;
        }
        match (self.from, &self.selector, labels) {
            (NamespacesFrom::Same, ..) => false,
            (NamespacesFrom::All, ..) => true,
            (NamespacesFrom::Selector, Some(selector), Some(labels)) => selector.matches(labels),
            (NamespacesFrom::Selector, ..) => false,
        }
    }

    /// Lets everybody do everything.
    fn everybody() -> Self {
        Self::by_rules(vec![TenantRule {
            namespaces: vec![NamePattern::any()],
            vhosts: vec![NamePattern::any()],
            kinds: Kind::OWN.to_vec(),
            user_tags: vec![ANY_TAG.to_owned()],
            ..TenantRule::default()
        }])
    }

    /// Lets everybody do what rules say.
    fn by_rules(rules: Vec<TenantRule>) -> Self {
        Self {
            from: NamespacesFrom::All,
            selector: None,
            rules,
        }
    }

    /// As it is where every object leads to one broker, and namespaces have no labels: by its rules alone, and without
    /// any, or with some that ask for labels, everybody may do everything.
    pub fn opened(&self) -> Self {
        let by_labels = self.rules.iter().any(|rule| rule.selector.is_some());
        if self.rules.is_empty() || by_labels {
            return Self::everybody();
        }
        Self::by_rules(self.rules.clone())
    }

    /// True if the labels of namespaces decide.
    pub fn asks_for_labels(&self) -> bool {
        self.from == NamespacesFrom::Selector || self.rules.iter().any(|rule| rule.selector.is_some())
    }
}

/// Stands for every tag.
const ANY_TAG: &str = "*";

impl TenantRule {
    /// True if the rule is for a namespace, which has `labels`.
    pub fn is_for(&self, namespace: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        let selected = |selector: &LabelSelector| labels.is_some_and(|labels| selector.matches(labels));
        self.namespaces.iter().any(|pattern| pattern.matches(namespace)) || self.selector.as_ref().is_some_and(selected)
    }

    /// The names that objects of a kind may have; empty: any.
    pub fn names_for(&self, kind: Kind) -> &[NamePattern] {
        self.names_of.get(&kind).unwrap_or(&self.names)
    }

    /// True if users may have a tag.
    pub fn gives(&self, tag: &str) -> bool {
        self.user_tags.iter().any(|given| given == tag || given == ANY_TAG)
    }
}

/// Kinds of objects on a broker.
fn on_brokers() -> impl Iterator<Item = Kind> {
    Kind::OWN.into_iter().filter(|kind| *kind != Kind::Broker)
}

fn kinds_schema(_: &mut SchemaGenerator) -> Schema {
    let kinds: Vec<Kind> = on_brokers().collect();
    object(json!({
        "type": "array",
        "items": { "type": "string", "enum": kinds },
        "minItems": 1,
        "maxItems": 16,
        "default": USUAL,
    }))
}

/// A table by kind.
fn by_kind(kinds: impl Iterator<Item = Kind>, value: &Value) -> Schema {
    let properties: Map<String, Value> = kinds.map(|kind| (kind.as_str().to_owned(), value.clone())).collect();
    object(json!({ "type": "object", "properties": properties }))
}

/// A Vhost is called as `vhosts` says, and a Binding by its ends.
fn names_schema(_: &mut SchemaGenerator) -> Schema {
    let pattern = json!({ "type": "string", "minLength": 1, "maxLength": 255 });
    let named = on_brokers().filter(|kind| !matches!(kind, Kind::Vhost | Kind::Binding));
    by_kind(
        named,
        &json!({ "type": "array", "items": pattern, "minItems": 1, "maxItems": 64 }),
    )
}

fn most_schema(_: &mut SchemaGenerator) -> Schema {
    by_kind(
        on_brokers(),
        &json!({ "type": "integer", "format": "int32", "minimum": 0 }),
    )
}

#[cfg(test)]
mod tests {
    use super::super::selector::{LabelOperator, LabelRequirement};
    use super::*;

    #[test]
    fn allowed_namespaces() {
        let labels: BTreeMap<String, String> = [("team".to_owned(), "shop".to_owned())].into();
        let same = AllowedNamespaces::default();
        assert!(same.allows("a", "a", None));
        assert!(!same.allows("a", "b", Some(&labels)));
        let all = AllowedNamespaces {
            from: NamespacesFrom::All,
            ..AllowedNamespaces::default()
        };
        assert!(all.allows("a", "b", None));
        let expression = |operator, values: &[&str]| AllowedNamespaces {
            from: NamespacesFrom::Selector,
            selector: Some(LabelSelector {
                match_labels: BTreeMap::new(),
                match_expressions: vec![LabelRequirement {
                    key: "team".to_owned(),
                    operator,
                    values: values.iter().map(|value| (*value).to_owned()).collect(),
                }],
            }),
            rules: Vec::new(),
        };
        for (operator, values, labelled, unlabelled) in [
            (LabelOperator::In, &["shop", "x"][..], true, false),
            (LabelOperator::NotIn, &["shop"][..], false, true),
            (LabelOperator::Exists, &[][..], true, false),
            (LabelOperator::DoesNotExist, &[][..], false, true),
        ] {
            let allowed = expression(operator, values);
            assert_eq!(allowed.allows("a", "b", Some(&labels)), labelled, "{operator:?}");
            assert_eq!(
                allowed.allows("a", "b", Some(&BTreeMap::new())),
                unlabelled,
                "{operator:?}"
            );
            assert!(
                !allowed.allows("a", "b", None),
                "a namespace that does not exist matches nothing"
            );
        }
    }

    #[test]
    fn a_rule_is_for_namespaces_by_name_or_by_label() {
        let rule = |value: Value| serde_json::from_value::<TenantRule>(value).expect("a rule");
        let labels: BTreeMap<String, String> = [("team".to_owned(), "shop".to_owned())].into();
        let named = rule(json!({"namespaces": ["shop", "shop-*"], "vhosts": ["shop"]}));
        for (namespace, expected) in [("shop", true), ("shop-eu", true), ("workshop", false)] {
            assert_eq!(named.is_for(namespace, None), expected, "{namespace}");
        }
        assert_eq!(named.kinds, USUAL);
        let labelled = rule(json!({"selector": {"matchLabels": {"team": "shop"}}, "vhosts": ["shop"]}));
        assert!(labelled.is_for("x", Some(&labels)) && !labelled.is_for("x", None));
    }
}
