//! A message on its way through the broker: exchange and key, its properties and its body, all slices of one buffer.
//!
//! Comes in: a slice of the socket's read buffer with the places of the parts (nothing is copied), the parts one by
//! one, or the payload of a record. Goes out: the parts, for routing and delivery, and a payload for the log. Does not
//! know about queues, exchanges, connections or frames.

use bytes::Bytes;
use leveret_amqp::properties::raw;
use std::iter::Sum;
use std::ops::{AddAssign, SubAssign};

/// AMQP 0-9-1 class id of basic: the class whose methods carry messages.
pub const BASIC: u16 = 60;

/// Memory of an entry in a queue, bytes, beside what its message takes.
pub const ENTRY: u64 = 128;

/// Memory that messages take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// All of it, bytes.
    pub bytes: u64,
    /// Of it what is counted elsewhere, with the buffers of messages.
    pub elsewhere: u64,
}

impl Footprint {
    /// The part that is to be counted by its holder, bytes.
    pub fn own(self) -> u64 {
        self.bytes - self.elsewhere
    }
}

impl AddAssign for Footprint {
    #[inline]
    fn add_assign(&mut self, more: Self) {
        self.bytes += more.bytes;
        self.elsewhere += more.elsewhere;
    }
}

impl SubAssign for Footprint {
    #[inline]
    fn sub_assign(&mut self, less: Self) {
        self.bytes = self.bytes.saturating_sub(less.bytes);
        self.elsewhere = self.elsewhere.saturating_sub(less.elsewhere);
    }
}

impl Sum for Footprint {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

/// A stretch of a buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// Its offset.
    pub at: u32,
    /// Its length.
    pub len: u32,
}

/// Places of the parts of a message in its buffer.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Offset of the exchange's short string (its length octet); the routing key's short string follows it.
    pub routing: u32,
    /// The raw property flags and list.
    pub properties: Span,
    /// The body.
    pub body: Span,
}

/// One message. A clone shares the buffer.
#[derive(Clone, Debug)]
pub struct Message {
    buffer: Bytes,
    layout: Layout,
    marks: Marks,
}

/// Marks of a message. Bits of one octet, not booleans: a boolean would lend its unused values to the enums around the
/// message, and each move of an entry would be taken to pieces there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks(u8);

impl Marks {
    /// Its publisher wants it to survive a restart.
    const PERSISTENT: u8 = 1;
    /// The broker wrote the history of its deaths.
    const HISTORY: u8 = 1 << 1;
    /// It goes by its routing key alone, not by CC: a dead-letter routing key has taken their place.
    const ONE_KEY: u8 = 1 << 2;
    /// Its memory is counted with its buffer, not by those who have the message.
    const COUNTED: u8 = 1 << 3;
    /// Marks that go with the buffer and the properties in it, not with the message.
    const OF_BUFFER: u8 = Self::PERSISTENT | Self::COUNTED;
    /// The marks in a record, with the bits in its length of properties that stand for them. Persisted. No properties
    /// are that long. That a message is persistent, its properties say.
    const IN_RECORD: [(u8, u32); 2] = [(Self::HISTORY, 1 << 31), (Self::ONE_KEY, 1 << 30)];

    fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    /// The bits for a record.
    fn bits(self) -> u32 {
        let marks = Self::IN_RECORD.iter().filter(|(mark, _)| self.has(*mark));
        marks.fold(0, |bits, (_, bit)| bits | bit)
    }

    /// The marks of a record, and the number without their bits.
    fn split(bits: u32) -> (Self, u32) {
        let marks = Self::IN_RECORD.iter().filter(|(_, bit)| bits & bit != 0);
        let marks = marks.fold(0, |marks, (mark, _)| marks | mark);
        let all = Self::IN_RECORD.iter().fold(0, |all, (_, bit)| all | bit);
        (Self(marks), bits & !all)
    }
}

