//! Logins over all protocols: who gets in, how often that is tried, and who has to wait.
//!
//! Comes in: user and password, a token, or the name in a certificate; the protocol, and the address that they come
//! from. Goes out: the actor, or a refusal. Nothing of what was given goes into the log, unless it is proved: it may be
//! a password, in the wrong field or of somebody else.

use super::actor::Actor;
use super::attempts::{Attempts, Protocol, Source};
use super::delay::{Delays, LONGEST, Turn};
use super::directory::Directory;
use super::live::Live;
use super::oauth::{self, Authz, Count, Fault, Tokens, Verified, is_token};
use super::password;
use super::permissions::Permissions;
use super::proof::{Account, Proofs};
use super::secret::SecretFiles;
use super::user::Tags;
use super::users::{FIRST_VHOST, GUEST, Refusal, Users};
use leveret_store::Batch;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// A login that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// User or password are wrong, or not from there.
    Wrong,
    /// There were too many failures from this address; another login is looked at after this time.
    TooMany(Duration),
}

/// Those whom a login is asked of.
#[derive(Clone, Debug)]
pub struct Backends {
    /// The broker's own users, with their passwords. (The administrator of files gets in without.)
    pub internal: bool,
    /// Tokens.
    pub tokens: Option<oauth::terms::Terms>,
}

impl Default for Backends {
    fn default() -> Self {
        Self {
            internal: true,
            tokens: None,
        }
    }
}

