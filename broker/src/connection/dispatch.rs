//! Frames of an open connection: each to its channel, or to the connection itself.
//!
//! Comes in: whole frames, one after the other. Goes out: messages and methods to channels, answers of the connection,
//! or the error that closes one of them. A frame that must not overtake replies that wait for the log has to wait with
//! them.
//! Does not know about batches.

use super::cut::cut_out;
use super::session::{Closing, Failure, MethodId, Session, Step, unexpected};
use crate::channel::content::{Arriving, Content};
use crate::channel::state::{Channel, Peer, Turn};
use crate::error::{Error, Result};
use crate::limits::bodies::{Place, SMALL};
use crate::queue::Outcome;
use bytes::Bytes;
use leveret_amqp::error::unexpected_frame;
use leveret_amqp::method::{ChannelCloseOk, ChannelOpenOk, ConnectionCloseOk};
use leveret_amqp::{FrameKind, FrameView, Method, PublishView, next_frame, parse_ack, parse_publish};
use leveret_store::Lsn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Pause of a publisher whose messages take much work each.
const OTHERS_TURN: Duration = Duration::from_millis(2);

/// Classes of declarations.
const EXCHANGE: u16 = 40;
const QUEUE: u16 = 50;

impl Session {
    /// Carries out the frame at the start of `rest`, which lies at `at` in `frames`.
    ///
    /// # Errors
    /// One that closes the channel, or the connection.
    pub(super) fn frame(&mut self, frames: &Bytes, at: usize, rest: &[u8]) -> std::result::Result<Step, Failure> {
        let frame = match next_frame(rest, self.peer.frame_max) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Step::Read(rest.len())),
            Err(error) => return Err(Failure::of_connection(error.into())),
        };
        let len = frame.wire_len();
        let failed = |error| Failure {
            channel: frame.channel,
            error,
            method: MethodId::of(frame.payload),
        };
        if self.closing == Closing::Sent {
            self.while_closing(&frame);
            return Ok(Step::Read(len));
        }
        if frame.channel == 0 {
            let done = self.connection_frame(&frame);
            return done.map(|()| Step::Read(len)).map_err(failed);
        }
        if frame.kind == FrameKind::Method {
            if let Some(publish) = parse_publish(frame.payload) {
                if self.short {
                    return Ok(Step::Stop);
                }
                let publish = publish.map_err(|error| failed(error.into()))?;
                if publish.mandatory && self.has_unread_answers() {
                    return Ok(Step::PutOff);
                }
                if self
                    .turn
                    .publisher
                    .known()
                    .is_some_and(|publisher| publisher.has_done_much())
                {
                    self.turn.work.pause = self.turn.work.pause.max(OTHERS_TURN);
                    return Ok(Step::PutOff);
                }
                let done = self.publish(frames, at, &frame, publish);
                return done.map(Step::Read).map_err(|error| Failure {
                    method: MethodId::PUBLISH,
                    ..failed(error)
                });
            }
            return self.method(&frame).map_err(failed);
        }
        // A publish that was begun is the method that fails; without one there is none.
        let mut method = MethodId::PUBLISH;
        let done = self.content(&frame, &mut method);
        done.map_err(|error| Failure {
            method,
            ..failed(error)
        })
    }

    /// basic.publish. If header and body follow in one piece, the message is cut out of the read buffer; else its
    /// frames are gathered. Returns the bytes that are done with.
    fn publish(&mut self, frames: &Bytes, at: usize, frame: &FrameView<'_>, view: PublishView<'_>) -> Result<usize> {
        self.publishes = true;
        self.turn.publisher.begin(frames);
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
                .publish(&self.peer, &mut self.turn, message, mandatory)
                .map(|()| len),
            None => {
                channel.content = Content::Publish(view.into());
                Ok(frame.wire_len())
            }
        }
    }

    fn content(&mut self, frame: &FrameView<'_>, method: &mut MethodId) -> Result<Step> {
        let max_size = self.peer.node.max_message_bytes();
        let done = Step::Read(frame.wire_len());
        let Some(channel) = self.channels.get_mut(&frame.channel) else {
            return Err(not_open());
        };
        if channel.closing {
            return Ok(done);
        }
        if channel.content.is_none() {
            *method = MethodId::default();
        }
        let whole = match frame.kind {
            FrameKind::Header => {
                let size = channel.content.announced(frame.payload, max_size)?;
                let arriving = match size {
                    0 => None,
                    size => match room(
                        &self.peer,
                        &mut self.place,
                        self.unfinished.get_or_insert_default(),
                        size as u64,
                    ) {
                        None => return Ok(Step::PutOff),
                        room => room,
                    },
                };
                channel.content.header(frame.payload, max_size, arriving)?
            }
            FrameKind::Body => channel.content.body(frame.payload)?,
            kind => {
                return Err(Error::UnexpectedFrame(
                    unexpected_frame(kind as u8, frame.payload).into(),
                ));
            }
        };
        if let Some((message, mandatory)) = whole {
            channel.publish(&self.peer, &mut self.turn, message, mandatory)?;
        }
        Ok(done)
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
        if let Some(lsn) = must_wait(&self.turn, number, frame.payload) {
            return Ok(Step::Wait(lsn));
        }
        if let Some(ack) = parse_ack(frame.payload) {
            let (tag, multiple) = ack?;
            channel.settle(&self.peer, &mut self.turn, tag, multiple, Outcome::Acked)?;
            return Ok(Step::Read(len));
        }
        if self.has_unread_answers() {
            return Ok(Step::PutOff);
        }
        self.enqueue()?;
        let method = parse_method(frame.payload)?;
        let Some(channel) = self.channels.get_mut(&number) else {
            return Err(not_open());
        };
        match method {
            Method::ChannelOpen(_) => Err(Error::Channel("second 'channel.open' seen".into())),
            Method::ChannelClose(_) => {
                // Nothing is delivered after the reply; replies that wait for the log have gone.
                self.drop_channel(number)?;
                self.send(number, ChannelCloseOk {});
                Ok(Step::Read(len))
            }
            Method::ChannelCloseOk(_) => Ok(Step::Read(len)),
            method => channel
                .handle(&self.peer, &mut self.turn, method)
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
            return Err(Error::TooManyChannels {
                opened,
                most: self.channel_max,
            });
        }
        let channel = Channel::new(number, &self.peer)?;
        self.peer.node.totals.channels.opened.fetch_add(1, Ordering::Relaxed);
        channel.reply(&self.peer, &mut self.turn, ChannelOpenOk {});
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
                self.send(frame.channel, ChannelCloseOk {});
                self.channels.remove(&frame.channel);
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
                self.end();
                self.send(0, ConnectionCloseOk {});
                self.closing = Closing::Done;
                Ok(())
            }
            Method::ConnectionUpdateSecret(update) => self.update_secret(&update),
            Method::ConnectionCloseOk(_) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    fn while_closing(&mut self, frame: &FrameView<'_>) {
        if frame.channel != 0 || frame.kind != FrameKind::Method {
            return;
        }
        match Method::parse(frame.payload) {
            Ok(Method::ConnectionCloseOk(_)) => self.closing = Closing::Done,
            Ok(Method::ConnectionClose(_)) => {
                self.send(0, ConnectionCloseOk {});
                self.closing = Closing::Done;
            }
            _ => {}
        }
    }
}

/// Room for a body that comes in pieces; `None`: not yet. A connection always has room for a small one.
fn room(peer: &Peer, place: &mut Option<Place>, unfinished: &Arc<()>, size: u64) -> Option<Arriving> {
    let bodies = &peer.node.bodies;
    let leave = match size <= SMALL && Arc::strong_count(unfinished) == 1 {
        true => bodies.small(size),
        false => bodies.ask(size, &peer.outbox, place)?,
    };
    Some(Arriving::new(leave, unfinished.clone()))
}

/// A method that must not overtake replies that wait for the log: everything but declarations, which wait with them.
fn must_wait(turn: &Turn, channel: u16, payload: &[u8]) -> Option<Lsn> {
    if turn.replies.is_empty() || matches!(MethodId::of(payload).class, EXCHANGE | QUEUE) {
        return None;
    }
    turn.replies.last_of(channel)
}

fn parse_method(payload: &[u8]) -> Result<Method> {
    Method::parse(payload).map_err(|error| Error::Frame(error.explanation(payload).into()))
}

fn not_open() -> Error {
    Error::Channel("expected 'channel.open'".into())
}

/// A method where content was expected.
fn interrupted(content: &Content) -> Error {
    Error::UnexpectedFrame(content.expected().into())
}
