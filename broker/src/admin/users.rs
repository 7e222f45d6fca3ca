//! `/api/users`, `/api/user-limits`, `/api/whoami`, `/api/auth`: the users.
//!
//! Comes in: requests. Goes out: RabbitMQ's objects; changes through `accounts`, answered when they are durable.

use super::body::Fields;
use super::error::{Failure, Result};
use super::http::{Parameters, aside, ok};
use super::input::Input;
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::nodes;
use super::page::Query;
use super::state::Admin;
use super::user_limits;
use crate::access::Actor;
use crate::access::attempts::{Count, Protocol};
use crate::access::hash::Hash;
use crate::access::user::{Limits, Tags, User};
use crate::accounts::{self, Asked, Password};
use axum::Router;
use axum::extract::{self, Path};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;

/// Users.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/whoami", get(whoami))
        .route("/api/users", get(users))
        .route("/api/users/bulk-delete", post(bulk_delete))
        .route("/api/users/{user}", get(user).put(put).delete(delete))
        .route("/api/user-limits", get(limits))
        .route("/api/user-limits/{user}", get(limits_of))
        .route(
            "/api/user-limits/{user}/{limit}",
            axum::routing::put(limit).delete(clear_limit),
        )
        .route("/api/auth/attempts/{node}", get(attempts).delete(reset))
        .route("/api/auth/attempts/{node}/source", get(sources).delete(reset_sources))
        .route("/api/auth/hash_password/{password}", get(hash_password))
}

async fn whoami(Login { actor, .. }: Login) -> Response {
    ok(json::object(None, |o| myself(&actor, o)))
}

/// Whoever has logged in.
pub fn myself(actor: &Actor, o: &mut Object<'_>) {
    o.text("name", &actor.user);
    tags(&actor.tags, o);
    o.bool("is_internal_user", actor.is_internal());
}

async fn users(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    let users = all(&admin);
    aside(admin, move |out| {
        query.list(out, users, |user| user.name.as_str().into(), describe)
    })
    .await
}

/// All users by name, with the administrator that files name.
pub fn all(admin: &Admin) -> Vec<User> {
    let access = &admin.node.access;
    let administrator = access.administrator();
    let accounts = access.directory.list();
    let mut users: Vec<User> = accounts.iter().map(|account| account.user.clone()).collect();
    if let Some(name) = administrator {
        users.retain(|user| user.name != name);
        users.push(of_files(name));
        users.sort_by(|a, b| a.name.cmp(&b.name));
    }
    users
}

/// The administrator that files name: its password is there, and nowhere else.
fn of_files(name: String) -> User {
    User {
        name,
        hash: Hash::None,
        tags: Tags::administrator(),
        limits: Limits::default(),
    }
}

async fn user(Login { admin, .. }: Login, Path(name): Path<String>) -> Result<Response> {
    let user = find(&admin, &name)?;
    Ok(ok(json::object(None, |o| describe(&user, o))))
}

/// A user by name.
///
/// # Errors
/// 404 for one that doesn't exist.
pub fn find(admin: &Admin, name: &str) -> Result<User> {
    let access = &admin.node.access;
    if access
        .administrator()
        .is_some_and(|administrator| administrator == name)
    {
        return Ok(of_files(name.to_owned()));
    }
    let account = access.directory.get(name).ok_or(Failure::NotFound)?;
    Ok(account.user.clone())
}

async fn put(Login { admin, actor }: Login, Path(name): Path<String>, body: Input) -> Result<StatusCode> {
    let asked = asked(name, &Fields::parse(&body)?)?;
    let (lsn, created) = accounts::put(&admin.node, asked, &actor).await?;
    admin.node.wait_durable(lsn).await;
    Ok(if created {
        StatusCode::CREATED
    } else {
        StatusCode::NO_CONTENT
    })
}

/// A user of a request's body, or of a definitions file.
///
/// # Errors
/// 400 with RabbitMQ's words.
pub fn asked(name: String, fields: &Fields) -> Result<Asked> {
    let tags = match fields.get("tags") {
        None => return Err(Failure::BadRequest("tags_not_present".into())),
        Some(Value::String(list)) => list
            .split(',')
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .map(str::to_owned)
            .collect(),
        Some(Value::Array(list)) => {
            let tag = |tag: &Value| tag.as_str().map(|tag| tag.trim().to_owned());
            let all: Option<Vec<String>> = list.iter().map(tag).collect();
            all.ok_or_else(|| Failure::BadRequest("tags: not a list of texts".into()))?
        }
        Some(_) => return Err(Failure::BadRequest("tags: not a text or a list of texts".into())),
    };
    let password = match (secret(fields, "password")?, secret(fields, "password_hash")?) {
        (Some(_), Some(_)) => {
            return Err(Failure::BadRequest(
                "both_password_and_password_hash_are_provided".into(),
            ));
        }
        (Some(password), None) => Password::Clear(password.to_owned()),
        (None, hash) => {
            let algorithm = fields.text("hashing_algorithm")?;
            let hash = Hash::import(algorithm, hash.unwrap_or_default()).map_err(Failure::BadRequest)?;
            Password::Hashed(hash)
        }
    };
    let limits = match fields.get("limits") {
        None => None,
        Some(Value::Object(limits)) => Some(user_limits::of_user(limits)?),
        Some(_) => return Err(Failure::BadRequest("limits: not an object".into())),
    };
    Ok(Asked {
        name,
        password,
        tags: Tags(tags),
        limits,
    })
}

