//! The word of a broker that the operator runs on its settings file: taken, refused, or not looked at yet.
//!
//! In: the mark of the file as it was written, the broker's answers. Out: a finding for the Broker's status, and when
//! to ask again. Does not know about what settings mean, or how a file gets to a pod.

use std::time::Duration;

use tokio::time::Instant;

use crate::broker::{Client, Settled};
use crate::object::Reason;

/// Until a broker is asked again that has taken its file, and one that has not yet.
const AGAIN: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(2);
/// A kubelet takes about a minute to renew a mounted file.
const USUAL: Duration = Duration::from_secs(120);

/// One broker's settings, as far as it was asked.
#[derive(Default)]
pub(super) struct Asked {
    /// The file that it should have, and since when.
    wanted: Option<(String, Instant)>,
    told: Option<Settled>,
    due: Option<Instant>,
}

impl Asked {
    /// Asks when it is time; the answer is when to ask again. `wanted`: the mark of the file, if there is one.
    pub(super) async fn ask<C: Client>(&mut self, client: &C, wanted: Option<&str>) -> Option<Instant> {
        let Some(wanted) = wanted else {
            *self = Self::default();
            return None;
        };
        if self.wanted.as_ref().is_none_or(|(mark, _)| mark != wanted) {
            self.wanted = Some((wanted.to_owned(), Instant::now()));
            self.due = None;
        }
        let now = Instant::now();
        if let Some(due) = self.due.filter(|due| *due > now) {
            return Some(due);
        }
        self.told = client.settled().await;
        let waits = self.told.is_some() && !self.is_looked_at() && !self.is_late();
        let due = now + if waits { SOON } else { AGAIN };
        self.due = Some(due);
        Some(due)
    }

    /// The broker speaks of the file that was written last.
    fn is_looked_at(&self) -> bool {
        let told = self.told.as_ref().and_then(|told| told.mark.as_ref());
        self.wanted.as_ref().map(|(mark, _)| mark) == told
    }

    fn is_late(&self) -> bool {
        self.wanted.as_ref().is_some_and(|(_, since)| since.elapsed() > USUAL)
    }

    /// The reason why the settings are not those of the Broker; `None` when they are, or when the broker does not say.
    pub(super) fn finding(&self) -> Option<(Reason, String)> {
        let told = self.told.as_ref()?;
        if !self.is_looked_at() {
            let text = match self.is_late() {
                false => {
                    "the broker has not taken the changed settings yet: a kubelet takes about a minute to bring them"
                }
                true => "the broker has not taken the changed settings: their ConfigMap does not reach its pod",
            };
            return Some((Reason::Starting, text.to_owned()));
        }
        if let Some(why) = &told.refused {
            let text = format!("the broker refuses its settings and goes on with those before: {why}");
            return Some((Reason::InvalidArgument, text));
        }
        if told.waiting.is_empty() {
            return None;
        }
        let text = format!(
            "the broker takes these settings at its next start only: {}",
            told.waiting.join(", ")
        );
        Some((Reason::Starting, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(told: Option<Settled>) -> Asked {
        Asked {
            wanted: Some(("a".to_owned(), Instant::now())),
            told,
            due: None,
        }
    }

    fn settled(mark: &str, refused: Option<&str>, waiting: &[&str]) -> Option<Settled> {
        Some(Settled {
            mark: Some(mark.to_owned()),
            refused: refused.map(str::to_owned),
            waiting: waiting.iter().map(|key| (*key).to_owned()).collect(),
        })
    }

    #[tokio::test]
    async fn the_broker_is_quoted_of_the_file_that_was_written() {
        assert_eq!(asked(None).finding(), None, "another version");
        assert_eq!(asked(settled("a", None, &[])).finding(), None);
        let reason = |told| asked(told).finding().map(|(reason, _)| reason);
        assert_eq!(reason(settled("b", None, &[])), Some(Reason::Starting));
        let old = settled("b", Some("setting x: no"), &[]);
        assert_eq!(reason(old), Some(Reason::Starting), "that is about the file before");
        let (reason, text) = asked(settled("a", Some("setting x: no"), &[]))
            .finding()
            .expect("a finding");
        assert_eq!(reason, Reason::InvalidArgument);
        assert!(text.ends_with("setting x: no"), "{text}");
        let (_, text) = asked(settled("a", None, &["threads"])).finding().expect("a finding");
        assert!(text.ends_with("threads"), "{text}");
    }
}
