//! The keys of one issuer, kept up to date.
//!
//! Comes in: ids of keys. Goes out: keys. They are had anew every so often, and when a key is asked for that isn't
//! known; but then no more than once in a while: who sends tokens with ids that nobody has causes no storm of requests.
//! While they can't be had, those before stay.

use super::fetch;
use super::keys::{self, Key, Keys};
use super::terms::{self, Source};
use parking_lot::RwLock;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tracing::{info, warn};

/// The shortest time between two attempts to have the keys.
const AGAIN: Duration = Duration::from_secs(10);
/// Time after which keys are had anew.
const REFRESH: Duration = Duration::from_secs(300);
/// Time between two looks at a file.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// An issuer with its keys.
pub struct Issuer {
    /// Everything that the settings say of it.
    pub terms: terms::Issuer,
    keys: RwLock<Arc<Keys>>,
    generation: AtomicU64,
    attempt: tokio::sync::Mutex<Attempt>,
}

/// The last attempt to have the keys.
#[derive(Default)]
struct Attempt {
    at: Option<Instant>,
    /// The reason for it to fail.
    fault: Option<String>,
}

impl Issuer {
    /// An issuer of which only those keys are known that the settings name.
    pub fn new(terms: terms::Issuer) -> Self {
        let keys = RwLock::new(Arc::new(terms.keys.clone()));
        Self {
            terms,
            keys,
            generation: AtomicU64::new(0),
            attempt: tokio::sync::Mutex::default(),
        }
    }

    /// Grows whenever there are other keys: what was proved before has to be proved again.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// A key by its id, and the generation of keys that it is of. One that isn't known is looked for at the origin of
    /// the keys.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn key(&self, id: Option<&str>) -> Option<(Arc<Key>, u64)> {
        let id = id.or(self.terms.default_key.as_deref()).map(str::to_owned);
        let known = || {
            let keys = self.keys.read();
            // It changes with the keys, under their lock.
            keys.get(&id).map(|key| (key.clone(), self.generation()))
        };
        if let Some(key) = known() {
            return Some(key);
        }
        if self.terms.source == Source::Settings {
            return None;
        }
        self.refresh(AGAIN).await;
        known()
    }

    /// Keeps the keys up to date, for as long as it is polled.
    pub async fn follow(&self) {
        let mut stamp = None;
        loop {
            let failed = match &self.terms.source {
                Source::Settings => return,
                Source::File(path) => {
                    let path = path.clone();
                    let looked = tokio::task::spawn_blocking(move || crate::files::modified(&path));
                    let now: Option<SystemTime> = looked.await.unwrap_or_default();
                    if now.is_none() || now != stamp {
                        let failed = self.refresh_now().await;
                        stamp = now.filter(|_| !failed);
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                    continue;
                }
                Source::Url(_) | Source::Discovery(_) => self.refresh_now().await,
            };
            tokio::time::sleep(if failed { AGAIN } else { REFRESH }).await;
        }
    }

    /// True if they can't be had.
    async fn refresh_now(&self) -> bool {
        self.refresh(Duration::ZERO).await
    }

    /// Has the keys anew, unless that was tried a shorter time ago: whoever comes while it is tried waits for it. True
    /// if the last attempt failed.
    async fn refresh(&self, unless_within: Duration) -> bool {
        let mut attempt = self.attempt.lock().await;
        if attempt.at.is_none_or(|at| at.elapsed() >= unless_within) {
            let had = self.fetch().await;
            attempt.at = Some(Instant::now());
            self.take(had, &mut attempt.fault);
        }
        attempt.fault.is_some()
    }

    fn take(&self, had: Result<Keys, String>, fault: &mut Option<String>) {
        let name = &self.terms.name;
        match had {
            Ok(had) => {
                let mut all = self.terms.keys.clone();
                all.extend(had);
                let mut keys = self.keys.write();
                if **keys != all {
                    info!(issuer = name, keys = all.len(), "signing keys were read");
                    *keys = Arc::new(all);
                    self.generation.fetch_add(1, Ordering::Release);
                }
                *fault = None;
            }
            Err(why) if fault.as_ref() != Some(&why) => {
                let known = self.keys.read().len();
                warn!(
                    issuer = name,
                    known,
                    "signing keys can't be read, tokens that are signed with others than those known are refused: {why}"
                );
                *fault = Some(why);
            }
            Err(_) => {}
        }
    }

    async fn fetch(&self) -> Result<Keys, String> {
        let terms = &self.terms;
        let get = |url: String| async move {
            let got = fetch::get(&url, terms.authorities.as_deref(), terms.token.as_deref()).await;
            got.map_err(|why| format!("{url}: {why}"))
        };
        let url = match &terms.source {
            Source::Settings => return Ok(Keys::new()),
            Source::File(path) => return of_file(path).await,
            Source::Url(url) => url.clone(),
            Source::Discovery(url) => {
                let document = get(url.clone()).await?;
                let document: Value = serde_json::from_slice(&document).map_err(|error| format!("{url}: {error}"))?;
                let keys = document.get("jwks_uri").and_then(Value::as_str);
                keys.ok_or_else(|| format!("{url}: there is no jwks_uri in it"))?
                    .to_owned()
            }
        };
        keys::of_set(&get(url.clone()).await?).map_err(|why| format!("{url}: {why}"))
    }
}

async fn of_file(path: &Path) -> Result<Keys, String> {
    let name = path.display().to_string();
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let text = crate::files::read_text(&path).map_err(|error| error.to_string())?;
        keys::of_set(text.as_bytes())
    });
    let read = read.await.unwrap_or_else(|_| Err("it can't be read".into()));
    read.map_err(|why| format!("{name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[&str]) -> String {
        let keys = ids
            .iter()
            .map(|id| serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": "AQAB", "kid": id}));
        serde_json::json!({"keys": keys.collect::<Vec<_>>()}).to_string()
    }

    #[tokio::test]
    async fn keys_that_are_not_known_are_looked_for_once_in_a_while() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        let issuer = Issuer::new(terms::Issuer {
            source: Source::File(path.clone()),
            default_key: Some("a".into()),
            ..terms::Issuer::default()
        });
        assert!(issuer.key(Some("a")).await.is_none(), "there is no file");
        std::fs::write(&path, set(&["a"])).expect("written");
        assert!(issuer.key(Some("a")).await.is_none(), "not so soon again");
        assert!(!issuer.refresh_now().await);
        let generation = issuer.generation();
        assert!(issuer.key(Some("a")).await.is_some() && issuer.key(None).await.is_some());
        assert!(issuer.key(Some("b")).await.is_none());
        std::fs::write(&path, "no keys").expect("written");
        assert!(issuer.refresh_now().await);
        assert!(issuer.key(Some("a")).await.is_some(), "those before stay");
        assert_eq!(issuer.generation(), generation);
        std::fs::write(&path, set(&["b"])).expect("written");
        assert!(!issuer.refresh_now().await && issuer.generation() > generation);
        assert!(issuer.key(Some("b")).await.is_some() && issuer.key(Some("a")).await.is_none());
    }
}
