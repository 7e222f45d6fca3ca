//! The ends of channels and of the connection.
//!
//! Comes in: errors, and the wish of either side to close. Goes out: channel.close or connection.close with the reason;
//! consumers, unacknowledged messages and exclusive queues taken back.

use super::session::{Closing, Failure, MethodId, Session};
use crate::channel::content::Content;
use crate::error::{Error, Result};
use crate::queue::consumers::cancelled;
use leveret_amqp::method::{ChannelClose, ConnectionClose};
use std::sync::atomic::Ordering;

impl Session {
    /// Tells the client about an error, by closing the channel or the whole connection.
    pub fn fail(&mut self, failure: Failure) {
        let Failure { channel, error, method } = failure;
        let error = self.enqueue().err().unwrap_or(error);
        let (reply_code, reply_text) = (error.reply_code().number(), error.reply_text());
        if error.closes_connection() || channel == 0 {
            tracing::info!(connection = %self.peer.info.name(), channel, "closing the connection: {}", reply_text.to_str_lossy());
            // Before the end: that fails too if the log has failed, and then there is no more to tell.
            self.closing = Closing::Sent;
            self.end();
            let method = if error.answers_a_method() {
                method
            } else {
                MethodId::default()
            };
            let close = ConnectionClose {
                reply_code,
                reply_text,
                class_id: method.class,
                method_id: method.method,
            };
            self.send(0, close);
            return;
        }
        tracing::info!(connection = %self.peer.info.name(), channel, "closing the channel: {}", reply_text.to_str_lossy());
        let close = ChannelClose {
            reply_code,
            reply_text,
            class_id: method.class,
            method_id: method.method,
        };
        let Some(closing) = self.channels.get_mut(&channel) else {
            return;
        };
        closing.closing = true;
        closing.content = Content::None;
        if let Err(error) = closing.close(&self.peer, &mut self.turn) {
            return self.fail(Failure::of_connection(error));
        }
        self.peer.node.totals.channels.closed.fetch_add(1, Ordering::Relaxed);
        let Some(closing) = self.channels.get(&channel) else {
            return;
        };
        closing.reply(&self.peer, &mut self.turn, close);
    }

    /// Ends channels whose messages don't come whole in time while others wait to send theirs.
    pub(super) fn end_late_bodies(&mut self) {
        let late = self.channels.iter().filter(|(_, channel)| channel.content.is_overdue());
        let late: Vec<u16> = late.map(|(number, _)| *number).collect();
        for channel in late {
            let text = "the message has not arrived in time, and others wait to send theirs";
            self.fail(Failure {
                channel,
                error: Error::Precondition(text.into()),
                method: MethodId::PUBLISH,
            });
        }
    }

    /// The end of a channel that the client closes, or of all.
    pub(super) fn drop_channel(&mut self, number: u16) -> Result<()> {
        let Some(mut channel) = self.channels.remove(&number) else {
            return Ok(());
        };
        if !channel.closing {
            self.peer.node.totals.channels.closed.fetch_add(1, Ordering::Relaxed);
            channel.close(&self.peer, &mut self.turn)?;
        }
        Ok(())
    }

    /// The end of all channels and of the exclusive queues. Messages that are staged are enqueued before.
    pub fn end(&mut self) {
        let mut failed = self.enqueue().err();
        for number in self.channels.keys().copied().collect::<Vec<_>>() {
            failed = self.drop_channel(number).err().or(failed);
        }
        let queues = self.peer.info.exclusive_queues.lock().take();
        for queue in queues {
            match self.peer.vhost.expire_queue(&queue, false) {
                Ok(consumers) => cancelled(&consumers, &mut self.turn.work.wakes),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            tracing::warn!(connection = %self.peer.info.name(), %error, "the connection's end is not complete");
        }
        self.flush();
    }
}
