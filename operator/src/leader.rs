//! Which of several operators reconciles: the one that holds the Lease.
//!
//! In: a Lease in the cluster. Out: the work, run while the Lease is held; when it is lost, the work is stopped and the
//! election goes on, without a restart of the process. Does not know about what the work is.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::metrics::{ApiWrite, Metrics};

const MANAGER: &str = "leveret-operator";
/// Time for the work to end after the Lease is lost or the process is told to stop.
const WINDING_UP: Duration = Duration::from_secs(5);

/// The Lease, and the name of this process.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub namespace: String,
    pub lease: String,
    /// Distinguishes this process from all others.
    pub identity: String,
    /// After so long without renewal others may take over; renewed three times as often.
    pub duration: Duration,
}

struct Election {
    api: Api<Lease>,
    candidate: Candidate,
    metrics: Metrics,
    /// The foreign Lease as last seen, and since when it has looked like that: clocks of machines may differ, so only
    /// time measured here counts.
    seen: Option<(LeaseSpec, Instant)>,
}

/// Runs `work` whenever this process holds the Lease, until `shutdown`; then gives the Lease back.
///
/// `work` gets a token that is cancelled when it must end.
pub async fn lead<W, F>(client: Client, candidate: Candidate, metrics: Metrics, shutdown: CancellationToken, work: W)
where
    W: Fn(CancellationToken) -> F,
    F: Future<Output = ()>,
{
    let mut election = Election {
        api: Api::namespaced(client, &candidate.namespace),
        candidate,
        metrics,
        seen: None,
    };
    loop {
        if shutdown.run_until_cancelled(election.win()).await.is_none() {
            return;
        }
        info!(identity = election.candidate.identity, "leading");
        election.metrics.leading(true);
        let stop = shutdown.child_token();
        let working = work(stop.clone());
        tokio::pin!(working);
        let ended = tokio::select! {
            () = &mut working => Ended::Work,
            () = shutdown.cancelled() => Ended::Shutdown,
            () = election.hold() => Ended::Lease,
        };
        stop.cancel();
        if ended != Ended::Work && timeout(WINDING_UP, working).await.is_err() {
            warn!("the work did not end in time and is cut off");
        }
        election.metrics.leading(false);
        if ended != Ended::Lease {
            election.give_back().await;
            return;
        }
        warn!("the lease is lost; standing for election again");
    }
}

/// The event that came first.
#[derive(PartialEq)]
enum Ended {
    Work,
    Shutdown,
    Lease,
}

impl Election {
    fn pause(&self) -> Duration {
        self.candidate.duration / 3
    }