impl Message {
    /// A message whose parts lie in `buffer` as `layout` says. The parts must have been checked by the parser that
    /// found them: a part outside of the buffer reads as empty.
    pub fn from_slices(buffer: Bytes, layout: Layout) -> Self {
        let list = part(&buffer, layout.properties);
        let marks = match raw::delivery_mode(list) {
            Some(2) => Marks(Marks::PERSISTENT),
            _ => Marks::default(),
        };
        Self { buffer, layout, marks }
    }

    /// A message put together from its parts in a new buffer. `exchange` and `routing_key` are short strings: at most
    /// 255 bytes, longer ones are cut.
    pub fn new(exchange: &[u8], routing_key: &[u8], properties: &[u8], body: &[u8]) -> Self {
        let mut parts = Growing::new(exchange, routing_key, properties, body.len());
        parts.push(body);
        parts.finish()
    }

    /// The exchange it was published to; empty for the default exchange.
    pub fn exchange(&self) -> &[u8] {
        short_at(&self.buffer, self.layout.routing as usize)
    }

    /// The routing key it was published with.
    pub fn routing_key(&self) -> &[u8] {
        let at = self.layout.routing as usize;
        short_at(&self.buffer, at + 1 + self.exchange().len())
    }

    /// Property flags and list as the publisher sent them.
    pub fn properties(&self) -> &[u8] {
        part(&self.buffer, self.layout.properties)
    }

    /// Milliseconds that it may wait in a queue, if its publisher limits that.
    pub fn expiration(&self) -> Option<u64> {
        let digits = raw::expiration(self.properties())?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Its priority, if its publisher gave it one.
    pub fn priority(&self) -> Option<u8> {
        raw::priority(self.properties())
    }

    /// True if the broker wrote the history of its deaths that stands in its headers.
    pub fn has_history(&self) -> bool {
        self.marks.has(Marks::HISTORY)
    }

    /// The same message with a history that the broker wrote. `one_key`: it goes by its routing key alone from now on.
    pub fn with_history(self, one_key: bool) -> Self {
        let one_key = if one_key { Marks::ONE_KEY } else { 0 };
        self.marked(Marks(Marks::HISTORY | one_key))
    }

    /// True if it goes by its routing key alone, whatever its headers say.
    pub fn goes_by_key_alone(&self) -> bool {
        self.marks.has(Marks::ONE_KEY)
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        part(&self.buffer, self.layout.body)
    }

    /// True if delivery-mode is 2 (AMQP 0-9-1, basic class properties).
    pub fn persistent(&self) -> bool {
        self.marks.has(Marks::PERSISTENT)
    }

    /// Bytes that the message counts for in statistics and limits: the body, as RabbitMQ's `message_bytes`.
    pub fn body_len(&self) -> u32 {
        self.layout.body.len
    }

    /// The body, for somebody who keeps it: it shares the buffer.
    pub fn shared_body(&self) -> Bytes {
        let Span { at, len } = self.layout.body;
        let (at, end) = (at as usize, at as usize + len as usize);
        match end <= self.buffer.len() {
            true => self.buffer.slice(at..end),
            false => Bytes::new(),
        }
    }

    /// Bytes that holding the message in memory costs, roughly.
    #[inline]
    pub fn footprint(&self) -> Footprint {
        let of_buffer = u64::from(self.layout.body.len) + u64::from(self.layout.properties.len);
        Footprint {
            bytes: of_buffer + ENTRY,
            elsewhere: if self.is_counted() { of_buffer } else { 0 },
        }
    }

    /// True if its memory is counted with its buffer, once for all that share it.
    #[inline]
    pub fn is_counted(&self) -> bool {
        self.marks.has(Marks::COUNTED)
    }

    /// The same message with its memory counted by `count`, which gives its buffer back as one that counts.
    pub fn counted(self, count: impl FnOnce(Bytes) -> Bytes) -> Self {
        let marks = Marks(self.marks.0 | Marks::COUNTED);
        let buffer = count(self.buffer);
        Self { buffer, marks, ..self }
    }

    /// The same message, if its buffer is a slice of `frames`, as one of `counted`: the same bytes in a buffer that
    /// counts.
    ///
    /// # Errors
    /// It isn't; here it is again.
    pub fn counted_within(self, frames: &Bytes, counted: &Bytes) -> Result<Self, Self> {
        let start = self.buffer.as_ptr().addr().wrapping_sub(frames.as_ptr().addr());
        let end = start.saturating_add(self.buffer.len());
        match end <= frames.len() && counted.len() == frames.len() {
            true => Ok(self.counted(|_| counted.slice(start..end))),
            false => Err(self),
        }
    }

    /// The same message with other properties.
    pub fn with_properties(&self, properties: &[u8]) -> Self {
        Self::new(self.exchange(), self.routing_key(), properties, self.body()).marked(self.marks)
    }

    /// The same message with these marks of the broker.
    fn marked(self, marks: Marks) -> Self {
        let own = self.marks.0 & Marks::OF_BUFFER;
        let marks = Marks(own | marks.0 & !Marks::OF_BUFFER);
        Self { marks, ..self }
    }

    /// The same message in a separate buffer, without the bytes that were read along with it.
    pub fn detached(&self) -> Self {
        Self {
            buffer: Bytes::copy_from_slice(&self.buffer),
            marks: Marks(self.marks.0 & !Marks::COUNTED),
            ..*self
        }
    }

    /// The payload of a store record, in parts: exchange and routing key as short strings, length of the properties
    /// (u32, big endian, with the marks in its two highest bits; written to `length`), properties, body.
    pub fn record<'a>(&'a self, length: &'a mut [u8; 4]) -> [&'a [u8]; 4] {
        *length = (self.layout.properties.len | self.marks.bits()).to_be_bytes();
        let routing = self.layout.routing as usize;
        let routing_len = 2 + self.exchange().len() + self.routing_key().len();
        let routing = self.buffer.get(routing..routing + routing_len).unwrap_or(&[0, 0]);
        [routing, length, self.properties(), self.body()]
    }

