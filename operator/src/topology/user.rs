//! Users: what they are declared with, and what there is to say of them. A user has its permissions, topic permissions
//! and limits as parts: all of them are its own, and each is put right by itself.
//!
//! In: the spec of a User, rows of `GET /api/users`, `/api/permissions` and `/api/topic-permissions`. Out:
//! `UserDefinition`, and requests to the management API: AMQP has no method for it. Passwords are hashes here.
//! Does not know about Secrets.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::declaration::{Deletion, Labels, Need, Policies, Reference, Request, Verb, compare, escaped};
use super::name::{Name, Target};
use super::named::{Definition, Named, Removal};
use super::touch::Touch;
use crate::object::{Hash, Reason};
use crate::resource::{
    HashingAlgorithm, Kind, Permission, ServiceAccountRef, TopicPermission, UserDeletionPolicy, UserLimits, UserSpec,
    Way,
};

/// A user by its name.
pub type Declaration = Named<UserDefinition>;

/// The properties that a user is declared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserDefinition {
    pub tags: BTreeSet<String>,
    pub limits: UserLimits,
    /// By virtual host: configure, write, read.
    pub permissions: BTreeMap<String, [String; 3]>,
    /// By virtual host and exchange: write, read.
    pub topics: BTreeMap<(String, String), [String; 2]>,
    /// `None`: not known, so nothing is said about it.
    pub password: Option<Hash>,
    /// The same password in a form that is better kept and only Leveret knows.
    pub slow: Option<Hash>,
    /// Rights are no business of this declaration: other objects give them to the user, one by one.
    pub rights_elsewhere: bool,
}

/// A row of one of the three lists.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Row {
    Topic(TopicRow),
    Permission(PermissionRow),
    User(UserRow),
}

/// A user as the management API lists it. What an old version does not say is none.
#[derive(Deserialize)]
pub struct UserRow {
    name: String,
    #[serde(default)]
    password_hash: String,
    #[serde(default)]
    hashing_algorithm: Option<String>,
    #[serde(default)]
    tags: Value,
    #[serde(default)]
    limits: Value,
}

#[derive(Deserialize)]
pub struct PermissionRow {
    user: String,
    vhost: String,
    configure: String,
    write: String,
    read: String,
}

#[derive(Deserialize)]
pub struct TopicRow {
    user: String,
    vhost: String,
    exchange: String,
    write: String,
    read: String,
}

impl Definition for UserDefinition {
    const KIND: Kind = Kind::User;
    const LABELS: Labels = Labels {
        declare: "put_user",
        remove: "delete_user",
    };
    const MUTABLE: bool = true;
    const GUARDED: bool = true;
    const IN_VHOST: bool = false;
    const REMOVAL: Removal = Removal {
        if_free: "",
        always: " with its permissions",
    };

    type Spec = UserSpec;
    type Row = Row;

    fn name(spec: &UserSpec, metadata_name: &str) -> Name {
        Name::new("", spec.broker_name(metadata_name))
    }

    fn wanted(spec: &UserSpec) -> Result<Self, String> {
        // Without `..`: no field may be forgotten.
        let UserSpec {
            broker_ref: _,
            name: _,
            tags,
            limits,
            permissions,
            topic_permissions,
            password_secret_ref: _,
            password_hash: _,
            service_account: _,
            generated_secret: _,
            deletion_policy: _,
            adoption_policy: _,
        } = spec;
        let mut definition = Self {
            tags: tags.iter().cloned().collect(),
            limits: *limits,
            password: match spec.way() {
                Way::Hash(hash) => Some(Hash::new(hash.algorithm.as_str(), &hash.value)),
                Way::Token => Some(Hash::none()),
                Way::Secret(_) | Way::Generated(_) => None,
            },
            ..Self::default()
        };
        for Permission {
            vhost,
            configure,
            write,
            read,
        } in permissions
        {
            let rights = [configure, write, read].map(Clone::clone);
            if definition.permissions.insert(vhost.clone(), rights).is_some() {
                return Err(format!("two permissions for vhost '{vhost}'"));
            }
        }
        for TopicPermission {
            vhost,
            exchange,
            write,
            read,
        } in topic_permissions
        {
            let place = (vhost.clone(), exchange.clone());
            let rights = [write, read].map(Clone::clone);
            if definition.topics.insert(place, rights).is_some() {
                return Err(format!(
                    "two topic permissions for exchange '{exchange}' in vhost '{vhost}'"
                ));
            }
        }
        Ok(definition)
    }

