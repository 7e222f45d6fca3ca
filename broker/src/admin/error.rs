//! What a client of the HTTP API is told when something is wrong: the one place that decides status and body.
//!
//! Comes in: the broker's errors, and what only HTTP knows (bad JSON, wrong credentials). Goes out: a response in
//! RabbitMQ's form, `{"error": ..., "reason": ...}`. Does not know about queues or exchanges.

use super::json;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use leveret_amqp::ReplyCode;

/// `result` of a request.
pub type Result<T> = std::result::Result<T, Failure>;

/// A refusal of a request.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The object of the URL doesn't exist.
    #[error("Not Found")]
    NotFound,
    /// Something that the request needs doesn't exist.
    #[error("{0}")]
    Missing(String),
    /// The request makes no sense, or contradicts what exists.
    #[error("{0}")]
    BadRequest(String),
    /// A page number or size that can't be.
    #[error("{reason}")]
    Page {
        /// `page_out_of_range` or `invalid_pagination_parameters`.
        error: &'static str,
        /// The fault.
        reason: String,
    },
    /// No credentials.
    #[error("no credentials")]
    NoCredentials,
    /// Wrong credentials.
    #[error("Not_Authorized")]
    NotAuthorized,
    /// The user may not do this.
    #[error("{0}")]
    Refused(String),
    /// A method of HTTP that the object doesn't have.
    #[error("{0}")]
    NotAllowed(&'static str),
    /// The broker can't now.
    #[error("{0}")]
    Unavailable(String),
    /// Publishers are stopped because something is short.
    #[error("publishers are stopped: {0}")]
    Blocked(&'static str),
    /// The broker is broken.
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// Status and `error` of the body.
    fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "Object Not Found"),
            Self::Missing(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::Page { error, .. } => (StatusCode::BAD_REQUEST, error),
            Self::NoCredentials | Self::NotAuthorized => (StatusCode::UNAUTHORIZED, "not_authorized"),
            Self::Refused(_) => (StatusCode::UNAUTHORIZED, "not_authorised"),
            Self::NotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
            Self::Blocked(_) => (StatusCode::SERVICE_UNAVAILABLE, "blocked"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, error) = self.parts();
        let body = json::object(None, |o| {
            o.text("error", error);
            o.text("reason", &self.to_string());
        });
        let mut response = (status, [(CONTENT_TYPE, "application/json")], body).into_response();
        if matches!(self, Self::NoCredentials) {
            let challenge = HeaderValue::from_static("Basic realm=\"Leveret Management\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// As RabbitMQ translates what a channel would have been closed with.
impl From<crate::error::Error> for Failure {
    fn from(error: crate::error::Error) -> Self {
        let text = error.to_string();
        match error.reply_code() {
            ReplyCode::NotFound => Self::Missing(text),
            ReplyCode::AccessRefused => Self::Refused(text),
            ReplyCode::InternalError => Self::Internal(text),
            _ => Self::BadRequest(text),
        }
    }
}

impl From<leveret_store::Error> for Failure {
    fn from(error: leveret_store::Error) -> Self {
        crate::error::Error::from(error).into()
    }
}

impl From<json::TableError> for Failure {
    fn from(error: json::TableError) -> Self {
        Self::BadRequest(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn answer(failure: Failure) -> (u16, String) {
        let (status, error) = failure.parts();
        (status.as_u16(), format!("{error}: {failure}"))
    }

    #[test]
    fn broker_errors_answer_as_rabbitmq_does() {
        let locked = Error::Locked {
            name: "q".into(),
            vhost: "/".into(),
        };
        assert_eq!(answer(locked.into()).0, 400);
        let missing = Error::Missing {
            kind: "queue",
            name: "q".into(),
            vhost: "/".into(),
        };
        assert_eq!(
            answer(missing.into()),
            (404, "not_found: no queue 'q' in vhost '/'".into())
        );
        let not_empty = Error::NotEmpty {
            name: "q".into(),
            vhost: "/".into(),
            messages: 3,
        };
        assert_eq!(
            answer(not_empty.into()),
            (400, "bad_request: queue 'q' in vhost '/' not empty".into())
        );
        let reserved = Error::AccessRefused("queue name 'amq.q' contains reserved prefix 'amq.*'".into());
        assert_eq!(answer(reserved.into()).0, 401);
        assert_eq!(answer(Failure::NotFound), (404, "Object Not Found: Not Found".into()));
    }
}