/// Proof of a name.
enum Claim<'a> {
    /// A name and a password; or any name, and a token in the place of a password.
    Password(&'a str, &'a str),
    /// A token.
    Token(&'a str),
    /// A certificate that TLS has verified, with the name that it stands for.
    Certificate(Option<&'a str>),
    /// A key that stands for nobody.
    Stranger,
}

/// The way into a broker.
pub struct Access {
    users: Users,
    internal: bool,
    tokens: Option<Tokens>,
    /// The administrator of two files.
    administrator: Option<SecretFiles>,
    /// All other users.
    pub directory: Directory,
    /// Where passwords are proved and made.
    pub proofs: Proofs,
    delays: Delays,
    delayed: AtomicU64,
    /// Logins so far.
    pub attempts: Attempts,
}

impl Access {
    /// The way in for the users of the settings, and those of the log's table. May add records, which have to be
    /// appended before anybody logs in.
    ///
    /// # Errors
    /// The thread that reads the administrator's files can't be started.
    pub fn new<'a>(
        users: Users,
        table: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        records: &mut Batch,
    ) -> io::Result<Self> {
        let mut directory = Directory::restored(table);
        let administrator = match &users {
            Users::Guest { made, .. } => {
                directory.first(made.then_some((GUEST, GUEST)), FIRST_VHOST, records);
                None
            }
            Users::Files { user, password } => Some(SecretFiles::open(user.clone(), password.clone())?),
        };
        Ok(Self {
            users,
            internal: true,
            tokens: None,
            administrator,
            directory,
            proofs: Proofs::default(),
            delays: Delays::default(),
            delayed: AtomicU64::new(0),
            attempts: Attempts::default(),
        })
    }

    /// The same with others whom logins are asked of. `count` is told the memory that tokens take, whenever that
    /// changes.
    pub fn with_backends(self, backends: Backends, count: Count) -> Self {
        Self {
            internal: backends.internal,
            tokens: backends.tokens.map(|terms| Tokens::new(terms, count)),
            ..self
        }
    }

    /// The way in for tokens, if there is one.
    pub fn tokens(&self) -> Option<&Tokens> {
        self.tokens.as_ref()
    }

    /// The most connections and channels that a user may have open.
    pub fn most_of(&self, user: &str) -> [Option<u64>; 2] {
        let account = self
            .directory
            .get(user)
            .filter(|_| self.administrator().as_deref() != Some(user));
        account.map_or([None; 2], |account| account.user.limits.most())
    }

    /// The names of all users.
    pub fn names(&self) -> Vec<String> {
        let accounts = self.directory.list();
        let mut names: Vec<String> = accounts.iter().map(|account| account.user.name.clone()).collect();
        names.extend(self.administrator());
        names
    }

    /// The name of the administrator that files name, as they were read last.
    pub fn administrator(&self) -> Option<String> {
        let files = self.administrator.as_ref()?;
        files.last().ok().map(|known| known.user.clone())
    }

    /// Logins that had to wait, or were refused, because of failures before them.
    pub fn delayed(&self) -> u64 {
        self.delayed.load(Ordering::Relaxed)
    }

    /// Checks a login by name and password, or by a token in the place of a password. Gives the actor, without a
    /// connection. Waits first, if logins from that address failed too often.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn log_in(&self, protocol: Protocol, from: IpAddr, user: &str, password: &str) -> Result<Actor, Refused> {
        self.admit(protocol, from, Claim::Password(user, password)).await
    }

    /// The same by a token.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn log_in_by_token(&self, protocol: Protocol, from: IpAddr, token: &str) -> Result<Actor, Refused> {
        self.admit(protocol, from, Claim::Token(token)).await
    }

    /// The same by the name in a certificate that is verified; `None` if there is none in it.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn log_in_by_certificate(
        &self,
        protocol: Protocol,
        from: IpAddr,
        name: Option<&str>,
    ) -> Result<Actor, Refused> {
        self.admit(protocol, from, Claim::Certificate(name)).await
    }

    /// The same for a key that stands for nobody: it is refused, as a wrong password is.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn refuse_stranger(&self, protocol: Protocol, from: IpAddr) -> Result<Actor, Refused> {
        self.admit(protocol, from, Claim::Stranger).await
    }

    /// The actor for a user that the broker's own configuration names: whoever comes that way is that user, if it
    /// exists. That it doesn't is not the client's fault, so nobody has to wait for that.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn log_in_as(&self, protocol: Protocol, from: IpAddr, user: &str) -> Result<Actor, Refused> {
        let address = from.to_canonical();
        let checked = self.check_given(user, address).await;
        let source = Source {
            address,
            user: Some(user.to_owned()),
            protocol,
        };
        self.attempts.add(source, checked.is_ok());
        checked.map_err(|reason| {
            info!(protocol = protocol.name(), %from, user, "login refused: {reason}");
            Refused::Wrong
        })
    }

    /// The contents of a newer token, for a connection whose token ends.
    ///
    /// # Errors
    /// It is not accepted.
    pub async fn renewed(&self, token: &str) -> Result<Arc<Verified>, Fault> {
        match &self.tokens {
            Some(tokens) => tokens.verify(token).await,
            None => Err(Fault::Invalid),
        }
    }

    async fn admit(&self, protocol: Protocol, from: IpAddr, claim: Claim<'_>) -> Result<Actor, Refused> {
        let from = from.to_canonical();
        let source = |user: Option<String>| Source {
            address: from,
            user,
            protocol,
        };
        if let Err(wait) = self.turn(from).await {
            self.attempts.add(source(None), false);
            return Err(Refused::TooMany(wait));
        }
        let checked = match claim {
            Claim::Password(user, password) => self.check(user, password, from).await,
            Claim::Token(token) => self.check_token(token, from).await,
            Claim::Certificate(name) => self.check_certificate(name, from).await,
            Claim::Stranger => Err(Refusal::Stranger),
        };
        let named = match &checked {
            Ok(actor) => Some(actor.user.clone()),
            Err(Refusal::Password(user) | Refusal::NotFromThere(user)) => Some(user.clone()),
            Err(_) => None,
        };
        self.attempts.add(source(named), checked.is_ok());
        if checked.as_ref().is_err_and(|reason| *reason == Refusal::Late) {
            self.delayed.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::TooMany(LONGEST));
        }
        checked.map_err(|reason| {
            info!(protocol = protocol.name(), %from, "login refused: {reason}");
            if self.delays.failed(from, Instant::now()) {
                warn!(%from, "many logins from this address have failed: they are slowed down");
            }
            Refused::Wrong
        })
    }

    /// Checks a token. One that is refused is cheap: whoever sends it may know that it is one.
    async fn check_token(&self, token: &str, from: IpAddr) -> Result<Actor, Refusal> {
        let Some(tokens) = &self.tokens else {
            return Err(Refusal::Unknown);
        };
        // A box of its own: other logins take no memory for what may fetch keys from elsewhere.
        let verified = Box::pin(tokens.verify(token)).await.map_err(Refusal::Token)?;
        let user = &verified.user;
        if self.users.are_shut_out(user, from) {
            return Err(Refusal::NotFromThere(user.clone()));
        }
        match verified.authz {
            Authz::Scopes => Ok(Actor::of_token(verified)),
            Authz::Users => {
                // The administrator of files has a password, and a user of its name counts for nothing.
                let account = self
                    .directory
                    .get(user)
                    .filter(|_| self.administrator().as_ref() != Some(user));
                let account = account.ok_or_else(|| Refusal::NoUser(user.clone()))?;
                Ok(actor_of(&account).for_token(verified))
            }
        }
    }

    /// Checks the name in a certificate: a user of this name must exist, whatever its password.
    async fn check_certificate(&self, name: Option<&str>, from: IpAddr) -> Result<Actor, Refusal> {
        let name = name.ok_or(Refusal::Nameless)?;
        let of_certificate = |refusal| match refusal {
            Refusal::Unknown => Refusal::NotKnown(name.to_owned()),
            other => other,
        };
        self.check_given(name, from).await.map_err(of_certificate)
    }

    /// A user of this name must exist, whatever its password.
    async fn check_given(&self, name: &str, from: IpAddr) -> Result<Actor, Refusal> {
        if let Some(files) = &self.administrator
            && files.now().await.is_ok_and(|known| known.user == name)
        {
            return Ok(Actor::new(name, Permissions::ALL).with_tags(Tags::administrator()));
        }
        let account = self.directory.get(name).filter(|_| self.internal);
        let account = account.ok_or(Refusal::Unknown)?;
        match self.users.are_shut_out(name, from) {
            true => Err(Refusal::NotFromThere(name.to_owned())),
            false => Ok(actor_of(&account)),
        }
    }

    /// Checks name and password. One that is refused takes the time of a slow hash, whoever it is for; but for a token,
    /// for which the name doesn't matter.
    async fn check(&self, user: &str, password: &str, from: IpAddr) -> Result<Actor, Refusal> {
        let known = match &self.administrator {
            Some(files) => Some(files.now().await),
            None => None,
        };
        let turn = || self.delays.turn(from, Instant::now()) == Turn::Now;
        if let Some(Ok(known)) = &known
            && known.user == user
        {
            if password::matches(password, &known.password) {
                return Ok(Actor::new(user, Permissions::ALL).with_tags(Tags::administrator()));
            }
            let proved = self.proofs.is_password(None, password, turn).await;
            return Err(proved.map_or(Refusal::Late, |_| Refusal::Password(user.to_owned())));
        }
        if self.tokens.is_some() && is_token(password) {
            return self.check_token(password, from).await;
        }
        let account = self.directory.get(user).filter(|_| self.internal);
        let proved = self.proofs.is_password(account.as_ref(), password, turn).await;
        let proved = proved.ok_or(Refusal::Late)?;
        let Some(account) = account else {
            return Err(match known {
                Some(Err(reason)) => Refusal::Unreadable(reason),
                _ => Refusal::Unknown,
            });
        };
        if !proved {
            return Err(Refusal::Password(user.to_owned()));
        }
        if self.users.are_shut_out(user, from) {
            return Err(Refusal::NotFromThere(user.to_owned()));
        }
        Ok(actor_of(&account))
    }

    async fn turn(&self, from: IpAddr) -> Result<(), Duration> {
        let began = Instant::now();
        loop {
            let now = Instant::now();
            let wait = match self.delays.turn(from, now) {
                Turn::Now => return Ok(()),
                Turn::After(wait) if now + wait <= began + LONGEST => wait,
                Turn::After(wait) | Turn::Never(wait) => {
                    self.delayed.fetch_add(1, Ordering::Relaxed);
                    return Err(wait);
                }
            };
            if now - began < wait {
                self.delayed.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(wait).await;
        }
    }
}