    fn policies(spec: &UserSpec) -> Policies {
        Policies {
            deletion: match spec.deletion_policy {
                UserDeletionPolicy::Delete => Deletion::Delete,
                UserDeletionPolicy::Retain => Deletion::Retain,
            },
            adoption: spec.adoption_policy,
        }
    }

    fn lists() -> Vec<String> {
        // The rows of the first make the users that the others are parts of.
        ["/api/users", "/api/permissions", "/api/topic-permissions"]
            .map(str::to_owned)
            .into()
    }

    fn listed(row: Row) -> Named<Self> {
        let (name, definition) = match row {
            Row::User(row) => row.read(),
            Row::Permission(row) => {
                let rights = [row.configure, row.write, row.read];
                let permissions = [(row.vhost, rights)].into();
                (
                    row.user,
                    Self {
                        permissions,
                        ..Self::default()
                    },
                )
            }
            Row::Topic(row) => {
                let topics = [((row.vhost, row.exchange), [row.write, row.read])].into();
                (
                    row.user,
                    Self {
                        topics,
                        ..Self::default()
                    },
                )
            }
        };
        Named::new(Name::new("", name), definition)
    }

    fn take(row: Row, all: &mut BTreeMap<Name, Self>) {
        let is_whole = matches!(row, Row::User(_));
        let Named { name, definition } = Self::listed(row);
        if is_whole {
            all.insert(name, definition);
        } else if let Some(user) = all.get_mut(&name) {
            user.permissions.extend(definition.permissions);
            user.topics.extend(definition.topics);
        }
    }

    fn spec(&self) -> Map<String, Value> {
        let mut spec = Map::new();
        if !self.tags.is_empty() {
            spec.insert("tags".to_owned(), json!(self.tags));
        }
        if self.limits != UserLimits::default() {
            spec.insert("limits".to_owned(), json!(self.limits));
        }
        let permission = |(vhost, [configure, write, read]): (&String, &[String; 3])| json!({"vhost": vhost, "configure": configure, "write": write, "read": read});
        if !self.permissions.is_empty() {
            let all: Vec<Value> = self.permissions.iter().map(permission).collect();
            spec.insert("permissions".to_owned(), Value::Array(all));
        }
        let topic = |((vhost, exchange), [write, read]): (&(String, String), &[String; 2])| json!({"vhost": vhost, "exchange": exchange, "write": write, "read": read});
        if !self.topics.is_empty() {
            let all: Vec<Value> = self.topics.iter().map(topic).collect();
            spec.insert("topicPermissions".to_owned(), Value::Array(all));
        }
        spec
    }

