//! The live view as text (pure).
//!
//! In: a `Picture` and the size of the terminal. Out: lines that fit. Does not know about terminals or time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use crate::object::{ConditionStatus, Kind, ObjectKey, StatusReport};
use crate::source::folder::Shown;
use crate::topology::backlog::{Backlog, Outlook, span};

/// Of the terminal, in characters.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// Everything that is drawn.
pub struct Picture<'a> {
    pub shown: Shown,
    /// By virtual host and name.
    pub backlogs: &'a BTreeMap<(String, String), Backlog>,
    /// The reason why the counters could not be read.
    pub problem: Option<&'a str>,
    pub amqp: SocketAddr,
    pub http: SocketAddr,
    pub path: &'a Path,
}

const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// Widths of the columns KIND, NAME, READY, REASON.
struct Widths {
    name: usize,
    reason: usize,
}

impl Picture<'_> {
    /// The picture; never more lines than the terminal has, so that it can be drawn over.
    pub fn draw(&self, size: Size) -> Vec<String> {
        let mut lines = vec![self.head(size), String::new()];
        let mut tail = self.tail(size);
        let objects = self.objects();
        // One line stays free for the cursor.
        let room = size.rows.saturating_sub(lines.len() + tail.len() + 2).max(1);
        let shown = if objects.len() > room {
            room.saturating_sub(1)
        } else {
            objects.len()
        };
        let widths = Widths {
            name: objects
                .iter()
                .map(|(key, _)| name_only(key).chars().count())
                .max()
                .unwrap_or(4)
                .clamp(4, 40),
            reason: objects
                .iter()
                .map(|(_, status)| reason(*status).len())
                .max()
                .unwrap_or(6)
                .max(6),
        };
        lines.push(format!("{BOLD}{}{RESET}", fit(&self.row_head(&widths), size.columns)));
        for (key, status) in objects.iter().take(shown) {
            lines.push(self.row(key, *status, &widths, size.columns));
        }
        if shown < objects.len() {
            lines.push(format!("{DIM}... and {} more{RESET}", objects.len() - shown));
        }
        lines.append(&mut tail);
        lines
    }

    fn head(&self, size: Size) -> String {
        let broker = self
            .shown
            .statuses
            .values()
            .find(|status| status.key.kind == Kind::Broker);
        let (colour, state) = match broker {
            Some(status) if status.ready == ConditionStatus::True => (GREEN, "up".to_owned()),
            Some(status) => (RED, status.message.clone()),
            None => (YELLOW, "starting".to_owned()),
        };
        let version = broker
            .and_then(|status| status.broker.as_ref())
            .and_then(|facts| facts.version.clone());
        let version = version.map(|version| format!(" ({version})")).unwrap_or_default();
        let (ready, total) = ready(&self.shown);
        let text = format!(
            "broker {state}{version}  amqp {}  http {}  {}: {ready}/{total} Ready",
            self.amqp,
            self.http,
            self.path.display()
        );
        format!("{colour}{}{RESET}", fit(&text, size.columns))
    }

    /// All resources but the broker, those that are not Ready first.
    fn objects(&self) -> Vec<(&ObjectKey, Option<&StatusReport>)> {
        let snapshot = &self.shown.snapshot;
        let keys = snapshot.on_brokers();
        let mut objects: Vec<_> = keys.map(|key| (key, self.shown.statuses.get(key))).collect();
        objects.sort_by_key(|(_, status)| status.is_some_and(|status| status.ready == ConditionStatus::True));
        objects
    }

    fn row_head(&self, widths: &Widths) -> String {
        format!(
            "{:<9}{:<name$}  {:<7} {:<reason$}  {:>9} {:>8} {:>9} {:>9}  DRAIN",
            "KIND",
            "NAME",
            "READY",
            "REASON",
            "MESSAGES",
            "UNACKED",
            "IN/s",
            "OUT/s",
            name = widths.name,
            reason = widths.reason
        )
    }

    fn row(&self, key: &ObjectKey, status: Option<&StatusReport>, widths: &Widths, columns: usize) -> String {
        let ready = status.map_or("Unknown", |status| status.ready.as_str());
        let colour = match status {
            Some(status) if status.ready == ConditionStatus::True => GREEN,
            Some(status) if status.stalled == ConditionStatus::True => RED,
            _ => YELLOW,
        };
        let mut text = format!(
            "{:<9}{:<name$}  {ready:<7} {:<reason$}",
            key.kind.as_str(),
            fit(&name_only(key), widths.name),
            reason(status),
            name = widths.name,
            reason = widths.reason
        );
        match status {
            Some(status) if status.ready != ConditionStatus::True => text.push_str(&format!("  {}", status.message)),
            Some(status) if key.kind == Kind::Queue => {
                let queue = (
                    status.vhost.clone().unwrap_or_default(),
                    status.name.clone().unwrap_or_default(),
                );
                let backlog = self.backlogs.get(&queue).copied().unwrap_or_default();
                text.push_str(&format!(
                    "  {:>9} {:>8} {:>9} {:>9}  {}",
                    backlog.messages(),
                    backlog.unacked,
                    rate(backlog.publish_rate),
                    rate(backlog.leave_rate),
                    outlook(&backlog)
                ));
            }
            _ => {}
        }
        // Colour only where it says something: the state.
        let text = fit(&text, columns);
        match text.split_once(ready) {
            Some((before, after)) => format!("{before}{colour}{ready}{RESET}{after}"),
            None => text,
        }
    }

    /// Problems, warnings and how to end.
    fn tail(&self, size: Size) -> Vec<String> {
        let most = (size.rows / 4).max(1);
        let problems = self
            .shown
            .problems
            .iter()
            .map(|problem| (RED, format!("not applied: {problem}")));
        let counters = self.problem.map(|problem| (YELLOW, problem.to_owned()));
        let warnings = self
            .shown
            .warnings
            .iter()
            .rev()
            .map(|warning| (YELLOW, format!("warning: {warning}")));
        let skipped = self.shown.skipped.iter().map(|line| (DIM, line.clone()));
        let said = problems.chain(counters).chain(warnings).chain(skipped).take(most);
        let mut lines = vec![String::new()];
        lines.extend(said.map(|(colour, text)| format!("{colour}{}{RESET}", fit(&text, size.columns))));
        lines.push(format!(
            "{DIM}{}{RESET}",
            fit("edits are followed; Ctrl-C ends", size.columns)
        ));
        lines
    }
}

