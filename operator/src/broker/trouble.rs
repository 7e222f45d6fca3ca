//! (pure) Reasons why a broker cannot be connected to, as a person who set it up reads them: the address, what is wrong
//! there, and what to do about it.
//!
//! In: an address, the error of a library with its causes, or a status of HTTP. Out: one sentence. Does not know about
//! connections, or what is asked of a broker.

use std::error::Error as Cause;
use std::fmt::Write as _;
use std::io;

/// The part of a broker that was to be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    Amqp,
    Management,
}

impl Edge {
    fn name(self) -> &'static str {
        match self {
            Edge::Amqp => "AMQP",
            Edge::Management => "management API",
        }
    }

    /// The thing to do where there is no TLS.
    fn plain(self) -> &'static str {
        match self {
            Edge::Amqp => "use amqp:// if that port is without TLS, or the port for TLS (usually 5671)",
            Edge::Management => "use http:// if that port is without TLS, or the port for TLS (usually 15671)",
        }
    }

    /// The thing to do where something else answers.
    fn ports(self) -> &'static str {
        match self {
            Edge::Amqp => "check the port (AMQP is usually 5672, with amqps:// 5671) and whether it is one with TLS",
            Edge::Management => {
                "check the port (the management API is usually 15672, with https:// 15671) and whether it is one with \
                 TLS"
            }
        }
    }
}

/// Most characters of a library's own words.
const MOST_WORDS: usize = 200;

