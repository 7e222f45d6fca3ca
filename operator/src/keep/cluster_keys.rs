//! (client) The cluster's keys: those that the API server signs tokens of service accounts with, kept up to date.
//!
//! In: the word that somebody needs them, and that a watch broke off, as it does when an API server ends. Out: the
//! issuer as it was last read, or why it can't be read. Nothing is asked for before somebody needs it. Does not know
//! about brokers.

use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::header::ACCEPT;
use kube::Client;
use kube::core::Status;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::turn::Bell;
use crate::engine::account_tokens::Issuer;
use crate::object::Reason;

const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";
/// The kinds of both documents: the API server gives the keys as the first alone.
const ACCEPTED: &str = "application/jwk-set+json, application/json;q=0.9";
/// Longest time for both documents.
const REQUEST: Duration = Duration::from_secs(10);
/// Time after which they are read again. Keys are published before tokens are signed with them.
const REFRESH: Duration = Duration::from_secs(300);
/// First and longest pause after a problem.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The least time between a watch that broke off and the next reading.
const MOMENT: Duration = Duration::from_secs(1);
/// Time for which keys count as those of now while the API server doesn't answer.
const FRESH: Duration = Duration::from_secs(900);

/// The cluster as an issuer, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// As it was last read.
    pub issuer: Option<Arc<Issuer>>,
    /// The reason why that may not be what it is now.
    pub problem: Option<(Reason, String)>,
}

/// Reads them until it is dropped.
pub struct ClusterKeys {
    wanted: watch::Sender<bool>,
    known: watch::Receiver<Option<Known>>,
    task: JoinHandle<()>,
}

impl Drop for ClusterKeys {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ClusterKeys {
    /// Reads nothing yet. The bell is rung when something has changed.
    pub(super) fn start(client: Client, bell: Arc<Bell>) -> Self {
        let (wanted, is_wanted) = watch::channel(false);
        let (teller, known) = watch::channel(None);
        let task = tokio::spawn(follow(client, is_wanted, teller, bell));
        Self { wanted, known, task }
    }

    /// The issuer, where it is wanted; the first answer is waited for.
    pub async fn known(&self, wanted: bool) -> Known {
        self.wanted
            .send_if_modified(|was| std::mem::replace(was, wanted) != wanted);
        if !wanted {
            return Known::default();
        }
        let mut known = self.known.clone();
        let answered = known.wait_for(Option::is_some).await;
        answered.ok().and_then(|known| known.clone()).unwrap_or_default()
    }
}

/// A reading that came to nothing.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    reason: Reason,
    message: String,
    /// It goes by itself, as does an API server that starts again.
    passes: bool,
}

async fn follow(
    client: Client,
    mut wanted: watch::Receiver<bool>,
    teller: watch::Sender<Option<Known>>,
    bell: Arc<Bell>,
) {
    let mut broken = bell.broken_off();
    let (mut attempts, mut read) = (0, Instant::now());
    while wanted.wait_for(|wanted| *wanted).await.is_ok() {
        broken.mark_unchanged();
        let had = fetch(&client).await;
        let pause = match &had {
            Ok(_) => {
                (attempts, read) = (0, Instant::now());
                REFRESH
            }
            Err(_) => {
                attempts = (attempts + 1).min(8);
                (RETRY.0 * 2_u32.pow(attempts - 1)).min(RETRY.1)
            }
        };
        let before = teller.borrow().clone().unwrap_or_default();
        let now = after(before, had, read.elapsed());
        let is_new = teller.send_if_modified(|told| {
            let is_new = told.as_ref() != Some(&now);
            *told = Some(now);
            is_new
        });
        if is_new {
            bell.ring();
        }
        tokio::select! {
            () = sleep(pause) => {}
            result = broken.changed() => match result {
                Ok(()) => sleep(MOMENT).await,
                Err(_) => return,
            }
        }
    }
}

