//! (pure) The Secret that is made for a User, in the form of the service binding specification.
//!
//! In: a `User`, its `Broker`, and the Secret that is there. Out: the data and metadata of the Secret. A password that
//! is there stays; one that has been deleted is made again. Does not know about a Kubernetes client.

use std::collections::BTreeMap;

use hyper::Uri;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::secret::{self, Address, Credentials};
use crate::object::{Group, Object};
use crate::rabbitmq::manifest;
use crate::resource::{BrokerSpec, Engine, GROUP, UserSpec, VERSION, Way};

/// Selects all of them.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=leveret-operator,app.kubernetes.io/component=user";

/// The name of the Secret.
pub fn name(user: &Object<UserSpec>) -> String {
    let given = match user.spec.way() {
        Way::Generated(given) => given.and_then(|given| given.name.clone()),
        Way::Secret(_) | Way::Hash(_) | Way::Token => None,
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

/// The password in a Secret.
pub fn password(existing: &Secret) -> Option<String> {
    let bytes = &existing.data.as_ref()?.get("password")?.0;
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// The content of the Secret.
pub fn data(user: &Object<UserSpec>, address: &Address, password: &str) -> BTreeMap<&'static str, String> {
    let credentials = Credentials {
        username: user.spec.broker_name(&user.meta.key.name),
        password: password.to_owned(),
    };
    let vhost = match user.spec.permissions.as_slice() {
        [only] => Some(only.vhost.as_str()),
        _ => None,
    };
    secret::binding(address, &credentials, vhost)
}

/// Labels and owner: the Secret goes with its User.
pub fn metadata(user: &Object<UserSpec>) -> Value {
    let key = &user.meta.key;
    let api_version = match key.group {
        Group::Leveret => format!("{GROUP}/{VERSION}"),
        Group::RabbitMq => format!("{}/{}", manifest::GROUP, manifest::VERSION),
    };
    json!({
        "name": name(user),
        "namespace": key.namespace,
        "labels": {
            "app.kubernetes.io/managed-by": "leveret-operator",
            "app.kubernetes.io/component": "user",
        },
        "ownerReferences": [{
            "apiVersion": api_version,
            "kind": "User",
            "name": key.name,
            "uid": user.meta.uid,
            "controller": true,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Kind, Meta, ObjectKey};

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
        let data = data(&user(spec), &own, "a+b");
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
        let data = data(&user(spec), &there, "x");
        assert_eq!(data["uri"], "amqps://till:x@rabbit.shop.svc:5671");
        assert!(!data.contains_key("vhost"));
    }

    #[test]
    fn the_secret_has_a_name() {
        assert_eq!(name(&user(json!({"brokerRef": {"name": "main"}}))), "till-user");
        let given = json!({"brokerRef": {"name": "main"}, "generatedSecret": {"name": "other"}});
        let mut user = user(given);
        assert_eq!(name(&user), "other");
        assert_eq!(
            metadata(&user)["ownerReferences"][0]["apiVersion"],
            "leveret.dev/v1alpha1"
        );
        user.meta.key.group = Group::RabbitMq;
        assert_eq!(
            metadata(&user)["ownerReferences"][0]["apiVersion"],
            "rabbitmq.com/v1beta1"
        );
    }
}
