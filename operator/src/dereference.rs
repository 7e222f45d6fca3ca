//! (client) Step "dereference": from a Broker and its Secrets to a connection.
//!
//! In: a [`BrokerSpec`] and something that looks Secrets up by name. Out: a [`Connection`], or what is missing.
//! Does not know about brokers on the wire, nor where Secrets come from.

use std::collections::BTreeMap;
use std::future::Future;

use hyper::Uri;

use crate::resource::{BrokerSpec, Engine, External};
use crate::source::{Connection, ConnectionError, Object};

/// The keys and values of a Secret.
pub type SecretData = BTreeMap<String, Vec<u8>>;

/// Looks up one Secret by name.
pub trait Secrets: Sync {
    /// # Errors
    /// `Missing` when there is none, `Unavailable` when that cannot be said.
    fn secret(&self, namespace: &str, name: &str) -> impl Future<Output = Result<SecretData, ConnectionError>> + Send;
}

/// How to reach `broker`.
///
/// # Errors
/// See [`ConnectionError`]; the text names the Secret and the key.
pub async fn dereference(broker: &Object<BrokerSpec>, secrets: &impl Secrets) -> Result<Connection, ConnectionError> {
    let external = match (broker.spec.engine, &broker.spec.external) {
        (Engine::External, Some(external)) => external,
        (Engine::External, None) => {
            return Err(ConnectionError::Invalid("engine External needs external".to_owned()));
        }
        (Engine::Leveret, _) => {
            return Err(ConnectionError::Invalid(
                "engine Leveret, where the operator runs the broker itself, is not supported in this version: \
                 start leveret-broker yourself and use engine External"
                    .to_owned(),
            ));
        }
    };
    let amqp_uri = amqp_uri(&external.uri)?;
    let management_uri = management_uri(&external.management_uri)?;
    let namespace = &broker.meta.key.namespace;
    let name = &external.credentials_secret_ref.name;
    let credentials = secrets.secret(namespace, name).await?;
    Ok(Connection {
        amqp_uri,
        management_uri,
        user: text(&credentials, namespace, name, "username")?,
        password: text(&credentials, namespace, name, "password")?,
        ca: ca(external, namespace, secrets).await?,
    })
}

/// The Secrets that a Broker in `namespace` refers to.
pub fn referenced(namespace: &str, spec: &BrokerSpec) -> Vec<(String, String)> {
    let Some(external) = &spec.external else {
        return Vec::new();
    };
    let mut all = vec![(namespace.to_owned(), external.credentials_secret_ref.name.clone())];
    if let Some(ca) = &external.ca_secret_ref {
        all.push((namespace.to_owned(), ca.name.clone()));
    }
    all
}

async fn ca(external: &External, namespace: &str, secrets: &impl Secrets) -> Result<Option<Vec<u8>>, ConnectionError> {
    let Some(reference) = &external.ca_secret_ref else {
        return Ok(None);
    };
    let data = secrets.secret(namespace, &reference.name).await?;
    value(&data, namespace, &reference.name, &reference.key).map(|pem| Some(pem.to_vec()))
}

fn value<'a>(data: &'a SecretData, namespace: &str, name: &str, key: &str) -> Result<&'a [u8], ConnectionError> {
    data.get(key)
        .map(Vec::as_slice)
        .ok_or_else(|| ConnectionError::Missing(format!("Secret {namespace}/{name} has no key '{key}'")))
}

fn text(data: &SecretData, namespace: &str, name: &str, key: &str) -> Result<String, ConnectionError> {
    let bytes = value(data, namespace, name, key)?;
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| ConnectionError::Invalid(format!("key '{key}' of Secret {namespace}/{name} is not UTF-8")))
}

/// Normal form: scheme, host and port, nothing else. The default ports are those of AMQP 0-9-1 and its IANA entry for TLS.
fn amqp_uri(given: &str) -> Result<String, ConnectionError> {
    let uri = parse("uri", given)?;
    let (scheme, default_port) = match uri.scheme_str() {
        Some("amqp") => ("amqp", 5672),
        Some("amqps") => ("amqps", 5671),
        _ => return Err(invalid("uri", given, "it must begin with amqp:// or amqps://")),
    };
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(default_port);
    Ok(format!("{scheme}://{host}:{port}"))
}

