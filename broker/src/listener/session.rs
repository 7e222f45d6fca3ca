//! What was agreed on with a client over TLS, in the words of RabbitMQ's API.
//!
//! Comes in: a handshake that is over. Goes out: names of protocol and algorithms, and the client's certificate if it
//! has shown one. Does not know what is spoken inside.

use super::certificate::Certificate;
use rustls::{CipherSuite, ProtocolVersion, ServerConnection};

/// Terms of a connection over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `tlsv1.3` or `tlsv1.2`.
    pub protocol: &'static str,
    /// The exchange of keys: `any` with TLS 1.3, where a suite doesn't say it.
    pub key_exchange: &'static str,
    /// The cipher, `aes_256_gcm` say.
    pub cipher: &'static str,
    /// The hash, `sha384` say; `aead` where the cipher makes its own.
    pub hash: &'static str,
    /// The client's certificate.
    pub peer: Option<Certificate>,
}

impl Session {
    /// The terms of a connection whose handshake is over.
    pub fn of(connection: &ServerConnection) -> Self {
        let protocol = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "tlsv1.3",
            Some(ProtocolVersion::TLSv1_2) => "tlsv1.2",
            _ => "unknown",
        };
        let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
        let (key_exchange, cipher, hash) = suite.map_or(("unknown", "unknown", "unknown"), names);
        let shown = connection.peer_certificates().and_then(|chain| chain.first());
        Self {
            protocol,
            key_exchange,
            cipher,
            hash,
            peer: shown.and_then(|certificate| Certificate::parse(certificate)),
        }
    }
}

/// As Erlang names the parts of a suite: the hash is that of the key derivation, the authentication is within the
/// cipher.
fn names(suite: CipherSuite) -> (&'static str, &'static str, &'static str) {
    use CipherSuite as S;
    match suite {
        S::TLS13_AES_128_GCM_SHA256 => ("any", "aes_128_gcm", "aead"),
        S::TLS13_AES_256_GCM_SHA384 => ("any", "aes_256_gcm", "aead"),
        S::TLS13_CHACHA20_POLY1305_SHA256 => ("any", "chacha20_poly1305", "aead"),
        S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => ("ecdhe_ecdsa", "aes_128_gcm", "aead"),
        S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => ("ecdhe_ecdsa", "aes_256_gcm", "aead"),
        S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => ("ecdhe_ecdsa", "chacha20_poly1305", "aead"),
        S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => ("ecdhe_rsa", "aes_128_gcm", "aead"),
        S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => ("ecdhe_rsa", "aes_256_gcm", "aead"),
        S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => ("ecdhe_rsa", "chacha20_poly1305", "aead"),
        _ => ("unknown", "unknown", "unknown"),
    }
}
