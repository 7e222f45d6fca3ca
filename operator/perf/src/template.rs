//! Messages that are encoded once and written many times.
//!
//! In: exchange, keys, sizes. Out: octets, and where in them the messages and their time stamps are. Does not write.

use std::ops::Range;

use leveret_amqp::method::BasicPublish;
use leveret_amqp::{ShortString, put_content, put_method_frame};

use super::client::CHANNEL;
use super::error::Error;

/// The class of everything that carries a body.
const BASIC: u16 = 60;

/// Octets of a time stamp at the start of a body.
pub const STAMP: usize = 8;

/// Most octets of messages that a publisher holds.
const MOST: usize = 256 << 20;

/// The flag of the delivery mode, the only property beside the priority; values come behind the flags.
const DELIVERY_MODE: u8 = 0x10;
const PRIORITY: u8 = 0x08;

/// The parts that are the same for all messages of a producer.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    pub exchange: &'a ShortString,
    /// Used in turn, at least one.
    pub keys: &'a [ShortString],
    /// Used in turn, at least one.
    pub sizes: &'a [usize],
    /// Used in turn, at least one.
    pub priorities: &'a [Option<u8>],
    pub persistent: bool,
    pub mandatory: bool,
    pub frame_max: u32,
    /// Octets of a write, at most, unless one message has more.
    pub batch: usize,
}

/// Encoded messages, taken in turn for ever.
#[derive(Debug)]
pub struct Template {
    octets: Vec<u8>,
    messages: Vec<Message>,
    batch: usize,
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    start: usize,
    end: usize,
    /// Where its time stamp goes, if the body has room for one.
    stamp: Option<usize>,
}

impl Template {
    /// Encodes as many messages as a write holds, and at least each key with each size and priority once.
    ///
    /// # Errors
    /// All keys at this size would not fit into memory.
    pub fn new(form: &Form<'_>) -> Result<Template, Error> {
        let cycle = least_common_multiple(form.keys.len(), form.sizes.len());
        let cycle = least_common_multiple(cycle, form.priorities.len());
        let mut template = Template {
            octets: Vec::new(),
            messages: Vec::new(),
            batch: form.batch,
            next: 0,
        };
        let bodies = form.sizes.iter().sum::<usize>() * (cycle / form.sizes.len().max(1));
        if cycle > 1 && bodies > MOST {
            let what = format!("{bodies} octets for {cycle} keys, sizes and priorities in turn");
            let problem = "a producer prepares at most 268435456 octets; give fewer";
            return Err(Error::flag("--size", what, problem));
        }
        let pairs = form.keys.iter().cycle().zip(form.sizes.iter().cycle());
        for (number, ((key, size), priority)) in pairs.zip(form.priorities.iter().cycle()).enumerate() {
            // One more would not fit into the write that takes all of them.
            let full = number > 0 && template.octets.len() + template.octets.len() / number > form.batch;
            if full && number.is_multiple_of(cycle) {
                break;
            }
            template.push(form, key, *size, *priority);
        }
        Ok(template)
    }

    fn push(&mut self, form: &Form<'_>, key: &ShortString, size: usize, priority: Option<u8>) {
        let start = self.octets.len();
        let publish = BasicPublish {
            exchange: form.exchange.clone(),
            routing_key: key.clone(),
            mandatory: form.mandatory,
            immediate: false,
        };
        put_method_frame(&mut self.octets, CHANNEL, &publish.into());
        let flags = DELIVERY_MODE | if priority.is_some() { PRIORITY } else { 0 };
        let mut properties = vec![flags, 0, if form.persistent { 2 } else { 1 }];
        properties.extend(priority);
        // A header frame has 7 octets of head, 12 of class and size, the properties, 1 of end; then a body frame's
        // head.
        let body = self.octets.len() + 7 + 12 + properties.len() + 1 + 7;
        put_content(
            &mut self.octets,
            CHANNEL,
            form.frame_max,
            BASIC,
            &properties,
            &filling(size),
        );
        self.messages.push(Message {
            start,
            end: self.octets.len(),
            stamp: (size >= STAMP).then_some(body),
        });
    }

    /// Takes the next messages, at most `most`, as many as a write holds; `stamps` gives the time for each of them.
    pub fn take(&mut self, most: u64, mut stamps: impl FnMut() -> u64) -> (u64, Range<usize>) {
        let rest = self.messages.get(self.next..).unwrap_or_default();
        let start = rest.first().map_or(0, |message| message.start);
        let (mut taken, mut end) = (0, start);
        for message in rest {
            if taken == most || (taken > 0 && message.end - start > self.batch) {
                break;
            }
            let stamp = stamps();
            if let Some(place) = message.stamp.and_then(|at| self.octets.get_mut(at..at + STAMP)) {
                place.copy_from_slice(&stamp.to_be_bytes());
            }
            (taken, end) = (taken + 1, message.end);
        }
        self.next = (self.next + taken as usize) % self.messages.len().max(1);
        (taken, start..end)
    }

