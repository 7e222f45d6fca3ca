//! Tokens of identity providers: who gets in with one, and with which rights.
//!
//! Comes in: a token, as a client sends it in place of a password. Goes out: the user, with scopes or without, and the
//! time at which that ends; or the reason why not. Signatures are proved away from the threads that serve clients. Does
//! not know about connections, or the broker's own users.

/// The keys of one issuer.
pub mod issuer;

/// Documents over HTTPS.
pub mod fetch;

/// User and scopes in a token.
pub mod claims;

/// The settings of tokens.
pub mod terms;

/// Tokens, taken apart and proved.
pub mod jwt;

/// Keys that tokens are signed with.
pub mod keys;

/// Tokens that were proved of late.
pub mod remembered;

use super::scope::Scopes;
use super::user::Tags;
use issuer::Issuer;
use jwt::{Claims, Unproved};
use remembered::Remembered;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use terms::{ResourceServer, Terms};
use tokio::sync::Semaphore;

pub use jwt::{Fault, is_token};
pub use remembered::Count;
pub use terms::Authz;

/// The contents of a token that was proved.
#[derive(Debug)]
pub struct Verified {
    /// The user.
    pub user: String,
    /// The resource server that it is for.
    pub server: String,
    /// The origin of rights.
    pub authz: Authz,
    /// Tags of the user.
    pub tags: Tags,
    /// Scopes, without their prefix.
    pub scopes: Arc<Scopes>,
    /// The second at which it ends to work.
    pub expires: Option<u64>,
}

/// The way in for tokens.
pub struct Tokens {
    servers: Vec<ResourceServer>,
    issuers: Vec<Arc<Issuer>>,
    remembered: Remembered<Verified>,
    /// Signatures that are proved at a time.
    places: Arc<Semaphore>,
    /// Signatures that were looked at.
    proofs: AtomicU64,
}

impl Tokens {
    /// The way in on these terms. `count` is told the memory that it takes, whenever that changes.
    pub fn new(terms: Terms, count: Count) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let issuers = terms.issuers.into_iter().map(|issuer| Arc::new(Issuer::new(issuer)));
        Self {
            servers: terms.servers,
            issuers: issuers.collect(),
            remembered: Remembered::new(count),
            places: Arc::new(Semaphore::new((processors / 2).clamp(1, 4))),
            proofs: AtomicU64::new(0),
        }
    }

    /// The issuers.
    pub fn issuers(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }

    /// The contents of a token.
    ///
    /// # Errors
    /// It is not accepted.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn verify(&self, token: &str) -> Result<Arc<Verified>, Fault> {
        let unproved = Unproved::parse(token)?;
        let server = self.server(unproved.audience())?;
        let issuer = self.issuers.get(server.issuer).ok_or(Fault::Key)?;
        let mark = remembered::mark(token);
        if let Some(known) = self.remembered.get(&mark, issuer.generation()) {
            let now = now();
            return match known.expires {
                Some(end) if end <= now => Err(Fault::Expired(end, now)),
                _ => Ok(known),
            };
        }
        let (key, generation) = issuer.key(unproved.key()).await.ok_or(Fault::Key)?;
        // Never closed.
        let place = self.places.clone().acquire_owned().await.map_err(|_| Fault::Key)?;
        // Another client with the same token may have been here meanwhile.
        if let Some(known) = self.remembered.get(&mark, generation) {
            return Ok(known);
        }
        self.proofs.fetch_add(1, Ordering::Relaxed);
        let (text, allowed) = (token.to_owned(), issuer.terms.algorithms.clone());
        let proving = tokio::task::spawn_blocking(move || {
            let _place = place;
            Unproved::parse(&text)?.prove(&key, allowed.as_deref())
        });
        let claims = proving.await.map_err(|_| Fault::Signature)??;
        let verified = Arc::new(verified(server, &issuer.terms, &claims)?);
        self.remembered.add(mark, verified.clone(), generation, token.len());
        Ok(verified)
    }

    /// The resource server that a token is for.
    fn server(&self, audience: Option<Vec<&str>>) -> Result<&ResourceServer, Fault> {
        let fault = match &audience {
            None => Fault::NoAudience,
            Some(_) => Fault::OtherAudience,
        };
        let named = audience.unwrap_or_default();
        let mut own = self.servers.iter().filter(|server| named.contains(&server.id.as_str()));
        match (own.next(), own.next()) {
            (Some(server), None) => return Ok(server),
            (Some(_), Some(_)) => return Err(Fault::ManyAudiences),
            _ => {}
        }
        let mut lenient = self.servers.iter().filter(|server| !server.verify_aud);
        match (lenient.next(), lenient.next()) {
            (Some(server), None) => Ok(server),
            _ => Err(fault),
        }
    }
}

