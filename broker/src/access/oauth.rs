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
use std::time::{SystemTime, UNIX_EPOCH};
use terms::{ResourceServer, Terms};
use tokio::sync::Semaphore;

pub use jwt::{Fault, is_token};
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
}

impl Tokens {
    /// The way in on these terms.
    pub fn new(terms: Terms) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let issuers = terms.issuers.into_iter().map(|issuer| Arc::new(Issuer::new(issuer)));
        Self {
            servers: terms.servers,
            issuers: issuers.collect(),
            remembered: Remembered::default(),
            places: Arc::new(Semaphore::new((processors / 2).clamp(1, 4))),
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
