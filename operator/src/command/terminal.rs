//! The state of `leveret dev` in the terminal: a live view, or plain lines when it is no terminal.
//!
//! In: what the folder source shows, and the broker's counters. Out: text on stdout.
//! Does not know about how anything is reconciled.

/// The backlogs, read every second.
pub mod backlog;

/// The live view, drawn.
pub mod screen;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::broker::http::Management;
use crate::object::{Kind, ObjectKey, Reason};
use crate::source::folder::{Folder, Shown};
use crate::topology::backlog::Backlog;
use screen::{Picture, Size};

/// Between two readings of the broker's counters.
const READ: Duration = Duration::from_secs(1);
/// Shortest time between two drawings.
const DRAW: Duration = Duration::from_millis(100);

/// The things that are shown.
pub struct Watched {
    pub folder: Arc<Folder>,
    pub management: Management,
    pub amqp: SocketAddr,
    pub http: SocketAddr,
    pub path: PathBuf,
}

/// Shows the state until `shutdown`. An end of stdout (a closed pipe) ends only the showing.
pub async fn show(watched: Watched, plain: bool, shutdown: CancellationToken) {
    if plain || !std::io::stdout().is_terminal() {
        show_lines(watched, shutdown).await;
    } else {
        show_live(watched, shutdown).await;
    }
}

/// A line for everything that changes.
async fn show_lines(watched: Watched, shutdown: CancellationToken) {
    let mut told = watched.folder.told();
    let mut lines = Lines::default();
    let first = format!("broker up: amqp {}, http {}", watched.amqp, watched.http);
    if print(&format!("{first}\n")).is_err() {
        return;
    }
    // The last look comes after the end: what decided the end must be said, too.
    let mut over = false;
    loop {
        told.mark_unchanged();
        let mut text = lines.news(&watched.folder.shown()).join("\n");
        if !text.is_empty() {
            text.push('\n');
            if print(&text).is_err() {
                return;
            }
        }
        if over {
            return;
        }
        tokio::select! {
            biased;
            changed = told.changed() => over = changed.is_err(),
            () = shutdown.cancelled() => over = true,
        }
    }
}

/// The lines that were printed already.
#[derive(Default)]
struct Lines {
    said: BTreeMap<ObjectKey, (Reason, String)>,
    problems: Vec<String>,
    skipped: usize,
    warnings: usize,
    ready: bool,
}

impl Lines {
    fn news(&mut self, shown: &Shown) -> Vec<String> {
        let mut news = Vec::new();
        if self.skipped != shown.skipped.len() {
            self.skipped = shown.skipped.len();
            news.extend(shown.skipped.iter().cloned());
        }
        news.extend(
            shown
                .warnings
                .iter()
                .skip(self.warnings)
                .map(|warning| format!("warning: {warning}")),
        );
        self.warnings = shown.warnings.len();
        let problems: Vec<String> = shown.problems.iter().map(ToString::to_string).collect();
        if problems != self.problems {
            match problems.is_empty() {
                true => news.push("the manifests read well again".to_owned()),
                false => news.extend(problems.iter().map(|problem| format!("not applied: {problem}"))),
            }
            self.problems = problems;
        }
        for (key, status) in &shown.statuses {
            let now = (status.reason, status.message.clone());
            if self.said.get(key) != Some(&now) {
                news.push(format!("{}: {}: {}", screen::name(key), status.reason, status.message));
                self.said.insert(key.clone(), now);
            }
        }
        let gone = self
            .said
            .keys()
            .filter(|key| key.kind != Kind::Broker && shown.snapshot.meta(key).is_none());
        for key in gone.cloned().collect::<Vec<_>>() {
            news.push(format!("{}: gone", screen::name(&key)));
            self.said.remove(&key);
        }
        let (ready, total) = screen::ready(shown);
        if !self.ready && ready == total && total > 0 {
            news.push(format!("all {total} objects are Ready"));
        }
        self.ready = ready == total;
        news
    }
}

/// The same picture again and again, drawn over itself.
async fn show_live(watched: Watched, shutdown: CancellationToken) {
    let mut told = watched.folder.told();
    let mut ticks = interval(READ);
    let mut backlogs: BTreeMap<(String, String), Backlog> = BTreeMap::new();
    let mut problem = None;
    let mut height = 0;
    loop {
        told.mark_unchanged();
        let picture = Picture {
            shown: watched.folder.shown(),
            backlogs: &backlogs,
            problem: problem.as_deref(),
            amqp: watched.amqp,
            http: watched.http,
            path: &watched.path,
        };
        let lines = picture.draw(size());
        if draw(&lines, height).is_err() {
            return;
        }
        height = lines.len();
        let earliest = Instant::now() + DRAW;
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = told.changed() => {
                if changed.is_err() {
                    return;
                }
                sleep_until(earliest).await;
            }
            _ = ticks.tick() => match backlog::read(&watched.management).await {
                Ok(read) => {
                    backlogs = read;
                    problem = None;
                }
                Err(error) => problem = Some(error.to_string()),
            },
        }
    }
}

/// Moves up over the last picture and draws the new one in its place.
fn draw(lines: &[String], before: usize) -> std::io::Result<()> {
    let mut text = String::new();
    if before > 0 {
        text.push_str(&format!("\x1b[{before}A\r"));
    }
    for line in lines {
        text.push_str(line);
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J");
    print(&text)
}

fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn size() -> Size {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    match size {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size {
            columns: usize::from(size.ws_col),
            rows: usize::from(size.ws_row),
        },
        _ => Size { columns: 120, rows: 40 },
    }
}
