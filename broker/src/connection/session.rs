//! An open connection without its socket: frames to channels, and what each batch of frames leaves to do.
//!
//! Comes in: whole frames, as one slice of the read buffer. Goes out: everything that follows from them, in batches: publishes are
//! staged and enqueued together before anything else happens, records appended, other connections woken once.
//! Does not know about sockets or timers.

use super::cut::cut_out;
use crate::channel::content::Content;
use crate::channel::state::{Channel, Desk, Peer};
use crate::error::{Error, Result};
use crate::outbox::Stalled;
use crate::queue::consumers::cancelled;
use bytes::Bytes;
use leveret_amqp::error::unexpected_frame;
use leveret_amqp::method::{
    ChannelClose, ChannelCloseOk, ChannelOpenOk, ConnectionClose, ConnectionCloseOk, ConnectionUpdateSecretOk,
};
use leveret_amqp::{FrameKind, FrameView, Method, PublishView, next_frame, parse_ack, parse_publish, put_method_frame};
use leveret_store::Lsn;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Bytes that the log may have to catch up with before a publisher is not read.
const LOG_BACKLOG: u64 = 32 * 1024 * 1024;

/// How a batch of frames ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// All frames are through.
    Done,
    /// The frame at this offset has to wait until the log is durable up to there.
    Waits(usize, Lsn),
}

/// Where the closing of the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It is open.
    No,
    /// connection.close has been sent: only its answer counts.
    Sent,
    /// Nothing more to do but to write what is left.
    Done,
}

