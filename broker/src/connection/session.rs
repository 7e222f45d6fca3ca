//! An open connection without its socket: batches of frames, and what each leaves to do.
//!
//! Comes in: whole frames, as one slice of the read buffer; how far the log has come. Goes out: everything that follows
//! from them, in batches: publishes are staged and enqueued together before anything else happens, records appended,
//! other connections woken once. The frames themselves are `dispatch`'s, the ends of channels and of the connection
//! `closing`'s. Does not know about sockets or timers.

use crate::access::oauth::{Fault, Verified};
use crate::channel::state::{Channel, Peer, Turn};
use crate::error::{Error, Result};
use crate::limits::bodies::Place;
use bytes::Bytes;
use leveret_amqp::{Method, next_frame, put_method_frame};
use leveret_store::Lsn;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot::Receiver;

/// Bytes that the log may have to catch up with before a publisher is not read.
const LOG_BACKLOG: u64 = 32 * 1024 * 1024;

/// The end of a batch of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// All frames are through.
    Done,
    /// The frame at this offset has to wait until the log is durable up to there.
    Waits(usize, Lsn),
    /// The frame at this offset is a publish, and publishers must wait.
    Stopped(usize),
    /// The frame at this offset is put off: the client doesn't read its answers, or others' bodies are under way.
    PutOff(usize),
}

/// Steps of the closing of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It is open.
    No,
    /// connection.close has been sent: only its answer counts.
    Sent,
    /// Nothing more to do but to write what is left.
    Done,
}

/// Bytes done with by one frame, or the reason for it to wait.
pub(super) enum Step {
    /// Bytes that are done with.
    Read(usize),
    /// The frame's turn comes when the log is durable up to there.
    Wait(Lsn),
    /// The frame is a publish: its turn comes when publishers may go on.
    Stop,
    /// The frame's turn comes later.
    PutOff,
}

/// An error, and the method that it answers.
pub struct Failure {
    /// The channel; 0 is the connection itself.
    pub channel: u16,
    /// The error.
    pub error: Error,
    /// The method, as channel.close and connection.close tell it.
    pub method: MethodId,
}

/// Class and number of a method; zeros stand for none.
#[derive(Clone, Copy, Debug, Default)]
pub struct MethodId {
    /// The class.
    pub class: u16,
    /// The method within its class.
    pub method: u16,
}

impl MethodId {
    /// basic.publish.
    pub const PUBLISH: Self = Self { class: 60, method: 40 };

    /// The id at the start of a method's payload.
    pub fn of(payload: &[u8]) -> Self {
        match payload {
            [a, b, c, d, ..] => Self {
                class: u16::from_be_bytes([*a, *b]),
                method: u16::from_be_bytes([*c, *d]),
            },
            _ => Self::default(),
        }
    }
}

impl Failure {
    /// An error of the connection that answers no method.
    pub fn of_connection(error: Error) -> Self {
        Self {
            channel: 0,
            error,
            method: MethodId::default(),
        }
    }
}

/// A newer token that is being proved: in the end, the contents.
pub(super) type Renewal = Receiver<std::result::Result<Arc<Verified>, Fault>>;

/// The error for a method that can't come now.
pub(super) fn unexpected() -> Error {
    Error::Channel("unexpected method in connection state running".into())
}

/// An open connection.
pub struct Session {
    /// The client.
    pub peer: Peer,
    /// The closing of it.
    pub closing: Closing,
    /// The client has published: only then does it wait for the log.
    pub publishes: bool,
    /// Memory or disk space is short: nothing is read from the next publish on.
    pub short: bool,
    /// Messages received for which the client awaits no confirm.
    pub streamed: u64,
    pub(super) channels: HashMap<u16, Box<Channel>, foldhash::fast::RandomState>,
    pub(super) turn: Turn,
    pub(super) channel_max: u16,
    /// A place in the line of those who wait for room for a body.
    pub(super) place: Option<Place>,
    /// Shared by the bodies that have not come whole, once there was one.
    pub(super) unfinished: Option<Arc<()>>,
    /// A newer token that is being proved.
    pub(super) renewal: Option<Renewal>,
    /// Channels whose confirms wait for the log.
    confirming: Vec<u16>,
}

impl Session {
    /// A connection that has just been opened.
    pub fn new(peer: Peer, channel_max: u16) -> Self {
        Self {
            peer,
            closing: Closing::No,
            publishes: false,
            short: false,
            streamed: 0,
            channels: HashMap::default(),
            turn: Turn::default(),
            channel_max,
            place: None,
            unfinished: None,
            renewal: None,
            confirming: Vec::new(),
        }
    }

    /// Works through whole frames. Everything that they change is enqueued and appended at the end; no connection is
    /// woken for single frames before.
    pub fn feed(&mut self, frames: &Bytes) -> Flow {
        let mut at = 0;
        let mut flow = Flow::Done;
        if let Some(publisher) = self.turn.publisher.known() {
            publisher.batch.begin(frames);
        }
        while let Some(rest) = frames.get(at..).filter(|rest| !rest.is_empty()) {
            if self.closing == Closing::Done {
                break;
            }
            match self.frame(frames, at, rest) {
                Ok(Step::Read(len)) => at += len,
                Ok(Step::Wait(lsn)) => {
                    flow = Flow::Waits(at, lsn);
                    break;
                }
                Ok(Step::Stop) => {
                    flow = Flow::Stopped(at);
                    break;
                }
                Ok(Step::PutOff) => {
                    flow = Flow::PutOff(at);
                    break;
                }
                Err(failure) if matches!(failure.error, Error::Frame(_)) => {
                    // The frames that follow can't be told apart from here on.
                    self.fail(failure);
                    self.closing = Closing::Done;
                }
                Err(failure) => {
                    let len = next_frame(rest, 0)
                        .ok()
                        .flatten()
                        .map_or(rest.len(), |frame| frame.wire_len());
                    at += len;
                    self.fail(failure);
                }
            }
        }
        if let Some(publisher) = self.turn.publisher.known() {
            publisher.batch.end();
        }
        self.flush();
        flow
    }

