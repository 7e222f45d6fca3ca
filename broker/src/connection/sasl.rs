//! Logins: the SASL mechanisms PLAIN, AMQPLAIN and EXTERNAL.
//!
//! Comes in: what may be offered; a mechanism and its response. Goes out: the offer; user and password, or that the
//! certificate says who it is, to be checked. Pure.

use crate::config::Mechanisms;
use crate::error::{Error, Result};
use leveret_amqp::FieldTable;

/// The proof that a client offers of who it is.
#[derive(Debug, PartialEq, Eq)]
pub enum Credentials {
    /// User and password.
    Password(String, String),
    /// The certificate that it has shown.
    Certificate,
}

/// The mechanisms that connection.start offers, separated by spaces (AMQP 0-9-1 connection.start): EXTERNAL to those
/// alone who have shown a certificate.
pub fn offered(mechanisms: Mechanisms, has_certificate: bool) -> String {
    let all = [
        ("PLAIN", mechanisms.plain),
        ("AMQPLAIN", mechanisms.amqplain),
        ("EXTERNAL", mechanisms.external && has_certificate),
    ];
    let offered = all.iter().filter(|(_, offered)| *offered).map(|(name, _)| *name);
    offered.collect::<Vec<_>>().join(" ")
}

/// The response of a mechanism that was offered.
///
/// # Errors
/// 503 a mechanism that wasn't; 501 a response that isn't one.
pub fn credentials(offered: &str, mechanism: &[u8], response: &[u8]) -> Result<Credentials> {
    let name = String::from_utf8_lossy(mechanism);
    let is_known = ["PLAIN", "AMQPLAIN", "EXTERNAL"].contains(&&*name);
    if is_known && !offered.split(' ').any(|offered| offered == name) {
        let text = format!("invalid authentication mechanism '{name}'");
        return Err(Error::CommandInvalid(text.into()));
    }
    let password = match mechanism {
        b"PLAIN" => plain(response),
        b"AMQPLAIN" => amqplain(response),
        b"EXTERNAL" => return Ok(Credentials::Certificate),
        _ => {
            let text = format!("unknown authentication mechanism '{name}'");
            Err(Error::CommandInvalid(text.into()))
        }
    };
    password.map(|(user, password)| Credentials::Password(user, password))
}

/// authzid NUL authcid NUL password (RFC 4616).
fn plain(response: &[u8]) -> Result<(String, String)> {
    let mut parts = response.split(|byte| *byte == 0);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(user), Some(password), None) => Ok((text(user), text(password))),
        _ => Err(Error::Syntax(
            "response of mechanism PLAIN is not: NUL user NUL password".into(),
        )),
    }
}

/// A field table without its length, with LOGIN and PASSWORD.
fn amqplain(response: &[u8]) -> Result<(String, String)> {
    let malformed = || Error::Syntax("response of mechanism AMQPLAIN is not a table with LOGIN and PASSWORD".into());
    let length = u32::try_from(response.len()).map_err(|_| malformed())?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(response);
    let table = FieldTable::parse(&bytes).map_err(|_| malformed())?;
    let field = |name| {
        table
            .get(name)
            .and_then(|value| value.as_bytes())
            .map(|bytes| text(bytes))
    };
    field("LOGIN").zip(field("PASSWORD")).ok_or_else(malformed)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: &str = "PLAIN AMQPLAIN";

    #[test]
    fn a_response_says_who_it_is() {
        let expected = Credentials::Password("guest".to_owned(), "secret".to_owned());
        assert_eq!(
            credentials(OFFERED, b"PLAIN", b"\0guest\0secret").expect("plain"),
            expected
        );
        let table = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x06secret";
        assert_eq!(credentials(OFFERED, b"AMQPLAIN", table).expect("amqplain"), expected);
        let certificate = credentials("EXTERNAL", b"EXTERNAL", b"");
        assert_eq!(certificate.expect("external"), Credentials::Certificate);
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(credentials(OFFERED, b"PLAIN", b"guest").is_err());
        assert!(credentials(OFFERED, b"PLAIN", b"\0a\0b\0c").is_err());
        assert!(credentials(OFFERED, b"AMQPLAIN", b"\x05LOGIN").is_err());
        let refused = |mechanism: &str| match credentials(OFFERED, mechanism.as_bytes(), b"") {
            Err(Error::CommandInvalid(text)) => text.into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused("MD5"), "unknown authentication mechanism 'MD5'");
        assert_eq!(refused("EXTERNAL"), "invalid authentication mechanism 'EXTERNAL'");
    }

    #[test]
    fn external_is_offered_to_those_with_a_certificate() {
        let (plain, amqplain, external) = (true, false, true);
        let mechanisms = Mechanisms {
            plain,
            amqplain,
            external,
        };
        assert_eq!(offered(mechanisms, true), "PLAIN EXTERNAL");
        assert_eq!(offered(mechanisms, false), "PLAIN");
    }
}
