//! (pure) The Secret that is made for a ZeroMQ socket with CURVE: the broker's key pair, as ZeroMQ's programs write it.
//!
//! In: a `ZeroMqSocket`, and the Secret that is there. Out: the name and the data of the Secret. A key that is there
//! stays; one that has been deleted is made again. Does not know about a Kubernetes client.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;

use crate::object::{CurveKey, Object};
use crate::resource::{KeyPair, ZeroMqSocketSpec};

/// The label of all of them.
pub const COMPONENT: &str = "zeromq-socket";
/// The type of such a Secret.
pub const TYPE: &str = "Opaque";
/// Key of the secret key, in Secrets that are brought, too.
pub const SECRET_KEY: &str = "secret-key";
/// Key of the public key, which clients need.
pub const PUBLIC_KEY: &str = "public-key";

/// The name of the Secret.
pub fn name(socket: &Object<ZeroMqSocketSpec>) -> String {
    let given = match socket.spec.key_pair() {
        Some(KeyPair::Generated(given)) => given.and_then(|given| given.name.clone()),
        Some(KeyPair::Secret(_)) | None => None,
    };
    given.unwrap_or_else(|| format!("{}-curve", socket.meta.key.name))
}

/// The key in a Secret that was made.
pub fn key(existing: &Secret) -> Option<CurveKey> {
    read(&existing.data.as_ref()?.get(SECRET_KEY)?.0)
}

/// The key that somebody has written down.
pub fn read(octets: &[u8]) -> Option<CurveKey> {
    CurveKey::read(std::str::from_utf8(octets).ok()?.trim())
}

/// The content of the Secret.
pub fn data(key: &CurveKey) -> BTreeMap<&'static str, String> {
    [(SECRET_KEY, key.secret()), (PUBLIC_KEY, key.public().to_owned())].into()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::{Value, json};

    use super::*;
    use crate::object::{Kind, Meta, ObjectKey};

    fn socket(curve: Value) -> Object<ZeroMqSocketSpec> {
        let spec = json!({"brokerRef": {"name": "main"}, "type": "pull", "port": 5555, "queue": "q",
            "mechanism": "Curve", "curve": curve});
        Object {
            meta: Meta::fresh(ObjectKey::new(Kind::ZeroMqSocket, "shop", "in")),
            spec: serde_json::from_value(spec).expect("a spec"),
        }
    }

    #[test]
    fn a_key_stays_and_another_text_is_none() {
        assert_eq!(name(&socket(json!({}))), "in-curve");
        assert_eq!(name(&socket(json!({"generatedSecret": {"name": "other"}}))), "other");
        let new = CurveKey::fresh();
        let values = data(&new).into_iter();
        let values = values.map(|(key, text)| (key.to_owned(), ByteString((text + "\n").into_bytes())));
        let mut secret = Secret {
            data: Some(values.collect()),
            ..Secret::default()
        };
        assert_eq!(key(&secret), Some(new));
        let broken = [(SECRET_KEY.to_owned(), ByteString(b"none".to_vec()))];
        secret.data = Some(broken.into());
        assert_eq!(key(&secret), None);
    }
}
