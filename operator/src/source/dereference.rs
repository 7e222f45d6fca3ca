//! (client) Step "dereference": from a Broker and its Secrets to a connection.
//!
//! In: a `BrokerSpec` and something that looks Secrets up by name. Out: a `Connection`, or what is missing, or what the
//! Broker may not have.
//! Does not know about brokers on the wire, nor where Secrets come from.

use std::future::Future;

use hyper::Uri;

pub use super::grant::SecretData;
use crate::engine::{config, names};
use crate::object::{
    AMQP_URI, Connection, ConnectionError, Identity, MANAGEMENT_URI, Meta, Object, ObjectKey, Reason, Via,
};
use crate::resource::workload::Tls;
use crate::resource::{BrokerSpec, Engine, External};

/// The trust in the authors of Brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// With what is theirs alone: the operator can read Secrets that they cannot. `forwards`: annotations may name
    /// ports of the operator's own machine.
    Operator { forwards: bool },
    /// With all that is there: who runs the program reads the Secrets himself.
    User,
}

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
pub async fn dereference(
    broker: &Object<BrokerSpec>,
    secrets: &impl Secrets,
    trust: Trust,
) -> Result<Connection, ConnectionError> {
    let external = match (broker.spec.engine, &broker.spec.external) {
        (Engine::External, Some(external)) => external,
        (Engine::External, None) => {
            return Err(ConnectionError::Invalid("engine External needs external".to_owned()));
        }
        (Engine::Leveret, _) => return own(broker, secrets, trust).await,
    };
    let amqp_uri = amqp_uri(&external.uri)?;
    let management_uri = management_uri(&external.management_uri)?;
    let namespace = &broker.meta.key.namespace;
    let name = &external.credentials_secret_ref.name;
    let credentials = secrets.secret(namespace, name).await?;
    if trust != Trust::User {
        credentials.permit(name, &broker.meta)?;
        let hosts = [host(&amqp_uri), host(&management_uri)];
        credentials.permit_hosts(name, &broker.meta, &hosts.each_ref().map(String::as_str))?;
    }
    Ok(Connection {
        amqp_uri,
        management_uri,
        user: text(&credentials, namespace, name, "username")?,
        password: text(&credentials, namespace, name, "password")?,
        ca: ca(external, namespace, secrets).await?,
        identity: None,
        via: Via::Address,
    })
}

/// The connection to a broker that the operator runs: by its Service, or where annotations say. Its administrator was
/// made by the operator, and goes to no other machine.
async fn own(broker: &Object<BrokerSpec>, secrets: &impl Secrets, trust: Trust) -> Result<Connection, ConnectionError> {
    let key = &broker.meta.key;
    let service = names::host(key);
    let tls = broker
        .spec
        .tls
        .as_ref()
        .filter(|_| config::operator_uses_tls(&broker.spec));
    let (amqp, management) = match tls {
        Some(_) => (
            format!("amqps://{service}:{}", config::AMQPS),
            format!("https://{service}:{}", config::HTTPS),
        ),
        None => (
            format!("amqp://{service}:{}", config::AMQP),
            format!("http://{service}:{}", config::HTTP),
        ),
    };
    let elsewhere = |annotation: &str| broker.meta.annotations.get(annotation);
    let via = forward(&broker.meta, trust)?;
    let amqp_uri = amqp_uri(elsewhere(AMQP_URI).unwrap_or(&amqp))?;
    let management_uri = management_uri(elsewhere(MANAGEMENT_URI).unwrap_or(&management))?;
    let name = names::admin(key);
    let credentials = secrets.secret(&key.namespace, &name).await?;
    if trust != Trust::User {
        credentials.permit(&name, &broker.meta)?;
    }
    let (mut ca, mut identity) = (None, None);
    if let Some(tls) = tls {
        let data = secrets.secret(&key.namespace, &tls.secret_ref.name).await?;
        ca = data.values.get("ca.crt").cloned();
        identity = shown(tls, &broker.meta, secrets, trust).await?;
    }
    Ok(Connection {
        amqp_uri,
        management_uri,
        user: text(&credentials, &key.namespace, &name, "username")?,
        password: text(&credentials, &key.namespace, &name, "password")?,
        ca,
        identity,
        via,
    })
}

/// Follows annotations only where whoever runs the operator has said that they may be.
fn forward(broker: &Meta, trust: Trust) -> Result<Via, ConnectionError> {
    let mut named = [AMQP_URI, MANAGEMENT_URI].into_iter();
    let Some(annotation) = named.find(|annotation| broker.annotations.contains_key(*annotation)) else {
        return Ok(Via::Service);
    };
    match trust {
        Trust::Operator { forwards: false } => Err(ConnectionError::NotAllowed(format!(
            "annotation {annotation} is followed only by an operator outside the cluster, to a port of its own machine \
             (--allow-port-forwards true): take it away"
        ))),
        Trust::Operator { forwards: true } | Trust::User => Ok(Via::Forward),
    }
}

