//! Frames: the first step of everything received.
//!
//! Comes in: the octets read so far. Goes out: a view of the first whole frame, or how many octets it will have. The
//! length is judged by the head alone, so that a frame that is too large is never buffered.
//! Does not know about what a payload means.

use crate::error::{FrameError, Snippet};

/// The octets that a client sends first, and that a server answers to any other header (4.2.2).
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

/// The smallest frame-max that may be negotiated, in octets (4.2.3, frame-min-size).
pub const FRAME_MIN_SIZE: u32 = 4096;

/// Octets of a frame that are not payload: 7 of head, 1 of end.
pub const FRAME_OVERHEAD: usize = 8;

/// The last octet of every frame (4.2.3).
pub const FRAME_END: u8 = 0xCE;

const HEAD_LEN: usize = 7;

/// The kinds of frame (4.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// A method and its arguments.
    Method = 1,
    /// A content header: class, body size, properties.
    Header = 2,
    /// A piece of a content body.
    Body = 3,
    /// A heartbeat, always on channel 0.
    Heartbeat = 8,
}

impl FrameKind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Method),
            2 => Some(Self::Header),
            3 => Some(Self::Body),
            8 => Some(Self::Heartbeat),
            _ => None,
        }
    }
}

/// One whole frame, borrowed from the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameView<'a> {
    /// The kind of the payload.
    pub kind: FrameKind,
    /// The channel; 0 is the connection itself.
    pub channel: u16,
    /// The octets between head and end octet.
    pub payload: &'a [u8],
}

impl FrameView<'_> {
    /// Octets that the frame has on the wire.
    #[must_use]
    pub const fn wire_len(&self) -> usize {
        self.payload.len() + FRAME_OVERHEAD
    }
}

struct Head {
    kind: u8,
    channel: u16,
    size: u32,
}

/// The head of the first frame, if its 7 octets are there and its size is allowed.
#[inline]
fn head(bytes: &[u8], frame_max: u32) -> Result<Option<Head>, FrameError> {
    let Some(&[kind, c1, c0, s3, s2, s1, s0]) = bytes.first_chunk::<HEAD_LEN>() else {
        return Ok(None);
    };
    let head = Head {
        kind,
        channel: u16::from_be_bytes([c1, c0]),
        size: u32::from_be_bytes([s3, s2, s1, s0]),
    };
    // RabbitMQ allows a payload of frame_max octets, that is a frame 8 octets longer than negotiated, and names the
    // strict limit in its error text. Clients that count the overhead wrongly live on this.
    if frame_max != 0 && head.size > frame_max {
        let max = frame_max.saturating_sub(FRAME_OVERHEAD as u32);
        return Err(FrameError::TooLarge {
            kind,
            channel: head.channel,
            size: head.size,
            max,
        });
    }
    Ok(Some(head))
}

/// Octets that the first frame will have on the wire, as soon as its head is there; `Ok(None)` before that.
///
/// `frame_max` is the negotiated limit in octets; 0 means none.
///
/// # Errors
/// [`FrameError::TooLarge`] if the head announces more than `frame_max` allows.
#[inline]
pub fn frame_len(bytes: &[u8], frame_max: u32) -> Result<Option<usize>, FrameError> {
    Ok(head(bytes, frame_max)?.map(|head| (head.size as usize).saturating_add(FRAME_OVERHEAD)))
}

/// The first frame in `bytes`; `Ok(None)` if it is not complete yet. The next one starts at [`FrameView::wire_len`].
///
/// `frame_max` is the negotiated limit in octets; 0 means none. It is checked against the head before the payload is
/// there. As in RabbitMQ, the end octet is judged before the kind, so that the error can show the payload.
///
/// # Errors
/// [`FrameError`]: too large, no end octet, a kind that does not exist, or a heartbeat with a payload. All of them
/// close the connection with 501 FRAME_ERROR.
#[inline]
pub fn next_frame(bytes: &[u8], frame_max: u32) -> Result<Option<FrameView<'_>>, FrameError> {
    let Some(Head { kind, channel, size }) = head(bytes, frame_max)? else {
        return Ok(None);
    };
    let rest = bytes.get(HEAD_LEN..).unwrap_or_default();
    let Some((payload, rest)) = rest.split_at_checked(size as usize) else {
        return Ok(None);
    };
    let Some(&end) = rest.first() else {
        return Ok(None);
    };
    if end != FRAME_END {
        return Err(FrameError::BadEnd {
            kind,
            channel,
            end,
            snippet: Snippet::new(payload),
        });
    }
    match FrameKind::from_number(kind) {
        Some(kind) if kind != FrameKind::Heartbeat || payload.is_empty() => {
            Ok(Some(FrameView { kind, channel, payload }))
        }
        _ => Err(FrameError::unknown(kind, channel, payload)),
    }
}

#[cfg(test)]
mod tests;
