//! Users with their permissions, which other tools write down apart: each User is put together from its parts.
//!
//! In: everything that was found. Out: the same with whole Users, and a line for each part that has none. Does not know
//! about other kinds, or names of manifests.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::found::{Found, text};
use crate::object::Kind;
use crate::rabbitmq::Owner;
use crate::resource::ServiceAccountRef;

/// Lists of a User, with the fields that tell their entries apart.
const LISTS: [(&str, &[&str]); 2] = [
    ("permissions", &["vhost"]),
    ("topicPermissions", &["vhost", "exchange"]),
];

/// Ways to log in.
const WAYS: [&str; 3] = ["passwordSecretRef", "passwordHash", "generatedSecret"];

/// Names of users that stand in Secrets, by namespace and name of these.
pub(super) type Secrets = BTreeMap<(String, String), String>;

/// Puts Users together. `hashes`: passwords' hashes are written down.
pub(super) fn whole(found: Vec<Found>, secrets: &Secrets, hashes: bool, left_out: &mut Vec<String>) -> Vec<Found> {
    let (parts, mut others): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|one| one.translation.of.is_some());
    let mut owners = BTreeMap::new();
    for (at, user) in others.iter_mut().enumerate() {
        if user.translation.kind != Kind::User {
            continue;
        }
        name(user, secrets, left_out);
        give_way(user, hashes, left_out);
        let by_name = Owner::User(text(&user.translation.spec, "name").to_owned());
        owners.entry((by_name, user.home())).or_insert(at);
        if !user.metadata.is_empty() {
            let by_resource = Owner::Resource(text(&user.metadata, "name").to_owned());
            owners.entry((by_resource, namespace(user))).or_insert(at);
        }
    }
    let mut given = BTreeSet::new();
    for part in parts {
        let owner = part.translation.of.clone().map(|owner| match owner {
            Owner::User(_) => (owner, part.home()),
            Owner::Resource(_) => (owner, namespace(&part)),
        });
        let at = owner.and_then(|owner| owners.get(&owner)).copied();
        let why = match at.and_then(|at| Some((at, others.get_mut(at)?))) {
            Some((at, user)) => add(&mut user.translation.spec, &part.translation.spec, at, &mut given),
            None => Some("its user is not here: add it to the User that has it"),
        };
        left_out.extend(why.map(|why| part.line(why)));
    }
    others
}

fn namespace(one: &Found) -> String {
    text(&one.metadata, "namespace").to_owned()
}

/// A User without a name is called as its Secret says.
fn name(user: &mut Found, secrets: &Secrets, left_out: &mut Vec<String>) {
    if user.translation.spec.contains_key("name") || user.metadata.is_empty() {
        return;
    }
    let spec = &mut user.translation.spec;
    let secret = spec.get("passwordSecretRef").and_then(|secret| secret.get("name"));
    let secret = secret.and_then(Value::as_str).unwrap_or_default().to_owned();
    let namespace = text(&user.metadata, "namespace").to_owned();
    let known = secrets.get(&(namespace, secret.clone()));
    let name = known
        .cloned()
        .unwrap_or_else(|| text(&user.metadata, "name").to_owned());
    if known.is_none() {
        left_out.push(user.line(&format!(
            "the name of the user stands in the Secret {secret}, which is not here: it is taken to be {name}; write spec.name if it is another"
        )));
    }
    user.translation.spec.insert("name".to_owned(), json!(name));
}

/// A password is never written down, its hash only on demand: a Secret that is not there yet is named, so that the
/// password on the broker stays until it is.
fn give_way(user: &mut Found, hashes: bool, left_out: &mut Vec<String>) {
    let spec = &mut user.translation.spec;
    let is_empty = spec.get("passwordHash").is_some_and(|hash| hash["value"] == "");
    if let Some(account) = ServiceAccountRef::of(text(spec, "name")).filter(|_| is_empty) {
        spec.remove("passwordHash");
        spec.insert("serviceAccount".to_owned(), json!(account));
        return;
    }
    if WAYS.iter().any(|way| spec.contains_key(*way)) && (hashes || is_empty || !spec.contains_key("passwordHash")) {
        return;
    }
    let has_hash = spec.remove("passwordHash").is_some();
    let name = text(spec, "name").to_lowercase();
    let secret: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let secret = format!("{}-password", secret.trim_matches('-'))
        .trim_start_matches('-')
        .to_owned();
    spec.insert("passwordSecretRef".to_owned(), json!({ "name": secret }));
    // Whether its password is the one on the broker cannot be seen: there it has another salt.
    spec.insert("adoptionPolicy".to_owned(), json!("Always"));
    let or = if has_hash { ", or give --password-hashes" } else { "" };
    left_out.push(user.line(&format!(
        "password: is not written down: make the Secret {secret} with the key password{or}"
    )));
}

/// Entries that a user has: which user, which list, and what tells the entry from others.
type Given = BTreeSet<(usize, &'static str, String)>;

/// Adds the entries of a part to the user at `at`; the reason why one is not added.
fn add(spec: &mut Map<String, Value>, part: &Map<String, Value>, at: usize, given: &mut Given) -> Option<&'static str> {
    let mut why = None;
    for (list, keys) in LISTS {
        let Some(entries) = part.get(list).and_then(Value::as_array) else {
            continue;
        };
        let known = spec.entry(list).or_insert_with(|| json!([]));
        let Some(known) = known.as_array_mut() else { continue };
        for entry in entries {
            let place: Vec<&Value> = keys.iter().filter_map(|key| entry.get(*key)).collect();
            match given.insert((at, list, json!(place).to_string())) {
                true => known.push(entry.clone()),
                false => why = Some("the user has other permissions for the same already"),
            }
        }
    }
    why
}