/// The certificate that the operator shows to a broker it runs.
async fn shown(
    tls: &Tls,
    broker: &Meta,
    secrets: &impl Secrets,
    trust: Trust,
) -> Result<Option<Identity>, ConnectionError> {
    let Some(reference) = &tls.operator_secret_ref else {
        return Ok(None);
    };
    let (namespace, name) = (&broker.key.namespace, &reference.name);
    let data = secrets.secret(namespace, name).await?;
    if trust != Trust::User {
        data.permit(name, broker)?;
    }
    Ok(Some(Identity {
        certificate: value(&data, namespace, name, "tls.crt")?.to_vec(),
        key: value(&data, namespace, name, "tls.key")?.to_vec(),
    }))
}

/// The part that is missing for the TLS of a broker that the operator runs, or that the Broker may not have; the text
/// names the Secret and the key.
pub async fn tls_problem(broker: &Object<BrokerSpec>, secrets: &impl Secrets) -> Option<(Reason, String)> {
    let tls = broker.spec.tls.as_ref()?;
    let namespace = &broker.meta.key.namespace;
    let mut needed = vec![(&tls.secret_ref.name, "tls.crt"), (&tls.secret_ref.name, "tls.key")];
    if let Some(client) = &tls.client_auth {
        needed.push((&client.ca_secret_ref.name, &client.ca_secret_ref.key));
    }
    if let Some(operator) = &tls.operator_secret_ref {
        needed.extend([(&operator.name, "tls.crt"), (&operator.name, "tls.key")]);
    }
    let mut missing = None;
    for (name, key) in needed {
        let found = secrets.secret(namespace, name).await.and_then(|data| {
            data.permit(name, &broker.meta)?;
            value(&data, namespace, name, key).map(drop)
        });
        match found {
            Ok(()) => {}
            // It counts more than what is missing: nothing is mounted meanwhile.
            Err(ConnectionError::NotAllowed(text)) => return Some((Reason::NotAllowed, text)),
            Err(error) => missing = missing.or(Some((Reason::WaitingForBroker, error.to_string()))),
        }
    }
    missing
}