    fn differences(&self, found: &Self) -> Vec<String> {
        let mut list = Vec::new();
        let tags = |tags: &BTreeSet<String>| json!(tags).to_string();
        compare(&mut list, "tags", &tags(&self.tags), &tags(&found.tags));
        let limit = |limit: Option<i64>| limit.map_or_else(|| "not set".to_owned(), |limit| limit.to_string());
        for (field, wanted, found) in [
            (
                "limits.maxConnections",
                self.limits.max_connections,
                found.limits.max_connections,
            ),
            (
                "limits.maxChannels",
                self.limits.max_channels,
                found.limits.max_channels,
            ),
        ] {
            compare(&mut list, field, &limit(wanted), &limit(found));
        }
        if self.has_other_password(found) {
            list.push("its password is another on the broker".to_owned());
        }
        if self.rights_elsewhere {
            return list;
        }
        for vhost in union(&self.permissions, &found.permissions) {
            let shown = |rights: Option<&[String; 3]>| match rights {
                None => "none".to_owned(),
                Some(rights) => rights_shown(["configure", "write", "read"], rights),
            };
            let field = format!("permission in vhost '{vhost}'");
            let (wanted, found) = (self.permissions.get(vhost), found.permissions.get(vhost));
            compare(&mut list, &field, &shown(wanted), &shown(found));
        }
        for place in union(&self.topics, &found.topics) {
            let shown = |rights: Option<&[String; 2]>| match rights {
                None => "none".to_owned(),
                Some(rights) => rights_shown(["write", "read"], rights),
            };
            let (vhost, exchange) = place;
            let field = format!("topic permission for exchange '{exchange}' in vhost '{vhost}'");
            let (wanted, found) = (self.topics.get(place), found.topics.get(place));
            compare(&mut list, &field, &shown(wanted), &shown(found));
        }
        list
    }

    fn completes(&self, found: &Self) -> bool {
        let known = self
            .permissions
            .iter()
            .filter(|(vhost, _)| found.permissions.contains_key(*vhost));
        let topics = self
            .topics
            .iter()
            .filter(|(place, _)| found.topics.contains_key(*place));
        let part = Self {
            permissions: known.map(|(vhost, rights)| (vhost.clone(), rights.clone())).collect(),
            topics: topics.map(|(place, rights)| (place.clone(), rights.clone())).collect(),
            ..self.clone()
        };
        part.differences(found).is_empty()
    }

    fn references(&self, _: &str) -> Vec<Reference> {
        let exchanges = self.topics.keys().map(|(vhost, exchange)| Reference {
            field: "topicPermissions",
            target: Target::new(Kind::Exchange, Name::new(vhost, exchange)),
        });
        exchanges.collect()
    }

    fn reaches(&self, _: &str) -> Vec<Touch> {
        let given = self.permissions.values().flatten().filter(|regex| !regex.is_empty());
        let matching = given.map(|regex| Touch::Matching {
            regex: regex.clone(),
            kinds: &[Kind::Exchange, Kind::Queue],
        });
        let vhosts = self.permissions.keys();
        let vhosts = vhosts.chain(self.topics.keys().map(|(vhost, _)| vhost)).cloned();
        let exchanges = self.topics.keys();
        let exchanges = exchanges.map(|(vhost, exchange)| Target::new(Kind::Exchange, Name::new(vhost, exchange)));
        let tags = self.tags.iter().cloned().map(Touch::Tag);
        vhosts
            .map(Touch::Vhost)
            .chain(matching)
            .chain(exchanges.map(Touch::Name))
            .chain(tags)
            .collect()
    }

    fn parts(&self, found: Option<&Self>) -> Vec<Need> {
        let permissions = self.permissions.iter();
        let permissions = permissions
            .filter(|(vhost, rights)| found.and_then(|found| found.permissions.get(*vhost)) != Some(*rights));
        let topics = self.topics.iter();
        let topics = topics.filter(|(place, rights)| found.and_then(|found| found.topics.get(*place)) != Some(*rights));
        let (mut vhosts, mut exchanges) = (BTreeSet::new(), Vec::new());
        vhosts.extend(permissions.map(|(vhost, _)| vhost));
        for ((vhost, exchange), _) in topics {
            vhosts.insert(vhost);
            exchanges.push(Need {
                target: Target::new(Kind::Exchange, Name::new(vhost, exchange)),
                reason: Reason::WaitingForSource,
            });
        }
        let vhosts = vhosts.into_iter().map(|vhost| Need {
            target: in_vhost(vhost),
            reason: Reason::WaitingForVhost,
        });
        vhosts.chain(exchanges).collect()
    }

