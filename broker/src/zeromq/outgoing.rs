//! Messages on their way to a peer, frame by frame.
//!
//! Comes in: messages. Goes out: their frames, appended to what the outbox has; large ones are referred to, so that a
//! message for many peers is in memory once, unless each peer gets it in a box of its own.
//! Does not know which peer gets which message.

use super::frames::Stretches;
use crate::message::Message;
use crate::outbox::Outbox;
use crate::outbox::frames::{Frames, REFERRED};
use leveret_zmtp::Encoder;
use leveret_zmtp::frame::{MORE, put_head};
use std::ops::Range;

/// Appends the frames of a message.
#[inline]
pub fn put(encoder: &mut Encoder, out: &mut Frames, outbox: &Outbox, message: &Message, stretches: Stretches<'_>) {
    for (range, more) in stretches {
        let frame = message.body().get(range.clone()).unwrap_or_default();
        if frame.len() < REFERRED || encoder.is_boxed() {
            encoder.part(frame, more, out.encoded());
        } else {
            refer(out, outbox, message, range, more);
        }
    }
}

#[cold]
fn refer(out: &mut Frames, outbox: &Outbox, message: &Message, range: Range<usize>, more: bool) {
    let flags = if more { MORE } else { 0 };
    put_head(out.encoded(), flags, range.len());
    let frame = message.body().get(range.clone()).unwrap_or_default();
    out.put_body(frame, || {
        outbox.refer_to(message.shared_body().slice(range), message.is_counted())
    });
}
