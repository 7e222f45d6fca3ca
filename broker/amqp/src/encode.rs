//! Values to octets: the last step of everything sent.
//!
//! Comes in: methods, contents, deliveries. Goes out: whole frames, appended to a buffer that the caller writes when
//! it likes. Deliveries and confirms are written without a struct in between.
//! Does not know about sockets, nor about what was negotiated beyond the frame-max it is told.

use crate::frame::{FRAME_END, FRAME_OVERHEAD, FrameKind};
use crate::method::{BasicAck, BasicDeliver, BasicNack, Method};
use crate::wire::{put_with_length, short_part};

/// Octets of class id and method id.
const ID_LEN: usize = 4;

const fn head(kind: FrameKind, channel: u16, size: u32) -> [u8; 7] {
    let [c1, c0] = channel.to_be_bytes();
    let [s3, s2, s1, s0] = size.to_be_bytes();
    [kind as u8, c1, c0, s3, s2, s1, s0]
}

/// Head of a method frame and the ids of the method: what every method frame begins with.
const fn method_head(channel: u16, size: u32, id: (u16, u16)) -> [u8; 11] {
    let [k, c1, c0, s3, s2, s1, s0] = head(FrameKind::Method, channel, size);
    let [i3, i2] = id.0.to_be_bytes();
    let [i1, i0] = id.1.to_be_bytes();
    [k, c1, c0, s3, s2, s1, s0, i3, i2, i1, i0]
}

/// Appends a method frame.
pub fn put_method_frame(out: &mut Vec<u8>, channel: u16, method: &Method) {
    let [c1, c0] = channel.to_be_bytes();
    out.extend_from_slice(&[FrameKind::Method as u8, c1, c0]);
    put_with_length(out, |out| method.encode(out));
    out.push(FRAME_END);
}

/// Appends a heartbeat frame.
pub fn put_heartbeat(out: &mut Vec<u8>) {
    out.extend_from_slice(&head(FrameKind::Heartbeat, 0, 0));
    out.push(FRAME_END);
}

/// Appends a content header frame, and the body in frames of at most `frame_max` octets (0: one frame); an empty body
/// has none (4.2.6). `properties` are flags and list as they stand on the wire.
#[inline]
pub fn put_content(out: &mut Vec<u8>, channel: u16, frame_max: u32, class_id: u16, properties: &[u8], body: &[u8]) {
    let piece_len = piece_len(frame_max);
    let frames = body.len().div_ceil(piece_len) + 1;
    out.reserve(frames * FRAME_OVERHEAD + 12 + properties.len() + body.len());
    put_header(out, channel, class_id, body.len() as u64, properties);
    for piece in body.chunks(piece_len) {
        put_body(out, channel, piece);
    }
}

/// Octets of body that a frame of `frame_max` octets holds.
#[inline]
#[must_use]
pub const fn piece_len(frame_max: u32) -> usize {
    match frame_max {
        0 => u32::MAX as usize,
        limit if limit as usize > FRAME_OVERHEAD => limit as usize - FRAME_OVERHEAD,
        _ => 1,
    }
}

/// Appends a content header frame alone: for a body that does not lie in one piece.
#[inline]
pub fn put_header(out: &mut Vec<u8>, channel: u16, class_id: u16, body_size: u64, properties: &[u8]) {
    // Properties came in a frame, so their length fits; cut rather than lie about the length if they did not.
    let properties = properties.get(..(u32::MAX as usize) - 12).unwrap_or(properties);
    let mut fixed = [0; 19];
    let (frame_head, content_head) = fixed.split_at_mut(7);
    frame_head.copy_from_slice(&head(FrameKind::Header, channel, 12 + properties.len() as u32));
    let (ids, size) = content_head.split_at_mut(4);
    ids.copy_from_slice(&(u32::from(class_id) << 16).to_be_bytes());
    size.copy_from_slice(&body_size.to_be_bytes());
    out.extend_from_slice(&fixed);
    out.extend_from_slice(properties);
    out.push(FRAME_END);
}

/// Appends one body frame with all of `piece`, which the caller has cut to [`piece_len`].
#[inline]
pub fn put_body(out: &mut Vec<u8>, channel: u16, piece: &[u8]) {
    let piece = piece.get(..u32::MAX as usize).unwrap_or(piece);
    out.extend_from_slice(&head(FrameKind::Body, channel, piece.len() as u32));
    out.extend_from_slice(piece);
    out.push(FRAME_END);
}

/// Appends the head of a body frame whose payload of `len` octets is written from somewhere else;
/// [`put_body_frame_end`] follows it.
#[inline]
pub fn put_body_frame_head(out: &mut Vec<u8>, channel: u16, len: u32) {
    out.extend_from_slice(&head(FrameKind::Body, channel, len));
}

/// Appends the end of a frame.
#[inline]
pub fn put_body_frame_end(out: &mut Vec<u8>) {
    out.push(FRAME_END);
}

/// Appends a whole basic.deliver frame. Strings are cut after 255 octets.
#[inline]
pub fn put_deliver(
    out: &mut Vec<u8>,
    channel: u16,
    consumer_tag: &[u8],
    delivery_tag: u64,
    redelivered: bool,
    exchange: &[u8],
    routing_key: &[u8],
) {
    let (consumer_tag, exchange, routing_key) =
        (short_part(consumer_tag), short_part(exchange), short_part(routing_key));
    let size = ID_LEN + 1 + consumer_tag.len() + 8 + 1 + 1 + exchange.len() + 1 + routing_key.len();
    out.reserve(size + FRAME_OVERHEAD);
    out.extend_from_slice(&method_head(channel, size as u32, BasicDeliver::ID));
    out.push(consumer_tag.len() as u8);
    out.extend_from_slice(consumer_tag);
    let [t7, t6, t5, t4, t3, t2, t1, t0] = delivery_tag.to_be_bytes();
    out.extend_from_slice(&[t7, t6, t5, t4, t3, t2, t1, t0, redelivered.into(), exchange.len() as u8]);
    out.extend_from_slice(exchange);
    out.push(routing_key.len() as u8);
    out.extend_from_slice(routing_key);
    out.push(FRAME_END);
}

/// Appends a whole basic.ack frame.
#[inline]
pub fn put_ack(out: &mut Vec<u8>, channel: u16, delivery_tag: u64, multiple: bool) {
    put_settle(out, channel, BasicAck::ID, delivery_tag, multiple.into());
}

/// Appends a whole basic.nack frame.
#[inline]
pub fn put_nack(out: &mut Vec<u8>, channel: u16, delivery_tag: u64, multiple: bool, requeue: bool) {
    put_settle(
        out,
        channel,
        BasicNack::ID,
        delivery_tag,
        u8::from(multiple) | u8::from(requeue) << 1,
    );
}

#[inline]
fn put_settle(out: &mut Vec<u8>, channel: u16, id: (u16, u16), delivery_tag: u64, bits: u8) {
    let mut frame = [0; 21];
    let (frame_head, arguments) = frame.split_at_mut(11);
    frame_head.copy_from_slice(&method_head(channel, 13, id));
    let (tag, tail) = arguments.split_at_mut(8);
    tag.copy_from_slice(&delivery_tag.to_be_bytes());
    tail.copy_from_slice(&[bits, FRAME_END]);
    out.extend_from_slice(&frame);
}

#[cfg(test)]
mod tests;