    fn without(&mut self, gone: &Target) {
        let Target { kind, name } = gone;
        match kind {
            Kind::Vhost => {
                self.permissions.remove(&name.name);
                self.topics.retain(|(vhost, _), _| *vhost != name.name);
            }
            Kind::Exchange => {
                self.topics.remove(&(name.vhost.clone(), name.name.clone()));
            }
            _ => {}
        }
    }

    fn lose(&mut self, gone: &Target) {
        // A topic permission outlives its exchange.
        if gone.kind == Kind::Vhost {
            self.without(gone);
        }
    }

    /// The broker takes any name.
    fn is_reserved(_: &Name) -> bool {
        false
    }

    fn put(&self, name: &Name) -> Option<Request> {
        let tags: Vec<&str> = self.tags.iter().map(String::as_str).collect();
        let hash = self.password.as_ref()?;
        let mut body = json!({ "tags": tags.join(","), "password_hash": hash.text() });
        let limits: Map<String, Value> = limits(&self.limits)
            .into_iter()
            .filter_map(|(limit, most)| Some((limit.to_owned(), json!(most?))))
            .collect();
        if let Some(body) = body.as_object_mut() {
            if !hash.is_none() {
                body.insert("hashing_algorithm".to_owned(), json!(hash.algorithm()));
            }
            if !limits.is_empty() {
                body.insert("limits".to_owned(), Value::Object(limits));
            }
        }
        Some(Request {
            verb: Verb::Put,
            path: path(name),
            body: Some(body),
        })
    }

    fn puts(&self, name: &Name, found: Option<&Self>) -> Vec<Request> {
        let nothing = Self::default();
        let is_other = found.is_none_or(|found| {
            self.tags != found.tags || self.limits != found.limits || self.has_other_password(found)
        });
        let user = is_other.then(|| self.put(name)).flatten();
        let found = found.unwrap_or(&nothing);
        // A put only adds limits.
        let cleared = limits(&found.limits)
            .into_iter()
            .zip(limits(&self.limits))
            .filter(|((_, found), (_, wanted))| found.is_some() && wanted.is_none())
            .map(|((limit, _), _)| delete(format!("/api/user-limits/{}/{limit}", escaped(&name.name))));
        let mut requests: Vec<Request> = user.into_iter().chain(cleared).collect();
        if !self.rights_elsewhere {
            requests.extend(self.rights(name, found));
        }
        requests
    }

    fn after(mut self, found: Option<Self>) -> Self {
        if let (true, Some(found)) = (self.rights_elsewhere, found) {
            self.permissions = found.permissions;
            self.topics = found.topics;
        }
        self
    }

    fn delete(name: &Name) -> Option<Request> {
        Some(delete(path(name)))
    }
}

impl UserDefinition {
    /// The password is known, and the broker has another.
    fn has_other_password(&self, found: &Self) -> bool {
        let known = self.password.as_ref().zip(found.password.as_ref());
        known.is_some_and(|(wanted, found)| wanted != found && self.slow.as_ref() != Some(found))
    }

    /// With the password in the form that Leveret keeps, where there is one.
    pub fn for_leveret(mut self) -> Self {
        self.password = self.slow.take().or(self.password);
        self
    }

    /// The requests by which the user that has the rights of `found` gets these.
    pub(super) fn rights(&self, name: &Name, found: &Self) -> Vec<Request> {
        let mut requests = self.permission_requests(name, found);
        requests.extend(self.topic_requests(name, found));
        requests
    }

    fn permission_requests(&self, name: &Name, found: &Self) -> Vec<Request> {
        let path = |vhost: &str| format!("/api/permissions/{}/{}", escaped(vhost), escaped(&name.name));
        let given = self.permissions.iter();
        let given = given.filter(|(vhost, rights)| found.permissions.get(*vhost) != Some(*rights));
        let given = given.map(|(vhost, [configure, write, read])| Request {
            verb: Verb::Put,
            path: path(vhost),
            body: Some(json!({ "configure": configure, "write": write, "read": read })),
        });
        let taken = found.permissions.keys();
        let taken = taken.filter(|vhost| !self.permissions.contains_key(*vhost));
        given.chain(taken.map(|vhost| delete(path(vhost)))).collect()
    }

