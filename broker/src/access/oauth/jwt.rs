//! JSON Web Tokens: signed, in their compact form (RFC 7519, RFC 7515).
//!
//! Comes in: a text, later a key. Goes out: the claims, once the signature is proved; before that nothing but the id of
//! the key, and the audience that says who is to look at it. Nothing of a token is in a fault. Pure.

use super::keys::{Algorithm, Key};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The longest token, bytes.
pub const LONGEST: usize = 64 << 10;

/// The reason why a token is not accepted, in RabbitMQ's words where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is none.
    #[error("provided token is invalid")]
    Invalid,
    /// It is for nobody.
    #[error("no_aud_found")]
    NoAudience,
    /// It is for others.
    #[error("no_matching_aud_found")]
    OtherAudience,
    /// It is for more than one resource server of this broker.
    #[error("aud_matched_many_resource_servers_only_one_allowed")]
    ManyAudiences,
    /// It is of another issuer.
    #[error("it is not of the issuer whose tokens are accepted")]
    Issuer,
    /// Nobody knows the key that it is signed with.
    #[error("key_not_found")]
    Key,
    /// Its algorithm is not accepted: `none`, for one.
    #[error("its algorithm is not accepted")]
    Algorithm,
    /// It is not signed with the key that it names.
    #[error("signature_invalid")]
    Signature,
    /// It has expired.
    #[error("Provided JWT token has expired at timestamp {0} (validated at {1})")]
    Expired(u64, u64),
    /// It doesn't say when it expires.
    #[error("Provided JWT token has no exp claim")]
    NoExpiry,
    /// It doesn't say so in a number.
    #[error("Provided JWT token has an invalid exp claim: value is not a number")]
    WrongExpiry,
    /// It is not valid yet.
    #[error("Provided JWT token is not valid before timestamp {0} (validated at {1})")]
    Early(u64, u64),
    /// It has very many scopes.
    #[error("too_many_scopes")]
    ManyScopes,
    /// It doesn't say whose it is, or at great length.
    #[error("no user is named in it")]
    NoUser,
    /// The newer token of a connection is of another user.
    #[error("Not allowed to change username on refreshed token")]
    OtherUser,
}

/// The claims of a token.
pub type Claims = Map<String, Value>;

/// A token whose signature was not looked at.
pub struct Unproved<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    header: Map<String, Value>,
    claims: Claims,
}

impl<'a> Unproved<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &'a str) -> Result<Self, Fault> {
        let text = Some(text).filter(|text| text.len() <= LONGEST).ok_or(Fault::Invalid)?;
        let (signed, signature) = text.rsplit_once('.').ok_or(Fault::Invalid)?;
        let (header, claims) = signed.split_once('.').ok_or(Fault::Invalid)?;
        let (header, claims) = (object(header)?, object(claims)?);
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| Fault::Invalid)?;
        // What is critical has to be understood (RFC 7515, 4.1.11), and nothing is.
        if header.contains_key("crit") {
            return Err(Fault::Invalid);
        }
        Ok(Self {
            signed,
            signature,
            header,
            claims,
        })
    }

    /// The id of the key.
    pub fn key(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// Those whom it is for.
    pub fn audience(&self) -> Option<Vec<&str>> {
        match self.claims.get("aud")? {
            Value::String(text) => Some(text.split(' ').filter(|name| !name.is_empty()).collect()),
            Value::Array(names) => Some(names.iter().filter_map(Value::as_str).collect()),
            _ => Some(Vec::new()),
        }
    }

    /// The claims, if it is signed with a key by an algorithm that is allowed.
    ///
    /// # Errors
    /// It isn't.
    pub fn prove(self, key: &Key, allowed: Option<&[Algorithm]>) -> Result<Claims, Fault> {
        let named = self.header.get("alg").and_then(Value::as_str);
        let algorithm = named.and_then(Algorithm::named).ok_or(Fault::Algorithm)?;
        if allowed.is_some_and(|allowed| !allowed.contains(&algorithm)) {
            return Err(Fault::Algorithm);
        }
        match key.verifies(algorithm, self.signed.as_bytes(), &self.signature) {
            true => Ok(self.claims),
            false => Err(Fault::Signature),
        }
    }
}

