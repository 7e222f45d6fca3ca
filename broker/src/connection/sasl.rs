//! Logins: the SASL mechanisms PLAIN and AMQPLAIN.
//!
//! Comes in: a mechanism and its response. Goes out: user and password, to be checked. Pure.

use crate::error::{Error, Result};
use leveret_amqp::FieldTable;

/// The mechanisms that connection.start offers, separated by spaces (AMQP 0-9-1 connection.start).
pub const MECHANISMS: &str = "PLAIN AMQPLAIN";

/// The response of a mechanism: user and password.
///
/// # Errors
/// 503 unknown mechanism; 501 a response that isn't one.
pub fn credentials(mechanism: &[u8], response: &[u8]) -> Result<(String, String)> {
    match mechanism {
        b"PLAIN" => plain(response),
        b"AMQPLAIN" => amqplain(response),
        other => {
            let other = String::from_utf8_lossy(other);
            Err(Error::CommandInvalid(
                format!("unknown authentication mechanism '{other}'").into(),
            ))
        }
    }
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

    #[test]
    fn both_mechanisms_give_user_and_password() {
        let expected = ("guest".to_owned(), "secret".to_owned());
        assert_eq!(credentials(b"PLAIN", b"\0guest\0secret").expect("plain"), expected);
        let table = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x06secret";
        assert_eq!(credentials(b"AMQPLAIN", table).expect("amqplain"), expected);
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(credentials(b"PLAIN", b"guest").is_err());
        assert!(credentials(b"PLAIN", b"\0a\0b\0c").is_err());
        assert!(credentials(b"AMQPLAIN", b"\x05LOGIN").is_err());
        assert!(matches!(credentials(b"MD5", b""), Err(Error::CommandInvalid(_))));
    }
}
