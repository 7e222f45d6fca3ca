//! (pure) The Secret that is made for a User, in the form of the service binding specification, or in that of
//! RabbitMQ's topology operator for a User of that.
//!
//! In: a `User`, its `Broker`, and the Secret that is there. Out: the name and the data of the Secret. A password that
//! is there stays; one that has been deleted is made again. Does not know about a Kubernetes client.

use std::collections::BTreeMap;

use hyper::Uri;
use k8s_openapi::api::core::v1::Secret;

use super::secret::{self, Address, Credentials};
use crate::object::{Group, Object};
use crate::resource::{self, BrokerSpec, Engine, UserSpec};

/// The label of all of them.
pub const COMPONENT: &str = "user";
/// The key that is there only for users of one virtual host.
pub const VHOST: &str = "vhost";
/// The label by which RabbitMQ's topology operator finds its own.
const THEIRS: (&str, &str) = ("rabbitmq.com/topology-operator", "true");
/// The type of a Secret that says nothing of what it is.
const OPAQUE: &str = "Opaque";
/// Longest name of a user.
const MOST_NAME: usize = 255;

/// A login as it stands in a Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub username: String,
    pub way: Way,
}

/// A password, or what is known of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Way {
    Password(String),
    Hash(String),
}

/// The name of the Secret.
pub fn name(user: &Object<UserSpec>) -> String {
    let given = match user.spec.way() {
        resource::Way::Generated(given) => given.and_then(|given| given.name.clone()),
        resource::Way::Secret(_) | resource::Way::Hash(_) | resource::Way::Token => None,
    };
    given.unwrap_or_else(|| format!("{}-user", user.meta.key.name))
}

/// The address at which clients reach a broker; `None` if its `uri` is none.
pub fn address(broker: &Object<BrokerSpec>) -> Option<Address> {
    let external = match broker.spec.engine {
        Engine::Leveret => return Some(secret::own_address(broker)),
        Engine::External => broker.spec.external.as_ref()?,
    };
    let uri: Uri = external.uri.parse().ok()?;
    let is_secure = uri.scheme_str() == Some("amqps");
    Some(Address {
        is_secure,
        host: uri.host().filter(|host| !host.is_empty())?.to_owned(),
        port: uri.port_u16().unwrap_or(if is_secure { 5671 } else { 5672 }),
    })
}

/// The login of a user: what is in the Secret stays, and what is missing is made.
pub fn login(user: &Object<UserSpec>, existing: Option<&Secret>) -> Login {
    let text = |key: &str| {
        let bytes = &existing?.data.as_ref()?.get(key)?.0;
        let text = std::str::from_utf8(bytes).ok()?;
        (!text.is_empty()).then(|| text.to_owned())
    };
    let key = &user.meta.key;
    let is_theirs = key.group == Group::RabbitMq;
    let username = match (&user.spec.name, is_theirs) {
        (None, true) => text("username").unwrap_or_else(|| unheard(&key.namespace, &key.name)),
        _ => user.spec.broker_name(&key.name),
    };
    let hash = text("passwordHash").filter(|_| is_theirs);
    let way = match (text("password"), hash) {
        (None, Some(hash)) => Way::Hash(hash),
        (password, _) => Way::Password(password.unwrap_or_else(secret::password)),
    };
    Login { username, way }
}

/// The name of a user that nobody has given one: no other namespace has a user of that name.
fn unheard(namespace: &str, name: &str) -> String {
    let long = format!("{namespace}.{name}");
    if long.len() > MOST_NAME { name.to_owned() } else { long }
}

/// The type of the Secret of a user.
pub fn type_of(user: &Object<UserSpec>) -> &'static str {
    match user.meta.key.group {
        Group::Leveret => secret::TYPE,
        Group::RabbitMq => OPAQUE,
    }
}

/// The content of the Secret. That of a user of RabbitMQ's topology operator is what that one puts there.
pub fn data(user: &Object<UserSpec>, address: &Address, login: &Login) -> BTreeMap<&'static str, String> {
    let username = login.username.clone();
    let password = match &login.way {
        Way::Password(password) => password.clone(),
        Way::Hash(hash) => {
            return BTreeMap::from([("username", username), ("passwordHash", hash.clone())]);
        }
    };
    if user.meta.key.group == Group::RabbitMq {
        return BTreeMap::from([("username", username), ("password", password)]);
    }
    let credentials = Credentials { username, password };
    let vhost = match user.spec.permissions.as_slice() {
        [only] => Some(only.vhost.as_str()),
        _ => None,
    };
    secret::binding(address, &credentials, vhost)
}

