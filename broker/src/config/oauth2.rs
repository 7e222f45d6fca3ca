//! Settings of tokens: `auth_oauth2` and everything below it, by RabbitMQ's names.
//!
//! Comes in: lines of `NAME=VALUE`, as flags and environment have them and tables of the file are written. Goes out:
//! what tokens have to be like, or the first fault. A name that isn't supported is refused, not left out: who sets it
//! believes that it holds.

use super::error::Error;
use super::table::AUTH_OAUTH2;
use super::values::joined;
use crate::access::oauth::fetch;
use crate::access::oauth::keys::{Algorithm, Key, Keys};
use crate::access::oauth::terms::{Authz, Issuer, ResourceServer, Source, Terms};
use crate::files;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A setting below `auth_oauth2`. `*` in its name stands for a name or number that the user chooses.
pub(super) struct Row {
    /// The name.
    pub name: &'static str,
    /// The meaning.
    pub about: &'static str,
    /// The default and the values that are allowed.
    pub range: &'static str,
}

const fn row(name: &'static str, about: &'static str, range: &'static str) -> Row {
    Row { name, about, range }
}

/// Settings of a resource server: by itself, and below `resource_servers.*`.
pub(super) const SERVER: [Row; 10] = [
    row(
        "scope_prefix",
        "Text before each scope that is for this broker",
        "default: the id and a dot",
    ),
    row(
        "additional_scopes_key",
        "Claims with further scopes: paths with dots, spaces between",
        "none",
    ),
    row(
        "scope_aliases.*",
        "Scopes, spaces between, that the scope of this name stands for",
        "none",
    ),
    row(
        "scope_aliases.*.alias",
        "The same with a number: the scope that stands for others",
        "none",
    ),
    row(
        "scope_aliases.*.scope",
        "The scopes that it stands for, spaces between",
        "none",
    ),
    row(
        "verify_aud",
        "Tokens must name the resource server in `aud`",
        "true or false, default true",
    ),
    row(
        "require_exp",
        "Tokens must say when they expire",
        "true or false, default true",
    ),
    row(
        "preferred_username_claims.*",
        "Claims that the user's name is in, by their numbers",
        "default sub, client_id",
    ),
    row(
        "authz",
        "Origin of rights (Leveret's own): the token's scopes, or the broker's user of that name",
        "oauth2 or internal, default oauth2",
    ),
    row("scope_pattern_syntax", "Patterns in scopes", "wildcard"),
];

/// Settings of an issuer: by itself, and below `oauth_providers.*`.
pub(super) const ISSUER: [Row; 12] = [
    row(
        "issuer",
        "`iss` of its tokens; without an address of keys, that is found below it",
        "none; https://...",
    ),
    row("jwks_uri", "Address of its keys", "none; https://..."),
    row(
        "jwks_file",
        "File with its keys (Leveret's own)",
        "none; JWKS, read again when it changes",
    ),
    row(
        "discovery_endpoint_path",
        "Path below the issuer of the document that says where its keys are",
        "default .well-known/openid-configuration",
    ),
    row("signing_keys.*", "File with a key, by its id", "none; PEM"),
    row("default_key", "Id of the key of tokens that name none", "none"),
    row(
        "algorithms.*",
        "Algorithms that are accepted",
        "default all: RS, PS 256 to 512, ES256, ES384, EdDSA",
    ),
    row(
        "https.cacertfile",
        "Authority of its server's certificate",
        "default: the system's; PEM",
    ),
    row("https.verify", "Its server's certificate is verified", "verify_peer"),
    row("https.peer_verification", "The same by its older name", "verify_peer"),
    row(
        "https.hostname_verification",
        "Its server's name is verified",
        "wildcard",
    ),
    row(
        "https.token_file",
        "File with a token that its server is shown (Leveret's own)",
        "none; file with one line",
    ),
];

/// Settings that there are once.
pub(super) const ONCE: [Row; 5] = [
    row("resource_server_id", "Name of this broker in `aud` of tokens", "none"),
    row("jwks_url", "Address of keys, by its older name", "none; https://..."),
    row(
        "default_oauth_provider",
        "Issuer of the resource servers that name none",
        "default: the one without a name, or the only one",
    ),
    row(
        "resource_servers.*.id",
        "Name of this broker in `aud` of tokens",
        "default: the name of the resource server",
    ),
    row(
        "resource_servers.*.oauth_provider_id",
        "Its issuer",
        "default: default_oauth_provider",
    ),
];

