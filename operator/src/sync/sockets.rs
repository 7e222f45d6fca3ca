//! The states of ZeroMQ sockets: asked for between two lists where one is not known, or is not good. No event tells of
//! them.
//!
//! In: a plan that was carried out, and the broker. Out: what is known of the sockets, brought up to date; what a
//! status says of it; and when to ask again. Does not know about what sockets do.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::apply::Failure;
use super::difference::{Plan, Verdict};
use super::observe::Observed;
use super::report::conditions;
use crate::broker::Client;
use crate::object::{ObjectKey, Reason, SocketFacts, StatusReport};
use crate::topology::{Identity, Name, SocketState};

/// First and longest pause between two questions: the broker itself tries every second to open a socket that it cannot.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The questions about the sockets of one broker.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    asked: u32,
    due: Option<Instant>,
}

impl Sockets {
    /// Asks for the states where a socket that stands as planned is not known to be open. The answer is when to do so
    /// again.
    pub(super) async fn look<C: Client>(
        &mut self,
        client: &C,
        observed: &mut Observed,
        plan: &Plan,
        failed: [&BTreeMap<ObjectKey, Failure>; 2],
    ) -> Option<Instant> {
        let fine = plan
            .verdicts
            .iter()
            .filter(|(key, _)| !failed.iter().any(|failed| failed.contains_key(key)));
        let names: Vec<&Name> = fine.filter_map(|(_, verdict)| socket(verdict)).collect();
        let are_open = |observed: &Observed| {
            let open = |name: &&Name| {
                observed
                    .topology
                    .zeromqsockets
                    .get(name)
                    .is_some_and(|socket| socket.is_open())
            };
            names.iter().all(open)
        };
        if are_open(observed) {
            *self = Self::default();
            return None;
        }
        if let Some(due) = self.due.filter(|due| *due > Instant::now()) {
            return Some(due);
        }
        // A broker that is away shows by other means.
        if let Ok(found) = client.sockets().await {
            observed.topology.zeromqsockets = found;
        }
        if are_open(observed) {
            *self = Self::default();
            return None;
        }
        let pause = AGAIN
            .0
            .saturating_mul(2_u32.saturating_pow(self.asked.min(16)))
            .min(AGAIN.1);
        self.asked = self.asked.saturating_add(1);
        self.due = Some(Instant::now() + pause);
        self.due
    }
}

/// The socket that stands as declared, by a verdict.
fn socket(verdict: &Verdict) -> Option<&Name> {
    match verdict {
        Verdict::Synced(Identity::ZeroMqSocket(name)) => Some(name),
        _ => None,
    }
}

/// Says of a socket that stands as declared how the broker has it.
pub(super) fn tell(report: &mut StatusReport, verdict: &Verdict, observed: Option<&Observed>) {
    let known = socket(verdict).and_then(|name| observed?.topology.zeromqsockets.get(name));
    let Some(socket) = known else {
        return;
    };
    let state = socket.state.clone().unwrap_or_default();
    let SocketState {
        address,
        error,
        public_key,
    } = state;
    let place = socket.place();
    let trouble = match (&address, error) {
        (_, Some(error)) => {
            let text = format!("the broker cannot listen at {place}: {error}; it goes on trying");
            Some((Reason::BrokerError, text))
        }
        (None, None) => Some((Reason::Starting, format!("the broker does not listen at {place} yet"))),
        (Some(_), None) => None,
    };
    if let Some((reason, message)) = trouble {
        let shown = conditions(reason);
        (report.ready, report.reconciling, report.stalled) = (shown.ready, shown.reconciling, shown.stalled);
        (report.reason, report.message) = (reason, message);
    }
    report.socket = Some(SocketFacts { address, public_key });
}
