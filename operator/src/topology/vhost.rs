//! Virtual hosts: what they are declared with, and what there is to say of them.
//!
//! In: the spec of a Vhost, rows of `GET /api/vhosts`. Out: `VhostDefinition`, and requests to the management API:
//! AMQP has no method for it. Does not know about what stands in a virtual host.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::declaration::{Deletion, Labels, Policies, Request, Verb, compare, escaped};
use super::name::Name;
use super::named::{Definition, Named, Removal};
use crate::resource::{Kind, VhostDeletionPolicy, VhostSpec};

/// A virtual host by its name.
pub type Declaration = Named<VhostDefinition>;

/// The properties that a virtual host is declared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VhostDefinition {
    pub description: String,
    pub tags: BTreeSet<String>,
    /// `None`: as the broker is set.
    pub default_queue_type: Option<String>,
}

/// A virtual host as the management API lists it. Metadata is read as it comes: a virtual host of an old version may
/// have none, and that must not spoil the list.
#[derive(Deserialize)]
pub struct Row {
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
        vec!["/api/vhosts?columns=name,description,tags,default_queue_type&disable_stats=true".to_owned()]
    }

    fn listed(row: Row) -> Named<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let tags = row.tags.as_array().into_iter().flatten();
        let queue_type = text(&row.default_queue_type);
        let definition = Self {
            description: text(&row.description),
            tags: tags.map(text).collect(),
            default_queue_type: (!matches!(queue_type.as_str(), "" | UNDEFINED)).then_some(queue_type),
        };
        Named::new(Name::new("", row.name), definition)
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
        spec
    }

    fn differences(&self, found: &Self) -> Vec<String> {
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

    fn delete(name: &Name) -> Option<Request> {
        Some(Request {
            verb: Verb::Delete,
            path: path(name),
            body: None,
        })
    }
}

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