    /// Reads the payload that [`Message::record`] describes. `None` if it isn't one.
    pub fn decode(payload: Bytes) -> Option<Self> {
        let exchange_len = usize::from(*payload.first()?);
        let key_len = usize::from(*payload.get(1 + exchange_len)?);
        let length_at = 2 + exchange_len + key_len;
        let length: [u8; 4] = payload.get(length_at..length_at + 4)?.try_into().ok()?;
        let (marks, properties_len) = Marks::split(u32::from_be_bytes(length));
        let properties_at = u32::try_from(length_at + 4).ok()?;
        let body_at = properties_at.checked_add(properties_len)?;
        let body_len = u32::try_from(payload.len()).ok()?.checked_sub(body_at)?;
        let layout = Layout {
            routing: 0,
            properties: Span {
                at: properties_at,
                len: properties_len,
            },
            body: Span {
                at: body_at,
                len: body_len,
            },
        };
        Some(Self::from_slices(payload, layout).marked(marks))
    }
}

/// A message whose body arrives piece by piece: each is copied to where it will stay.
#[derive(Debug)]
pub struct Growing {
    buffer: Vec<u8>,
    properties: Span,
    /// Bytes of body that it will have.
    size: usize,
}

impl Growing {
    /// All but the body, as [`Message::new`] has it, which is to come in `size` bytes: room for them is reserved, and
    /// becomes memory as they arrive.
    pub fn new(exchange: &[u8], routing_key: &[u8], properties: &[u8], size: usize) -> Self {
        let others = 2 + exchange.len() + routing_key.len() + properties.len();
        let mut buffer = Vec::with_capacity(others + size);
        put_short(&mut buffer, exchange);
        put_short(&mut buffer, routing_key);
        let properties_at = buffer.len() as u32;
        buffer.extend_from_slice(properties);
        Self {
            buffer,
            properties: Span {
                at: properties_at,
                len: properties.len() as u32,
            },
            size,
        }
    }

    fn body_at(&self) -> u32 {
        self.properties.at + self.properties.len
    }

