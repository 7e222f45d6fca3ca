//! What tokens have to be like: who issues them, for whom, and what is read from them.
//!
//! Comes in: settings, checked. Goes out: plain values. Does not know how they are written. Pure.

use super::keys::{Algorithm, Keys};
use std::collections::HashMap;
use std::path::PathBuf;

/// Everything about tokens.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Those for whom tokens are accepted: this broker, by one name or several.
    pub servers: Vec<ResourceServer>,
    /// Those whose tokens are accepted.
    pub issuers: Vec<Issuer>,
}

/// The origin of a user's rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authz {
    /// The scopes of the token, as in RabbitMQ.
    #[default]
    Scopes,
    /// The permissions and tags of the broker's user of that name.
    Users,
}

/// A name by which tokens are for this broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceServer {
    /// The name in `aud`.
    pub id: String,
    /// The text before each scope that is for this broker.
    pub scope_prefix: String,
    /// Claims with further scopes: names, or paths with dots between.
    pub additional_scopes: Vec<String>,
    /// Scopes by the names that stand for them.
    pub scope_aliases: HashMap<String, Vec<String>>,
    /// False if tokens are accepted that name nobody that is known here.
    pub verify_aud: bool,
    /// False if tokens are accepted that work for ever.
    pub require_exp: bool,
    /// Claims that the user's name is in: the first that there is.
    pub user_claims: Vec<String>,
    /// The origin of rights.
    pub authz: Authz,
    /// The issuer, by its number.
    pub issuer: usize,
}

/// Somebody who issues tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issuer {
    /// Its name in settings and in the log.
    pub name: String,
    /// `iss` of its tokens, if that is known.
    pub issuer: Option<String>,
    /// The origin of its keys.
    pub source: Source,
    /// Authorities that certificates of its server are of; those of the system, if no file is named.
    pub authorities: Option<PathBuf>,
    /// A file with a token, which its server is shown.
    pub token: Option<PathBuf>,
    /// Keys that the settings name.
    pub keys: Keys,
    /// The id of the key that tokens without an id are signed with.
    pub default_key: Option<String>,
    /// Algorithms that are accepted; all, if there is no list.
    pub algorithms: Option<Vec<Algorithm>>,
}

/// The origin of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The settings have all of them.
    #[default]
    Settings,
    /// A file with a set of keys.
    File(PathBuf),
    /// An address of a set of keys.
    Url(String),
    /// An address of a document that says where the set of keys is (OpenID Connect Discovery).
    Discovery(String),
}