    /// True if the client leaves so many answers unread that it gets no more.
    pub fn has_unread_answers(&self) -> bool {
        self.peer.outbox.is_full() || self.turn.replies.are_many()
    }

    /// True if a body waits for room.
    pub fn waits_for_room(&self) -> bool {
        self.place.is_some()
    }

    /// Enqueues the messages that are staged.
    pub(super) fn enqueue(&mut self) -> Result<()> {
        let log = &self.peer.node.log;
        let Some(publisher) = self.turn.publisher.known() else {
            return Ok(self.turn.work.relieve(log)?);
        };
        publisher.stage.flush(log, &mut self.turn.work)?;
        for refused in publisher.stage.take_refused() {
            let channel = self.channels.get_mut(&refused.channel);
            if let (Some(confirms), Some(tag)) = (channel.and_then(|channel| channel.confirms.as_mut()), refused.tag) {
                confirms.refuse(tag);
            }
        }
        for handed_on in publisher.stage.take_handed_on() {
            let number = handed_on.channel;
            let Some(confirms) = self
                .channels
                .get_mut(&number)
                .and_then(|channel| channel.confirms.as_mut())
            else {
                continue;
            };
            confirms.note(&handed_on);
            if confirms.enlist() {
                self.confirming.push(number);
            }
        }
        Ok(self.turn.work.relieve(log)?)
    }

    /// The end of a batch: enqueues the messages that are left, confirms those that are safe, finishes the work.
    pub fn flush(&mut self) {
        let enqueued = self.enqueue();
        if let Some(publisher) = self.turn.publisher.known() {
            self.streamed += publisher.count(&self.peer.node.totals, &self.peer.vhost);
        }
        self.advance();
        let finished = self.turn.work.finish(&self.peer.node.log);
        if let Err(error) = enqueued.and(finished.map_err(Error::from))
            && self.closing == Closing::No
        {
            self.fail(Failure::of_connection(error));
            self.wake_others();
        }
    }

    /// Sends the confirms and replies for which the log has come far enough.
    pub fn advance(&mut self) {
        if self.confirming.is_empty() && self.turn.replies.is_empty() {
            return;
        }
        let durable = self.peer.node.log.durable();
        let Self {
            peer,
            channels,
            turn,
            confirming,
            ..
        } = self;
        let mut frames = Vec::new();
        let answered = turn.replies.take(durable, &mut frames);
        confirming.retain(|number| {
            let channel = channels.get_mut(number);
            channel.is_some_and(|channel| channel.confirm(peer, durable, &mut frames))
        });
        if !frames.is_empty() {
            peer.outbox
                .append(&mut turn.work.wakes, |out| out.encoded().extend_from_slice(&frames));
        }
        if !answered.is_empty() {
            self.go_on(&answered);
        }
    }

    /// Replies have gone that deliveries of these channels had to wait for.
    #[cold]
    fn go_on(&mut self, channels: &[u16]) {
        for number in channels {
            if let Some(channel) = self.channels.get(number) {
                channel.go_on(&mut self.turn);
            }
        }
        self.flush();
    }

    /// Time for which the client should not be read, since it publishes faster than consumers that could keep up can
    /// take.
    pub fn take_pause(&mut self) -> Duration {
        std::mem::take(&mut self.turn.work.pause)
    }

    /// Writes a method to the client, before anything that waits for the log.
    pub(super) fn send(&mut self, channel: u16, method: impl Into<Method>) {
        let method = method.into();
        let wakes = &mut self.turn.work.wakes;
        self.peer
            .outbox
            .append(wakes, |out| put_method_frame(out.encoded(), channel, &method));
    }

    /// Wakes the connections that got something.
    pub fn wake_others(&mut self) {
        self.turn.work.wakes.flush();
    }

    /// True if a confirm or reply waits for the log.
    pub fn waits_for_log(&self) -> bool {
        !self.confirming.is_empty() || !self.turn.replies.is_empty()
    }

    /// True if this publisher is to be read again only when the log has caught up, with writing or with cleaning up.
    pub fn log_is_behind(&self) -> bool {
        let log = &self.peer.node.log;
        self.publishes && (log.pending_bytes() > LOG_BACKLOG || log.is_crowded())
    }

    /// Queues that waited for room in the outbox, `most` of them at most, go on as long as there is some.
    pub fn resume(&mut self, most: usize) {
        for _ in 0..most {
            let Some(queue) = self.peer.outbox.next_stalled() else {
                break;
            };
            queue.resume(&mut self.turn.work);
        }
        match &self.unfinished {
            Some(shared) if Arc::strong_count(shared) > 1 => self.end_late_bodies(),
            _ => self.unfinished = None,
        }
        self.flush();
    }
}