    /// Bytes of body so far.
    pub fn body_len(&self) -> usize {
        self.buffer.len() - self.body_at() as usize
    }

    /// Bytes of body that are to come.
    pub fn missing(&self) -> usize {
        self.size.saturating_sub(self.body_len())
    }

    /// The next piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The body is whole.
    pub fn finish(self) -> Message {
        let layout = Layout {
            routing: 0,
            properties: self.properties,
            body: Span {
                at: self.body_at(),
                len: self.body_len() as u32,
            },
        };
        Message::from_slices(self.buffer.into(), layout)
    }
}

fn part(buffer: &[u8], Span { at, len }: Span) -> &[u8] {
    let at = at as usize;
    buffer.get(at..at + len as usize).unwrap_or_default()
}

fn short_at(buffer: &[u8], at: usize) -> &[u8] {
    let Some(&len) = buffer.get(at) else { return &[] };
    buffer.get(at + 1..at + 1 + usize::from(len)).unwrap_or_default()
}

fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = bytes.len().min(255);
    out.push(len as u8);
    out.extend_from_slice(bytes.get(..len).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_body_in_pieces_is_the_same_message(
            body in proptest::collection::vec(any::<u8>(), 0..3000),
            piece in 1usize..500,
        ) {
            let mut growing = Growing::new(b"exchange", b"key", b"properties", body.len());
            let mut done = 0;
            for piece in body.chunks(piece) {
                prop_assert_eq!(growing.missing(), body.len() - done);
                growing.push(piece);
                done += piece.len();
            }
            prop_assert_eq!(growing.missing(), 0);
            let (grown, whole) = (growing.finish(), Message::new(b"exchange", b"key", b"properties", &body));
            prop_assert_eq!((&grown.buffer, grown.body()), (&whole.buffer, &body[..]));
            prop_assert_eq!((grown.routing_key(), grown.properties()), (&b"key"[..], &b"properties"[..]));
        }

        #[test]
        fn a_record_reads_back(
            exchange in proptest::collection::vec(any::<u8>(), 0..255),
            key in proptest::collection::vec(any::<u8>(), 0..255),
            properties in proptest::collection::vec(any::<u8>(), 0..64),
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let message = Message::new(&exchange, &key, &properties, &body);
            let mut length = [0; 4];
            let payload = message.record(&mut length).concat();
            let back = Message::decode(payload.into()).expect("a record");
            prop_assert_eq!(back.exchange(), &exchange[..]);
            prop_assert_eq!(back.routing_key(), &key[..]);
            prop_assert_eq!(back.properties(), &properties[..]);
            prop_assert_eq!(back.body(), &body[..]);
        }

        #[test]
        fn a_message_in_a_buffer_that_counts_is_the_same(before in 0..20usize, after in 0..20usize) {
            let message = Message::new(b"exchange", b"key", b"\0\0", b"body");
            let frames = Bytes::from([&vec![1; before], &message.buffer[..], &vec![2; after]].concat());
            let counted = Bytes::from(frames.to_vec());
            let buffer = frames.slice(before..before + message.buffer.len());
            let within = Message { buffer, ..message.clone() };
            let all = within.footprint();
            prop_assert_eq!((all.own(), all.elsewhere), (all.bytes, 0));
            let within = within.counted_within(&frames, &counted).expect("a slice of it");
            prop_assert_eq!((within.body(), within.routing_key()), (&b"body"[..], &b"key"[..]));
            prop_assert_eq!(within.buffer.as_ptr(), counted[before..].as_ptr());
            prop_assert_eq!((within.footprint().bytes, within.footprint().own()), (all.bytes, ENTRY));
            prop_assert_eq!(&within.shared_body()[..], b"body");
            prop_assert!(!within.detached().is_counted() && !within.with_properties(b"").is_counted());
            prop_assert!(message.counted_within(&frames, &counted).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(message) = Message::decode(bytes.into()) {
                let _ = (message.exchange(), message.routing_key(), message.properties(), message.body());
            }
        }
    }
}