/// Settings as they were written, by the parts of their names.
type Written = BTreeMap<Vec<String>, String>;

/// Reads all settings of tokens; `None` if there are none.
///
/// # Errors
/// The first one that can't be used.
pub(super) fn terms(lines: &[String]) -> Result<Option<Terms>, Error> {
    if lines.is_empty() {
        return Ok(None);
    }
    let mut written = Written::new();
    for line in lines {
        let (name, value) = line.split_once('=').ok_or_else(|| wrong(line, "", "NAME=VALUE"))?;
        check(name, value)?;
        written.insert(parts(name), value.to_owned());
    }
    let (named, mut issuers) = issuers(&written)?;
    let ids = Issuers {
        named,
        root: issuers.first().is_some_and(|issuer| issuer.name.is_empty()),
        default: one(&written, &[], "default_oauth_provider"),
    };
    let mut servers = Vec::new();
    let root = one(&written, &[], "resource_server_id");
    for name in names(&written, "resource_servers") {
        servers.push(server(&written, Some(&name), &ids)?);
    }
    if let Some(id) = root.filter(|id| servers.iter().all(|server| server.id != *id)) {
        servers.push(server(&written, None, &ids).map(|server| ResourceServer { id, ..server })?);
    }
    if servers.is_empty() {
        return Err(wrong(
            "resource_server_id",
            "",
            "the name of this broker in the tokens; it is missing",
        ));
    }
    for issuer in &mut issuers {
        if issuer.name.is_empty() {
            issuer.name = "default".to_owned();
        }
    }
    Ok(Some(Terms { servers, issuers }))
}

/// The issuers that servers may name.
struct Issuers {
    named: BTreeMap<String, usize>,
    /// The first one has no name.
    root: bool,
    default: Option<String>,
}

impl Issuers {
    fn find(&self, id: Option<String>) -> Result<usize, Error> {
        match id.or_else(|| self.default.clone()) {
            Some(id) => {
                let known: Vec<&str> = self.named.keys().map(String::as_str).collect();
                let found = self.named.get(&id).copied();
                let allowed = || format!("one of oauth_providers: {}", known.join(", "));
                found.ok_or_else(|| wrong("oauth_provider_id", &id, &allowed()))
            }
            None if self.root || self.named.len() == 1 => Ok(0),
            None => Err(wrong(
                "jwks_uri",
                "",
                "an address of keys, or jwks_file, issuer, signing_keys or default_oauth_provider; they are missing",
            )),
        }
    }
}

/// All issuers, and their numbers by name. The one without a name comes first.
fn issuers(written: &Written) -> Result<(BTreeMap<String, usize>, Vec<Issuer>), Error> {
    let mut issuers = Vec::new();
    let of_root = |name: &str| ISSUER.iter().any(|row| matches(row.name, name)) || name == "jwks_url";
    if written.keys().any(|name| of_root(&joined(name))) {
        issuers.push(issuer(written, &[])?);
    }
    let mut named = BTreeMap::new();
    for name in names(written, "oauth_providers") {
        named.insert(name.clone(), issuers.len());
        issuers.push(Issuer {
            name: name.clone(),
            ..issuer(written, &["oauth_providers", &name])?
        });
    }
    Ok((named, issuers))
}