fn verified(server: &ResourceServer, issuer: &terms::Issuer, claims: &Claims) -> Result<Verified, Fault> {
    let named = claims.get("iss").and_then(|issuer| issuer.as_str());
    if issuer.issuer.is_some() && issuer.issuer.as_deref() != named {
        return Err(Fault::Issuer);
    }
    let scopes = claims::scopes(server, claims)?;
    Ok(Verified {
        user: claims::user(server, claims)?,
        server: server.id.clone(),
        authz: server.authz,
        tags: claims::tags(&scopes),
        scopes: Arc::new(Scopes::new(&scopes, claims)),
        expires: claims::expiry(server, claims, now())?,
    })
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use keys::{Key, Keys};
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    use serde_json::{Value, json};
    use std::collections::HashMap;

    fn server(id: &str, verify_aud: bool) -> ResourceServer {
        ResourceServer {
            id: id.into(),
            scope_prefix: format!("{id}."),
            additional_scopes: Vec::new(),
            scope_aliases: HashMap::new(),
            verify_aud,
            require_exp: true,
            user_claims: vec!["sub".into()],
            authz: Authz::Scopes,
            issuer: 0,
        }
    }

    fn tokens(servers: Vec<ResourceServer>) -> (Tokens, Ed25519KeyPair) {
        let private = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).expect("a key");
        let public = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let json = json!({"kty": "OKP", "crv": "Ed25519", "x": public});
        let key = Key::of_json(json.as_object().expect("a map")).expect("a key");
        let issuers = vec![terms::Issuer {
            keys: Keys::from([(None, Arc::new(key))]),
            ..terms::Issuer::default()
        }];
        (Tokens::new(Terms { servers, issuers }, Box::new(|_| ())), pair)
    }

    fn token(pair: &Ed25519KeyPair, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "EdDSA"})), part(claims));
        let signature = pair.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    #[tokio::test]
    async fn five_thousand_clients_that_come_back_cost_a_signature_for_each_token() {
        let (tokens, pair) = tokens(vec![server("a", true)]);
        let claims = |user: &str, exp: u64| json!({"sub": user, "aud": "a", "exp": exp});
        let own = ["u", "v"].map(|user| token(&pair, &claims(user, now() + 600)));
        for number in 0..5_000 {
            let verified = tokens.verify(&own[number % 2]).await;
            assert_eq!(verified.expect("a token").user, ["u", "v"][number % 2]);
        }
        assert_eq!(tokens.proofs.load(Ordering::Relaxed), 2);
        // One that expires meanwhile is none, remembered or not; and a wrong one is looked at each time.
        let ends = token(&pair, &claims("u", now() + 2));
        assert!(tokens.verify(&ends).await.is_ok());
        tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
        assert!(matches!(tokens.verify(&ends).await, Err(Fault::Expired(..))));
        let forged = format!("{}AAAA", own[0]);
        for _ in 0..2 {
            assert_eq!(tokens.verify(&forged).await.err(), Some(Fault::Signature));
        }
        assert_eq!(tokens.proofs.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn a_token_is_for_the_resource_server_that_it_names() {
        let of = |servers: Vec<ResourceServer>, audience: Option<Vec<&str>>| {
            let tokens = tokens(servers).0;
            tokens.server(audience).map(|server| server.id.clone())
        };
        let both = || vec![server("a", true), server("b", true)];
        assert_eq!(of(both(), Some(vec!["x", "b"])), Ok("b".into()));
        assert_eq!(of(both(), Some(vec!["a", "b"])), Err(Fault::ManyAudiences));
        assert_eq!(of(both(), Some(vec!["x"])), Err(Fault::OtherAudience));
        assert_eq!(of(both(), None), Err(Fault::NoAudience));
        let lenient = || vec![server("a", true), server("b", false)];
        assert_eq!(of(lenient(), Some(vec!["x"])), Ok("b".into()));
        assert_eq!(of(lenient(), None), Ok("b".into()));
        let lenient = || vec![server("a", false), server("b", false)];
        assert_eq!(
            of(lenient(), Some(vec!["x"])),
            Err(Fault::OtherAudience),
            "it could be either"
        );
    }
}
