//! The loop of one broker: waits for something to happen, and then makes a pass over its resources.
//!
//! In: changes of the source, news of the link, time. Out: passes. Does not know about what a pass does.

use std::sync::Arc;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::link::{Link, News};
use super::pass::Pass;
use super::shared::Shared;
use crate::broker::{Client, Connector};
use crate::metrics::BrokerMetrics;
use crate::object::ObjectKey;
use crate::runtime::until;
use crate::source::Source;

/// Keeps one broker in step.
pub(super) struct Reconciler<S: Source, N: Connector> {
    key: ObjectKey,
    shared: Arc<Shared<S, N>>,
    metrics: BrokerMetrics,
    link: Link<N::Client>,
    pass: Pass<S, N>,
    /// The source has changed since the last pass.
    changed: bool,
}

impl<S: Source, N: Connector> Reconciler<S, N> {
    pub(super) fn new(key: ObjectKey, shared: Arc<Shared<S, N>>) -> Self {
        Self {
            link: Link::new(key.clone()),
            pass: Pass::new(key.clone(), Arc::clone(&shared)),
            metrics: shared.metrics.of(&key),
            key,
            shared,
            changed: true,
        }
    }

    /// Runs until `shutdown`; leaves the broker as it is.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut changed = self.shared.source.changed();
        let mut twins = self.shared.twins.changed();
        loop {
            // A change that came during the pause below has woken nothing, and the pass must know of it all the same.
            if changed.has_changed().unwrap_or(true) {
                changed.mark_unchanged();
                self.changed = true;
            }
            let started = Instant::now();
            self.changed |= twins.has_changed().unwrap_or(false);
            twins.mark_unchanged();
            let news = std::mem::take(&mut self.changed);
            let wake = tokio::select! {
                wake = self.pass.run(&mut self.link, news) => wake,
                () = shutdown.cancelled() => break,
            };
            self.metrics.synced(started.elapsed());
            let mut worth_it = false;
            while !worth_it {
                worth_it = tokio::select! {
                    () = shutdown.cancelled() => break,
                    news = self.link.news() => {
                        let again = matches!(&news, News::Event(event) if self.pass.hear(event));
                        self.link.take(news, self.pass.relevant()) || again
                    }
                    result = changed.changed() => {
                        if result.is_err() {
                            break;
                        }
                        self.changed = true;
                        true
                    }
                    result = twins.changed() => {
                        self.changed |= result.is_ok();
                        true
                    }
                    () = until(wake) => true,
                };
            }
            if shutdown.is_cancelled() || changed.has_changed().is_err() {
                break;
            }
            sleep(self.shared.settings.debounce).await;
            while let Some(event) = self.link.more() {
                self.pass.hear(&event);
                self.link.hear(&event, self.pass.relevant());
            }
        }
        if let Some(up) = self.link.up() {
            up.client.close().await;
        }
        self.shared.twins.forget(&self.key);
        self.metrics.forget();
    }
}
