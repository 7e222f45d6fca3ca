//! `User`: who may log in to a broker, and what it may do there.
//!
//! In: the manifest. Out: `UserSpec`. Does not know about what the broker makes of it, nor about passwords.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AdoptionPolicy, BrokerRef, Rule, Specifies, default_vhost};
use super::condition::Condition;
use super::schema::{self, rules};
use super::secret::SecretRef;

/// A user of a broker, with its permissions.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "leveret.dev",
    version = "v1alpha1",
    kind = "User",
    plural = "users",
    shortname = "lvu",
    category = "leveret",
    namespaced,
    status = "UserStatus",
    derive = "PartialEq",
    selectable = ".spec.brokerRef.name",
    doc = "A user of a broker, with its permissions",
    printcolumn = r#"{"name":"BROKER","type":"string","jsonPath":".spec.brokerRef.name"}"#,
    printcolumn = r#"{"name":"READY","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"REASON","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"USER","type":"string","priority":1,"jsonPath":".status.name"}"#,
    printcolumn = r#"{"name":"SECRET","type":"string","priority":1,"jsonPath":".status.binding.name"}"#,
    printcolumn = r#"{"name":"MESSAGE","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[ONE_WAY, NAME_OF_ACCOUNT])))]
pub struct UserSpec {
    /// The Broker that has this user. Cannot be changed.
    #[schemars(extend("x-kubernetes-validations" = rules(&[schema::FIXED_BROKER])))]
    pub broker_ref: BrokerRef,
    /// Name on the broker; default: metadata.name. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[NOT_AN_ACCOUNT, schema::SHORT_STRING])))]
    pub name: Option<String>,
    /// Rights over HTTP: management, policymaker, monitoring, administrator; impersonator, or words of your own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = rules(&[TAGS])), inner(length(min = 1, max = 63)))]
    pub tags: Vec<String>,
    /// The most that it may have open.
    #[serde(default, skip_serializing_if = "UserLimits::is_none")]
    pub limits: UserLimits,
    /// Rights in virtual hosts, one entry for each. What is not here is taken away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["vhost"]))]
    pub permissions: Vec<Permission>,
    /// Limits of routing keys on topic exchanges, one entry for each exchange. What is not here is taken away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["vhost", "exchange"]))]
    pub topic_permissions: Vec<TopicPermission>,
    /// The password is in a Secret of yours, in the namespace of this object, and follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<PasswordSecretRef>,
    /// The password is known by its hash alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<PasswordHash>,
    /// No password: pods log in with the token of their service account. The user is called
    /// system:serviceaccount:NAMESPACE:NAME. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountRef>,
    /// The password is made by the operator and put into a Secret with all that a client needs (type, provider, host,
    /// port, username, password, uri, and vhost if there is one). This is the way when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated_secret: Option<GeneratedSecret>,
    /// Effect of deleting this object on the broker: Delete (with its permissions; its connections are closed), or
    /// Retain (it stays).
    #[serde(default)]
    pub deletion_policy: UserDeletionPolicy,
    /// Takes over a user that was there before: IfEqual (its password, too), Always (it is changed), Never.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
}

impl UserSpec {
    /// The name on the broker of the resource called `metadata_name`.
    pub fn broker_name(&self, metadata_name: &str) -> String {
        match (&self.service_account, &self.name) {
            (Some(account), _) => account.user(),
            (None, Some(name)) => name.clone(),
            (None, None) => metadata_name.to_owned(),
        }
    }

    /// The way in.
    pub fn way(&self) -> Way<'_> {
        match (&self.password_secret_ref, &self.password_hash, &self.service_account) {
            (Some(secret), _, _) => Way::Secret(secret),
            (None, Some(hash), _) => Way::Hash(hash),
            (None, None, Some(_)) => Way::Token,
            (None, None, None) => Way::Generated(self.generated_secret.as_ref()),
        }
    }
}

impl Specifies for UserSpec {
    const RULES: &'static [Rule] = &[schema::FIXED_NAME, FIXED_ACCOUNT];
}

/// The way by which a user logs in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way<'a> {
    /// With the password in a Secret that a user brings.
    Secret(&'a PasswordSecretRef),
    /// With the password that has this hash.
    Hash(&'a PasswordHash),
    /// With no password.
    Token,
    /// With the password in a Secret that the operator makes.
    Generated(Option<&'a GeneratedSecret>),
}

/// The most that a user may have open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserLimits {
    /// Most connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_connections: Option<i64>,
    /// Most channels, of all its connections together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_channels: Option<i64>,
}

impl UserLimits {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Rights in one virtual host: regular expressions that names match anywhere, unless they are anchored; an empty one
/// matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Permission {
    /// Virtual host. The permission waits until it is there.
    #[serde(default = "default_vhost")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub vhost: String,
    /// Names of queues and exchanges that it may declare and delete.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub configure: String,
    /// Names that it may publish to, and bind as a destination.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub write: String,
    /// Names that it may consume from, and bind as a source.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub read: String,
}

/// Limits of the routing keys of one topic exchange, as regular expressions in which {username}, {vhost} and
/// {client_id} stand for what they say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopicPermission {
    /// Virtual host.
    #[serde(default = "default_vhost")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub vhost: String,
    /// The exchange. The permission waits until it is there.
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub exchange: String,
    /// Routing keys that it may publish with.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub write: String,
    /// Routing keys that it may bind with.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub read: String,
}