/// An open connection.
pub struct Session {
    /// The client.
    pub peer: Peer,
    /// Whether it is closing.
    pub closing: Closing,
    /// Whether the client has published: only then is it stopped when memory or disk space is short.
    pub publishes: bool,
    /// Messages received for which the client awaits no confirm.
    pub streamed: u64,
    channels: HashMap<u16, Box<Channel>, foldhash::fast::RandomState>,
    desk: Desk,
    channel_max: u16,
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
            streamed: 0,
            channels: HashMap::default(),
            desk: Desk::default(),
            channel_max,
            confirming: Vec::new(),
        }
    }

    /// Works through whole frames. Whatever they change is enqueued and appended at the end; nobody has been woken for single
    /// frames before.
    pub fn feed(&mut self, frames: &Bytes) -> Flow {
        let mut at = 0;
        let mut flow = Flow::Done;
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
                Err((channel, error @ Error::Frame(_), id)) => {
                    // What follows can't be told apart from here on.
                    self.fail(channel, &error, id);
                    self.closing = Closing::Done;
                }
                Err((channel, error, id)) => {
                    let len = next_frame(rest, 0)
                        .ok()
                        .flatten()
                        .map_or(rest.len(), |frame| frame.wire_len());
                    at += len;
                    self.fail(channel, &error, id);
                }
            }
        }
        self.flush();
        flow
    }

    fn frame(&mut self, frames: &Bytes, at: usize, rest: &[u8]) -> std::result::Result<Step, (u16, Error, (u16, u16))> {
        let frame = match next_frame(rest, self.peer.frame_max) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Step::Read(rest.len())),
            Err(error) => return Err((0, error.into(), (0, 0))),
        };
        let len = frame.wire_len();
        if self.closing == Closing::Sent {
            self.while_closing(&frame);
            return Ok(Step::Read(len));
        }
        if frame.channel == 0 {
            return self
                .connection_frame(&frame)
                .map(|()| Step::Read(len))
                .map_err(|error| (0, error, method_id(frame.payload)));
        }
        let failed = |error| (frame.channel, error, method_id(frame.payload));
        if frame.kind == FrameKind::Method {
            if let Some(publish) = parse_publish(frame.payload) {
                let publish = publish.map_err(|error| failed(error.into()))?;
                return self
                    .publish(frames, at, &frame, publish)
                    .map(Step::Read)
                    .map_err(|error| (frame.channel, error, (60, 40)));
            }
            return self.method(&frame).map_err(failed);
        }
        self.content(&frame).map_err(|error| (frame.channel, error, (60, 40)))?;
        Ok(Step::Read(len))
    }

    /// basic.publish. If header and body follow in one piece, the message is cut out of the read buffer; else its frames are
    /// gathered. Returns the bytes that are done with.
    fn publish(&mut self, frames: &Bytes, at: usize, frame: &FrameView<'_>, view: PublishView<'_>) -> Result<usize> {
        self.publishes = true;
        let max_size = self.peer.node.max_message_bytes();
        let Some(channel) = self.channels.get_mut(&frame.channel) else {
            return Err(not_open());
        };
        if channel.closing {
            return Ok(frame.wire_len());
        }
        if !channel.content.is_none() {
            return Err(interrupted(&channel.content));
        }
        if view.immediate {
            return Err(Error::NotImplemented("immediate=true".into()));
        }
        let mandatory = view.mandatory;
        match cut_out(frames, at, frame, view.exchange.len(), view.routing_key.len(), max_size)? {
            Some((message, len)) => channel
                .publish(&self.peer, &mut self.desk, message, mandatory)
                .map(|()| len),
            None => {
                channel.content = Content::Publish(view.into());
                Ok(frame.wire_len())
            }
        }
    }

    fn content(&mut self, frame: &FrameView<'_>) -> Result<()> {
        let max_size = self.peer.node.max_message_bytes();
        let Some(channel) = self.channels.get_mut(&frame.channel) else {
            return Err(not_open());
        };
        if channel.closing {
            return Ok(());
        }
        let whole = match frame.kind {
            FrameKind::Header => channel.content.header(frame.payload, max_size)?,
            FrameKind::Body => channel.content.body(frame.payload)?,
            kind => {
                return Err(Error::UnexpectedFrame(
                    unexpected_frame(kind as u8, frame.payload).into(),
                ));
            }
        };
        match whole {
            Some((message, mandatory)) => channel.publish(&self.peer, &mut self.desk, message, mandatory),
            None => Ok(()),
        }
    }

    fn method(&mut self, frame: &FrameView<'_>) -> Result<Step> {
        let len = frame.wire_len();
        let number = frame.channel;
        let Some(channel) = self.channels.get_mut(&number) else {
            return self.open_channel(frame).map(|()| Step::Read(len));
        };
        if !channel.content.is_none() && !channel.closing {
            return Err(interrupted(&channel.content));
        }
        if channel.closing {
            self.closed_channel(frame);
            return Ok(Step::Read(len));
        }
        if let Some(lsn) = must_wait(&self.desk, number, frame.payload) {
            return Ok(Step::Wait(lsn));
        }
        if let Some(ack) = parse_ack(frame.payload) {
            let (tag, multiple) = ack?;
            channel.settle(&mut self.desk, tag, multiple, crate::queue::Outcome::Acked)?;
            return Ok(Step::Read(len));
        }
        self.enqueue()?;
        let method = parse_method(frame.payload)?;
        let Some(channel) = self.channels.get_mut(&number) else {
            return Err(not_open());
        };
        match method {
            Method::ChannelOpen(_) => Err(Error::Channel("second 'channel.open' seen".into())),
            Method::ChannelClose(_) => {
                channel.reply(&self.peer, &mut self.desk, ChannelCloseOk {});
                self.drop_channel(number)?;
                Ok(Step::Read(len))
            }
            Method::ChannelCloseOk(_) => Ok(Step::Read(len)),
            method => channel
                .handle(&self.peer, &mut self.desk, method)
                .map(|()| Step::Read(len)),
        }
    }

    fn open_channel(&mut self, frame: &FrameView<'_>) -> Result<()> {
        let number = frame.channel;
        match parse_method(frame.payload)? {
            Method::ChannelOpen(_) => {}
            // The answer to a close that both sides sent at once.
            Method::ChannelCloseOk(_) => return Ok(()),
            _ => return Err(not_open()),
        }
        let opened = self.channels.len();
        if self.channel_max != 0 && opened >= usize::from(self.channel_max) {
            let text = format!(
                "number of channels opened ({opened}) has reached the negotiated channel_max ({})",
                self.channel_max
            );
            return Err(Error::NotAllowed(text.into()));
        }
        let channel = Channel::new(number, &self.peer);
        self.peer.node.totals.channels.0.fetch_add(1, Ordering::Relaxed);
        channel.reply(&self.peer, &mut self.desk, ChannelOpenOk {});
        self.channels.insert(number, Box::new(channel));
        Ok(())
    }

    /// A channel that the broker has closed ignores everything until the client agrees (AMQP 0-9-1 channel.close).
    fn closed_channel(&mut self, frame: &FrameView<'_>) {
        match Method::parse(frame.payload) {
            Ok(Method::ChannelCloseOk(_)) => {
                self.channels.remove(&frame.channel);
            }
            Ok(Method::ChannelClose(_)) => {
                let number = frame.channel;
                let ok = Method::ChannelCloseOk(ChannelCloseOk {});
                self.peer
                    .outbox
                    .append(&mut self.desk.work.wakes, |out| put_method_frame(out, number, &ok));
                self.channels.remove(&number);
            }
            _ => {}
        }
    }

    fn connection_frame(&mut self, frame: &FrameView<'_>) -> Result<()> {
        match frame.kind {
            FrameKind::Heartbeat => return Ok(()),
            FrameKind::Header | FrameKind::Body => {
                return Err(Error::UnexpectedFrame(
                    unexpected_frame(frame.kind as u8, frame.payload).into(),
                ));
            }
            FrameKind::Method => {}
        }
        self.enqueue()?;
        match parse_method(frame.payload)? {
            Method::ConnectionClose(_) => {
                self.flush();
                let ok = Method::ConnectionCloseOk(ConnectionCloseOk {});
                self.end();
                self.peer
                    .outbox
                    .append(&mut self.desk.work.wakes, |out| put_method_frame(out, 0, &ok));
                self.closing = Closing::Done;
                Ok(())
            }
            Method::ConnectionUpdateSecret(_) => {
                let ok = Method::ConnectionUpdateSecretOk(ConnectionUpdateSecretOk {});
                self.peer
                    .outbox
                    .append(&mut self.desk.work.wakes, |out| put_method_frame(out, 0, &ok));
                Ok(())
            }
            Method::ConnectionCloseOk(_) => Ok(()),
            _ => Err(Error::Channel("unexpected method in connection state running".into())),
        }
    }

    fn while_closing(&mut self, frame: &FrameView<'_>) {
        if frame.channel != 0 || frame.kind != FrameKind::Method {
            return;
        }
        match Method::parse(frame.payload) {
            Ok(Method::ConnectionCloseOk(_)) => self.closing = Closing::Done,
            Ok(Method::ConnectionClose(_)) => {
                let ok = Method::ConnectionCloseOk(ConnectionCloseOk {});
                self.peer
                    .outbox
                    .append(&mut self.desk.work.wakes, |out| put_method_frame(out, 0, &ok));
                self.closing = Closing::Done;
            }
            _ => {}
        }
    }

    /// Tells the client what went wrong, on the channel or for the whole connection.
    pub fn fail(&mut self, channel: u16, error: &Error, (class_id, method_id): (u16, u16)) {
        let enqueued = self.enqueue();
        let error = enqueued.as_ref().err().unwrap_or(error);
        let (reply_code, reply_text) = (error.reply_code().number(), error.reply_text());
        if error.closes_connection() || channel == 0 {
            tracing::info!(connection = %self.peer.info.name(), channel, "closing the connection: {}", reply_text.to_str_lossy());
            // Before the end: that fails too if the log has failed, and then there is no more to tell.
            self.closing = Closing::Sent;
            self.end();
            let close = Method::ConnectionClose(ConnectionClose {
                reply_code,
                reply_text,
                class_id,
                method_id,
            });
            self.peer
                .outbox
                .append(&mut self.desk.work.wakes, |out| put_method_frame(out, 0, &close));
            return;
        }
        tracing::info!(connection = %self.peer.info.name(), channel, "closing the channel: {}", reply_text.to_str_lossy());
        let close = Method::ChannelClose(ChannelClose {
            reply_code,
            reply_text,
            class_id,
            method_id,
        });
        let Some(closing) = self.channels.get_mut(&channel) else {
            return;
        };
        closing.closing = true;
        closing.content = Content::None;
        if let Err(error) = closing.close(&self.peer, &mut self.desk) {
            return self.fail(0, &error, (0, 0));
        }
        self.peer.node.totals.channels.1.fetch_add(1, Ordering::Relaxed);
        let Some(closing) = self.channels.get(&channel) else {
            return;
        };
        closing.reply(&self.peer, &mut self.desk, close);
    }

    fn drop_channel(&mut self, number: u16) -> Result<()> {
        let Some(mut channel) = self.channels.remove(&number) else {
            return Ok(());
        };
        if !channel.closing {
            self.peer.node.totals.channels.1.fetch_add(1, Ordering::Relaxed);
            channel.close(&self.peer, &mut self.desk)?;
        }
        Ok(())
    }

    /// The end of all channels and of the exclusive queues. What is staged is enqueued before.
    pub fn end(&mut self) {
        let mut failed = self.enqueue().err();
        for number in self.channels.keys().copied().collect::<Vec<_>>() {
            failed = self.drop_channel(number).err().or(failed);
        }
        let queues = std::mem::take(&mut *self.peer.info.exclusive_queues.lock());
        for queue in queues {
            match self.peer.vhost.expire_queue(&queue, false) {
                Ok(consumers) => cancelled(&consumers, &mut self.desk.work.wakes),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            tracing::warn!(connection = %self.peer.info.name(), %error, "the connection's end is not complete");
        }
        self.flush();
    }

    /// Enqueues what is staged.
    fn enqueue(&mut self) -> Result<()> {
        let log = &self.peer.node.log;
        self.desk.publisher.stage.flush(log, &mut self.desk.work)?;
        for handed_on in self.desk.publisher.stage.take_handed_on() {
            let number = handed_on.channel;
            let Some(confirms) = self
                .channels
                .get_mut(&number)
                .and_then(|channel| channel.confirms.as_mut())
            else {
                continue;
            };
            confirms.note(&handed_on);
            if !self.confirming.contains(&number) {
                self.confirming.push(number);
            }
        }
        Ok(self.desk.work.relieve(log)?)
    }

    /// The end of a batch: enqueues the messages that are left, confirms those that are safe, finishes the work.
    pub fn flush(&mut self) {
        let enqueued = self.enqueue();
        self.streamed += self.desk.publisher.count(&self.peer.node.totals);
        self.advance();
        let finished = self.desk.work.finish(&self.peer.node.log);
        if let Err(error) = enqueued.and(finished.map_err(Error::from))
            && self.closing == Closing::No
        {
            self.fail(0, &error, (0, 0));
            self.wake_others();
        }
    }

    /// Sends the confirms and replies for which the log has come far enough.
    pub fn advance(&mut self) {
        if self.confirming.is_empty() && self.desk.held.is_empty() {
            return;
        }
        let durable = self.peer.node.log.durable();
        let Self {
            peer,
            channels,
            desk,
            confirming,
            ..
        } = self;
        let mut frames = Vec::new();
        desk.held.take(durable, &mut frames);
        confirming.retain(|number| {
            let channel = channels.get_mut(number);
            channel.is_some_and(|channel| channel.confirm(&peer.node.totals, durable, &mut frames))
        });
        if !frames.is_empty() {
            peer.outbox
                .append(&mut desk.work.wakes, |out| out.extend_from_slice(&frames));
        }
    }

    /// Time for which the client should not be read, since it publishes faster than consumers that could keep up can take.
    pub fn take_pause(&mut self) -> Duration {
        std::mem::take(&mut self.desk.work.pause)
    }

    /// Wakes the connections that got something.
    pub fn wake_others(&mut self) {
        self.desk.work.wakes.flush();
    }

    /// Whether something waits for the log.
    pub fn waits_for_log(&self) -> bool {
        !self.confirming.is_empty() || !self.desk.held.is_empty()
    }

    /// Whether this publisher is to be read again only when the log has caught up, with writing or with cleaning up.
    pub fn log_is_behind(&self) -> bool {
        let log = &self.peer.node.log;
        self.publishes && (log.pending_bytes() > LOG_BACKLOG || log.is_crowded())
    }

    /// Queues that waited for room in the outbox go on.
    pub fn resume(&mut self, queues: Vec<Arc<dyn Stalled>>) {
        for queue in queues {
            queue.resume(&mut self.desk.work);
        }
        self.flush();
    }
}

/// What one frame asks for.
enum Step {
    /// So many bytes are done with.
    Read(usize),
    /// Come again when the log is durable up to there.
    Wait(Lsn),
}

/// A method that must not overtake replies that wait for the log: everything but declarations, which wait with them.
fn must_wait(desk: &Desk, channel: u16, payload: &[u8]) -> Option<Lsn> {
    if desk.held.is_empty() || matches!(method_id(payload).0, 40 | 50) {
        return None;
    }
    desk.held.last_of(channel)
}

fn parse_method(payload: &[u8]) -> Result<Method> {
    Method::parse(payload).map_err(|error| Error::Frame(error.explanation(payload).into()))
}

fn method_id(payload: &[u8]) -> (u16, u16) {
    match payload {
        [a, b, c, d, ..] => (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])),
        _ => (0, 0),
    }
}

fn not_open() -> Error {
    Error::Channel("expected 'channel.open'".into())
}

/// A method where content was expected.
fn interrupted(content: &Content) -> Error {
    Error::UnexpectedFrame(content.expected().into())
}
