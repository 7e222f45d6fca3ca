//! Where a broker is and who connects, from a URI.
//!
//! In: `amqp://USER:PASSWORD@HOST:PORT/VHOST`. Out: `Address`. Does not connect.

use lapin::uri::{AMQPScheme, AMQPUri};

use super::error::Error;

/// A broker and the credentials for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
    pub vhost: String,
}

impl Address {
    /// Takes a URI apart. What it leaves out is guest, guest, port 5672 and the vhost /.
    ///
    /// # Errors
    /// Not a URI of AMQP, or one that asks for TLS.
    pub fn parse(uri: &str) -> Result<Address, Error> {
        let wrong = |problem: String| Error::flag("--uri", without_password(uri), problem);
        let parsed: AMQPUri = uri
            .parse()
            .map_err(|problem: String| wrong(format!("{problem}; expected is amqp://USER:PASSWORD@HOST:PORT/VHOST")))?;
        if parsed.scheme == AMQPScheme::AMQPS {
            return Err(wrong(
                "the load generator speaks no TLS, which would cost more than the rest of it; give amqp:// and the \
                 broker's plain port"
                    .to_owned(),
            ));
        }
        let named = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
        Ok(Address {
            host: named(parsed.authority.host, "127.0.0.1"),
            port: parsed.authority.port,
            user: named(parsed.authority.userinfo.username, "guest"),
            password: named(parsed.authority.userinfo.password, "guest"),
            vhost: named(parsed.vhost, "/"),
        })
    }

    /// HOST:PORT, as people read it.
    #[must_use]
    pub fn shown(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// The URI with dots for its password: errors are copied into tickets.
fn without_password(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return uri.to_owned();
    };
    match rest.rsplit_once('@') {
        Some((who, place)) => match who.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:...@{place}"),
            None => uri.to_owned(),
        },
        None => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_decoded_and_have_defaults() {
        let all = Address::parse("amqp://me:s%40y@broker.local:5673/shop%2Feu").expect("a URI");
        let expected = ("broker.local", 5673, "me", "s@y", "shop/eu");
        assert_eq!(
            (
                all.host.as_str(),
                all.port,
                all.user.as_str(),
                all.password.as_str(),
                all.vhost.as_str()
            ),
            expected
        );
        let short = Address::parse("amqp://localhost").expect("a URI");
        assert_eq!(
            (short.shown().as_str(), short.user.as_str(), short.vhost.as_str()),
            ("localhost:5672", "guest", "/")
        );
    }

    #[test]
    fn tls_and_nonsense_are_refused_without_the_password() {
        let tls = Address::parse("amqps://a:secret@b/").expect_err("TLS").to_string();
        assert!(
            tls.starts_with("--uri amqps://a:...@b/: ") && tls.contains("no TLS"),
            "{tls}"
        );
        for wrong in ["", "localhost", "http://localhost", "amqp://localhost:port"] {
            let error = Address::parse(wrong).expect_err(wrong).to_string();
            assert!(error.contains("--uri") && error.contains("amqp://USER"), "{error}");
        }
    }
}