/// The label that the Secret has besides those of all that are made.
pub fn label(user: &Object<UserSpec>) -> Option<(&'static str, &'static str)> {
    (user.meta.key.group == Group::RabbitMq).then_some(THEIRS)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::names::made_for;
    use super::*;
    use crate::object::{Group, Kind, Meta, ObjectKey};

    fn user(spec: Value) -> Object<UserSpec> {
        Object {
            meta: Meta::fresh(ObjectKey::new(Kind::User, "shop", "till")),
            spec: serde_json::from_value(spec).expect("a spec"),
        }
    }

    fn broker(spec: Value) -> Object<BrokerSpec> {
        Object {
            meta: Meta::fresh(ObjectKey::new(Kind::Broker, "shop", "main")),
            spec: serde_json::from_value(spec).expect("a spec"),
        }
    }

    #[test]
    fn a_client_finds_all_that_it_needs() {
        let spec = json!({"brokerRef": {"name": "main"}, "name": "till 1", "permissions": [{"vhost": "of/shop"}]});
        let own = address(&broker(json!({}))).expect("an address");
        let data = data(&user(spec), &own, &with("till 1", "a+b"));
        assert_eq!(data["uri"], "amqp://till%201:a%2Bb@main.shop.svc:5672/of%2Fshop");
        assert_eq!(
            (data["vhost"].as_str(), data["username"].as_str()),
            ("of/shop", "till 1")
        );
        let keys: Vec<&str> = data.keys().copied().collect();
        assert_eq!(
            keys,
            [
                "host", "password", "port", "provider", "type", "uri", "username", "vhost"
            ]
        );
    }

    #[test]
    fn a_user_of_several_vhosts_chooses_one() {
        let spec = json!({"brokerRef": {"name": "main"}, "permissions": [{"vhost": "a"}, {"vhost": "b"}]});
        let external = json!({"engine": "External", "external": {"uri": "amqps://rabbit.shop.svc",
            "managementUri": "http://rabbit", "credentialsSecretRef": {"name": "admin"}}});
        let there = address(&broker(external)).expect("an address");
        let data = data(&user(spec), &there, &with("till", "x"));
        assert_eq!(data["uri"], "amqps://till:x@rabbit.shop.svc:5671");
        assert!(!data.contains_key("vhost"));
    }

    fn with(username: &str, password: &str) -> Login {
        let username = username.to_owned();
        let way = Way::Password(password.to_owned());
        Login { username, way }
    }

    #[test]
    fn a_secret_of_the_other_operator_stays_as_it_is() {
        let mut user = user(json!({"brokerRef": {"name": "main"}}));
        user.meta.key.group = Group::RabbitMq;
        let own = address(&broker(json!({}))).expect("an address");
        let made = login(&user, None);
        assert_eq!(made.username, "shop.till", "no other namespace has a user of that name");
        let keys: Vec<&str> = data(&user, &own, &made).into_keys().collect();
        assert_eq!(keys, ["password", "username"]);
        let secret = |data: Value| -> Secret {
            serde_json::from_value(json!({"metadata": {"name": "s"}, "data": data})).expect("a Secret")
        };
        let there = secret(json!({"username": "eDF5Mg==", "password": "Z2VoZWlt"}));
        assert!(
            login(&user, Some(&there)) == with("x1y2", "geheim"),
            "nothing is made anew"
        );
        let hashed = secret(json!({"username": "eDF5Mg==", "passwordHash": "YWJj"}));
        let kept = login(&user, Some(&hashed));
        assert!(kept.way == Way::Hash("abc".to_owned()));
        let keys: Vec<&str> = data(&user, &own, &kept).into_keys().collect();
        assert_eq!(keys, ["passwordHash", "username"]);
        user.spec.name = Some("Till".to_owned());
        assert_eq!(login(&user, None).username, "Till", "as its status says");
        let metadata = made_for(&user.meta, "s", COMPONENT, label(&user));
        assert_eq!(metadata["labels"]["rabbitmq.com/topology-operator"], "true");
    }

    #[test]
    fn the_secret_has_a_name() {
        assert_eq!(name(&user(json!({"brokerRef": {"name": "main"}}))), "till-user");
        let given = json!({"brokerRef": {"name": "main"}, "generatedSecret": {"name": "other"}});
        let mut user = user(given);
        assert_eq!(name(&user), "other");
        assert_eq!(
            made_for(&user.meta, "other", COMPONENT, label(&user))["ownerReferences"][0]["apiVersion"],
            "leveret.dev/v1alpha1"
        );
        user.meta.key.group = Group::RabbitMq;
        assert_eq!(
            made_for(&user.meta, "other", COMPONENT, label(&user))["ownerReferences"][0]["apiVersion"],
            "rabbitmq.com/v1beta1"
        );
    }
}