    /// Returns when the Lease is ours.
    async fn win(&mut self) {
        let mut said = String::new();
        loop {
            match timeout(self.pause(), self.stand()).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => self.say_who_leads(&mut said),
                Ok(Err(error)) => warn!(%error, lease = self.candidate.lease, "the lease cannot be had"),
                Err(_) => warn!(lease = self.candidate.lease, "the API server does not answer in time"),
            }
            // A little uneven, so that several candidates do not always meet.
            let unevenness = rand::random_range(0.8..1.2);
            sleep((self.pause() / 2).mul_f64(unevenness)).await;
        }
    }

    fn say_who_leads(&self, said: &mut String) {
        let holder = self
            .seen
            .as_ref()
            .and_then(|(lease, _)| lease.holder_identity.as_deref());
        if let Some(holder) = holder
            && holder != said
        {
            info!(holder, "standing by");
            holder.clone_into(said);
        }
    }

    /// Returns when the Lease could not be renewed for two thirds of its duration, or has another holder: before
    /// anybody else may believe to lead.
    async fn hold(&mut self) {
        let bound = self.pause() * 2;
        let mut renewed = Instant::now();
        let mut next = self.pause();
        loop {
            sleep(next).await;
            let left = bound.saturating_sub(renewed.elapsed());
            match timeout(left, self.stand()).await {
                Ok(Ok(true)) => {
                    renewed = Instant::now();
                    next = self.pause();
                }
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    warn!(%error, "the lease is not renewed");
                    next = self.pause() / 5;
                }
                Err(_) => return,
            }
        }
    }

    /// Takes or renews the Lease if that is allowed now.
    async fn stand(&mut self) -> kube::Result<bool> {
        let Some(found) = self.api.get_opt(&self.candidate.lease).await? else {
            return self.create().await;
        };
        let spec = found.spec.unwrap_or_default();
        if !self.may_take(&spec) {
            return Ok(false);
        }
        let mut wanted = self.wanted(&spec);
        // On condition that no other operator was faster.
        wanted.metadata.resource_version = found.metadata.resource_version;
        let parameters = PatchParams::apply(MANAGER).force();
        let answer = self
            .api
            .patch(&self.candidate.lease, &parameters, &Patch::Apply(&wanted))
            .await;
        self.taken(answer)
    }

    async fn create(&self) -> kube::Result<bool> {
        let wanted = self.wanted(&LeaseSpec::default());
        let parameters = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let answer = self.api.create(&parameters, &wanted).await;
        self.taken(answer)
    }

    fn taken(&self, answer: kube::Result<Lease>) -> kube::Result<bool> {
        self.metrics.api_write(ApiWrite::Lease, answer.is_ok());
        match answer {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ours, free, or not renewed for its whole duration while we watched.
    fn may_take(&mut self, found: &LeaseSpec) -> bool {
        let holder = found.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == self.candidate.identity {
            return true;
        }
        match &self.seen {
            Some((known, since)) if known == found => {
                let seconds = u64::try_from(found.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
                since.elapsed() >= Duration::from_secs(seconds).max(self.candidate.duration)
            }
            _ => {
                self.seen = Some((found.clone(), Instant::now()));
                false
            }
        }
    }

    fn wanted(&self, found: &LeaseSpec) -> Lease {
        let now = MicroTime(Timestamp::now());
        let ours = found.holder_identity.as_deref() == Some(self.candidate.identity.as_str());
        let transitions = found.lease_transitions.unwrap_or_default();
        let first = found.holder_identity.is_none();
        Lease {
            metadata: ObjectMeta {
                name: Some(self.candidate.lease.clone()),
                namespace: Some(self.candidate.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.candidate.identity.clone()),
                lease_duration_seconds: i32::try_from(self.candidate.duration.as_secs()).ok(),
                acquire_time: if ours {
                    found.acquire_time.clone()
                } else {
                    Some(now.clone())
                },
                renew_time: Some(now),
                lease_transitions: Some(transitions + i32::from(!ours && !first)),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Lets the next one take over at once instead of after the Lease's duration.
    async fn give_back(&self) {
        let release = async {
            let found = self.api.get(&self.candidate.lease).await?;
            let spec = found.spec.clone().unwrap_or_default();
            if spec.holder_identity.as_deref() != Some(self.candidate.identity.as_str()) {
                return Ok(());
            }
            let mut wanted = self.wanted(&spec);
            wanted.metadata.resource_version = found.metadata.resource_version;
            if let Some(spec) = &mut wanted.spec {
                spec.holder_identity = Some(String::new());
            }
            let parameters = PatchParams::apply(MANAGER).force();
            self.api
                .patch(&self.candidate.lease, &parameters, &Patch::Apply(&wanted))
                .await
                .map(drop)
        };
        match timeout(WINDING_UP, release).await {
            Ok(Ok(())) => debug!("the lease is given back"),
            Ok(Err(error)) => debug!(%error, "the lease is not given back"),
            Err(_) => debug!("the lease is not given back in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::Config;

    use super::*;

    fn election(duration: Duration) -> Election {
        let client = Client::try_from(Config::new("http://127.0.0.1:1".parse().expect("url"))).expect("client");
        Election {
            api: Api::namespaced(client, "default"),
            candidate: Candidate {
                namespace: "default".to_owned(),
                lease: "leveret-operator".to_owned(),
                identity: "me".to_owned(),
                duration,
            },
            metrics: Metrics::new(),
            seen: None,
        }
    }

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        }
    }

    #[tokio::test]
    async fn a_lease_is_taken_only_when_it_is_not_renewed() {
        let mut election = election(Duration::from_millis(40));
        assert!(election.may_take(&LeaseSpec::default()));
        assert!(election.may_take(&held_by("")));
        assert!(election.may_take(&held_by("me")));
        assert!(!election.may_take(&held_by("other")));
        assert!(
            !election.may_take(&held_by("other")),
            "seen for the first time just now"
        );
        sleep(Duration::from_millis(50)).await;
        let renewed = LeaseSpec {
            lease_transitions: Some(5),
            ..held_by("other")
        };
        assert!(!election.may_take(&renewed), "renewed meanwhile");
        sleep(Duration::from_millis(50)).await;
        assert!(election.may_take(&renewed));
    }

    #[tokio::test]
    async fn transitions_count_changes_of_the_holder() {
        let election = election(Duration::from_secs(15));
        let transitions = |found: &LeaseSpec| election.wanted(found).spec.and_then(|spec| spec.lease_transitions);
        assert_eq!(transitions(&LeaseSpec::default()), Some(0));
        assert_eq!(transitions(&held_by("me")), Some(4));
        assert_eq!(transitions(&held_by("other")), Some(5));
    }
}
