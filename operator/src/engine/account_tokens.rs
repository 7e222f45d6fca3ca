//! (pure) Tokens of service accounts: what a broker needs to take them.
//!
//! In: what the API server says of the tokens that it makes, a `Broker`. Out: the broker's settings, with those of the
//! user, and the file with the keys; or why they do not go together. Does not know about a Kubernetes client.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::names;
use crate::object::Object;
use crate::resource::BrokerSpec;

/// The file with the keys, beside that of the settings.
pub const FILE: &str = "service-account-keys.json";
/// Name of the issuer and of the resource server in the broker's settings.
const NAME: &str = "kubernetes";
/// The largest set of keys: some of the 1 MiB of a ConfigMap.
const LARGEST: usize = 256 << 10;
/// Settings of an issuer without a name, as the broker has them.
const NAMELESS: [&str; 9] = [
    "issuer",
    "jwks_uri",
    "jwks_url",
    "jwks_file",
    "discovery_endpoint_path",
    "signing_keys",
    "default_key",
    "algorithms",
    "https",
];

/// The cluster, as the issuer of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Its name in the tokens (`iss`).
    name: String,
    /// The set of its keys, which says also whose they are.
    file: String,
}

impl Issuer {
    /// The issuer by its discovery document, and by the set of its keys. The same keys give the same file, whatever
    /// their order: each of several API servers has its own.
    ///
    /// # Errors
    /// They are not what they should be.
    pub fn new(discovery: &str, keys: &str) -> Result<Self, String> {
        let discovery: Value =
            serde_json::from_str(discovery).map_err(|error| format!("the discovery document: {error}"))?;
        let name = discovery.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if keys.len() > LARGEST {
            return Err(format!("the set of keys is larger than {} KiB", LARGEST >> 10));
        }
        let set: Value = serde_json::from_str(keys).map_err(|error| format!("the set of keys: {error}"))?;
        Self::of(name, &set)
    }

    /// The issuer of a file that was made here before.
    pub fn read(file: &str) -> Option<Self> {
        let set: Value = serde_json::from_str(file).ok()?;
        Self::of(set.get("issuer")?.as_str()?, &set).ok()
    }

    fn of(name: &str, set: &Value) -> Result<Self, String> {
        if !name.starts_with("https://") {
            return Err(format!("'{name}' is no issuer: its name begins with https://"));
        }
        let keys = set.get("keys").and_then(Value::as_array);
        let mut keys = keys.cloned().unwrap_or_default();
        if keys.is_empty() {
            return Err("there is no key in the set of keys".to_owned());
        }
        keys.sort_by_cached_key(Value::to_string);
        Ok(Self {
            name: name.to_owned(),
            file: json!({ "issuer": name, "keys": keys }).to_string(),
        })
    }

    /// The file with the keys.
    pub fn file(&self) -> &str {
        &self.file
    }
}

/// The audience of tokens that are for a broker; `None` if it takes none.
pub fn audience(broker: &Object<BrokerSpec>) -> Option<String> {
    let tokens = broker.spec.service_account_tokens.as_ref()?;
    let own = || names::host(&broker.meta.key);
    Some(tokens.audience.clone().unwrap_or_else(own))
}

/// The settings of a broker that takes such tokens: those of the user, and what they lack.
///
/// # Errors
/// A setting of the user that says otherwise.
pub fn settings(broker: &Object<BrokerSpec>, issuer: &Issuer, folder: &str) -> Result<BTreeMap<String, Value>, String> {
    let mut settings = broker.spec.settings.clone();
    let Some(audience) = audience(broker) else {
        return Ok(settings);
    };
    if audience == issuer.name {
        return Err(format!(
            "serviceAccountTokens.audience: '{audience}' is the API server's: a token for the broker would be one for it"
        ));
    }
    if let Some(refusal) = refusal(broker) {
        return Err(refusal);
    }
    settings
        .entry("auth_backends".to_owned())
        .or_insert_with(|| json!(["internal", "oauth2"]));
    let all = settings.entry("auth_oauth2".to_owned()).or_insert_with(|| json!({}));
    if let Some(all) = all.as_object_mut() {
        keep_default(all);
        // All that it would take from the settings of all resource servers otherwise.
        let server = json!({
            "id": audience,
            "oauth_provider_id": NAME,
            "authz": "internal",
            "verify_aud": true,
            "require_exp": true,
            "preferred_username_claims": ["sub"],
        });
        insert(all, "resource_servers", server);
        let provider = json!({ "issuer": issuer.name, "jwks_file": format!("{folder}/{FILE}") });
        insert(all, "oauth_providers", provider);
    }
    Ok(settings)
}

