//! Virtual hosts: what they are declared with, and what there is to say of them.
//!
//! In: the spec of a Vhost, rows of `GET /api/vhosts` and `/api/vhost-limits`. Out: `VhostDefinition`, and requests to
//! the management API: AMQP has no method for it. Does not know about what stands in a virtual host.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::declaration::{Deletion, Labels, Policies, Request, Verb, compare, escaped};
use super::name::Name;
use super::named::{Definition, Named, Removal};
use crate::resource::{Kind, VhostDeletionPolicy, VhostLimits, VhostSpec};

/// A virtual host by its name.
pub type Declaration = Named<VhostDefinition>;

/// The properties that a virtual host is declared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VhostDefinition {
    pub description: String,
    pub tags: BTreeSet<String>,
    /// `None`: as the broker is set.
    pub default_queue_type: Option<String>,
    pub limits: VhostLimits,
}

/// A row of one of the two lists.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Row {
    Limits(LimitsRow),
    Vhost(VhostRow),
}

/// The limits of a virtual host; those without any have no row.
#[derive(Deserialize)]
pub struct LimitsRow {
    vhost: String,
    value: Value,
}

/// A virtual host as the management API lists it. Metadata is read as it comes: a virtual host of an old version may
/// have none, and that must not spoil the list.
#[derive(Deserialize)]
pub struct VhostRow {
    name: String,
    #[serde(default)]
    description: Value,
    #[serde(default)]
    tags: Value,
    #[serde(default)]
    default_queue_type: Value,
}

impl Definition for VhostDefinition {
    const KIND: Kind = Kind::Vhost;
    const LABELS: Labels = Labels {
        declare: "put_vhost",
        remove: "delete_vhost",
    };
    const MUTABLE: bool = true;
    const GUARDED: bool = true;
    const IN_VHOST: bool = false;
    const REMOVAL: Removal = Removal {
        if_free: " if nothing stands in it",
        always: " with everything in it",
    };

    type Spec = VhostSpec;
    type Row = Row;

    fn name(spec: &VhostSpec, metadata_name: &str) -> Name {
        Name::new("", spec.broker_name(metadata_name))
    }

    fn wanted(spec: &VhostSpec) -> Result<Self, String> {
        // Without `..`: no field may be forgotten.
        let VhostSpec {
            broker_ref: _,
            name,
            description,
            tags,
            default_queue_type,
            limits,
            deletion_policy: _,
            adoption_policy: _,
        } = spec;
        if name.as_deref() == Some(DEFAULT) {
            return Err("the virtual host / is the broker's own".to_owned());
        }
        Ok(Self {
            description: description.clone(),
            tags: tags.iter().cloned().collect(),
            default_queue_type: default_queue_type.map(|queue_type| queue_type.as_str().to_owned()),
            limits: *limits,
        })
    }

    fn policies(spec: &VhostSpec) -> Policies {
        Policies {
            deletion: match spec.deletion_policy {
                VhostDeletionPolicy::DeleteIfEmpty => Deletion::DeleteIfFree,
                VhostDeletionPolicy::Delete => Deletion::Delete,
                VhostDeletionPolicy::Retain => Deletion::Retain,
            },
            adoption: spec.adoption_policy,
        }
    }

    fn lists() -> Vec<String> {
        // The rows of the first make the virtual hosts that the others are parts of.
        vec![
            "/api/vhosts?columns=name,description,tags,default_queue_type&disable_stats=true".to_owned(),
            LIMITS.to_owned(),
        ]
    }

    fn listed(row: Row) -> Named<Self> {
        match row {
            Row::Vhost(row) => row.read(),
            Row::Limits(row) => {
                let definition = Self {
                    limits: row.read(),
                    ..Self::default()
                };
                Named::new(Name::new("", row.vhost), definition)
            }
        }
    }

    fn take(row: Row, all: &mut BTreeMap<Name, Self>) {
        let is_whole = matches!(row, Row::Vhost(_));
        let Named { name, definition } = Self::listed(row);
        if is_whole {
            all.insert(name, definition);
        } else if let Some(vhost) = all.get_mut(&name) {
            vhost.limits = definition.limits;
        }
    }

