//! (client) Step "dereference": from a Broker and its Secrets to a connection.
//!
//! In: a `BrokerSpec` and something that looks Secrets up by name. Out: a `Connection`, or what is missing.
//! Does not know about brokers on the wire, nor where Secrets come from.

use std::collections::BTreeMap;
use std::future::Future;

use hyper::Uri;

use crate::engine::{config, names};
use crate::object::{AMQP_URI, Connection, ConnectionError, MANAGEMENT_URI, Object, ObjectKey};
use crate::resource::{BrokerSpec, Engine, External};

/// The keys and values of a Secret.
pub type SecretData = BTreeMap<String, Vec<u8>>;

/// Looks up one Secret by name.
pub trait Secrets: Sync {
    /// # Errors
    /// `Missing` when there is none, `Unavailable` when that cannot be said.
    fn secret(&self, namespace: &str, name: &str) -> impl Future<Output = Result<SecretData, ConnectionError>> + Send;
}

/// The connection to `broker`.
///
/// # Errors
/// See [`ConnectionError`]; the text names the Secret and the key.
pub async fn dereference(broker: &Object<BrokerSpec>, secrets: &impl Secrets) -> Result<Connection, ConnectionError> {
    let external = match (broker.spec.engine, &broker.spec.external) {
        (Engine::External, Some(external)) => external,
        (Engine::External, None) => {
            return Err(ConnectionError::Invalid("engine External needs external".to_owned()));
        }
        (Engine::Leveret, _) => return own(broker, secrets).await,
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

/// The connection to a broker that the operator runs: by its Service, or where annotations say.
async fn own(broker: &Object<BrokerSpec>, secrets: &impl Secrets) -> Result<Connection, ConnectionError> {
    let key = &broker.meta.key;
    let host = names::host(key);
    let tls = broker
        .spec
        .tls
        .as_ref()
        .filter(|_| config::operator_uses_tls(&broker.spec));
    let (amqp, management) = match tls {
        Some(_) => (
            format!("amqps://{host}:{}", config::AMQPS),
            format!("https://{host}:{}", config::HTTPS),
        ),
        None => (
            format!("amqp://{host}:{}", config::AMQP),
            format!("http://{host}:{}", config::HTTP),
        ),
    };
    let elsewhere = |annotation: &str, by_service: String| {
        let annotations = &broker.meta.annotations;
        annotations.get(annotation).cloned().unwrap_or(by_service)
    };
    let amqp_uri = amqp_uri(&elsewhere(AMQP_URI, amqp))?;
    let management_uri = management_uri(&elsewhere(MANAGEMENT_URI, management))?;
    let name = names::admin(key);
    let credentials = secrets.secret(&key.namespace, &name).await?;
    let ca = match tls {
        Some(tls) => {
            let data = secrets.secret(&key.namespace, &tls.secret_ref.name).await?;
            data.get("ca.crt").cloned()
        }
        None => None,
    };
    Ok(Connection {
        amqp_uri,
        management_uri,
        user: text(&credentials, &key.namespace, &name, "username")?,
        password: text(&credentials, &key.namespace, &name, "password")?,
        ca,
    })
}

/// The part that is missing for the TLS of a broker that the operator runs; the text names the Secret and the key.
pub async fn tls_problem(broker: &Object<BrokerSpec>, secrets: &impl Secrets) -> Option<String> {
    let tls = broker.spec.tls.as_ref()?;
    let namespace = &broker.meta.key.namespace;
    let mut needed = vec![(&tls.secret_ref.name, "tls.crt"), (&tls.secret_ref.name, "tls.key")];
    if let Some(client) = &tls.client_auth {
        needed.push((&client.ca_secret_ref.name, &client.ca_secret_ref.key));
    }
    for (name, key) in needed {
        let found = secrets.secret(namespace, name).await;
        if let Err(error) = found.and_then(|data| value(&data, namespace, name, key).map(drop)) {
            return Some(error.to_string());
        }
    }
    None
}

/// The Secrets that a Broker refers to.
pub fn referenced(broker: &ObjectKey, spec: &BrokerSpec) -> Vec<(String, String)> {
    let namespace = &broker.namespace;
    let here = |name: &String| (namespace.clone(), name.clone());
    let Some(external) = &spec.external else {
        let tls = spec.tls.iter().flat_map(|tls| {
            let client = tls.client_auth.iter().map(|client| &client.ca_secret_ref.name);
            client.chain([&tls.secret_ref.name])
        });
        return tls.chain([&names::admin(broker)]).map(here).collect();
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

/// Normal form: scheme, host and port, nothing else. The default ports are those of AMQP 0-9-1 and its IANA entry for
/// TLS.
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
    use crate::object::{Kind, LastStatus, Meta, ObjectKey};

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
                touched: 0,
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
        assert_eq!(
            own,
            Err(ConnectionError::Missing(
                "Secret shop/main-admin does not exist".to_owned()
            ))
        );
    }

    #[tokio::test]
    async fn a_broker_of_its_own_is_reached_by_its_service() {
        let admin = secret(&[("username", "u"), ("password", "p")]);
        let tls = secret(&[("tls.crt", "pem"), ("ca.crt", "authority")]);
        let secrets = Fixed([("main-admin", admin), ("cert", tls)].into());
        let plain = dereference(&broker(serde_json::json!({})), &secrets)
            .await
            .expect("connection");
        assert_eq!(plain.amqp_uri, "amqp://main.shop.svc:5672");
        assert_eq!(plain.management_uri, "http://main.shop.svc:15672");
        assert_eq!(
            (plain.user.as_str(), plain.password.as_str(), plain.ca),
            ("u", "p", None)
        );
        let with_tls = serde_json::json!({"tls": {"secretRef": {"name": "cert"}}});
        let mut with_tls = broker(with_tls);
        let secure = dereference(&with_tls, &secrets).await.expect("connection");
        assert_eq!(secure.amqp_uri, "amqps://main.shop.svc:5671");
        assert_eq!(secure.ca.as_deref(), Some(&b"authority"[..]));
        let missing = tls_problem(&with_tls, &secrets).await;
        assert_eq!(missing.as_deref(), Some("Secret shop/cert has no key 'tls.key'"));
        let forwarded = [(AMQP_URI, "amqp://127.0.0.1:1"), (MANAGEMENT_URI, "http://127.0.0.1:2")];
        with_tls.meta.annotations = forwarded.map(|(key, uri)| (key.to_owned(), uri.to_owned())).into();
        let elsewhere = dereference(&with_tls, &secrets).await.expect("connection");
        assert_eq!(elsewhere.amqp_uri, "amqp://127.0.0.1:1");
        let mut names = referenced(&with_tls.meta.key, &with_tls.spec);
        names.sort();
        assert_eq!(
            names,
            [
                ("shop".to_owned(), "cert".to_owned()),
                ("shop".to_owned(), "main-admin".to_owned())
            ]
        );
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