/// The setting of the user with which the broker can't take such tokens, whatever the cluster is called.
pub fn refusal(broker: &Object<BrokerSpec>) -> Option<String> {
    let audience = audience(broker)?;
    let settings = &broker.spec.settings;
    if let Some(backends) = settings.get("auth_backends").and_then(Value::as_array)
        && !backends
            .iter()
            .filter_map(Value::as_str)
            .any(|name| name.ends_with("oauth2"))
    {
        return Some("settings.auth_backends: serviceAccountTokens needs oauth2 in it".to_owned());
    }
    let all = settings.get("auth_oauth2")?.as_object()?;
    for table in ["resource_servers", "oauth_providers"] {
        match all.get(table) {
            Some(Value::Object(named)) if named.contains_key(NAME) => {
                return Some(format!(
                    "settings.auth_oauth2.{table}.{NAME} is made by the operator, for serviceAccountTokens: give yours another name"
                ));
            }
            None | Some(Value::Object(_)) => {}
            Some(other) => {
                return Some(format!(
                    "setting auth_oauth2.{table}: '{other}' is not allowed; names and values below it"
                ));
            }
        }
    }
    let servers = all.get("resource_servers").and_then(Value::as_object);
    let ids = servers.into_iter().flatten().map(|(name, server)| {
        let id = server.get("id").and_then(Value::as_str);
        id.unwrap_or(name)
    });
    let own = all.get("resource_server_id").and_then(Value::as_str);
    let taken = ids.chain(own).any(|id| id == audience);
    taken.then(|| {
        format!("settings.auth_oauth2: '{audience}', the audience of serviceAccountTokens, is that of another resource server")
    })
}

/// An only issuer is the default without being named so; it stays that beside another.
fn keep_default(all: &mut Map<String, Value>) {
    let providers = all.get("oauth_providers").and_then(Value::as_object);
    let mut names = providers.into_iter().flat_map(Map::keys);
    let (Some(only), None) = (names.next().cloned(), names.next()) else {
        return;
    };
    if !NAMELESS.iter().any(|name| all.contains_key(*name)) {
        all.entry("default_oauth_provider").or_insert(Value::String(only));
    }
}