/// The Secrets that a Broker refers to.
pub fn referenced(broker: &ObjectKey, spec: &BrokerSpec) -> Vec<(String, String)> {
    let namespace = &broker.namespace;
    let here = |name: &String| (namespace.clone(), name.clone());
    let Some(external) = &spec.external else {
        let tls = spec.tls.iter().flat_map(|tls| {
            let client = tls.client_auth.iter().map(|client| &client.ca_secret_ref.name);
            let operator = tls.operator_secret_ref.iter().map(|operator| &operator.name);
            client.chain(operator).chain([&tls.secret_ref.name])
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
    data.values
        .get(key)
        .map(Vec::as_slice)
        .ok_or_else(|| ConnectionError::Missing(format!("Secret {namespace}/{name} has no key '{key}'")))
}

fn text(data: &SecretData, namespace: &str, name: &str, key: &str) -> Result<String, ConnectionError> {
    let bytes = value(data, namespace, name, key)?;
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| ConnectionError::Invalid(format!("key '{key}' of Secret {namespace}/{name} is not UTF-8")))
}

/// The host in an address that was taken apart and put together before.
fn host(uri: &str) -> String {
    let uri: Option<Uri> = uri.parse().ok();
    uri.and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default()
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
    use std::collections::BTreeMap;

    use super::super::grant::BROKER;
    use super::*;
    use crate::object::Kind;

    const OPERATOR: Trust = Trust::Operator { forwards: false };

    struct Fixed(BTreeMap<&'static str, SecretData>);

    impl Secrets for Fixed {
        async fn secret(&self, namespace: &str, name: &str) -> Result<SecretData, ConnectionError> {
            let missing = || ConnectionError::Missing(format!("Secret {namespace}/{name} does not exist"));
            self.0.get(name).cloned().ok_or_else(missing)
        }
    }

    fn broker(spec: serde_json::Value) -> Object<BrokerSpec> {
        Object {
            meta: Meta::fresh(ObjectKey::new(Kind::Broker, "shop", "main")),
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
        let values = pairs.iter();
        SecretData {
            values: values
                .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
                .collect(),
            annotations: [(BROKER.to_owned(), "main".to_owned())].into(),
            owner: None,
        }
    }

    #[tokio::test]
    async fn a_connection() {
        let admin = secret(&[("username", "u"), ("password", "p")]);
        let secrets = Fixed([("admin", admin), ("ca", secret(&[("ca.crt", "pem")]))].into());
        let found = dereference(
            &external("amqps://rabbit.shop.svc/", "https://rabbit:1/prefix/", true),
            &secrets,
            OPERATOR,
        )
        .await;
        let connection = found.expect("connection");
        assert_eq!(connection.amqp_uri, "amqps://rabbit.shop.svc:5671");
        assert_eq!(connection.management_uri, "https://rabbit:1/prefix");
        assert_eq!((connection.user.as_str(), connection.password.as_str()), ("u", "p"));
        assert_eq!(connection.ca.as_deref(), Some(&b"pem"[..]));
        let v6 = dereference(
            &external("amqp://[::1]", "http://[::1]:15672", false),
            &secrets,
            OPERATOR,
        )
        .await;
        assert_eq!(v6.expect("connection").amqp_uri, "amqp://[::1]:5672");
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let secrets = Fixed(BTreeMap::new());
        let good = external("amqp://a", "http://a", false);
        let no_secret = dereference(&good, &secrets, OPERATOR).await;
        assert_eq!(
            no_secret,
            Err(ConnectionError::Missing("Secret shop/admin does not exist".to_owned()))
        );
        let secrets = Fixed([("admin", secret(&[("username", "u")]))].into());
        let no_key = dereference(&good, &secrets, OPERATOR).await;
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
            let answer = dereference(&external(uri, management, false), &secrets, OPERATOR).await;
            assert!(
                matches!(answer, Err(ConnectionError::Invalid(_))),
                "{uri} {management}: {answer:?}"
            );
        }
        let own = dereference(&broker(serde_json::json!({})), &secrets, OPERATOR).await;
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
        let plain = dereference(&broker(serde_json::json!({})), &secrets, OPERATOR)
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
        let secure = dereference(&with_tls, &secrets, OPERATOR).await.expect("connection");
        assert_eq!(secure.amqp_uri, "amqps://main.shop.svc:5671");
        assert_eq!(secure.ca.as_deref(), Some(&b"authority"[..]));
        let missing = tls_problem(&with_tls, &secrets).await;
        let expected = "Secret shop/cert has no key 'tls.key'".to_owned();
        assert_eq!(missing, Some((Reason::WaitingForBroker, expected)));
        let forwarded = [(AMQP_URI, "amqp://127.0.0.1:1"), (MANAGEMENT_URI, "http://127.0.0.1:2")];
        with_tls.meta.annotations = forwarded.map(|(key, uri)| (key.to_owned(), uri.to_owned())).into();
        let refused = dereference(&with_tls, &secrets, OPERATOR).await;
        assert!(matches!(refused, Err(ConnectionError::NotAllowed(_))), "{refused:?}");
        let outside = Trust::Operator { forwards: true };
        let elsewhere = dereference(&with_tls, &secrets, outside).await.expect("connection");
        assert_eq!(
            (elsewhere.amqp_uri.as_str(), elsewhere.via),
            ("amqp://127.0.0.1:1", Via::Forward)
        );
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
            OPERATOR,
        )
        .await;
        assert!(matches!(answer, Err(ConnectionError::Invalid(text)) if !text.contains("geheim")));
    }

    #[tokio::test]
    async fn a_secret_of_others_is_not_used() {
        let mut admin = secret(&[("username", "u"), ("password", "p")]);
        admin.annotations.clear();
        let mut cert = secret(&[("tls.crt", "c"), ("tls.key", "k")]);
        cert.annotations.clear();
        let secrets = Fixed([("admin", admin.clone()), ("main-admin", admin), ("cert", cert)].into());
        let good = external("amqp://a", "http://a", false);
        let own = broker(serde_json::json!({}));
        for broker in [&good, &own] {
            let refused = dereference(broker, &secrets, OPERATOR).await;
            assert!(matches!(refused, Err(ConnectionError::NotAllowed(_))), "{refused:?}");
        }
        // Who runs a command reads the Secret himself.
        assert!(dereference(&good, &secrets, Trust::User).await.is_ok());
        let tls = broker(serde_json::json!({"tls": {"secretRef": {"name": "cert"}}}));
        let problem = tls_problem(&tls, &secrets).await;
        assert!(
            matches!(&problem, Some((Reason::NotAllowed, text)) if text.contains("kubectl annotate secret cert -n shop")),
            "{problem:?}"
        );
    }

    #[tokio::test]
    async fn the_operator_shows_its_own_certificate() {
        let admin = secret(&[("username", "u"), ("password", "p")]);
        let cert = secret(&[("tls.crt", "c"), ("tls.key", "k"), ("ca.crt", "a")]);
        let secrets = Fixed(
            [
                ("main-admin", admin),
                ("cert", cert),
                ("op", secret(&[("tls.crt", "oc"), ("tls.key", "ok")])),
            ]
            .into(),
        );
        let mut spec = serde_json::json!({"tls": {"secretRef": {"name": "cert"}, "plain": "Disabled",
            "operatorSecretRef": {"name": "op"}, "clientAuth": {"caSecretRef": {"name": "cert"}}}});
        let connection = dereference(&broker(spec.clone()), &secrets, OPERATOR)
            .await
            .expect("connection");
        assert_eq!(connection.management_uri, "https://main.shop.svc:15671");
        let identity = connection.identity.expect("a certificate");
        assert_eq!((identity.certificate, identity.key), (b"oc".to_vec(), b"ok".to_vec()));
        spec["tls"]["operatorSecretRef"]["name"] = "cert".into();
        assert_eq!(tls_problem(&broker(spec), &secrets).await, None);
    }
}
