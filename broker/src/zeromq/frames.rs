//! A message's frames as properties and body of the broker's, and back.
//!
//! Comes in: frames, with what else is known of their message; or properties and a body. Goes out: property flags and
//! list; or the stretches of the body that are frames. The lengths of several frames stand in a header; where it is
//! missing the body is one frame. Pure.
//! Does not know about sockets, or which message goes where.

use leveret_amqp::field::RawFields;
use leveret_amqp::properties::raw::{self, Property};
use std::ops::Range;

/// The header with the lengths of a message's frames, an array of whole numbers.
pub const FRAMES: &str = "x-zmq-frames";
/// The header with the identity of the peer that a request is from.
pub const IDENTITY: &str = "x-zmq-identity";

/// The properties of a message that came by ZeroMQ, beside the lengths of its frames. What is empty is not set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Properties<'a> {
    /// Identity of the peer that it is from.
    pub identity: &'a [u8],
    /// True if it is to survive a restart.
    pub persistent: bool,
    /// The request that it belongs to.
    pub correlation_id: &'a [u8],
    /// Name of the queue for the reply.
    pub reply_to: &'a [u8],
}

impl Properties<'_> {
    /// Appends property flags and list. `lengths`: those of the frames, where they are to be told; else none.
    pub fn put(&self, out: &mut Vec<u8>, lengths: impl Iterator<Item = usize>) {
        let mut lengths = lengths.peekable();
        let headers = lengths.peek().is_some() || !self.identity.is_empty();
        let flags = [
            (headers, Property::Headers),
            (self.persistent, Property::DeliveryMode),
            (!self.correlation_id.is_empty(), Property::CorrelationId),
            (!self.reply_to.is_empty(), Property::ReplyTo),
        ];
        let set = flags.iter().filter(|(set, _)| *set);
        let flags = set.fold(0, |flags, (_, property)| flags | property.flag());
        out.extend_from_slice(&u16::to_be_bytes(flags));
        if headers {
            put_with_length(out, |out| {
                if lengths.peek().is_some() {
                    put_lengths(out, lengths);
                }
                if !self.identity.is_empty() {
                    put_short(out, IDENTITY.as_bytes());
                    out.push(b'S');
                    put_with_length(out, |out| out.extend_from_slice(self.identity));
                }
            });
        }
        if self.persistent {
            out.push(2);
        }
        for text in [self.correlation_id, self.reply_to] {
            if !text.is_empty() {
                put_short(out, text);
            }
        }
    }
}

fn put_lengths(out: &mut Vec<u8>, lengths: impl Iterator<Item = usize>) {
    put_short(out, FRAMES.as_bytes());
    out.push(b'A');
    put_with_length(out, |out| {
        for length in lengths {
            out.push(b'I');
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    });
}

/// Appends the properties of a message that has nothing but so many frames: their lengths, if they are several.
#[inline]
pub fn put_properties(out: &mut Vec<u8>, persistent: bool, count: usize, lengths: impl Iterator<Item = usize>) {
    if count == 1 {
        let one: &[u8] = if persistent { &[1 << 4, 0, 2] } else { &[0, 0] };
        return out.extend_from_slice(one);
    }
    let properties = Properties {
        persistent,
        ..Properties::default()
    };
    properties.put(out, lengths);
}

fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..255).unwrap_or(bytes);
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

fn put_with_length(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    put(out);
    let length = (out.len() - at - 4) as u32;
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// The frames of a body, one after the other, as stretches of it.
#[derive(Clone, Debug)]
pub struct Stretches<'a> {
    lengths: Option<Lengths<'a>>,
    at: usize,
    /// Bytes of the body. There is a frame as long as it isn't `None`.
    body: Option<usize>,
}

/// The frames of a message: those of its header, if they make up the body, or else the body as one.
#[inline]
pub fn stretches(properties: &[u8], body_len: usize) -> Stretches<'_> {
    Stretches {
        lengths: lengths(properties, body_len),
        at: 0,
        body: Some(body_len),
    }
}

impl Stretches<'_> {
    /// True if the message says which frames its body has.
    #[inline]
    pub fn are_told(&self) -> bool {
        self.lengths.is_some()
    }
}

impl Iterator for Stretches<'_> {
    /// A frame, and whether more follow.
    type Item = (Range<usize>, bool);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let body = self.body?;
        let from = self.at;
        let Some(lengths) = &mut self.lengths else {
            self.body = None;
            return Some((from..body, false));
        };
        // They make up the body.
        self.at += lengths.next().unwrap_or_default();
        let more = !lengths.is_empty();
        self.body = more.then_some(body);
        Some((from..self.at, more))
    }
}

/// The lengths of a message's frames, if it has some in its headers and they make up its body.
#[inline]
fn lengths(properties: &[u8], body_len: usize) -> Option<Lengths<'_>> {
    // Most messages have no headers.
    let lengths = Lengths(header(properties, FRAMES, b'A')?);
    let mut left = lengths.clone();
    let mut sum = 0_usize;
    while !left.is_empty() {
        sum = sum.checked_add(left.next()?)?;
    }
    (sum == body_len && !lengths.is_empty()).then_some(lengths)
}

/// The identity of the peer that a request is from, if it is known.
pub fn identity(properties: &[u8]) -> Option<&[u8]> {
    header(properties, IDENTITY, b'S').filter(|identity| !identity.is_empty())
}

/// The octets of a header of this type, without its letter and its length.
#[inline]
fn header<'a>(properties: &'a [u8], name: &str, letter: u8) -> Option<&'a [u8]> {
    let mut fields = RawFields::of(raw::headers(properties)?);
    let (_, value) = fields.find(|(field, _)| *field == name.as_bytes())?;
    let (found, rest) = value.octets().split_first()?;
    rest.get(4..).filter(|_| *found == letter)
}

