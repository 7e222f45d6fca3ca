//! Users and permissions as the API changes them: kept, told, and what follows for their connections.
//!
//! Comes in: users and permissions from the HTTP API, and who asks for it. Goes out: records in the log, events on the
//! broker's event exchange, connections of deleted users closed. The administrator that files name is not
//! changed from here. Does not know about requests.

/// Events about users and permissions.
mod told;

use crate::access::Actor;
use crate::access::directory::{Made, Put};
use crate::access::hash::Hash;
use crate::access::rights::{Permission, TopicPermission};
use crate::access::user::{LONGEST_NAME, Limits, MOST_TAGS, Tags, User};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::vhost::Vhost;
use leveret_store::Lsn;
use told::Told;

pub use crate::access::directory::Many;

/// Bytes of a user without its texts, roughly, here and in the log's table.
const USER: usize = 600;

/// A user as it is asked for.
pub struct Asked {
    /// Its name.
    pub name: String,
    /// The password.
    pub password: Password,
    /// Its tags.
    pub tags: Tags,
    /// Its limits, if they are to be others.
    pub limits: Option<Limits>,
}

/// A password as it is asked for.
pub enum Password {
    /// In clear text.
    Clear(String),
    /// As its hash; [`Hash::None`] is no password.
    Hashed(Hash),
}

/// Puts a user in place of the one of its name. Gives the position in the log that an answer waits for, and whether
/// there was none of its name.
///
/// # Errors
/// 406 for a name or tags that are too long, the administrator of the files, or full memory; the log has failed.
pub async fn put(node: &Node, mut asked: Asked, actor: &Actor) -> Result<(Option<Lsn>, bool)> {
    check(node, &asked)?;
    if let Password::Clear(password) = &mut asked.password {
        let hash = hash(node, &asked.name, std::mem::take(password)).await?;
        asked.password = Password::Hashed(hash);
    }
    let (user, limits) = (user(&asked)?, asked.limits);
    let Made { lsn, what } = node.access.directory.put(&node.log, user.clone(), limits)?;
    obey(node, &user, limits, (lsn.is_some(), what), actor);
    Ok((lsn, what.created))
}

/// The user that is asked for, checked. Its password must have been hashed.
///
/// # Errors
/// As of [`put`].
pub fn checked(node: &Node, asked: &Asked) -> Result<User> {
    check(node, asked)?;
    user(asked)
}

fn user(asked: &Asked) -> Result<User> {
    let Password::Hashed(hash) = &asked.password else {
        return Err(Error::Internal("the password has not been hashed".into()));
    };
    Ok(User {
        name: asked.name.clone(),
        hash: hash.clone(),
        tags: asked.tags.clone(),
        limits: Limits::default(),
    })
}

/// Has a user who was put obey its limits, and tells of it.
fn obey(node: &Node, user: &User, limits: Option<Limits>, (changed, put): (bool, Put), actor: &Actor) {
    let mut events = Vec::new();
    events.extend(put.created.then_some(Told::Created));
    events.extend((put.password && !put.created).then_some(match user.hash {
        Hash::None => Told::PasswordCleared,
        _ => Told::PasswordChanged,
    }));
    if changed && !(put.created && user.tags.0.is_empty()) {
        events.push(Told::TagsSet(user.tags.0.clone()));
    }
    if let Some(limits) = limits {
        node.connections.limit_user(&user.name, limits.most());
    }
    events.extend(limits.map(|limits| Told::LimitsSet(limits.set().collect())));
    tell(node, &user.name, events, actor);
}

/// Puts many checked users and permissions: all of them or none, also when the broker is killed meanwhile. Gives the
/// position in the log that an answer waits for.
///
/// # Errors
/// 406 for full memory; the log has failed.
pub fn put_many(node: &Node, mut many: Many, actor: &Actor) -> Result<Option<Lsn>> {
    node.memory.admit((many.len() * USER) as u64)?;
    let Made { lsn, what } = node.access.directory.put_many(&node.log, &mut many)?;
    for ((user, limits), put) in many.users.into_values().zip(what) {
        obey(node, &user, limits, (true, put), actor);
    }
    for ((user, vhost), patterns) in many.permissions {
        tell(node, &user, vec![Told::Permitted(vhost, patterns)], actor);
    }
    for ((user, vhost, exchange), patterns) in many.topics {
        let event = Told::TopicPermitted(vhost, exchange, patterns);
        tell(node, &user, vec![event], actor);
    }
    Ok(lsn)
}

