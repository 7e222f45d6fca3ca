//! Settings that change while the broker runs.
//!
//! Comes in: the settings file, looked at every two seconds, as a ConfigMap is mounted and replaced. Goes out: terms
//! for new clients, the limits of what they make and publish, what is logged, how long a stop may take; a log line for
//! each setting that waits for a restart; and for those who ask, what is in force and what became of the file.
//! Does not know who writes the file.

use crate::config::{self, Config, Flags, Offer};
use crate::files;
use crate::limits::{Most, disk};
use crate::node::Node;
use crate::telemetry::SetFilter;
use parking_lot::{Mutex, RwLock};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tracing::{error, info, warn};

/// Time between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The settings that may change. All others are as they were at the start.
pub struct Live {
    /// Terms for the next client that connects.
    pub offer: Arc<RwLock<Offer>>,
    /// Longest time that clients get to close.
    pub shutdown_timeout: RwLock<Duration>,
    set_filter: SetFilter,
    bounds: Mutex<Bounds>,
    standing: RwLock<Standing>,
}

/// The settings that are in force, and what became of the file.
#[derive(Clone, Default)]
pub struct Standing {
    /// Each setting with its values.
    pub in_force: Vec<(&'static str, Vec<String>)>,
    /// Settings that have changed in the file and take effect at the next start.
    pub waiting: Vec<&'static str>,
    /// The file, if there is one.
    pub file: Option<File>,
}

/// The settings file, as it was last looked at.
#[derive(Clone)]
pub struct File {
    /// Its place.
    pub path: PathBuf,
    /// The mark of its text; none if it couldn't be read.
    pub mark: Option<String>,
    /// The time of the last look at another text than before.
    pub looked_at: SystemTime,
    /// The time at which a text was last taken.
    pub taken_at: SystemTime,
    /// The reason why the text can't be used: what was taken before it is in force.
    pub refused: Option<String>,
}

/// Limits of what clients make and publish, and the node that applies them once it has recovered.
struct Bounds {
    most: Most,
    max_message_bytes: u64,
    max_header_bytes: u64,
    memory_watermark_bytes: u64,
    disk_free_limit_bytes: Option<u64>,
    /// As the log has them: another size counts at the next start only.
    segment_bytes: u64,
    node: Option<Arc<Node>>,
}

impl Bounds {
    fn new(config: &Config) -> Self {
        Self {
            most: config.most.clone(),
            max_message_bytes: config.max_message_bytes,
            max_header_bytes: config.max_header_bytes,
            memory_watermark_bytes: config.memory_watermark_bytes,
            disk_free_limit_bytes: config.disk_free_limit_bytes,
            segment_bytes: config.segment_bytes,
            node: None,
        }
    }

    fn take(&mut self, config: &Config) {
        let (segment_bytes, node) = (self.segment_bytes, self.node.take());
        *self = Self {
            segment_bytes,
            node,
            ..Self::new(config)
        };
        self.enforce();
    }

    fn enforce(&self) {
        let Some(node) = &self.node else { return };
        node.quotas.set(&self.most);
        node.set_max_message_bytes(self.max_message_bytes);
        node.set_max_header_bytes(self.max_header_bytes);
        node.memory.set_watermark(self.memory_watermark_bytes);
        node.disk
            .set_limit(disk::effective_limit(self.disk_free_limit_bytes, self.segment_bytes));
    }
}

impl Live {
    /// As the start has it; `filled` is what that was read from.
    pub fn new(config: &Config, filled: &Flags, set_filter: SetFilter) -> Self {
        let now = SystemTime::now();
        let file = filled.config.clone().map(|path| File {
            path,
            mark: filled.mark().map(str::to_owned),
            looked_at: now,
            taken_at: now,
            refused: None,
        });
        Self {
            standing: RwLock::new(Standing {
                in_force: filled.in_force(filled),
                waiting: Vec::new(),
                file,
            }),
            offer: Arc::new(RwLock::new(config.offer.clone())),
            shutdown_timeout: RwLock::new(config.shutdown_timeout),
            set_filter,
            bounds: Mutex::new(Bounds::new(config)),
        }
    }

    /// The node that serves from now on; what has changed while it recovered is told to it at once.
    pub fn attach(&self, node: Arc<Node>) {
        let mut bounds = self.bounds.lock();
        bounds.node = Some(node);
        bounds.enforce();
    }

    /// The settings that are in force, and what became of the file.
    pub fn standing(&self) -> Standing {
        self.standing.read().clone()
    }

    /// Notes what became of a text of the file.
    fn note(&self, mark: Option<String>, outcome: Result<(&Flags, &Flags), String>) {
        let mut standing = self.standing.write();
        let now = SystemTime::now();
        let refused = match outcome {
            Ok((next, started)) => {
                standing.in_force = next.in_force(started);
                standing.waiting = started.differences(next);
                standing.waiting.retain(|key| !config::is_live(key));
                None
            }
            Err(why) => Some(why),
        };
        if let Some(file) = &mut standing.file {
            if refused.is_none() {
                file.taken_at = now;
            }
            (file.mark, file.looked_at, file.refused) = (mark, now, refused);
        }
    }

    fn apply(&self, config: &Config) -> anyhow::Result<()> {
        // The filter first: it is the only one that may be refused here, and then nothing has changed.
        (self.set_filter)(&config.log)?;
        *self.offer.write() = config.offer.clone();
        *self.shutdown_timeout.write() = config.shutdown_timeout;
        self.bounds.lock().take(config);
        Ok(())
    }
}

/// Follows the settings file that `given` names until the task is dropped; returns at once if it names none.
///
/// `given` is what flags and environment say (they go before the file now as at the start), `filled` what it was with
/// the file.
pub async fn follow(given: Flags, mut filled: Flags, live: Arc<Live>) {
    let Some(path) = given.config.clone() else { return };
    let mut stamp = files::modified(&path);
    let started = filled.clone();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = files::modified(&path);
        if now == stamp {
            continue;
        }
        stamp = now;
        let text = given.read_file();
        let mark = text.as_ref().ok().and_then(Option::as_deref).map(files::mark);
        match text.map_err(Into::into).and_then(|text| read(&given, text, &live)) {
            Ok(next) => {
                live.note(mark, Ok((&next, &started)));
                tell(&filled, &next, &started);
                filled = next;
            }
            Err(error) => {
                live.note(mark, Err(format!("{error:#}")));
                error!("the settings file has changed and can't be used; the settings before it stay: {error:#}");
            }
        }
    }
}

fn read(given: &Flags, text: Option<String>, live: &Live) -> anyhow::Result<Flags> {
    let next = given.with_text(&text.unwrap_or_default())?;
    live.apply(&next.check()?)?;
    Ok(next)
}

fn tell(before: &Flags, next: &Flags, started: &Flags) {
    let (live, restart): (Vec<_>, Vec<_>) = before
        .differences(next)
        .into_iter()
        .partition(|key| config::is_live(key));
    if !live.is_empty() {
        info!(settings = live.join(","), "settings were read again");
    }
    // What has been put back needs nothing.
    let waiting = started.differences(next);
    let restart: Vec<_> = restart.into_iter().filter(|key| waiting.contains(key)).collect();
    if !restart.is_empty() {
        warn!(
            settings = restart.join(","),
            "settings have changed that take effect at the next start"
        );
    }
}