/// Whole numbers in an array: clients write them as large as they need.
#[derive(Clone, Debug)]
struct Lengths<'a>(&'a [u8]);

impl Lengths<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next one. `None` at the end, or if it is no length.
    #[inline]
    fn next(&mut self) -> Option<usize> {
        let (letter, rest) = self.0.split_first()?;
        let (octets, signed) = match letter {
            b'I' => (4, true),
            b'i' => (4, false),
            b'b' => (1, true),
            b'B' => (1, false),
            b's' => (2, true),
            b'u' => (2, false),
            b'l' | b'L' => (8, true),
            _ => return None,
        };
        let (number, rest) = rest.split_at_checked(octets)?;
        self.0 = rest;
        let negative = signed && number.first().is_some_and(|octet| *octet >= 0x80);
        let value = number.iter().fold(0, |value, octet| value << 8 | u64::from(*octet));
        usize::try_from(value).ok().filter(|_| !negative)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::{BasicProperties, FieldTable, FieldValue, ShortString};
    use proptest::prelude::*;

    fn split(properties: &[u8], body: &[u8]) -> Vec<(Vec<u8>, bool)> {
        let stretches = stretches(properties, body.len());
        stretches.map(|(range, more)| (body[range].to_vec(), more)).collect()
    }

    fn with_lengths(lengths: Vec<FieldValue>) -> Vec<u8> {
        let mut headers = FieldTable::new();
        headers.set(ShortString::from_static("first"), FieldValue::from("another"));
        headers.set(ShortString::from_static(FRAMES), FieldValue::Array(lengths));
        let properties = BasicProperties {
            headers: Some(headers),
            ..BasicProperties::default()
        };
        properties.to_bytes().to_vec()
    }

    #[test]
    fn clients_write_numbers_as_they_like() {
        let numbers = vec![
            FieldValue::Byte(1),
            FieldValue::UnsignedByte(0),
            FieldValue::Short(1),
            FieldValue::UnsignedShort(1),
            FieldValue::UnsignedInt(1),
            FieldValue::Long(2),
        ];
        let found = split(&with_lengths(numbers), b"abcdef");
        let expected = [
            (&b"a"[..], true),
            (b"", true),
            (b"b", true),
            (b"c", true),
            (b"d", true),
            (b"ef", false),
        ];
        assert!(
            found.iter().map(|(frame, more)| (&frame[..], *more)).eq(expected),
            "{found:?}"
        );
    }

    #[test]
    fn lengths_that_are_none_make_one_frame() {
        for numbers in [
            vec![],
            vec![FieldValue::Int(1), FieldValue::Int(1)],
            vec![FieldValue::Int(-1), FieldValue::Int(4)],
            vec![
                FieldValue::Long(i64::MAX),
                FieldValue::Long(i64::MAX),
                FieldValue::Long(5),
            ],
            vec![FieldValue::from("3")],
        ] {
            let properties = with_lengths(numbers);
            assert!(!stretches(&properties, 3).are_told());
            assert_eq!(split(&properties, b"abc"), [(b"abc".to_vec(), false)]);
        }
        assert_eq!(split(&[0, 0], b""), [(vec![], false)]);
    }

    proptest! {
        #[test]
        fn frames_come_back_as_they_were(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..10),
            told in any::<bool>(),
            identity in prop_oneof![Just(vec![]), proptest::collection::vec(any::<u8>(), 0..255)],
            texts in prop_oneof![Just((String::new(), String::new())), ("[a-z]{0,20}", "[a-z]{0,20}")],
            persistent in any::<bool>(),
        ) {
            let told = told || frames.len() > 1;
            let lengths = || frames.iter().filter(|_| told).map(Vec::len);
            let mut out = vec![7];
            let written = Properties {
                identity: &identity,
                persistent,
                correlation_id: texts.0.as_bytes(),
                reply_to: texts.1.as_bytes(),
            };
            written.put(&mut out, lengths());
            if let Properties { identity: [], correlation_id: [], reply_to: [], .. } = written {
                let mut plain = vec![7];
                put_properties(&mut plain, persistent, if told { 2 } else { 1 }, lengths());
                prop_assert_eq!(&plain, &out);
            }
            let properties = &out[1..];
            prop_assert_eq!(raw::validate(properties), Ok(()));
            let parsed = BasicProperties::parse(properties).expect("properties");
            prop_assert_eq!(parsed.delivery_mode, persistent.then_some(2));
            let text = |text: &str| (!text.is_empty()).then(|| ShortString::truncated(text));
            prop_assert_eq!((parsed.correlation_id, parsed.reply_to), (text(&texts.0), text(&texts.1)));
            prop_assert_eq!(super::identity(properties), Some(&identity[..]).filter(|identity| !identity.is_empty()));
            let body = frames.concat();
            prop_assert_eq!(stretches(properties, body.len()).are_told(), told);
            let found = split(properties, &body);
            let last = frames.len() - 1;
            let expected: Vec<_> = frames.into_iter().enumerate().map(|(at, frame)| (frame, at < last)).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn what_is_no_properties_is_one_frame(octets in proptest::collection::vec(any::<u8>(), 0..64), len in 0..9_usize) {
            let body = vec![0; len];
            let found = split(&octets, &body);
            prop_assert_eq!(found.iter().map(|(frame, _)| frame.len()).sum::<usize>(), len);
            let _ = super::identity(&octets);
        }
    }
}