/// True for a text of a token's form, whatever is wrong with it otherwise: no password looks like that.
pub fn is_token(text: &str) -> bool {
    let mut parts = text.split('.');
    let header = parts.next().filter(|_| parts.count() == 2);
    let header = header.filter(|header| header.len() <= LONGEST);
    header.is_some_and(|header| object(header).is_ok_and(|header| header.contains_key("alg")))
}

fn object(text: &str) -> Result<Map<String, Value>, Fault> {
    let octets = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| Fault::Invalid)?;
    serde_json::from_slice(&octets).map_err(|_| Fault::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    use serde_json::json;

    fn part(value: &Value) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
    }

    fn pair() -> (Ed25519KeyPair, Key) {
        let private = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).expect("a key");
        let public = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let json = json!({"kty": "OKP", "crv": "Ed25519", "x": public});
        let key = Key::of_json(json.as_object().expect("a map")).expect("a key");
        (pair, key)
    }

    fn token(pair: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = pair.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn proved(text: &str, key: &Key, allowed: Option<&[Algorithm]>) -> Result<Claims, Fault> {
        Unproved::parse(text)?.prove(key, allowed)
    }

    #[test]
    fn claims_are_those_of_a_token_that_is_signed() {
        let ((pair, key), (_, other)) = (pair(), pair());
        let claims = json!({"aud": ["a", 5, "b"], "sub": "u"});
        let text = token(&pair, &json!({"alg": "EdDSA", "kid": "1"}), &claims);
        assert!(is_token(&text));
        let unproved = Unproved::parse(&text).expect("a token");
        assert_eq!((unproved.key(), unproved.audience()), (Some("1"), Some(vec!["a", "b"])));
        assert_eq!(
            proved(&text, &key, None),
            Ok(claims.as_object().expect("a map").clone())
        );
        assert_eq!(proved(&text, &key, Some(&[Algorithm::Es256])), Err(Fault::Algorithm));
        assert_eq!(proved(&text, &other, None), Err(Fault::Signature));
        for (header, fault) in [
            (json!({"alg": "none"}), Fault::Algorithm),
            (json!({"alg": "HS256"}), Fault::Algorithm),
            (json!({"alg": "ES256"}), Fault::Signature),
            (json!({"kid": "1"}), Fault::Algorithm),
            (json!({"alg": "EdDSA", "crit": ["exp"]}), Fault::Invalid),
        ] {
            assert_eq!(
                proved(&token(&pair, &header, &claims), &key, None),
                Err(fault),
                "{header}"
            );
        }
        let (signed, _) = text.rsplit_once('.').expect("a token");
        assert_eq!(proved(&format!("{signed}."), &key, None), Err(Fault::Signature));
        let named = |aud: Value| {
            let text = token(&pair, &json!({"alg": "EdDSA"}), &json!({"aud": aud}));
            let unproved = Unproved::parse(&text).expect("a token");
            unproved.audience().map(|names| names.join(","))
        };
        assert_eq!(named(json!("a  b")), Some("a,b".into()));
        assert_eq!(named(json!(5)), Some(String::new()));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let long = format!("{}.e30.", part(&json!({"alg": "x".repeat(LONGEST)})));
        let mut nested = "[".repeat(100_000);
        nested.insert_str(0, "{\"alg\":");
        let nested = format!("{}.e30.", BASE64_URL_SAFE_NO_PAD.encode(nested));
        for wrong in [
            "",
            "a",
            "a.b",
            "..",
            "e30.e30",
            "e30.e30.!",
            "e30.W10.",
            "e30=.e30.",
            &long,
            &nested,
        ] {
            assert_eq!(
                Unproved::parse(wrong).err(),
                Some(Fault::Invalid),
                "{}",
                &wrong[..wrong.len().min(20)]
            );
        }
        for password in ["guest", "a.b.c", "e30.e30.", "eyJhbGciOiJub25lIn0.e30", &nested] {
            assert!(!is_token(password));
        }
        assert!(is_token("eyJhbGciOiJub25lIn0.e30."), "unsigned, it is one");
    }

    proptest! {
        #[test]
        fn anything_is_a_token_or_none(text in "[A-Za-z0-9._-]{0,200}") {
            let _ = (is_token(&text), Unproved::parse(&text).map(|token| token.audience().map(|names| names.len())));
        }
    }
}