/// The state after another reading; the last good one was made so long ago.
fn after(before: Known, had: Result<Issuer, Fault>, age: Duration) -> Known {
    match had {
        Ok(issuer) => {
            let same = before.issuer.filter(|known| **known == issuer);
            let issuer = same.unwrap_or_else(|| {
                info!("the cluster's keys were read");
                Arc::new(issuer)
            });
            Known {
                issuer: Some(issuer),
                problem: None,
            }
        }
        Err(fault) if fault.passes && before.issuer.is_some() && age < FRESH => before,
        Err(fault) => {
            let problem = Some((fault.reason, fault.message));
            if let Some((_, why)) = problem.as_ref().filter(|_| before.problem != problem) {
                warn!("{why}");
            }
            Known { problem, ..before }
        }
    }
}

async fn fetch(client: &Client) -> Result<Issuer, Fault> {
    let both = async {
        let discovery = get(client, DISCOVERY).await?;
        let keys = get(client, KEYS).await?;
        Issuer::new(&discovery, &keys).map_err(|why| fault(Reason::WaitingForBroker, &why))
    };
    let passes = |_| Fault {
        passes: true,
        ..fault(Reason::WaitingForBroker, "no answer of the API server")
    };
    timeout(REQUEST, both).await.unwrap_or_else(|late| Err(passes(late)))
}

async fn get(client: &Client, path: &str) -> Result<String, Fault> {
    let request = Request::get(path).header(ACCEPT, ACCEPTED).body(Vec::new());
    let request = request.map_err(|error| fault(Reason::WaitingForBroker, &error.to_string()))?;
    client.request_text(request).await.map_err(|error| match error {
        kube::Error::Api(status) => refused(path, &status),
        error => Fault {
            passes: true,
            ..fault(Reason::WaitingForBroker, &format!("{path}: {error}"))
        },
    })
}

fn refused(path: &str, status: &Status) -> Fault {
    let Status { code, message, .. } = status;
    match code {
        401 | 403 => fault(
            Reason::NotAllowed,
            &format!(
                "{path}: {message}; the ClusterRole system:service-account-issuer-discovery gives the operator that right"
            ),
        ),
        500.. | 429 => Fault {
            passes: true,
            ..fault(Reason::WaitingForBroker, &format!("{path}: {code} {message}"))
        },
        _ => fault(Reason::WaitingForBroker, &format!("{path}: {code} {message}")),
    }
}

fn fault(reason: Reason, why: &str) -> Fault {
    Fault {
        reason,
        message: format!("the cluster's keys for serviceAccountTokens can't be read: {why}"),
        passes: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(key: &str) -> Issuer {
        let keys = format!(r#"{{"keys": [{{"kid": "{key}"}}]}}"#);
        Issuer::new(r#"{"issuer": "https://cluster"}"#, &keys).expect("an issuer")
    }

    fn away() -> Fault {
        Fault {
            passes: true,
            ..fault(Reason::WaitingForBroker, "away")
        }
    }

    #[test]
    fn keys_stay_while_no_others_can_be_read() {
        let known = after(Known::default(), Ok(issuer("a")), Duration::ZERO);
        assert_eq!((known.issuer.as_deref(), &known.problem), (Some(&issuer("a")), &None));
        // An API server that starts again is no news, unless that takes long.
        assert_eq!(after(known.clone(), Err(away()), FRESH / 2), known);
        let late = after(known.clone(), Err(away()), FRESH);
        assert_eq!(late.issuer, known.issuer);
        assert!(late.problem.is_some());
        let denied = after(known.clone(), Err(fault(Reason::NotAllowed, "no")), Duration::ZERO);
        assert_eq!(denied.issuer, known.issuer);
        assert_eq!(denied.problem.map(|(reason, _)| reason), Some(Reason::NotAllowed));
        let never = after(Known::default(), Err(away()), Duration::ZERO);
        assert!(never.issuer.is_none() && never.problem.is_some());
        assert_eq!(after(late, Ok(issuer("a")), Duration::ZERO), known, "it is well again");
    }

    #[test]
    fn an_answer_that_lasts_is_told_from_one_that_passes() {
        let of = |code| refused("/keys", &Status::failure("why", "").with_code(code));
        assert_eq!(
            of(403).message,
            "the cluster's keys for serviceAccountTokens can't be read: /keys: why; the ClusterRole \
             system:service-account-issuer-discovery gives the operator that right"
        );
        assert_eq!((of(403).reason, of(403).passes), (Reason::NotAllowed, false));
        assert!(of(503).passes && of(429).passes && !of(404).passes);
    }
}
