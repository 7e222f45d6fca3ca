//! `/api/settings`: the settings that are in force, and what became of the settings file. RabbitMQ has nothing like it.
//! `/api/config/effective`: the same settings in Erlang's notation, as RabbitMQ shows its own.
//!
//! Comes in: what the broker has read. Goes out: one document. Whoever writes the file knows by the mark of its text
//! whether that one was looked at, and by `refused` whether it was taken.

use super::error::Result;
use super::http::ok;
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::time::millis;
use crate::erlang;
use crate::reload::Standing;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use leveret_amqp::FieldValue;

/// Settings.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/settings", get(all))
        .route("/api/config/effective", get(effective))
}

async fn all(Login { admin, .. }: Login) -> Result<Response> {
    let standing = admin.live.standing();
    Ok(ok(json::object(None, |o| describe(&standing, o))))
}

/// As text, whatever is asked for.
async fn effective(Login { admin, .. }: Login) -> Response {
    let standing = admin.live.standing();
    let term = |value: &String| erlang::term(&FieldValue::LongString(value.as_bytes().to_vec().into()));
    let setting = |(key, values): &(&'static str, Vec<String>)| match values.as_slice() {
        [value] => format!("{{{key},{}}}", term(value)),
        values => format!("{{{key},[{}]}}", values.iter().map(term).collect::<Vec<_>>().join(",")),
    };
    let settings: Vec<String> = standing.in_force.iter().map(setting).collect();
    let text = format!("[{{leveret,[{}]}}]\n", settings.join(",\n          "));
    ([(CONTENT_TYPE, "text/plain")], text).into_response()
}

fn describe(standing: &Standing, o: &mut Object<'_>) {
    o.object("settings", |o| {
        for (key, values) in &standing.in_force {
            match values.as_slice() {
                [value] => o.text(key, value),
                values => o.array(key, |list| values.iter().for_each(|value| list.text(value))),
            }
        }
    });
    o.array("waiting", |list| standing.waiting.iter().for_each(|key| list.text(key)));
    if let Some(file) = &standing.file {
        o.object("file", |o| {
            o.text("path", &file.path.display().to_string());
            if let Some(mark) = &file.mark {
                o.text("mark", mark);
            }
            o.number("looked_at", millis(file.looked_at));
            o.number("taken_at", millis(file.taken_at));
            if let Some(why) = &file.refused {
                o.text("refused", why);
            }
        });
    }
}
