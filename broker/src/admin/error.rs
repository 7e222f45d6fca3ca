//! What a client of the HTTP API is told when something is wrong: the one place that decides status and body.
//!
//! Comes in: the broker's errors, and what only HTTP knows (bad JSON, wrong credentials). Goes out: a response in
//! RabbitMQ's form, `{"error": ..., "reason": ...}`. Does not know about queues or exchanges.

use super::json;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use leveret_amqp::ReplyCode;
use std::time::Duration;

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
    /// The object is in a state in which this can't be done.
    #[error("{0}")]
    Precondition(String),
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
    /// The request was sent by a page of another site.
    #[error("{0}")]
    OtherSite(String),
    /// A browser's body that isn't JSON.
    #[error("the body must be application/json")]
    NotJson,
    /// The body is larger than so many bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    /// The body doesn't come.
    #[error("the body has not come in time")]
    Slow,
    /// There were too many failed logins from this address; another is looked at after this time.
    #[error("too many failed logins from this address")]
    TooManyLogins(Duration),
    /// Too many long requests are under way.
    #[error("too many long requests at a time")]
    Busy,
    /// The broker can't now.
    #[error("{0}")]
    Unavailable(String),
    /// RabbitMQ can't do this with one node, or with such a queue.
    #[error("{0}")]
    Impossible(&'static str),
    /// Publishers are stopped because something is short.
    #[error("publishers are stopped: {0}")]
    Blocked(&'static str),
    /// The broker is broken.
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.parts().0
    }

    /// Status and `error` of the body.
    fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "Object Not Found"),
            Self::Missing(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::Precondition(_) => (StatusCode::PRECONDITION_FAILED, "precondition_failed"),
            Self::Page { error, .. } => (StatusCode::BAD_REQUEST, error),
            Self::NoCredentials | Self::NotAuthorized => (StatusCode::UNAUTHORIZED, "not_authorized"),
            Self::Refused(_) => (StatusCode::UNAUTHORIZED, "not_authorised"),
            Self::NotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::OtherSite(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::TooManyLogins(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
            Self::Impossible(_) => (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable"),
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
        let headers = response.headers_mut();
        match self {
            Self::NoCredentials => {
                let challenge = HeaderValue::from_static("Basic realm=\"Leveret Management\"");
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            Self::TooManyLogins(wait) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
            }
            Self::Busy => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // The rest of the body is not read.
            Self::TooLarge(_) | Self::Slow => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
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
