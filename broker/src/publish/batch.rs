//! Messages of one batch that several queues or clients will share: counted in memory once, with the buffer that they
//! were read into.
//!
//! Comes in: the frames of a batch, messages from them. Goes out: the same messages in a buffer that counts until the
//! last of them has gone from every queue and every outbox. The batch is counted in one go.
//! Does not know about routes.

use crate::limits::Memory;
use crate::message::Message;
use bytes::Bytes;
use std::sync::Arc;

/// The frames of the batch that is gone through.
#[derive(Default)]
pub struct Batch {
    frames: Bytes,
    /// The same as a buffer that counts, once a message has asked for it.
    counted: Option<Box<Bytes>>,
}

impl Batch {
    /// These are gone through now.
    pub fn begin(&mut self, frames: &Bytes) {
        self.frames = frames.clone();
    }

    /// Nothing more comes from them.
    pub fn end(&mut self) {
        *self = Self::default();
    }

    /// The message in a buffer that counts.
    pub fn count(&mut self, memory: &Arc<Memory>, message: Message) -> Message {
        if message.is_counted() {
            return message;
        }
        let frames = &self.frames;
        let counted = self
            .counted
            .get_or_insert_with(|| Box::new(memory.count_buffer(frames.clone())));
        match message.counted_within(frames, counted) {
            Ok(message) => message,
            Err(separate) => separate.counted(|buffer| memory.count_buffer(buffer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Layout, Span};

    #[test]
    fn a_batch_counts_once_until_the_last_of_its_messages_has_gone() {
        let memory = Arc::new(Memory::new(u64::MAX));
        let frames = Bytes::from(vec![0; 1000]);
        let mut batch = Batch::default();
        batch.begin(&frames);
        let layout = Layout {
            routing: 0,
            properties: Span::default(),
            body: Span { at: 2, len: 98 },
        };
        let messages: Vec<Message> = (0..10)
            .map(|at| Message::from_slices(frames.slice(at * 100..at * 100 + 100), layout))
            .map(|message| batch.count(&memory, message))
            .collect();
        let separate = batch.count(&memory, Message::new(b"", b"", b"", &[0; 500]));
        batch.end();
        assert!((1500..1510).contains(&memory.resident()), "{}", memory.resident());
        drop(separate);
        assert_eq!(memory.resident(), 1000);
        let last = messages.last().cloned();
        drop(messages);
        assert_eq!(memory.resident(), 1000);
        drop(last);
        assert_eq!(memory.resident(), 0);
    }
}
