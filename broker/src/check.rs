//! `leveret-broker check DATA`: reads a data directory that no broker has open, verifies every record, says what is in
//! it.
//!
//! Comes in: a directory, and for `--repair` an empty one. Goes out: a report as text or JSON, and a clean copy. The
//! directory itself is never changed. Does not know about the format of the files: the store reads them.

use crate::access;
use crate::parameters;
use crate::vhost::ids;
use crate::vhost::record::{self, Record};
use crate::zeromq;
use clap::Parser;
use leveret_store::QueueId;
use leveret_store::check::{Checked, Copied};
use leveret_store::fs::{Fs, RealFs};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Reads and verifies a data directory without changing it
#[derive(Debug, Parser)]
#[command(
    name = "leveret-broker check",
    after_help = "Exit status: 0 everything is intact, 2 something is damaged, 1 the directory cannot be read."
)]
pub struct Flags {
    /// The data directory; no broker may have it open
    pub data: PathBuf,

    /// Also write what is intact into this directory, which must be empty or absent
    #[arg(long, value_name = "DIR")]
    pub repair: Option<PathBuf>,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// The findings.
#[derive(Debug, Serialize)]
struct Report {
    directory: PathBuf,
    segments: u64,
    records: u64,
    disk_bytes: u64,
    seconds: f64,
    /// `usable`, `damaged` or `none`.
    checkpoint: &'static str,
    vhosts: usize,
    exchanges: usize,
    bindings: usize,
    policies: usize,
    users: usize,
    queues: Vec<QueueReport>,
    /// Bytes of a write that a crash cut off before it was confirmed.
    torn_bytes: u64,
    damage: Vec<Damage>,
    /// Entries of the table that this release does not know.
    unknown_entries: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<Repaired>,
}

#[derive(Debug, Serialize)]
struct QueueReport {
    vhost: String,
    /// Absent when the queue's definition is gone: its messages are dropped at the next start.
    name: Option<String>,
    messages: usize,
    redelivered: usize,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Damage {
    file: PathBuf,
    offset: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Repaired {
    directory: PathBuf,
    messages: u64,
    unreadable: u64,
}

/// Carries it out, prints the report; true if nothing is damaged.
///
/// # Errors
/// The directory cannot be read, is in use, or the copy cannot be written.
pub fn run(flags: &Flags) -> anyhow::Result<bool> {
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    let checked = leveret_store::check::check(&flags.data, &fs)?;
    let copied = match &flags.repair {
        Some(target) => Some((target.clone(), checked.copy_to(target, &fs)?)),
        None => None,
    };
    let report = Report::of(flags, &checked, copied)?;
    if flags.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.text());
    }
    Ok(report.intact())
}

impl Report {
    fn of(flags: &Flags, checked: &Checked, copied: Option<(PathBuf, Copied)>) -> anyhow::Result<Report> {
        let found = &checked.recovered.report;
        let mut report = Report {
            directory: flags.data.clone(),
            segments: found.segments,
            records: found.records,
            disk_bytes: checked.disk_bytes,
            seconds: found.duration.as_secs_f64(),
            checkpoint: match checked.checkpoint {
                None => "none",
                Some(true) => "usable",
                Some(false) => "damaged",
            },
            vhosts: 0,
            exchanges: 0,
            bindings: 0,
            policies: 0,
            users: 0,
            queues: Vec::new(),
            torn_bytes: found.torn_bytes,
            damage: found
                .corrupt
                .iter()
                .map(|corrupt| Damage {
                    file: corrupt.file.clone(),
                    offset: corrupt.offset,
                    bytes: corrupt.len,
                })
                .collect(),
            unknown_entries: 0,
            repaired: copied.map(|(directory, copied)| Repaired {
                directory,
                messages: copied.messages,
                unreadable: copied.unreadable,
            }),
        };
        let names = report.topology(checked);
        report.queues(checked, names)?;
        Ok(report)
    }

