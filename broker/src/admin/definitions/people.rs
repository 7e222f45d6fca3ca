//! Users of documents, with their permissions.
//!
//! Comes in: documents. Goes out: users and permissions that can be put, all at once; what can't be is noted. The
//! administrator that files name is passed over: it can be neither changed nor locked out from here.

use super::document::{Document, Permission, User};
use super::steps::Steps;
use crate::access::{Actor, rights};
use crate::accounts::{self, Asked, Many, Password};
use crate::admin::error::{Failure, Result};
use crate::node::Node;
use leveret_store::Lsn;
use tracing::warn;

/// Passwords in clear text of some documents, at most. Each takes tens of milliseconds to be hashed.
const MOST_PASSWORDS: usize = 1000;

/// Has all passwords in clear text hashed.
///
/// # Errors
/// 400 if there are too many.
pub async fn hash(node: &Node, documents: &mut [(Option<String>, Document)]) -> Result<()> {
    let users = documents.iter_mut().flat_map(|(_, document)| &mut document.users.0);
    let users = users.flatten().map(|user| &mut user.asked);
    let clear: Vec<_> = users
        .filter(|asked| matches!(asked.password, Password::Clear(_)))
        .collect();
    if clear.len() > MOST_PASSWORDS {
        let text = format!(
            "the definitions have {} passwords in clear text: at most {MOST_PASSWORDS} are taken; give password_hash",
            clear.len()
        );
        return Err(Failure::BadRequest(text));
    }
    for asked in clear {
        if let Password::Clear(password) = &mut asked.password {
            let hash = accounts::hash(node, &asked.name, std::mem::take(password)).await?;
            asked.password = Password::Hashed(hash);
        }
    }
    Ok(())
}

/// Users and permissions that are going to be put.
#[derive(Default)]
pub struct People {
    many: Many,
}

impl People {
    /// Takes the users of a document.
    pub fn users(&mut self, steps: &mut Steps<'_>, document: &Document) {
        let md5 = document.implies_md5();
        let named = |user: &User| format!("'{}'", user.asked.name);
        steps.each("user", &document.users, named, |steps, user| {
            if md5 && user.implied {
                let text = "the hash was made with MD5, which is not supported: give it a new password";
                return Err(Failure::BadRequest(text.into()));
            }
            self.user(steps.node, &user.asked)
        });
    }

    fn user(&mut self, node: &Node, asked: &Asked) -> Result<()> {
        if is_of_files(node, &asked.name) {
            warn!(
                user = asked.name,
                "the administrator that files name stays as it is, whatever definitions say"
            );
            return Ok(());
        }
        let user = accounts::checked(node, asked)?;
        self.many.users.insert(user.name.clone(), (user, asked.limits));
        Ok(())
    }

    /// Takes the permissions of a document, when all vhosts and exchanges are there.
    pub fn permissions(&mut self, steps: &mut Steps<'_>, document: &Document) {
        let named = |entry: &Permission| format!("of user '{}' in vhost '{}'", entry.user, entry.vhost);
        steps.each("permission", &document.permissions, named, |steps, entry| {
            let patterns = patterns([
                ("configure", &entry.configure),
                ("write", &entry.write),
                ("read", &entry.read),
            ])?;
            if self.concerns(steps, entry)? {
                rights::Permission::check(&patterns).map_err(accounts::wrong_pattern)?;
                let place = (entry.user.clone(), entry.vhost.clone());
                self.many.permissions.insert(place, patterns);
            }
            Ok(())
        });
        let named = |entry: &Permission| format!("{} for exchange '{}'", named(entry), entry.exchange);
        steps.each(
            "topic permission",
            &document.topic_permissions,
            named,
            |steps, entry| {
                let patterns = patterns([("write", &entry.write), ("read", &entry.read)])?;
                if self.concerns(steps, entry)? {
                    rights::TopicPermission::check(&patterns).map_err(accounts::wrong_pattern)?;
                    let vhost = steps.of(Some(&entry.vhost))?;
                    accounts::check_exchange(&vhost, &entry.exchange)?;
                    let place = (entry.user.clone(), entry.vhost.clone(), entry.exchange.clone());
                    self.many.topics.insert(place, patterns);
                }
                Ok(())
            },
        );
    }

    /// True if a permission is one of a user who can get it. There must be such a user, and the vhost.
    fn concerns(&self, steps: &mut Steps<'_>, entry: &Permission) -> Result<bool> {
        if is_of_files(steps.node, &entry.user) {
            return Ok(false);
        }
        if !self.many.users.contains_key(&entry.user) && steps.node.access.directory.get(&entry.user).is_none() {
            return Err(Failure::BadRequest("there is no such user".into()));
        }
        steps.of(Some(&entry.vhost)).map(|_| true)
    }

    /// Puts all of them.
    ///
    /// # Errors
    /// Memory is full; the log has failed.
    pub fn put(self, node: &Node, actor: &Actor) -> Result<Option<Lsn>> {
        Ok(accounts::put_many(node, self.many, actor)?)
    }
}

fn is_of_files(node: &Node, name: &str) -> bool {
    node.access.administrator().as_deref() == Some(name)
}

/// The patterns of a permission: none may be left out.
fn patterns<const N: usize>(given: [(&str, &Option<String>); N]) -> Result<[String; N]> {
    if let Some((missing, _)) = given.iter().find(|(_, pattern)| pattern.is_none()) {
        return Err(Failure::BadRequest(format!("[{{key_missing,{missing}}}]")));
    }
    Ok(given.map(|(_, pattern)| pattern.clone().unwrap_or_default()))
}
