//! `/api/permissions`, `/api/topic-permissions`: rights of users, vhost by vhost.
//!
//! Comes in: requests. Goes out: RabbitMQ's objects; changes through `accounts`, answered when they are durable.

use super::body::Fields;
use super::error::{Failure, Result};
use super::http::ok;
use super::input::Input;
use super::json::{self, Array, Object};
use super::login::{Gate, Login};
use super::state::Admin;
use super::users;
use crate::access::proof::Account;
use crate::access::rights::InVhost;
use crate::accounts;
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get};
use std::sync::Arc;

/// The patterns of a permission, in RabbitMQ's order, and of a topic permission.
const RIGHTS: [&str; 3] = ["configure", "write", "read"];
const TOPIC_RIGHTS: [&str; 2] = ["write", "read"];
/// The pattern of whoever may do everything.
const EVERYTHING: &str = ".*";

/// Permissions.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/permissions", get(all))
        .route("/api/permissions/{vhost}/{user}", get(one).put(put).delete(remove))
        .route("/api/users/without-permissions", get(without))
        .route("/api/users/{user}/permissions", get(of_user))
        .route("/api/vhosts/{vhost}/permissions", get(in_vhost))
        .route("/api/topic-permissions", get(all_topics))
        .route(
            "/api/topic-permissions/{vhost}/{user}",
            get(topics).put(put_topic).delete(remove_topics),
        )
        .route("/api/topic-permissions/{vhost}/{user}/{exchange}", delete(remove_topic))
        .route("/api/users/{user}/topic-permissions", get(topics_of_user))
        .route("/api/vhosts/{vhost}/topic-permissions", get(topics_in_vhost))
}

/// A user's rights in a vhost.
pub struct Row {
    user: String,
    vhost: String,
    rights: Given,
}

enum Given {
    /// Of the administrator that files name: all of them, and nothing that could be taken away.
    Everything,
    Some(InVhost),
}

impl Row {
    fn is_permitted(&self) -> bool {
        match &self.rights {
            Given::Everything => true,
            Given::Some(rights) => rights.permission.is_some(),
        }
    }

    fn describe(&self, o: &mut Object<'_>) {
        o.text("user", &self.user);
        o.text("vhost", &self.vhost);
        for (at, right) in RIGHTS.into_iter().enumerate() {
            let pattern = match &self.rights {
                Given::Everything => Some(EVERYTHING),
                Given::Some(rights) => {
                    let permission = rights.permission.as_ref();
                    permission.and_then(|permission| permission.patterns.get(at).map(String::as_str))
                }
            };
            o.text(right, pattern.unwrap_or_default());
        }
    }

    fn topics(&self, list: &mut Array<'_>) {
        let Given::Some(rights) = &self.rights else { return };
        for (exchange, topic) in &rights.topics {
            list.object(|o| {
                o.text("user", &self.user);
                o.text("vhost", &self.vhost);
                o.text("exchange", exchange);
                for (right, pattern) in TOPIC_RIGHTS.into_iter().zip(&topic.patterns) {
                    o.text(right, pattern);
                }
            });
        }
    }
}

/// The rights of those users and vhosts that are asked for, by vhost and user.
fn rows(admin: &Admin, user: Option<&str>, vhost: Option<&str>) -> Vec<Row> {
    let access = &admin.node.access;
    let administrator = access.administrator();
    let wanted = |asked: Option<&str>, name: &str| asked.is_none_or(|asked| asked == name);
    let mut rows = Vec::new();
    for account in access.directory.list() {
        let name = &account.user.name;
        if !wanted(user, name) || administrator.as_ref() == Some(name) {
            continue;
        }
        let rights = account.rights.list().into_iter().filter(|(of, _)| wanted(vhost, of));
        rows.extend(rights.map(|(vhost, rights)| Row {
            user: name.clone(),
            vhost,
            rights: Given::Some(rights),
        }));
    }
    if let Some(name) = administrator.filter(|name| wanted(user, name)) {
        let vhosts = admin.node.vhosts().into_iter().filter(|of| wanted(vhost, &of.name));
        rows.extend(vhosts.map(|vhost| Row {
            user: name.clone(),
            vhost: vhost.name.clone(),
            rights: Given::Everything,
        }));
    }
    rows.sort_by(|a, b| (&a.vhost, &a.user).cmp(&(&b.vhost, &b.user)));
    rows
}

/// The rights of users, by user and vhost.
pub fn of_accounts(accounts: &[Arc<Account>]) -> Vec<Row> {
    let rows = accounts.iter().flat_map(|account| {
        let rights = account.rights.list().into_iter();
        rights.map(|(vhost, rights)| Row {
            user: account.user.name.clone(),
            vhost,
            rights: Given::Some(rights),
        })
    });
    rows.collect()
}

/// Permissions as RabbitMQ shows them.
pub fn list(rows: &[Row], list: &mut Array<'_>) {
    let permitted = rows.iter().filter(|row| row.is_permitted());
    permitted.for_each(|row| list.object(|o| row.describe(o)));
}

/// Topic permissions as RabbitMQ shows them.
pub fn list_topics(rows: &[Row], list: &mut Array<'_>) {
    rows.iter().for_each(|row| row.topics(list));
}

fn permissions(rows: &[Row]) -> Response {
    ok(json::array(None, |out| list(rows, out)))
}

fn topic_permissions(rows: &[Row]) -> Response {
    ok(json::array(None, |out| list_topics(rows, out)))
}