    fn spec(&self) -> Map<String, Value> {
        let mut spec = Map::new();
        if !self.description.is_empty() {
            spec.insert("description".to_owned(), json!(self.description));
        }
        if !self.tags.is_empty() {
            spec.insert("tags".to_owned(), json!(self.tags));
        }
        if let Some(queue_type) = &self.default_queue_type {
            spec.insert("defaultQueueType".to_owned(), json!(queue_type));
        }
        if self.limits != VhostLimits::default() {
            spec.insert("limits".to_owned(), json!(self.limits));
        }
        spec
    }

    fn differences(&self, found: &Self) -> Vec<String> {
        let mut list = self.other_metadata(found);
        let shown = |limit: Option<i64>| limit.map_or_else(|| "not set".to_owned(), |most| most.to_string());
        for (field, _, wanted, found) in self.limits_beside(found) {
            compare(&mut list, field, &shown(wanted), &shown(found));
        }
        list
    }

    fn is_reserved(name: &Name) -> bool {
        name.name == DEFAULT
    }

    fn put(&self, name: &Name) -> Option<Request> {
        let tags: Vec<&str> = self.tags.iter().map(String::as_str).collect();
        let mut body = json!({ "description": self.description, "tags": tags.join(",") });
        if let (Some(queue_type), Some(body)) = (&self.default_queue_type, body.as_object_mut()) {
            body.insert("default_queue_type".to_owned(), json!(queue_type));
        }
        Some(Request {
            verb: Verb::Put,
            path: path(name),
            body: Some(body),
        })
    }

    fn puts(&self, name: &Name, found: Option<&Self>) -> Vec<Request> {
        let is_other = found.is_none_or(|found| !self.other_metadata(found).is_empty());
        let vhost = is_other.then(|| self.put(name)).flatten();
        let nothing = Self::default();
        let limits = self.limits_beside(found.unwrap_or(&nothing));
        let limits = limits.into_iter().filter(|(_, _, wanted, found)| wanted != found);
        let limits = limits.map(|(_, limit, wanted, _)| Request {
            verb: if wanted.is_some() { Verb::Put } else { Verb::Delete },
            path: format!("{LIMITS}/{}/{limit}", escaped(&name.name)),
            body: wanted.map(|most| json!({ "value": most })),
        });
        vhost.into_iter().chain(limits).collect()
    }

    fn delete(name: &Name) -> Option<Request> {
        Some(Request {
            verb: Verb::Delete,
            path: path(name),
            body: None,
        })
    }
}

impl VhostDefinition {
    /// The differences in what is put with the virtual host itself.
    fn other_metadata(&self, found: &Self) -> Vec<String> {
        let mut list = Vec::new();
        let quoted = |text: &str| format!("\"{text}\"");
        let tags = |tags: &BTreeSet<String>| json!(tags).to_string();
        compare(
            &mut list,
            "description",
            &quoted(&self.description),
            &quoted(&found.description),
        );
        compare(&mut list, "tags", &tags(&self.tags), &tags(&found.tags));
        if let Some(wanted) = &self.default_queue_type {
            let found = found.default_queue_type.as_deref().unwrap_or("not set");
            compare(&mut list, "defaultQueueType", &wanted.as_str(), &found);
        }
        list
    }

    /// Each limit beside the one that stands: field, name on the broker, both values.
    fn limits_beside(&self, found: &Self) -> Vec<(&'static str, &'static str, Option<i64>, Option<i64>)> {
        let (wanted, found) = (self.limits, found.limits);
        vec![
            (
                "limits.maxConnections",
                MAX_CONNECTIONS,
                wanted.max_connections,
                found.max_connections,
            ),
            ("limits.maxQueues", MAX_QUEUES, wanted.max_queues, found.max_queues),
        ]
    }
}

impl VhostRow {
    fn read(self) -> Named<VhostDefinition> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let tags = self.tags.as_array().into_iter().flatten();
        let queue_type = text(&self.default_queue_type);
        let definition = VhostDefinition {
            description: text(&self.description),
            tags: tags.map(text).collect(),
            default_queue_type: (!matches!(queue_type.as_str(), "" | UNDEFINED)).then_some(queue_type),
            limits: VhostLimits::default(),
        };
        Named::new(Name::new("", self.name), definition)
    }
}

impl LimitsRow {
    fn read(&self) -> VhostLimits {
        // Below 0 is no limit.
        let limit = |name: &str| self.value.get(name).and_then(Value::as_i64).filter(|most| *most >= 0);
        VhostLimits {
            max_connections: limit(MAX_CONNECTIONS),
            max_queues: limit(MAX_QUEUES),
        }
    }
}