fn issuer(written: &Written, prefix: &[&str]) -> Result<Issuer, Error> {
    let one = |name: &str| one(written, prefix, name);
    let url = |name: &str| {
        let url = one(name);
        let checked = url.map(|url| {
            fetch::parse(&url)
                .map(|_| url.clone())
                .map_err(|_| wrong(name, &url, "https://..."))
        });
        checked.transpose()
    };
    let (issuer, keys_at) = (url("issuer")?, url("jwks_uri")?.or(url("jwks_url")?));
    let path = one("discovery_endpoint_path").unwrap_or_else(|| ".well-known/openid-configuration".to_owned());
    let file = one("jwks_file").map(PathBuf::from);
    let keys = keys(written, prefix)?;
    let discovered = issuer.as_deref().filter(|_| keys.is_empty()).map(|issuer| {
        let (issuer, path) = (issuer.trim_end_matches('/'), path.trim_start_matches('/'));
        format!("{issuer}/{path}")
    });
    let source = match (keys_at, file, discovered) {
        (Some(url), None, _) => Source::Url(url),
        (None, Some(path), _) => Source::File(path),
        (None, None, Some(url)) => Source::Discovery(url),
        (None, None, None) if !keys.is_empty() => Source::Settings,
        (Some(_), Some(path), _) => {
            return Err(wrong(
                "jwks_file",
                &path.display().to_string(),
                "a file where there is no jwks_uri",
            ));
        }
        (None, None, None) => {
            return Err(wrong(
                "jwks_uri",
                "",
                "an address of keys, or a jwks_file; it is missing",
            ));
        }
    };
    let algorithm = |name: &String| {
        let known: Vec<&str> = Algorithm::ALL.into_iter().map(Algorithm::name).collect();
        Algorithm::named(name).ok_or_else(|| wrong("algorithms", name, &known.join(", ")))
    };
    let algorithms = many(written, prefix, "algorithms");
    Ok(Issuer {
        name: String::new(),
        issuer,
        source,
        authorities: one("https.cacertfile").map(PathBuf::from),
        token: one("https.token_file").map(PathBuf::from),
        keys,
        default_key: one("default_key"),
        algorithms: match algorithms.is_empty() {
            true => None,
            false => Some(algorithms.iter().map(algorithm).collect::<Result<_, _>>()?),
        },
    })
}

/// Keys in files.
fn keys(written: &Written, prefix: &[&str]) -> Result<Keys, Error> {
    let mut keys = Keys::new();
    for (id, path) in below(written, prefix, "signing_keys") {
        let [id] = id else { continue };
        let text = files::read_text(Path::new(path)).map_err(|error| error.to_string());
        let key = text.and_then(|text| Key::of_pem(&text));
        let key = key.map_err(|why| {
            wrong(
                "signing_keys",
                path,
                &format!("a file with a public key in PEM ({why})"),
            )
        })?;
        keys.insert(Some(id.clone()), Arc::new(key));
    }
    Ok(keys)
}

/// A resource server. One with a name has what is said of it, and else what is said of all.
fn server(written: &Written, name: Option<&str>, ids: &Issuers) -> Result<ResourceServer, Error> {
    let prefix: Vec<&str> = name.map_or(Vec::new(), |name| vec!["resource_servers", name]);
    let own = |key: &str| one(written, &prefix, key);
    let any = |key: &str| own(key).or_else(|| one(written, &[], key));
    let switch = |key: &str| match any(key).as_deref() {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(wrong(key, other, "true or false")),
    };
    let id = own("id").or_else(|| name.map(str::to_owned)).unwrap_or_default();
    let id = name.map_or_else(|| one(written, &[], "resource_server_id").unwrap_or_default(), |_| id);
    let claims = Some(many(written, &prefix, "preferred_username_claims")).filter(|claims| !claims.is_empty());
    let claims = claims.unwrap_or_else(|| many(written, &[], "preferred_username_claims"));
    let aliases = Some(aliases(written, &prefix)?).filter(|aliases| !aliases.is_empty());
    Ok(ResourceServer {
        scope_prefix: any("scope_prefix").unwrap_or_else(|| format!("{id}.")),
        additional_scopes: words(&any("additional_scopes_key").unwrap_or_default()),
        scope_aliases: aliases.map_or_else(|| self::aliases(written, &[]), Ok)?,
        verify_aud: switch("verify_aud")?,
        require_exp: switch("require_exp")?,
        user_claims: match claims.is_empty() {
            true => vec!["sub".to_owned(), "client_id".to_owned()],
            false => claims,
        },
        authz: match any("authz").as_deref() {
            None | Some("oauth2") => Authz::Scopes,
            Some("internal") => Authz::Users,
            Some(other) => return Err(wrong("authz", other, "oauth2 or internal")),
        },
        issuer: ids.find(own("oauth_provider_id"))?,
        id,
    })
}

/// Scopes by the names that stand for them, written in either form.
fn aliases(written: &Written, prefix: &[&str]) -> Result<HashMap<String, Vec<String>>, Error> {
    let mut aliases = HashMap::new();
    let all: BTreeMap<&[String], &str> = below(written, prefix, "scope_aliases").collect();
    for (name, value) in &all {
        match name {
            [alias] => _ = aliases.insert(alias.clone(), words(value)),
            [number, part] if part == "alias" => {
                let scope = [number.clone(), "scope".to_owned()];
                let scope = all.get(scope.as_slice());
                let scope = scope.ok_or_else(|| wrong("scope_aliases", value, "an alias together with its scope"))?;
                aliases.insert((*value).to_owned(), words(scope));
            }
            [number, part] if part == "scope" && !all.contains_key([number.clone(), "alias".to_owned()].as_slice()) => {
                return Err(wrong("scope_aliases", value, "a scope together with its alias"));
            }
            _ => {}
        }
    }
    Ok(aliases)
}