/// Deletes users and closes their connections. Gives the names of those that there were.
///
/// # Errors
/// 406 for the administrator of the files; the log has failed.
pub fn delete(node: &Node, names: &[String], actor: &Actor) -> Result<Made<Vec<String>>> {
    names.iter().try_for_each(|name| check_name(node, name))?;
    let made = node.access.directory.delete(&node.log, names)?;
    for name in &made.what {
        tell(node, name, vec![Told::Deleted], actor);
    }
    for connection in node.connections.list() {
        if made.what.contains(&connection.user) {
            connection.close(&format!("user '{}' is deleted", connection.user));
        }
    }
    Ok(made)
}

/// Sets a limit of a user, or with `None` clears it. `None` if there is no such user.
///
/// # Errors
/// The log has failed.
pub fn limit(node: &Node, name: &str, limit: &str, most: Option<i64>, actor: &Actor) -> Result<Option<Option<Lsn>>> {
    let set = |limits: &mut Limits| {
        if let Some(limit) = limits.get_mut(limit) {
            *limit = most;
        }
    };
    let Some(made) = node.access.directory.limit(&node.log, name, set)? else {
        return Ok(None);
    };
    node.connections.limit_user(name, made.what.most());
    if made.lsn.is_some() {
        let event = match most {
            Some(_) => Told::LimitsSet(made.what.set().collect()),
            None => Told::LimitsCleared,
        };
        tell(node, name, vec![event], actor);
    }
    Ok(Some(made.lsn))
}

/// Gives a user a permission in a vhost: patterns of what it may configure, write and read. `None` if there is no such
/// user or vhost.
///
/// # Errors
/// 406 for a pattern that can't be read; the log has failed.
pub fn permit(
    node: &Node,
    user: &str,
    vhost: &str,
    patterns: [String; 3],
    actor: &Actor,
) -> Result<Option<Made<bool>>> {
    check_name(node, user)?;
    if node.vhost(vhost).is_none() || node.access.directory.get(user).is_none() {
        return Ok(None);
    }
    Permission::check(&patterns).map_err(wrong_pattern)?;
    node.memory.admit((USER + patterns.concat().len()) as u64)?;
    let made = node.access.directory.permit(&node.log, user, vhost, patterns.clone())?;
    if made.as_ref().is_some_and(|made| made.lsn.is_some()) {
        tell(node, user, vec![Told::Permitted(vhost.to_owned(), patterns)], actor);
    }
    Ok(made)
}

/// Takes a user's permission in a vhost. False if it has none.
///
/// # Errors
/// 406 for the administrator of the files; the log has failed.
pub fn forbid(node: &Node, user: &str, vhost: &str, actor: &Actor) -> Result<Made<bool>> {
    check_name(node, user)?;
    let made = node.access.directory.forbid(&node.log, user, vhost)?;
    if made.what {
        tell(node, user, vec![Told::Forbidden(vhost.to_owned())], actor);
    }
    Ok(made)
}

/// Gives a user a topic permission: patterns of keys that it may publish with to an exchange, and bind with. `None` if
/// there is no such user or vhost.
///
/// # Errors
/// 406 for a pattern that can't be read, or an exchange that isn't there; the log has failed.
pub fn permit_topic(
    node: &Node,
    user: &str,
    (vhost, exchange): (&str, &str),
    patterns: [String; 2],
    actor: &Actor,
) -> Result<Option<Made<bool>>> {
    check_name(node, user)?;
    let Some(found) = node.vhost(vhost).filter(|_| node.access.directory.get(user).is_some()) else {
        return Ok(None);
    };
    TopicPermission::check(&patterns).map_err(wrong_pattern)?;
    check_exchange(&found, exchange)?;
    node.memory.admit((USER + patterns.concat().len()) as u64)?;
    let directory = &node.access.directory;
    let made = directory.permit_topic(&node.log, user, (vhost, exchange), patterns.clone())?;
    if made.as_ref().is_some_and(|made| made.lsn.is_some()) {
        let event = Told::TopicPermitted(vhost.to_owned(), exchange.to_owned(), patterns);
        tell(node, user, vec![event], actor);
    }
    Ok(made)
}

