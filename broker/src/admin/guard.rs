//! Requests that a browser sends on behalf of a page from elsewhere, refused; and what browsers are told about answers.
//!
//! Comes in: heads of requests, answers. Goes out: a refusal; headers. Programs that aren't browsers notice nothing.
//! Does not know about resources.

use super::error::{Failure, Result};
use crate::listener::Client;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, ORIGIN, REFERRER_POLICY,
    VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use std::net::IpAddr;

/// The browser's word on where a request comes from.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Told with every answer: there are no pages, so nothing may be loaded, framed or guessed. RabbitMQ says the same of
/// its own pages' scripts.
const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-cache"),
    (VARY, "accept, accept-encoding, origin"),
];

/// Adds what browsers are told.
pub fn mark(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Looks at the head of a request.
///
/// `names` is true where the password is known to everybody: then a name in `Host` that isn't this machine's may be one
/// that a page from elsewhere has had changed to this machine's address, in order to read the answers.
///
/// # Errors
/// 403 for pages from elsewhere, 413 for a body that is announced as too large, 415 for a browser's form.
pub fn check(parts: &Parts, client: &Client, names: bool, largest: u64) -> Result<()> {
    let text = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let length = text(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > largest) {
        return Err(Failure::TooLarge(largest));
    }
    let host = text(HOST).or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
    if names
        && client.local.ip().is_loopback()
        && let Some(host) = host
        && !is_local(host)
    {
        return Err(Failure::OtherSite(format!(
            "host '{host}': with the user guest only names of this machine are answered; set admin_user_file and \
             admin_password_file"
        )));
    }
    if parts.method.is_safe() {
        return Ok(());
    }
    let (site, origin) = (text(FETCH_SITE), text(ORIGIN));
    let elsewhere = match (site, origin) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").map(|(_, from)| from) != host,
        (None, None) => return Ok(()),
    };
    if elsewhere {
        return Err(Failure::OtherSite(
            "a page from another site can't change anything here".into(),
        ));
    }
    let json = |kind: &str| {
        kind.split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    };
    match text(CONTENT_TYPE) {
        Some(kind) if !json(kind) => Err(Failure::NotJson),
        _ => Ok(()),
    }
}

/// True for addresses, `localhost`, and names without a dot, which no name server of others answers for.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok() || !name.contains('.') || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use std::net::{Ipv4Addr, SocketAddr};

    fn checked(method: &str, headers: &[(&str, &str)], local: [u8; 4], names: bool) -> u16 {
        let mut request = Request::builder().method(method).uri("/api/queues");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let at = SocketAddr::from((Ipv4Addr::from(local), 15672));
        let client = Client {
            peer: at,
            local: at,
            tls: None,
        };
        check(&parts, &client, names, 20_000_000).map_or_else(|failure| failure.status().as_u16(), |()| 200)
    }

    #[test]
    fn a_page_from_elsewhere_changes_nothing() {
        let send = |method: &str, headers: &[(&str, &str)]| {
            let host = [("host", "rabbit.example:15672")];
            checked(method, &[&host, headers].concat(), [192, 0, 2, 1], true)
        };
        for site in ["cross-site", "same-site"] {
            for method in ["POST", "PUT", "DELETE"] {
                assert_eq!(send(method, &[("sec-fetch-site", site)]), 403, "{method} {site}");
            }
            assert_eq!(
                send("GET", &[("sec-fetch-site", site)]),
                200,
                "the page can't read the answer"
            );
        }
        assert_eq!(send("POST", &[("origin", "https://evil.example")]), 403);
        assert_eq!(send("POST", &[("origin", "null")]), 403);
        let json = ("content-type", "application/json; charset=utf-8");
        let own = ("origin", "http://rabbit.example:15672");
        assert_eq!(send("POST", &[own, json]), 200);
        assert_eq!(send("POST", &[own, ("content-type", "text/plain")]), 415);
        assert_eq!(
            send(
                "POST",
                &[("sec-fetch-site", "same-origin"), ("content-type", "text/plain")]
            ),
            415
        );
        // curl and the libraries: no browser.
        assert_eq!(
            send("POST", &[("content-type", "application/x-www-form-urlencoded")]),
            200
        );
        assert_eq!(send("PUT", &[]), 200);
    }

    #[test]
    fn a_name_that_was_turned_to_this_machine_is_not_answered() {
        let host = |host: &str, local, names| checked("GET", &[("host", host)], local, names);
        let here = [127, 0, 0, 1];
        for local in [
            "localhost:15672",
            "127.0.0.1:15672",
            "[::1]:15672",
            "::1",
            "laptop",
            "x.localhost",
            "LOCALHOST.",
        ] {
            assert_eq!(host(local, here, true), 200, "{local}");
        }
        for other in [
            "evil.example:15672",
            "evil.example",
            "127.0.0.1.nip.io",
            "evil.example.:80",
        ] {
            assert_eq!(host(other, here, true), 403, "{other}");
            assert_eq!(host(other, here, false), 200, "the password is no secret otherwise");
            assert_eq!(
                host(other, [192, 0, 2, 1], true),
                200,
                "guest doesn't log in from there"
            );
        }
    }

    #[test]
    fn a_body_that_is_announced_as_too_large_is_not_awaited() {
        let length = |length: &str| checked("PUT", &[("content-length", length)], [127, 0, 0, 1], true);
        assert_eq!(
            (length("20000000"), length("20000001"), length("18446744073709551615")),
            (200, 413, 413)
        );
    }
}