fn words(text: &str) -> Vec<String> {
    text.split(' ')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The value of a setting below a prefix.
fn one(written: &Written, prefix: &[&str], name: &str) -> Option<String> {
    let parts = prefix.iter().copied().chain(name.split('.')).map(str::to_owned);
    written.get(&parts.collect::<Vec<_>>()).cloned()
}

/// Settings below a name, with the rest of theirs.
fn below<'a>(
    written: &'a Written,
    prefix: &[&str],
    name: &str,
) -> impl Iterator<Item = (&'a [String], &'a str)> + use<'a> {
    let prefix: Vec<String> = prefix.iter().copied().chain([name]).map(str::to_owned).collect();
    written.iter().filter_map(move |(name, value)| {
        let rest = name.strip_prefix(prefix.as_slice())?;
        Some((rest, value.as_str()))
    })
}

/// Values below a name, in the order of their numbers.
fn many(written: &Written, prefix: &[&str], name: &str) -> Vec<String> {
    let mut values: Vec<(u64, &str, &str)> = below(written, prefix, name)
        .filter_map(|(rest, value)| match rest {
            [key] => Some((key.parse().unwrap_or(u64::MAX), key.as_str(), value)),
            _ => None,
        })
        .collect();
    values.sort_unstable();
    values.into_iter().map(|(_, _, value)| value.to_owned()).collect()
}

/// The names that are chosen for what there may be several of.
fn names(written: &Written, of: &str) -> Vec<String> {
    let mut names: Vec<String> = below(written, &[], of)
        .filter_map(|(rest, _)| rest.first().cloned())
        .collect();
    names.dedup();
    names
}

/// Checks that there is such a setting, and what has one value only.
fn check(name: &str, value: &str) -> Result<(), Error> {
    let parts = parts(name);
    let (rows, rest): (Vec<&Row>, &[String]) = match parts.as_slice() {
        [of, _, rest @ ..] if of == "resource_servers" => (SERVER.iter().collect(), rest),
        [of, _, rest @ ..] if of == "oauth_providers" => (ISSUER.iter().collect(), rest),
        _ => (SERVER.iter().chain(&ISSUER).collect(), parts.as_slice()),
    };
    let below = joined(rest);
    let known = rows.into_iter().find(|row| matches(row.name, &below));
    let known = known.or_else(|| ONCE.iter().find(|row| matches(row.name, &joined(&parts))));
    let known = known.map(|row| (row.name, row.range, row.about));
    match known {
        None => Err(Error::Value {
            key: format!("{}.{name}", AUTH_OAUTH2.key),
            value: value.to_owned(),
            allowed: "there is no such setting here; docs/settings.md has those that there are".to_owned(),
        }),
        Some((
            "https.verify" | "https.peer_verification" | "https.hostname_verification" | "scope_pattern_syntax",
            only,
            _,
        )) if only != value => Err(wrong(name, value, only)),
        Some((_, _, about)) if value.is_empty() && !name.ends_with("scope_prefix") => {
            Err(wrong(name, value, &format!("a text that isn't empty: {about}")))
        }
        Some(_) => Ok(()),
    }
}

/// True if a name is that of a row, part by part.
fn matches(row: &str, name: &str) -> bool {
    let (row, name) = (row.split('.').collect::<Vec<_>>(), parts(name));
    row.len() == name.len() && row.iter().zip(&name).all(|(row, name)| *row == "*" || row == name)
}

/// The parts of a name: with dots between, and in quotes where there is a dot in one.
fn parts(name: &str) -> Vec<String> {
    let (mut parts, mut quoted) = (vec![String::new()], false);
    for character in name.chars() {
        match (character, parts.last_mut()) {
            ('"', _) => quoted = !quoted,
            ('.', _) if !quoted => parts.push(String::new()),
            (other, Some(part)) => part.push(other),
            (_, None) => {}
        }
    }
    parts
}

fn wrong(name: &str, value: &str, allowed: &str) -> Error {
    Error::value(&format!("{}.{name}", AUTH_OAUTH2.key), value, allowed)
}

#[cfg(test)]
mod tests;