    fn topic_requests(&self, name: &Name, found: &Self) -> Vec<Request> {
        let path = |vhost: &str| format!("/api/topic-permissions/{}/{}", escaped(vhost), escaped(&name.name));
        let given = self.topics.iter();
        let given = given.filter(|(place, rights)| found.topics.get(*place) != Some(*rights));
        let given = given.map(|((vhost, exchange), [write, read])| Request {
            verb: Verb::Put,
            path: path(vhost),
            body: Some(json!({ "exchange": exchange, "write": write, "read": read })),
        });
        let taken = found.topics.keys().filter(|place| !self.topics.contains_key(*place));
        let taken = taken.map(|(vhost, exchange)| delete(format!("{}/{}", path(vhost), escaped(exchange))));
        given.chain(taken).collect()
    }

    /// The fields of a spec that say how a user called `name` logs in: for a service account, its name; else the hash
    /// of the password, where that is asked for.
    pub fn way_in(&self, name: &str, with_hash: bool) -> Option<(&'static str, Value)> {
        let hash = self.password.as_ref()?;
        if let Some(account) = ServiceAccountRef::of(name).filter(|_| hash.is_none()) {
            return Some((SERVICE_ACCOUNT, json!(account)));
        }
        let algorithm = match hash.is_none() {
            true => HashingAlgorithm::default().as_str(),
            false => hash.algorithm(),
        };
        (with_hash || hash.is_none()).then(|| ("passwordHash", json!({"value": hash.text(), "algorithm": algorithm})))
    }
}

impl UserRow {
    fn read(self) -> (String, UserDefinition) {
        let tags = match &self.tags {
            Value::Array(tags) => tags.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            // As versions before 3.9 write them.
            Value::String(tags) => tags.split(',').map(str::to_owned).collect(),
            _ => BTreeSet::new(),
        };
        let limit = |name: &str| self.limits.get(name).and_then(Value::as_i64).filter(|most| *most >= 0);
        let algorithm = self.hashing_algorithm.as_deref();
        let algorithm = algorithm.unwrap_or(HashingAlgorithm::default().as_str());
        let definition = UserDefinition {
            tags: tags.into_iter().filter(|tag| !tag.is_empty()).collect(),
            limits: UserLimits {
                max_connections: limit(MAX_CONNECTIONS),
                max_channels: limit(MAX_CHANNELS),
            },
            password: Some(Hash::new(algorithm, &self.password_hash)),
            ..UserDefinition::default()
        };
        (self.name, definition)
    }
}

/// The field of a spec that names a service account, and with it the user.
pub const SERVICE_ACCOUNT: &str = "serviceAccount";
const MAX_CONNECTIONS: &str = "max-connections";
const MAX_CHANNELS: &str = "max-channels";

/// Limits by RabbitMQ's names.
fn limits(limits: &UserLimits) -> [(&'static str, Option<i64>); 2] {
    [
        (MAX_CONNECTIONS, limits.max_connections),
        (MAX_CHANNELS, limits.max_channels),
    ]
}

fn in_vhost(vhost: &str) -> Target {
    Target::new(Kind::Vhost, Name::new("", vhost))
}

fn union<'a, K: Ord, V>(one: &'a BTreeMap<K, V>, other: &'a BTreeMap<K, V>) -> BTreeSet<&'a K> {
    one.keys().chain(other.keys()).collect()
}

fn rights_shown<const N: usize>(names: [&str; N], rights: &[String; N]) -> String {
    let each = names
        .iter()
        .zip(rights)
        .map(|(name, right)| format!("{name} \"{right}\""));
    each.collect::<Vec<_>>().join(" ")
}

fn path(name: &Name) -> String {
    format!("/api/users/{}", escaped(&name.name))
}

fn delete(path: String) -> Request {
    Request {
        verb: Verb::Delete,
        path,
        body: None,
    }
}

#[cfg(test)]
mod tests;
