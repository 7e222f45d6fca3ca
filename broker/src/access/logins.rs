//! Logins over all protocols: who gets in, how often that is tried, and who has to wait.
//!
//! Comes in: user, password, protocol, and the address they come from. Goes out: the actor, or a refusal. Nothing of
//! what was given goes into the log: it may be a password, in the wrong field or of somebody else.

use super::actor::Actor;
use super::attempts::{Attempts, Protocol, Source};
use super::delay::{Delays, LONGEST, Turn};
use super::secret::{Credentials, SecretFiles};
use super::users::{Refusal, Users};
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

/// The one who may log in.
enum Known {
    /// `guest`.
    Guest(Arc<Credentials>),
    /// The administrator of two files.
    Files(SecretFiles),
}

/// The way into a broker.
pub struct Access {
    users: Users,
    known: Known,
    delays: Delays,
    delayed: AtomicU64,
    /// Logins so far.
    pub attempts: Attempts,
}

impl Access {
    /// The way in for these users.
    ///
    /// # Errors
    /// The thread that reads their files can't be started.
    pub fn new(users: Users) -> io::Result<Self> {
        let known = match &users {
            Users::Guest { .. } => Known::Guest(Users::guest()),
            Users::Files { user, password } => Known::Files(SecretFiles::open(user.clone(), password.clone())?),
        };
        Ok(Self {
            users,
            known,
            delays: Delays::default(),
            delayed: AtomicU64::new(0),
            attempts: Attempts::default(),
        })
    }

    /// The names of all users: one, or none while the file with the name can't be read.
    pub fn names(&self) -> Vec<String> {
        let credentials = match &self.known {
            Known::Guest(guest) => Ok(guest.clone()),
            Known::Files(files) => files.last(),
        };
        credentials.iter().map(|known| known.user.clone()).collect()
    }

    /// True if the only user is the one that everybody knows, with its password.
    pub fn is_guest(&self) -> bool {
        matches!(self.known, Known::Guest(_))
    }

    /// Logins that had to wait, or were refused, because of failures before them.
    pub fn delayed(&self) -> u64 {
        self.delayed.load(Ordering::Relaxed)
    }

    /// Checks a login. Gives the actor, without a connection. Waits first, if logins from that address failed too
    /// often.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn log_in(&self, protocol: Protocol, from: IpAddr, user: &str, password: &str) -> Result<Actor, Refused> {
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
        let checked = match self.credentials().await {
            Ok(known) => self.users.check(&known, user, password, from),
            Err(reason) => Err(Refusal::Unreadable(reason)),
        };
        let named = match &checked {
            Ok(_) | Err(Refusal::Password(_) | Refusal::NotFromThere(_)) => Some(user.to_owned()),
            Err(_) => None,
        };
        self.attempts.add(source(named), checked.is_ok());
        checked.map_err(|reason| {
            info!(protocol = protocol.name(), %from, "login refused: {reason}");
            if self.delays.failed(from, Instant::now()) {
                warn!(%from, "many logins from this address have failed: they are slowed down");
            }
            Refused::Wrong
        })
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

    async fn credentials(&self) -> Result<Arc<Credentials>, String> {
        match &self.known {
            Known::Guest(guest) => Ok(guest.clone()),
            Known::Files(files) => files.now().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const BESIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

    #[tokio::test]
    async fn who_fails_often_waits_and_nobody_else_does() {
        let logins = Access::new(Users::Guest { loopback_only: true }).expect("no files");
        let log_in = async |from, password| {
            let asked = logins.log_in(Protocol::Amqp, from, "guest", password);
            asked.await.map(|actor| actor.user)
        };
        for _ in 0..52 {
            assert_eq!(log_in(HERE, "wrong").await, Err(Refused::Wrong));
        }
        let began = Instant::now();
        assert_eq!(log_in(BESIDE, "guest").await, Ok("guest".into()));
        assert!(began.elapsed() < Duration::from_millis(50), "it waits for nobody");
        let [(_, amqp), _] = logins.attempts.by_protocol();
        assert_eq!((amqp.failed, amqp.succeeded), (52, 1));
        assert_eq!(logins.attempts.by_source().len(), 2);
    }
}