/// Path of the limits in the management API.
const LIMITS: &str = "/api/vhost-limits";
/// Their names there.
const MAX_CONNECTIONS: &str = "max-connections";
const MAX_QUEUES: &str = "max-queues";

/// The virtual host that every broker has.
const DEFAULT: &str = "/";
/// RabbitMQ's word for no default queue type.
const UNDEFINED: &str = "undefined";

fn path(name: &Name) -> String {
    format!("/api/vhosts/{}", escaped(&name.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_as_rabbitmq_reads_them() {
        let spec = serde_json::from_value(json!({
            "brokerRef": {"name": "main"}, "description": "of the shop", "tags": ["b", "a"],
            "defaultQueueType": "quorum"
        }));
        let definition = VhostDefinition::wanted(&spec.unwrap()).unwrap();
        let put = definition.put(&Name::new("", "shop/eu")).unwrap();
        assert_eq!(put.path, "/api/vhosts/shop%2Feu");
        assert_eq!(
            put.body,
            Some(json!({"description": "of the shop", "tags": "a,b", "default_queue_type": "quorum"}))
        );
    }

    #[test]
    fn limits_are_put_one_by_one() {
        let wanted = |limits: Value| {
            let spec = json!({"brokerRef": {"name": "main"}, "limits": limits});
            VhostDefinition::wanted(&serde_json::from_value(spec).unwrap()).unwrap()
        };
        let mut all = BTreeMap::new();
        for row in [
            json!({"name": "shop"}),
            json!({"vhost": "shop", "value": {"max-queues": 5, "max-connections": -1}}),
            json!({"vhost": "hidden", "value": {"max-queues": 5}}),
        ] {
            VhostDefinition::take(serde_json::from_value(row).unwrap(), &mut all);
        }
        let name = Name::new("", "shop");
        let found = &all[&name];
        assert_eq!(all.len(), 1, "a row of limits makes no virtual host");
        let lines = |definition: &VhostDefinition| -> Vec<String> {
            let requests = definition.puts(&name, Some(found)).into_iter();
            requests
                .map(|request| {
                    format!(
                        "{:?} {} {}",
                        request.verb,
                        request.path,
                        request.body.unwrap_or_default()
                    )
                })
                .collect()
        };
        let other = wanted(json!({"maxConnections": 7}));
        assert_eq!(
            other.differences(found),
            [
                "limits.maxConnections is not set on the broker, wanted 7",
                "limits.maxQueues is 5 on the broker, wanted not set"
            ]
        );
        assert_eq!(
            lines(&other),
            [
                "Put /api/vhost-limits/shop/max-connections {\"value\":7}",
                "Delete /api/vhost-limits/shop/max-queues null"
            ]
        );
        let same = wanted(json!({"maxQueues": 5}));
        assert_eq!((same.differences(found), lines(&same)), (Vec::new(), Vec::new()));
        assert_eq!(found.spec(), same.spec());
        let none = lines(&wanted(json!({})));
        assert_eq!(none, ["Delete /api/vhost-limits/shop/max-queues null"]);
        assert_eq!(other.puts(&name, None).len(), 2, "the virtual host, and its limit");
    }

    #[test]
    fn a_row_without_metadata() {
        for row in [
            json!({"name": "shop"}),
            json!({"name": "shop", "description": null, "tags": null, "default_queue_type": null}),
        ] {
            let listed = VhostDefinition::listed(serde_json::from_value(row).unwrap());
            assert_eq!(listed.definition, VhostDefinition::default());
        }
    }

    #[test]
    fn a_row_as_rabbitmq_writes_it() {
        let row = serde_json::from_value(json!({
            "name": "shop", "description": "", "tags": ["a"], "default_queue_type": "undefined"
        }));
        let Named { name, definition } = VhostDefinition::listed(row.unwrap());
        assert_eq!(name, Name::new("", "shop"));
        let wanted = VhostDefinition {
            description: "of the shop".to_owned(),
            ..VhostDefinition::default()
        };
        assert_eq!(
            wanted.differences(&definition),
            [
                "description is \"\" on the broker, wanted \"of the shop\"",
                "tags is [\"a\"] on the broker, wanted []"
            ]
        );
    }
}
