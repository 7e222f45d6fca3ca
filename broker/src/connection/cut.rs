//! Messages as slices of what was read.
//!
//! Comes in: the read buffer with the place of a basic.publish in it. Goes out: the message, if its frames follow one
//! another, without a copy.
//! Does not know about channels or sessions.

use crate::channel::content::check_header;
use crate::error::Result;
use crate::message::{Layout, Message, Span};
use bytes::Bytes;
use leveret_amqp::{FrameKind, FrameView, next_frame};

/// A message whose frames lie one after the other in the read buffer, with the bytes that they take.
pub fn cut_out(
    frames: &Bytes,
    at: usize,
    method: &FrameView<'_>,
    exchange_len: usize,
    key_len: usize,
    max_size: u64,
) -> Result<Option<(Message, usize)>> {
    const HEAD: usize = 7;
    /// Class id, weight, body size.
    const HEADER_PREFIX: usize = 12;
    let header_at = at + method.wire_len();
    let Some(Ok(Some(header))) = frames.get(header_at..).map(|rest| next_frame(rest, 0)) else {
        return Ok(None);
    };
    if header.kind != FrameKind::Header || header.channel != method.channel {
        return Ok(None);
    }
    let (properties, body_size) = check_header(header.payload, max_size)?;
    let body_at = header_at + header.wire_len();
    let mut len = body_at - at;
    let mut body = (0, 0);
    if body_size > 0 {
        let Some(Ok(Some(piece))) = frames.get(body_at..).map(|rest| next_frame(rest, 0)) else {
            return Ok(None);
        };
        if piece.kind != FrameKind::Body || piece.channel != method.channel || piece.payload.len() != body_size {
            return Ok(None);
        }
        body = (HEAD + body_at - at, body_size);
        len += piece.wire_len();
    }
    // The method's payload: class, method, ticket, then exchange and key; nothing of the frames before the exchange is
    // kept.
    let routing = at + HEAD + 6;
    let slice = frames.slice(routing..at + len);
    let skip = routing - at;
    debug_assert!(exchange_len + key_len + 2 < method.payload.len());
    let layout = Layout {
        routing: 0,
        properties: Span {
            at: (header_at - at + HEAD + HEADER_PREFIX - skip) as u32,
            len: properties.len() as u32,
        },
        body: Span {
            at: body.0.saturating_sub(skip) as u32,
            len: body.1 as u32,
        },
    };
    Ok(Some((Message::from_slices(slice, layout), len)))
}