fn insert(all: &mut Map<String, Value>, table: &str, value: Value) {
    let table = all.entry(table).or_insert_with(|| json!({}));
    if let Some(table) = table.as_object_mut() {
        table.insert(NAME.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Kind, Meta, ObjectKey};

    const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";

    fn issuer() -> Issuer {
        let discovery = json!({"issuer": CLUSTER, "jwks_uri": "https://10.0.0.1:6443/openid/v1/jwks"});
        Issuer::new(&discovery.to_string(), r#"{"keys": [{"kid": "a", "kty": "EC"}]}"#).expect("an issuer")
    }

    fn merged(spec: Value) -> Result<Value, String> {
        let broker = Object {
            meta: Meta::fresh(ObjectKey::new(Kind::Broker, "shop", "main")),
            spec: serde_json::from_value(spec).expect("a spec"),
        };
        settings(&broker, &issuer(), "/keys").map(|settings| json!(settings))
    }

    fn server(audience: &str) -> Value {
        json!({"id": audience, "oauth_provider_id": "kubernetes", "authz": "internal", "verify_aud": true,
            "require_exp": true, "preferred_username_claims": ["sub"]})
    }

    fn provider() -> Value {
        json!({"issuer": CLUSTER, "jwks_file": "/keys/service-account-keys.json"})
    }

    #[test]
    fn the_order_of_keys_is_no_change() {
        let discovery = json!({ "issuer": CLUSTER }).to_string();
        let set = |keys: Value| Issuer::new(&discovery, &json!({ "keys": keys }).to_string());
        let (a, b) = (json!({"kid": "a"}), json!({"kid": "b"}));
        let both = set(json!([a, b])).expect("an issuer");
        assert_eq!(set(json!([b, a])).as_ref(), Ok(&both));
        assert_ne!(set(json!([a])).as_ref(), Ok(&both));
        assert_eq!(Issuer::read(both.file()), Some(both), "it is known again by its file");
        assert_eq!(Issuer::read("{}"), None);
    }

    #[test]
    fn what_is_no_issuer() {
        let discovery = json!({ "issuer": CLUSTER }).to_string();
        for (discovery, keys, why) in [
            ("{}", r#"{"keys": [{}]}"#, "'' is no issuer"),
            (
                r#"{"issuer": "kubernetes"}"#,
                r#"{"keys": [{}]}"#,
                "'kubernetes' is no issuer",
            ),
            ("<html>", "{}", "the discovery document: "),
            (discovery.as_str(), "no", "the set of keys: "),
            (
                discovery.as_str(),
                r#"{"keys": []}"#,
                "there is no key in the set of keys",
            ),
            (
                discovery.as_str(),
                &" ".repeat(LARGEST + 1),
                "the set of keys is larger than 256 KiB",
            ),
        ] {
            let said = Issuer::new(discovery, keys).expect_err(why);
            assert!(said.starts_with(why), "{said}");
        }
    }

    #[test]
    fn without_settings_of_the_user_all_are_made() {
        assert_eq!(merged(json!({"settings": {"threads": 2}})), Ok(json!({"threads": 2})));
        let made = json!({
            "auth_backends": ["internal", "oauth2"],
            "auth_oauth2": {
                "resource_servers": {"kubernetes": server("main.shop.svc")},
                "oauth_providers": {"kubernetes": provider()},
            },
        });
        assert_eq!(merged(json!({"serviceAccountTokens": {}})), Ok(made));
        let named = merged(json!({"serviceAccountTokens": {"audience": "leveret"}})).expect("settings");
        assert_eq!(
            named["auth_oauth2"]["resource_servers"]["kubernetes"],
            server("leveret")
        );
    }

    #[test]
    fn another_issuer_goes_on_beside() {
        let company = json!({"issuer": "https://idp.example"});
        let of = |oauth2: Value| {
            let settings = json!({"auth_backends": ["oauth2", "internal"], "auth_oauth2": oauth2});
            merged(json!({"serviceAccountTokens": {}, "settings": settings})).expect("settings")
        };
        let named = of(json!({"resource_server_id": "rabbitmq", "oauth_providers": {"company": company}}));
        assert_eq!(named["auth_backends"], json!(["oauth2", "internal"]), "in their order");
        assert_eq!(
            named["auth_oauth2"],
            json!({
                "resource_server_id": "rabbitmq",
                "default_oauth_provider": "company",
                "resource_servers": {"kubernetes": server("main.shop.svc")},
                "oauth_providers": {"company": company, "kubernetes": provider()},
            })
        );
        // One without a name comes first in any case.
        let nameless = of(json!({"resource_server_id": "r", "issuer": "https://a", "oauth_providers": {"b": company}}));
        assert_eq!(nameless["auth_oauth2"].get("default_oauth_provider"), None);
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        for (settings, why) in [
            (
                json!({"auth_backends": ["internal"]}),
                "settings.auth_backends: serviceAccountTokens needs oauth2 in it",
            ),
            (
                json!({"auth_oauth2": {"oauth_providers": {"kubernetes": {}}}}),
                "settings.auth_oauth2.oauth_providers.kubernetes is made by the operator, for serviceAccountTokens: \
                 give yours another name",
            ),
            (
                json!({"auth_oauth2": {"resource_servers": [1]}}),
                "setting auth_oauth2.resource_servers: '[1]' is not allowed; names and values below it",
            ),
            (
                json!({"auth_oauth2": {"resource_servers": {"x": {"id": "main.shop.svc"}}}}),
                "settings.auth_oauth2: 'main.shop.svc', the audience of serviceAccountTokens, is that of another \
                 resource server",
            ),
        ] {
            let spec = json!({"serviceAccountTokens": {}, "settings": settings});
            assert_eq!(merged(spec), Err(why.to_owned()));
        }
        let own = merged(json!({"serviceAccountTokens": {"audience": CLUSTER}})).expect_err("the API server's");
        assert!(
            own.starts_with("serviceAccountTokens.audience: 'https://kubernetes"),
            "{own}"
        );
    }
}