/// The thing to do about it; `Ports` and `Plain` depend on the edge.
enum Remedy {
    Text(&'static str),
    Ports,
    Plain,
}
use Remedy::{Plain, Ports, Text};

const TRUST: &str = "name that authority's certificate (external.caSecretRef; with engine Leveret ca.crt in the \
                     Secret of tls.secretRef)";
const SHOW: &str =
    "with engine Leveret name a certificate in tls.operatorSecretRef; otherwise open a port that asks for none";

/// Words of libraries (rustls, webpki, hyper, lapin, the system), what they mean, and what to do. The first that fits.
const KNOWN: &[(&[&str], &str, Remedy)] = &[
    (
        &["CaUsedAsEndEntity"],
        "its certificate is one of an authority (CA:TRUE), which a server must not show",
        Text(
            "issue the server a certificate of its own (CA:FALSE, the host among its alternative names), and name the \
             authority's to be trusted (external.caSecretRef; with engine Leveret ca.crt in the Secret of \
             tls.secretRef)",
        ),
    ),
    (
        &["UnknownIssuer"],
        "its certificate is of an authority that is not trusted",
        Text(TRUST),
    ),
    (
        &["not valid for name", "NotValidForName"],
        "its certificate is not for this host",
        Text("connect by a name that is in the certificate, or issue one with this host among its alternative names"),
    ),
    (
        &["certificate expired", "Expired"],
        "its certificate has expired",
        Text("renew it, and check the clocks of both machines"),
    ),
    (
        &["certificate not valid yet", "NotValidYet"],
        "its certificate is not valid yet",
        Text("check the clocks of both machines"),
    ),
    (
        &[
            "certificate does not allow extended key usage",
            "InvalidPurpose",
            "RequiredEkuNotFound",
        ],
        "its certificate is not for servers",
        Text("issue one with the extended key usage serverAuth"),
    ),
    (
        &[
            "UnsupportedCertVersion",
            "BadSignature",
            "BadEncoding",
            "UnsupportedSignatureAlgorithm",
        ],
        "its certificate cannot be used",
        Text("issue one of X.509 version 3 with an ECDSA, Ed25519 or RSA key of at least 2048 bits"),
    ),
    (
        &[
            "CertificateRequired",
            "HandshakeFailure",
            "UnknownCA",
            "BadCertificate",
            "AccessDenied",
        ],
        "it wants a certificate of the operator, or another one",
        Text(SHOW),
    ),
    (
        &["ProtocolVersion", "PeerIncompatible", "peer is incompatible"],
        "it speaks no version of TLS, or no cipher, that the operator takes",
        Text("enable TLS 1.2 or 1.3 on it"),
    ),
    (
        &["InvalidContentType", "corrupt message", "InvalidMessage"],
        "what answers there does not speak TLS",
        Plain,
    ),
    (
        &["handshake eof", "HandshakeEof"],
        "it ends the connection before there is TLS",
        Plain,
    ),
    (
        &["lookup", "not known", "no address", "dns error"],
        "the host's name is not known",
        Text("check its spelling; a Service is reached by SERVICE.NAMESPACE.svc"),
    ),
    (
        &["onnection refused"],
        "nothing listens there",
        Text("check host and port, and that the broker is up"),
    ),
    (
        &[
            "No route to host",
            "unreachable",
            "timed out",
            "deadline has elapsed",
            "no connection within",
            "no answer within",
        ],
        "nothing answers there",
        Text("check host and port, and that no network policy or firewall is in the way"),
    ),
    (
        &[
            "invalid HTTP",
            "connection closed before message",
            "onnection reset",
            "roken pipe",
        ],
        "what answers there is not it",
        Ports,
    ),
    (
        &["parse", "Parse", "rotocol", "aborted", "eof", "EOF"],
        "what answers there is not it",
        Ports,
    ),
];

/// A way to a broker that failed.
pub(super) fn failed(edge: Edge, address: &str, error: &(dyn Cause + 'static)) -> String {
    told(edge, address, &chain(error))
}

/// As [`failed`], with the words of a library.
pub(super) fn told(edge: Edge, address: &str, words: &str) -> String {
    let shown: String = words.chars().filter(|c| !c.is_control()).take(MOST_WORDS).collect();
    let mut text = format!("{} {address}: ", edge.name());
    let known = KNOWN
        .iter()
        .find(|(signs, ..)| signs.iter().any(|sign| words.contains(sign)));
    let Some((_, meaning, remedy)) = known else {
        text.push_str(&shown);
        return text;
    };
    let remedy = match remedy {
        Text(text) => text,
        Ports => edge.ports(),
        Plain => edge.plain(),
    };
    // Writing into a text cannot fail.
    let _ = write!(text, "{meaning}: {remedy} ({shown})");
    text
}

/// A login that a management API refuses; RabbitMQ says 401 of a right that a user lacks, too.
pub(super) fn login(base: &str, words: &str) -> String {
    let why = match words.contains(" user") || words.starts_with("User") {
        true => "the user may not use it: it needs the tag management, policymaker, monitoring or administrator",
        false => "user and password are not accepted: check the Secret that has them",
    };
    format!("management API {base}: {why} (401 {words})")
}

/// The meaning of a status as the first answer of a management API; `words` are what the broker says of it.
pub(super) fn status(base: &str, path: &str, code: u16, words: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let remedy = match code {
        300..=399 => "it leads elsewhere: let managementUri be the address that it leads to",
        404 | 405 | 410 => {
            "there is no RabbitMQ management API there: check host, port and path prefix of managementUri \
             (management.path_prefix of RabbitMQ)"
        }
        403 => "the user may not use it: it needs the tag management, policymaker, monitoring or administrator",
        429 | 500..=599 => "it, or a proxy before it, is in trouble: it is tried again",
        _ => "check host, port and path prefix of managementUri",
    };
    format!("{words} from management API {base}{path}; {remedy}")
}

/// An error with its causes, innermost last: the outermost is often only "client error (Connect)".
pub(super) fn chain(error: &(dyn Cause + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = cause(error);
    while let Some(inner) = next {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        next = cause(inner);
    }
    text
}

/// The error behind an error. An I/O error that holds another one names that one's cause as its own, and not it.
fn cause<'a>(error: &'a (dyn Cause + 'static)) -> Option<&'a (dyn Cause + 'static)> {
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    held.map_or_else(|| error.source(), |held| Some(held as &(dyn Cause + 'static)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sentence_has_the_address_the_meaning_and_what_to_do() {
        for (words, meaning, remedy) in [
            (
                "client error (Connect): invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))",
                "one of an authority",
                "issue the server a certificate of its own",
            ),
            (
                "invalid peer certificate: UnknownIssuer",
                "not trusted",
                "external.caSecretRef",
            ),
            (
                "received corrupt message of type InvalidContentType",
                "does not speak TLS",
                "use http://",
            ),
            (
                "host 'x': failed to lookup address information",
                "name is not known",
                "SERVICE.NAMESPACE.svc",
            ),
            (
                "tcp connect error: Connection refused (os error 111)",
                "nothing listens",
                "that the broker is up",
            ),
            (
                "client error (SendRequest): invalid HTTP version parsed",
                "is not it",
                "usually 15672",
            ),
        ] {
            let text = told(Edge::Management, "https://rabbit:1", words);
            assert!(text.starts_with("management API https://rabbit:1: "), "{text}");
            assert!(
                text.contains(meaning) && text.contains(remedy) && text.contains(words),
                "{text}"
            );
        }
        assert_eq!(told(Edge::Amqp, "amqp://a:1", "well\n"), "AMQP amqp://a:1: well");
    }

    /// In RabbitMQ's words.
    #[test]
    fn a_right_that_is_lacking_is_no_wrong_password() {
        for (words, meaning) in [
            ("Not_Authorized", "not accepted"),
            ("Unauthorized", "not accepted"),
            ("Not management user", "needs the tag management"),
            ("User not authorised to access object", "needs the tag management"),
        ] {
            let text = login("http://r:1", words);
            assert!(
                text.starts_with("management API http://r:1: ") && text.contains(meaning),
                "{text}"
            );
        }
    }

    #[test]
    fn an_error_within_an_io_error_is_told() {
        let inner = io::Error::other("the cause");
        let outer = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, inner));
        assert_eq!(chain(&outer), "the cause");
        let text = status("http://r:1/wrong", "/api/overview?columns=x", 404, "Not Found");
        assert!(
            text.starts_with("Not Found from management API http://r:1/wrong/api/overview; there is no"),
            "{text}"
        );
    }
}