    /// Octets that `take` has told of.
    #[must_use]
    pub fn octets(&self, range: Range<usize>) -> &[u8] {
        self.octets.get(range).unwrap_or_default()
    }
}

/// A body that compresses neither well nor not at all.
fn filling(size: usize) -> Vec<u8> {
    let mut body = b"abcdefghijklmnopqrstuvw".repeat(size / 23 + 1);
    body.truncate(size);
    body
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a.max(1), b.max(1));
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a.max(1) / x * b.max(1)
}

#[cfg(test)]
mod tests {
    use leveret_amqp::{FrameKind, next_frame, parse_header, parse_publish};

    use super::*;

    fn names(count: usize) -> Vec<ShortString> {
        (0..count)
            .map(|number| ShortString::try_from(format!("key-{number}")).expect("short"))
            .collect()
    }

    fn form<'a>(exchange: &'a ShortString, keys: &'a [ShortString], sizes: &'a [usize]) -> Form<'a> {
        Form {
            exchange,
            keys,
            sizes,
            priorities: &[None],
            persistent: true,
            mandatory: false,
            frame_max: 4096,
            batch: 1000,
        }
    }

    /// Keys, delivery modes and bodies of all messages of a write.
    fn read(mut octets: &[u8]) -> Vec<(String, u8, Vec<u8>)> {
        let mut messages: Vec<(String, u8, Vec<u8>)> = Vec::new();
        while let Some(frame) = next_frame(octets, 4096).expect("frames") {
            match frame.kind {
                FrameKind::Method => {
                    let publish = parse_publish(frame.payload).expect("a publish").expect("whole");
                    messages.push((String::from_utf8_lossy(publish.routing_key).into_owned(), 0, Vec::new()));
                }
                FrameKind::Header => {
                    let header = parse_header(frame.payload).expect("a header");
                    messages.last_mut().expect("a publish before").1 = *header.properties.last().expect("a property");
                }
                _ => messages
                    .last_mut()
                    .expect("a publish before")
                    .2
                    .extend_from_slice(frame.payload),
            }
            octets = octets.get(frame.wire_len()..).unwrap_or_default();
        }
        messages
    }

    #[test]
    fn keys_and_sizes_take_turns_and_stamps_stand_in_front() {
        let (exchange, keys) = (ShortString::new(), names(2));
        let mut template = Template::new(&form(&exchange, &keys, &[8, 0, 5000])).expect("a template");
        let mut messages = Vec::new();
        while messages.len() < 7 {
            let (taken, range) = template.take(u64::MAX, || 77);
            assert!(taken > 0);
            messages.extend(read(template.octets(range)));
        }
        let stamp = 77_u64.to_be_bytes();
        for (number, (key, mode, body)) in messages.iter().enumerate() {
            assert_eq!((key, *mode), (&format!("key-{}", number % 2), 2));
            assert_eq!(body.len(), [8, 0, 5000][number % 3]);
            assert!(body.len() < STAMP || body.starts_with(&stamp));
        }
    }

    #[test]
    fn priorities_take_turns() {
        let (exchange, keys) = (ShortString::new(), names(2));
        let mut template = Template::new(&Form {
            priorities: &[Some(3), None, Some(7)],
            ..form(&exchange, &keys, &[8])
        })
        .expect("a template");
        let (_, range) = template.take(6, || 0);
        let last: Vec<u8> = read(template.octets(range))
            .into_iter()
            .map(|message| message.1)
            .collect();
        assert_eq!(last, [3, 2, 7, 3, 2, 7], "the mode, where there is no priority");
    }

    #[test]
    fn a_write_holds_what_is_allowed_and_at_least_one() {
        let (exchange, keys) = (ShortString::new(), names(1));
        let mut one = Template::new(&Form {
            batch: 1,
            ..form(&exchange, &keys, &[16])
        })
        .expect("a template");
        assert_eq!(one.take(u64::MAX, || 0).0, 1);
        let mut many = Template::new(&form(&exchange, &keys, &[16])).expect("a template");
        let (taken, range) = many.take(u64::MAX, || 0);
        assert!(taken > 5 && range.len() <= 1000);
        assert_eq!(many.take(3, || 0).0, 3, "it starts again at the front");
    }

    #[test]
    fn too_much_is_refused() {
        let (exchange, keys) = (ShortString::new(), names(300));
        let error = Template::new(&form(&exchange, &keys, &[1 << 20]))
            .expect_err("300 MiB")
            .to_string();
        assert!(error.contains("--size 314572800 octets for 300 keys, sizes"), "{error}");
    }
}