/// Takes a user's topic permissions in a vhost, or that for one exchange. False if it has none there.
///
/// # Errors
/// 406 for the administrator of the files; the log has failed.
pub fn forbid_topics(
    node: &Node,
    user: &str,
    vhost: &str,
    exchange: Option<&str>,
    actor: &Actor,
) -> Result<Made<bool>> {
    check_name(node, user)?;
    let made = node.access.directory.forbid_topics(&node.log, user, vhost, exchange)?;
    if made.lsn.is_some() {
        tell(node, user, vec![Told::TopicForbidden(vhost.to_owned())], actor);
    }
    Ok(made)
}

/// Tells that the permissions in a vhost have gone with it, as [`Directory::forget_vhost`] has given them.
///
/// [`Directory::forget_vhost`]: crate::access::directory::Directory::forget_vhost
pub fn forgotten(node: &Node, vhost: &str, users: Vec<(String, bool)>, actor: &Actor) {
    for (user, topics) in users {
        let mut events = vec![Told::Forbidden(vhost.to_owned())];
        events.extend(topics.then(|| Told::TopicForbidden(vhost.to_owned())));
        tell(node, &user, events, actor);
    }
}

/// Gives the user who has made a vhost all rights in it (RabbitMQ). The administrator that files name has them already.
/// Gives the position in the log that an answer waits for.
///
/// # Errors
/// The log has failed.
pub fn permit_all(node: &Node, vhost: &str, actor: &Actor) -> Result<Option<Lsn>> {
    if check_name(node, &actor.user).is_err() {
        return Ok(None);
    }
    let everything = [".*"; 3].map(str::to_owned);
    let made = permit(node, &actor.user, vhost, everything, actor)?;
    Ok(made.and_then(|made| made.lsn))
}

/// Refuses a topic permission for an exchange that isn't there.
///
/// # Errors
/// 406 with RabbitMQ's words.
pub fn check_exchange(vhost: &Vhost, exchange: &str) -> Result<()> {
    if vhost.topology().exchanges.contains_key(exchange.as_bytes()) {
        return Ok(());
    }
    Err(Error::Precondition(format!("no_such_exchange: {exchange}").into()))
}

/// The error for a pattern with this fault.
pub fn wrong_pattern(fault: String) -> Error {
    Error::Precondition(format!("invalid_regexp: {fault}").into())
}

/// The hash of a password that is set. One that the user has already keeps its hash, unless that is an imported one.
///
/// # Errors
/// There is no memory for it.
pub async fn hash(node: &Node, name: &str, password: String) -> Result<Hash> {
    let proofs = &node.access.proofs;
    let known = node
        .access
        .directory
        .get(name)
        .filter(|known| known.user.hash.is_slow());
    if let Some(known) = known
        && proofs.is_password(Some(&known), &password, || true).await == Some(true)
    {
        return Ok(known.user.hash.clone());
    }
    proofs.hash(password).await.map_err(|why| Error::Internal(why.into()))
}

fn check(node: &Node, asked: &Asked) -> Result<()> {
    check_name(node, &asked.name)?;
    let tags = &asked.tags.0;
    if tags.len() > MOST_TAGS {
        let text = format!("A user can have at most {MOST_TAGS} tags (received {})", tags.len());
        return Err(Error::Precondition(text.into()));
    }
    if tags.iter().chain([&asked.name]).any(|text| text.len() > LONGEST_NAME) {
        let text = format!("names of users and tags must not exceed {LONGEST_NAME} bytes");
        return Err(Error::Precondition(text.into()));
    }
    let bytes = USER + asked.name.len() + tags.iter().map(String::len).sum::<usize>();
    Ok(node.memory.admit(bytes as u64)?)
}

fn check_name(node: &Node, name: &str) -> Result<()> {
    if node
        .access
        .administrator()
        .is_some_and(|administrator| administrator == name)
    {
        let text = format!("user '{name}' is the administrator that files name: it is changed there");
        return Err(Error::Precondition(text.into()));
    }
    Ok(())
}

fn tell(node: &Node, user: &str, events: Vec<Told>, actor: &Actor) {
    let events: Vec<_> = events.iter().map(|event| event.event(user)).collect();
    node.hosts.shared.tell(&actor.user, &events);
}