/// Resources that are Ready, of how many.
pub fn ready(shown: &Shown) -> (usize, usize) {
    let snapshot = &shown.snapshot;
    let total = snapshot.on_brokers().count();
    let ready = shown
        .statuses
        .values()
        .filter(|status| status.key.kind != Kind::Broker && status.ready == ConditionStatus::True);
    (ready.count(), total)
}

/// A resource as lines call it: the namespace only where it is not the usual one.
pub fn name(key: &ObjectKey) -> String {
    format!("{} {}", key.kind, name_only(key))
}

fn name_only(key: &ObjectKey) -> String {
    match key.namespace.as_str() {
        "default" => key.name.clone(),
        namespace => format!("{namespace}/{}", key.name),
    }
}

fn reason(status: Option<&StatusReport>) -> &'static str {
    status.map_or("-", |status| status.reason.as_str())
}

/// Cuts a text to a number of characters; line breaks would break the picture.
fn fit(text: &str, columns: usize) -> String {
    let text = text.replace(['\n', '\r'], " ");
    if text.chars().count() <= columns {
        return text;
    }
    let mut cut: String = text.chars().take(columns.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

fn rate(rate: f64) -> String {
    if rate >= 100.0 {
        format!("{rate:.0}")
    } else {
        format!("{rate:.1}")
    }
}

fn outlook(backlog: &Backlog) -> String {
    match backlog.outlook() {
        Outlook::Empty => "-".to_owned(),
        Outlook::Drains(time) => span(time),
        Outlook::Steady => "steady".to_owned(),
        Outlook::Grows => "grows".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit() {
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abcd", 3), "ab…");
        assert_eq!(fit("a\nb", 9), "a b");
    }

    #[test]
    fn never_more_lines_than_the_terminal_has() {
        let picture = Picture {
            shown: Shown::default(),
            backlogs: &BTreeMap::new(),
            problem: Some("away"),
            amqp: ([127, 0, 0, 1], 5672).into(),
            http: ([127, 0, 0, 1], 15672).into(),
            path: Path::new("orders"),
        };
        let lines = picture.draw(Size { columns: 40, rows: 24 });
        assert!(lines.len() < 24);
        assert!(lines[0].contains("broker starting  amqp 127.0.0.1:5672"));
    }
}