    /// Counts the table's entries; names of queues by their number.
    fn topology(&mut self, checked: &Checked) -> HashMap<QueueId, (String, String)> {
        let mut names = HashMap::new();
        for (key, value) in &checked.recovered.table {
            match record::decode(key, value) {
                Some(Record::Vhost(..)) => self.vhosts += 1,
                Some(Record::Exchange(..)) => self.exchanges += 1,
                Some(Record::Binding(..)) => self.bindings += 1,
                Some(Record::Policy(..)) => self.policies += 1,
                Some(Record::Queue(vhost, queue)) => {
                    names.insert(queue.id, (vhost, queue.name.to_str_lossy().into_owned()));
                }
                None if [ids::KEY, record::HAS_VHOSTS].contains(&&**key) || parameters::is_key(key) => {}
                None if zeromq::keys::is_key(key) => {}
                None if self.account(key, value) => {}
                None => self.unknown_entries += 1,
            }
        }
        names
    }

    /// Counts an entry of a user. False if it isn't one.
    fn account(&mut self, key: &[u8], value: &[u8]) -> bool {
        match access::record::decode(key, value) {
            Some(access::record::Record::User(_)) => self.users += 1,
            Some(_) => {}
            None => return false,
        }
        true
    }

    fn queues(&mut self, checked: &Checked, mut names: HashMap<QueueId, (String, String)>) -> anyhow::Result<()> {
        for (id, backlog) in &checked.recovered.queues {
            let messages = backlog.unpack()?;
            let (vhost, name) = names
                .remove(id)
                .map_or((String::new(), None), |(vhost, name)| (vhost, Some(name)));
            self.queues.push(QueueReport {
                vhost,
                name,
                messages: messages.len(),
                redelivered: messages.iter().filter(|message| message.redelivered).count(),
                bytes: messages.iter().map(|message| u64::from(message.payload_len)).sum(),
            });
        }
        self.queues.extend(names.into_values().map(|(vhost, name)| QueueReport {
            vhost,
            name: Some(name),
            messages: 0,
            redelivered: 0,
            bytes: 0,
        }));
        self.queues
            .sort_by(|a, b| (&a.vhost, &a.name).cmp(&(&b.vhost, &b.name)));
        Ok(())
    }

    fn intact(&self) -> bool {
        self.damage.is_empty() && self.checkpoint != "damaged" && self.unknown_entries == 0
    }

    fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let mib = self.disk_bytes as f64 / (1 << 20) as f64;
        writeln!(
            out,
            "{}: {} segments, {mib:.1} MiB, {} records read in {:.2} s",
            self.directory.display(),
            self.segments,
            self.records,
            self.seconds
        )?;
        writeln!(out, "checkpoint: {}", self.checkpoint)?;
        writeln!(
            out,
            "topology: {} vhosts, {} queues, {} exchanges, {} bindings, {} policies; {} users",
            self.vhosts,
            self.queues.len(),
            self.exchanges,
            self.bindings,
            self.policies,
            self.users
        )?;
        let heads = ("VHOST", "QUEUE", "MESSAGES", "REDELIVERED", "BYTES");
        let width = self
            .queues
            .iter()
            .map(|queue| queue.label().chars().count())
            .max()
            .unwrap_or(0)
            .max(5);
        writeln!(
            out,
            "{:10} {:width$} {:>12} {:>12} {:>16}",
            heads.0, heads.1, heads.2, heads.3, heads.4
        )?;
        for queue in &self.queues {
            let (vhost, label) = (&queue.vhost, queue.label());
            let (messages, redelivered, bytes) = (queue.messages, queue.redelivered, queue.bytes);
            writeln!(
                out,
                "{vhost:10} {label:width$} {messages:>12} {redelivered:>12} {bytes:>16}"
            )?;
        }
        if self.torn_bytes > 0 {
            writeln!(
                out,
                "torn: {} bytes of a write that was cut off before it was confirmed",
                self.torn_bytes
            )?;
        }
        for damage in &self.damage {
            let file = damage.file.display();
            writeln!(
                out,
                "damaged: {file}, {} bytes from offset {}",
                damage.bytes, damage.offset
            )?;
        }
        if self.unknown_entries > 0 {
            writeln!(out, "unknown: {} entries of the topology", self.unknown_entries)?;
        }
        if let Some(repaired) = &self.repaired {
            let (directory, messages) = (repaired.directory.display(), repaired.messages);
            writeln!(
                out,
                "copied: {messages} messages into {directory}, {} could not be read",
                repaired.unreadable
            )?;
        }
        writeln!(out, "{}", if self.intact() { "intact" } else { "DAMAGED" })
    }
}

impl QueueReport {
    fn label(&self) -> &str {
        self.name.as_deref().unwrap_or("(its definition is gone)")
    }
}