/// Names the Secret with a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PasswordSecretRef {
    /// Name of the Secret, in the namespace of this object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the password. A Secret that has passwordHash (as RabbitMQ writes it) and not this key gives the hash; a
    /// key username, where there is one, must have the user's name.
    #[serde(default = "default_password_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_password_key() -> String {
    "password".to_owned()
}

/// A password by its hash, as RabbitMQ's definitions have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PasswordHash {
    /// Salt and hash in base64; empty: no password is right, for users who log in with a certificate.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = rules(&[BASE64])))]
    pub value: String,
    /// As RabbitMQ calls it; argon2id is known to Leveret alone.
    #[serde(default)]
    pub algorithm: HashingAlgorithm,
}

/// An algorithm of password hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HashingAlgorithm {
    #[default]
    #[serde(rename = "rabbit_password_hashing_sha256")]
    Sha256,
    #[serde(rename = "rabbit_password_hashing_sha512")]
    Sha512,
    #[serde(rename = "argon2id")]
    Argon2id,
}

impl HashingAlgorithm {
    /// RabbitMQ's name.
    pub fn as_str(self) -> &'static str {
        match self {
            HashingAlgorithm::Sha256 => "rabbit_password_hashing_sha256",
            HashingAlgorithm::Sha512 => "rabbit_password_hashing_sha512",
            HashingAlgorithm::Argon2id => "argon2id",
        }
    }
}

/// Names a service account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceAccountRef {
    /// Name of the ServiceAccount.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
}

impl ServiceAccountRef {
    /// The name that its tokens have as their subject.
    pub fn user(&self) -> String {
        format!("{ACCOUNTS}{}:{}", self.namespace, self.name)
    }

    /// The service account of a name that its tokens have.
    pub fn of(user: &str) -> Option<Self> {
        let (namespace, name) = user.strip_prefix(ACCOUNTS)?.split_once(':')?;
        let plain = |text: &str| !text.is_empty() && !text.contains(':');
        (plain(namespace) && plain(name)).then(|| Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        })
    }
}

/// The Secret that the operator makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GeneratedSecret {
    /// Name of the Secret; default: metadata.name of this object, and -user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
}

/// Effect on the broker of deleting the User.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UserDeletionPolicy {
    #[default]
    Delete,
    Retain,
}

/// State of a user on a broker, as the operator found or made it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserStatus {
    /// The generation of spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Name on the broker of what this object owns there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The Secret with all that a client needs, where the operator makes it (servicebinding.io).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<SecretRef>,
    /// When something was last done on the broker for this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_sync_time: Option<String>,
}

/// The names of service accounts begin so.
const ACCOUNTS: &str = "system:serviceaccount:";

const ONE_WAY: Rule = (
    "(has(self.passwordSecretRef) ? 1 : 0) + (has(self.passwordHash) ? 1 : 0) + (has(self.serviceAccount) ? 1 : 0) + (has(self.generatedSecret) ? 1 : 0) <= 1",
    "a user logs in by one way: give only one of passwordSecretRef, passwordHash, serviceAccount, generatedSecret",
);

const NAME_OF_ACCOUNT: Rule = (
    "!has(self.serviceAccount) || !has(self.name)",
    "a service account gives the user its name: leave name out",
);

const NOT_AN_ACCOUNT: Rule = (
    "!self.startsWith('system:serviceaccount:')",
    "names that begin with system:serviceaccount: are those of service accounts: use serviceAccount",
);

const FIXED_ACCOUNT: Rule = (
    "has(self.spec.serviceAccount) == has(oldSelf.spec.serviceAccount) && (!has(self.spec.serviceAccount) || self.spec.serviceAccount == oldSelf.spec.serviceAccount)",
    "serviceAccount cannot be changed, it is the user's name: delete the object and create it again",
);

const BASE64: Rule = (
    "self.matches('^[A-Za-z0-9+/]*={0,2}$')",
    "must be base64, as the management API and definitions files have it",
);

const TAGS: Rule = (
    "self.all(tag, tag.matches('^[^,\\\\s]+$'))",
    "a tag has no comma and no space in it",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_has_the_name_of_its_tokens() {
        let account = ServiceAccountRef {
            name: "till".to_owned(),
            namespace: "shop".to_owned(),
        };
        let user = account.user();
        assert_eq!(user, "system:serviceaccount:shop:till");
        assert_eq!(ServiceAccountRef::of(&user), Some(account));
        for other in [
            "till",
            "system:serviceaccount:shop",
            "system:serviceaccount::x",
            "system:serviceaccount:a:b:c",
        ] {
            assert_eq!(ServiceAccountRef::of(other), None, "{other}");
        }
    }
}