/// A user of the log's table at work.
fn actor_of(account: &Account) -> Actor {
    let user = &account.user;
    let live = Live::new(&user.name, account.rights.clone());
    let actor = Actor::new(&user.name, Permissions::NONE).with_rights(live);
    actor.with_tags(user.tags.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const BESIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

    #[tokio::test]
    async fn who_fails_often_waits_and_nobody_else_does() {
        let users = Users::Guest {
            loopback_only: true,
            made: true,
        };
        let logins = Access::new(users, std::iter::empty(), &mut Batch::default());
        let logins = std::sync::Arc::new(logins.expect("no files"));
        let log_in = async |from, password| {
            let asked = logins.log_in(Protocol::Amqp, from, "guest", password);
            asked.await.map(|actor| actor.user)
        };
        // Many at once are looked at no more often than one after the other.
        let (mut storm, began) = (tokio::task::JoinSet::new(), Instant::now());
        for _ in 0..80 {
            let logins = logins.clone();
            let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
            storm.spawn(async move { logins.log_in(Protocol::Amqp, from, "guest", "wrong").await });
        }
        let looked_at = storm.join_all().await.into_iter();
        let looked_at = looked_at.filter(|login| matches!(login, Err(Refused::Wrong))).count();
        let passed = began.elapsed().as_millis() as usize / 100;
        assert!((50..=56 + passed).contains(&looked_at), "{looked_at}");
        for _ in 0..52 {
            assert_eq!(log_in(HERE, "wrong").await, Err(Refused::Wrong));
        }
        let began = Instant::now();
        assert_eq!(log_in(BESIDE, "guest").await, Ok("guest".into()));
        assert!(began.elapsed() < Duration::from_millis(50), "it waits for nobody");
        let [(_, amqp), ..] = logins.attempts.by_protocol();
        assert_eq!((amqp.failed, amqp.succeeded), (132, 1));
        let sources = logins.attempts.by_source().len();
        assert!(
            (3..=4).contains(&sources),
            "of the storm, those that had to go name no user: {sources}"
        );
    }
}
