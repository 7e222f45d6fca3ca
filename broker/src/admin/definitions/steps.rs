//! Steps of an import, each with the way back: all of them or none.
//!
//! Comes in: entries of documents, and what is done with each. Goes out: nothing that wasn't there before, and one
//! message that names every entry that can't be; or the position of the log from which on all of it is durable. Does
//! not know what an entry says.

use super::document::List;
use crate::access::Actor;
use crate::admin::error::{Failure, Result};
use crate::node::Node;
use crate::vhost::Vhost;
use leveret_store::Lsn;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Entries that a message names at most.
const NAMED: usize = 100;

type Undo<'a> = Box<dyn FnOnce() -> Result<Option<Lsn>> + 'a>;

/// Steps that have been taken.
pub struct Steps<'a> {
    /// The broker.
    pub node: &'a Node,
    /// The user who asks for them, with all rights.
    pub actor: &'a Actor,
    /// The only vhost that they are about.
    pub vhost: Option<&'a Arc<Vhost>>,
    /// The file that the entries are from, in front of their names.
    file: String,
    lsn: Option<Lsn>,
    /// The ways back, in the order of the steps.
    undo: Vec<Undo<'a>>,
    problems: Vec<String>,
    /// Vhosts that there aren't.
    missing: BTreeSet<String>,
    /// Bindings of exclusive queues that are gone.
    pub passed_over: usize,
}

/// The end of an import.
pub struct Ended {
    /// The position of the log that an answer waits for, whatever it is.
    pub lsn: Option<Lsn>,
    /// 400 with the entries that can't be: then nothing has changed.
    pub result: Result<()>,
}

impl<'a> Steps<'a> {
    /// No steps so far.
    pub fn new(node: &'a Node, actor: &'a Actor, vhost: Option<&'a Arc<Vhost>>) -> Self {
        Self {
            node,
            actor,
            vhost,
            file: String::new(),
            lsn: None,
            undo: Vec::new(),
            problems: Vec::new(),
            missing: BTreeSet::new(),
            passed_over: 0,
        }
    }

    /// Entries from now on are from this file.
    pub fn from_file(&mut self, file: Option<&str>) {
        self.file = file.map_or(String::new(), |file| format!("{file}: "));
    }

    /// Takes a step for each entry of a list: of this kind, and known by this name.
    pub fn each<T>(
        &mut self,
        kind: &str,
        list: &List<T>,
        name: impl Fn(&T) -> String,
        mut step: impl FnMut(&mut Self, &T) -> Result<()>,
    ) {
        for entry in &list.0 {
            let (name, fault) = match entry {
                Err(unread) => (unread.name.clone(), unread.fault.clone()),
                Ok(entry) => match step(self, entry) {
                    Ok(()) | Err(Failure::NotFound) => continue,
                    Err(failure) => (name(entry), failure.to_string()),
                },
            };
            self.refuse(&format!("{kind} {name}: {fault}"));
        }
    }

    /// Notes what can't be.
    pub fn refuse(&mut self, problem: &str) {
        self.problems.push(format!("{}{problem}", self.file));
    }

    /// The vhost of an entry. One that isn't there is noted, and the entry passed over (404).
    ///
    /// # Errors
    /// 404 for one that isn't there; 400 for none.
    pub fn of(&mut self, name: Option<&str>) -> Result<Arc<Vhost>> {
        if let Some(vhost) = self.vhost {
            return Ok(vhost.clone());
        }
        let Some(name) = name else {
            return Err(Failure::BadRequest("it names no virtual host".into()));
        };
        self.node.vhost(name).ok_or_else(|| {
            self.missing.insert(name.to_owned());
            Failure::NotFound
        })
    }

    /// The step is durable from there on.
    pub fn wait_for(&mut self, lsn: Option<Lsn>) {
        self.lsn = self.lsn.max(lsn);
    }

    /// The way back of the step that has been taken.
    pub fn or_back(&mut self, undo: impl FnOnce() -> Result<Option<Lsn>> + 'a) {
        self.undo.push(Box::new(undo));
    }

    /// True if nothing speaks against the steps so far.
    pub fn are_good(&self) -> bool {
        self.problems.is_empty() && self.missing.is_empty()
    }

    /// The end: if there is something that can't be, all steps are taken back.
    pub fn end(mut self) -> Ended {
        if self.passed_over > 0 {
            let bindings = self.passed_over;
            tracing::info!(
                bindings,
                "bindings of exclusive queues that are not in the definitions are passed over"
            );
        }
        if self.are_good() {
            return Ended {
                lsn: self.lsn,
                result: Ok(()),
            };
        }
        for undo in std::mem::take(&mut self.undo).into_iter().rev() {
            match undo() {
                Ok(lsn) => self.wait_for(lsn),
                Err(failure) => tracing::warn!(%failure, "an import of definitions is taken back, but for this"),
            }
        }
        let prior = |vhost: &String| format!("Please create virtual host \"{vhost}\" prior to importing definitions.");
        let mut problems: Vec<String> = self.missing.iter().map(prior).collect();
        problems.append(&mut self.problems);
        if problems.len() > NAMED {
            let more = problems.split_off(NAMED).len();
            problems.push(format!("and {more} more"));
        }
        Ended {
            lsn: self.lsn,
            result: Err(Failure::BadRequest(problems.join("; "))),
        }
    }
}
