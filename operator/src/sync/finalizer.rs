//! Puts finalizers on resources and takes them off, many at the same time.
//!
//! In: keys, farewells. Out: calls of the source. Does not know about brokers, or why.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;

use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::desired::Item;
use crate::object::ObjectKey;
use crate::source::{Source, SourceError};

/// Calls that are under way at the same time.
const AT_ONCE: usize = 32;

/// Resources that a summary names.
const NAMED: usize = 5;

/// A resource that may go; with a text when something stays on the broker.
pub(super) struct Farewell {
    key: ObjectKey,
    finalized: bool,
    text: Option<String>,
}

impl Farewell {
    /// The resource and what stays of it, if something does.
    pub(super) fn left(&self) -> Option<(ObjectKey, String)> {
        self.text.clone().map(|text| (self.key.clone(), text))
    }

    pub(super) fn new(item: &Item, text: Option<String>) -> Self {
        Self {
            key: item.key.clone(),
            finalized: item.finalized,
            text,
        }
    }
}

/// One sentence on everything that stays on a broker: the first few, and how many more.
pub(super) fn summary(broker: &ObjectKey, left: &BTreeMap<ObjectKey, String>) -> String {
    let named: Vec<String> = left
        .iter()
        .take(NAMED)
        .map(|(key, text)| format!("{key}: {text}"))
        .collect();
    let more = match left.len().saturating_sub(named.len()) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("on {broker}: {}{more}", named.join("; "))
}

pub(super) type FinalizerResults = Vec<(ObjectKey, Result<(), SourceError>)>;

/// Adds the finalizer to one after the other, until a time; with those that had no turn.
pub(super) async fn add_finalizers<S: Source>(
    source: Arc<S>,
    keys: Vec<ObjectKey>,
    until: Instant,
) -> (FinalizerResults, BTreeSet<ObjectKey>) {
    let mut keys = keys.into_iter();
    let turns = iter::from_fn(|| (Instant::now() < until).then(|| keys.next()).flatten());
    let calls = turns.map(|key| {
        let source = Arc::clone(&source);
        async move {
            let result = source.ensure_finalizer(&key).await;
            (key, result)
        }
    });
    let results = stream::iter(calls).buffer_unordered(AT_ONCE).collect().await;
    (results, keys.collect())
}

/// Warns of what stays, then removes the finalizer from each that has it.
pub(super) async fn remove_finalizers<S: Source>(source: Arc<S>, farewells: Vec<Farewell>) -> FinalizerResults {
    let calls = farewells.into_iter().map(move |Farewell { key, finalized, text }| {
        let source = Arc::clone(&source);
        async move {
            if let Some(text) = text {
                tracing::warn!("{key}: {text}");
                source.warn(&key, "LeftBehind", text).await;
            }
            let result = if finalized {
                source.remove_finalizer(&key).await
            } else {
                Ok(())
            };
            (key, result)
        }
    });
    stream::iter(calls).buffer_unordered(AT_ONCE).collect().await
}