/// A text of which nothing is repeated in an error.
fn secret<'a>(fields: &'a Fields, name: &str) -> Result<Option<&'a str>> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Failure::BadRequest(format!("{name}: not_string"))),
    }
}

async fn delete(Login { admin, actor }: Login, Path(name): Path<String>) -> Result<StatusCode> {
    let deleted = accounts::delete(&admin.node, &[name], &actor)?;
    if deleted.what.is_empty() {
        return Err(Failure::NotFound);
    }
    admin.node.wait_durable(deleted.lsn).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn bulk_delete(Login { admin, actor }: Login, body: Input) -> Result<StatusCode> {
    let fields = Fields::parse(&body)?;
    fields.require(&["users"])?;
    let wrong = || Failure::BadRequest("users: not a list of names".into());
    let names = fields.get("users").and_then(Value::as_array).ok_or_else(wrong)?;
    let names: Option<Vec<String>> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    let deleted = accounts::delete(&admin.node, &names.ok_or_else(wrong)?, &actor)?;
    admin.node.wait_durable(deleted.lsn).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn limits(Login { admin, .. }: Login) -> Response {
    ok(limited(&all(&admin)))
}

async fn limits_of(Login { admin, .. }: Login, Path(name): Path<String>) -> Result<Response> {
    Ok(ok(limited(&[find(&admin, &name)?])))
}

fn limited(users: &[User]) -> Vec<u8> {
    json::array(None, |list| {
        for user in users.iter().filter(|user| user.limits != Limits::default()) {
            list.object(|o| {
                o.text("user", &user.name);
                o.object("value", |o| user_limits::of(&user.limits, o));
            });
        }
    })
}

async fn limit(
    Login { admin, actor }: Login,
    Path((user, limit)): Path<(String, String)>,
    body: Input,
) -> Result<StatusCode> {
    let fields = Fields::parse(&body)?;
    fields.require(&["value"])?;
    let value = fields.get("value").unwrap_or(&Value::Null);
    let most = user_limits::one(&limit, value)?;
    let set = accounts::limit(&admin.node, &user, &limit, Some(most), &actor)?;
    let lsn = set.ok_or_else(|| Failure::BadRequest(format!("no_such_user: {user}")))?;
    admin.node.wait_durable(lsn).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear_limit(Login { admin, actor }: Login, Path((user, limit)): Path<(String, String)>) -> Result<StatusCode> {
    let cleared = accounts::limit(&admin.node, &user, &limit, None, &actor)?;
    admin.node.wait_durable(cleared.ok_or(Failure::NotFound)?).await;
    Ok(StatusCode::NO_CONTENT)
}

/// RabbitMQ's usual hash of a password, for definitions files.
async fn hash_password(_: Login, Path(password): Path<String>) -> Response {
    ok(json::object(None, |o| o.text("ok", &Hash::salted(&password).text())))
}

/// A user as RabbitMQ shows it.
pub fn describe(user: &User, o: &mut Object<'_>) {
    o.text("name", &user.name);
    o.text("password_hash", &user.hash.text());
    o.text("hashing_algorithm", user.hash.algorithm());
    tags(&user.tags, o);
    o.object("limits", |o| user_limits::of(&user.limits, o));
}

fn tags(tags: &Tags, o: &mut Object<'_>) {
    o.array("tags", |list| tags.0.iter().for_each(|tag| list.text(tag)));
}

/// Protocols by which somebody has tried to log in.
async fn attempts(Login { admin, .. }: Login, Path(node): Path<String>) -> Result<Response> {
    nodes::is_this(&admin, &node)?;
    let counts = admin.node.access.attempts.by_protocol();
    Ok(ok(json::array(None, |list| {
        for (protocol, count) in counts.into_iter().filter(|(_, count)| count.all() > 0) {
            list.object(|o| counted(protocol, count, o));
        }
    })))
}

/// Addresses and users. RabbitMQ keeps them only when told to.
async fn sources(Login { admin, .. }: Login, Path(node): Path<String>) -> Result<Response> {
    nodes::is_this(&admin, &node)?;
    let counts = admin.node.access.attempts.by_source();
    Ok(ok(json::array(None, |list| {
        for (source, count) in &counts {
            list.object(|o| {
                o.text("remote_address", &source.address.to_string());
                if let Some(user) = &source.user {
                    o.text("username", user);
                }
                counted(source.protocol, *count, o);
            });
        }
    })))
}

fn counted(protocol: Protocol, count: Count, o: &mut Object<'_>) {
    o.text("protocol", protocol.name());
    o.number("auth_attempts", count.all());
    o.number("auth_attempts_failed", count.failed);
    o.number("auth_attempts_succeeded", count.succeeded);
}

async fn reset(Login { admin, .. }: Login, Path(node): Path<String>) -> Result<StatusCode> {
    nodes::is_this(&admin, &node)?;
    admin.node.access.attempts.reset();
    Ok(StatusCode::NO_CONTENT)
}

async fn reset_sources(Login { admin, .. }: Login, Path(node): Path<String>) -> Result<StatusCode> {
    nodes::is_this(&admin, &node)?;
    admin.node.access.attempts.reset_sources();
    Ok(StatusCode::NO_CONTENT)
}
