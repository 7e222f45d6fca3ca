//! (pure) Credentials in the form of the service binding specification, what a client needs, by key: those of the
//! administrator, and the parts of which others are made.
//!
//! In: a `Broker` and the Secret that is there. Out: the Secret to apply. A password that is there stays; one that has
//! been deleted is made again, which is how credentials are rotated. Does not know about a Kubernetes client.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use rand::Rng as _;
use serde_json::json;

use super::child::{Child, ChildKind};
use super::config::{AMQP, AMQPS, is_plain};
use super::names;
use crate::object::Object;
use crate::resource::BrokerSpec;

/// Bytes of a generated password: 190 bits in letters and digits, so that it needs no escaping anywhere.
const PASSWORD_LENGTH: usize = 32;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The type of such a Secret.
pub const TYPE: &str = "servicebinding.io/rabbitmq";

/// An address at which clients reach a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub is_secure: bool,
    pub host: String,
    pub port: u16,
}

/// The user and the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

/// The credentials of a Secret; what is missing or empty is made.
pub fn credentials(existing: Option<&Secret>) -> Credentials {
    let text = |key: &str| {
        let bytes = &existing?.data.as_ref()?.get(key)?.0;
        let text = std::str::from_utf8(bytes).ok()?.trim();
        (!text.is_empty() && !text.contains(['\n', '\r'])).then(|| text.to_owned())
    };
    Credentials {
        username: text("username").unwrap_or_else(|| "admin".to_owned()),
        password: text("password").unwrap_or_else(password),
    }
}

/// A new password.
pub fn password() -> String {
    let mut random = rand::rng();
    let letter = |_| {
        LETTERS
            .get(random.random_range(0..LETTERS.len()))
            .copied()
            .unwrap_or(b'x')
    };
    (0..PASSWORD_LENGTH).map(letter).map(char::from).collect()
}

/// The Secret. Its type cannot change, so that of one that is there is kept.
pub fn secret(broker: &Object<BrokerSpec>, credentials: &Credentials, existing: Option<&Secret>) -> Child {
    let name = names::admin(&broker.meta.key);
    let data = binding(&own_address(broker), credentials, Some("/"));
    let encoded: serde_json::Map<_, _> = data
        .into_iter()
        .map(|(key, value)| (key.to_owned(), json!(k8s_openapi::ByteString(value.into_bytes()))))
        .collect();
    let type_ = existing
        .and_then(|secret| secret.type_.clone())
        .unwrap_or_else(|| TYPE.to_owned());
    let metadata = names::metadata(broker, &name);
    Child::new(
        ChildKind::Secret,
        &name,
        metadata,
        json!({ "type": type_, "data": encoded }),
    )
}

/// The address of a broker that the operator runs.
pub fn own_address(broker: &Object<BrokerSpec>) -> Address {
    let (is_secure, port) = match is_plain(&broker.spec) {
        true => (false, AMQP),
        false => (true, AMQPS),
    };
    Address {
        is_secure,
        host: names::host(&broker.meta.key),
        port,
    }
}

/// All that a client needs, by the specification's keys; `vhost`: the one that it is for, if it is for one.
pub fn binding(address: &Address, credentials: &Credentials, vhost: Option<&str>) -> BTreeMap<&'static str, String> {
    let Credentials { username, password } = credentials;
    let Address { is_secure, host, port } = address;
    let scheme = if *is_secure { "amqps" } else { "amqp" };
    let (user, secret) = (escaped(username), escaped(password));
    let path = vhost.map_or_else(String::new, |vhost| format!("/{}", escaped(vhost)));
    let mut data = BTreeMap::from([
        ("type", "rabbitmq".to_owned()),
        ("provider", "leveret".to_owned()),
        ("host", host.clone()),
        ("port", port.to_string()),
        ("username", username.clone()),
        ("password", password.clone()),
        ("uri", format!("{scheme}://{user}:{secret}@{host}:{port}{path}")),
    ]);
    data.extend(vhost.map(|vhost| ("vhost", vhost.to_owned())));
    data
}

/// Percent-encoding of everything but unreserved characters (RFC 3986, 2.3).
fn escaped(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| match unreserved(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}
