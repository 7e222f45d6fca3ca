//! Passwords, proved: away from the threads that serve clients, so many at a time, and not again for a while.
//!
//! Comes in: an account, or that there is none, and a password. Goes out: yes or no. A login that fails takes the time
//! of one slow hash, whoever it was for. What was proved is remembered as a keyed hash, for a minute and as long as the
//! account stays as it is: five thousand clients that come back at once cost one slow hash, not five thousand.

use super::hash::Hash;
use super::password;
use super::rights::Rights;
use super::user::User;
use parking_lot::Mutex;
use ring::hmac;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The time for which a password that was proved is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);

/// A user with what was proved of it of late. A change of the user makes another one.
pub struct Account {
    /// The user.
    pub user: User,
    /// Its rights.
    pub rights: Arc<Rights>,
    proved: Mutex<Option<(Mark, Instant)>>,
}

/// A keyed hash of a password.
type Mark = [u8; 32];

impl Account {
    /// An account of which nothing was proved.
    pub fn new(user: User, rights: Arc<Rights>) -> Self {
        let proved = Mutex::default();
        Self { user, rights, proved }
    }

    fn remembers(&self, mark: &Mark) -> bool {
        let proved = self.proved.lock();
        proved.is_some_and(|(known, until)| Instant::now() < until && password::same(&known, mark))
    }

    fn remember(&self, mark: Mark) {
        *self.proved.lock() = Some((mark, Instant::now() + REMEMBERED));
    }
}

/// The places where passwords are proved.
pub struct Proofs {
    /// Of this process: what is remembered is of no use to anybody else.
    key: hmac::Key,
    places: Arc<Semaphore>,
    decoy: Arc<Account>,
}

impl Default for Proofs {
    /// Half of the processors may be at it.
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let decoy = User {
            name: String::new(),
            hash: Hash::decoy(),
            tags: Default::default(),
            limits: Default::default(),
        };
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()),
            places: Arc::new(Semaphore::new((processors / 2).clamp(1, 4))),
            decoy: Arc::new(Account::new(decoy, Arc::default())),
        }
    }
}

impl Proofs {
    /// True if it is the password of the account. An empty one is nobody's. `None` if `turn` says no once there is a
    /// place for a slow hash: many who come at once must not get more of them than one after the other would.
    ///
    /// # Cancel safety
    /// May be dropped at any time; a place is given back when the hash is done.
    pub async fn is_password(
        &self,
        account: Option<&Arc<Account>>,
        password: &str,
        turn: impl FnOnce() -> bool,
    ) -> Option<bool> {
        let account = account.filter(|_| !password.is_empty()).cloned();
        let mark = self.mark(account.as_deref(), password);
        if let Some(account) = &account {
            let fast = !account.user.hash.is_slow();
            if account.remembers(&mark) || (fast && account.user.hash.matches(password)) {
                return Some(true);
            }
        }
        // Never closed.
        let place = self.places.clone().acquire_owned().await.ok()?;
        // Another client with the same password may have been here meanwhile.
        if account.as_ref().is_some_and(|account| account.remembers(&mark)) {
            return Some(true);
        }
        if !turn() {
            return None;
        }
        let (decoy, password) = (self.decoy.clone(), password.to_owned());
        let slow = account.filter(|account| account.user.hash.is_slow());
        let proving = tokio::task::spawn_blocking(move || {
            let _place = place;
            let asked = slow.as_ref().unwrap_or(&decoy);
            let proved = asked.user.hash.matches(&password);
            if proved {
                asked.remember(mark);
            }
            proved
        });
        Some(proving.await.unwrap_or(false))
    }

    /// The hash of a password that is set.
    ///
    /// # Errors
    /// There is no memory for it.
    pub async fn hash(&self, password: String) -> Result<Hash, String> {
        let place = self.places.clone().acquire_owned().await;
        let hashing = tokio::task::spawn_blocking(move || {
            let _place = place;
            Hash::of(&password)
        });
        hashing
            .await
            .unwrap_or_else(|_| Err("the password can't be hashed".to_owned()))
    }

    fn mark(&self, account: Option<&Account>, password: &str) -> Mark {
        let name = account.map_or("", |account| &account.user.name);
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(name.len() as u64).to_be_bytes());
        context.update(name.as_bytes());
        context.update(password.as_bytes());
        let mut mark = Mark::default();
        mark.iter_mut()
            .zip(context.sign().as_ref())
            .for_each(|(to, from)| *to = *from);
        mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(hash: Hash) -> Arc<Account> {
        let user = User {
            name: "u".into(),
            hash,
            tags: Default::default(),
            limits: Default::default(),
        };
        Arc::new(Account::new(user, Arc::default()))
    }

    #[tokio::test]
    async fn a_password_is_proved_once_for_all_who_come_at_once() {
        let (proofs, account) = (Proofs::default(), account(Hash::of("secret").expect("memory")));
        let is_password = |password| proofs.is_password(Some(&account), password, || true);
        let before = Instant::now();
        assert_eq!(proofs.is_password(Some(&account), "secret", || false).await, None);
        assert_eq!(is_password("secret").await, Some(true));
        let once = before.elapsed();
        let before = Instant::now();
        for _ in 0..2000 {
            assert_eq!(is_password("secret").await, Some(true));
        }
        assert!(
            before.elapsed() < once * 200,
            "{:?}, and {once:?} for one",
            before.elapsed()
        );
        assert_eq!(is_password("Secret").await, Some(false));
        assert_eq!(is_password("").await, Some(false));
        assert_eq!(is_password("secret").await, Some(true));
        *account.proved.lock() = Some((proofs.mark(Some(&account), "other"), Instant::now()));
        assert_eq!(is_password("other").await, Some(false), "what is over is forgotten");
    }

    #[tokio::test]
    async fn who_fails_waits_for_a_slow_hash_whoever_it_was_for() {
        let proofs = Proofs::default();
        let (fast, slow) = (account(Hash::salted("a")), account(Hash::of("a").expect("memory")));
        let begin = Instant::now();
        assert_eq!(proofs.is_password(Some(&fast), "a", || false).await, Some(true));
        let quick = begin.elapsed();
        for asked in [None, Some(&fast), Some(&slow), Some(&account(Hash::None))] {
            let begin = Instant::now();
            assert_eq!(proofs.is_password(asked, "b", || true).await, Some(false));
            assert!(begin.elapsed() > quick * 3, "{:?} and {quick:?}", begin.elapsed());
        }
    }
}