async fn all(Login { admin, .. }: Login) -> Response {
    permissions(&rows(&admin, None, None))
}

async fn of_user(Login { admin, .. }: Login, Path(user): Path<String>) -> Result<Response> {
    users::find(&admin, &user)?;
    Ok(permissions(&rows(&admin, Some(&user), None)))
}

async fn in_vhost(Login { admin, .. }: Login, Path(vhost): Path<String>) -> Result<Response> {
    admin.vhost(&vhost)?;
    Ok(permissions(&rows(&admin, None, Some(&vhost))))
}

async fn without(Login { admin, .. }: Login) -> Response {
    let with: Vec<Row> = rows(&admin, None, None).into_iter().filter(Row::is_permitted).collect();
    let with: std::collections::HashSet<&str> = with.iter().map(|row| row.user.as_str()).collect();
    let users = users::all(&admin);
    ok(json::array(None, |list| {
        for user in users.iter().filter(|user| !with.contains(user.name.as_str())) {
            list.object(|o| users::describe(user, o));
        }
    }))
}

async fn one(Login { admin, .. }: Login, Path((vhost, user)): Path<(String, String)>) -> Result<Response> {
    let rows = rows(&admin, Some(&user), Some(&vhost));
    let row = rows.iter().find(|row| row.is_permitted()).ok_or(Failure::NotFound)?;
    Ok(ok(json::object(None, |o| row.describe(o))))
}

async fn put(
    Login { admin, actor }: Login,
    Path((vhost, user)): Path<(String, String)>,
    body: Input,
) -> Result<StatusCode> {
    let patterns = patterns(&Fields::parse(&body)?, RIGHTS)?;
    let made = accounts::permit(&admin.node, &user, &vhost, patterns, &actor)?;
    let made = made.ok_or_else(|| Failure::BadRequest("vhost_or_user_not_found".into()))?;
    admin.node.wait_durable(made.lsn).await;
    Ok(created(made.what))
}

/// The patterns of a permission in a body.
///
/// # Errors
/// 400 with RabbitMQ's words.
pub fn patterns<const N: usize>(fields: &Fields, rights: [&str; N]) -> Result<[String; N]> {
    fields.require(&rights)?;
    let mut patterns = [const { String::new() }; N];
    for (pattern, right) in patterns.iter_mut().zip(rights) {
        *pattern = fields.text(right)?.unwrap_or_default().to_owned();
    }
    Ok(patterns)
}

fn created(new: bool) -> StatusCode {
    if new {
        StatusCode::CREATED
    } else {
        StatusCode::NO_CONTENT
    }
}

async fn remove(Login { admin, actor }: Login, Path((vhost, user)): Path<(String, String)>) -> Result<StatusCode> {
    let made = accounts::forbid(&admin.node, &user, &vhost, &actor)?;
    if !made.what {
        return Err(Failure::NotFound);
    }
    admin.node.wait_durable(made.lsn).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn all_topics(Login { admin, .. }: Login) -> Response {
    topic_permissions(&rows(&admin, None, None))
}

async fn topics_of_user(Login { admin, .. }: Login, Path(user): Path<String>) -> Result<Response> {
    users::find(&admin, &user)?;
    Ok(topic_permissions(&rows(&admin, Some(&user), None)))
}

async fn topics_in_vhost(Login { admin, .. }: Login, Path(vhost): Path<String>) -> Result<Response> {
    admin.vhost(&vhost)?;
    Ok(topic_permissions(&rows(&admin, None, Some(&vhost))))
}

async fn topics(Login { admin, .. }: Login, Path((vhost, user)): Path<(String, String)>) -> Result<Response> {
    let rows = rows(&admin, Some(&user), Some(&vhost));
    let some = |row: &Row| matches!(&row.rights, Given::Some(rights) if !rights.topics.is_empty());
    if !rows.iter().any(some) {
        return Err(Failure::NotFound);
    }
    Ok(topic_permissions(&rows))
}

async fn put_topic(
    Login { admin, actor }: Login,
    Path((vhost, user)): Path<(String, String)>,
    body: Input,
) -> Result<StatusCode> {
    let fields = Fields::parse(&body)?;
    fields.require(&["exchange", "write", "read"])?;
    let exchange = fields.text("exchange")?.unwrap_or_default();
    let patterns = patterns(&fields, TOPIC_RIGHTS)?;
    let made = accounts::permit_topic(&admin.node, &user, (&vhost, exchange), patterns, &actor)?;
    let made = made.ok_or_else(|| Failure::BadRequest("vhost_or_user_not_found".into()))?;
    admin.node.wait_durable(made.lsn).await;
    Ok(created(made.what))
}

async fn remove_topics(login: Login, Path((vhost, user)): Path<(String, String)>) -> Result<StatusCode> {
    forbid_topics(login, &vhost, &user, None).await
}

async fn remove_topic(
    login: Login,
    Path((vhost, user, exchange)): Path<(String, String, String)>,
) -> Result<StatusCode> {
    forbid_topics(login, &vhost, &user, Some(&exchange)).await
}

async fn forbid_topics(
    Login { admin, actor }: Login,
    vhost: &str,
    user: &str,
    exchange: Option<&str>,
) -> Result<StatusCode> {
    let made = accounts::forbid_topics(&admin.node, user, vhost, exchange, &actor)?;
    if !made.what {
        return Err(Failure::NotFound);
    }
    admin.node.wait_durable(made.lsn).await;
    Ok(StatusCode::NO_CONTENT)
}