fn management_uri(given: &str) -> Result<String, ConnectionError> {
    let uri = parse("managementUri", given)?;
    let Some(scheme @ ("http" | "https")) = uri.scheme_str() else {
        return Err(invalid(
            "managementUri",
            given,
            "it must begin with http:// or https://",
        ));
    };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    Ok(format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/')))
}

fn parse(field: &str, given: &str) -> Result<Uri, ConnectionError> {
    let uri: Uri = given
        .parse()
        .map_err(|error| invalid(field, given, &format!("{error}")))?;
    if uri.host().is_none_or(str::is_empty) {
        return Err(invalid(field, given, "it has no host"));
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        // The text is not repeated: it may hold a password.
        return Err(ConnectionError::Invalid(format!(
            "{field} must not contain user or password; they come from credentialsSecretRef"
        )));
    }
    Ok(uri)
}

fn invalid(field: &str, given: &str, why: &str) -> ConnectionError {
    ConnectionError::Invalid(format!("{field} '{given}' cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Kind, LastStatus, Meta, ObjectKey};

    struct Fixed(BTreeMap<&'static str, SecretData>);

    impl Secrets for Fixed {
        async fn secret(&self, namespace: &str, name: &str) -> Result<SecretData, ConnectionError> {
            let missing = || ConnectionError::Missing(format!("Secret {namespace}/{name} does not exist"));
            self.0.get(name).cloned().ok_or_else(missing)
        }
    }

    fn broker(spec: serde_json::Value) -> Object<BrokerSpec> {
        Object {
            meta: Meta {
                key: ObjectKey::new(Kind::Broker, "shop", "main"),
                uid: String::new(),
                generation: 1,
                created: 0,
                deleting: None,
                annotations: BTreeMap::new(),
                finalized: false,
                status: LastStatus::default(),
            },
            spec: serde_json::from_value(spec).expect("spec"),
        }
    }

    fn external(uri: &str, management: &str, ca: bool) -> Object<BrokerSpec> {
        let mut spec = serde_json::json!({"engine": "External", "external": {
            "uri": uri, "managementUri": management, "credentialsSecretRef": {"name": "admin"}}});
        if ca {
            spec["external"]["caSecretRef"] = serde_json::json!({"name": "ca"});
        }
        broker(spec)
    }

    fn secret(pairs: &[(&str, &str)]) -> SecretData {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect()
    }

    #[tokio::test]
    async fn a_connection() {
        let admin = secret(&[("username", "u"), ("password", "p")]);
        let secrets = Fixed([("admin", admin), ("ca", secret(&[("ca.crt", "pem")]))].into());
        let found = dereference(
            &external("amqps://rabbit.shop.svc/", "https://rabbit:1/prefix/", true),
            &secrets,
        )
        .await;
        let connection = found.expect("connection");
        assert_eq!(connection.amqp_uri, "amqps://rabbit.shop.svc:5671");
        assert_eq!(connection.management_uri, "https://rabbit:1/prefix");
        assert_eq!((connection.user.as_str(), connection.password.as_str()), ("u", "p"));
        assert_eq!(connection.ca.as_deref(), Some(&b"pem"[..]));
        let v6 = dereference(&external("amqp://[::1]", "http://[::1]:15672", false), &secrets).await;
        assert_eq!(v6.expect("connection").amqp_uri, "amqp://[::1]:5672");
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let secrets = Fixed(BTreeMap::new());
        let good = external("amqp://a", "http://a", false);
        let no_secret = dereference(&good, &secrets).await;
        assert_eq!(
            no_secret,
            Err(ConnectionError::Missing("Secret shop/admin does not exist".to_owned()))
        );
        let secrets = Fixed([("admin", secret(&[("username", "u")]))].into());
        let no_key = dereference(&good, &secrets).await;
        assert_eq!(
            no_key,
            Err(ConnectionError::Missing(
                "Secret shop/admin has no key 'password'".to_owned()
            ))
        );
        for (uri, management) in [
            ("http://a", "http://a"),
            ("amqp://a", "amqp://a"),
            ("amqp://", "http://a"),
        ] {
            let answer = dereference(&external(uri, management, false), &secrets).await;
            assert!(
                matches!(answer, Err(ConnectionError::Invalid(_))),
                "{uri} {management}: {answer:?}"
            );
        }
        let own = dereference(&broker(serde_json::json!({})), &secrets).await;
        assert!(matches!(own, Err(ConnectionError::Invalid(text)) if text.contains("use engine External")));
    }

    #[tokio::test]
    async fn a_password_in_a_uri_is_not_repeated() {
        let answer = dereference(
            &external("amqp://u:geheim@a", "http://a", false),
            &Fixed(BTreeMap::new()),
        )
        .await;
        assert!(matches!(answer, Err(ConnectionError::Invalid(text)) if !text.contains("geheim")));
    }
}
